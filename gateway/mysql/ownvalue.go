package mysql

import (
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/sharding/scan"
)

// maxHeading is how long a column's name may be.
const maxHeading = 256

// ownValue is what sidewire knows a function of the server to return; empty: it does not. CONNECTION_ID() is the session's number, which KILL takes: a
// server would answer with the number of a connection that many sessions share.
func (s *session) ownValue(word string, number, counts bool) string {
	switch {
	case number && scan.EqualFold(word, "connection_id"):
		return strconv.FormatUint(uint64(s.id), 10)
	case counts && scan.EqualFold(word, "row_count"):
		return "(0 * ROW_COUNT() + " + strconv.FormatInt(s.rowCount, 10) + ")" // of its type
	case counts && scan.EqualFold(word, "found_rows") && s.foundRows >= 0:
		return "(0 * FOUND_ROWS() + " + strconv.FormatInt(s.foundRows, 10) + ")"
	}
	return ""
}

// ownValues puts what sidewire knows in the place of the functions that ask for it. A column keeps the name it would have. It returns an empty text
// when there is nothing to replace.
func (s *session) ownValues(sql string, number, counts bool) string {
	r := renumbering{sql: sql}
	l := scan.Lexer{Text: sql, Mode: s.mode}
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; {
		word := sql[t.Start:t.End]
		value := ""
		if t.Kind == scan.Word {
			value = s.ownValue(word, number, counts)
		}
		if value == "" {
			r.token(t, word)
			t = l.Next()
			continue
		}
		open, shut := l.Next(), l.Next()
		if open.Kind != scan.Op || shut.Kind != scan.Op || sql[open.Start] != '(' || sql[shut.Start] != ')' {
			r.token(t, word)
			r.token(open, sql[open.Start:open.End])
			t = shut
			continue
		}
		r.call(t, shut, value)
		t = l.Next()
	}
	if r.from == 0 {
		return ""
	}
	r.close(len(r.lists) - 1)
	r.out.WriteString(sql[r.from:])
	return r.out.String()
}

// renumbering is a text whose calls are being replaced by values.
type renumbering struct {
	sql   string
	out   strings.Builder
	from  int          // up to where sql is in out
	lists []selectList // of the open parentheses; the outermost is first
}

// selectList is what is known of the SELECT list inside a pair of parentheses.
type selectList struct {
	open       bool // inside a list
	start, end int  // of the present item; start is -1 before its first token
	numbered   bool // it holds a call that was replaced
	named      bool // it may have an alias of its own
	operand    bool // its last token ends an operand
}

// afterList are the words that end a SELECT list.
var afterList = map[string]bool{"from": true, "where": true, "into": true, "union": true, "except": true, "intersect": true, "order": true,
	"group": true, "having": true, "limit": true, "for": true, "lock": true, "procedure": true, "window": true}

// operators are the words after which an operand, and no alias, comes, or that are part of an operator.
var operators = map[string]bool{"and": true, "or": true, "xor": true, "not": true, "is": true, "like": true, "rlike": true, "regexp": true,
	"between": true, "div": true, "mod": true, "in": true, "binary": true, "interval": true, "collate": true, "escape": true, "distinct": true,
	"distinctrow": true, "all": true, "case": true, "when": true, "then": true, "else": true, "end": true, "sql_no_cache": true,
	"straight_join": true, "high_priority": true, "sql_calc_found_rows": true}

func (r *renumbering) top() *selectList {
	if len(r.lists) == 0 {
		r.lists = append(r.lists, selectList{start: -1})
	}
	return &r.lists[len(r.lists)-1]
}

// token takes a token that is not replaced.
func (r *renumbering) token(t scan.Token, word string) {
	if t.Kind == scan.EOF || t.Kind == scan.Invalid {
		return
	}
	top := r.top()
	switch lower := strings.ToLower(word); {
	case t.Kind == scan.Word && lower == "select":
		*top = selectList{open: true, start: -1}
		return
	case t.Kind == scan.Word && afterList[lower] || t.Kind == scan.Op && word == ";":
		r.close(len(r.lists) - 1)
		*top = selectList{start: -1}
		return
	case t.Kind == scan.Op && word == "(":
		top.take(t.Start, t.End)
		top.operand = false
		r.lists = append(r.lists, selectList{start: -1})
		return
	case t.Kind == scan.Op && word == ")" && len(r.lists) > 1:
		r.close(len(r.lists) - 1)
		inner := r.lists[len(r.lists)-1]
		r.lists = r.lists[:len(r.lists)-1]
		top = r.top()
		top.take(t.Start, t.End)
		top.numbered, top.operand = top.numbered || inner.numbered, true
		return
	case t.Kind == scan.Op && word == ",":
		r.close(len(r.lists) - 1)
		*top = selectList{open: top.open, start: -1, numbered: !top.open && top.numbered}
		return
	case t.Kind == scan.Op:
		top.operand = false
	case operators[lower]:
		top.operand = lower == "end"
	default:
		top.named = top.named || lower == "as" || top.operand
		top.operand = true
	}
	top.take(t.Start, t.End)
}

func (l *selectList) take(start, end int) {
	if l.start < 0 {
		l.start = start
	}
	l.end = end
}

// call replaces a call.
func (r *renumbering) call(name, shut scan.Token, value string) {
	top := r.top()
	top.take(name.Start, shut.End)
	top.numbered, top.operand = true, true
	r.out.WriteString(r.sql[r.from:name.Start])
	r.out.WriteString(value)
	r.from = shut.End
}

// close ends the present item of a list: without an alias it gets the text that was its name.
func (r *renumbering) close(depth int) {
	if depth < 0 {
		return
	}
	l := &r.lists[depth]
	if !l.open || !l.numbered || l.named || l.end-l.start > maxHeading {
		return
	}
	r.out.WriteString(r.sql[r.from:l.end])
	r.out.WriteString(" AS `" + strings.ReplaceAll(r.sql[l.start:l.end], "`", "``") + "`")
	r.from = l.end
}
