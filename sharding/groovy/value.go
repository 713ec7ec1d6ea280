package groovy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
)

type kind uint8

const (
	kindInt  kind = iota // java.lang.Integer
	kindLong             // java.lang.Long
	kindBool
	kindString
	kindRange // a..b, only as an index
)

var kindNames = [...]string{"Integer", "Long", "Boolean", "String", "Range"}

// Value is one Java value. The zero Value is Integer 0.
type Value struct {
	kind kind
	n    int64 // Integer, Long, Boolean, and a Range's begin
	s    string
	end  int64 // a Range's end
}

// Int returns an Integer.
func Int(n int32) Value { return Value{kind: kindInt, n: int64(n)} }

// Long returns a Long.
func Long(n int64) Value { return Value{kind: kindLong, n: n} }

// String returns a String.
func String(s string) Value { return Value{kind: kindString, s: s} }

func boolean(b bool) Value {
	if b {
		return Value{kind: kindBool, n: 1}
	}
	return Value{kind: kindBool}
}

// Number returns the Integer that holds n, or the Long when Integer is too small: the type a literal has.
func Number(n int64) Value {
	if n == int64(int32(n)) {
		return Int(int32(n))
	}
	return Long(n)
}

// Append appends the text of the value, as toString has it.
func (v Value) Append(dst []byte) []byte {
	switch v.kind {
	case kindInt, kindLong:
		return strconv.AppendInt(dst, v.n, 10)
	case kindBool:
		return strconv.AppendBool(dst, v.n != 0)
	}
	return append(dst, v.s...)
}

// Text returns the text of the value, as toString has it.
func (v Value) Text() string {
	if v.kind == kindString {
		return v.s
	}
	return string(v.Append(nil))
}

// Hash returns Java's hashCode.
func (v Value) Hash() int32 {
	switch v.kind {
	case kindLong:
		return HashLong(v.n)
	case kindBool:
		if v.n != 0 {
			return 1231
		}
		return 1237
	case kindString:
		return HashString(v.s)
	}
	return int32(v.n)
}

// HashLong is java.lang.Long.hashCode.
func HashLong(n int64) int32 { return int32(n ^ int64(uint64(n)>>32)) }

// HashString is java.lang.String.hashCode: over UTF-16 units, in 32 bits.
func HashString(s string) int32 {
	var h int32
	for _, r := range s {
		if r < 0x10000 {
			h = 31*h + r
			continue
		}
		hi, lo := utf16.EncodeRune(r)
		h = 31*(31*h+hi) + lo
	}
	return h
}

func (v Value) number() bool { return v.kind == kindInt || v.kind == kindLong }

// truth is Groovy's truth: zero, the empty string and false are false.
func (v Value) truth() bool {
	if v.kind == kindString {
		return v.s != ""
	}
	return v.n != 0
}

// ErrType means an operation that Java has not got for the operand's types.
var ErrType = errors.New("wrong type")

func typeError(op string, vs ...Value) error {
	names := ""
	for i, v := range vs {
		if i > 0 {
			names += ", "
		}
		names += kindNames[v.kind]
	}
	return fmt.Errorf("%w: %s is not defined for %s", ErrType, op, names)
}

// sized wraps n to the wider type of a and b, as Java's arithmetic does.
func sized(a, b Value, n int64) Value {
	if a.kind == kindInt && b.kind == kindInt {
		return Int(int32(n))
	}
	return Long(n)
}

func divide(a, b Value) (Value, error) {
	if b.n == 0 {
		return Value{}, errors.New("division by zero")
	}
	if a.n == math.MinInt64 && b.n == -1 {
		return Long(math.MinInt64), nil
	}
	return sized(a, b, a.n/b.n), nil
}

func remainder(a, b Value) (Value, error) {
	if b.n == 0 {
		return Value{}, errors.New("division by zero")
	}
	if b.n == -1 {
		return sized(a, b, 0), nil
	}
	return sized(a, b, a.n%b.n), nil
}

func floorMod(a, b Value) (Value, error) {
	r, err := remainder(a, b)
	if err == nil && r.n != 0 && (r.n < 0) != (b.n < 0) {
		r.n += b.n
	}
	return r, err
}

func abs(v Value) Value {
	if v.n >= 0 {
		return v
	}
	return sized(v, v, -v.n)
}

func compare(a, b Value) (int, error) {
	switch {
	case a.number() && b.number():
		switch {
		case a.n < b.n:
			return -1, nil
		case a.n > b.n:
			return 1, nil
		}
		return 0, nil
	case a.kind == kindString && b.kind == kindString:
		x, y := utf16.Encode([]rune(a.s)), utf16.Encode([]rune(b.s))
		for i := range min(len(x), len(y)) {
			if x[i] != y[i] {
				return int(x[i]) - int(y[i]), nil
			}
		}
		return len(x) - len(y), nil
	}
	return 0, typeError("comparison", a, b)
}
