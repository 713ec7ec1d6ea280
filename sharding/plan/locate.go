package plan

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/scan"
)

// The parser gives the offsets of expressions, but none of table names. They are found by parsing a second text, in
// which every identifier that could be one of the names is replaced by a marker that holds its offset: whatever the
// parser then takes for a table name tells its own place. Nothing is guessed from the words around it.
const marker = "sidewire_at_"

// name is one mention of a table or database name by its token in the text; End is 0 if it is not there.
type name struct{ Start, End int }

// mention is one table name, column name or wildcard, with the tokens of its qualifiers.
type mention struct {
	schema, table name
	node          ast.Node
}

// mentions collects the nodes that carry table names, in the order the parser's visitor meets them.
type mentions struct {
	list []mention
	at   func(schema, table string) (name, name)
}

func (m *mentions) Enter(n ast.Node) (ast.Node, bool) {
	var schema, table string
	switch x := n.(type) {
	case *ast.TableName:
		schema, table = x.Schema.O, x.Name.O
	case *ast.ColumnName:
		schema, table = x.Schema.O, x.Table.O
	case *ast.SelectField:
		if x.WildCard == nil {
			return n, false
		}
		schema, table = x.WildCard.Schema.O, x.WildCard.Table.O
	default:
		return n, false
	}
	item := mention{node: n}
	if m.at != nil {
		item.schema, item.table = m.at(schema, table)
	}
	m.list = append(m.list, item)
	return n, false
}

func (m *mentions) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// locate returns the mentions of a parsed statement with the places of those names that wanted accepts.
func locate(text string, mode scan.Mode, stmt ast.StmtNode, wanted func(string) bool) (map[ast.Node]mention, error) {
	var first, second mentions
	stmt.Accept(&first)
	marked, tokens := mark(text, mode, wanted)
	twin, err := parse(marked, mode)
	if err != nil {
		return nil, fmt.Errorf("locating table names: %w", err)
	}
	second.at = func(schema, table string) (name, name) { return place(schema, tokens), place(table, tokens) }
	twin.Accept(&second)
	if len(first.list) != len(second.list) {
		return nil, fmt.Errorf("locating table names: %d mentions became %d", len(first.list), len(second.list))
	}
	out := make(map[ast.Node]mention, len(first.list))
	for i, f := range first.list {
		s := second.list[i]
		s.node = f.node
		out[f.node] = s
	}
	return out, nil
}

// mark replaces every identifier token that wanted accepts and returns their tokens by marker number.
func mark(text string, mode scan.Mode, wanted func(string) bool) (string, []scan.Token) {
	var b strings.Builder
	var tokens []scan.Token
	l := scan.Lexer{Text: text, Mode: mode}
	from := 0
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		if t.Kind != scan.Word && t.Kind != scan.Quoted || !wanted(scan.Unquote(text[t.Start:t.End])) {
			continue
		}
		if t.Kind == scan.Word && l.Pos < len(text) && text[l.Pos] == '(' && !afterInto(text, t.Start) {
			continue // a function of that name
		}
		b.WriteString(text[from:t.Start])
		fmt.Fprintf(&b, "`%s%d`", marker, len(tokens))
		tokens = append(tokens, t)
		from = t.End
	}
	b.WriteString(text[from:])
	return b.String(), tokens
}

// afterInto recognises INSERT INTO t(a, b) and CREATE TABLE t(...), where a parenthesis follows a table's name.
func afterInto(text string, at int) bool {
	head := strings.ToLower(strings.TrimRight(text[max(0, at-40):at], " \t\r\n`."))
	for _, w := range [...]string{"into", "table", "exists", "insert", "replace", "ignore", "references", "on", "delayed", "low_priority", "high_priority"} {
		if strings.HasSuffix(head, w) {
			return true
		}
	}
	return false
}

func place(s string, tokens []scan.Token) name {
	digits, ok := strings.CutPrefix(s, marker)
	if !ok {
		return name{}
	}
	i, err := strconv.Atoi(digits)
	if err != nil || i >= len(tokens) {
		return name{}
	}
	return name{tokens[i].Start, tokens[i].End}
}
