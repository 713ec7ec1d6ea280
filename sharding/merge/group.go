package merge

import (
	"errors"
	"fmt"
	"io"
	"sort"
)

// group is the group being put together.
type group struct {
	m      *Merger
	open   bool
	empty  bool // no row ever came
	row    []byte
	spans  []span
	keys   []cell // of the present row: own copies
	totals []total
	values []values // of DISTINCT aggregates whose equal values do not meet; by aggregate
	made   []cell   // computed columns
	tmp    cell
	look   cell
}

func (g *group) init(m *Merger) {
	g.m, g.empty = m, true
	g.keys = make([]cell, len(m.keys))
	g.totals = make([]total, len(m.aggregates))
	g.values = make([]values, len(m.aggregates))
	g.made = make([]cell, len(m.spec.Computed))
}

// nextGroup puts the next group together that HAVING lets pass.
func (m *Merger) nextGroup() ([]byte, error) {
	for {
		ok, err := m.collect()
		if err != nil {
			return nil, err
		}
		if ok {
			return m.group.emit()
		}
	}
}

// collect reads one whole group. False means that HAVING dropped it.
func (m *Merger) collect() (bool, error) {
	g := &m.group
	for {
		s, err := m.next()
		if errors.Is(err, io.EOF) {
			return m.last(err)
		}
		if err != nil {
			return false, err
		}
		if g.open {
			differs := g.differs(s)
			if differs < m.spec.Group {
				g.open = false
				return g.finish()
			}
			if err := g.add(s, differs); err != nil {
				return false, err
			}
		} else if err := g.begin(s); err != nil {
			return false, err
		}
		s.stale = true
	}
}

// last closes the group that the end of the rows closes. A query without GROUP BY has one group even without rows.
func (m *Merger) last(eof error) (bool, error) {
	g := &m.group
	if !g.open && !(g.empty && m.spec.Group == 0 && len(m.aggregates) > 0) {
		return false, eof
	}
	if !g.open {
		g.row = g.row[:0]
		g.spans = g.spans[:0]
		for range m.all {
			g.spans = append(g.spans, span{0, -1, -1})
		}
		for i := range g.totals {
			g.totals[i].reset(m.classes[m.aggregates[i].Input])
		}
	}
	g.open, g.empty = false, false
	return g.finish()
}

// differs returns the first key in which a row differs from the group's present one, or the number of keys.
func (g *group) differs(s *stream) int {
	for i := range g.m.keys {
		if g.m.keys[i].compare(&g.keys[i], &s.keys[i]) != 0 {
			return i
		}
	}
	return len(g.m.keys)
}

func (g *group) begin(s *stream) error {
	g.open, g.empty = true, false
	g.row = append(g.row[:0], s.row...)
	g.spans = append(g.spans[:0], s.spans...)
	for i := range g.totals {
		g.totals[i].reset(g.m.classes[g.m.aggregates[i].Input])
	}
	return g.add(s, -1)
}

// add takes a row into the group. differs is the first key in which it differs from the row before.
func (g *group) add(s *stream, differs int) error {
	m := g.m
	if len(g.row) > m.opt.Budget {
		return ErrBudget
	}
	for i := range m.keys {
		g.keys[i].copy(&s.keys[i])
	}
	for i := range m.aggregates {
		a := &m.aggregates[i]
		if a.First > 0 {
			if err := g.keep(s, i); err != nil {
				return err
			}
			continue
		}
		if a.distinct() && differs >= m.spec.Group+a.Keys {
			continue
		}
		if err := g.count(s, i); err != nil {
			return err
		}
	}
	return nil
}

// count adds a row's value to an aggregate.
func (g *group) count(s *stream, i int) error {
	m, a, t := g.m, &g.m.aggregates[i], &g.totals[i]
	if a.Func == CountDistinct {
		if valid(s.keys[m.spec.Group+a.First:][:a.Keys]) {
			t.increment(m.classes[a.Column])
		}
		return nil
	}
	if err := g.value(s, i); err != nil {
		return err
	}
	if err := t.add(a.Func, &g.tmp); err != nil {
		return err
	}
	if a.Func != Avg && a.Func != AvgDistinct {
		return nil
	}
	if err := g.look.decode(&m.all[a.Count], m.classes[a.Count], m.opt.Format, s.row, s.spans[a.Count]); err != nil {
		return err
	}
	n, err := cellNumber(&g.look)
	if err != nil {
		return err
	}
	t.count.add(&n.d)
	return nil
}

func valid(keys []cell) bool {
	for i := range keys {
		if !keys[i].valid {
			return false
		}
	}
	return true
}

// value decodes the input of an aggregate into g.tmp.
func (g *group) value(s *stream, i int) error {
	m, a := g.m, &g.m.aggregates[i]
	if a.Func == Min || a.Func == Max {
		err := m.minmax[i].read(&g.tmp, m, s.row, s.spans)
		g.totals[i].pad = m.minmax[i].pad
		return err
	}
	return g.tmp.decode(&m.all[a.Input], m.classes[a.Input], m.opt.Format, s.row, s.spans[a.Input])
}

// finish computes the group's final values; false means that HAVING drops it.
func (g *group) finish() (bool, error) {
	m := g.m
	if err := g.release(); err != nil {
		return false, err
	}
	for i := range m.aggregates {
		a := &m.aggregates[i]
		if err := g.totals[i].finish(a.Func, &m.all[a.Column], m.classes[a.Column]); err != nil {
			return false, err
		}
	}
	for i, c := range m.spec.Computed {
		col := &m.all[c.Column]
		n, err := c.Expr.eval(g, m.spec.Consts, int(col.Decimals))
		if err != nil {
			return false, err
		}
		if err := n.store(&g.made[i], col, m.classes[c.Column]); err != nil {
			return false, err
		}
	}
	if m.spec.Having == nil {
		return true, nil
	}
	n, err := m.spec.Having.eval(g, m.spec.Consts, 0)
	return err == nil && n.truth(), err
}

// cell returns a column of the finished group.
func (g *group) cell(column int) (*cell, error) {
	m := g.m
	column = m.number(column)
	if column >= len(m.fills) {
		return nil, ErrColumns
	}
	f := m.fills[column]
	switch {
	case f < 0:
		err := g.look.decode(&m.all[column], m.classes[column], m.opt.Format, g.row, g.spans[column])
		return &g.look, err
	case f < len(g.totals):
		return &g.totals[f].cell, nil
	}
	return &g.made[f-len(g.totals)], nil
}

// emit encodes the group as a row of the result.
func (g *group) emit() ([]byte, error) {
	m := g.m
	binary := m.opt.Format == Binary
	m.out = m.out[:0]
	if binary {
		m.out = append(m.out, 0)
		for range (len(m.columns) + 7 + binaryOffset) / 8 {
			m.out = append(m.out, 0)
		}
	}
	for i := range m.columns {
		f := m.fills[i]
		null := false
		switch {
		case f < 0:
			null = g.spans[i].null()
			if !null {
				m.out = append(m.out, g.row[g.spans[i].begin:g.spans[i].end]...)
			}
		case f < len(g.totals):
			if null = !g.totals[f].valid; !null {
				m.out = g.totals[f].encodeTotal(m.out, &m.columns[i], m.opt.Format)
			}
		default:
			if null = !g.made[f-len(g.totals)].valid; !null {
				m.out = g.made[f-len(g.totals)].encode(m.out, &m.columns[i], m.opt.Format)
			}
		}
		if null && binary {
			setNull(m.out, i)
		} else if null {
			m.out = append(m.out, 0xfb)
		}
	}
	return m.out, nil
}

// prepareResort makes the keys of the second sort ready. Aggregates are compared by their own values.
func (m *Merger) prepareResort() ([]keyState, error) { return m.prepareKeys(m.spec.Resort) }

// sorter holds groups in memory and sorts them.
type sorter struct {
	m     *Merger
	items []item
	at    int
}

type item struct {
	keys []cell
	row  []byte
}

// sortGroups reads every group. With a LIMIT it keeps no more than a few times as many as will be sent.
func (m *Merger) sortGroups() (*sorter, error) {
	s := &sorter{m: m}
	keep := -1
	if m.spec.Limit >= 0 && m.spec.Offset < 1<<30 && m.spec.Limit < 1<<30 {
		keep = int(m.spec.Limit) + int(m.spec.Offset)
	}
	for {
		row, err := m.nextGroup()
		if err == io.EOF {
			s.sort()
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		if err := s.take(row); err != nil {
			return nil, err
		}
		if keep >= 0 && len(s.items) > 2*keep+1024 {
			s.sort()
			for _, x := range s.items[keep:] {
				m.held -= x.size()
			}
			s.items = s.items[:keep]
		}
	}
}

func (x *item) size() int {
	n := 64 + len(x.row)
	for i := range x.keys {
		n += 128 + len(x.keys[i].b) + len(x.keys[i].w)
	}
	return n
}

func (s *sorter) take(row []byte) error {
	x := item{row: append([]byte(nil), row...), keys: make([]cell, len(s.m.resort))}
	for i := range s.m.resort {
		if err := s.m.resort[i].of(&x.keys[i], &s.m.group); err != nil {
			return err
		}
	}
	s.items = append(s.items, x)
	return s.m.hold(x.size())
}

// of reads a key of the finished group.
func (k *keyState) of(into *cell, g *group) error {
	f := g.m.fills[k.Column]
	if f < 0 {
		var c cell
		if err := k.read(&c, g.m, g.row, g.spans); err != nil {
			return err
		}
		into.copy(&c)
		return nil
	}
	if f < len(g.totals) && k.class == classText && !k.ready {
		return fmt.Errorf("sorting by text aggregate %s over several shards is not supported", g.m.all[k.Column].Name)
	}
	if f < len(g.totals) && len(g.totals[f].pad) > 0 {
		k.pad = g.totals[f].pad
	}
	c, err := g.cell(k.Column)
	if err == nil {
		into.copy(c)
	}
	return err
}

func (s *sorter) sort() {
	sort.SliceStable(s.items, func(i, j int) bool {
		for k := range s.m.resort {
			if c := s.m.resort[k].compare(&s.items[i].keys[k], &s.items[j].keys[k]); c != 0 {
				return c < 0
			}
		}
		return false
	})
}

func (s *sorter) next() ([]byte, error) {
	if s.at == len(s.items) {
		return nil, io.EOF
	}
	s.at++
	return s.items[s.at-1].row, nil
}
