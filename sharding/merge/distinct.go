package merge

import (
	"slices"
)

// distinct reports that an aggregate counts equal values once.
func (a *Aggregate) distinct() bool { return a.Keys > 0 }

// hold counts bytes that are kept.
func (m *Merger) hold(n int) error {
	if m.held += n; m.held > m.opt.Budget {
		return ErrBudget
	}
	return nil
}

// values are the rows of one group that may hold different values of a DISTINCT aggregate. Equal ones do not meet in the
// order in which rows come, so they are sorted, and cut to one each, whenever as many again have come.
type values struct {
	items []item
	size  int
	tidy  int // how many of items are sorted and differ
}

// keep holds a row's value until its group is whole.
func (g *group) keep(s *stream, i int) error {
	m, a, v := g.m, &g.m.aggregates[i], &g.values[i]
	keys := s.keys[m.spec.Group+a.First:][:a.Keys]
	if !valid(keys) {
		return nil // no aggregate takes NULL
	}
	x := item{keys: make([]cell, len(keys))}
	for k := range keys {
		x.keys[k].copy(&keys[k])
	}
	if a.Func != CountDistinct {
		x.row = slices.Clone(s.row)
	}
	v.items = append(v.items, x)
	v.size += x.size()
	if err := m.hold(x.size()); err == nil && len(v.items) < 2*v.tidy+1024 {
		return nil
	}
	g.unite(i)
	return m.hold(0)
}

// unite leaves one of each group of equal values.
func (g *group) unite(i int) {
	m, a, v := g.m, &g.m.aggregates[i], &g.values[i]
	states := m.keys[m.spec.Group+a.First:][:a.Keys]
	compare := func(x, y item) int {
		for k := range states {
			if c := states[k].compare(&x.keys[k], &y.keys[k]); c != 0 {
				return c
			}
		}
		return 0
	}
	slices.SortStableFunc(v.items, compare)
	v.items = slices.CompactFunc(v.items, func(x, y item) bool { return compare(x, y) == 0 })
	before := v.size
	v.size, v.tidy = 0, len(v.items)
	for _, x := range v.items {
		v.size += x.size()
	}
	m.held -= before - v.size
}

// release adds the values that were kept to their aggregates.
func (g *group) release() error {
	m := g.m
	for i := range m.aggregates {
		v := &g.values[i]
		if len(v.items) == 0 {
			continue
		}
		g.unite(i)
		s := stream{keys: make([]cell, len(m.keys))}
		for _, x := range v.items {
			copy(s.keys[m.spec.Group+m.aggregates[i].First:], x.keys)
			s.row = x.row
			var err error
			if x.row != nil {
				s.spans, err = spans(s.spans[:0], x.row, m.opt.Format, m.all)
			}
			if err == nil {
				err = g.count(&s, i)
			}
			if err != nil {
				return err
			}
		}
		m.held -= v.size
		*v = values{items: v.items[:0]}
	}
	return nil
}
