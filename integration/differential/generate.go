package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/sidewire/sidewire/sharding/value"
)

// Generator makes statements from a seed.
type Generator struct {
	r      *rand.Rand
	nextID int64
	copies int64

	prepared bool
	args     []value.Value
}

// NewGenerator returns the generator of a seed.
func NewGenerator(seed uint64) *Generator {
	return &Generator{r: rand.New(rand.NewPCG(seed, 7)), nextID: 1_000_000}
}

func (g *Generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func pick[T any](g *Generator, list ...T) T { return list[g.r.IntN(len(list))] }

// value writes a value: a literal, or a parameter.
func (g *Generator) value(v value.Value) string {
	if g.prepared && g.chance(70) && v.Kind != value.Decimal {
		g.args = append(g.args, v)
		return "?"
	}
	return literal(v)
}

// literal writes a value as an application would, with escapes.
func literal(v value.Value) string {
	if v.Kind == value.String {
		return "'" + strings.NewReplacer(`\`, `\\`, "'", pickQuote(v.Str)).Replace(v.Str) + "'"
	}
	return string(v.AppendLiteral(nil))
}

// pickQuote escapes a quote in one of the two ways there are, the same for the same text.
func pickQuote(s string) string {
	if len(s)%2 == 0 {
		return `\'`
	}
	return "''"
}

func (g *Generator) table() *tableDef {
	return pick(g, tables[0], tables[0], tables[0], tables[1], tables[2], tables[2], tables[3], tables[4], tables[5], tables[6], tables[7], tables[8])
}

// Next makes the next statement, and its parameters.
func (g *Generator) Next() (*Statement, []value.Value) {
	g.args, g.prepared = nil, g.chance(25)
	var st *Statement
	switch n := g.r.IntN(100); {
	case n < 30:
		st = g.rows()
	case n < 55:
		st = g.groups()
	case n < 62:
		st = g.distinct()
	case n < 74:
		st = g.joined()
	case n < 82:
		st = g.nested()
	case n < 85:
		st = g.union()
	case n < 91:
		st = g.insert()
	case n < 96:
		st = g.update()
	default:
		st = g.delete()
	}
	// Parameters must come in the order of the text: what is generated out of order is written as literals.
	if strings.Count(st.SQL, "?") != len(g.args) {
		g.args = nil
	}
	st.Prepared = g.prepared
	for _, a := range g.args {
		st.Args = append(st.Args, string(a.AppendLiteral(nil)))
	}
	return st, g.args
}

// where writes a condition on a table's columns, by which rows are chosen often enough.
func (g *Generator) where(t *tableDef, q string) string {
	switch n := g.r.IntN(10); {
	case n < 2:
		return ""
	case n < 5 && t.key != "":
		return " WHERE " + g.keyed(t, q)
	case n < 7 && t.key != "":
		x := g.keyed(t, q)
		return " WHERE " + x + pick(g, " AND ", " AND ", " OR ") + g.predicate(t, q)
	case n < 8:
		x := g.predicate(t, q)
		y := g.predicate(t, q)
		z := g.predicate(t, q)
		return " WHERE " + x + pick(g, " AND ", " OR ") + "(" + y + " OR " + z + ")"
	}
	return " WHERE " + g.predicate(t, q)
}

// keyed writes a condition on the sharding column.
func (g *Generator) keyed(t *tableDef, q string) string {
	c := t.column(t.key)
	name := q + c.name
	v := func() string {
		if c.number() && g.chance(12) {
			return g.value(pick(g, value.NewString("5"), value.NewString("-3"), value.NewFloat(2), value.NewDecimal("7.0"), value.NewString("2x"), value.Value{}))
		}
		return g.value(domain(g.r, c))
	}
	switch g.r.IntN(9) {
	case 0, 1, 2:
		return name + " = " + v()
	case 3:
		return v() + " = " + name
	case 4:
		list := []string{v()}
		for range g.r.IntN(4) {
			list = append(list, v())
		}
		return name + " IN (" + strings.Join(list, ", ") + ")"
	case 5:
		x := v()
		return name + " BETWEEN " + x + " AND " + v()
	case 6:
		return name + pick(g, " < ", " <= ", " > ", " >= ", " <> ", " <=> ") + v()
	case 7:
		x := v()
		return "(" + name + " >= " + x + " AND " + name + " < " + v() + ")"
	}
	x := v()
	return "(" + name + " = " + x + " OR " + name + " = " + v() + ")"
}

// predicate writes a condition on any column.
func (g *Generator) predicate(t *tableDef, q string) string {
	c := t.columns[g.r.IntN(len(t.columns))]
	name := q + c.name
	switch g.r.IntN(6) {
	case 0:
		return name + " IS " + pick(g, "", "NOT ") + "NULL"
	case 1:
		return "NOT " + name + " = " + g.value(domain(g.r, c))
	case 2:
		if c.kind == kText {
			return name + " LIKE " + g.value(value.NewString(pick(g, "a%", "%b", "_", "%", "A%")))
		}
	case 3:
		x := g.value(domain(g.r, c))
		return name + " IN (" + x + ", " + g.value(domain(g.r, c)) + ")"
	}
	return name + pick(g, " = ", " <> ", " < ", " >= ", " > ") + g.value(domain(g.r, c))
}

// sample returns some columns of a table, at least one.
func (g *Generator) sample(t *tableDef, most int) []column {
	n := 1 + g.r.IntN(most)
	out := make([]column, 0, n)
	for _, i := range g.r.Perm(len(t.columns))[:min(n, len(t.columns))] {
		out = append(out, t.columns[i])
	}
	return out
}

func names(q string, cols []column) string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = q + c.name
	}
	return strings.Join(out, ", ")
}

// limit writes a LIMIT, for statements with a total order.
func (g *Generator) limit() string {
	n := func(max int) string { return g.value(value.NewInt(int64(g.r.IntN(max)))) }
	switch g.r.IntN(3) {
	case 0:
		return " LIMIT " + n(12)
	case 1:
		x := n(9)
		return " LIMIT " + x + ", " + n(12)
	}
	x := n(12)
	return " LIMIT " + x + " OFFSET " + n(9)
}

// rows makes a SELECT of single rows of one table.
func (g *Generator) rows() *Statement {
	t := g.table()
	id := t.columns[0].name
	q := ""
	alias := ""
	switch g.r.IntN(4) {
	case 0:
		alias, q = pick(g, " AS x", " x"), "x."
	case 1:
		q = t.name + "."
	}
	st := &Statement{Loose: map[int]string{}}
	list, cols := "*", t.columns
	if g.chance(75) {
		cols = g.sample(t, 5)
		list = names(q, cols)
		if g.chance(20) {
			c := g.sample(t, 1)[0]
			list += ", " + pick(g, "%[1]s IS NULL", "COALESCE(%[1]s, 0)", "CONCAT('<', %[1]s, '>')", "LENGTH(%[1]s)", "CASE WHEN %[1]s > 1 THEN 'x' ELSE 'y' END AS cs")
			list = strings.ReplaceAll(list, "%[1]s", q+c.name)
		}
	} else if q != "" && g.chance(50) {
		list = q + "*"
	}
	sql := "SELECT " + list + " FROM " + t.name + alias + g.where(t, q)
	if g.chance(60) {
		sql += g.orderBy(st, t, q, cols, id, list != "*")
	}
	st.SQL = sql
	return st
}

// orderBy writes an ORDER BY, often with a LIMIT.
func (g *Generator) orderBy(st *Statement, t *tableDef, q string, cols []column, id string, listed bool) string {
	var items []string
	selected := true
	total := g.chance(60)
	for range 1 + g.r.IntN(2) {
		c := t.columns[g.r.IntN(len(t.columns))]
		item, at := q+c.name, -1
		for i, x := range cols {
			if x.name == c.name {
				at = i
				if listed && g.chance(20) {
					item = fmt.Sprint(i + 1)
				}
			}
		}
		if at < 0 {
			selected = false
		} else {
			st.KeyCols = append(st.KeyCols, at)
			if c.kind == kText {
				if st.KeyFold == nil {
					st.KeyFold = map[int]string{}
				}
				st.KeyFold[at] = c.collation
			}
		}
		if c.number() && g.chance(15) {
			item = "-" + q + c.name
		}
		items = append(items, item+pick(g, "", " ASC", " DESC"))
	}
	if total {
		items = append(items, q+id+pick(g, "", " DESC"))
		st.Order = Total
	} else if selected {
		st.Order = ByKeys
	}
	sql := " ORDER BY " + strings.Join(items, ", ")
	if total && g.chance(60) {
		sql += g.limit()
	}
	return sql
}

// groups makes a query with aggregates.
func (g *Generator) groups() *Statement {
	t := g.table()
	st := &Statement{Loose: map[int]string{}}
	var keys []column
	if g.chance(65) {
		keys = g.sample(t, 2)
	}
	var list []string
	for i, k := range keys {
		list = append(list, k.name)
		if k.kind == kText {
			st.Loose[i] = k.collation
		}
	}
	var aggs []string
	for range 1 + g.r.IntN(3) {
		a, loose := g.aggregate(t)
		if loose != "" {
			st.Loose[len(list)+len(aggs)] = loose
		}
		aggs = append(aggs, a)
	}
	for i := range aggs {
		aggs[i] += fmt.Sprintf(" AS g%d", i)
	}
	sql := "SELECT " + strings.Join(append(list, aggs...), ", ") + " FROM " + t.name + g.where(t, "")
	if len(keys) > 0 {
		sql += " GROUP BY " + names("", keys)
		if g.chance(25) {
			sql += " HAVING " + pick(g, "COUNT(*) > ", "COUNT(*) <= ", "SUM(id) > ", "COUNT(*) <> ") + g.value(value.NewInt(int64(g.r.IntN(4))))
		}
		sql += g.groupOrder(st, keys, aggs)
	}
	st.SQL = sql
	return st
}

func (g *Generator) groupOrder(st *Statement, keys []column, aggs []string) string {
	if g.chance(40) {
		return ""
	}
	var items []string
	if g.chance(40) {
		items = append(items, "g0"+pick(g, "", " DESC"))
		for i := range st.Loose {
			if i == len(keys) {
				return "" // the order of equal texts
			}
		}
	}
	for _, k := range keys {
		items = append(items, k.name+pick(g, "", " DESC"))
	}
	st.Order = Total
	sql := " ORDER BY " + strings.Join(items, ", ")
	if g.chance(50) {
		sql += g.limit()
	}
	return sql
}

// aggregate writes one aggregate, and the collation by which its result is loose.
func (g *Generator) aggregate(t *tableDef) (string, string) {
	c := t.columns[g.r.IntN(len(t.columns))]
	for c.kind == kFloat {
		c = t.columns[g.r.IntN(len(t.columns))]
	}
	if c.number() {
		x := c.name
		return pick(g, "COUNT(*)", "COUNT("+x+")", "SUM("+x+")", "AVG("+x+")", "MIN("+x+")", "MAX("+x+")", "COUNT(DISTINCT "+x+")",
			"SUM("+x+") + COUNT(*)", "SUM("+x+") / COUNT(*)", "IFNULL(SUM("+x+"), 0)", "COALESCE(MAX("+x+"), 0)", "MAX("+x+") - MIN("+x+")",
			"COUNT(*) * 2", "SUM("+x+" * 2)", "SUM(CASE WHEN "+x+" > 1 THEN 1 ELSE 0 END)", "SUM(DISTINCT "+x+")", "AVG(DISTINCT "+x+")",
			"COUNT(DISTINCT "+x+", "+t.columns[g.r.IntN(len(t.columns))].name+")", "BIT_XOR(id)"), ""
	}
	x := c.name
	collation := ""
	if c.kind == kText {
		collation = c.collation
	}
	switch g.r.IntN(4) {
	case 0:
		return "MIN(" + x + ")", collation
	case 1:
		return "MAX(" + x + ")", collation
	case 2:
		return "COUNT(DISTINCT " + x + ")", ""
	}
	return "COUNT(" + x + ")", ""
}

func (g *Generator) distinct() *Statement {
	t := g.table()
	st := &Statement{Loose: map[int]string{}}
	cols := g.sample(t, 3)
	for i, c := range cols {
		if c.kind == kText {
			st.Loose[i] = c.collation
		}
	}
	sql := "SELECT DISTINCT " + names("", cols) + " FROM " + t.name + g.where(t, "")
	if g.chance(60) {
		var items []string
		for _, i := range g.r.Perm(len(cols)) {
			items = append(items, cols[i].name+pick(g, "", " DESC"))
		}
		st.Order = Total
		sql += " ORDER BY " + strings.Join(items, ", ")
		if g.chance(50) {
			sql += g.limit()
		}
	}
	st.SQL = sql
	return st
}

// joined makes a query over several tables.
func (g *Generator) joined() *Statement {
	st := &Statement{Loose: map[int]string{}}
	a, b, c := tables[0], tables[1], tables[7]
	from, on := "", ""
	second, sid := b, "id"
	switch g.r.IntN(8) {
	case 0, 1:
		from, on = "a x JOIN b y ON x.k = y.k", pick(g, "", " AND x.id = y.aid", " AND x.i = y.i")
	case 2:
		from, on = "a x LEFT JOIN b y ON x.k = y.k", pick(g, "", " AND x.id = y.aid", " AND y.i > 3")
	case 3:
		from, second, sid = "a x JOIN c y ON x.i = y.code", c, "code"
	case 4:
		from, second, sid = "a x LEFT JOIN c y ON x.i = y.code", c, "code"
	case 5:
		from, second, sid = "c y LEFT JOIN a x ON x.i = y.code", c, "code"
	case 6:
		from = "a x JOIN b y ON x.id = y.aid"
	default:
		from = "a x, b y"
		on = ""
	}
	where := g.where(a, "x.")
	if strings.HasPrefix(from, "a x,") {
		if where == "" {
			where = " WHERE x.k = y.k"
		} else {
			where = " WHERE x.k = y.k AND (" + where[len(" WHERE "):] + ")"
		}
	}
	if g.chance(35) {
		st.SQL = "SELECT COUNT(*), SUM(x.i), MAX(y." + pick(g, second.columns[0].name) + ") FROM " + from + on + where
		return st
	}
	cols := g.sample(a, 3)
	st.SQL = "SELECT " + names("x.", cols) + ", y." + sid + " FROM " + from + on + where
	if g.chance(60) {
		st.Order = Total
		st.SQL += " ORDER BY x." + cols[0].name + pick(g, "", " DESC") + ", x.id, y." + sid
		if g.chance(60) {
			st.SQL += g.limit()
		}
	}
	return st
}

// nested makes a query with a subquery.
func (g *Generator) nested() *Statement {
	a := tables[0]
	st := &Statement{Loose: map[int]string{}, Order: Total}
	inner := ""
	switch g.r.IntN(9) {
	case 0:
		inner = "x.k IN (SELECT k FROM b WHERE " + g.predicate(tables[1], "") + ")"
	case 1:
		inner = pick(g, "", "NOT ") + "EXISTS (SELECT 1 FROM b y WHERE y.k = x.k AND " + g.predicate(tables[1], "y.") + ")"
	case 2:
		inner = "x.i IN (SELECT code FROM c WHERE " + g.predicate(tables[7], "") + ")"
	case 3:
		inner = "x.i > (SELECT AVG(i) FROM b y WHERE y.k = x.k)"
	case 4:
		inner = "x.i IN (SELECT i FROM b)"
	case 5:
		inner = "x.k = " + g.value(domain(g.r, a.column("k"))) + " AND x.i IN (SELECT i FROM o)"
	case 6:
		st.SQL = "SELECT x.id, x.i, (SELECT COUNT(*) FROM b y WHERE y.k = x.k) AS n FROM a x" + g.where(a, "x.") + " ORDER BY x.id"
		return st
	case 7:
		st.SQL = "SELECT z.id, z.k FROM (SELECT id, k, i FROM a" + g.where(a, "") + ") z ORDER BY z.id"
		return st
	default:
		v := g.value(domain(g.r, a.column("k")))
		st.SQL = "SELECT COUNT(*) FROM (SELECT DISTINCT i FROM a WHERE k = " + v + ") z"
		return st
	}
	st.SQL = "SELECT x.id, x.k, x.i FROM a x WHERE " + inner
	if g.chance(30) {
		st.SQL += " AND " + g.predicate(a, "x.")
	}
	st.SQL += " ORDER BY x.id"
	return st
}

func (g *Generator) union() *Statement {
	st := &Statement{Loose: map[int]string{}}
	t, u := g.table(), g.table()
	if g.chance(50) {
		u = t
	}
	if g.chance(40) {
		w, z := g.where(tables[0], ""), g.where(tables[1], "")
		st.SQL = "SELECT k, i, d FROM a" + w + " UNION ALL SELECT k, i, d FROM b" + z
		return st
	}
	if t.name == "c" || u.name == "c" {
		st.SQL = "SELECT i FROM a" + g.where(tables[0], "")
	} else {
		x, y := g.where(t, ""), g.where(u, "")
		st.SQL = "SELECT i FROM " + t.name + x + " UNION " + pick(g, "ALL ", "") + "SELECT i FROM " + u.name + y
	}
	return st
}
