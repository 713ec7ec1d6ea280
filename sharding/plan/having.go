package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/sidewire/sidewire/sharding/merge"
)

// having compiles HAVING, which only merged groups can be asked.
func (m *merging) having() *Refusal {
	if m.sel.Having == nil {
		return nil
	}
	x, r := m.expression(m.sel.Having.Expr, false)
	m.spec.Having = x
	return r
}

var exprOps = map[opcode.Op]merge.Op{
	opcode.Plus: merge.OpAdd, opcode.Minus: merge.OpSub, opcode.Mul: merge.OpMul, opcode.Div: merge.OpDiv,
	opcode.EQ: merge.OpEQ, opcode.NE: merge.OpNE, opcode.LT: merge.OpLT, opcode.LE: merge.OpLE, opcode.GT: merge.OpGT,
	opcode.GE: merge.OpGE, opcode.LogicAnd: merge.OpAnd, opcode.LogicOr: merge.OpOr,
}

// expression compiles an expression over aggregates. outermost says that its result fills a column, whose type says how
// many digits a division has.
func (m *merging) expression(e ast.ExprNode, outermost bool) (*merge.Expr, *Refusal) {
	switch x := e.(type) {
	case *ast.ParenthesesExpr:
		return m.expression(x.Expr, outermost)
	case *ast.AggregateFuncExpr:
		column, r := m.aggregate(x, -1)
		return &merge.Expr{Op: merge.OpColumn, Column: column}, r
	case *ast.ColumnNameExpr:
		return m.expressionColumn(x)
	case *ast.BinaryOperationExpr:
		op, ok := exprOps[x.Op]
		if !ok || op == merge.OpDiv && !outermost {
			return nil, m.tooComplex()
		}
		return m.apply(op, x.L, x.R)
	case *ast.UnaryOperationExpr:
		switch x.Op {
		case opcode.Minus:
			return m.apply(merge.OpNeg, x.V)
		case opcode.Not, opcode.Not2:
			return m.apply(merge.OpNot, x.V)
		}
	case *ast.IsNullExpr:
		n, r := m.apply(merge.OpIsNull, x.Expr)
		return negate(n, x.Not), r
	case *ast.BetweenExpr:
		lo, r := m.apply(merge.OpGE, x.Expr, x.Left)
		if r != nil {
			return nil, r
		}
		hi, r := m.apply(merge.OpLE, x.Expr, x.Right)
		return negate(&merge.Expr{Op: merge.OpAnd, Args: []*merge.Expr{lo, hi}}, x.Not), r
	case *ast.PatternInExpr:
		if x.Sel == nil {
			n, r := m.apply(merge.OpIn, append([]ast.ExprNode{x.Expr}, x.List...)...)
			return negate(n, x.Not), r
		}
	case *ast.FuncCallExpr:
		if n := x.FnName.L; (n == "ifnull" || n == "coalesce") && len(x.Args) > 0 {
			return m.apply(merge.OpCoalesce, x.Args...)
		}
	default:
		if o, ok := m.operand(e); ok {
			m.st.consts = append(m.st.consts, o)
			return &merge.Expr{Op: merge.OpConst, Const: len(m.st.consts) - 1}, nil
		}
	}
	return nil, m.tooComplex()
}

func negate(e *merge.Expr, not bool) *merge.Expr {
	if not {
		return &merge.Expr{Op: merge.OpNot, Args: []*merge.Expr{e}}
	}
	return e
}

func (m *merging) tooComplex() *Refusal {
	return unsupported("this expression over aggregates of several shards", "select the aggregates and compute it in the application")
}

func (m *merging) apply(op merge.Op, args ...ast.ExprNode) (*merge.Expr, *Refusal) {
	out := &merge.Expr{Op: op}
	for _, a := range args {
		x, r := m.expression(a, false)
		if r != nil {
			return nil, r
		}
		out.Args = append(out.Args, x)
	}
	return out, nil
}

// expressionColumn finds the column that a name in HAVING means: a grouping column or an alias.
func (m *merging) expressionColumn(x *ast.ColumnNameExpr) (*merge.Expr, *Refusal) {
	i, _, more := m.fieldNamed(x.Name)
	if more {
		return nil, unsupported("several columns of the query answer to "+x.Name.Name.O, "give them different aliases")
	}
	if i >= 0 {
		return &merge.Expr{Op: merge.OpColumn, Column: i}, nil
	}
	for j, item := range m.groupItemsOf() {
		c, ok := item.Expr.(*ast.ColumnNameExpr)
		if ok && c.Name.Name.L == x.Name.Name.L && (x.Name.Table.O == "" || c.Name.Table.O == "" || strings.EqualFold(c.Name.Table.O, x.Name.Table.O)) {
			return &merge.Expr{Op: merge.OpColumn, Column: m.groupKeys[j].Column}, nil
		}
	}
	return nil, unsupported("column "+x.Name.Name.O+" in HAVING is not grouped by", "group by it")
}

func (m *merging) groupItemsOf() []*ast.ByItem {
	if m.sel.GroupBy == nil {
		return nil
	}
	return m.sel.GroupBy.Items
}
