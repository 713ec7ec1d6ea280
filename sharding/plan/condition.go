package plan

import (
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/schema"
)

// condition is what a WHERE says about sharding columns, compiled: a tree of AND and OR over comparisons with operands.
// A nil condition says nothing: every node.
type condition struct {
	op     conditionOp
	kids   []*condition
	column string
	schema *schema.Column
	// The strategies of the group's first table that the column feeds; both may be set.
	database, table *rule.Strategy
	position        int // for complex strategies: which of their columns
	values          []operand
	lower, upper    *operand
	lowerClosed     bool
	upperClosed     bool
}

type conditionOp uint8

const (
	condAnd conditionOp = iota
	condOr
	condIn      // column equals one of values
	condRange   // lower < column < upper
	condNone    // never true
	condComplex // kids hold the values of a complex strategy's columns
)

// conditions builds the condition of every group.
func (a *analysis) conditions() {
	for i := range a.st.groups {
		g := &a.st.groups[i]
		home := g.home()
		if home == nil {
			continue
		}
		g.cond = a.all(home.filters, home, i)
	}
}

func (a *analysis) all(list []ast.ExprNode, b *block, g int) *condition {
	and := &condition{op: condAnd}
	for _, e := range list {
		if c := a.condition(e, b, g); c != nil {
			and.kids = append(and.kids, c)
		}
	}
	first := a.st.groups[g].table
	for _, s := range [...]*rule.Strategy{&first.Database, &first.Table} {
		if c := a.complexCondition(s, s == &first.Database, list, b, g); c != nil {
			and.kids = append(and.kids, c)
		}
	}
	switch len(and.kids) {
	case 0:
		return nil
	case 1:
		return and.kids[0]
	}
	and.join()
	return and
}

// join makes one range of a lower and an upper bound on the same column, so that algorithms which number the
// values between two bounds see both.
func (c *condition) join() {
	for i := 0; i < len(c.kids); i++ {
		for j := i + 1; j < len(c.kids); j++ {
			x, y := c.kids[i], c.kids[j]
			if x.op != condRange || y.op != condRange || x.column != y.column || x.database != y.database || x.table != y.table {
				continue
			}
			switch {
			case x.upper == nil && y.lower == nil:
				x.upper, x.upperClosed = y.upper, y.upperClosed
			case x.lower == nil && y.upper == nil:
				x.lower, x.lowerClosed = y.lower, y.lowerClosed
			default:
				continue
			}
			c.kids = append(c.kids[:j], c.kids[j+1:]...)
			j--
		}
	}
}

// condition compiles one expression for group g; nil when it says nothing about the group's nodes.
func (a *analysis) condition(e ast.ExprNode, b *block, g int) *condition {
	switch x := e.(type) {
	case *ast.ParenthesesExpr:
		return a.condition(x.Expr, b, g)
	case *ast.BinaryOperationExpr:
		return a.binary(x, b, g)
	case *ast.PatternInExpr:
		if x.Not || x.Sel != nil {
			return nil
		}
		return a.in(x, b, g)
	case *ast.BetweenExpr:
		if x.Not {
			return nil
		}
		c := a.leaf(condRange, x.Expr, b, g)
		lo, ok1 := a.operand(x.Left)
		hi, ok2 := a.operand(x.Right)
		if c == nil || !ok1 || !ok2 {
			return nil
		}
		c.lower, c.upper, c.lowerClosed, c.upperClosed = &lo, &hi, true, true
		return c
	case *ast.IsNullExpr:
		if c := a.leaf(condNone, x.Expr, b, g); c != nil && !x.Not {
			return nil // rows with a NULL sharding value are refused, but older data may hold some anywhere
		}
	}
	return nil
}

func (a *analysis) binary(x *ast.BinaryOperationExpr, b *block, g int) *condition {
	switch x.Op {
	case opcode.LogicAnd:
		return a.all(conjuncts(x, nil), b, g)
	case opcode.LogicOr:
		l, r := a.condition(x.L, b, g), a.condition(x.R, b, g)
		if l == nil || r == nil {
			return nil
		}
		return &condition{op: condOr, kids: []*condition{l, r}}
	case opcode.EQ, opcode.NullEQ, opcode.LT, opcode.LE, opcode.GT, opcode.GE:
		if l, ok := x.L.(*ast.RowExpr); ok {
			return a.rowEqual(x, l, b, g)
		}
		if c := a.compare(x.Op, x.L, x.R, b, g); c != nil {
			return c
		}
		return a.compare(flip(x.Op), x.R, x.L, b, g)
	}
	return nil
}

func flip(op opcode.Op) opcode.Op {
	switch op {
	case opcode.LT:
		return opcode.GT
	case opcode.LE:
		return opcode.GE
	case opcode.GT:
		return opcode.LT
	case opcode.GE:
		return opcode.LE
	}
	return op
}

func (a *analysis) compare(op opcode.Op, column, v ast.ExprNode, b *block, g int) *condition {
	o, ok := a.operand(v)
	if !ok {
		return nil
	}
	kind := condRange
	if op == opcode.EQ || op == opcode.NullEQ {
		kind = condIn
	}
	c := a.leaf(kind, column, b, g)
	if c == nil {
		return nil
	}
	switch op {
	case opcode.EQ:
		c.values = []operand{o}
	case opcode.NullEQ:
		if o.kind == constant {
			return nil // <=> NULL
		}
		c.values = []operand{o}
		if o.kind == parameter {
			return nil // may be NULL, which <=> finds
		}
	case opcode.LT, opcode.LE:
		c.upper, c.upperClosed = &o, op == opcode.LE
	default:
		c.lower, c.lowerClosed = &o, op == opcode.GE
	}
	return c
}

// rowEqual takes (a, b) = (1, 2) apart.
func (a *analysis) rowEqual(x *ast.BinaryOperationExpr, l *ast.RowExpr, b *block, g int) *condition {
	r, ok := x.R.(*ast.RowExpr)
	if !ok || x.Op != opcode.EQ || len(l.Values) != len(r.Values) {
		return nil
	}
	and := &condition{op: condAnd}
	for i := range l.Values {
		c := a.compare(opcode.EQ, l.Values[i], r.Values[i], b, g)
		if c == nil {
			c = a.compare(opcode.EQ, r.Values[i], l.Values[i], b, g)
		}
		if c != nil {
			and.kids = append(and.kids, c)
		}
	}
	if len(and.kids) == 0 {
		return nil
	}
	return and
}

func (a *analysis) in(x *ast.PatternInExpr, b *block, g int) *condition {
	if row, ok := x.Expr.(*ast.RowExpr); ok {
		return a.rowIn(x, row, b, g)
	}
	c := a.leaf(condIn, x.Expr, b, g)
	if c == nil {
		return nil
	}
	for _, e := range x.List {
		o, ok := a.operand(e)
		if !ok {
			return nil
		}
		c.values = append(c.values, o)
	}
	return c
}

// rowIn takes (a, b) IN ((1, 2), (3, 4)) apart into an OR of ANDs.
func (a *analysis) rowIn(x *ast.PatternInExpr, l *ast.RowExpr, b *block, g int) *condition {
	or := &condition{op: condOr}
	for _, e := range x.List {
		r, ok := e.(*ast.RowExpr)
		if !ok {
			return nil
		}
		c := a.rowEqual(&ast.BinaryOperationExpr{Op: opcode.EQ, L: l, R: r}, l, b, g)
		if c == nil {
			return nil
		}
		or.kids = append(or.kids, c)
	}
	return or
}

// leaf starts a comparison when the expression is a sharding column of group g, or equal to one.
func (a *analysis) leaf(op conditionOp, e ast.ExprNode, b *block, g int) *condition {
	k, ok := a.column(e, b)
	if !ok {
		return nil
	}
	class := b.equal.find(k)
	first := a.st.groups[g].refs[0]
	for _, t := range a.st.groups[g].refs {
		for _, column := range t.rule.Columns() {
			if b.equal.find(columnKey{t, column}) != class {
				continue
			}
			c := &condition{op: op, column: column, schema: t.schema.Column(column)}
			c.database, c.position = feeds(&t.rule.Database, &first.rule.Database, column)
			if s, i := feeds(&t.rule.Table, &first.rule.Table, column); s != nil {
				c.table = s
				if c.database == nil {
					c.position = i
				}
			}
			if c.database != nil || c.table != nil {
				return c
			}
		}
	}
	return nil
}

// feeds returns the first table's strategy when column is the one that feeds the same strategy of a bound table.
func feeds(s, first *rule.Strategy, column string) (*rule.Strategy, int) {
	for i, c := range s.Columns {
		if c == column && first.Standard != nil {
			return first, i
		}
	}
	return nil, 0
}

// complexCondition collects the values of a complex strategy's columns from conjuncts; nil when one has none.
func (a *analysis) complexCondition(s *rule.Strategy, database bool, list []ast.ExprNode, b *block, g int) *condition {
	if s.Complex == nil {
		return nil
	}
	c := &condition{op: condComplex}
	if database {
		c.database = s
	} else {
		c.table = s
	}
	for _, column := range s.Columns {
		k := a.columnValues(column, list, b, g)
		if k == nil {
			return nil
		}
		c.kids = append(c.kids, k)
	}
	return c
}

// columnValues finds column = x or column IN (...) among conjuncts, for a column of group g's first table.
func (a *analysis) columnValues(column string, list []ast.ExprNode, b *block, g int) *condition {
	first := a.st.groups[g].refs[0]
	is := func(e ast.ExprNode) bool {
		k, ok := a.column(e, b)
		return ok && b.equal.find(k) == b.equal.find(columnKey{first, column})
	}
	for _, e := range list {
		c := &condition{op: condIn, column: column, schema: first.schema.Column(column)}
		switch x := e.(type) {
		case *ast.BinaryOperationExpr:
			l, r := x.L, x.R
			if !is(l) {
				l, r = r, l
			}
			if x.Op != opcode.EQ || !is(l) {
				continue
			}
			o, ok := a.operand(r)
			if !ok {
				continue
			}
			c.values = []operand{o}
			return c
		case *ast.PatternInExpr:
			if x.Not || x.Sel != nil || !is(x.Expr) {
				continue
			}
			for _, v := range x.List {
				o, ok := a.operand(v)
				if !ok {
					c.values = nil
					break
				}
				c.values = append(c.values, o)
			}
			if len(c.values) > 0 {
				return c
			}
		}
	}
	return nil
}
