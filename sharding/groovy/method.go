package groovy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// arguments reads (a, b).
func (c *compiler) arguments() ([]Func, error) {
	if err := c.expect("("); err != nil {
		return nil, err
	}
	var args []Func
	for !c.accept(")") {
		if len(args) > 0 {
			if err := c.expect(","); err != nil {
				return nil, err
			}
		}
		f, err := c.ternary()
		if err != nil {
			return nil, err
		}
		args = append(args, f)
	}
	return args, nil
}

func (c *compiler) call(recv Func) (Func, error) {
	t := c.next()
	if t.kind != tokName {
		return nil, fmt.Errorf("at offset %d: expected a method's name, found %q", t.pos, t.text)
	}
	args, err := c.arguments()
	if err != nil {
		return nil, err
	}
	return bind(t, t.text, recv, args)
}

// static compiles Math.abs(x), Long.parseLong(s) and the like.
func (c *compiler) static(class string) (Func, error) {
	t := c.next()
	args, err := c.arguments()
	if err != nil {
		return nil, err
	}
	name := class + "." + t.text
	alias, ok := statics[name]
	if !ok {
		return nil, fmt.Errorf("at offset %d: %s is not supported", t.pos, name)
	}
	if len(args) == 0 {
		return nil, fmt.Errorf("at offset %d: %s needs an argument", t.pos, name)
	}
	return bind(t, alias, args[0], args[1:])
}

var statics = map[string]string{
	"Math.abs": "abs", "Math.floorMod": "mod", "Math.max": "max", "Math.min": "min",
	"Long.parseLong": "parseLong", "Long.valueOf": "toLong", "Integer.parseInt": "parseInt", "Integer.valueOf": "toInteger",
	"String.valueOf": "toString",
}

type method struct {
	min, max int
	call     func(v Value, args []Value) (Value, error)
}

func bind(t token, name string, recv Func, args []Func) (Func, error) {
	m, ok := methods[name]
	if !ok {
		return nil, fmt.Errorf("at offset %d: method %q is not supported", t.pos, name)
	}
	if len(args) < m.min || len(args) > m.max {
		return nil, fmt.Errorf("at offset %d: method %q with %d arguments is not supported", t.pos, name, len(args))
	}
	return func(vars []Value) (Value, error) {
		v, err := recv(vars)
		if err != nil {
			return v, err
		}
		var buf [2]Value
		for i, f := range args {
			if buf[i], err = f(vars); err != nil {
				return v, err
			}
		}
		return m.call(v, buf[:len(args)])
	}, nil
}

func onNumber(name string, f func(v Value, args []Value) (Value, error)) func(Value, []Value) (Value, error) {
	return func(v Value, args []Value) (Value, error) {
		if !v.number() {
			return v, typeError(name, v)
		}
		for _, a := range args {
			if !a.number() {
				return v, typeError(name, v, a)
			}
		}
		return f(v, args)
	}
}

func onString(name string, f func(s string, args []Value) (Value, error)) func(Value, []Value) (Value, error) {
	return func(v Value, args []Value) (Value, error) {
		if v.kind != kindString {
			return v, typeError(name, v)
		}
		return f(v.s, args)
	}
}

var methods = map[string]method{
	"abs":         {0, 0, onNumber("abs", func(v Value, _ []Value) (Value, error) { return abs(v), nil })},
	"intdiv":      {1, 1, onNumber("intdiv", func(v Value, a []Value) (Value, error) { return divide(v, a[0]) })},
	"mod":         {1, 1, onNumber("mod", func(v Value, a []Value) (Value, error) { return floorMod(v, a[0]) })},
	"max":         {1, 1, onNumber("max", func(v Value, a []Value) (Value, error) { return sized(v, a[0], max(v.n, a[0].n)), nil })},
	"min":         {1, 1, onNumber("min", func(v Value, a []Value) (Value, error) { return sized(v, a[0], min(v.n, a[0].n)), nil })},
	"longValue":   {0, 0, onNumber("longValue", func(v Value, _ []Value) (Value, error) { return Long(v.n), nil })},
	"intValue":    {0, 0, onNumber("intValue", func(v Value, _ []Value) (Value, error) { return Int(int32(v.n)), nil })},
	"hashCode":    {0, 0, func(v Value, _ []Value) (Value, error) { return Int(v.Hash()), nil }},
	"toString":    {0, 0, func(v Value, _ []Value) (Value, error) { return String(v.Text()), nil }},
	"toLong":      {0, 0, toLong},
	"toInteger":   {0, 0, toInteger},
	"parseLong":   {0, 0, onString("parseLong", func(s string, _ []Value) (Value, error) { return parse(s, 64) })},
	"parseInt":    {0, 0, onString("parseInt", func(s string, _ []Value) (Value, error) { return parse(s, 32) })},
	"length":      {0, 0, onString("length", func(s string, _ []Value) (Value, error) { return Int(int32(len(units(s)))), nil })},
	"size":        {0, 0, onString("size", func(s string, _ []Value) (Value, error) { return Int(int32(len(units(s)))), nil })},
	"isEmpty":     {0, 0, onString("isEmpty", func(s string, _ []Value) (Value, error) { return boolean(s == ""), nil })},
	"toLowerCase": {0, 0, onString("toLowerCase", func(s string, _ []Value) (Value, error) { return ascii(s, strings.ToLower) })},
	"toUpperCase": {0, 0, onString("toUpperCase", func(s string, _ []Value) (Value, error) { return ascii(s, strings.ToUpper) })},
	"trim": {0, 0, onString("trim", func(s string, _ []Value) (Value, error) {
		return String(strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })), nil
	})},
	"reverse":   {0, 0, onString("reverse", reverse)},
	"substring": {1, 2, onString("substring", substring)},
	"charAt": {1, 1, onString("charAt", func(string, []Value) (Value, error) {
		return Value{}, errors.New("charAt makes a Character; use substring")
	})},
	"padLeft":    {1, 2, padLeft},
	"startsWith": {1, 1, onString("startsWith", func(s string, a []Value) (Value, error) { return boolean(strings.HasPrefix(s, a[0].Text())), nil })},
	"endsWith":   {1, 1, onString("endsWith", func(s string, a []Value) (Value, error) { return boolean(strings.HasSuffix(s, a[0].Text())), nil })},
	"contains":   {1, 1, onString("contains", func(s string, a []Value) (Value, error) { return boolean(strings.Contains(s, a[0].Text())), nil })},
	"indexOf":    {1, 1, onString("indexOf", indexOf)},
	"equals":     {1, 1, func(v Value, a []Value) (Value, error) { return boolean(v.kind == a[0].kind && equal(v, a[0])), nil }},
}

// ascii refuses case mapping beyond ASCII, where Java's depends on its locale and version.
func ascii(s string, f func(string) string) (Value, error) {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return Value{}, errors.New("letter case of characters beyond ASCII is not supported")
		}
	}
	return String(f(s)), nil
}

func parse(s string, bits int) (Value, error) {
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		return Value{}, fmt.Errorf("%w: %q is not a number", ErrType, s)
	}
	if bits == 32 {
		return Int(int32(n)), nil
	}
	return Long(n), nil
}

func toLong(v Value, _ []Value) (Value, error) {
	if v.kind == kindString {
		return parse(strings.TrimSpace(v.s), 64)
	}
	if !v.number() {
		return v, typeError("toLong", v)
	}
	return Long(v.n), nil
}

func toInteger(v Value, _ []Value) (Value, error) {
	if v.kind == kindString {
		return parse(strings.TrimSpace(v.s), 32)
	}
	if !v.number() {
		return v, typeError("toInteger", v)
	}
	return Int(int32(v.n)), nil
}

func units(s string) []uint16 { return utf16.Encode([]rune(s)) }

func cut(u []uint16, from, to int64) (Value, error) {
	if from < 0 || to > int64(len(u)) || from > to {
		return Value{}, fmt.Errorf("string index out of range: begin %d, end %d, length %d", from, to, len(u))
	}
	return String(string(utf16.Decode(u[from:to]))), nil
}

func substring(s string, args []Value) (Value, error) {
	u := units(s)
	to := int64(len(u))
	for _, a := range args {
		if !a.number() {
			return a, typeError("substring", String(s), a)
		}
	}
	if len(args) == 2 {
		to = args[1].n
	}
	return cut(u, args[0].n, to)
}

// indexString is s[i] and s[a..b], where negative numbers count from the end.
func indexString(v, x Value) (Value, error) {
	if v.kind != kindString || !x.number() && x.kind != kindRange {
		return v, typeError("[]", v, x)
	}
	u := units(v.s)
	from := x.n
	if from < 0 {
		from += int64(len(u))
	}
	if x.kind != kindRange {
		return cut(u, from, from+1)
	}
	to := x.end
	if to < 0 {
		to += int64(len(u))
	}
	if to < from {
		return v, errors.New("a range that runs backwards is not supported")
	}
	return cut(u, from, to+1)
}

func reverse(s string, _ []Value) (Value, error) {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return String(string(r)), nil
}

func indexOf(s string, args []Value) (Value, error) {
	if args[0].kind != kindString {
		return args[0], typeError("indexOf", args[0])
	}
	i := strings.Index(s, args[0].s)
	if i > 0 {
		i = len(units(s[:i]))
	}
	return Int(int32(i)), nil
}

func padLeft(v Value, args []Value) (Value, error) {
	pad := " "
	if len(args) == 2 {
		pad = args[1].Text()
	}
	if v.kind != kindString || !args[0].number() || len(pad) != 1 || args[0].n > math.MaxUint8 {
		return v, typeError("padLeft", v, args[0])
	}
	if n := int(args[0].n) - len(units(v.s)); n > 0 {
		return String(strings.Repeat(pad, n) + v.s), nil
	}
	return v, nil
}
