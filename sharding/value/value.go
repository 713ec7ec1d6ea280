// Package value holds one SQL value as a client wrote or bound it, without reflection or boxing.
package value

import (
	"math"
	"strconv"
)

// Kind says which Go field of a Value is meaningful.
type Kind uint8

// Kinds. Int and Uint are separate because BIGINT UNSIGNED reaches beyond int64.
const (
	Null     Kind = iota
	Int           // Num holds int64 bits
	Uint          // Num holds a value above math.MaxInt64
	Decimal       // Str holds the exact text, such as 12.50
	Float         // Num holds float64 bits
	String        // Str holds the characters
	Bytes         // Str holds raw bytes: a hexadecimal or bit literal, or a BLOB parameter
	Date          // Str holds YYYY-MM-DD
	Datetime      // Str holds YYYY-MM-DD hh:mm:ss[.ffffff]
	Time          // Str holds [-]hhh:mm:ss[.ffffff]
)

// Value is one SQL value. The zero Value is NULL. Str may borrow the statement's text or the
// client's packet: it is valid as long as that is.
type Value struct {
	Kind Kind
	Num  uint64
	Str  string
}

// NewInt returns a signed integer.
func NewInt(v int64) Value { return Value{Kind: Int, Num: uint64(v)} }

// NewUint returns an unsigned integer, as an Int wherever int64 can hold it so that equal numbers are equal Values.
func NewUint(v uint64) Value {
	if v <= math.MaxInt64 {
		return Value{Kind: Int, Num: v}
	}
	return Value{Kind: Uint, Num: v}
}

// NewString returns a character string.
func NewString(s string) Value { return Value{Kind: String, Str: s} }

// NewDecimal returns an exact number from its text.
func NewDecimal(s string) Value { return Value{Kind: Decimal, Str: s} }

// NewFloat returns an approximate number.
func NewFloat(f float64) Value { return Value{Kind: Float, Num: math.Float64bits(f)} }

// NewBytes returns a binary string.
func NewBytes(s string) Value { return Value{Kind: Bytes, Str: s} }

// Int64 returns the number of an Int.
func (v Value) Int64() int64 { return int64(v.Num) }

// Float64 returns the number of a Float.
func (v Value) Float64() float64 { return math.Float64frombits(v.Num) }

// IsNull reports SQL NULL.
func (v Value) IsNull() bool { return v.Kind == Null }

// Append appends the value's plain text: digits for numbers, the characters for strings, NULL for null.
func (v Value) Append(dst []byte) []byte {
	switch v.Kind {
	case Null:
		return append(dst, "NULL"...)
	case Int:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case Uint:
		return strconv.AppendUint(dst, v.Num, 10)
	case Float:
		return strconv.AppendFloat(dst, v.Float64(), 'g', -1, 64)
	}
	return append(dst, v.Str...)
}

// Text returns the value's plain text.
func (v Value) Text() string {
	switch v.Kind {
	case String, Bytes, Decimal, Date, Datetime, Time:
		return v.Str
	}
	return string(v.Append(nil))
}

// AppendLiteral appends the value as a SQL literal that MySQL reads back as the same value, whatever
// NO_BACKSLASH_ESCAPES says: text that holds a backslash or a NUL is written in hexadecimal.
func (v Value) AppendLiteral(dst []byte) []byte {
	switch v.Kind {
	case Bytes:
		return appendHex(append(dst, "x'"...), v.Str)
	case String, Date, Datetime, Time:
		for i := range len(v.Str) {
			if c := v.Str[i]; c == '\\' || c == 0 || c == '\n' || c == '\r' || c == 0x1a {
				return appendHex(append(dst, "_utf8mb4 x'"...), v.Str)
			}
		}
		dst = append(dst, '\'')
		for i := range len(v.Str) {
			if v.Str[i] == '\'' {
				dst = append(dst, '\'')
			}
			dst = append(dst, v.Str[i])
		}
		return append(dst, '\'')
	case Float:
		return strconv.AppendFloat(dst, v.Float64(), 'e', -1, 64)
	}
	return v.Append(dst)
}

func appendHex(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	for i := range len(s) {
		dst = append(dst, digits[s[i]>>4], digits[s[i]&15])
	}
	return append(dst, '\'')
}

// Integer returns the value as an exact 64-bit integer when it is one, reading digits in strings and decimals
// whose fraction is zero. It reports false for everything else, NULL included.
func (v Value) Integer() (int64, bool) {
	switch v.Kind {
	case Int:
		return v.Int64(), true
	case String, Decimal:
		s := v.Str
		if v.Kind == Decimal {
			s = trimZeroFraction(s)
		}
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	case Float:
		f := v.Float64()
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f), true
		}
	}
	return 0, false
}

func trimZeroFraction(s string) string {
	for i := range len(s) {
		if s[i] != '.' {
			continue
		}
		for j := i + 1; j < len(s); j++ {
			if s[j] != '0' {
				return s
			}
		}
		return s[:i]
	}
	return s
}
