package plan

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sidewire/sidewire/sharding/algorithm"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

// Fits reports whether the statement's plan is good for a text of its shape: some literals shape the plan itself
// (ORDER BY 2), and for those the text must say the same.
func (st *Statement) Fits(text string, vars []scan.Var) bool {
	if len(vars) != len(st.vars) {
		return false
	}
	for _, i := range st.guards {
		if text[vars[i].Start:vars[i].End] != st.source[st.vars[i].Start:st.vars[i].End] {
			return false
		}
	}
	return true
}

// Bind decides one execution: its routes, or why it is refused. out is overwritten.
func (st *Statement) Bind(in *Input, out *Execution) {
	out.Routes, out.Merge, out.Refusal, out.Affected, out.Key = out.Routes[:0], nil, nil, Sum, value.Value{}
	out.Local, out.Last = nil, 0
	h := in.Hint
	if h == nil {
		h = st.Hint
	}
	out.WriteOnly = h != nil && h.WriteOnly
	switch {
	case st.direct(in, out, h):
	case st.Refusal != nil:
		out.Refusal = st.Refusal
	case len(st.counted) > 0 && st.uncounted(in):
		out.Refusal = unsupported("NULL or 0 for an AUTO_INCREMENT column: each data source would count on its own", "give it a value, or configure a keyGenerateStrategy")
	case st.local != nil:
		st.bindLocal(in, out)
	case st.one:
		st.firstNode(in, out)
	case st.insert != nil:
		st.bindInsert(in, out, h)
	case len(st.groups) == 0:
		st.bindTargets(in, out)
	default:
		st.bindGroups(in, out, h)
	}
	if out.Refusal != nil {
		out.Routes, out.Merge = out.Routes[:0], nil
	}
}

func (st *Statement) bindTargets(in *Input, out *Execution) {
	sql := st.sql(in, out, nil)
	for _, t := range st.targets {
		out.Routes = append(out.Routes, Route{Target: t, Node: -1, SQL: sql, Same: len(st.edits) == 0})
	}
	if st.first {
		out.Affected = First
	}
}

// sql returns the text for one choice of nodes.
func (st *Statement) sql(in *Input, out *Execution, picks []int) string {
	if len(st.edits) == 0 {
		return in.Text
	}
	out.buf = st.appendSQL(out.buf[:0], in, st.edits, picks, 0, 0, len(in.Text))
	return string(out.buf)
}

func (st *Statement) bindGroups(in *Input, out *Execution, h *Hint) {
	d := decider{in: in, st: st, hint: h, scratch: out.scratch}
	defer func() { out.scratch = d.scratch }()
	if st.all {
		st.everywhere(in, out)
		return
	}
	if len(st.groups) == 1 {
		nodes := d.nodes(&st.groups[0])
		if out.Refusal = d.refusal; out.Refusal != nil {
			return
		}
		st.spread(in, out, nodes, &d)
		return
	}
	var buf [8]int
	picks := buf[:0]
	target := -1
	for i := range st.groups {
		g := &st.groups[i]
		nodes := d.nodes(g)
		if out.Refusal = d.refusal; out.Refusal != nil {
			return
		}
		n := nodes.Next(0)
		if n >= 0 && nodes.Next(n+1) >= 0 {
			out.Refusal = st.scatter
			return
		}
		if n < 0 {
			n = onTarget(g.table, target)
		}
		if n < 0 || target >= 0 && g.table.Nodes[n].Target != target {
			out.Refusal = unsupported("the sharded tables' rows stand on different data sources", "")
			return
		}
		target = g.table.Nodes[n].Target
		picks = append(picks, n)
	}
	if out.Refusal = st.beside(target); out.Refusal == nil {
		out.Routes = append(out.Routes, Route{Target: target, Node: picks[0], SQL: st.sql(in, out, picks)})
	}
}

// everywhere runs a structure change on every node.
func (st *Statement) everywhere(in *Input, out *Execution) {
	g := &st.groups[0]
	for n := range g.table.Nodes {
		picks := [1]int{n}
		out.Routes = append(out.Routes, Route{Target: g.table.Nodes[n].Target, Node: n, SQL: st.sql(in, out, picks[:])})
	}
}

// onTarget returns a node of the table on the target, or any when target is -1.
func onTarget(t *rule.Table, target int) int {
	for i, n := range t.Nodes {
		if target < 0 || n.Target == target {
			return i
		}
	}
	return -1
}

// beside refuses when a single table of the statement is not on the target of the sharded ones.
func (st *Statement) beside(target int) *Refusal {
	for i := range st.singles {
		if s := &st.singles[i]; s.Nodes[0].Target != target {
			return unsupported("table "+s.Name+" stands on another data source than the rows of the sharded tables", "make it a broadcast table")
		}
	}
	return nil
}

// spread routes a statement with one group to its nodes.
func (st *Statement) spread(in *Input, out *Execution, nodes algorithm.Set, d *decider) {
	g := &st.groups[0]
	first := nodes.Next(0)
	if first < 0 {
		first = onTarget(g.table, -1) // no row can match: one shard says so in the right form
		if len(st.singles) > 0 {
			first = max(first, onTarget(g.table, st.singles[0].Nodes[0].Target))
		}
	}
	if nodes.Next(first+1) < 0 {
		t := g.table.Nodes[first].Target
		if out.Refusal = st.beside(t); out.Refusal != nil {
			return
		}
		picks := [1]int{first}
		out.Routes = append(out.Routes, Route{Target: t, Node: first, SQL: st.sql(in, out, picks[:])})
		return
	}
	switch {
	case d.ranged && nodes.Len() == len(g.table.Nodes):
		out.Refusal = unsupported(algorithm.ErrRange.Error(), oneShardWay)
		return
	case st.scatter != nil:
		out.Refusal = st.scatter
		return
	case g.table.Audit && nodes.Len() == len(g.table.Nodes) && g.cond == nil && !(d.hint != nil && g.table.AuditHint && d.hint.disables(g.table.Auditors)):
		out.Refusal = unsupported("the audit of table "+g.table.Name+" demands a condition on a sharding column", oneShardWay)
		return
	}
	edits, pushed := st.edits, uint64(0)
	if st.spec != nil {
		if !st.plainWide {
			edits = st.wide
		}
		if pushed, out.Refusal = st.bindMerge(in, out); out.Refusal != nil {
			return
		}
	}
	for n := first; n >= 0; n = nodes.Next(n + 1) {
		picks := [1]int{n}
		out.buf = st.appendSQL(out.buf[:0], in, edits, picks[:], pushed, 0, len(in.Text))
		r := Route{Target: g.table.Nodes[n].Target, Node: n, SQL: string(out.buf)}
		if st.dropsArgs {
			r.Args = st.wideArgs
			if r.Args == nil {
				r.Args = []Arg{}
			}
		}
		out.Routes = append(out.Routes, r)
	}
}

// bindMerge puts this execution's LIMIT and constants into the merge. It returns how many rows each shard is asked for.
func (st *Statement) bindMerge(in *Input, out *Execution) (pushed uint64, r *Refusal) {
	if st.limit == nil && len(st.consts) == 0 {
		out.Merge = st.spec
		return 0, nil
	}
	out.spec = *st.spec
	out.Merge = &out.spec
	for i := range st.consts {
		v, ok := st.consts[i].get(in, st.mode)
		if !ok {
			return 0, unsupported("a value in HAVING is not known", "")
		}
		out.spec.Consts = append(out.spec.Consts, v)
	}
	if st.limit == nil {
		return 0, nil
	}
	offset, ok1 := st.limit.offset.get(in, st.mode)
	count, ok2 := st.limit.count.get(in, st.mode)
	if !ok1 || !ok2 || !countable(offset) || !countable(count) {
		return 0, &Refusal{CodeSyntax, "42000", "LIMIT takes whole numbers that are not negative", ""}
	}
	out.spec.Offset = offset.Num
	out.spec.Limit = int64(min(count.Num, math.MaxInt64))
	if pushed = offset.Num + count.Num; pushed < count.Num {
		pushed = math.MaxUint64
	}
	return pushed, nil
}

func countable(v value.Value) bool {
	return v.Kind == value.Uint || v.Kind == value.Int && v.Int64() >= 0
}

// rowRoute is one row of an INSERT and the node it goes to.
type rowRoute struct {
	node int
	key  value.Value
}

func (st *Statement) bindInsert(in *Input, out *Execution, h *Hint) {
	ins := st.insert
	out.rows = out.rows[:0]
	one := true
	for i := range ins.rows {
		r, refusal := st.routeRow(in, ins, &ins.rows[i], h)
		if refusal != nil {
			out.Refusal = refusal
			return
		}
		out.rows = append(out.rows, r)
		one = one && r.node == out.rows[0].node
	}
	if ins.generate != nil && len(out.rows) > 0 {
		out.Key = out.rows[0].key
	}
	if one && ins.generate == nil {
		n := out.rows[0].node
		picks := [1]int{n}
		out.Routes = append(out.Routes, Route{Target: ins.table.Nodes[n].Target, Node: n, SQL: st.sql(in, out, picks[:])})
		return
	}
	for i := range out.rows {
		n := out.rows[i].node
		if out.Last = routed(out.Routes, n); out.Last < 0 {
			out.Last = len(out.Routes)
			out.Routes = append(out.Routes, st.insertRoute(in, out, n))
		}
	}
}

func routed(routes []Route, node int) int {
	return slices.IndexFunc(routes, func(r Route) bool { return r.Node == node })
}

// routeRow decides the node of one row.
func (st *Statement) routeRow(in *Input, ins *insertPlan, row *insertRow, h *Hint) (r rowRoute, refusal *Refusal) {
	if ins.generate != nil {
		if in.Keys == nil {
			return r, unsupported("no key generator is running", "")
		}
		k, err := in.Keys.NextKey(ins.generate)
		if err != nil {
			return r, &Refusal{CodeUnsupported, "HY000", "generating a key: " + err.Error(), ""}
		}
		r.key = k
	}
	nodes := algorithm.NewSet(len(ins.table.Nodes))
	nodes.Fill(len(ins.table.Nodes))
	if refusal = h.hinted(ins.table, nodes); refusal != nil {
		return r, refusal
	}
	for i := 0; i < len(ins.keys); {
		k := &ins.keys[i]
		n := len(k.strategy.Columns)
		var buf [4]value.Value
		vs := buf[:0]
		for j := i; j < i+n; j++ {
			v, refusal := st.rowValue(in, &ins.keys[j], &row.values[j], r.key)
			if refusal != nil {
				return r, refusal
			}
			vs = append(vs, v)
		}
		i += n
		target, err := exact(k.strategy, vs)
		if err != nil {
			return r, &Refusal{CodeNoPartition, "HY000", fmt.Sprintf("table %s has no shard for value %s of sharding column %s: %v",
				ins.table.Name, vs[0].AppendLiteral(nil), list(k.strategy.Columns), err), ""}
		}
		if k.database {
			nodes.And(ins.table.DatabaseMask(target))
		} else {
			nodes.And(ins.table.TableMask(target))
		}
	}
	r.node = nodes.Next(0)
	if r.node < 0 || nodes.Next(r.node+1) >= 0 {
		return r, &Refusal{CodeNoPartition, "HY000", fmt.Sprintf("a row for table %s belongs to %d shards by its rule, not to one", ins.table.Name, nodes.Len()), ""}
	}
	return r, nil
}

// rowValue returns a sharding value of a row as its column will hold it.
func (st *Statement) rowValue(in *Input, k *insertKey, o *operand, key value.Value) (value.Value, *Refusal) {
	v := key
	if o.kind != generated {
		var ok bool
		if v, ok = o.get(in, st.mode); !ok {
			return v, unsupported("the value of sharding column "+k.column+" is not known", "")
		}
	}
	if st.mode&scan.OwnTimeZone != 0 && k.schema.Zoned() {
		return v, unsupported("a value for sharding column "+k.column+" of type "+k.schema.Type+" in a session with a time zone of its own",
			"do not set time_zone, or make the column a DATETIME")
	}
	return k.convert(v)
}

func exact(s *rule.Strategy, vs []value.Value) (int, error) {
	var target int
	var err error
	switch {
	case s.Standard != nil:
		target, _, err = s.Standard.Exact(vs[0])
	case s.Complex != nil:
		target, _, err = s.Complex.Exact(vs)
	default:
		err = errors.New("only a hint decides")
	}
	return target, err
}

// uncounted reports that an AUTO_INCREMENT column would get its value from a server, or that nobody can tell.
func (st *Statement) uncounted(in *Input) bool {
	for i := range st.counted {
		v, ok := st.counted[i].get(in, st.mode)
		if n, whole := v.Integer(); !ok || v.IsNull() || !whole && v.Kind != value.Uint || n == 0 && v.Kind != value.Uint {
			return true
		}
	}
	return false
}

// insertRoute builds the statement that holds one node's rows.
func (st *Statement) insertRoute(in *Input, out *Execution, node int) Route {
	ins := st.insert
	picks := [1]int{node}
	b := out.buf[:0]
	r := Route{Target: ins.table.Nodes[node].Target, Node: node}
	prepared := len(in.Args) > 0
	if prepared {
		r.Args = appendArgs(r.Args, 0, ins.prefix)
	}
	if ins.set {
		at := st.at(in, ins.columnsEnd.start, ins.columnsEnd.after)
		b = st.appendSQL(b, in, st.edits, picks[:], 0, 0, at)
		b = append(appendQuoted(append(b, ' '), ins.generate.Column), " = "...)
		b = append(out.rows[0].key.AppendLiteral(b), ',')
		b = st.appendSQL(b, in, st.edits, picks[:], 0, at, len(in.Text))
		out.buf, r.SQL, r.Args = b, string(b), nil
		return r
	}
	head := st.at(in, ins.rows[0].open.start, ins.rows[0].open.after)
	if ins.generate != nil {
		at := st.at(in, ins.columnsEnd.start, ins.columnsEnd.after)
		b = st.appendSQL(b, in, st.edits, picks[:], 0, 0, at)
		b = appendQuoted(append(b, ", "...), ins.generate.Column)
		b = st.appendSQL(b, in, st.edits, picks[:], 0, at, head)
	} else {
		b = st.appendSQL(b, in, st.edits, picks[:], 0, 0, head)
	}
	first := true
	for i := range ins.rows {
		if out.rows[i].node != node {
			continue
		}
		if !first {
			b = append(b, ", "...)
		}
		first = false
		row := &ins.rows[i]
		b = st.appendSQL(b, in, st.edits, picks[:], 0, st.at(in, row.open.start, row.open.after), st.at(in, row.close.start, row.close.after))
		if prepared {
			r.Args = appendArgs(r.Args, row.from, row.to)
		}
		if ins.generate != nil {
			b = append(b, ", "...)
			if prepared {
				b = append(b, '?')
				r.Args = append(r.Args, Arg{-1, out.rows[i].key})
			} else {
				b = out.rows[i].key.AppendLiteral(b)
			}
		}
		b = append(b, ')')
	}
	last := &ins.rows[len(ins.rows)-1]
	b = st.appendSQL(b, in, st.edits, picks[:], 0, st.at(in, last.close.start+1, last.close.after), len(in.Text))
	if prepared {
		r.Args = appendArgs(r.Args, ins.suffix, len(in.Args))
	}
	out.buf, r.SQL = b, string(b)
	return r
}

func appendArgs(args []Arg, from, to int) []Arg {
	if args == nil {
		args = []Arg{}
	}
	for i := from; i < to; i++ {
		args = append(args, Arg{Index: i})
	}
	return args
}
