package plan

import (
	"sort"
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
)

// edit replaces a part of the text in what a route sends. Its place counts from the end of the literal before it, so
// that it fits every text of the shape.
type edit struct {
	start, end int
	after      int // how many literals end at or before start
	kind       editKind
	ref        *tableRef // editTable
	text       string    // editText; what follows the name for editTable
}

type editKind uint8

const (
	editText editKind = iota
	editTable
	editLimit
)

func (a *analysis) edit(e edit) {
	for _, v := range a.st.vars {
		if v.End <= e.start {
			e.after++
		}
	}
	a.st.edits = append(a.st.edits, e)
}

// sortEdits orders the edits by place. Two of them never overlap.
func (a *analysis) sortEdits() {
	sort.SliceStable(a.st.edits, func(i, j int) bool { return a.st.edits[i].start < a.st.edits[j].start })
}

// nameEdits rewrites the mentions of tables to physical names. With aliases true the logical name becomes the alias of
// the physical one, so that columns may stay as they are, and so that the client sees its own table's name.
func (a *analysis) nameEdits(stmt ast.StmtNode, aliases bool) {
	places, err := locate(a.st.source, a.mode, stmt, a.wanted)
	if err != nil {
		a.refuse(unsupported(err.Error(), ""))
		return
	}
	for _, t := range a.tables {
		if t.node == nil {
			continue
		}
		m := places[t.node]
		switch {
		case t.rule == nil, !t.sharded() && m.schema.End == 0 && m.table.End != 0:
			continue // the physical name is the logical one
		case m.table.End == 0:
			a.refuse(unsupported("cannot find table "+t.name+" in the text", ""))
			return
		}
		start := m.table.Start
		if m.schema.End != 0 && m.schema.Start < start {
			start = m.schema.Start
		}
		e := edit{start: start, end: m.table.End, kind: editTable, ref: t}
		if aliases && !t.alias {
			e.text = " AS " + quote(t.node.Name.O)
		}
		a.edit(e)
	}
	for n, m := range places {
		a.columnEdit(n, m, aliases)
	}
	stmt.Accept(&databaseCalls{a})
}

// columnEdit drops the database from a column's qualifiers, and rewrites a table's logical name where no alias stands for it.
func (a *analysis) columnEdit(n ast.Node, m mention, aliases bool) {
	var table string
	switch x := n.(type) {
	case *ast.ColumnName:
		table = x.Table.O
	case *ast.SelectField:
		table = x.WildCard.Table.O
	default:
		return
	}
	if m.schema.End != 0 && m.table.End != 0 {
		a.edit(edit{start: m.schema.Start, end: m.table.Start})
	}
	if aliases || m.table.End == 0 {
		return
	}
	for _, t := range a.tables {
		if !t.alias && t.sharded() && strings.EqualFold(t.name, table) {
			a.edit(edit{start: m.table.Start, end: m.table.End, kind: editTable, ref: t})
			return
		}
	}
}

// wanted accepts the names that locate has to find: the tables of the statement and the database.
func (a *analysis) wanted(s string) bool {
	if strings.EqualFold(s, a.Rules.Database) {
		return true
	}
	for _, t := range a.tables {
		if t.node != nil && strings.EqualFold(t.node.Name.O, s) {
			return true
		}
	}
	return false
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func appendQuoted(dst []byte, name string) []byte {
	dst = append(dst, '`')
	for i := range len(name) {
		if name[i] == '`' {
			dst = append(dst, '`')
		}
		dst = append(dst, name[i])
	}
	return append(dst, '`')
}

// at returns where a place of the source stands in the text of an execution.
func (st *Statement) at(in *Input, pos, after int) int {
	if after == 0 {
		return pos
	}
	return in.Vars[after-1].End + pos - st.vars[after-1].End
}

// appendSQL appends the text for one choice of nodes: picks[g] is the node of group g.
func (st *Statement) appendSQL(dst []byte, in *Input, edits []edit, picks []int, pushed uint64, from, to int) []byte {
	for i := range edits {
		e := &edits[i]
		start, end := st.at(in, e.start, e.after), 0
		if start < from {
			continue
		}
		if start > to || start == to && to < len(in.Text) {
			break
		}
		end = st.end(in, e)
		switch e.kind {
		case editText:
			dst = append(append(dst, in.Text[from:start]...), e.text...)
		case editTable:
			dst = append(dst, in.Text[from:start]...)
			dst = append(appendQuoted(dst, physical(e.ref, picks)), e.text...)
		case editLimit:
			dst = append(append(dst, in.Text[from:start]...), "LIMIT "...)
			dst = strconv.AppendUint(dst, pushed, 10)
		}
		from = end
	}
	return append(dst, in.Text[from:to]...)
}

// end returns where the part that an edit replaces ends. Literals may lie inside it.
func (st *Statement) end(in *Input, e *edit) int {
	after := e.after
	for after < len(st.vars) && st.vars[after].End <= e.end {
		after++
	}
	return st.at(in, e.end, after)
}

func physical(t *tableRef, picks []int) string {
	if t.group >= 0 {
		return t.rule.Nodes[picks[t.group]].Table
	}
	return t.rule.Nodes[0].Table
}
