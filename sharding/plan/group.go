package plan

import (
	"fmt"

	"github.com/sidewire/sidewire/sharding/rule"
)

// group is a set of sharded table references whose rows with equal sharding values stand on nodes of the same number:
// the group is decided once and may be asked node by node.
type group struct {
	refs  []*tableRef
	table *rule.Table // of refs[0]; its nodes are the group's
	cond  *condition  // nil: every node
}

// link joins sharded references into groups: they must be bound to each other, and equal in every sharding column.
func (a *analysis) link() {
	var groups []group
	for _, b := range a.blocks { // outermost first
		a.equate(b)
		groups = a.grouped(b, groups)
	}
	a.st.groups = groups
}

func (a *analysis) grouped(b *block, groups []group) []group {
	for _, t := range b.tables {
		if !t.sharded() {
			continue
		}
		for i := range groups {
			if b.linked(groups[i].refs, t) {
				t.group = i
				groups[i].refs = append(groups[i].refs, t)
				break
			}
		}
		if t.group < 0 {
			t.group = len(groups)
			groups = append(groups, group{refs: []*tableRef{t}, table: t.rule})
		}
	}
	return groups
}

// linkIn makes x equal to y in x IN (SELECT y ...), when the subquery's rows do not depend on other shards' rows.
func (a *analysis) linkIn(b *block) {
	if b.role != inQuery || b.link == nil || !rowwise(b.sel) || len(b.sel.Fields.Fields) != 1 || b.sel.Fields.Fields[0].Expr == nil {
		return
	}
	l, ok1 := a.column(b.link, b.parent)
	r, ok2 := a.column(b.sel.Fields.Fields[0].Expr, b)
	if ok1 && ok2 && r.table.block == b && a.comparable(l, r) {
		b.equal.join(l, r)
	}
}

func (b *block) linked(refs []*tableRef, t *tableRef) bool {
	for _, r := range refs {
		if r.rule != t.rule && (r.rule.Binding == 0 || r.rule.Binding != t.rule.Binding) {
			return false
		}
	}
	for _, r := range refs {
		if b.sameColumns(r, t, &r.rule.Database, &t.rule.Database) && b.sameColumns(r, t, &r.rule.Table, &t.rule.Table) {
			return true
		}
	}
	return false
}

func (b *block) sameColumns(x, y *tableRef, s, t *rule.Strategy) bool {
	if len(s.Columns) != len(t.Columns) || s.Hint != nil || t.Hint != nil {
		return false
	}
	for i := range s.Columns {
		if b.equal.find(columnKey{x, s.Columns[i]}) != b.equal.find(columnKey{y, t.Columns[i]}) {
			return false
		}
	}
	return true
}

// home returns the block whose filters decide a group: one that holds a table of the group and is an ancestor of, or
// the same as, every block that does. Nil if there is none.
func (g *group) home() *block {
	for _, r := range g.refs {
		ok := true
		for _, o := range g.refs {
			if !within(o.block, r.block) {
				ok = false
				break
			}
		}
		if ok {
			return r.block
		}
	}
	return nil
}

func within(b, outer *block) bool {
	for ; b != nil; b = b.parent {
		if b == outer {
			return true
		}
	}
	return false
}

// checkScatter decides whether the statement may run on several nodes of its groups, and if not, why.
func (a *analysis) checkScatter() {
	if a.st.scatter != nil || len(a.st.groups) == 0 {
		return
	}
	if len(a.st.groups) > 1 {
		a.st.scatter = a.unlinked()
		return
	}
	for _, t := range a.tables {
		if r := a.besideShards(t); r != nil {
			a.st.scatter = r
			return
		}
	}
	for _, b := range a.blocks {
		if r := a.innerBlock(b); r != nil {
			a.st.scatter = r
			return
		}
	}
}

func (a *analysis) unlinked() *Refusal {
	x, y := a.st.groups[0].refs[0], a.st.groups[1].refs[0]
	if x.rule == y.rule || x.rule.Binding != 0 && x.rule.Binding == y.rule.Binding {
		return unsupported(fmt.Sprintf("%s and %s are not joined on all their sharding columns (%s), so their rows are on different shards",
			x.name, y.name, list(x.rule.Columns())), "join them on those columns, or "+oneShardWay)
	}
	return unsupported(fmt.Sprintf("sharded tables %s and %s are not in one binding group, so joining them needs rows of different shards", x.rule.Name, y.rule.Name),
		"declare them under bindingTables if they are cut alike, or "+oneShardWay)
}

func list(names []string) string {
	out := ""
	for i, n := range names {
		if i > 0 {
			out += ", "
		}
		out += n
	}
	return out
}

// besideShards refuses tables that cannot stand beside a scattered table.
func (a *analysis) besideShards(t *tableRef) *Refusal {
	switch {
	case t.rule == nil && t.kept && !t.holdsShards():
		return unsupported(fmt.Sprintf("table %s, which every shard has whole, is kept whole by an outer join: each shard would repeat its rows without a match", t.name),
			"use an inner join, or "+oneShardWay)
	case t.rule == nil, t.sharded():
		return nil
	case t.rule.Kind == rule.Single:
		return unsupported(fmt.Sprintf("table %s stands whole on one data source and cannot be joined with several shards", t.rule.Name),
			"make it a broadcast table, or "+oneShardWay)
	case t.kept:
		return unsupported(fmt.Sprintf("broadcast table %s is kept whole by an outer join: each shard would repeat its rows without a match", t.rule.Name),
			"use an inner join, or "+oneShardWay)
	}
	return nil
}

// innerBlock refuses nested queries whose answer on one shard is not the part of the whole answer it should be.
func (a *analysis) innerBlock(b *block) *Refusal {
	has := false
	for _, t := range b.tables {
		has = has || t.sharded()
	}
	home := a.st.groups[0].home()
	switch {
	case home == nil:
		return unsupported("nested queries on sharded tables that are not tied together by the sharding column", oneShardWay)
	case b.role == topBlock, b.role == branch, b.sel == nil:
		return nil
	case b == home || within(home, b) && b != home:
		// The home is a derived table (or inside one): its rows pass outwards one by one, nothing else.
		if b.role != derived || !rowwise(b.sel) {
			return unsupported("a nested query on sharded tables that groups, sorts, limits or compares over several shards", oneShardWay)
		}
		if !onlyTable(b.parent) {
			return unsupported("joining a nested query on sharded tables over several shards", oneShardWay)
		}
		return nil
	case has && b.role == derived && !rowwise(b.sel):
		return unsupported("a derived table that groups, sorts or limits over several shards", oneShardWay)
	}
	return nil
}

// holdsShards reports that a derived table reads a sharded one.
func (t *tableRef) holdsShards() bool {
	if t.inner == nil {
		return false
	}
	for _, x := range t.inner.tables {
		if x.sharded() || x.holdsShards() {
			return true
		}
	}
	return false
}

func onlyTable(b *block) bool { return b != nil && len(b.tables) == 1 }
