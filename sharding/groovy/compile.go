package groovy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Func is a compiled expression: a pure function of the variables, in the order Compile was given their names.
type Func func(vars []Value) (Value, error)

// maxDepth bounds nesting, so that a hostile rule file cannot exhaust the stack.
const maxDepth = 64

type compiler struct {
	toks  []token
	pos   int
	vars  []string
	depth int
}

// Compile compiles src. Names that are not among vars are errors.
func Compile(src string, vars []string) (Func, error) {
	toks, err := lex(src)
	if err != nil {
		return nil, err
	}
	c := &compiler{toks: toks, vars: vars}
	f, err := c.ternary()
	if err != nil {
		return nil, err
	}
	if t := c.peek(); t.kind != tokEOF {
		return nil, fmt.Errorf("at offset %d: %q is not supported here", t.pos, t.text)
	}
	return f, nil
}

func (c *compiler) peek() token { return c.toks[c.pos] }
func (c *compiler) next() token {
	t := c.toks[c.pos]
	if t.kind != tokEOF {
		c.pos++
	}
	return t
}

func (c *compiler) accept(op string) bool {
	if t := c.peek(); t.kind == tokOp && t.text == op {
		c.pos++
		return true
	}
	return false
}

func (c *compiler) expect(op string) error {
	if c.accept(op) {
		return nil
	}
	t := c.peek()
	if t.kind == tokEOF {
		return fmt.Errorf("at offset %d: expected %q before the end", t.pos, op)
	}
	return fmt.Errorf("at offset %d: expected %q, found %q", t.pos, op, t.text)
}

func (c *compiler) ternary() (Func, error) {
	if c.depth++; c.depth > maxDepth {
		return nil, fmt.Errorf("expression nests deeper than %d", maxDepth)
	}
	defer func() { c.depth-- }()
	cond, err := c.binary(0)
	if err != nil {
		return nil, err
	}
	if c.accept("?:") {
		other, err := c.ternary()
		if err != nil {
			return nil, err
		}
		return choose(cond, cond, other), nil
	}
	if !c.accept("?") {
		return cond, nil
	}
	yes, err := c.ternary()
	if err != nil {
		return nil, err
	}
	if err := c.expect(":"); err != nil {
		return nil, err
	}
	no, err := c.ternary()
	if err != nil {
		return nil, err
	}
	return choose(cond, yes, no), nil
}

func choose(cond, yes, no Func) Func {
	return func(vars []Value) (Value, error) {
		v, err := cond(vars)
		if err != nil {
			return v, err
		}
		if v.truth() {
			return yes(vars)
		}
		return no(vars)
	}
}

// precedence lists binary operators from the loosest to the tightest, as Groovy binds them.
var precedence = [][]string{
	{"||"}, {"&&"}, {"|"}, {"^"}, {"&"}, {"==", "!=", "<=>"}, {"<", "<=", ">", ">="}, {"<<", ">>", ">>>", ".."}, {"+", "-"}, {"*", "/", "%"},
}

func (c *compiler) binary(level int) (Func, error) {
	if level == len(precedence) {
		return c.unary()
	}
	left, err := c.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for {
		t := c.peek()
		if t.kind != tokOp || !contains(precedence[level], t.text) {
			return left, nil
		}
		c.next()
		right, err := c.binary(level + 1)
		if err != nil {
			return nil, err
		}
		if left, err = operate(t, left, right); err != nil {
			return nil, err
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func operate(t token, left, right Func) (Func, error) {
	switch t.text {
	case "/":
		return nil, fmt.Errorf("at offset %d: / makes a decimal number in Groovy, which is not supported; use intdiv", t.pos)
	case "&&", "||":
		and := t.text == "&&"
		return func(vars []Value) (Value, error) {
			a, err := left(vars)
			if err != nil || a.truth() != and {
				return boolean(a.truth()), err
			}
			b, err := right(vars)
			return boolean(b.truth()), err
		}, nil
	}
	f := binaryOps[t.text]
	return func(vars []Value) (Value, error) {
		a, err := left(vars)
		if err != nil {
			return a, err
		}
		b, err := right(vars)
		if err != nil {
			return b, err
		}
		return f(a, b)
	}, nil
}

func numeric(op string, f func(a, b Value) (Value, error)) func(a, b Value) (Value, error) {
	return func(a, b Value) (Value, error) {
		if !a.number() || !b.number() {
			return Value{}, typeError(op, a, b)
		}
		return f(a, b)
	}
}

func ordered(test func(int) bool) func(a, b Value) (Value, error) {
	return func(a, b Value) (Value, error) {
		n, err := compare(a, b)
		return boolean(test(n)), err
	}
}

func equal(a, b Value) bool {
	if a.number() && b.number() {
		return a.n == b.n
	}
	return a.kind == b.kind && a.n == b.n && a.s == b.s
}

var binaryOps = map[string]func(a, b Value) (Value, error){
	"+": func(a, b Value) (Value, error) {
		if a.kind == kindString || b.kind == kindString {
			return String(a.Text() + b.Text()), nil
		}
		if !a.number() || !b.number() {
			return Value{}, typeError("+", a, b)
		}
		return sized(a, b, a.n+b.n), nil
	},
	"-":   numeric("-", func(a, b Value) (Value, error) { return sized(a, b, a.n-b.n), nil }),
	"*":   numeric("*", func(a, b Value) (Value, error) { return sized(a, b, a.n*b.n), nil }),
	"%":   numeric("%", remainder),
	"&":   numeric("&", func(a, b Value) (Value, error) { return sized(a, b, a.n&b.n), nil }),
	"|":   numeric("|", func(a, b Value) (Value, error) { return sized(a, b, a.n|b.n), nil }),
	"^":   numeric("^", func(a, b Value) (Value, error) { return sized(a, b, a.n^b.n), nil }),
	"<<":  numeric("<<", func(a, b Value) (Value, error) { return sized(a, a, a.n<<shift(a, b)), nil }),
	">>":  numeric(">>", func(a, b Value) (Value, error) { return sized(a, a, a.n>>shift(a, b)), nil }),
	">>>": numeric(">>>", unsignedShift),
	"==":  func(a, b Value) (Value, error) { return boolean(equal(a, b)), nil },
	"!=":  func(a, b Value) (Value, error) { return boolean(!equal(a, b)), nil },
	"<":   ordered(func(n int) bool { return n < 0 }),
	"<=":  ordered(func(n int) bool { return n <= 0 }),
	">":   ordered(func(n int) bool { return n > 0 }),
	">=":  ordered(func(n int) bool { return n >= 0 }),
	"<=>": func(a, b Value) (Value, error) {
		n, err := compare(a, b)
		return Int(int32(max(-1, min(1, n)))), err
	},
	"..": numeric("..", func(a, b Value) (Value, error) { return Value{kind: kindRange, n: a.n, end: b.n}, nil }),
}

func shift(a, b Value) uint64 {
	if a.kind == kindInt {
		return uint64(b.n) & 31
	}
	return uint64(b.n) & 63
}

func unsignedShift(a, b Value) (Value, error) {
	if a.kind == kindInt {
		return Int(int32(uint32(a.n) >> shift(a, b))), nil
	}
	return Long(int64(uint64(a.n) >> shift(a, b))), nil
}

func (c *compiler) unary() (Func, error) {
	if c.depth++; c.depth > maxDepth {
		return nil, fmt.Errorf("expression nests deeper than %d", maxDepth)
	}
	defer func() { c.depth-- }()
	t := c.peek()
	if t.kind != tokOp || !contains([]string{"-", "+", "!", "~"}, t.text) {
		return c.postfix()
	}
	c.next()
	if n := c.peek(); t.text == "-" && n.kind == tokInt {
		c.toks[c.pos].text = "-" + n.text // -2147483648 is an Integer, although 2147483648 is a Long
		return c.postfix()
	}
	f, err := c.unary()
	if err != nil {
		return nil, err
	}
	return func(vars []Value) (Value, error) {
		v, err := f(vars)
		switch {
		case err != nil:
			return v, err
		case t.text == "!":
			return boolean(!v.truth()), nil
		case !v.number():
			return v, typeError(t.text, v)
		case t.text == "-":
			return sized(v, v, -v.n), nil
		case t.text == "~":
			return sized(v, v, ^v.n), nil
		}
		return v, nil
	}, nil
}

func (c *compiler) postfix() (Func, error) {
	f, err := c.primary()
	for err == nil {
		switch {
		case c.accept("."):
			f, err = c.call(f)
		case c.accept("["):
			f, err = c.index(f)
		case c.peek().kind == tokName && c.peek().text == "as":
			c.next()
			f, err = cast(c.next(), f)
		default:
			return f, nil
		}
	}
	return nil, err
}

func cast(t token, f Func) (Func, error) {
	conv := map[string]string{"int": "toInteger", "Integer": "toInteger", "long": "toLong", "Long": "toLong", "String": "toString"}[t.text]
	if conv == "" {
		return nil, fmt.Errorf("at offset %d: conversion to %q is not supported", t.pos, t.text)
	}
	return bind(t, conv, f, nil)
}

func (c *compiler) index(f Func) (Func, error) {
	i, err := c.ternary()
	if err != nil {
		return nil, err
	}
	if err := c.expect("]"); err != nil {
		return nil, err
	}
	return func(vars []Value) (Value, error) {
		v, err := f(vars)
		if err != nil {
			return v, err
		}
		x, err := i(vars)
		if err != nil {
			return x, err
		}
		return indexString(v, x)
	}, nil
}

func (c *compiler) primary() (Func, error) {
	t := c.next()
	switch t.kind {
	case tokInt:
		return number(t)
	case tokString:
		return constant(String(t.text)), nil
	case tokName:
		return c.name(t)
	case tokOp:
		if t.text == "(" {
			f, err := c.ternary()
			if err != nil {
				return nil, err
			}
			return f, c.expect(")")
		}
	case tokEOF:
		return nil, fmt.Errorf("at offset %d: the expression ends too early", t.pos)
	}
	return nil, fmt.Errorf("at offset %d: %q is not supported", t.pos, t.text)
}

func constant(v Value) Func { return func([]Value) (Value, error) { return v, nil } }

func number(t token) (Func, error) {
	text := strings.ReplaceAll(t.text, "_", "")
	long := strings.HasSuffix(text, "L") || strings.HasSuffix(text, "l")
	integer := strings.HasSuffix(text, "I") || strings.HasSuffix(text, "i")
	if long || integer {
		text = text[:len(text)-1]
	}
	if d := strings.TrimPrefix(text, "-"); len(d) > 1 && d[0] == '0' && d[1] != 'x' && d[1] != 'X' {
		return nil, fmt.Errorf("at offset %d: octal and binary numbers are not supported", t.pos)
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return nil, fmt.Errorf("at offset %d: %q is not a number Long can hold", t.pos, t.text)
	}
	if long || !integer && (n > math.MaxInt32 || n < math.MinInt32) {
		return constant(Long(n)), nil
	}
	return constant(Int(int32(n))), nil
}

func (c *compiler) name(t token) (Func, error) {
	switch t.text {
	case "true", "false":
		return constant(boolean(t.text == "true")), nil
	case "Math", "Long", "Integer", "String":
		if err := c.expect("."); err != nil {
			return nil, err
		}
		return c.static(t.text)
	}
	for i, name := range c.vars {
		if strings.EqualFold(name, t.text) {
			return func(vars []Value) (Value, error) { return vars[i], nil }, nil
		}
	}
	return nil, fmt.Errorf("at offset %d: unknown name %q; known here: %s", t.pos, t.text, strings.Join(c.vars, ", "))
}
