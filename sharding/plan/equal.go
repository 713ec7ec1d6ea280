package plan

import (
	"maps"
	"slices"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"
)

// classes are sets of columns that are equal in every row that matters. What is equal in a block is equal in the blocks
// inside it, and not the other way round: x NOT EXISTS (... WHERE y) says nothing of y for x's own rows.
type classes map[columnKey]columnKey

func (c classes) find(k columnKey) columnKey {
	for {
		p, ok := c[k]
		if !ok || p == k {
			return k
		}
		k = p
	}
}

func (c classes) join(x, y columnKey) {
	if x, y = c.find(x), c.find(y); x != y {
		c[x] = y
	}
}

// equate finds what is equal in a block's rows.
func (a *analysis) equate(b *block) {
	given := b.equal
	b.equal = classes{}
	if b.parent != nil {
		maps.Copy(b.equal, b.parent.equal)
	}
	for x, y := range given {
		b.equal.join(x, y)
	}
	for _, x := range a.equalities(b.filters, b) {
		b.equal.join(x[0], x[1])
	}
	for i := range b.pairs {
		a.pair(b, &b.pairs[i])
	}
	a.linkIn(b)
}

// pair makes equal what a join compares. A row that an outer join has filled with NULLs was compared in vain: of the
// columns of the side that is kept none may become equal to each other, so each class of the filled side, which then is
// NULL, is tied to one column of the other.
func (a *analysis) pair(b *block, p *pairing) {
	list := append(slices.Clone(p.using), a.equalities(p.on, b)...)
	if p.filled == nil {
		for _, x := range list {
			b.equal.join(x[0], x[1])
		}
		return
	}
	filled := func(k columnKey) bool { return slices.Contains(p.filled, k.table) }
	tied := map[columnKey]bool{}
	for _, sharding := range [...]bool{true, false} { // of several columns, one that decides about shards
		for _, x := range list {
			kept, null := x[0], x[1]
			if filled(kept) {
				kept, null = null, kept
			}
			decides := kept.table.rule != nil && kept.table.rule.Sharding(kept.column)
			if filled(kept) || !filled(null) || decides != sharding || tied[b.equal.find(null)] {
				continue
			}
			b.equal.join(null, kept)
			tied[b.equal.find(null)] = true
		}
	}
}

// equalities returns the columns of a = b among conjuncts.
func (a *analysis) equalities(list []ast.ExprNode, b *block) (out [][2]columnKey) {
	for _, e := range list {
		x, ok := e.(*ast.BinaryOperationExpr)
		if !ok || x.Op != opcode.EQ {
			continue
		}
		l, ok1 := a.column(x.L, b)
		r, ok2 := a.column(x.R, b)
		if ok1 && ok2 && a.comparable(l, r) {
			out = append(out, [2]columnKey{l, r})
		}
	}
	return out
}
