package plan

import (
	"strings"

	"github.com/sidewire/sidewire/sharding/scan"
)

// region is a part of the source, from the first byte of its first token to the last byte of its last.
type region struct{ start, end int }

func (r region) empty() bool { return r.end <= r.start }

// clauses are the parts of one SELECT. A region begins with the clause's keyword, fields excepted; an absent clause is
// empty, at the place where it would stand.
type clauses struct {
	fields, from, where, group, having, order, limit, tail region
}

// cut finds the clauses of the SELECT that the text consists of. Its clause keywords are reserved words, so that outside
// parentheses nothing else can be one; only index hints (FOR ORDER BY, FOR GROUP BY) have to be told apart.
func cut(text string, mode scan.Mode) (c clauses, ok bool) {
	l := scan.Lexer{Text: text, Mode: mode}
	current := &c.fields
	depth, last := 0, 0
	var prev string
	for t := l.Next(); t.Kind != scan.EOF; t = l.Next() {
		if t.Kind == scan.Invalid {
			return c, false
		}
		word := ""
		switch {
		case t.Kind == scan.Op && text[t.Start] == '(':
			depth++
		case t.Kind == scan.Op && text[t.Start] == ')':
			depth--
		case t.Kind == scan.Word && depth == 0:
			word = strings.ToLower(text[t.Start:t.End])
		}
		if last == 0 {
			if word != "select" {
				return c, false
			}
			last, prev = t.End, word
			continue
		}
		if next := c.clause(word, prev); next != nil {
			if current == &c.fields && c.fields.empty() {
				return c, false
			}
			current.end = last
			current = next
			current.start = t.Start
		} else if current == &c.fields && current.start == 0 {
			if !modifier(word) {
				current.start = t.Start
			}
		}
		last, prev = t.End, word
		current.end = last
	}
	c.fill(last)
	return c, !c.fields.empty()
}

// modifier recognises what may stand between SELECT and its list.
func modifier(word string) bool {
	switch word {
	case "all", "distinct", "distinctrow", "high_priority", "straight_join", "sql_small_result", "sql_big_result",
		"sql_buffer_result", "sql_cache", "sql_no_cache", "sql_calc_found_rows":
		return true
	}
	return false
}

func (c *clauses) clause(word, prev string) *region {
	switch word {
	case "from":
		if c.from.empty() {
			return &c.from
		}
	case "where":
		return &c.where
	case "group":
		if prev != "for" {
			return &c.group
		}
	case "having":
		return &c.having
	case "order":
		if prev != "for" {
			return &c.order
		}
	case "limit":
		return &c.limit
	case "lock", "into", "procedure", "window":
		return &c.tail
	case "update", "share":
		if prev == "for" {
			return &c.tail
		}
	}
	return nil
}

// fill gives absent clauses the place where they would stand.
func (c *clauses) fill(end int) {
	at := c.fields.end
	for _, r := range [...]*region{&c.from, &c.where, &c.group, &c.having, &c.order, &c.limit} {
		if r.empty() {
			r.start, r.end = at, at
		}
		at = r.end
	}
}

// items splits a region after its keywords (skip words) at commas outside parentheses.
func items(text string, mode scan.Mode, r region, skip int) (out []region) {
	l := scan.Lexer{Text: text[:r.end], Pos: r.start, Mode: mode}
	depth := 0
	var item region
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		if skip > 0 {
			skip--
			continue
		}
		if t.Kind == scan.Op {
			switch text[t.Start] {
			case '(':
				depth++
			case ')':
				depth--
			case ',':
				if depth == 0 {
					out = append(out, item)
					item = region{}
					continue
				}
			}
		}
		if item.empty() {
			item.start = t.Start
		}
		item.end = t.End
	}
	if !item.empty() {
		out = append(out, item)
	}
	return out
}

// trimDirection takes ASC or DESC off an ORDER BY item.
func trimDirection(text string, mode scan.Mode, r region) region {
	l := scan.Lexer{Text: text[:r.end], Pos: r.start, Mode: mode}
	var prev, last scan.Token
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		prev, last = last, t
	}
	if w := text[last.Start:last.End]; prev.End > 0 && last.Kind == scan.Word && (scan.EqualFold(w, "asc") || scan.EqualFold(w, "desc")) {
		r.end = prev.End
	}
	return r
}

// parenthesised returns what stands between the parentheses that follow offset at, without a leading DISTINCT or ALL.
func parenthesised(text string, mode scan.Mode, at int) (region, bool) {
	l := scan.Lexer{Text: text, Pos: at, Mode: mode}
	depth := 0
	var r region
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		if t.Kind == scan.Op && text[t.Start] == '(' {
			if depth++; depth == 1 {
				continue
			}
		}
		if t.Kind == scan.Op && text[t.Start] == ')' {
			if depth--; depth == 0 {
				return r, !r.empty()
			}
		}
		if depth == 0 {
			continue
		}
		if r.empty() {
			if w := text[t.Start:t.End]; t.Kind == scan.Word && (scan.EqualFold(w, "distinct") || scan.EqualFold(w, "all")) {
				continue
			}
			r.start = t.Start
		}
		r.end = t.End
	}
	return r, false
}
