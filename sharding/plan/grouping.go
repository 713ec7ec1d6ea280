package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/schema"
)

// grouping merges groups that lie on several shards: the shards send their groups sorted, equal ones meet in the merge.
func (m *merging) grouping() *Refusal {
	m.spec.Grouped = true
	if m.wild < len(m.fields) {
		return unsupported("* with grouping over several shards", "name the columns")
	}
	if r := m.groupItems(); r != nil {
		return r
	}
	for i, f := range m.sel.Fields.Fields {
		if r := m.groupField(i, f.Expr); r != nil {
			return r
		}
	}
	if len(m.distinct) > 0 && m.sel.GroupBy == nil {
		for _, f := range m.sel.Fields.Fields {
			if !aggregates(f.Expr) { // where no shard has a row, nobody says it
				return unsupported("a constant beside aggregates of DISTINCT values over several shards", "leave it out")
			}
		}
	}
	if r := m.having(); r != nil {
		return r
	}
	order, r := m.orderKeys()
	if r != nil {
		return r
	}
	m.arrange(order)
	m.shardOrder()
	return nil
}

func (m *merging) groupItems() *Refusal {
	if m.sel.GroupBy == nil {
		return nil
	}
	texts := items(m.text, m.mode, m.c.group, 2)
	if len(texts) != len(m.sel.GroupBy.Items) {
		return unsupported("cannot find the items of GROUP BY", oneShardWay)
	}
	for i, item := range m.sel.GroupBy.Items {
		k, r := m.key(item.Expr, trimDirection(m.text, m.mode, texts[i]), false)
		if r != nil {
			return r
		}
		text, r := m.copied(texts[i])
		if r != nil {
			return r
		}
		m.groupKeys = append(m.groupKeys, k)
		m.groupTexts = append(m.groupTexts, text)
	}
	return nil
}

// groupField decides what fills a field: an aggregate, an expression over aggregates, or the group's first row.
func (m *merging) groupField(i int, e ast.ExprNode) *Refusal {
	for {
		p, ok := e.(*ast.ParenthesesExpr)
		if !ok {
			break
		}
		e = p.Expr
	}
	if agg, ok := e.(*ast.AggregateFuncExpr); ok {
		_, r := m.aggregate(agg, i)
		return r
	}
	if !aggregates(e) {
		if m.sel.GroupBy == nil && !constantExpr(e) {
			return unsupported("a column beside aggregates without GROUP BY over several shards", "group by it, or wrap it in an aggregate")
		}
		return nil
	}
	x, r := m.expression(e, true)
	if r == nil {
		m.spec.Computed = append(m.spec.Computed, merge.Computed{Column: i, Expr: x})
	}
	return r
}

func constantExpr(e ast.ExprNode) bool {
	v := &columnVisitor{}
	e.Accept(v)
	return !v.found
}

func literalExpr(e ast.ExprNode) bool {
	for {
		p, ok := e.(*ast.ParenthesesExpr)
		if !ok {
			_, literal := e.(ast.ValueExpr)
			return literal
		}
		e = p.Expr
	}
}

type columnVisitor struct{ found bool }

func (v *columnVisitor) Enter(n ast.Node) (ast.Node, bool) {
	switch n.(type) {
	case *ast.ColumnName, *ast.SubqueryExpr:
		v.found = true
	}
	return n, v.found
}

func (v *columnVisitor) Leave(n ast.Node) (ast.Node, bool) { return n, true }

var plainAggregates = map[string]merge.Func{
	"count": merge.Count, "sum": merge.SumOf, "min": merge.Min, "max": merge.Max, "avg": merge.Avg,
	"bit_and": merge.BitAnd, "bit_or": merge.BitOr, "bit_xor": merge.BitXor,
}

// aggregate takes an aggregate into the merge. column is the field it fills, or -1: a derived one. It returns the column.
func (m *merging) aggregate(x *ast.AggregateFuncExpr, column int) (int, *Refusal) {
	f, ok := plainAggregates[strings.ToLower(x.F)]
	if !ok {
		return 0, unsupported(strings.ToUpper(x.F)+" over several shards", oneShardWay)
	}
	at := x.OriginTextPosition()
	inner, ok := parenthesised(m.text, m.mode, at)
	if !ok {
		return 0, unsupported("cannot find the arguments of "+strings.ToUpper(x.F), oneShardWay)
	}
	args, r := m.copied(inner)
	if r != nil {
		return 0, r
	}
	distinct := x.Distinct && (f == merge.Count || f == merge.SumOf || f == merge.Avg)
	name := strings.ToUpper(x.F)
	call := name + "(" + args + ")"
	if distinct {
		call = name + "(DISTINCT " + args + ")"
	}
	if column < 0 {
		column = m.derive(call)
	}
	for _, a := range m.spec.Aggregates {
		if a.Column == column {
			return column, nil
		}
	}
	agg := merge.Aggregate{Func: f, Column: column, Input: column, Key: merge.PlainKey(0, false)}
	switch {
	case distinct:
		r = m.distinctAggregate(x, &agg, args)
	case f == merge.Avg:
		agg.Input, agg.Count = m.derive("SUM("+args+")"), m.derive("COUNT("+args+")")
	case f == merge.Min || f == merge.Max:
		k := m.typedExtreme(x.Args[0], call)
		agg.Key = k
	}
	m.spec.Aggregates = append(m.spec.Aggregates, agg)
	return column, r
}

// typedExtreme makes the key by which minima or maxima compare: text by its weight.
func (m *merging) typedExtreme(arg ast.ExprNode, call string) merge.Key {
	k := merge.PlainKey(0, false)
	class, collation := m.typeOf(arg)
	switch class {
	case schema.Integer, schema.Decimal, schema.Float, schema.Date, schema.Datetime, schema.Time, schema.Binary:
		return k
	}
	k.Weight = m.derive("WEIGHT_STRING(" + call + ")")
	if k.Name = collation; collation == "" || class == schema.Enum {
		k.Collation = m.derive("COLLATION(" + call + ")")
	}
	return k
}

// distinctArgs are the arguments of DISTINCT aggregates: their text, and which of distinctKeys they make.
type distinctArgs struct {
	text        string
	first, keys int
}

// distinctAggregate makes the shards group by the arguments too. Equal values of the first arguments then meet in the
// merge; those of others are held there.
func (m *merging) distinctAggregate(x *ast.AggregateFuncExpr, agg *merge.Aggregate, args string) *Refusal {
	switch agg.Func {
	case merge.Count:
		agg.Func = merge.CountDistinct
	case merge.SumOf:
		agg.Func = merge.SumDistinct
	default:
		agg.Func, agg.Input, agg.Count = merge.AvgDistinct, m.derive("SUM(DISTINCT "+args+")"), m.derive("COUNT(DISTINCT "+args+")")
	}
	for _, d := range m.distinct {
		if d.text == args {
			agg.First, agg.Keys = d.first, d.keys
			return nil
		}
	}
	agg.First, agg.Keys = len(m.distinctKeys), len(x.Args)
	m.distinct = append(m.distinct, distinctArgs{args, agg.First, agg.Keys})
	inner, _ := parenthesised(m.text, m.mode, x.OriginTextPosition())
	for i, r := range items(m.text, m.mode, inner, 0) {
		text, refusal := m.copied(r)
		if refusal != nil {
			return refusal
		}
		if literalExpr(x.Args[i]) { // servers group by a number as by a position
			return unsupported("an aggregate of a constant's DISTINCT values over several shards", "leave it out")
		}
		m.distinctKeys = append(m.distinctKeys, m.typedKey(x.Args[i], text, -1))
		m.groupTexts = append(m.groupTexts, text)
	}
	return nil
}

// arrange chooses the order in which groups meet. If ORDER BY sorts by grouping columns alone, that is it, and the
// result streams; else the groups are sorted again.
func (m *merging) arrange(order []merge.Key) {
	m.spec.Group = len(m.groupKeys)
	used := make([]bool, len(m.groupKeys))
	var keys []merge.Key
	var texts []string
	inGroup := true
	for _, o := range order {
		j := -1
		for i, k := range m.groupKeys {
			if k.Column == o.Column {
				j = i
			}
		}
		if j < 0 {
			inGroup = false
			break
		}
		if used[j] {
			continue
		}
		used[j] = true
		keys = append(keys, o)
		texts = append(texts, direction(m.groupTexts[j], o.Desc))
	}
	if !inGroup {
		m.spec.Resort = order
		keys, texts = nil, nil
		used = make([]bool, len(m.groupKeys))
	}
	for i, k := range m.groupKeys {
		if !used[i] {
			keys = append(keys, k)
			texts = append(texts, m.groupTexts[i])
		}
	}
	m.spec.Keys = append(keys, m.distinctKeys...)
	m.orderTexts = append(texts, m.groupTexts[len(m.groupKeys):]...)
}

func direction(text string, desc bool) string {
	if desc {
		return text + " DESC"
	}
	return text
}

// shardOrder rewrites the clauses after WHERE for the shards.
func (m *merging) shardOrder() {
	if len(m.distinct) > 0 {
		extra := strings.Join(m.groupTexts[len(m.groupKeys):], ", ")
		if m.sel.GroupBy == nil {
			m.wide = append(m.wide, edit{start: m.c.group.end, end: m.c.group.end, text: " GROUP BY " + extra})
		} else {
			m.wide = append(m.wide, edit{start: m.c.group.end, end: m.c.group.end, text: ", " + extra})
		}
	}
	if m.sel.Having != nil {
		m.wideEdit(edit{start: m.c.having.start, end: m.c.having.end})
	}
	text := ""
	if len(m.orderTexts) > 0 {
		text = "ORDER BY " + strings.Join(m.orderTexts, ", ")
	}
	switch {
	case m.sel.OrderBy != nil:
		m.wideEdit(edit{start: m.c.order.start, end: m.c.order.end, text: text})
	case text != "":
		m.wide = append(m.wide, edit{start: m.c.order.end, end: m.c.order.end, text: " " + text})
	}
}

// distinctRows makes the rows of several shards distinct: a group by every column.
func (m *merging) distinctRows() *Refusal {
	m.spec.Grouped = true
	if m.wild < len(m.fields) {
		return unsupported("SELECT DISTINCT * over several shards", "name the columns")
	}
	for i := range m.fields {
		k, r := m.fieldKey(i)
		if r != nil {
			return r
		}
		text, r := m.copied(m.fieldText(i))
		if r != nil {
			return r
		}
		if constantExpr(m.sel.Fields.Fields[i].Expr) {
			text = "(" + text + ")" // a bare number would be a position
		}
		m.groupKeys = append(m.groupKeys, k)
		m.groupTexts = append(m.groupTexts, text)
	}
	order, r := m.orderKeys()
	if r != nil {
		return r
	}
	m.arrange(order)
	if len(m.spec.Resort) > 0 {
		return unsupported("SELECT DISTINCT sorted by what is not selected, over several shards", "select the sorted column too")
	}
	m.shardOrder()
	return nil
}
