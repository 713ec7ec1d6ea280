package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/sidewire/sidewire/sharding/value"
)

// kind is what a generated column holds.
type kind uint8

const (
	kInt kind = iota
	kBig
	kUnsigned
	kDecimal
	kDouble
	kFloat
	kText
	kBytes
	kDatetime
	kDate
	kTime
	kEnum
)

// column is one generated column.
type column struct {
	name      string
	kind      kind
	collation string
	null      bool
}

func (c column) number() bool { return c.kind <= kFloat }

func (c column) ddl() string {
	types := map[kind]string{kInt: "INT", kBig: "BIGINT", kUnsigned: "BIGINT UNSIGNED", kDecimal: "DECIMAL(12,3)", kDouble: "DOUBLE", kFloat: "FLOAT",
		kText: "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE " + c.collation, kBytes: "VARBINARY(12)", kDatetime: "DATETIME(3)", kDate: "DATE",
		kTime: "TIME", kEnum: "ENUM('z','b','a')"}
	s := c.name + " " + types[c.kind]
	if !c.null {
		s += " NOT NULL"
	}
	return s
}

// tableDef is one generated table. Its first column is its unique id.
type tableDef struct {
	name    string
	key     string // sharding column; "" for tables that are not sharded
	columns []column
}

func (t *tableDef) column(name string) column {
	for _, c := range t.columns {
		if c.name == name {
			return c
		}
	}
	panic("no column " + name)
}

func (t *tableDef) ddl() string {
	parts := make([]string, len(t.columns))
	for i, c := range t.columns {
		parts[i] = c.ddl()
	}
	pk := t.columns[0].name
	if t.key != "" && t.key != pk {
		pk += ", " + t.key
	}
	return "CREATE TABLE " + t.name + " (" + strings.Join(parts, ", ") + ", PRIMARY KEY (" + pk + ")) ENGINE=InnoDB"
}

const (
	ci      = "utf8mb4_general_ci"
	bin     = "utf8mb4_bin"
	unicode = "utf8mb4_unicode_ci"
)

var collations = []string{ci, bin, unicode}

// tables are the tables of every run: cut by MOD, bound to each other, by HASH_MOD of numbers and of text, on two levels
// and by ranges; a broadcast table; a single one.
var tables = []*tableDef{
	{"a", "k", []column{{"id", kBig, "", false}, {"k", kInt, "", false}, {"i", kInt, "", true}, {"u", kUnsigned, "", true},
		{"d", kDecimal, "", true}, {"f", kDouble, "", true}, {"fl", kFloat, "", true}, {"s", kText, ci, true}, {"sb", kText, bin, true},
		{"su", kText, unicode, true}, {"dt", kDatetime, "", true}, {"da", kDate, "", true}, {"ti", kTime, "", true}, {"e", kEnum, "", true},
		{"vb", kBytes, "", true}}},
	{"b", "k", []column{{"id", kBig, "", false}, {"k", kInt, "", false}, {"aid", kBig, "", true}, {"i", kInt, "", true},
		{"d", kDecimal, "", true}, {"s", kText, ci, true}}},
	{"h", "hk", []column{{"id", kBig, "", false}, {"hk", kBig, "", false}, {"i", kInt, "", true}, {"d", kDecimal, "", true}, {"s", kText, ci, true}}},
	{"n", "name", []column{{"id", kBig, "", false}, {"name", kText, ci, false}, {"i", kInt, "", true}, {"f", kDouble, "", true}}},
	{"nb", "name", []column{{"id", kBig, "", false}, {"name", kBytes, "", false}, {"i", kInt, "", true}, {"d", kDecimal, "", true}}},
	{"two", "k", []column{{"id", kBig, "", false}, {"k", kInt, "", false}, {"i", kInt, "", true}, {"s", kText, unicode, true}}},
	{"v", "k", []column{{"id", kBig, "", false}, {"k", kInt, "", false}, {"i", kInt, "", true}, {"d", kDecimal, "", true}, {"e", kEnum, "", true}}},
	{"c", "", []column{{"code", kInt, "", false}, {"label", kText, ci, true}, {"w", kInt, "", true}}},
	{"o", "", []column{{"id", kInt, "", false}, {"i", kInt, "", true}, {"s", kText, ci, true}}},
}

// Rules writes the rule file of a sharded database with sources times per shards, on databases prefix_0, prefix_1, ...
func Rules(srv Server, prefix string, sources, per int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "databaseName: %s\ndataSources:\n", prefix)
	for i := range sources {
		fmt.Fprintf(&b, "  ds_%d: {url: \"jdbc:mysql://%s/%s_%d?useSSL=false\", username: %s, password: %q}\n", i, srv.Addr, prefix, i, srv.User, srv.Password)
	}
	n := sources * per
	fmt.Fprintf(&b, `rules:
- !SHARDING
  tables:
    two:
      actualDataNodes: ds_${0..%[1]d}.two_${0..%[2]d}
      databaseStrategy: {standard: {shardingColumn: k, shardingAlgorithmName: mod_sources}}
      tableStrategy: {standard: {shardingColumn: id, shardingAlgorithmName: mod_per}}
  autoTables:
    a: {actualDataSources: "ds_${0..%[1]d}", shardingStrategy: {standard: {shardingColumn: k, shardingAlgorithmName: mod_all}}}
    b: {actualDataSources: "ds_${0..%[1]d}", shardingStrategy: {standard: {shardingColumn: k, shardingAlgorithmName: mod_all}}}
    h: {actualDataSources: "ds_${0..%[1]d}", shardingStrategy: {standard: {shardingColumn: hk, shardingAlgorithmName: hash_all}}}
    n: {actualDataSources: "ds_${0..%[1]d}", shardingStrategy: {standard: {shardingColumn: name, shardingAlgorithmName: hash_all}}}
    nb: {actualDataSources: "ds_${0..%[1]d}", shardingStrategy: {standard: {shardingColumn: name, shardingAlgorithmName: hash_all}}}
    v: {actualDataSources: "ds_${0..%[1]d}", shardingStrategy: {standard: {shardingColumn: k, shardingAlgorithmName: volume}}}
  bindingTables: ["a,b"]
  shardingAlgorithms:
    mod_sources: {type: MOD, props: {sharding-count: %[3]d}}
    mod_per: {type: MOD, props: {sharding-count: %[4]d}}
    mod_all: {type: MOD, props: {sharding-count: %[5]d}}
    hash_all: {type: HASH_MOD, props: {sharding-count: %[5]d}}
    volume: {type: VOLUME_RANGE, props: {range-lower: -10, range-upper: %[6]d, sharding-volume: 10}}
- !BROADCAST
  tables: [c]
- !SINGLE
  defaultDataSource: ds_0
`, sources-1, per-1, sources, per, n, (n-2)*10-10)
	return b.String()
}

// texts are the values of text columns: empty, cases, accents, expansions, trailing space and tab, beyond the BMP.
var texts = []string{"", "a", "A", "b", "B", "ab", "aB", "a ", "a\t", "\u00e1", "ss", "\u00df", "z", "Z", "5", "05", "-1", "it's", `b\s`, "%", "_",
	"\U0001F600", "\u00c4", "abc def", "10", "9"}

// domain returns a random value of a column: few of them, so that there are ties, and some at the edges.
func domain(r *rand.Rand, c column) value.Value {
	if c.null && r.IntN(6) == 0 {
		return value.Value{}
	}
	switch c.kind {
	case kInt:
		if r.IntN(12) == 0 {
			return value.NewInt([]int64{-2147483648, 2147483647, 0, -1}[r.IntN(4)])
		}
		return value.NewInt(int64(r.IntN(41) - 15))
	case kBig:
		if r.IntN(6) == 0 {
			return value.NewInt([]int64{-9223372036854775808, 9223372036854775807, 4294967296, -4294967297, 2147483648, -2147483649, -2147483648}[r.IntN(7)])
		}
		return value.NewInt(int64(r.IntN(41) - 15))
	case kUnsigned:
		if r.IntN(10) == 0 {
			return value.NewUint([]uint64{0, 9223372036854775808, 4294967296, 77}[r.IntN(4)])
		}
		return value.NewInt(int64(r.IntN(12)))
	case kDecimal:
		return value.NewDecimal([]string{"0.000", "1.500", "-1.500", "2.345", "-0.001", "99999.999", "10.000", "0.005", "3.333"}[r.IntN(9)])
	case kDouble, kFloat:
		return value.NewFloat([]float64{0, 0.5, -0.5, 1.25, 2, -3.75, 1024.5, 7}[r.IntN(8)])
	case kText:
		return value.NewString(texts[r.IntN(len(texts))])
	case kBytes:
		return value.NewString([]string{"", "a", "A", "b", "x y", "5", "05", "zz"}[r.IntN(8)])
	case kDatetime:
		return value.NewString([]string{"2020-01-01 00:00:00.000", "2020-01-01 00:00:00.500", "2019-12-31 23:59:59.999", "2024-02-29 12:00:00.000",
			"1000-01-01 00:00:00.000", "9999-12-31 23:59:59.000"}[r.IntN(6)])
	case kDate:
		return value.NewString([]string{"2020-01-01", "2019-12-31", "2024-02-29", "1000-01-01", "9999-12-31", "2020-01-02"}[r.IntN(6)])
	case kTime:
		return value.NewString([]string{"00:00:00", "-01:30:00", "12:34:56", "-00:00:01", "838:59:59", "09:00:00", "100:00:00"}[r.IntN(7)])
	}
	return value.NewString([]string{"z", "b", "a"}[r.IntN(3)])
}
