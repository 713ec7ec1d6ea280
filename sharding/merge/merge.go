package merge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Source is one shard's result. Its methods are called from one goroutine.
type Source interface {
	// Columns returns the result's columns. It is called once, before Next.
	Columns() ([]Column, error)
	// Next returns the next row's bytes, valid until the next call, or io.EOF.
	Next() ([]byte, error)
}

// Options of a merge.
type Options struct {
	Format Format
	Budget int // bytes that may be held at once; 0: DefaultBudget
}

// DefaultBudget is how many bytes a merge may hold when nothing else is said.
const DefaultBudget = 64 << 20

// Errors that end a merge. They reach the client, so they say what to do.
var (
	ErrBudget   = errors.New("merging the shards' results needs more memory than the query's budget; narrow the query or raise the budget")
	ErrOverflow = errors.New("an aggregate over several shards is out of range")
	ErrColumns  = errors.New("the shards' results have different columns; their tables differ in structure")
	ErrOrder    = errors.New("a shard does not send its rows in the order asked for, so they cannot be merged; sort by shorter values")
)

// Merger is the merged result of several sources.
type Merger struct {
	// Set by New.
	spec       *Spec
	opt        Options
	all        []Column // derived columns included
	columns    []Column
	classes    []class
	keys       []keyState
	resort     []keyState
	minmax     []keyState  // by aggregate
	aggregates []Aggregate // with their columns' true numbers
	fills      []int       // for each column of the result: index of the aggregate, or of the computed column after them; -1
	streams    []*stream
	plain      bool // rows pass as they are, cut after the client's columns
	started    bool
	heap       heap
	at         int // without keys: the stream being read
	held       int // bytes of rows and values that are kept, against the budget
	skipped    uint64
	sent       int64
	finished   bool

	group  group
	out    []byte
	sorted *sorter
}

// New begins a merge: it reads every source's columns.
func New(spec *Spec, sources []Source, opt Options) (*Merger, error) {
	if opt.Budget == 0 {
		opt.Budget = DefaultBudget
	}
	m := &Merger{spec: spec, opt: opt, plain: !spec.Grouped}
	for i, s := range sources {
		cols, err := s.Columns()
		if err != nil {
			return nil, err
		}
		m.streams = append(m.streams, &stream{source: s, index: i, stale: true})
		if i == 0 {
			m.all = append([]Column(nil), cols...)
			continue
		}
		if err := m.sameColumns(cols); err != nil {
			return nil, err
		}
	}
	if len(m.all) < spec.Strip {
		return nil, fmt.Errorf("%w: %d derived columns of %d", ErrColumns, spec.Strip, len(m.all))
	}
	m.columns = m.all[:len(m.all)-spec.Strip]
	for _, c := range m.all {
		m.classes = append(m.classes, c.class())
	}
	return m, m.prepare()
}

func (m *Merger) sameColumns(cols []Column) error {
	if len(cols) != len(m.all) {
		return fmt.Errorf("%w: %d and %d columns", ErrColumns, len(m.all), len(cols))
	}
	for i, c := range cols {
		a := &m.all[i]
		if a.Type == TypeNull {
			*a = c
			continue
		}
		if c.Type != TypeNull && (c.Type != a.Type || c.Flags&FlagUnsigned != a.Flags&FlagUnsigned || c.Charset != a.Charset || c.Decimals != a.Decimals) {
			return fmt.Errorf("%w: column %s", ErrColumns, c.Name)
		}
		a.Length = max(a.Length, c.Length)
	}
	return nil
}

// prepare checks that everything the spec asks for can be done with the columns' types.
func (m *Merger) prepare() (err error) {
	if m.keys, err = m.prepareKeys(m.spec.Keys); err != nil {
		return err
	}
	if m.resort, err = m.prepareResort(); err != nil {
		return err
	}
	m.heap.keys = m.keys
	if !m.spec.Grouped {
		return nil
	}
	m.fills = make([]int, len(m.all))
	for i := range m.fills {
		m.fills[i] = -1
	}
	m.aggregates = append(m.aggregates, m.spec.Aggregates...)
	for i := range m.aggregates {
		if err := m.prepareAggregate(i, &m.aggregates[i]); err != nil {
			return err
		}
	}
	for i, c := range m.spec.Computed {
		if c.Column >= len(m.columns) {
			return fmt.Errorf("%w: no column %d", ErrColumns, c.Column)
		}
		m.fills[c.Column] = len(m.aggregates) + i
	}
	m.group.init(m)
	return nil
}

func (m *Merger) prepareAggregate(i int, a *Aggregate) error {
	a.Input, a.Column, a.Count = m.number(a.Input), m.number(a.Column), m.number(a.Count)
	if a.Input >= len(m.all) || a.Column >= len(m.all) || a.Count >= len(m.all) {
		return fmt.Errorf("%w: no column %d", ErrColumns, a.Input)
	}
	m.fills[a.Column] = i
	m.minmax = append(m.minmax, keyState{})
	cl, col := m.classes[a.Input], &m.all[a.Input]
	switch a.Func {
	case Min, Max:
		k := a.Key
		k.Column = a.Input
		if cl == classFloat {
			m.minmax[i] = keyState{Key: k, class: cl, ready: true} // the largest of equal texts is any of them
			return nil
		}
		keys, err := m.prepareKeys([]Key{k})
		if cl == classOther && col.Flags&(FlagEnum|FlagSet) != 0 && k.Weight >= 0 {
			keys, err = m.textKey(k) // sorted by number, but their minimum is a text's
		}
		if err != nil {
			return err
		}
		m.minmax[i] = keys[0]
	case CountDistinct:
	default:
		if cl > classDecimal {
			return fmt.Errorf("this aggregate of column %s over several shards is not supported for its type", col.Name)
		}
	}
	return nil
}

// number returns the true number of a column.
func (m *Merger) number(column int) int {
	if column >= Derived {
		return len(m.columns) + column - Derived
	}
	return column
}

// Columns returns the result's columns, derived ones cut off.
func (m *Merger) Columns() []Column { return m.columns }

// Next returns the next row's bytes, valid until the next call, or io.EOF.
func (m *Merger) Next() ([]byte, error) {
	for !m.finished {
		if m.spec.Limit >= 0 && m.sent >= m.spec.Limit {
			break
		}
		row, err := m.produce()
		if err != nil {
			m.finished = true
			return nil, err
		}
		if m.skipped < m.spec.Offset {
			m.skipped++
			continue
		}
		m.sent++
		return row, nil
	}
	m.finished = true
	return nil, io.EOF
}

// produce returns the next row before OFFSET and LIMIT.
func (m *Merger) produce() ([]byte, error) {
	if m.plain {
		s, err := m.next()
		if err != nil {
			return nil, err
		}
		s.stale = true
		if len(m.spec.Rewrite) > 0 && m.opt.Format == Text {
			return m.rewrite(s), nil
		}
		return m.cut(s)
	}
	if len(m.resort) == 0 {
		return m.nextGroup()
	}
	if m.sorted == nil {
		s, err := m.sortGroups()
		if err != nil {
			return nil, err
		}
		m.sorted = s
	}
	return m.sorted.next()
}

// next returns the stream whose row comes next.
func (m *Merger) next() (*stream, error) {
	if len(m.keys) == 0 {
		for m.at < len(m.streams) {
			s := m.streams[m.at]
			if s.stale {
				if err := m.advance(s); err != nil {
					return nil, err
				}
			}
			if !s.done {
				return s, nil
			}
			m.at++
		}
		return nil, io.EOF
	}
	if !m.started {
		m.started = true
		for _, s := range m.streams {
			if err := m.advance(s); err != nil {
				return nil, err
			}
			if !s.done {
				m.heap.push(s)
			}
		}
	} else if len(m.heap.streams) > 0 && m.heap.streams[0].stale {
		if err := m.advance(m.heap.streams[0]); err != nil {
			return nil, err
		}
		m.heap.fix()
	}
	if len(m.heap.streams) == 0 {
		return nil, io.EOF
	}
	return m.heap.streams[0], nil
}

// cut takes the derived columns off a row. In the text format that is a shorter slice of the same bytes.
func (m *Merger) cut(s *stream) ([]byte, error) {
	if m.spec.Strip == 0 {
		return s.row, nil
	}
	n := len(m.columns)
	if m.opt.Format == Text {
		return s.row[:s.spans[n].begin], nil
	}
	m.out = append(m.out[:0], 0)
	for range (n + 7 + binaryOffset) / 8 {
		m.out = append(m.out, 0)
	}
	for i := range n {
		if s.spans[i].null() {
			setNull(m.out, i)
		}
	}
	m.out = append(m.out, s.row[s.spans[0].begin:s.spans[n].begin]...)
	return m.out, nil
}

// rewrite replaces names in a row.
func (m *Merger) rewrite(s *stream) []byte {
	m.out = m.out[:0]
	for i, at := range s.spans {
		if at.null() {
			m.out = append(m.out, 0xfb)
			continue
		}
		v := s.row[at.begin:at.end]
		text := s.row[at.start:at.end]
		changed := false
		for _, r := range m.spec.Rewrite {
			if r.Column == i && bytes.Contains(text, []byte(r.Old)) {
				text, changed = bytes.Replace(text, []byte(r.Old), []byte(r.New), 1), true
			}
		}
		if changed {
			m.out = append(appendLenenc(m.out, len(text)), text...)
		} else {
			m.out = append(m.out, v...)
		}
	}
	return m.out
}

func setNull(row []byte, column int) {
	bit := column + binaryOffset
	row[1+bit/8] |= 1 << (bit % 8)
}
