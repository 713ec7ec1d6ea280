package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
)

// insertPlan is an INSERT or REPLACE into a sharded table: where its rows stand in the text and what decides them.
type insertPlan struct {
	table *rule.Table
	rows  []insertRow
	keys  []insertKey // sharding columns
	// set says that the row is written as SET a = 1, b = 2.
	set bool
	// generate is the key to add to every row, nil if none. columnsEnd is where its name goes.
	generate   *rule.Key
	columnsEnd span
	suffix     int // parameters before the first row, and in rows; what follows comes after the last row
	prefix     int
}

// insertKey is one sharding column of an INSERT.
type insertKey struct {
	column   string
	schema   *schema.Column
	strategy *rule.Strategy
	database bool
}

// insertRow is one row: its text with parentheses, its parameters, and its sharding values.
type insertRow struct {
	open, close span // the parentheses
	from, to    int  // parameters
	values      []operand
}

// span is a token's place in the source.
type span struct{ start, after int }

func (a *analysis) insertStatement(s *ast.InsertStmt) {
	b := &block{}
	a.blocks = append(a.blocks, b)
	a.from(s.Table.TableRefs, b, false, false, true)
	if len(a.tables) != 1 || a.tables[0].node == nil {
		a.refuse(unsupported("an INSERT into more than one table", ""))
		return
	}
	t := a.tables[0]
	if s.Select != nil {
		a.insertSelect(s, t)
		return
	}
	for _, x := range s.OnDuplicate {
		a.subqueries(b, x.Expr)
	}
	for _, row := range s.Lists {
		for _, e := range row {
			a.subqueries(b, e)
		}
	}
	if t.sharded() {
		if len(a.blocks) > 1 {
			a.refuse(unsupported("a subquery in an INSERT into a sharded table", "select the value first"))
			return
		}
		a.insertRows(s, t)
		if a.err == nil {
			a.st.groups = []group{{refs: []*tableRef{t}, table: t.rule}}
			t.group = 0
			a.nameEdits(s, false)
		}
		return
	}
	a.place()
	a.nameEdits(s, false)
	if a.err == nil && t.rule != nil && t.rule.Kind == rule.Broadcast {
		if !a.onlyBroadcast() {
			a.refuse(unsupported("writing broadcast table "+t.rule.Name+" from a table that is not broadcast", "select the value first"))
			return
		}
		if auto := autoIncrement(t.schema); auto != "" && !a.counted(s, auto, columnsOf(s, t)) {
			a.refuse(unsupported("broadcast table "+t.rule.Name+" would number its copies by AUTO_INCREMENT each on its own", "give column "+auto+" a value"))
			return
		}
		a.copies(s)
	}
}

func (a *analysis) insertRows(s *ast.InsertStmt, t *tableRef) {
	if a.st.unknown {
		a.refuse(unsupported("an INSERT into sharded table "+t.rule.Name+", whose structure is not known", "let sidewire read it: the table has to be there and the servers up"))
		return
	}
	columns := columnsOf(s, t)
	if len(columns) == 0 {
		a.refuse(unsupported("an INSERT without column names into sharded table "+t.rule.Name, "name the columns"))
		return
	}
	ins := &insertPlan{table: t.rule, set: s.Setlist}
	if k := t.rule.Key; k != nil && !containsText(columns, k.Column) {
		if len(s.Columns) == 0 {
			a.refuse(unsupported("an INSERT without column names cannot get a generated key", "name the columns"))
			return
		}
		ins.generate = k
	}
	if !a.insertKeys(ins, t, columns) || !a.uniqueness(s, t) {
		return
	}
	if auto := autoIncrement(t.schema); auto != "" && (ins.generate == nil || !strings.EqualFold(ins.generate.Column, auto)) && !a.counted(s, auto, columns) {
		a.refuse(unsupported("AUTO_INCREMENT column "+auto+" of sharded table "+t.rule.Name+" would count on each shard on its own",
			"give it a value, or configure a keyGenerateStrategy"))
		return
	}
	for i, list := range s.Lists {
		a.insertRow(ins, i, list, columns)
	}
	if a.err == nil {
		a.insertPlaces(ins, len(s.Columns) > 0)
		a.st.insert = ins
	}
}

// columnsOf returns the columns that an INSERT gives values to; nil if nobody can tell.
func columnsOf(s *ast.InsertStmt, t *tableRef) (columns []string) {
	if len(s.Columns) > 0 || t.schema == nil {
		return columnNames(s.Columns)
	}
	for _, c := range t.schema.Columns {
		columns = append(columns, strings.ToLower(c.Name))
	}
	return columns
}

// counted reports that every row gives its AUTO_INCREMENT column a value. That it is not NULL or 0, which ask the server
// for a number, is seen when the values are.
func (a *analysis) counted(s *ast.InsertStmt, auto string, columns []string) bool {
	at := slices.IndexFunc(columns, func(c string) bool { return strings.EqualFold(c, auto) })
	if at < 0 {
		return false
	}
	for _, row := range s.Lists {
		if at >= len(row) {
			continue // refused for that
		}
		o, ok := a.operand(row[at])
		if f, call := row[at].(*ast.FuncCallExpr); !ok && call && f.FnName.L == "uuid_short" {
			continue
		}
		if !ok {
			return false
		}
		a.st.counted = append(a.st.counted, o)
	}
	return true
}

func containsText(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

func columnNames(list []*ast.ColumnName) (out []string) {
	for _, c := range list {
		out = append(out, c.Name.L)
	}
	return out
}

func named(list []*ast.ColumnName, column string) bool {
	return containsText(columnNames(list), column)
}

func autoIncrement(t *schema.Table) string {
	if t != nil {
		for i := range t.Columns {
			if t.Columns[i].AutoIncrement {
				return t.Columns[i].Name
			}
		}
	}
	return ""
}

func (a *analysis) insertKeys(ins *insertPlan, t *tableRef, columns []string) bool {
	for _, s := range [...]*rule.Strategy{&t.rule.Database, &t.rule.Table} {
		for _, c := range s.Columns {
			if !containsText(columns, c) && (ins.generate == nil || ins.generate.Column != c) {
				a.refuse(unsupported("the INSERT gives no value to sharding column "+c+" of "+t.rule.Name, "name the column and give it a value"))
				return false
			}
			ins.keys = append(ins.keys, insertKey{c, t.schema.Column(c), s, s == &t.rule.Database})
		}
	}
	return true
}

func (a *analysis) insertRow(ins *insertPlan, number int, list []ast.ExprNode, columns []string) {
	if len(list) != len(columns) {
		a.refuse(&Refusal{CodeCount, "21S01", fmt.Sprintf("Column count doesn't match value count at row %d", number+1), ""})
		return
	}
	row := insertRow{}
	for _, k := range ins.keys {
		if ins.generate != nil && ins.generate.Column == k.column {
			row.values = append(row.values, operand{kind: generated})
			continue
		}
		for i, c := range columns {
			if !strings.EqualFold(c, k.column) {
				continue
			}
			o, ok := a.operand(list[i])
			if !ok {
				a.refuse(unsupported("the value of sharding column "+k.column+" of "+ins.table.Name+" has to be computed", "give a literal or a parameter"))
				return
			}
			row.values = append(row.values, o)
			break
		}
	}
	ins.rows = append(ins.rows, row)
}

// uniqueness refuses statements whose effect depends on keys that are unique only within a shard.
func (a *analysis) uniqueness(s *ast.InsertStmt, t *tableRef) bool {
	what := ""
	switch {
	case s.IsReplace:
		what = "REPLACE"
	case len(s.OnDuplicate) > 0:
		what = "ON DUPLICATE KEY UPDATE"
	case s.IgnoreErr:
		what = "INSERT IGNORE"
	default:
		return true
	}
	for _, x := range s.OnDuplicate {
		if t.rule.Sharding(x.Column.Name.L) && !sameValue(x) {
			a.refuse(unsupported("changing sharding column "+x.Column.Name.O+" of "+t.rule.Name+" would move the row to another shard", "delete the row and insert it again"))
			return false
		}
	}
	if t.schema == nil {
		a.refuse(unsupported(what+" on sharded table "+t.rule.Name+", whose keys are not known", "let sidewire read the table's structure"))
		return false
	}
	for _, key := range t.schema.Unique {
		for _, c := range t.rule.Columns() {
			if col := t.schema.Column(c); containsText(key, c) && col != nil && !col.Exact() && col.Class <= schema.Binary {
				a.refuse(unsupported(fmt.Sprintf("%s on %s: values of sharding column %s that are equal under %s may stand on different shards", what, t.rule.Name, c,
					cmp.Or(col.Collation, col.Type)), "give the column a collation that compares exactly, or use a plain INSERT"))
				return false
			}
			if !containsText(key, c) {
				a.refuse(unsupported(fmt.Sprintf("%s on %s: unique key (%s) does not hold sharding column %s, so a duplicate may stand on another shard",
					what, t.rule.Name, list(key), c), "add the sharding column to the key, or use a plain INSERT"))
				return false
			}
		}
	}
	return true
}

// sameValue recognises c = VALUES(c).
func sameValue(x *ast.Assignment) bool {
	v, ok := x.Expr.(*ast.ValuesExpr)
	return ok && v.Column != nil && v.Column.Name.Name.L == x.Column.Name.L
}

// insertPlaces finds the rows in the text.
func (a *analysis) insertPlaces(ins *insertPlan, columns bool) {
	text := a.st.source
	l := scan.Lexer{Text: text, Mode: a.mode}
	depth, params, row := 0, 0, -1
	inRows := false
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		c := text[t.Start]
		switch {
		case t.Kind == scan.Param:
			params++
		case t.Kind == scan.Word && depth == 0 && !inRows:
			if w := text[t.Start:t.End]; scan.EqualFold(w, "values") || scan.EqualFold(w, "value") {
				inRows, ins.prefix = true, params
			} else if ins.set && scan.EqualFold(w, "set") {
				inRows, ins.prefix = true, params
				ins.columnsEnd = a.span(t.End)
			}
		case t.Kind == scan.Op && c == '(':
			if depth++; depth == 1 && inRows && !ins.set && row+1 < len(ins.rows) {
				row++
				ins.rows[row].open, ins.rows[row].from = a.span(t.Start), params
			}
		case t.Kind == scan.Op && c == ')':
			if depth--; depth != 0 || ins.set {
				continue
			}
			if !inRows {
				ins.columnsEnd = a.span(t.Start)
			} else if row >= 0 && ins.rows[row].close.start == 0 {
				ins.rows[row].close, ins.rows[row].to, ins.suffix = a.span(t.Start), params, params
			}
		}
	}
	if !ins.set && (row != len(ins.rows)-1 || row < 0) {
		a.refuse(unsupported("cannot find the rows of the INSERT", ""))
	}
}

func (a *analysis) span(pos int) span {
	s := span{start: pos}
	for _, v := range a.st.vars {
		if v.End <= pos {
			s.after++
		}
	}
	return s
}

// insertSelect places INSERT ... SELECT: within one target, or shard by shard when every row stays where it comes from.
func (a *analysis) insertSelect(s *ast.InsertStmt, t *tableRef) {
	source := a.result(s.Select, t.block, derived)
	for _, x := range s.OnDuplicate {
		a.subqueries(t.block, x.Expr)
	}
	if t.rule != nil && t.rule.Kind == rule.Broadcast {
		a.refuse(unsupported("INSERT ... SELECT into broadcast table "+t.rule.Name, "select the rows and insert them"))
		return
	}
	if !t.sharded() {
		a.refuseShards("INSERT ... SELECT")
		a.place()
		a.nameEdits(s, true)
		return
	}
	if t.rule.Key != nil && !named(s.Columns, t.rule.Key.Column) {
		a.refuse(unsupported("INSERT ... SELECT with generated keys", "select the rows and insert them"))
		return
	}
	if auto := autoIncrement(t.schema); auto != "" && !a.copiesNumbers(s, auto, source) {
		a.refuse(unsupported("INSERT ... SELECT into a sharded table with AUTO_INCREMENT, which takes its values from no such column", "select the rows and insert them"))
		return
	}
	if !a.uniqueness(s, t) || !a.staysPut(s, t, source) {
		a.refuse(unsupported("INSERT ... SELECT into sharded table "+t.rule.Name+" whose rows may move to another shard",
			"select its sharding columns from a table that is bound to it, or select the rows and insert them"))
		return
	}
	a.place()
	if len(a.st.groups) == 1 {
		a.st.groups[0].cond = a.all(source.filters, source, 0)
	}
	a.nameEdits(s, false)
}

// copiesNumbers reports that an AUTO_INCREMENT column takes its values from another one, which holds neither NULL nor 0.
func (a *analysis) copiesNumbers(s *ast.InsertStmt, auto string, source *block) bool {
	for i, c := range s.Columns {
		if strings.EqualFold(c.Name.O, auto) && source != nil && source.sel != nil && i < len(source.sel.Fields.Fields) {
			k, ok := a.column(source.sel.Fields.Fields[i].Expr, source)
			col := k.table.column(k.column)
			return ok && col != nil && col.AutoIncrement && !k.table.optional
		}
	}
	return false
}

// staysPut reports that every selected row has the sharding values of the row it came from, in a table cut alike.
func (a *analysis) staysPut(s *ast.InsertStmt, t *tableRef, source *block) bool {
	if source == nil || source.sel == nil || !rowwise(source.sel) || len(s.Columns) == 0 || len(source.sel.Fields.Fields) != len(s.Columns) {
		return false
	}
	for _, column := range t.rule.Columns() {
		ok := false
		for i, c := range s.Columns {
			f := source.sel.Fields.Fields[i]
			if c.Name.L != column || f.Expr == nil {
				continue
			}
			k, found := a.column(f.Expr, source)
			if !found || !k.table.sharded() || k.table.block != source || !a.comparable(k, columnKey{t, column}) {
				return false
			}
			if source.equal == nil {
				source.equal = classes{}
			}
			source.equal[k] = columnKey{t, column}
			ok = true
		}
		if !ok {
			return false
		}
	}
	return true
}
