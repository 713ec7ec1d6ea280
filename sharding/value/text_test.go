package value

import "testing"

func TestLiteralRoundTrips(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want string
	}{
		{NewInt(-5), "-5"},
		{NewUint(1<<64 - 1), "18446744073709551615"},
		{NewString("it's"), "'it''s'"},
		{NewString(`a\b`), "_utf8mb4 x'615c62'"},
		{NewBytes("\x00\xff"), "x'00ff'"},
		{NewFloat(1.5), "1.5e+00"},
		{NewDecimal("12.50"), "12.50"},
		{Value{}, "NULL"},
	} {
		if got := string(c.v.AppendLiteral(nil)); got != c.want {
			t.Errorf("%v: got %s, want %s", c.v, got, c.want)
		}
	}
}

func TestInteger(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want int64
		ok   bool
	}{
		{NewInt(7), 7, true}, {NewString("-7"), -7, true}, {NewDecimal("7.00"), 7, true}, {NewDecimal("7.01"), 0, false},
		{NewFloat(3), 3, true}, {NewFloat(3.5), 0, false}, {NewString("7x"), 0, false}, {Value{}, 0, false},
		{NewUint(1 << 63), 0, false},
	} {
		if got, ok := c.v.Integer(); got != c.want || ok != c.ok {
			t.Errorf("%v: got %d %v", c.v, got, ok)
		}
	}
}
