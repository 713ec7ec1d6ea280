package redis

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"sort"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// meter counts an upstream's commands. It is written and read on the engine's goroutine alone: a command costs a few additions.
type meter struct {
	commands [redis.Count + 1]tally
	hot      sketch
	big      sketch
	slow     [slowKept]slowEntry
	slowAt   int
	turn     uint32

	request redis.Request // for looking at a command's text
	keys    []int
}

// tally is what is known of one command.
type tally struct {
	count, failed uint64
	nanos         int64
	worst         int64
	buckets       [24]uint64 // by the binary logarithm of microseconds
}

const (
	slowKept   = 128
	bigReply   = 64 << 10
	sampleMask = 63 // every 64th command's key is looked at
)

// slowEntry is a command that took long. Its values are not kept.
type slowEntry struct {
	Time    time.Time     `json:"time"`
	Took    time.Duration `json:"took_ns"`
	Command string        `json:"command"`
	Key     string        `json:"key,omitempty"`
	Client  string        `json:"client,omitempty"`
	Server  string        `json:"server"`
}

// answered counts a reply of size bytes to the command of the given text.
func (m *meter) answered(n *node, p *pending, clock int64, size int, failed bool, text retained) {
	took := clock - p.start
	t := &m.commands[p.command]
	t.count++
	t.nanos += took
	if took > t.worst {
		t.worst = took
	}
	t.buckets[bucketOf(took)]++
	if failed {
		t.failed++
	}
	u := n.upstream
	if took >= u.slow && p.flags&unlimited == 0 {
		m.note(n, p, clock, took, text.bytes())
	}
	if size >= bigReply || int(p.end-p.from) >= bigReply {
		if key := m.keyOf(text.bytes()); key != nil {
			m.big.add(key, uint64(max(size, int(p.end-p.from))), true)
		}
	}
	if m.turn++; m.turn&sampleMask == 0 {
		if key := m.keyOf(text.bytes()); key != nil {
			m.hot.add(key, 1, false)
		}
	}
}

// bucketOf is where a duration is counted.
func bucketOf(took int64) int { return min(bits.Len64(uint64(took)/1000), len(tally{}.buckets)-1) }

// keyOf returns the first key of a command's text.
func (m *meter) keyOf(text []byte) []byte {
	if len(text) > 4096 {
		text = text[:4096]
	}
	r := &m.request
	r.Reset()
	if n, err := r.Next(text); err != nil || n == 0 {
		if args, _, _ := r.Begun(text); args < 2 {
			return nil
		}
		return r.Arg(1)
	}
	if r.Len() < 2 {
		return nil
	}
	c := redis.Lookup(r.Arg(0))
	if c == nil {
		return nil
	}
	if at := c.OneKey(); at > 0 && at < r.Len() {
		return r.Arg(at)
	}
	keys, err := c.AppendKeys(m.keys[:0], r)
	m.keys = keys[:0]
	if err != nil || len(keys) == 0 {
		return nil
	}
	return r.Arg(keys[0])
}

func (m *meter) note(n *node, p *pending, clock, took int64, text []byte) {
	e := slowEntry{Time: time.Unix(0, clock).UTC(), Took: time.Duration(took), Server: n.address, Command: commandName(p.command)}
	if key := m.keyOf(text); key != nil {
		e.Key = clipped(key, 128)
	}
	if s := p.session; s != nil {
		e.Client = s.addr
	} else if p.op != nil && p.op.session != nil {
		e.Client = p.op.session.addr
	}
	m.slow[m.slowAt%slowKept] = e
	m.slowAt++
}

// commandName is the name behind an ID.
func commandName(id uint16) string {
	if int(id) < len(names) {
		return names[id]
	}
	return "other"
}

var names = func() (n [redis.Count]string) {
	all := redis.Commands()
	for i := range all {
		n[all[i].ID] = all[i].Name
		for j := range all[i].Sub {
			n[all[i].Sub[j].ID] = all[i].Name + "|" + all[i].Sub[j].Name
		}
	}
	return n
}()

// sketch keeps the keys that weigh most, in bounded memory (Metwally et al., space saving): a newcomer takes the place and the weight
// of the lightest, so that a count is at most that much too high. Its memory is used again and again: a key is looked for by its hash, among
// so few that a map of strings would cost more and allocate besides.
type sketch struct {
	seed    maphash.Seed
	hashes  [sketchSize]uint64
	entries []weighed
}

type weighed struct {
	key           []byte
	weight, error uint64
}

// sketchEntry is a key as it is shown.
type sketchEntry struct {
	Key    string `json:"key"`
	Weight uint64 `json:"weight"`
	Error  uint64 `json:"at_most_too_high_by,omitempty"`
}

const (
	sketchSize   = 64
	sketchKeyMax = 256
)

// add gives a key weight; largest keeps the greatest instead of the sum.
func (s *sketch) add(key []byte, weight uint64, largest bool) {
	if s.entries == nil {
		s.seed, s.entries = maphash.MakeSeed(), make([]weighed, 0, sketchSize)
	}
	key = key[:min(len(key), sketchKeyMax)]
	hash := maphash.Bytes(s.seed, key)
	for i := range s.entries {
		e := &s.entries[i]
		switch {
		case s.hashes[i] != hash || !bytes.Equal(e.key, key):
			continue
		case largest:
			e.weight = max(e.weight, weight)
		default:
			e.weight += weight
		}
		return
	}
	at := len(s.entries)
	if at < sketchSize {
		s.entries = append(s.entries, weighed{})
	} else {
		at = s.lightest()
	}
	e := &s.entries[at]
	switch {
	case !largest:
		e.error, e.weight = e.weight, e.weight+weight
	case weight <= e.weight:
		return
	default:
		e.weight = weight
	}
	s.hashes[at], e.key = hash, append(e.key[:0], key...)
}

func (s *sketch) lightest() (at int) {
	for i := range s.entries {
		if s.entries[i].weight < s.entries[at].weight {
			at = i
		}
	}
	return at
}

// top returns the heaviest keys first, their weights scaled.
func (s *sketch) top(n int, scale uint64) []sketchEntry {
	out := make([]sketchEntry, len(s.entries))
	for i := range s.entries {
		e := &s.entries[i]
		out[i] = sketchEntry{Key: string(e.key), Weight: e.weight * scale, Error: e.error * scale}
	}
	sort.Slice(out, func(a, b int) bool { return out[a].Weight > out[b].Weight })
	return out[:min(n, len(out))]
}

// quantile is an upper bound of the q-th part of a command's durations.
func (t *tally) quantile(q float64) time.Duration {
	var total uint64
	for _, n := range t.buckets {
		total += uint64(n)
	}
	if total == 0 {
		return 0
	}
	want := uint64(q * float64(total))
	var seen uint64
	for i, n := range t.buckets {
		if seen += uint64(n); seen > want || seen == total {
			return time.Duration(1<<i) * time.Microsecond
		}
	}
	return time.Duration(t.worst)
}
