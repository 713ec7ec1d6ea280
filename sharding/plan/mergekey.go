package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
)

// derive adds a column to the shards' lists and returns its number.
func (m *merging) derive(text string) int {
	for i, d := range m.derived {
		if d == text {
			return merge.Derived + i
		}
	}
	m.derived = append(m.derived, text)
	return merge.Derived + len(m.derived) - 1
}

// copied returns a part of the text for use elsewhere in it. Its literals then shape the plan.
func (m *merging) copied(r region) (string, *Refusal) {
	for _, p := range m.params {
		if p >= r.start && p < r.end {
			return "", unsupported("a parameter inside a sorted, grouped or aggregated expression over several shards", "write the value into the statement")
		}
	}
	m.guard(r)
	var b strings.Builder
	from := r.start
	for _, e := range m.sorted() {
		if e.start < r.start || e.start >= r.end {
			continue
		}
		if e.kind != editText {
			return "", unsupported("a subquery inside a sorted, grouped or aggregated expression over several shards", oneShardWay)
		}
		b.WriteString(m.text[from:e.start] + e.text)
		from = e.end
	}
	b.WriteString(m.text[from:r.end])
	return b.String(), nil
}

func (m *merging) sorted() []edit {
	m.sortEdits()
	return m.st.edits
}

// fieldText returns the region of a field's expression, without its alias.
func (m *merging) fieldText(i int) region {
	r := m.fields[i]
	if m.sel.Fields.Fields[i].AsName.O == "" {
		return r
	}
	l := scan.Lexer{Text: m.text[:r.end], Pos: r.start, Mode: m.mode}
	var a, b, c scan.Token
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		a, b, c = b, c, t
	}
	_ = c // the alias
	r.end = b.End
	if b.Kind == scan.Word && scan.EqualFold(m.text[b.Start:b.End], "as") {
		r.end = a.End
	}
	return r
}

// fieldNamed finds the field that a bare name in ORDER BY or GROUP BY means: an alias, or a column of that name. more
// says that several fields answer to it.
func (m *merging) fieldNamed(c *ast.ColumnName) (index int, alias, more bool) {
	index = -1
	for i, f := range m.sel.Fields.Fields {
		isAlias := c.Table.O == "" && f.AsName.O != "" && f.AsName.L == c.Name.L
		x, isColumn := f.Expr.(*ast.ColumnNameExpr)
		same := isColumn && x.Name.Name.L == c.Name.L && (c.Table.O == "" && f.AsName.O == "" || c.Table.O != "" && x.Name.Table.L == c.Table.L)
		if !isAlias && !same {
			continue
		}
		if index >= 0 {
			return index, alias, true
		}
		index, alias = i, isAlias
	}
	return index, alias, false
}

// key makes a sort or group key of an item. Aliases come before columns in ORDER BY, after them in GROUP BY.
func (m *merging) key(e ast.ExprNode, r region, order bool) (merge.Key, *Refusal) {
	switch x := e.(type) {
	case *ast.PositionExpr:
		if x.P != nil || x.N < 1 || x.N > len(m.fields) || m.wild < x.N {
			return merge.Key{}, unsupported("sorting or grouping by a position behind * over several shards", "name the column")
		}
		m.guard(r)
		return m.fieldKey(x.N - 1)
	case *ast.ColumnNameExpr:
		i, alias, more := m.fieldNamed(x.Name)
		if more {
			return merge.Key{}, unsupported("several columns of the query answer to "+x.Name.Name.O, "give them different aliases")
		}
		if i >= 0 && alias && !order && !m.isColumn(m.sel.Fields.Fields[i].Expr, x.Name) {
			if r := m.shadowed(x.Name); r != nil {
				return merge.Key{}, r
			}
			if t, _ := resolve(x.Name, m.block); t != nil && t.schema != nil {
				i = -1 // GROUP BY takes the column
			}
		}
		if i >= 0 {
			return m.fieldKey(i)
		}
	}
	v := &nameVisitor{m: m}
	e.Accept(v)
	if _, plain := e.(*ast.ColumnNameExpr); v.alias != "" && !plain {
		return merge.Key{}, unsupported("an expression over the alias "+v.alias+" in ORDER BY or GROUP BY over several shards", "repeat the expression itself")
	}
	if v.random {
		return merge.Key{}, unsupported("sorting or grouping by a random value over several shards", oneShardWay)
	}
	text, refusal := m.copied(r)
	if refusal != nil {
		return merge.Key{}, refusal
	}
	if aggregates(e) {
		k := merge.PlainKey(0, false)
		agg, ok := e.(*ast.AggregateFuncExpr)
		if !ok {
			return k, unsupported("sorting by an expression over aggregates over several shards", "select the expression under an alias and sort by that")
		}
		k.Column, refusal = m.aggregate(agg, -1)
		return k, refusal
	}
	for i, f := range m.sel.Fields.Fields {
		if _, column := e.(*ast.ColumnNameExpr); column || f.Expr == nil || aggregates(f.Expr) || i >= m.wild {
			continue
		}
		if field, r := m.copied(m.fieldText(i)); r == nil && field == text {
			return m.typedKey(e, text, i), nil // the query selects it already
		}
	}
	return m.typedKey(e, text, -1), nil
}

// guard makes the literals of a part of the text shape the plan.
func (a *analysis) guard(r region) {
	for i, v := range a.st.vars {
		if v.Start >= r.start && v.End <= r.end {
			a.st.guards = append(a.st.guards, i)
		}
	}
}

func (m *merging) isColumn(e ast.ExprNode, c *ast.ColumnName) bool {
	x, ok := e.(*ast.ColumnNameExpr)
	return ok && x.Name.Name.L == c.Name.L
}

// shadowed refuses a GROUP BY name that is an alias and may be a column as well, when the tables' columns are not known.
func (m *merging) shadowed(c *ast.ColumnName) *Refusal {
	for _, t := range m.block.tables {
		if t.schema == nil {
			return unsupported("GROUP BY "+c.Name.O+" may mean an alias or a column, and the table's columns are not known", "repeat the expression itself")
		}
	}
	return nil
}

// nameVisitor looks for aliases of the query and random functions in an expression.
type nameVisitor struct {
	m      *merging
	alias  string
	random bool
}

func (v *nameVisitor) Enter(n ast.Node) (ast.Node, bool) {
	switch x := n.(type) {
	case *ast.ColumnName:
		if i, alias, _ := v.m.fieldNamed(x); i >= 0 && alias && !v.m.isColumn(v.m.sel.Fields.Fields[i].Expr, x) {
			v.alias = x.Name.O
		}
	case *ast.FuncCallExpr:
		switch x.FnName.L {
		case "rand", "uuid", "uuid_short", "random_bytes", "gen_random_uuid":
			v.random = true
		}
	}
	return n, false
}

func (v *nameVisitor) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// fieldKey makes a key of a field of the query.
func (m *merging) fieldKey(i int) (merge.Key, *Refusal) {
	f := m.sel.Fields.Fields[i]
	if f.WildCard != nil {
		return merge.Key{}, unsupported("sorting or grouping by * over several shards", "name the columns")
	}
	if aggregates(f.Expr) {
		if m.wild <= i {
			return merge.Key{}, unsupported("aggregates behind *", "name the columns")
		}
		return merge.PlainKey(i, false), nil
	}
	text, r := m.copied(m.fieldText(i))
	if r != nil {
		return merge.Key{}, r
	}
	column := i
	if m.wild <= i {
		column = -1
	}
	return m.typedKey(f.Expr, text, column), nil
}

// typedKey makes a key of an expression by what is known of its type. column is the field that holds it already, -1 if
// it is to be derived. Text is compared by the weights the server itself gives it.
func (m *merging) typedKey(e ast.ExprNode, text string, column int) merge.Key {
	k := merge.PlainKey(column, false)
	class, collation := m.typeOf(e)
	switch class {
	case schema.Enum:
		k.Column = m.derive("(" + text + ") + 0")
		return k
	case schema.Float:
		k.Column = m.derive("(" + text + ") + 0e0") // FLOAT's text is rounded, the number is not
		return k
	}
	if column < 0 {
		k.Column = m.derive(text)
	}
	one := func(s string) string { return s }
	if _, plain := e.(*ast.ColumnNameExpr); (m.sel.GroupBy != nil || len(m.distinct) > 0) && !plain {
		// Under ONLY_FULL_GROUP_BY servers do not see that a function of what is grouped by has one value in a group.
		one = func(s string) string { return "MAX(" + s + ")" }
	}
	switch class {
	case schema.Text:
		k.Weight = m.derive(one("WEIGHT_STRING(" + text + ")"))
		if k.Name = collation; collation == "" {
			k.Collation = m.derive(one("COLLATION(" + text + ")"))
		}
	case schema.Other:
		k.Weight, k.Collation = m.derive(one("WEIGHT_STRING("+text+")")), m.derive(one("COLLATION("+text+")"))
	}
	return k
}

// typeOf returns what is known of an expression's type; Other when nothing is.
func (m *merging) typeOf(e ast.ExprNode) (schema.Class, string) {
	switch x := e.(type) {
	case *ast.ParenthesesExpr:
		return m.typeOf(x.Expr)
	case *ast.ColumnNameExpr:
		k, ok := m.column(x, m.block)
		if !ok {
			return schema.Other, ""
		}
		c := k.table.schema.Column(k.column)
		if c == nil {
			return schema.Other, ""
		}
		return c.Class, c.Collation
	case *ast.BinaryOperationExpr:
		switch x.Op {
		case opcode.Plus, opcode.Minus, opcode.Mul, opcode.Div, opcode.Mod, opcode.IntDiv, opcode.EQ, opcode.NE, opcode.LT,
			opcode.LE, opcode.GT, opcode.GE, opcode.LogicAnd, opcode.LogicOr:
			if m.hasInterval(x) {
				return schema.Other, ""
			}
			return schema.Decimal, ""
		}
	case *ast.FuncCallExpr:
		switch x.FnName.L {
		case "abs", "length", "char_length", "year", "month", "day", "dayofmonth", "dayofweek", "hour", "minute", "second", "floor", "ceil",
			"ceiling", "mod", "sign", "quarter", "week", "to_days", "unix_timestamp", "crc32", "datediff", "locate", "instr", "ascii":
			return schema.Decimal, ""
		}
	case *ast.IsNullExpr, *ast.BetweenExpr, *ast.PatternInExpr, *ast.PatternLikeOrIlikeExpr:
		return schema.Integer, ""
	}
	return schema.Other, ""
}

func (m *merging) hasInterval(x *ast.BinaryOperationExpr) bool {
	_, l := x.L.(*ast.TimeUnitExpr)
	_, r := x.R.(*ast.TimeUnitExpr)
	return l || r
}
