package algorithm

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/sharding/groovy"
	"github.com/sidewire/sidewire/sharding/value"
)

// TestJava compares with testdata/java.txt, which Vectors.java beside it wrote under Java 17.
func TestJava(t *testing.T) {
	f, err := os.Open("testdata/java.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		if why := vector(strings.Split(s.Text(), "\t")); why != "" {
			t.Errorf("line %d: %s: %s", n+1, s.Text(), why)
		}
	}
	if n < 5000 {
		t.Errorf("only %d vectors", n)
	}
}

func targets(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("t_%d", i))
	}
	return out
}

func vector(f []string) string {
	number := func(s string) value.Value {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			u, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				panic(err)
			}
			return value.NewUint(u)
		}
		return value.NewInt(n)
	}
	switch f[0] {
	case "hash_mod", "mod", "hash_big":
		typ := map[string]string{"hash_mod": "HASH_MOD", "mod": "MOD", "hash_big": "HASH_MOD"}[f[0]]
		n, _ := strconv.Atoi(f[2])
		target, also, why := ask(typ, map[string]string{"sharding-count": f[2]}, targets(n), number(f[1]))
		if why != "" {
			return why
		}
		if fmt.Sprint(target) != f[3] {
			return fmt.Sprintf("target %d", target)
		}
		if f[0] == "hash_mod" && f[4] != f[3] && fmt.Sprint(also) != f[4] {
			return fmt.Sprintf("as Long: %d", also)
		}
	case "hash_text":
		target, _, why := ask("HASH_MOD", map[string]string{"sharding-count": f[2]}, targets(16), value.NewString(f[1]))
		if why != "" || fmt.Sprint(target) != f[3] {
			return fmt.Sprintf("target %d %s", target, why)
		}
		return expression("x.hashCode()", groovy.String(f[1]), f[4])
	case "remainder":
		return expression("x % 7", groovy.Number(number(f[1]).Int64()), f[3])
	case "intabs":
		return expression("Math.abs(x)", groovy.Number(number(f[1]).Int64()), f[2])
	case "times":
		return expression("x * 31", groovy.Number(number(f[1]).Int64()), f[2])
	case "auto_interval":
		n, _ := strconv.Atoi(f[3])
		target, _, why := ask("AUTO_INTERVAL", map[string]string{"datetime-lower": "2020-01-01 00:00:00", "datetime-upper": "2020-01-10 00:00:00",
			"sharding-seconds": f[2]}, targets(n), value.Value{Kind: value.Datetime, Str: f[1]})
		if why != "" || fmt.Sprint(target) != f[4] {
			return fmt.Sprintf("target %d %s", target, why)
		}
	case "interval":
		lower := "2023-01-31 00:00:00"
		upper := "2024-04-02 00:00:00"
		if strings.HasSuffix(f[1], ".SSS") {
			lower, upper = lower+".000", upper+".000"
		}
		target, _, why := ask("INTERVAL", map[string]string{"datetime-pattern": f[1], "datetime-lower": lower, "datetime-upper": upper,
			"sharding-suffix-pattern": f[2], "datetime-interval-unit": f[3], "datetime-interval-amount": f[4]}, []string{"t_none", "t_" + f[6]}, value.NewString(f[5]))
		if why != "" || target != 1 {
			return fmt.Sprintf("target %d %s", target, why)
		}
	default:
		return "unknown vector"
	}
	return ""
}

func ask(typ string, props map[string]string, targets []string, v value.Value) (int, int, string) {
	a, err := New(typ, props, time.Time{})
	if err != nil {
		return 0, 0, err.Error()
	}
	s, err := a.Standard("x", targets)
	if err != nil {
		return 0, 0, err.Error()
	}
	target, also, err := s.Exact(v)
	if err != nil {
		return 0, 0, err.Error()
	}
	return target, also, ""
}

func expression(src string, x groovy.Value, want string) string {
	f, err := groovy.Compile(src, []string{"x"})
	if err != nil {
		return err.Error()
	}
	v, err := f([]groovy.Value{x})
	if err != nil || v.Text() != want {
		return fmt.Sprintf("%s is %s (%v)", src, v.Text(), err)
	}
	return ""
}

func TestProblemsNameTheirProperty(t *testing.T) {
	for _, c := range []struct {
		typ   string
		props map[string]string
		want  string
	}{
		{"MOD", nil, "sharding-count: is required"},
		{"MOD", map[string]string{"sharding-count": "x"}, `sharding-count: expected a whole number, found "x"`},
		{"MOD", map[string]string{"sharding-count": "2", "shard": "1"}, "shard: is not a property of this algorithm; expected one of sharding-count, start-offset, stop-offset, zero-padding"},
		{"CLASS_BASED", map[string]string{"strategy": "STANDARD"}, "CLASS_BASED runs a Java class, which sidewire cannot; say the same with INLINE, COMPLEX_INLINE or HINT_INLINE"},
		{"BOUNDARY_RANGE", map[string]string{"sharding-ranges": "1,1"}, "sharding-ranges: 1 occurs twice"},
		{"INTERVAL", map[string]string{"datetime-pattern": "EEE", "sharding-suffix-pattern": "yyyy", "datetime-lower": "x"}, `datetime-pattern: pattern letter 'E' is not supported; supported are y u M d H m s S and quoted text`},
		{"NO_SUCH", nil, `unknown sharding algorithm "NO_SUCH"; expected one of AUTO_INTERVAL, BOUNDARY_RANGE, COMPLEX_INLINE, HASH_MOD, HINT_INLINE, INLINE, INTERVAL, MOD, VOLUME_RANGE`},
	} {
		if _, err := New(c.typ, c.props, time.Time{}); err == nil || err.Error() != c.want {
			t.Errorf("%s %v:\n got %v\nwant %s", c.typ, c.props, err, c.want)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		typ    string
		props  map[string]string
		n      int
		r      Range
		wanted string
	}{
		{"MOD", map[string]string{"sharding-count": "4"}, 4, between(5, 6), "[1 2]"},
		{"MOD", map[string]string{"sharding-count": "4"}, 4, between(-2, -1), "[2 3]"},
		{"MOD", map[string]string{"sharding-count": "4"}, 4, between(-9223372036854775808, 9223372036854775807), "[0 1 2 3]"},
		{"MOD", map[string]string{"sharding-count": "4"}, 4, between(9, 2), "[]"},
		{"VOLUME_RANGE", map[string]string{"range-lower": "0", "range-upper": "25", "sharding-volume": "10"}, 5, between(3, 12), "[1 2]"},
		{"VOLUME_RANGE", map[string]string{"range-lower": "0", "range-upper": "25", "sharding-volume": "10"}, 5, Range{HasLower: true, Lower: value.NewInt(24)}, "[3 4]"},
		{"BOUNDARY_RANGE", map[string]string{"sharding-ranges": "1,5,10"}, 4, between(0, 5), "[0 1 2]"},
		{"HASH_MOD", map[string]string{"sharding-count": "3"}, 3, between(1, 1), "[0 1 2]"},
	} {
		a, err := New(c.typ, c.props, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Standard("x", targets(c.n))
		if err != nil {
			t.Fatal(err)
		}
		out := NewSet(c.n)
		if err := s.Range(c.r, out); err != nil {
			t.Fatal(err)
		}
		got := []int{}
		for i := out.Next(0); i >= 0; i = out.Next(i + 1) {
			got = append(got, i)
		}
		if fmt.Sprint(got) != c.wanted {
			t.Errorf("%s %+v: got %v, want %s", c.typ, c.r, got, c.wanted)
		}
	}
}

func between(a, b int64) Range {
	return Range{Lower: value.NewInt(a), Upper: value.NewInt(b), HasLower: true, HasUpper: true, LowerClosed: true, UpperClosed: true}
}
