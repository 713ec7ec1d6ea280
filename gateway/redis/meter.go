package redis

import (
	"bytes"
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
		if key := keyOf(text.bytes()); key != nil {
			m.big.add(key, uint64(max(size, int(p.end-p.from))), true)
		}
	}
	if m.turn++; m.turn&sampleMask == 0 {
		if key := keyOf(text.bytes()); key != nil {
			m.hot.add(key, 1, false)
		}
	}
}

// bucketOf is where a duration is counted.
func bucketOf(took int64) int { return min(bits.Len64(uint64(took)/1000), len(tally{}.buckets)-1) }

// keyOf returns the first key of a command's text.
func keyOf(text []byte) []byte {
	if len(text) > 4096 {
		text = text[:4096]
	}
	var r redis.Request
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
	keys, err := c.AppendKeys(nil, &r)
	if err != nil || len(keys) == 0 {
		return nil
	}
	return r.Arg(keys[0])
}

func (m *meter) note(n *node, p *pending, clock, took int64, text []byte) {
	e := slowEntry{Time: time.Unix(0, clock).UTC(), Took: time.Duration(took), Server: n.address, Command: commandName(p.command)}
	if key := keyOf(text); key != nil {
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
// of the lightest, so that a count is at most that much too high.
type sketch struct {
	index   map[string]int
	entries []sketchEntry
}

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
	key = key[:min(len(key), sketchKeyMax)]
	if i, ok := s.index[string(key)]; ok {
		if e := &s.entries[i]; largest {
			e.Weight = max(e.Weight, weight)
		} else {
			e.Weight += weight
		}
		return
	}
	if s.index == nil {
		s.index = make(map[string]int, sketchSize)
	}
	if len(s.entries) < sketchSize {
		s.index[string(key)] = len(s.entries)
		s.entries = append(s.entries, sketchEntry{Key: string(key), Weight: weight})
		return
	}
	least := 0
	for i := range s.entries {
		if s.entries[i].Weight < s.entries[least].Weight {
			least = i
		}
	}
	e := &s.entries[least]
	if largest && weight <= e.Weight {
		return
	}
	delete(s.index, e.Key)
	s.index[string(key)] = least
	if largest {
		*e = sketchEntry{Key: string(bytes.Clone(key)), Weight: weight}
	} else {
		*e = sketchEntry{Key: string(bytes.Clone(key)), Weight: e.Weight + weight, Error: e.Weight}
	}
}

// top returns the heaviest keys first, their weights scaled.
func (s *sketch) top(n int, scale uint64) []sketchEntry {
	out := append([]sketchEntry(nil), s.entries...)
	sort.Slice(out, func(a, b int) bool { return out[a].Weight > out[b].Weight })
	out = out[:min(n, len(out))]
	for i := range out {
		out[i].Weight *= scale
		out[i].Error *= scale
	}
	return out
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
