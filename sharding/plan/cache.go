package plan

import (
	"sync"

	"github.com/sidewire/sidewire/sharding/scan"
)

// Cache keeps planned statements by shape, within a number of bytes; the least recently used go first. It is safe for
// concurrent use. Hash collisions cannot mix statements up: the texts between the literals are compared.
type Cache struct {
	shards [cacheShards]cacheShard
}

const cacheShards = 16

type cacheShard struct {
	mu      sync.Mutex
	entries map[uint64]*cacheEntry
	head    cacheEntry // ring of the least (next) to the most (prev) recently used
	bytes   int
	max     int
}

type cacheEntry struct {
	st         *Statement
	shape      uint64
	size       int
	chain      *cacheEntry
	prev, next *cacheEntry
}

// NewCache returns a cache that holds about max bytes.
func NewCache(max int) *Cache {
	c := &Cache{}
	for i := range c.shards {
		s := &c.shards[i]
		s.entries, s.max = map[uint64]*cacheEntry{}, max/cacheShards
		s.head.prev, s.head.next = &s.head, &s.head
	}
	return c
}

// Plan returns the plan of a statement, from the cache if it is there. text is the statement alone, scanned from offset 0.
func (c *Cache) Plan(p *Planner, text string, sc *scan.Result) *Statement {
	s := &c.shards[sc.Shape%cacheShards]
	if st := s.get(p, text, sc); st != nil {
		return st
	}
	st := p.Prepare(text, sc)
	s.put(st, sc.Shape)
	return st
}

func (s *cacheShard) get(p *Planner, text string, sc *scan.Result) *Statement {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.entries[sc.Shape]; e != nil; e = e.chain {
		if e.st.planner == p && e.st.mode == sc.Mode && e.st.sameShape(text, sc) && e.st.Fits(text, sc.Vars) {
			e.unlink()
			e.link(&s.head)
			return e.st
		}
	}
	return nil
}

func (s *cacheShard) put(st *Statement, shape uint64) {
	e := &cacheEntry{st: st, shape: shape, size: st.size()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.size > s.max {
		return
	}
	e.chain = s.entries[shape]
	s.entries[shape] = e
	e.link(&s.head)
	for s.bytes += e.size; s.bytes > s.max; {
		s.drop(s.head.next)
	}
}

func (s *cacheShard) drop(e *cacheEntry) {
	e.unlink()
	s.bytes -= e.size
	if first := s.entries[e.shape]; first == e {
		if e.chain == nil {
			delete(s.entries, e.shape)
		} else {
			s.entries[e.shape] = e.chain
		}
		return
	}
	for x := s.entries[e.shape]; x != nil; x = x.chain {
		if x.chain == e {
			x.chain = e.chain
		}
	}
}

func (e *cacheEntry) link(head *cacheEntry) {
	e.prev, e.next = head.prev, head
	head.prev.next = e
	head.prev = e
}

func (e *cacheEntry) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

// size is a rough count of the bytes a plan holds.
func (st *Statement) size() int {
	n := 1024 + 2*len(st.source) + 24*len(st.vars) + 96*len(st.edits)
	if st.insert != nil {
		n += len(st.insert.rows) * (96 + 64*len(st.insert.keys))
	}
	return n
}

// sameShape compares everything but the literals.
func (st *Statement) sameShape(text string, sc *scan.Result) bool {
	if len(sc.Vars) != len(st.vars) {
		return false
	}
	from, mine := 0, 0
	for i, v := range sc.Vars {
		m := st.vars[i]
		if v.Kind != m.Kind || text[from:v.Start] != st.source[mine:m.Start] {
			return false
		}
		from, mine = v.End, m.End
	}
	return text[from:sc.End] == st.source[mine:]
}

// Bytes returns about how many bytes the cache holds.
func (c *Cache) Bytes() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.bytes
		s.mu.Unlock()
	}
	return n
}
