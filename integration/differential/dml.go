package differential

import (
	"fmt"
	"strings"

	"github.com/sidewire/sidewire/sharding/value"
)

// writable are the tables that statements change.
func (g *Generator) writable() *tableDef { return tables[g.r.IntN(len(tables))] }

// insert makes an INSERT of a few rows.
func (g *Generator) insert() *Statement {
	if g.chance(10) {
		g.copies++
		w := g.keyed(tables[0], "")
		return &Statement{Write: true, SQL: fmt.Sprintf("INSERT INTO b (id, k, aid, i, d, s) SELECT id %% 1000000 + %d, k, id, i, d, s FROM a WHERE %s AND id > 1000000 AND id < 1001000", g.copies*1_000_000_000, w)}
	}
	t := g.writable()
	var rows []string
	for range 1 + g.r.IntN(5) {
		rows = append(rows, g.row(t))
	}
	list := " (" + names("", t.columns) + ")"
	if g.chance(20) {
		list = ""
	}
	return &Statement{Write: true, SQL: "INSERT INTO " + t.name + list + " VALUES " + strings.Join(rows, ", ")}
}

// row writes the values of a new row. Ids are unique over all shards, as an application's are.
func (g *Generator) row(t *tableDef) string {
	vals := make([]string, len(t.columns))
	for i, c := range t.columns {
		if i == 0 {
			g.nextID++
			vals[i] = g.value(value.NewInt(g.nextID))
			continue
		}
		vals[i] = g.value(domain(g.r, c))
	}
	return "(" + strings.Join(vals, ", ") + ")"
}

// Fill makes the statement that fills a table at the start.
func (g *Generator) Fill(t *tableDef, n int) string {
	g.prepared, g.args = false, nil
	rows := make([]string, n)
	for i := range rows {
		rows[i] = g.row(t)
	}
	return "INSERT INTO " + t.name + " (" + names("", t.columns) + ") VALUES " + strings.Join(rows, ", ")
}

// update makes an UPDATE that leaves ids and sharding columns alone, most of the time.
func (g *Generator) update() *Statement {
	t := g.writable()
	c := t.columns[1+g.r.IntN(len(t.columns)-1)]
	for c.name == t.key && g.chance(90) {
		c = t.columns[1+g.r.IntN(len(t.columns)-1)]
	}
	set := c.name + " = " + g.value(domain(g.r, c))
	if c.kind == kInt && g.chance(40) {
		set = c.name + " = " + c.name + " % 100 + 1"
	}
	sql := "UPDATE " + t.name + " SET " + set + g.narrow(t)
	if g.chance(5) {
		sql += " LIMIT 1"
	}
	return &Statement{Write: true, SQL: sql}
}

func (g *Generator) delete() *Statement {
	t := g.writable()
	return &Statement{Write: true, SQL: "DELETE FROM " + t.name + g.narrow(t)}
}

// narrow writes a condition that leaves most rows alone.
func (g *Generator) narrow(t *tableDef) string {
	id := t.columns[0].name
	if t.key == "" || g.chance(30) {
		return " WHERE " + id + " = " + g.value(value.NewInt(1_000_001+g.r.Int64N(g.nextID-1_000_000)))
	}
	w := " WHERE " + t.key + " = " + g.value(domain(g.r, t.column(t.key)))
	return w + " AND " + g.predicate(t, "")
}
