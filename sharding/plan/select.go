package plan

import (
	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/merge"
)

func (a *analysis) selectStatement(s *ast.SelectStmt) {
	b := a.enter(s, nil, topBlock)
	if s.From == nil && s.Fields == nil {
		a.refuseShards("VALUES and TABLE")
	}
	a.place()
	a.nameEdits(s, true)
	if a.err == nil && len(a.st.groups) > 0 && a.st.scatter == nil {
		a.merging(s, b)
	}
}

func (a *analysis) unionStatement(s *ast.SetOprStmt) {
	a.union(s, nil)
	a.place()
	a.nameEdits(s, true)
	a.refuseShards("UNION")
}

// rowwise reports that a query's rows each come from one row of its tables, so that the union of its answers on the
// shards is its answer on the whole.
func rowwise(s *ast.SelectStmt) bool {
	if s == nil || s.GroupBy != nil || s.Having != nil || s.Limit != nil || s.Distinct || len(s.WindowSpecs) > 0 || s.Fields == nil {
		return false
	}
	v := &aggregateVisitor{}
	for _, f := range s.Fields.Fields {
		if f.Expr != nil {
			f.Expr.Accept(v)
		}
	}
	return !v.found
}

// aggregateVisitor looks for aggregates and window functions, not descending into subqueries.
type aggregateVisitor struct{ found bool }

func (v *aggregateVisitor) Enter(n ast.Node) (ast.Node, bool) {
	switch n.(type) {
	case *ast.AggregateFuncExpr, *ast.WindowFuncExpr:
		v.found = true
		return n, true
	case *ast.SubqueryExpr:
		return n, true
	}
	return n, v.found
}

func (v *aggregateVisitor) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// limitPlan is a LIMIT of a scattered query.
type limitPlan struct {
	offset, count operand
	hasOffset     bool
	pushed        uint64 // what each shard is asked for, in one execution
}

// merging decides how the results of several shards become one.
func (a *analysis) merging(s *ast.SelectStmt, b *block) {
	switch {
	case s.OrderBy != nil:
		a.refuseShards("ORDER BY")
	case s.GroupBy != nil:
		a.refuseShards("GROUP BY")
	case s.Having != nil:
		a.refuseShards("HAVING")
	case s.Distinct:
		a.refuseShards("DISTINCT")
	case s.Limit != nil:
		a.refuseShards("LIMIT")
	case s.LockInfo != nil && s.LockInfo.LockType != ast.SelectLockNone:
		a.refuseShards("a locking read")
	case s.SelectIntoOpt != nil:
		a.refuseShards("SELECT ... INTO")
	case len(s.WindowSpecs) > 0:
		a.refuseShards("a window function")
	}
	if a.st.scatter != nil {
		return
	}
	if rowwise(s) {
		a.st.spec = &merge.Spec{Limit: -1}
		return
	}
	spec := &merge.Spec{Limit: -1, One: true}
	for i, f := range s.Fields.Fields {
		agg, ok := f.Expr.(*ast.AggregateFuncExpr)
		if !ok {
			a.refuseShards("an expression beside aggregates")
			return
		}
		fn, ok := map[string]merge.Func{"count": merge.Count, "sum": merge.SumOf, "min": merge.Min, "max": merge.Max}[agg.F]
		if !ok || agg.Distinct {
			a.refuseShards("this aggregate (" + agg.F + ")")
			return
		}
		spec.Aggregates = append(spec.Aggregates, merge.Aggregate{Func: fn, Column: i, Input: i})
	}
	a.st.spec = spec
}
