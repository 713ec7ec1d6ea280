package plan

import (
	"sort"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/scan"
)

// Local is an answer made here, without asking a server: text columns, and rows of text.
type Local struct {
	Names []string
	Rows  [][]string
}

// show answers questions about the structure as one database has it.
func (a *analysis) show(text string) {
	stmt, err := parse(text, a.mode)
	if err != nil {
		a.unparsed(text, err)
		return
	}
	switch x := stmt.(type) {
	case *ast.ShowStmt:
		a.showStatement(x, text)
	case *ast.ExplainStmt:
		if s, ok := x.Stmt.(*ast.ShowStmt); ok {
			a.st.Kind = Select
			a.structureOf(stmt, s)
			return
		}
		a.explainStatement(stmt, x, text)
	default:
		a.verbatim(text)
	}
}

func (a *analysis) showStatement(s *ast.ShowStmt, text string) {
	a.st.Kind = Select
	own := s.DBName == "" || strings.EqualFold(s.DBName, a.Rules.Database)
	switch s.Tp {
	case ast.ShowTables:
		if own {
			a.showTables(s)
			return
		}
	case ast.ShowDatabases:
		if s.Pattern == nil && s.Where == nil {
			a.st.local = &Local{Names: []string{"Database"}, Rows: [][]string{{"information_schema"}, {a.Rules.Database}}}
			return
		}
	case ast.ShowColumns, ast.ShowCreateTable, ast.ShowIndex:
		a.structureOf(s, s)
		return
	case ast.ShowTableStatus:
		if own {
			a.refuse(unsupported("SHOW TABLE STATUS of a sharded database", "ask information_schema of one data source by a hint"))
			return
		}
	}
	a.verbatim(text)
}

// showTables lists the logical tables: those a server was found to have, or what the rules name.
func (a *analysis) showTables(s *ast.ShowStmt) {
	if s.Where != nil {
		a.refuse(unsupported("SHOW TABLES with WHERE", "use LIKE"))
		return
	}
	seen := map[string]bool{}
	if a.Schema != nil {
		for _, t := range a.Schema.Tables {
			seen[t.Name] = true
		}
	} else {
		for _, t := range a.Rules.Tables() {
			seen[t.Name] = true
		}
	}
	names := make([]string, 0, len(seen))
	for n := range seen {
		names = append(names, n)
	}
	sort.Strings(names)
	l := &Local{Names: []string{"Tables_in_" + a.Rules.Database}}
	if s.Full {
		l.Names = append(l.Names, "Table_type")
	}
	if s.Pattern != nil {
		o, ok := a.operand(s.Pattern.Pattern)
		if !ok {
			a.refuse(unsupported("this form of SHOW TABLES LIKE", "give a plain text"))
			return
		}
		a.st.like = &o
	}
	for _, n := range names {
		row := []string{n}
		if s.Full {
			row = append(row, "BASE TABLE")
		}
		l.Rows = append(l.Rows, row)
	}
	a.st.local = l
}

// bindLocal answers without a route.
func (st *Statement) bindLocal(in *Input, out *Execution) {
	if st.like == nil {
		out.Local = st.local
		return
	}
	v, ok := st.like.get(in, st.mode)
	if !ok {
		out.Refusal = unsupported("the pattern of SHOW TABLES LIKE is not known", "")
		return
	}
	l := &Local{Names: append([]string(nil), st.local.Names...)}
	l.Names[0] += " (" + v.Text() + ")"
	for _, r := range st.local.Rows {
		if like(strings.ToLower(r[0]), strings.ToLower(v.Text())) {
			l.Rows = append(l.Rows, r)
		}
	}
	out.Local = l
}

// like matches a text against a pattern of % and _, with a backslash before what is meant literally.
func like(s, pattern string) bool {
	for pattern != "" {
		switch c := pattern[0]; {
		case c == '%':
			for i := 0; i <= len(s); i++ {
				if like(s[i:], pattern[1:]) {
					return true
				}
			}
			return false
		case s == "":
			return false
		case c == '\\' && len(pattern) > 1:
			pattern = pattern[1:]
			if s[0] != pattern[0] {
				return false
			}
		case c != '_' && s[0] != c:
			return false
		}
		s, pattern = s[1:], pattern[1:]
	}
	return s == ""
}

// structureOf sends a question about one table to its first node, and gives the answer the logical name.
func (a *analysis) structureOf(stmt ast.StmtNode, s *ast.ShowStmt) {
	b := &block{}
	a.blocks = append(a.blocks, b)
	if s.DBName != "" && !strings.EqualFold(s.DBName, a.Rules.Database) || s.Table == nil {
		a.verbatim(a.st.source)
		return
	}
	if s.Where != nil || s.Pattern != nil && s.Tp != ast.ShowColumns {
		a.refuse(unsupported("SHOW with WHERE on a table", "leave it out"))
		return
	}
	schemaOf := s.Table.Schema
	s.Table.Schema = ast.CIStr{}
	a.from(s.Table, b, false, false, true)
	s.Table.Schema = schemaOf
	t := a.tables[0]
	if t.rule == nil {
		a.verbatim(a.st.source)
		return
	}
	if t.sharded() {
		t.group = 0
		a.st.groups = []group{{refs: []*tableRef{t}, table: t.rule}}
		a.st.one = true
	} else {
		a.st.targets = []int{t.rule.Nodes[0].Target}
	}
	a.nameEdits(stmt, false)
	if s.DBName == "" {
		s.DBName = schemaOf.O // SHOW INDEX FROM table FROM database
	}
	a.dropDatabase(s.DBName)
	if physical := t.rule.Nodes[0].Table; physical != t.rule.Name {
		switch s.Tp {
		case ast.ShowCreateTable:
			a.st.spec = &merge.Spec{Limit: -1, Rewrite: []merge.Rewrite{{Column: 0, Old: physical, New: t.rule.Name}, {Column: 1, Old: quote(physical), New: quote(t.rule.Name)}}}
		case ast.ShowIndex:
			a.st.spec = &merge.Spec{Limit: -1, Rewrite: []merge.Rewrite{{Column: 0, Old: physical, New: t.rule.Name}}}
		}
	}
}

// dropDatabase takes FROM database out of SHOW COLUMNS FROM table FROM database.
func (a *analysis) dropDatabase(database string) {
	if database == "" {
		return
	}
	text := a.st.source
	l := scan.Lexer{Text: text, Mode: a.mode}
	var prev scan.Token
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		w := text[prev.Start:prev.End]
		if prev.Kind == scan.Word && (scan.EqualFold(w, "from") || scan.EqualFold(w, "in")) && strings.EqualFold(scan.Unquote(text[t.Start:t.End]), database) &&
			!strings.EqualFold(database, a.tables[0].node.Name.O) {
			a.edit(edit{start: prev.Start, end: t.End})
			return
		}
		prev = t
	}
}

// explainStatement sends EXPLAIN to every shard the statement would go to, one plan after the other.
func (a *analysis) explainStatement(stmt ast.StmtNode, x *ast.ExplainStmt, text string) {
	sel, ok := x.Stmt.(*ast.SelectStmt)
	if !ok || x.Analyze {
		a.verbatim(text)
		return
	}
	a.st.Kind = Select
	a.enter(sel, nil, topBlock)
	a.place()
	a.nameEdits(stmt, true)
	if len(a.st.groups) > 0 && a.st.scatter == nil {
		a.st.spec = &merge.Spec{Limit: -1}
		a.st.plainWide = true
	}
}

// firstNode binds a question that any node answers.
func (st *Statement) firstNode(in *Input, out *Execution) {
	t := st.groups[0].table
	picks := [1]int{0}
	out.Routes = append(out.Routes, Route{Target: t.Nodes[0].Target, Node: 0, SQL: st.sql(in, out, picks[:])})
	out.Merge = st.spec
}
