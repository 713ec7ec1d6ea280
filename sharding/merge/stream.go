package merge

import (
	"fmt"
	"io"
)

// stream is one source with its present row.
type stream struct {
	source Source
	index  int
	row    []byte
	spans  []span
	keys   []cell // borrowed from row
	prev   []cell // own copies, to check the order
	any    bool
	stale  bool // row was handed out: the next one is to be read
	done   bool
}

// keyState is a Key made ready: how its values compare is known once the columns, and for text the first value, are seen.
type keyState struct {
	Key
	class class
	pad   []byte
	ready bool
}

// prepareKeys checks that the keys' columns can be compared.
func (m *Merger) prepareKeys(keys []Key) ([]keyState, error) {
	out := make([]keyState, len(keys))
	for i, k := range keys {
		k.Column, k.Weight, k.Collation = m.number(k.Column), m.number(k.Weight), m.number(k.Collation)
		if k.Column >= len(m.all) || k.Weight >= len(m.all) || k.Collation >= len(m.all) {
			return nil, fmt.Errorf("%w: no column %d", ErrColumns, k.Column)
		}
		col := &m.all[k.Column]
		s := keyState{Key: k, class: m.classes[k.Column], ready: true}
		switch s.class {
		case classText:
			if k.Weight < 0 {
				return nil, fmt.Errorf("sorting text column %s over several shards needs its collation, which is not known", col.Name)
			}
			if s.ready = k.Collation < 0; s.ready {
				var err error
				if s.pad, err = padding(k.Name); err != nil {
					return nil, err
				}
			}
		case classFloat, classOther:
			return nil, fmt.Errorf("sorting column %s over several shards is not supported for its type", col.Name)
		}
		out[i] = s
	}
	return out, nil
}

// textKey makes a key that compares a column by its weight whatever its type.
func (m *Merger) textKey(k Key) ([]keyState, error) {
	k.Column, k.Weight, k.Collation = m.number(k.Column), m.number(k.Weight), m.number(k.Collation)
	s := keyState{Key: k, class: classText, ready: k.Collation < 0}
	var err error
	if s.ready {
		s.pad, err = padding(k.Name)
	}
	return []keyState{s}, err
}

// read decodes one key of a row.
func (k *keyState) read(c *cell, m *Merger, row []byte, at []span) error {
	if err := c.decode(&m.all[k.Column], k.class, m.opt.Format, row, at[k.Column]); err != nil || k.class != classText || !c.valid {
		return err
	}
	if !k.ready {
		if s := at[k.Collation]; !s.null() {
			pad, err := padding(string(row[s.start:s.end]))
			if err != nil {
				return err
			}
			k.pad, k.ready = pad, true
		}
	}
	s := at[k.Weight]
	if s.null() {
		return fmt.Errorf("%w: column %s has no weight", ErrRow, m.all[k.Column].Name)
	}
	c.w = row[s.start:s.end]
	return nil
}

func (k *keyState) compare(a, b *cell) int {
	c := a.compare(b, k.pad)
	if k.Desc {
		return -c
	}
	return c
}

// advance reads the next row of a stream, and its keys.
func (m *Merger) advance(s *stream) error {
	s.stale = false
	row, err := s.source.Next()
	if err == io.EOF {
		s.done = true
		return nil
	}
	if err != nil {
		return err
	}
	s.row = row
	if s.spans, err = spans(s.spans[:0], row, m.opt.Format, m.all); err != nil {
		return err
	}
	if s.keys == nil {
		s.keys, s.prev = make([]cell, len(m.keys)), make([]cell, len(m.keys))
	}
	for i := range m.keys {
		if err := m.keys[i].read(&s.keys[i], m, row, s.spans); err != nil {
			return err
		}
	}
	return m.checkOrder(s)
}

// checkOrder makes sure that a shard really sends its rows in the order the merge relies on. Servers that sort by a
// prefix of long values (max_sort_length) do not; then there is an error, not a wrong answer.
func (m *Merger) checkOrder(s *stream) error {
	if s.any {
		for i := range m.keys {
			c := m.keys[i].compare(&s.prev[i], &s.keys[i])
			if c < 0 {
				break
			}
			if c > 0 {
				return ErrOrder
			}
		}
	}
	s.any = true
	for i := range m.keys {
		s.prev[i].copy(&s.keys[i])
	}
	return nil
}

// heap is a binary heap of streams by their present keys, ties by the streams' order, so that a merge is stable.
type heap struct {
	keys    []keyState
	streams []*stream
}

func (h *heap) less(a, b *stream) bool {
	for i := range h.keys {
		if c := h.keys[i].compare(&a.keys[i], &b.keys[i]); c != 0 {
			return c < 0
		}
	}
	return a.index < b.index
}

func (h *heap) push(s *stream) {
	h.streams = append(h.streams, s)
	for i := len(h.streams) - 1; i > 0; {
		p := (i - 1) / 2
		if !h.less(h.streams[i], h.streams[p]) {
			return
		}
		h.streams[i], h.streams[p] = h.streams[p], h.streams[i]
		i = p
	}
}

// fix restores the heap after its top changed; a finished top leaves it.
func (h *heap) fix() {
	if h.streams[0].done {
		last := len(h.streams) - 1
		h.streams[0] = h.streams[last]
		h.streams = h.streams[:last]
	}
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(h.streams) {
			return
		}
		if c+1 < len(h.streams) && h.less(h.streams[c+1], h.streams[c]) {
			c++
		}
		if !h.less(h.streams[c], h.streams[i]) {
			return
		}
		h.streams[c], h.streams[i] = h.streams[i], h.streams[c]
		i = c
	}
}
