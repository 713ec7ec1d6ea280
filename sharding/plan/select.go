package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

func (a *analysis) selectStatement(s *ast.SelectStmt) {
	b := a.enter(s, nil, topBlock)
	numbers := &setsInsertID{}
	if s.Accept(numbers); numbers.found {
		a.refuse(unsupported("LAST_INSERT_ID(x) in a SELECT", "use it in an UPDATE"))
	}
	if s.Kind != ast.SelectStmtKindSelect {
		a.refuseShards("VALUES and TABLE")
		if a.anySharded() {
			a.refuse(unsupported("TABLE on a sharded table", "write SELECT * FROM"))
		}
	}
	if a.st.catalog {
		a.catalogQuery(s, b)
		s.Accept(&databaseCalls{a})
		a.headings(s)
		return
	}
	a.place()
	a.nameEdits(s, true)
	a.headings(s)
	if a.err == nil && len(a.st.groups) > 0 && a.st.scatter == nil {
		m := &merging{analysis: a, sel: s, block: b, text: a.st.source, spec: &merge.Spec{Limit: -1}}
		if r := m.run(); r != nil {
			a.st.scatter = r
		}
	}
}

func (a *analysis) unionStatement(s *ast.SetOprStmt) {
	a.union(s, nil)
	if a.st.catalog {
		a.refuse(unsupported("UNION in a question to information_schema", "ask them one by one"))
		return
	}
	a.place()
	a.nameEdits(s, true)
	if a.err == nil && !a.unionAll(s) {
		a.st.scatter = nil
		a.refuseShards("UNION, other than UNION ALL of plain rows of tables cut alike,")
	}
}

// unionAll lets a UNION ALL of plain rows run shard by shard: its branches' tables have to be cut alike, so that node by
// node every branch is asked exactly once.
func (a *analysis) unionAll(s *ast.SetOprStmt) bool {
	if s.OrderBy != nil || s.Limit != nil || s.With != nil || a.st.scatter != nil && len(a.st.groups) == 1 || len(a.st.groups) == 0 {
		return false
	}
	branches := 0
	for _, n := range s.SelectList.Selects {
		x, ok := n.(*ast.SelectStmt)
		if !ok || !rowwise(x) || x.OrderBy != nil || x.AfterSetOperator != nil && *x.AfterSetOperator != ast.UnionAll {
			return false
		}
		branches++
	}
	if branches != len(a.blocks) || branches != len(a.st.groups) {
		return false // nested queries, or branches without a sharded table
	}
	first := a.st.groups[0].table
	or := &condition{op: condOr}
	for _, g := range a.st.groups {
		if g.table != first && (first.Binding == 0 || g.table.Binding != first.Binding) {
			return false
		}
		if or != nil && g.cond != nil {
			or.kids = append(or.kids, g.cond)
		} else {
			or = nil
		}
	}
	for _, t := range a.tables {
		if a.besideShards(t) != nil {
			return false
		}
	}
	v := &session{}
	s.Accept(v)
	if v.name != "" || v.window {
		return false
	}
	one := group{table: first, cond: or}
	for _, t := range a.tables {
		if t.sharded() {
			t.group = 0
			one.refs = append(one.refs, t)
		}
	}
	a.st.groups, a.st.scatter = []group{one}, nil
	a.st.spec, a.st.plainWide = &merge.Spec{Limit: -1}, true
	return true
}

// rowwise reports that a query's rows each come from one row of its tables, so that the union of its answers on the
// shards is its answer on the whole.
func rowwise(s *ast.SelectStmt) bool {
	if s == nil || s.GroupBy != nil || s.Having != nil || s.Limit != nil || s.Distinct || len(s.WindowSpecs) > 0 || s.Fields == nil || sortsAggregates(s) {
		return false
	}
	for _, f := range s.Fields.Fields {
		if aggregates(f.Expr) {
			return false
		}
	}
	return true
}

// sortsAggregates reports that ORDER BY holds an aggregate, which alone makes one group of all rows.
func sortsAggregates(s *ast.SelectStmt) bool {
	if s.OrderBy != nil {
		for _, i := range s.OrderBy.Items {
			if aggregates(i.Expr) {
				return true
			}
		}
	}
	return false
}

// aggregates reports that an expression holds an aggregate or window function of its own query.
func aggregates(e ast.ExprNode) bool {
	if e == nil {
		return false
	}
	v := &aggregateVisitor{}
	e.Accept(v)
	return v.aggregate || v.window
}

// aggregateVisitor looks for aggregates and window functions, not descending into subqueries.
type aggregateVisitor struct{ aggregate, window bool }

func (v *aggregateVisitor) Enter(n ast.Node) (ast.Node, bool) {
	switch n.(type) {
	case *ast.AggregateFuncExpr:
		v.aggregate = true
		return n, true
	case *ast.WindowFuncExpr:
		v.window = true
		return n, true
	case *ast.SubqueryExpr:
		return n, true
	}
	return n, false
}

func (v *aggregateVisitor) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// limitPlan is a LIMIT of a scattered query.
type limitPlan struct {
	offset, count operand
	push          bool
}

// merging decides how the results of several shards become one: which columns the shards add, in which order they send
// their rows, and what is done with them.
type merging struct {
	*analysis
	sel          *ast.SelectStmt
	block        *block
	text         string
	c            clauses
	fields       []region
	wild         int // index of the first wildcard among the fields, or their number
	derived      []string
	spec         *merge.Spec
	removed      []region
	wide         []edit
	distinct     []distinctArgs
	distinctKeys []merge.Key
	groupTexts   []string
	groupKeys    []merge.Key
	orderTexts   []string
}

func (m *merging) run() *Refusal {
	if r := m.refusals(); r != nil {
		return r
	}
	var ok bool
	if m.c, ok = cut(m.text, m.mode); !ok {
		return unsupported("cannot find the clauses of the query", oneShardWay)
	}
	m.fields = items(m.text, m.mode, m.c.fields, 0)
	if len(m.fields) != len(m.sel.Fields.Fields) {
		return unsupported("cannot find the columns of the query", oneShardWay)
	}
	m.wild = len(m.fields)
	for i, f := range m.sel.Fields.Fields {
		if f.WildCard != nil {
			m.wild = min(m.wild, i)
		}
	}
	r := m.shape()
	if r == nil {
		r = m.limits()
	}
	if r == nil {
		m.finish()
	}
	return r
}

// refusals are the queries that only one shard can answer.
func (m *merging) refusals() *Refusal {
	s := m.sel
	what := ""
	v := &session{}
	s.Accept(v)
	switch {
	case s.LockInfo != nil && s.LockInfo.LockType != ast.SelectLockNone && (s.OrderBy != nil || s.Limit != nil || !rowwise(s)):
		what = "a locking read that sorts, groups or limits"
	case s.SelectIntoOpt != nil:
		what = "SELECT ... INTO"
	case len(s.WindowSpecs) > 0 || v.window:
		what = "a window function"
	case s.SelectStmtOpts != nil && s.SelectStmtOpts.CalcFoundRows:
		what = "SQL_CALC_FOUND_ROWS"
	case v.name != "":
		what = v.name
	default:
		if what = volatile(s); what == "" {
			return nil
		}
	}
	return unsupported(what+" over several shards is not supported", oneShardWay)
}

// session finds what depends on one backend's session, and window functions.
type session struct {
	name   string
	window bool
}

func (v *session) Enter(n ast.Node) (ast.Node, bool) {
	switch x := n.(type) {
	case *ast.WindowFuncExpr:
		v.window = true
	case *ast.VariableExpr:
		if !x.IsSystem {
			v.name = "user variable @" + x.Name
		}
	case *ast.FuncCallExpr:
		switch x.FnName.L {
		case "rand":
			if len(x.Args) > 0 {
				v.name = "RAND() with a seed"
			}
		case "last_insert_id", "found_rows", "row_count", "connection_id", "get_lock", "release_lock", "is_free_lock",
			"is_used_lock", "release_all_locks", "nextval", "lastval", "setval":
			v.name = strings.ToUpper(x.FnName.O) + "()"
		}
	}
	return n, false
}

func (v *session) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// setsInsertID finds LAST_INSERT_ID(x). The answer to a SELECT does not tell which number it left on its server.
type setsInsertID struct{ found bool }

func (v *setsInsertID) Enter(n ast.Node) (ast.Node, bool) {
	f, ok := n.(*ast.FuncCallExpr)
	v.found = v.found || ok && f.FnName.L == "last_insert_id" && len(f.Args) > 0
	return n, v.found
}

func (v *setsInsertID) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// shape chooses between passing rows on, grouping them and making them distinct.
func (m *merging) shape() *Refusal {
	s := m.sel
	grouped := s.GroupBy != nil || sortsAggregates(s) || s.Having != nil && aggregates(s.Having.Expr)
	for _, f := range s.Fields.Fields {
		grouped = grouped || aggregates(f.Expr)
	}
	if s.Having != nil && !grouped {
		return unsupported("HAVING without grouping over several shards", "use WHERE")
	}
	if s.GroupBy != nil && s.GroupBy.Rollup {
		return unsupported("WITH ROLLUP over several shards", oneShardWay)
	}
	if s.GroupBy != nil {
		for _, i := range s.GroupBy.Items {
			if !i.NullOrder {
				return unsupported("GROUP BY with ASC or DESC over several shards", "use ORDER BY")
			}
		}
	}
	switch {
	case grouped && s.Distinct:
		return unsupported("DISTINCT with grouping over several shards", oneShardWay)
	case grouped && m.wholeGroups():
		return m.rows()
	case grouped:
		return m.grouping()
	case s.Distinct:
		return m.distinctRows()
	}
	return m.rows()
}

// wholeGroups reports that every group lies on one shard, because the table's sharding columns, compared exactly, are
// among the grouping columns.
func (m *merging) wholeGroups() bool {
	if m.sel.GroupBy == nil || len(m.st.groups) != 1 {
		return false
	}
	for _, ref := range m.st.groups[0].refs {
		all := len(ref.rule.Columns()) > 0
		for _, column := range ref.rule.Columns() {
			col := ref.schema.Column(column)
			all = all && col != nil && col.Exact() && m.groupedBy(ref, column)
		}
		if all {
			return true
		}
	}
	return false
}

func (m *merging) groupedBy(ref *tableRef, column string) bool {
	for _, i := range m.sel.GroupBy.Items {
		if k, ok := m.column(i.Expr, m.block); ok && m.block.equal.find(k) == m.block.equal.find(columnKey{ref, column}) {
			return true
		}
	}
	return false
}

// rows passes rows on, in order if one is asked for.
func (m *merging) rows() *Refusal {
	if m.sel.OrderBy == nil {
		return nil
	}
	keys, r := m.orderKeys()
	m.spec.Keys = keys
	return r
}

func (m *merging) orderKeys() (keys []merge.Key, r *Refusal) {
	if m.sel.OrderBy == nil {
		return nil, nil
	}
	texts := items(m.text, m.mode, m.c.order, 2)
	if len(texts) != len(m.sel.OrderBy.Items) {
		return nil, unsupported("cannot find the items of ORDER BY", oneShardWay)
	}
	for i, item := range m.sel.OrderBy.Items {
		k, r := m.key(item.Expr, trimDirection(m.text, m.mode, texts[i]), true)
		if r != nil {
			return nil, r
		}
		k.Desc = item.Desc
		keys = append(keys, k)
	}
	return keys, nil
}

// limits reads LIMIT and OFFSET.
func (m *merging) limits() *Refusal {
	if m.sel.Limit == nil {
		return nil
	}
	var ops []operand
	offsetFirst := true
	l := scan.Lexer{Text: m.text[:m.c.limit.end], Pos: m.c.limit.start, Mode: m.mode}
	l.Next()
	for t := l.Next(); t.Kind != scan.EOF; t = l.Next() {
		switch {
		case t.Kind == scan.Integer:
			ops = append(ops, operand{kind: literal, index: m.varAt(t.Start)})
		case t.Kind == scan.Param:
			ops = append(ops, operand{kind: parameter, index: m.paramAt(t.Start)})
		case t.Kind == scan.Word && scan.EqualFold(m.text[t.Start:t.End], "offset"):
			offsetFirst = false
		case t.Kind == scan.Op && m.text[t.Start] == ',':
		default:
			return unsupported("this form of LIMIT over several shards", oneShardWay)
		}
	}
	lim := &limitPlan{push: !m.spec.Grouped || m.pushable()}
	switch {
	case len(ops) == 1:
		lim.count = ops[0]
		lim.offset.value = value.NewInt(0)
	case len(ops) == 2 && offsetFirst:
		lim.offset, lim.count = ops[0], ops[1]
	case len(ops) == 2:
		lim.count, lim.offset = ops[0], ops[1]
	default:
		return unsupported("this form of LIMIT over several shards", oneShardWay)
	}
	m.st.limit = lim
	if lim.push {
		m.wideEdit(edit{start: m.c.limit.start, end: m.c.limit.end, kind: editLimit})
	} else {
		m.wideEdit(edit{start: m.c.limit.start, end: m.c.limit.end})
	}
	return nil
}

// pushable reports that the first groups of the result are among the first groups of each shard.
func (m *merging) pushable() bool {
	for _, k := range m.spec.Keys {
		// Texts that are equal may differ in their weights ('a' and 'a '), so that DISTINCT with the weights beside
		// them keeps both, and a LIMIT there would cut too early.
		if m.sel.Distinct && k.Weight >= 0 {
			return false
		}
	}
	return len(m.spec.Resort) == 0 && m.spec.Having == nil && len(m.distinct) == 0 && len(m.spec.Keys) > 0
}

func (m *merging) wideEdit(e edit) {
	m.removed = append(m.removed, region{e.start, e.end})
	m.wide = append(m.wide, e)
}

// finish makes the edits of the scattered text: names, derived columns, and what was replaced.
func (m *merging) finish() {
	if len(m.derived) > 0 {
		m.wide = append(m.wide, edit{start: m.c.fields.end, end: m.c.fields.end, text: ", " + strings.Join(m.derived, ", ")})
	}
	m.spec.Strip = len(m.derived)
	for _, e := range m.st.edits {
		if !m.inside(e.start) {
			m.wide = append(m.wide, e)
		}
	}
	names := m.st.edits
	m.st.edits = nil
	for _, e := range m.wide {
		e.after = 0
		m.edit(e)
	}
	m.sortEdits()
	m.st.wide, m.st.edits = m.st.edits, names
	m.st.spec = m.spec
	for i, p := range m.params {
		if m.inside(p) {
			m.st.dropsArgs = true
			continue
		}
		m.st.wideArgs = append(m.st.wideArgs, Arg{Index: i})
	}
}

func (m *merging) inside(pos int) bool {
	for _, r := range m.removed {
		if pos >= r.start && pos < r.end {
			return true
		}
	}
	return false
}
