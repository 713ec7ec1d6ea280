package plan

import (
	"sort"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

// Questions to information_schema go to one data source, with every column that holds a database's or table's name
// replaced by an expression that gives the logical name, and the further physical tables of a sharded table left out.

var catalogSchemas = map[string]bool{"table_schema": true, "constraint_schema": true, "unique_constraint_schema": true,
	"referenced_table_schema": true, "index_schema": true, "schema_name": true}

var catalogTables = map[string]bool{"table_name": true, "referenced_table_name": true}

// catalogFigures tell of one physical table only.
var catalogFigures = map[string]bool{"table_rows": true, "avg_row_length": true, "data_length": true, "max_data_length": true,
	"index_length": true, "data_free": true, "auto_increment": true, "cardinality": true, "checksum": true}

// catalogQuery plans a SELECT on information_schema.
func (a *analysis) catalogQuery(s *ast.SelectStmt, b *block) {
	refuse := func(what string) {
		a.refuse(unsupported(what+" in a question to information_schema", "ask for the columns by name, in one plain SELECT"))
	}
	target := a.Rules.Default
	if a.st.targets = []int{target}; len(a.blocks) > 1 {
		refuse("a nested query")
		return
	}
	for _, t := range b.tables {
		if t.node == nil || t.rule != nil || !strings.EqualFold(t.node.Schema.O, "information_schema") {
			refuse("another table")
			return
		}
	}
	for _, f := range s.Fields.Fields {
		if f.WildCard != nil {
			refuse("*")
			return
		}
	}
	c, ok := cut(a.st.source, a.mode)
	if !ok {
		refuse("a form that is not understood")
		return
	}
	names, hidden, missing := a.catalogNames(target)
	if missing != "" {
		a.refuse(unsupported("information_schema cannot tell of table "+missing+", which is not on data source "+a.Rules.Targets[target].Name, ""))
		return
	}
	v := &catalogColumns{a: a, database: a.Rules.Targets[target].Write.Database, names: names}
	s.Accept(v)
	if v.figure != "" && len(names) > 0 {
		refuse("column " + v.figure + ", which would tell of one shard,")
		return
	}
	a.catalogAliases(s, c)
	a.hide(b, c, hidden)
}

// catalogNames returns the logical name of each physical table on a target that has another, and the physical names
// that stand for no table of their own. missing is a table that the target does not have.
func (a *analysis) catalogNames(target int) (names [][2]string, hidden []string, missing string) {
	for _, t := range a.Rules.Tables() {
		first := true
		here := false
		for _, n := range t.Nodes {
			if n.Target != target {
				continue
			}
			here = true
			switch {
			case !first:
				hidden = append(hidden, n.Table)
			case !strings.EqualFold(n.Table, t.Name):
				names = append(names, [2]string{n.Table, t.Name})
			}
			first = false
		}
		if !here && t.Kind != rule.Broadcast {
			missing = t.Name
		}
	}
	if a.Schema != nil {
		for name, source := range a.Schema.Sources {
			if a.Rules.TargetIndex(source) != target {
				missing = name
			}
		}
	}
	sort.Slice(names, func(i, j int) bool { return names[i][0] < names[j][0] })
	sort.Strings(hidden)
	return names, hidden, missing
}

// catalogColumns replaces columns that hold names.
type catalogColumns struct {
	a        *analysis
	database string
	names    [][2]string
	figure   string
}

func (v *catalogColumns) Enter(n ast.Node) (ast.Node, bool) {
	c, ok := n.(*ast.ColumnNameExpr)
	if !ok {
		return n, false
	}
	name := c.Name.Name.L
	if catalogFigures[name] {
		v.figure = name
	}
	at := c.OriginTextPosition()
	end := nameEnd(v.a.st.source, v.a.mode, at)
	column := v.a.st.source[at:end]
	switch {
	case catalogSchemas[name]:
		v.a.edit(edit{start: at, end: end, text: "IF(" + column + " = " + text(v.database) + ", " + text(v.a.Rules.Database) + ", " + column + ")"})
	case catalogTables[name] && len(v.names) > 0:
		s := "CASE " + column
		for _, p := range v.names {
			s += " WHEN " + text(p[0]) + " THEN " + text(p[1])
		}
		v.a.edit(edit{start: at, end: end, text: "(" + s + " ELSE " + column + " END)"})
	}
	return n, true
}

func (v *catalogColumns) Leave(n ast.Node) (ast.Node, bool) { return n, true }

func text(s string) string { return string(value.NewString(s).AppendLiteral(nil)) }

// nameEnd returns where a name with its qualifiers ends.
func nameEnd(src string, mode scan.Mode, at int) int {
	l := scan.Lexer{Text: src, Pos: at, Mode: mode}
	end := l.Next().End
	for t := l.Next(); t.Kind == scan.Op && src[t.Start] == '.'; t = l.Next() {
		end = l.Next().End
	}
	return end
}

// catalogAliases keeps the names of columns that became expressions.
func (a *analysis) catalogAliases(s *ast.SelectStmt, c clauses) {
	fields := items(a.st.source, a.mode, c.fields, 0)
	if len(fields) != len(s.Fields.Fields) {
		a.refuse(unsupported("cannot find the columns of the query", ""))
		return
	}
	for i, f := range s.Fields.Fields {
		x, ok := f.Expr.(*ast.ColumnNameExpr)
		if ok && f.AsName.O == "" && (catalogSchemas[x.Name.Name.L] || catalogTables[x.Name.Name.L]) {
			a.edit(edit{start: fields[i].end, end: fields[i].end, text: " AS " + quote(x.Name.Name.O)})
		}
	}
}

// hide leaves the further physical tables of sharded tables out.
func (a *analysis) hide(b *block, c clauses, hidden []string) {
	if len(hidden) == 0 {
		return
	}
	list := make([]string, len(hidden))
	for i, h := range hidden {
		list[i] = text(h)
	}
	cond := ""
	for _, t := range b.tables {
		if !catalogHasTables[t.node.Name.L] {
			continue
		}
		q := quote(t.name)
		cond += " AND NOT (" + q + ".TABLE_SCHEMA = " + text(a.Rules.Targets[a.Rules.Default].Write.Database) + " AND " + q + ".TABLE_NAME IN (" + strings.Join(list, ", ") + "))"
	}
	if cond == "" {
		return
	}
	if c.where.empty() {
		a.edit(edit{start: c.from.end, end: c.from.end, text: " WHERE TRUE" + cond})
		return
	}
	body := c.where.start + len("where")
	a.edit(edit{start: body, end: body, text: " ("})
	a.edit(edit{start: c.where.end, end: c.where.end, text: ")" + cond})
}

// catalogHasTables are the tables of information_schema with TABLE_SCHEMA and TABLE_NAME.
var catalogHasTables = map[string]bool{"tables": true, "columns": true, "statistics": true, "key_column_usage": true,
	"table_constraints": true, "partitions": true, "views": true}

// databaseCalls replaces DATABASE() and SCHEMA() by the logical name: a server would say its own.
type databaseCalls struct{ a *analysis }

func (v *databaseCalls) Enter(n ast.Node) (ast.Node, bool) {
	f, ok := n.(*ast.FuncCallExpr)
	if !ok || f.FnName.L != "database" && f.FnName.L != "schema" || len(f.Args) > 0 {
		return n, false
	}
	at := f.OriginTextPosition()
	l := scan.Lexer{Text: v.a.st.source, Pos: at, Mode: v.a.mode}
	l.Next()
	l.Next()
	if end := l.Next(); v.a.st.source[end.Start] == ')' {
		v.a.edit(edit{start: at, end: end.End, text: text(v.a.Rules.Database)})
	}
	return n, true
}

func (v *databaseCalls) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// maxAlias is how many bytes of a heading are kept: servers take an alias of 256 characters.
const maxAlias = 256

// headings keeps the headings of columns without an alias, where an edit changes their text: servers make it the heading.
func (a *analysis) headings(s *ast.SelectStmt) {
	c, ok := cut(a.st.source, a.mode)
	if !ok || s.Fields == nil {
		return
	}
	fields := items(a.st.source, a.mode, c.fields, 0)
	for i, f := range s.Fields.Fields {
		if i >= len(fields) || f.Expr == nil || f.AsName.O != "" || fields[i].end-fields[i].start > maxAlias {
			continue
		}
		_, column := f.Expr.(*ast.ColumnNameExpr)
		r, changed := fields[i], false
		for _, e := range a.st.edits {
			changed = changed || e.start >= r.start && e.start < r.end
		}
		if !changed || column {
			continue
		}
		a.guard(r)
		a.edit(edit{start: r.end, end: r.end, text: " AS " + quote(a.st.source[r.start:r.end])})
	}
}
