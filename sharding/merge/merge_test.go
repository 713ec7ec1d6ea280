package merge

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sidewire/sidewire/sharding/value"
)

// list is a Source over rows of text values; "NULL" is NULL.
type list struct {
	columns []Column
	rows    [][]string
	at      int
	buf     []byte
}

func (l *list) Columns() ([]Column, error) { return l.columns, nil }

func (l *list) Next() ([]byte, error) {
	if l.at == len(l.rows) {
		return nil, io.EOF
	}
	l.buf = l.buf[:0]
	for _, v := range l.rows[l.at] {
		if v == "NULL" {
			l.buf = append(l.buf, 0xfb)
			continue
		}
		l.buf = append(appendLenenc(l.buf, len(v)), v...)
	}
	l.at++
	return l.buf, nil
}

func text(row []byte) string {
	var out []string
	for len(row) > 0 {
		if row[0] == 0xfb {
			out, row = append(out, "NULL"), row[1:]
			continue
		}
		n, w := lenenc(row)
		out, row = append(out, string(row[w:w+int(n)])), row[w+int(n):]
	}
	return strings.Join(out, ",")
}

func run(spec *Spec, columns []Column, opt Options, shards ...[][]string) (string, error) {
	var sources []Source
	for _, s := range shards {
		sources = append(sources, &list{columns: columns, rows: s})
	}
	m, err := New(spec, sources, opt)
	if err != nil {
		return "", err
	}
	var out []string
	for {
		row, err := m.Next()
		if err == io.EOF {
			return strings.Join(out, " "), nil
		}
		if err != nil {
			return strings.Join(out, " "), err
		}
		out = append(out, text(row))
	}
}

var (
	intColumn = Column{Name: "i", Type: TypeLongLong}
	decColumn = Column{Name: "d", Type: TypeNewDecimal, Decimals: 4}
	strColumn = Column{Name: "s", Type: TypeVarString, Charset: 45}
	binColumn = Column{Name: "w", Type: TypeVarString, Charset: 63}
)

func TestMerges(t *testing.T) {
	textKey := Key{Column: 0, Weight: Derived, Collation: -1, Name: "utf8mb4_general_ci"}
	for _, c := range []struct {
		name    string
		spec    Spec
		columns []Column
		shards  [][][]string
		want    string
	}{
		{"concatenated", Spec{Limit: -1}, []Column{intColumn}, [][][]string{{{"2"}, {"1"}}, {}, {{"3"}}}, "2 1 3"},
		{"limited", Spec{Limit: 2, Offset: 1}, []Column{intColumn}, [][][]string{{{"2"}, {"1"}}, {{"3"}, {"4"}}}, "1 3"},
		{"NULL sorts first", Spec{Limit: -1, Keys: []Key{PlainKey(0, false)}}, []Column{intColumn}, [][][]string{{{"NULL"}, {"-2"}, {"10"}}, {{"NULL"}, {"9"}}}, "NULL NULL -2 9 10"},
		{"descending", Spec{Limit: -1, Keys: []Key{PlainKey(0, true)}}, []Column{intColumn}, [][][]string{{{"10"}, {"-2"}, {"NULL"}}, {{"9"}}}, "10 9 -2 NULL"},
		{"text by weight, padded, cut off", Spec{Limit: -1, Strip: 1, Keys: []Key{textKey}}, []Column{strColumn, binColumn},
			[][][]string{{{"a\t", "\x00A\x00\t"}, {"B", "\x00B"}}, {{"A", "\x00A"}, {"a ", "\x00A\x00 "}}}, "a\t A a  B"},
		{"counted and summed", Spec{Limit: -1, Grouped: true, Aggregates: []Aggregate{{Func: Count, Column: 0, Input: 0}, {Func: SumOf, Column: 1, Input: 1}}},
			[]Column{intColumn, decColumn}, [][][]string{{{"3", "1.5000"}}, {{"0", "NULL"}}, {{"2", "-0.2500"}}}, "5,1.2500"},
		{"average, halves away from zero", Spec{Limit: -1, Strip: 2, Grouped: true, Aggregates: []Aggregate{{Func: Avg, Column: 0, Input: Derived, Count: Derived + 1}}},
			[]Column{decColumn, decColumn, intColumn}, [][][]string{{{"x", "1", "2"}}, {{"y", "0", "1"}}}, "0.3333"},
		{"groups meet, are filtered and sorted again", Spec{Limit: 1, Grouped: true, Group: 1, Keys: []Key{PlainKey(0, false)},
			Aggregates: []Aggregate{{Func: SumOf, Column: 1, Input: 1}}, Resort: []Key{PlainKey(1, true)}, Consts: []value.Value{value.NewInt(9)},
			Having: &Expr{Op: OpLT, Args: []*Expr{{Op: OpColumn, Column: 1}, {Op: OpConst}}}},
			[]Column{intColumn, intColumn}, [][][]string{{{"1", "2"}, {"2", "5"}}, {{"1", "3"}, {"3", "8"}, {"4", "10"}}}, "3,8"},
		{"no row at all is one group of zeros", Spec{Limit: -1, Strip: 1, Grouped: true, Keys: []Key{PlainKey(Derived, false)},
			Aggregates: []Aggregate{{Func: CountDistinct, Column: 0, Input: 0, Keys: 1}}}, []Column{intColumn, intColumn}, [][][]string{{}, {}}, "0"},
		{"distinct values are counted once, NULL never", Spec{Limit: -1, Strip: 1, Grouped: true, Keys: []Key{PlainKey(Derived, false)},
			Aggregates: []Aggregate{{Func: CountDistinct, Column: 0, Input: 0, Keys: 1}}}, []Column{intColumn, intColumn},
			[][][]string{{{"0", "NULL"}, {"1", "5"}, {"1", "7"}}, {{"1", "5"}, {"1", "6"}}}, "3"},
		{"distinct values that do not meet are held", Spec{Limit: -1, Strip: 3, Grouped: true, Group: 1,
			Keys: []Key{PlainKey(0, false), PlainKey(Derived, false), PlainKey(Derived+1, false)}, Aggregates: []Aggregate{
				{Func: CountDistinct, Column: 1, Input: 1, Keys: 1}, {Func: SumDistinct, Column: 2, Input: 2, First: 1, Keys: 1},
				{Func: AvgDistinct, Column: 3, Input: 2, Count: Derived + 2, First: 1, Keys: 1}}},
			[]Column{intColumn, intColumn, intColumn, decColumn, intColumn, intColumn, intColumn},
			[][][]string{{{"1", "1", "7", "7", "1", "7", "1"}, {"1", "1", "9", "9", "2", "9", "1"}, {"2", "0", "7", "7", "NULL", "7", "1"}},
				{{"1", "1", "7", "7", "2", "7", "1"}, {"1", "1", "NULL", "NULL", "3", "NULL", "0"}}}, "1,3,16,8.0000 2,0,7,7.0000"},
	} {
		got, err := run(&c.spec, c.columns, Options{}, c.shards...)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	sorted := &Spec{Limit: -1, Keys: []Key{PlainKey(0, false)}}
	if _, err := run(sorted, []Column{intColumn}, Options{}, [][]string{{"2"}, {"1"}}); !errors.Is(err, ErrOrder) {
		t.Errorf("a shard out of order: %v", err)
	}
	if _, err := run(sorted, []Column{strColumn}, Options{}, [][]string{{"a"}}); err == nil {
		t.Error("text without a weight was sorted")
	}
	sum := &Spec{Limit: -1, Grouped: true, Aggregates: []Aggregate{{Func: SumOf}}}
	if _, err := run(sum, []Column{intColumn}, Options{}, [][]string{{"9223372036854775807"}}, [][]string{{"1"}}); !errors.Is(err, ErrOverflow) {
		t.Errorf("overflow: %v", err)
	}
	group := &Spec{Limit: -1, Grouped: true, Group: 1, Keys: []Key{PlainKey(0, false)}, Resort: []Key{PlainKey(0, true)}}
	var rows [][]string
	for i := range 1000 {
		rows = append(rows, []string{strconv.Itoa(i)})
	}
	if _, err := run(group, []Column{intColumn}, Options{Budget: 10_000}, rows); !errors.Is(err, ErrBudget) {
		t.Errorf("budget: %v", err)
	}
	held := &Spec{Limit: -1, Grouped: true, Keys: []Key{PlainKey(1, false), PlainKey(0, false)},
		Aggregates: []Aggregate{{Func: CountDistinct, First: 1, Keys: 1}}}
	for i := range rows {
		rows[i] = append(rows[i], "0")
	}
	if _, err := run(held, []Column{intColumn, intColumn}, Options{Budget: 10_000}, rows); !errors.Is(err, ErrBudget) {
		t.Errorf("budget of distinct values: %v", err)
	}
	other := []Source{&list{columns: []Column{intColumn}}, &list{columns: []Column{strColumn}}}
	if _, err := New(sorted, other, Options{}); !errors.Is(err, ErrColumns) {
		t.Errorf("different columns: %v", err)
	}
}

// counter is a Source of n sorted rows, made as they are read.
type counter struct {
	next, step, n int
	buf           []byte
}

func (c *counter) Columns() ([]Column, error) { return []Column{intColumn, strColumn, intColumn}, nil }

func (c *counter) Next() ([]byte, error) {
	if c.next >= c.n {
		return nil, io.EOF
	}
	var num [20]byte
	d := strconv.AppendInt(num[:0], int64(c.next), 10)
	c.next += c.step
	c.buf = append(append(c.buf[:0], byte(len(d))), d...)
	c.buf = append(append(c.buf, 10), "abcdefghij"...)
	c.buf = append(append(c.buf, byte(len(d))), d...)
	return c.buf, nil
}

func counters(shards, n int) []Source {
	var out []Source
	for i := range shards {
		out = append(out, &counter{next: i, step: shards, n: n})
	}
	return out
}

// TestStreams sorts a million rows of ten shards: it holds none of them and allocates nothing for each.
func TestStreams(t *testing.T) {
	spec := &Spec{Limit: -1, Strip: 1, Keys: []Key{PlainKey(Derived, false)}}
	m, err := New(spec, counters(10, 1_000_000), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := m.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := m.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	rows := 0
	for ; ; rows++ {
		if _, err := m.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 1<<20 {
		t.Errorf("%d bytes held", held)
	}
	if rows < 990_000 {
		t.Errorf("%d rows", rows)
	}
}

func BenchmarkSorted(b *testing.B) {
	spec := &Spec{Limit: -1, Strip: 1, Keys: []Key{PlainKey(Derived, false)}}
	m, err := New(spec, counters(10, b.N+100), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// raw is a Source of whatever bytes a fuzzer makes up.
type raw struct {
	columns []Column
	rows    [][]byte
}

func (r *raw) Columns() ([]Column, error) { return r.columns, nil }

func (r *raw) Next() ([]byte, error) {
	if len(r.rows) == 0 {
		return nil, io.EOF
	}
	row := r.rows[0]
	r.rows = r.rows[1:]
	return row, nil
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte("\x011\x01a"), []byte("\x012\x01b"), byte(0), byte(8), byte(253))
	f.Add([]byte{0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'x'}, []byte{0, 0xff}, byte(1), byte(8), byte(253))
	f.Add([]byte("\xfb\xfe\xff\xff\xff\xff\xff\xff\xff\xff"), []byte{}, byte(2), byte(12), byte(246))
	f.Fuzz(func(t *testing.T, a, b []byte, mode, t1, t2 byte) {
		cols := []Column{{Name: "a", Type: t1, Decimals: 2}, {Name: "b", Type: t2, Charset: 63}}
		spec := &Spec{Limit: 5, Keys: []Key{PlainKey(0, mode&4 != 0)}}
		if mode&2 != 0 {
			spec = &Spec{Limit: -1, Strip: 1, Grouped: true, Group: 1, Keys: []Key{PlainKey(0, false)}, Aggregates: []Aggregate{{Func: Func(mode>>3) % 3, Column: 0, Input: 1}}}
		}
		m, err := New(spec, []Source{&raw{cols, [][]byte{a, b}}, &raw{cols, [][]byte{b}}}, Options{Format: Format(mode & 1)})
		for err == nil {
			_, err = m.Next()
		}
	})
}

func TestPadding(t *testing.T) {
	for name, want := range map[string]string{"utf8mb4_general_ci": "0020", "utf8mb4_unicode_ci": "0209", "utf8mb4_unicode_520_ci": "020a", "utf8mb4_bin": "000020",
		"utf8mb3_bin": "0020", "latin1_swedish_ci": "20", "utf8mb4_0900_ai_ci": "", "utf8mb4_nopad_bin": "", "utf8mb4_uca1400_ai_ci": "0209", "ascii_bin": "20"} {
		pad, err := padding(name)
		if got := fmt.Sprintf("%x", pad); err != nil || got != want {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
	for _, name := range []string{"latin2_czech_cs", "utf8mb4_uca1400_as_cs", "utf8mb4_thai_520_w2"} {
		if _, err := padding(name); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// Exact numbers add, compare and divide as fractions do.
func FuzzDecimal(f *testing.F) {
	f.Add("1.50", "-0.25", 4)
	f.Add("99999999999999999999.999999999999999999999999999999", "3", 30)
	f.Add("-0", "000.10", 0)
	f.Fuzz(func(t *testing.T, x, y string, digits int) {
		var a, b decimal
		if !a.parse(x) || !b.parse(y) {
			return
		}
		digits = min(max(digits, 0), 38)
		ra, rb := rational(&a), rational(&b)
		if got, want := a.cmp(&b), ra.Cmp(rb); got != want {
			t.Errorf("%s compared with %s: %d, want %d", x, y, got, want)
		}
		if b.unscaled.Sign() != 0 && b.scale == 0 {
			var q decimal
			q.quotient(&a, &b, digits)
			want := new(big.Rat).Quo(ra, rb)
			off := new(big.Rat).Sub(rational(&q), want)
			half := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Mul(big.NewInt(2), powers[digits]))
			if off.Abs(off).Cmp(half) > 0 || q.scale != digits {
				t.Errorf("%s / %s to %d digits: %s", x, y, digits, q.append(nil))
			}
		}
		var c decimal
		if text := a.append(nil); !c.parse(string(text)) || c.cmp(&a) != 0 {
			t.Errorf("%s written as %s", x, text)
		}
		if a.add(&b); rational(&a).Cmp(new(big.Rat).Add(ra, rb)) != 0 {
			t.Errorf("%s + %s: %s", x, y, a.append(nil))
		}
	})
}

func rational(d *decimal) *big.Rat { return new(big.Rat).SetFrac(&d.unscaled, powers[d.scale]) }
