package merge

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
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
	Budget int // bytes that may be held at once; 0: 64 MiB
}

// DefaultBudget is how many bytes a merge may hold when nothing else is said.
const DefaultBudget = 64 << 20

// Errors that end a merge. They reach the client, so they say what to do.
var (
	ErrBudget   = errors.New("merging the shards' results needs more memory than the query's budget; narrow the query or raise the budget")
	ErrOverflow = errors.New("an aggregate over several shards is out of range")
	ErrColumns  = errors.New("the shards' results have different columns; their tables differ in structure")
)

// Merger is the merged result of several sources.
type Merger struct {
	spec    *Spec
	opt     Options
	sources []Source
	all     []Column // derived columns included
	columns []Column
	classes []class

	at      int // the source being read
	skipped uint64
	sent    int64
	done    bool
	spans   []span
	out     []byte
}

// New begins a merge: it reads every source's columns.
func New(spec *Spec, sources []Source, opt Options) (*Merger, error) {
	if opt.Budget == 0 {
		opt.Budget = DefaultBudget
	}
	m := &Merger{spec: spec, opt: opt, sources: sources}
	for i, s := range sources {
		cols, err := s.Columns()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			m.all = cols
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
	return m, m.check()
}

func (m *Merger) sameColumns(cols []Column) error {
	if len(cols) != len(m.all) {
		return fmt.Errorf("%w: %d and %d columns", ErrColumns, len(m.all), len(cols))
	}
	for i, c := range cols {
		if c.Type != m.all[i].Type || c.Flags&FlagUnsigned != m.all[i].Flags&FlagUnsigned || c.Charset != m.all[i].Charset {
			return fmt.Errorf("%w: column %s", ErrColumns, c.Name)
		}
		m.all[i].Length = max(m.all[i].Length, c.Length)
	}
	return nil
}

// check refuses aggregates over types that cannot be merged exactly.
func (m *Merger) check() error {
	for _, a := range m.spec.Aggregates {
		if a.Input >= len(m.all) || a.Column >= len(m.all) {
			return fmt.Errorf("%w: no column %d", ErrColumns, a.Input)
		}
		switch cl := m.classes[a.Input]; a.Func {
		case Min, Max:
			if cl == classText || cl == classTime || cl == classOther {
				return fmt.Errorf("the smallest or largest of column %s over several shards depends on its collation and is not supported; ask one shard", m.all[a.Input].Name)
			}
			if m.opt.Format == Binary && cl == classTemporal {
				return fmt.Errorf("the smallest or largest of column %s over several shards is not supported in prepared statements", m.all[a.Input].Name)
			}
		case SumOf:
			if cl > classDecimal {
				return fmt.Errorf("the sum of column %s over several shards is not supported for its type", m.all[a.Input].Name)
			}
		}
	}
	return nil
}

// Columns returns the result's columns, derived ones cut off.
func (m *Merger) Columns() []Column { return m.columns }

// Next returns the next row's bytes, valid until the next call, or io.EOF.
func (m *Merger) Next() ([]byte, error) {
	if m.done {
		return nil, io.EOF
	}
	if m.spec.One {
		m.done = true
		return m.one()
	}
	for m.at < len(m.sources) {
		row, err := m.sources[m.at].Next()
		if err == io.EOF {
			m.at++
			continue
		}
		if err != nil {
			return nil, err
		}
		return row, nil
	}
	m.done = true
	return nil, io.EOF
}

// one merges one row of aggregates from each source.
func (m *Merger) one() ([]byte, error) {
	totals := make([]cell, len(m.spec.Aggregates))
	for i, a := range m.spec.Aggregates {
		totals[i].class = m.classes[a.Input]
	}
	for _, s := range m.sources {
		row, err := s.Next()
		if err != nil {
			return nil, unexpectedEnd(err)
		}
		if m.spans, err = spans(m.spans[:0], row, m.opt.Format, m.all); err != nil {
			return nil, err
		}
		for i, a := range m.spec.Aggregates {
			var c cell
			if err := c.decode(&m.all[a.Input], m.classes[a.Input], m.opt.Format, row, m.spans[a.Input]); err != nil {
				return nil, err
			}
			if err := totals[i].accumulate(a.Func, &c); err != nil {
				return nil, err
			}
		}
		if _, err := s.Next(); err != io.EOF {
			if err == nil {
				err = fmt.Errorf("%w: more than one row of aggregates", ErrRow)
			}
			return nil, err
		}
	}
	return m.emit(totals)
}

func unexpectedEnd(err error) error {
	if err == io.EOF {
		return fmt.Errorf("%w: no row of aggregates", ErrRow)
	}
	return err
}

// accumulate adds v to the total.
func (t *cell) accumulate(f Func, v *cell) error {
	if !v.valid {
		return nil
	}
	if !t.valid {
		*t = *v
		t.b = append([]byte(nil), v.b...)
		return nil
	}
	switch f {
	case Min, Max:
		if c := compareCells(v, t); f == Min && c < 0 || f == Max && c > 0 {
			b := append(t.b[:0], v.b...)
			*t = *v
			t.b = b
		}
		return nil
	}
	switch t.class {
	case classInt:
		sum := t.n + v.n
		if (sum > t.n) != (v.n > 0) && v.n != 0 {
			return ErrOverflow
		}
		t.n = sum
	case classUint:
		sum, carry := bits.Add64(uint64(t.n), uint64(v.n), 0)
		if carry != 0 {
			return ErrOverflow
		}
		t.n = int64(sum)
	case classDouble, classFloat:
		t.f += v.f
	case classDecimal:
		t.d.add(&v.d)
	}
	return nil
}

// compareCells orders two values that are not NULL, of one class that needs no collation.
func compareCells(a, b *cell) int {
	switch a.class {
	case classInt:
		return cmp(a.n, b.n)
	case classUint:
		return cmp(uint64(a.n), uint64(b.n))
	case classDouble, classFloat:
		return cmp(a.f, b.f)
	case classDecimal:
		return a.d.cmp(&b.d)
	}
	return cmp(string(a.b), string(b.b))
}

func cmp[T int64 | uint64 | float64 | string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// emit encodes one row of aggregates, which fill every column.
func (m *Merger) emit(totals []cell) ([]byte, error) {
	m.out = m.out[:0]
	if m.opt.Format == Binary {
		m.out = append(m.out, 0)
		for range (len(m.columns) + 7 + binaryOffset) / 8 {
			m.out = append(m.out, 0)
		}
	}
	for i := range m.columns {
		c := &totals[i]
		if !c.valid {
			if m.opt.Format == Binary {
				m.out[1+(i+binaryOffset)/8] |= 1 << ((i + binaryOffset) % 8)
			} else {
				m.out = append(m.out, 0xfb)
			}
			continue
		}
		var err error
		if m.out, err = c.encode(m.out, &m.columns[i], m.opt.Format); err != nil {
			return nil, err
		}
	}
	return m.out, nil
}
