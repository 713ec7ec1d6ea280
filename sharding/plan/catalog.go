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
	a.st.targets = []int{target}
	names, hidden, missing := a.catalogNames(target)
	if missing != "" {
		a.refuse(unsupported("information_schema cannot tell of table "+missing+", which is not on data source "+a.Rules.Targets[target].Name, ""))
		return
	}
	places, err := locate(a.st.source, a.mode, s, a.wanted)
	if err != nil {
		refuse("a form that is not understood")
		return
	}
	for _, b := range a.blocks {
		if b.role != topBlock && b.role != derived {
			refuse("a nested query, other than in FROM,")
			return
		}
		at := -1
		for _, t := range b.tables {
			switch {
			case t.inner != nil:
			case t.node == nil || t.rule != nil || !strings.EqualFold(t.node.Schema.O, "information_schema"):
				refuse("another table")
				return
			default:
				at = places[t.node].table.Start
			}
		}
		if at < 0 {
			continue // it asks what a nested query says
		}
		if what := a.catalogBlock(b, at, target, names, hidden); what != "" {
			refuse(what)
			return
		}
	}
}

// catalogBlock edits one SELECT, which names a table of information_schema at an offset. It returns what cannot be, or "".
func (a *analysis) catalogBlock(b *block, at, target int, names [][2]string, hidden []string) (what string) {
	for _, f := range b.sel.Fields.Fields {
		if f.WildCard != nil {
			return "*"
		}
	}
	c, ok := a.cutAround(at)
	if !ok {
		return "a form that is not understood"
	}
	v := &catalogColumns{a: a, sel: b.sel, database: a.Rules.Targets[target].Write.Database, names: names}
	b.sel.Accept(v)
	if v.figure != "" && len(names) > 0 {
		return "column " + v.figure + ", which would tell of one shard,"
	}
	a.catalogAliases(b.sel, c)
	a.hide(b, c, hidden)
	return ""
}

// cutAround finds the clauses of the SELECT that an offset lies in: of the text, or of the parentheses around it.
func (a *analysis) cutAround(at int) (clauses, bool) {
	var open []int
	r := region{0, len(a.st.source)}
	l := scan.Lexer{Text: a.st.source, Mode: a.mode}
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		switch c := a.st.source[t.Start]; {
		case t.Kind != scan.Op:
		case c == '(':
			open = append(open, t.End)
		case c == ')' && len(open) > 0:
			start := open[len(open)-1]
			open = open[:len(open)-1]
			if start <= at && at < t.Start && r.start < start {
				r = region{start, t.Start}
			}
		}
	}
	c, ok := cut(a.st.source[r.start:r.end], a.mode)
	for _, x := range [...]*region{&c.fields, &c.from, &c.where, &c.group, &c.having, &c.order, &c.limit, &c.tail} {
		x.start += r.start
		x.end += r.start
	}
	return c, ok
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
	sel      *ast.SelectStmt
	database string
	names    [][2]string
	figure   string
}

func (v *catalogColumns) Enter(n ast.Node) (ast.Node, bool) {
	if x, ok := n.(*ast.SelectStmt); ok && x != v.sel {
		return n, true // a block of its own
	}
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

// hide leaves out the further physical tables of sharded tables, and a database that has the virtual one's name.
func (a *analysis) hide(b *block, c clauses, hidden []string) {
	list := make([]string, len(hidden))
	for i, h := range hidden {
		list[i] = text(h)
	}
	cond := ""
	other := !strings.EqualFold(a.Rules.Database, a.Rules.Targets[a.Rules.Default].Write.Database)
	for _, t := range b.tables {
		if t.node == nil {
			continue
		}
		var parts []string
		q := quote(t.name)
		if other && t.node.Name.L == "schemata" {
			parts = append(parts, q+".SCHEMA_NAME <> "+text(a.Rules.Database))
		}
		if other && catalogHasTables[t.node.Name.L] {
			parts = append(parts, q+".TABLE_SCHEMA <> "+text(a.Rules.Database))
		}
		if len(hidden) > 0 && catalogHasTables[t.node.Name.L] {
			parts = append(parts, "NOT ("+q+".TABLE_SCHEMA = "+text(a.Rules.Targets[a.Rules.Default].Write.Database)+" AND "+q+".TABLE_NAME IN ("+strings.Join(list, ", ")+"))")
		}
		switch all := strings.Join(parts, " AND "); {
		case all == "":
		case t.optional:
			cond += " AND COALESCE(" + all + ", TRUE)" // an outer join may have found no row
		default:
			cond += " AND " + all
		}
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
