package groovy

import (
	"strings"
	"testing"
)

func TestExpressions(t *testing.T) {
	for _, c := range []struct {
		src  string
		x    Value
		want string
	}{
		{"x % 4", Int(-7), "-3"},
		{"Math.floorMod(x, 4)", Int(-7), "1"},
		{"x.intdiv(2) + 1", Int(7), "4"},
		{"x + 1", Int(2147483647), "-2147483648"},
		{"x + 1L", Int(2147483647), "2147483648"},
		{"Math.abs(x.hashCode()) % 3", String("order-1"), "2"},
		{"x.toString().substring(0, 2)", Int(12345), "12"},
		{"x[-2..-1]", String("abcde"), "de"},
		{"x > 5 ? 'big' : 'small'", Int(6), "big"},
		{"x ?: 9", Int(0), "9"},
		{"'t_' + x", Int(3), "t_3"},
		{"x.toString().padLeft(4, '0')", Int(7), "0007"},
		{"Long.parseLong(x) & 3", String("7"), "3"},
		{"(x as long) >>> 60", Int(-1), "15"},
		{"x >>> 28", Int(-1), "15"},
		{"!(x == 1) && x != 2 || false", Int(3), "true"},
		{"x <=> 2", Int(1), "-1"},
		{"-2147483648", Int(0), "-2147483648"},
	} {
		f, err := Compile(c.src, []string{"x"})
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		v, err := f([]Value{c.x})
		if err != nil || v.Text() != c.want {
			t.Errorf("%s: got %s %v, want %s", c.src, v.Text(), err, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for src, want := range map[string]string{
		"x / 2":                "use intdiv",
		"y % 2":                `unknown name "y"; known here: x`,
		"x.execute()":          `method "execute" is not supported`,
		"System.exit(1)":       `unknown name "System"`,
		"x %":                  "ends too early",
		"x ** 2":               `"**" is not supported`,
		"'open":                "not closed",
		"x.each { it }":        `expected "("`,
		"\"a${x}\"":            "expressions inside strings",
		"1.5 * x":              "decimal numbers",
		"99999999999999999999": "not a number Long can hold",
	} {
		if _, err := Compile(src, []string{"x"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", src, err, want)
		}
	}
}

func TestExpand(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"ds_${0..1}.t_${['a','b']}", "ds_0.t_a ds_0.t_b ds_1.t_a ds_1.t_b"},
		{"ds_$->{0..1}", "ds_0 ds_1"},
		{"ds_0.t_${0..1}, ds_1.t_${2..3}", "ds_0.t_0 ds_0.t_1 ds_1.t_2 ds_1.t_3"},
		{"t_${3..1}", "t_3 t_2 t_1"},
		{"<LITERAL>a.b,c.d", "a.b c.d"},
		{"${['ds_0','ds_1']}", "ds_0 ds_1"},
		{"ds.t", "ds.t"},
	} {
		got, err := Expand(c.src)
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v %v", c.src, got, err)
		}
	}
	for _, src := range []string{"${0..99999999999}", "${0..999}${0..999}", "$x", "${", "<ESPRESSO>x"} {
		if got, err := Expand(src); err == nil {
			t.Errorf("%s: got %d names", src, len(got))
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"x % 2", "Math.abs(x.hashCode()) % 3", "x[0..1] ?: 'a'", "((((", "-9223372036854775808 % -1"} {
		f.Add(s, int64(5), "a")
	}
	f.Fuzz(func(t *testing.T, src string, n int64, s string) {
		fn, err := Compile(src, []string{"x", "y"})
		if err != nil {
			return
		}
		if _, err := fn([]Value{Number(n), String(s)}); err != nil {
			return
		}
	})
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"ds_${0..1}", "${['a',1..3]}", "<LITERAL>a,b", "$->{1}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		names, err := Expand(s)
		if err == nil && len(names) > 2*MaxExpansion {
			t.Errorf("%d names", len(names))
		}
	})
}
