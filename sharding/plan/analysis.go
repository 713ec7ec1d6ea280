package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
)

// analysis is the work of planning one text.
type analysis struct {
	*Planner
	st     *Statement
	mode   scan.Mode
	params []int // offsets of the ? markers
	blocks []*block
	tables []*tableRef
	err    *Refusal
}

// block is one query block: a SELECT, or the table part of an UPDATE or DELETE.
type block struct {
	parent  *block
	sel     *ast.SelectStmt
	tables  []*tableRef
	filters []ast.ExprNode // conjuncts every row of the block's result satisfies
	role    blockRole
	pairs   []pairing    // what joins compare, outer joins included: it pairs rows, but filters none
	equal   classes      // columns equal in the rows of this block; set by link
	link    ast.ExprNode // for inQuery: the left side
	ctes    map[string]bool
}

// pairing is what one join compares. Where an outer join fills a side with NULLs, that side's tables are its own.
type pairing struct {
	on     []ast.ExprNode
	using  [][2]columnKey
	filled []*tableRef // nil: an inner join
}

type blockRole uint8

const (
	topBlock blockRole = iota
	derived            // in FROM
	subquery           // EXISTS, scalar, comparison
	inQuery            // x IN (SELECT y ...)
	branch             // of a UNION
)

// tableRef is one table in a FROM clause.
type tableRef struct {
	block  *block
	name   string // as a column's qualifier: the alias, or the table's own name
	alias  bool
	rule   *rule.Table    // nil: a table no rule names, or a derived one
	schema *schema.Table  // nil: unknown
	node   *ast.TableName // nil: derived
	inner  *block         // derived
	// optional: on the side of an outer join that may be filled with NULLs. outer: on the side that is kept whole.
	optional, kept bool
	group          int
	index          int
}

func (t *tableRef) sharded() bool { return t.rule != nil && t.rule.Kind == rule.Sharded }

// column returns what is known of a column, nil if nothing is.
func (t *tableRef) column(name string) *schema.Column {
	if t == nil {
		return nil
	}
	return t.schema.Column(name)
}

func (a *analysis) refuse(r *Refusal) {
	if a.err == nil {
		a.err = r
	}
}

// enter reads one SELECT and everything below it.
func (a *analysis) enter(sel *ast.SelectStmt, parent *block, role blockRole) *block {
	b := &block{parent: parent, sel: sel, role: role}
	if parent != nil {
		b.ctes = parent.ctes
	}
	a.blocks = append(a.blocks, b)
	if sel.With != nil {
		a.refuseShards("WITH")
		a.with(sel.With, b)
	}
	if sel.From != nil {
		a.from(sel.From.TableRefs, b, false, false, true)
	}
	if sel.Where != nil {
		b.filters = conjuncts(sel.Where, b.filters)
	}
	a.subqueries(b, sel.Where)
	if sel.Fields != nil {
		for _, f := range sel.Fields.Fields {
			a.subqueries(b, f.Expr)
		}
	}
	if sel.Having != nil {
		a.subqueries(b, sel.Having.Expr)
	}
	if sel.GroupBy != nil {
		for _, i := range sel.GroupBy.Items {
			a.subqueries(b, i.Expr)
		}
	}
	if sel.OrderBy != nil {
		for _, i := range sel.OrderBy.Items {
			a.subqueries(b, i.Expr)
		}
	}
	if parent != nil {
		a.foreignAggregates(b)
	}
	return b
}

// foreignAggregates finds aggregates over columns of an outer query alone: they group that query's rows, not the block's.
func (a *analysis) foreignAggregates(b *block) {
	v := &aggregateArguments{}
	b.sel.Accept(v)
	for _, columns := range v.list {
		foreign := len(columns) > 0
		for _, c := range columns {
			k, ok := a.column(c, b)
			foreign = foreign && (ok && k.table.block != b || !ok && len(b.tables) == 0)
		}
		if foreign {
			a.refuseShards("an aggregate of an outer query's columns inside a subquery")
		}
	}
}

// aggregateArguments collects the columns of each aggregate, not descending into subqueries.
type aggregateArguments struct {
	list  [][]*ast.ColumnNameExpr
	depth int
}

func (v *aggregateArguments) Enter(n ast.Node) (ast.Node, bool) {
	switch x := n.(type) {
	case *ast.SubqueryExpr:
		return n, true
	case *ast.AggregateFuncExpr:
		v.list = append(v.list, nil)
		v.depth++
	case *ast.ColumnNameExpr:
		if v.depth > 0 {
			v.list[len(v.list)-1] = append(v.list[len(v.list)-1], x)
		}
	}
	return n, false
}

func (v *aggregateArguments) Leave(n ast.Node) (ast.Node, bool) {
	if _, ok := n.(*ast.AggregateFuncExpr); ok {
		v.depth--
	}
	return n, true
}

// result enters what may stand where a query stands: a SELECT, or a UNION of them.
func (a *analysis) result(n ast.ResultSetNode, parent *block, role blockRole) *block {
	switch x := n.(type) {
	case *ast.SelectStmt:
		return a.enter(x, parent, role)
	case *ast.SetOprStmt:
		a.union(x, parent)
		return nil
	case *ast.SubqueryExpr:
		return a.result(x.Query, parent, role)
	}
	a.refuseShards("this kind of query expression")
	return nil
}

func (a *analysis) union(u *ast.SetOprStmt, parent *block) {
	if u.With != nil {
		holder := &block{parent: parent, role: derived}
		a.blocks = append(a.blocks, holder)
		a.with(u.With, holder)
		parent = holder
	}
	a.branches(u.SelectList, parent)
	if parent != nil {
		a.refuseShards("a UNION inside another query")
	}
}

func (a *analysis) branches(list *ast.SetOprSelectList, parent *block) {
	if list.With != nil {
		a.refuseShards("WITH inside a UNION")
		a.with(list.With, parent)
	}
	for _, n := range list.Selects {
		switch x := n.(type) {
		case *ast.SelectStmt:
			a.enter(x, parent, branch)
		case *ast.SetOprSelectList:
			a.branches(x, parent)
		case *ast.SetOprStmt:
			a.union(x, parent)
		}
	}
}

func (a *analysis) with(w *ast.WithClause, b *block) {
	if b == nil {
		b = &block{role: derived}
		a.blocks = append(a.blocks, b)
	}
	names := map[string]bool{}
	for n := range b.ctes {
		names[n] = true
	}
	b.ctes = names
	for _, c := range w.CTEs {
		if w.IsRecursive {
			names[c.Name.L] = true
		}
		a.result(c.Query.Query, b, derived)
		names[c.Name.L] = true
	}
}

// refuseShards notes that the statement runs on one target only.
func (a *analysis) refuseShards(what string) {
	if a.st.scatter == nil {
		a.st.scatter = unsupported(what+" over several shards is not supported", oneShardWay)
	}
}

const oneShardWay = "give one value of the sharding column to every sharded table, so that one shard answers"

// from reads a FROM clause. inner says that no outer join stands between this part and the block's result.
func (a *analysis) from(n ast.ResultSetNode, b *block, optional, kept, inner bool) {
	switch x := n.(type) {
	case nil:
	case *ast.Join:
		a.join(x, b, optional, kept, inner)
	case *ast.TableSource:
		a.source(x, b, optional, kept)
	case *ast.TableName:
		a.table(x, "", b, optional, kept)
	default:
		a.refuseShards("this kind of table reference")
		if r, ok := n.(*ast.SelectStmt); ok {
			a.enter(r, b, derived)
		} else if r, ok := n.(*ast.SetOprStmt); ok {
			a.union(r, b)
		}
	}
}

func (a *analysis) join(j *ast.Join, b *block, optional, kept, inner bool) {
	left, right := j.Tp == ast.LeftJoin, j.Tp == ast.RightJoin
	first := len(b.tables)
	a.from(j.Left, b, optional || right, kept || left, inner && !right)
	if j.Right == nil {
		return
	}
	start := len(b.tables)
	a.from(j.Right, b, optional || left, kept || right, inner && !left)
	if j.NaturalJoin {
		a.refuseShards("NATURAL JOIN")
	}
	p := pairing{}
	switch {
	case left:
		p.filled = b.tables[start:]
	case right:
		p.filled = b.tables[first:start]
	}
	for _, c := range j.Using {
		a.using(&p, c.Name.L, b.tables[first:], start-first)
	}
	if j.On != nil {
		p.on = conjuncts(j.On.Expr, nil)
		a.subqueries(b, j.On.Expr)
		if inner && !left && !right {
			b.filters = append(b.filters, p.on...)
		}
	}
	b.pairs = append(b.pairs, p)
}

// using notes that the joined column of the left side, the first tables of a join, and of the right side are equal.
func (a *analysis) using(p *pairing, column string, tables []*tableRef, start int) {
	var l, r *tableRef
	for i, t := range tables {
		if t.schema.Column(column) == nil && !(t.rule != nil && t.rule.Sharding(column)) {
			continue
		}
		if i < start {
			l = t
		} else {
			r = t
		}
	}
	if l != nil && r != nil && a.comparable(key(l, column), key(r, column)) {
		p.using = append(p.using, [2]columnKey{key(l, column), key(r, column)})
	}
}

func (a *analysis) source(s *ast.TableSource, b *block, optional, kept bool) {
	switch x := s.Source.(type) {
	case *ast.TableName:
		a.table(x, s.AsName.O, b, optional, kept)
	case *ast.Join:
		a.from(x, b, optional, kept, false)
	default:
		t := a.add(&tableRef{block: b, name: s.AsName.O, alias: true, optional: optional, kept: kept})
		t.inner = a.result(x, b, derived)
	}
}

func (a *analysis) add(t *tableRef) *tableRef {
	t.index = len(a.tables)
	t.group = -1
	a.tables = append(a.tables, t)
	t.block.tables = append(t.block.tables, t)
	return t
}

func (a *analysis) table(n *ast.TableName, alias string, b *block, optional, kept bool) {
	t := &tableRef{block: b, name: n.Name.O, node: n, optional: optional, kept: kept}
	if alias != "" {
		t.name, t.alias = alias, true
	}
	if n.Schema.O == "" && b.ctes[n.Name.L] {
		a.add(t)
		return
	}
	if n.Schema.O != "" && !strings.EqualFold(n.Schema.O, a.Rules.Database) {
		a.foreign(n.Schema.O)
		a.add(t)
		return
	}
	if len(n.PartitionNames) > 0 {
		a.refuseShards("PARTITION (...) of a table")
	}
	t.rule = a.lookup(n.Name.O)
	t.schema = a.Schema.Table(n.Name.O)
	a.st.unknown = a.st.unknown || a.Schema != nil && t.schema == nil && t.sharded()
	a.st.addTable(n.Name.L)
	a.add(t)
}

// foreign refuses other databases, except the server's own, which every target answers alike.
func (a *analysis) foreign(database string) {
	switch strings.ToLower(database) {
	case "mysql", "performance_schema", "sys":
		return
	case "information_schema":
		a.st.catalog = true
		return
	}
	a.refuse(&Refusal{1044, "42000", "database " + database + " is not part of the virtual database " + a.Rules.Database, ""})
}

// lookup returns the rule of a table: the file's own, or the single-table rule that discovery or the default source makes.
func (p *Planner) lookup(table string) *rule.Table {
	if t := p.Rules.Lookup(table); t != nil {
		return t
	}
	target := p.Rules.Default
	if p.Schema != nil {
		if i := p.Rules.TargetIndex(p.Schema.Sources[strings.ToLower(table)]); i >= 0 {
			target = i
		}
	}
	return &rule.Table{Name: table, Kind: rule.Single, Nodes: []rule.Node{{Target: target, Table: table}}}
}

func (st *Statement) addTable(name string) {
	for _, t := range st.Tables {
		if t == name {
			return
		}
	}
	st.Tables = append(st.Tables, name)
}

// conjuncts flattens an AND tree.
func conjuncts(e ast.ExprNode, into []ast.ExprNode) []ast.ExprNode {
	switch x := e.(type) {
	case nil:
		return into
	case *ast.ParenthesesExpr:
		return conjuncts(x.Expr, into)
	case *ast.BinaryOperationExpr:
		if x.Op == opcode.LogicAnd {
			return conjuncts(x.R, conjuncts(x.L, into))
		}
	}
	return append(into, e)
}

// columnKey names a column of a table reference.
type columnKey struct {
	table  *tableRef
	column string // lower case
}

func key(t *tableRef, column string) columnKey { return columnKey{t, strings.ToLower(column)} }

// comparable reports that equal values of the two columns are decided alike by a sharding algorithm: when their types are
// known, they have to be of one class, and text exact.
func (a *analysis) comparable(l, r columnKey) bool {
	x, y := l.table.schema.Column(l.column), r.table.schema.Column(r.column)
	if x == nil || y == nil {
		return a.Schema == nil || !l.table.sharded() && !r.table.sharded()
	}
	return x.Class == y.Class && (x.Class != schema.Text || x.Exact() && y.Exact())
}

// column resolves a column reference to the table it belongs to, looking outwards from block b.
func (a *analysis) column(e ast.ExprNode, b *block) (columnKey, bool) {
	if p, ok := e.(*ast.ParenthesesExpr); ok {
		return a.column(p.Expr, b)
	}
	c, ok := e.(*ast.ColumnNameExpr)
	if !ok {
		return columnKey{}, false
	}
	for ; b != nil; b = b.parent {
		t, final := resolve(c.Name, b)
		if t != nil {
			return key(t, c.Name.Name.L), true
		}
		if final {
			break
		}
	}
	return columnKey{}, false
}

// resolve finds a column's table in one block. final means that no outer block may be asked.
func resolve(c *ast.ColumnName, b *block) (found *tableRef, final bool) {
	unknown := false
	for _, t := range b.tables {
		if c.Table.L != "" {
			if strings.EqualFold(t.name, c.Table.O) {
				return t, true
			}
			continue
		}
		switch {
		case t.schema != nil:
			if t.schema.Column(c.Name.L) == nil {
				continue
			}
		case t.rule != nil && t.rule.Sharding(c.Name.L):
			// A valid statement names a column of one table only, and this table has it.
		case len(b.tables) == 1 && t.rule != nil && b.parent == nil:
		default:
			unknown = true
			continue
		}
		if found != nil {
			return nil, true // ambiguous: the server will say so
		}
		found = t
	}
	return found, unknown
}

// subqueries enters the subqueries of an expression.
func (a *analysis) subqueries(b *block, e ast.ExprNode) {
	if e == nil {
		return
	}
	e.Accept(&subqueryVisitor{a, b})
}

type subqueryVisitor struct {
	a *analysis
	b *block
}

func (v *subqueryVisitor) Enter(n ast.Node) (ast.Node, bool) {
	switch x := n.(type) {
	case *ast.PatternInExpr:
		if q, ok := x.Sel.(*ast.SubqueryExpr); ok {
			x.Expr.Accept(v)
			if inner := v.a.result(q.Query, v.b, inQuery); inner != nil {
				inner.link = x.Expr
			}
			return n, true
		}
	case *ast.SubqueryExpr:
		v.a.result(x.Query, v.b, subquery)
		return n, true
	}
	return n, false
}

func (v *subqueryVisitor) Leave(n ast.Node) (ast.Node, bool) { return n, true }
