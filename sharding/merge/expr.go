package merge

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/sidewire/sidewire/sharding/value"
)

// Expr is an expression over a group's row: what stands around aggregates in a projection, or a HAVING. It knows exact
// numbers, and approximate ones where no rounding can differ; anything else is refused when it is built or met.
type Expr struct {
	Op     Op
	Column int // OpColumn
	Const  int // OpConst: index into Spec.Consts
	Args   []*Expr
}

// Op is an operation.
type Op uint8

// Operations.
const (
	OpColumn Op = iota
	OpConst
	OpNeg
	OpAdd
	OpSub
	OpMul
	OpDiv // only as the outermost of a projection: its digits are those of the column
	OpEQ
	OpNE
	OpLT
	OpLE
	OpGT
	OpGE
	OpAnd
	OpOr
	OpNot
	OpIsNull
	OpIn       // first equals one of the rest
	OpCoalesce // first that is not NULL
)

// ErrExpr means an expression over aggregates met values it cannot compute exactly as a server would.
var ErrExpr = errors.New("an expression over aggregates of several shards cannot be computed exactly; compute it in the application")

// number is an exact or approximate number, or NULL.
type number struct {
	valid  bool
	approx bool
	d      decimal
	f      float64
	fine   *decimal // see cell.fine
	// blurred: made of a quotient. How far servers round it before they compare it is their own affair.
	blurred bool
}

func boolNumber(b bool) (n number) {
	n.valid = true
	if b {
		n.d.unscaled.SetInt64(1)
	}
	return n
}

func (n *number) truth() bool {
	return n.valid && (n.approx && n.f != 0 || !n.approx && n.d.unscaled.Sign() != 0)
}

func cellNumber(c *cell) (n number, err error) {
	if n.valid = c.valid; !c.valid {
		return n, nil
	}
	switch c.class {
	case classInt:
		n.d.unscaled.SetInt64(c.n)
	case classUint:
		n.d.unscaled.SetUint64(uint64(c.n))
	case classDecimal:
		n.d.unscaled.Set(&c.d.unscaled)
		n.d.scale = c.d.scale
		n.fine = c.fine
	case classDouble:
		n.approx, n.f = true, c.f
	default:
		return n, ErrExpr
	}
	return n, nil
}

func valueNumber(v value.Value) (n number, err error) {
	n.valid = true
	switch v.Kind {
	case value.Null:
		n.valid = false
	case value.Int:
		n.d.unscaled.SetInt64(v.Int64())
	case value.Uint:
		n.d.unscaled.SetUint64(v.Num)
	case value.Decimal:
		if !n.d.parse(v.Str) {
			return n, ErrExpr
		}
	case value.Float:
		n.approx, n.f = true, v.Float64()
	default:
		return n, ErrExpr
	}
	return n, nil
}

// row gives an expression the columns of a group.
type row interface {
	cell(column int) (*cell, error)
}

// eval computes an expression. scale is how many digits an outermost division is rounded to.
func (e *Expr) eval(r row, consts []value.Value, scale int) (n number, err error) {
	switch e.Op {
	case OpColumn:
		c, err := r.cell(e.Column)
		if err != nil {
			return n, err
		}
		return cellNumber(c)
	case OpConst:
		return valueNumber(consts[e.Const])
	case OpAnd, OpOr:
		return e.logic(r, consts)
	case OpCoalesce:
		for _, a := range e.Args {
			if n, err = a.eval(r, consts, scale); err != nil || n.valid {
				return n, err
			}
		}
		return n, nil
	case OpIn:
		return e.in(r, consts)
	}
	var x, y number
	if x, err = e.Args[0].eval(r, consts, scale); err != nil {
		return n, err
	}
	if len(e.Args) > 1 {
		if y, err = e.Args[1].eval(r, consts, scale); err != nil {
			return n, err
		}
	}
	switch {
	case e.Op == OpIsNull:
		return boolNumber(!x.valid), nil
	case !x.valid || len(e.Args) > 1 && !y.valid:
		return n, nil
	case e.Op == OpNot:
		return boolNumber(!x.truth()), nil
	}
	if e.Op >= OpEQ && e.Op <= OpGE {
		c, err := compareNumbers(&x, &y)
		return boolNumber(holds(e.Op, c)), err
	}
	if x.approx || y.approx {
		return e.approximate(&x, &y)
	}
	return e.exact(&x, &y, scale)
}

func (e *Expr) approximate(x, y *number) (n number, err error) {
	if x.fine != nil || y.fine != nil || x.blurred || y.blurred {
		return n, ErrExpr
	}
	a, b := x.float(), y.float()
	n.valid, n.approx = true, true
	switch e.Op {
	case OpNeg:
		n.f = -a
	case OpAdd:
		n.f = a + b
	case OpSub:
		n.f = a - b
	case OpMul:
		n.f = a * b
	case OpDiv:
		if b == 0 {
			return number{}, nil
		}
		n.f = a / b
	default:
		return n, ErrExpr
	}
	return n, nil
}

func (n *number) float() float64 {
	if n.approx {
		return n.f
	}
	f, _ := new(big.Rat).SetFrac(&n.d.unscaled, powers[n.d.scale]).Float64()
	return f
}

func (e *Expr) exact(x, y *number, scale int) (n number, err error) {
	n.valid = true
	for _, o := range [...]*number{x, y} {
		n.blurred = n.blurred || o.blurred || o.fine != nil
		if o.fine != nil {
			o.d.unscaled.Set(&o.fine.unscaled)
			o.d.scale = o.fine.scale
		}
	}
	switch e.Op {
	case OpNeg:
		n.d.unscaled.Neg(&x.d.unscaled)
		n.d.scale = x.d.scale
	case OpAdd, OpSub:
		n.d.unscaled.Set(&x.d.unscaled)
		n.d.scale = x.d.scale
		if e.Op == OpSub {
			y.d.unscaled.Neg(&y.d.unscaled)
		}
		n.d.add(&y.d)
	case OpMul:
		n.d.unscaled.Mul(&x.d.unscaled, &y.d.unscaled)
		if n.d.scale = x.d.scale + y.d.scale; n.d.scale > 30 {
			return n, ErrExpr
		}
	case OpDiv:
		if y.d.unscaled.Sign() == 0 {
			return number{}, nil
		}
		n.d.quotient(&x.d, &y.d, scale)
	default:
		return n, ErrExpr
	}
	return n, nil
}

// truncated is x / y cut off after scale digits.
func (d *decimal) truncated(x, y *decimal, scale int) {
	var num, den big.Int
	num.Mul(&x.unscaled, powers[min(len(powers)-1, scale+y.scale)])
	den.Mul(&y.unscaled, powers[x.scale])
	d.unscaled.Quo(&num, &den)
	d.scale = scale
}

// quotient is x / y rounded to scale digits, halves away from zero.
func (d *decimal) quotient(x, y *decimal, scale int) {
	var num, den, rem big.Int
	num.Mul(&x.unscaled, powers[min(len(powers)-1, scale+y.scale)])
	den.Mul(&y.unscaled, powers[x.scale])
	d.unscaled.QuoRem(&num, &den, &rem)
	rem.Abs(&rem).Lsh(&rem, 1)
	if rem.CmpAbs(&den) >= 0 {
		if num.Sign()*den.Sign() < 0 {
			d.unscaled.Sub(&d.unscaled, big.NewInt(1))
		} else {
			d.unscaled.Add(&d.unscaled, big.NewInt(1))
		}
	}
	d.scale = scale
}

// compareNumbers compares as every server does, or not at all: MariaDB rounds a quotient before it compares it, MySQL does not.
func compareNumbers(x, y *number) (int, error) {
	if x.blurred || y.blurred {
		return 0, ErrExpr
	}
	c := x.cmp(y)
	if x.fine != nil || y.fine != nil {
		u, v := x.unrounded(), y.unrounded()
		if u.cmp(&v) != c {
			return 0, ErrExpr
		}
	}
	return c, nil
}

func (n *number) unrounded() number {
	if n.fine != nil {
		return number{valid: true, d: *n.fine}
	}
	return *n
}

func (n *number) cmp(o *number) int {
	if n.approx || o.approx {
		return cmp(n.float(), o.float())
	}
	return n.d.cmp(&o.d)
}

func holds(op Op, c int) bool {
	switch op {
	case OpEQ:
		return c == 0
	case OpNE:
		return c != 0
	case OpLT:
		return c < 0
	case OpLE:
		return c <= 0
	case OpGT:
		return c > 0
	}
	return c >= 0
}

// logic is AND and OR with three values.
func (e *Expr) logic(r row, consts []value.Value) (n number, err error) {
	null := false
	for _, a := range e.Args {
		x, err := a.eval(r, consts, 0)
		switch {
		case err != nil:
			return n, err
		case !x.valid:
			null = true
		case x.truth() == (e.Op == OpOr):
			return boolNumber(e.Op == OpOr), nil
		}
	}
	if null {
		return n, nil
	}
	return boolNumber(e.Op == OpAnd), nil
}

func (e *Expr) in(r row, consts []value.Value) (n number, err error) {
	x, err := e.Args[0].eval(r, consts, 0)
	if err != nil || !x.valid {
		return n, err
	}
	null := false
	for _, a := range e.Args[1:] {
		y, err := a.eval(r, consts, 0)
		if err != nil {
			return n, err
		}
		if !y.valid {
			null = true
			continue
		}
		if c, err := compareNumbers(&x, &y); err != nil || c == 0 {
			return boolNumber(true), err
		}
	}
	if null {
		return n, nil
	}
	return boolNumber(false), nil
}

// store puts a number into a cell of a column, with the column's digits.
func (n *number) store(c *cell, col *Column, cl class) error {
	c.class, c.valid = cl, n.valid
	if !n.valid {
		return nil
	}
	switch {
	case cl == classDouble:
		c.f = n.float()
		return nil
	case n.approx:
		return ErrExpr
	case cl == classDecimal:
		c.d.unscaled.Set(&n.d.unscaled)
		c.d.scale = n.d.scale
		c.d.round(int(col.Decimals))
		return nil
	case n.d.scale > 0:
		return ErrExpr
	case cl == classInt && n.d.unscaled.IsInt64():
		c.n = n.d.unscaled.Int64()
		return nil
	case cl == classUint && n.d.unscaled.IsUint64():
		c.n = int64(n.d.unscaled.Uint64())
		return nil
	case cl == classInt || cl == classUint:
		return ErrOverflow
	}
	return ErrExpr
}

// String writes the expression for explanations.
func (e *Expr) String() string {
	names := map[Op]string{OpAdd: "+", OpSub: "-", OpMul: "*", OpDiv: "/", OpEQ: "=", OpNE: "<>", OpLT: "<", OpLE: "<=", OpGT: ">", OpGE: ">=", OpAnd: "and", OpOr: "or"}
	switch e.Op {
	case OpColumn:
		return columnName(e.Column)
	case OpConst:
		return fmt.Sprintf("value %d", e.Const+1)
	}
	args := make([]string, len(e.Args))
	for i, a := range e.Args {
		args[i] = a.String()
	}
	if n, ok := names[e.Op]; ok {
		return "(" + strings.Join(args, " "+n+" ") + ")"
	}
	return map[Op]string{OpNeg: "-", OpNot: "not ", OpIsNull: "null", OpIn: "in", OpCoalesce: "coalesce"}[e.Op] + "(" + strings.Join(args, ", ") + ")"
}
