package plan

import (
	"errors"
	"strings"

	"github.com/sidewire/sidewire/sharding/algorithm"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
)

// decider evaluates conditions to node sets. Its sets are cut from one scratch slice.
type decider struct {
	in      *Input
	st      *Statement
	scratch []uint64
	used    int
	hint    *Hint
	refusal *Refusal
	ranged  bool // an INLINE algorithm met a range its rule does not allow
}

func (d *decider) set(n int) algorithm.Set {
	words := (n + 63) / 64
	if d.used+words > len(d.scratch) {
		d.scratch = append(make([]uint64, 0, 2*len(d.scratch)+8*words), d.scratch[:d.used]...)
		d.scratch = d.scratch[:cap(d.scratch)]
	}
	s := algorithm.Set(d.scratch[d.used : d.used+words : d.used+words])
	d.used += words
	clear(s)
	return s
}

// nodes returns the nodes of a group that may hold rows the statement touches.
func (d *decider) nodes(g *group) algorithm.Set {
	n := len(g.table.Nodes)
	out := d.set(n)
	out.Fill(n)
	for _, r := range g.refs {
		if refusal := d.hint.hinted(r.rule, out); refusal != nil {
			d.refusal = refusal
		}
	}
	if g.cond != nil {
		d.eval(g.cond, g.table, out)
	}
	return out
}

// eval narrows out to the nodes that can satisfy c.
func (d *decider) eval(c *condition, t *rule.Table, out algorithm.Set) {
	switch c.op {
	case condNone:
		out.Clear()
	case condAnd:
		for _, k := range c.kids {
			d.eval(k, t, out)
		}
	case condOr:
		any := d.set(len(t.Nodes))
		one := d.set(len(t.Nodes))
		for _, k := range c.kids {
			copy(one, out)
			d.eval(k, t, one)
			any.Or(one)
		}
		copy(out, any)
	case condComplex:
		if c.database != nil {
			d.evalComplex(c, t, c.database, t.DatabaseMask, out)
		}
		if c.table != nil {
			d.evalComplex(c, t, c.table, t.TableMask, out)
		}
	case condIn:
		if c.database != nil {
			d.evalIn(c, t, c.database, t.DatabaseMask, out)
		}
		if c.table != nil {
			d.evalIn(c, t, c.table, t.TableMask, out)
		}
	case condRange:
		if c.database != nil {
			d.evalRange(c, t, c.database, t.DatabaseMask, out)
		}
		if c.table != nil {
			d.evalRange(c, t, c.table, t.TableMask, out)
		}
	}
}

func (d *decider) evalIn(c *condition, t *rule.Table, s *rule.Strategy, mask func(int) algorithm.Set, out algorithm.Set) {
	any := d.set(len(t.Nodes))
	for i := range c.values {
		v, ok := c.values[i].get(d.in, d.st.mode)
		if !ok {
			return
		}
		if v.IsNull() {
			continue // = NULL is never true
		}
		v, fate := d.convert(v, c.schema, s)
		if d.st.mode&scan.OwnTimeZone != 0 && c.schema.Zoned() {
			fate = anywhere
		}
		switch fate {
		case nowhere:
			continue
		case anywhere:
			return
		}
		target, also, err := s.Standard.Exact(v)
		if err != nil {
			return // the algorithm cannot tell where such a value is: everywhere
		}
		any.Or(mask(target))
		if also >= 0 {
			any.Or(mask(also))
		}
	}
	out.And(any)
}

// maxProduct bounds how many combinations of values a complex strategy is asked about.
const maxProduct = 10_000

// evalComplex asks a complex strategy about every combination of its columns' values.
func (d *decider) evalComplex(c *condition, t *rule.Table, s *rule.Strategy, mask func(int) algorithm.Set, out algorithm.Set) {
	product := 1
	for _, k := range c.kids {
		if product *= len(k.values); product > maxProduct || product == 0 {
			return
		}
	}
	any := d.set(len(t.Nodes))
	vs := make([]value.Value, len(c.kids))
combinations:
	for n := range product {
		for i, k := range c.kids {
			v, ok := k.values[n%len(k.values)].get(d.in, d.st.mode)
			n /= len(k.values)
			if !ok {
				return
			}
			if v.IsNull() {
				continue combinations
			}
			v, fate := d.convert(v, k.schema, s)
			if d.st.mode&scan.OwnTimeZone != 0 && k.schema.Zoned() {
				return
			}
			switch fate {
			case nowhere:
				continue combinations
			case anywhere:
				return
			}
			vs[i] = v
		}
		target, also, err := s.Complex.Exact(vs)
		if err != nil {
			return
		}
		any.Or(mask(target))
		if also >= 0 {
			any.Or(mask(also))
		}
	}
	out.And(any)
}

func (d *decider) evalRange(c *condition, t *rule.Table, s *rule.Strategy, mask func(int) algorithm.Set, out algorithm.Set) {
	r := algorithm.Range{LowerClosed: c.lowerClosed, UpperClosed: c.upperClosed}
	for _, bound := range [...]struct {
		o   *operand
		v   *value.Value
		has *bool
	}{{c.lower, &r.Lower, &r.HasLower}, {c.upper, &r.Upper, &r.HasUpper}} {
		if bound.o == nil {
			continue
		}
		v, ok := bound.o.get(d.in, d.st.mode)
		if ok && v.IsNull() {
			out.Clear()
			return
		}
		if ok && (c.schema != nil || !d.st.unknown) && (d.st.mode&scan.OwnTimeZone == 0 || !c.schema.Zoned()) {
			*bound.v, *bound.has = convertBound(v, c.schema, s)
		}
	}
	targets := d.set(len(s.Targets))
	if err := s.Standard.Range(r, targets); err != nil {
		d.ranged = d.ranged || errors.Is(err, algorithm.ErrRange)
		return
	}
	any := d.set(len(t.Nodes))
	for i := targets.Next(0); i >= 0; i = targets.Next(i + 1) {
		any.Or(mask(i))
	}
	out.And(any)
}

// fate says what a comparison with a value means once the column's type is known.
type fate uint8

const (
	found    fate = iota // the converted value is what equal rows hold
	nowhere              // no row can be equal
	anywhere             // equal rows may hold different values: ask every node
)

// convert is convert, for a column of which servers may not have said anything yet.
func (d *decider) convert(v value.Value, col *schema.Column, s *rule.Strategy) (value.Value, fate) {
	if col == nil && d.st.unknown {
		return v, anywhere
	}
	return convert(v, col, s)
}

// convert makes of a compared value the value that equal rows of the column hold, as MySQL's comparison has it.
// Without a known column type the value is taken as it is written, except that whole decimals are whole numbers.
func convert(v value.Value, col *schema.Column, s *rule.Strategy) (value.Value, fate) {
	if col == nil {
		if n, ok := v.Integer(); ok && (v.Kind == value.Decimal || v.Kind == value.Float) {
			return value.NewInt(n), found
		}
		if v.Kind == value.Decimal || v.Kind == value.Float || v.Kind == value.Bytes {
			return v, anywhere
		}
		return v, found
	}
	switch col.Class {
	case schema.Integer:
		return toInteger(v, col)
	case schema.Text, schema.Binary:
		if v.Kind != value.String && v.Kind != value.Bytes {
			return v, anywhere // compared as numbers: '05' and '5' both equal 5
		}
		if v.Kind == value.Bytes {
			v = value.NewString(v.Str)
		}
		if !col.Exact() || !stored(v.Str, col) {
			return v, anywhere
		}
		return v, found
	case schema.Date, schema.Datetime:
		return toDatetime(v, col)
	}
	return v, anywhere
}

// stored reports that a column of fixed length holds the text as it is written here: filled up or without trailing spaces.
func stored(s string, col *schema.Column) bool {
	switch typ, width := columnType(col.Type); typ {
	case "char":
		return !strings.HasSuffix(s, " ")
	case "binary":
		return len(s) == width
	}
	return true
}

func toInteger(v value.Value, col *schema.Column) (value.Value, fate) {
	w, f := integerOf(v)
	if f == found && !year(w) {
		if typ, _ := columnType(col.Type); typ == "year" {
			return v, anywhere
		}
	}
	return w, f
}

func integerOf(v value.Value) (value.Value, fate) {
	switch v.Kind {
	case value.Int, value.Uint:
		return v, found
	case value.Decimal, value.Float:
		if n, ok := v.Integer(); ok {
			return value.NewInt(n), found
		}
		return v, anywhere
	case value.String:
		if n, ok := v.Integer(); ok && plainInteger(v.Str) {
			return value.NewInt(n), found
		}
	}
	return v, anywhere
}

// plainInteger refuses forms such as +5, where MySQL and Go might read differently.
func plainInteger(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && len(s) < 16 && s[0] != '+'
}

func toDatetime(v value.Value, col *schema.Column) (value.Value, fate) {
	switch v.Kind {
	case value.String, value.Date, value.Datetime:
		if len(v.Str) == len("2006-01-02") && v.Str[4] == '-' && v.Str[7] == '-' {
			if col.Class == schema.Datetime {
				return value.Value{Kind: value.Datetime, Str: v.Str + " 00:00:00"}, found
			}
			return value.Value{Kind: value.Date, Str: v.Str}, found
		}
		if len(v.Str) == len("2006-01-02 15:04:05") && v.Str[4] == '-' && v.Str[10] == ' ' && col.Class == schema.Datetime {
			return value.Value{Kind: value.Datetime, Str: v.Str}, found
		}
	}
	return v, anywhere
}

// convertBound converts a bound of a range; false drops the bound, which only widens the range.
func convertBound(v value.Value, col *schema.Column, s *rule.Strategy) (value.Value, bool) {
	if col == nil {
		return v, v.Kind == value.Int || v.Kind == value.String && !s.Numeric || v.Kind >= value.Date
	}
	switch col.Class {
	case schema.Integer:
		v, f := toInteger(v, col)
		return v, f == found && v.Kind == value.Int
	case schema.Date, schema.Datetime:
		v, f := toDatetime(v, col)
		return v, f == found
	}
	return v, false
}
