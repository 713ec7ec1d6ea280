// Package keygen makes the keys that rules generate: SNOWFLAKE numbers and UUIDs. Clocks and randomness are passed in.
package keygen

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/value"
)

// Epoch is ShardingSphere's: 2016-11-01 in China's time zone. A key's time counts from it in milliseconds.
var Epoch = time.UnixMilli(1477929600000)

// The bits of a SNOWFLAKE key, from the top: zero, 41 of time, 10 of worker, 12 of sequence.
const (
	workerBits   = 10
	sequenceBits = 12
	MaxWorker    = 1<<workerBits - 1
	maxSequence  = 1<<sequenceBits - 1
)

// ErrClock means the clock ran backwards further than the rule tolerates.
var ErrClock = errors.New("the clock ran backwards")

// Source makes keys for the generators that rules name. It is safe for concurrent use.
type Source struct {
	now    func() time.Time
	sleep  func(time.Duration)
	random io.Reader
	worker int // for generators without a worker-id of their own

	mu         sync.Mutex
	snowflakes map[string]*snowflake
}

// New returns a Source. worker is used where a rule sets no worker-id: see Worker. sleep waits for a clock that ran
// backwards by no more than the rule's tolerance, or for the next millisecond of an exhausted sequence.
func New(worker int, now func() time.Time, sleep func(time.Duration), random io.Reader) *Source {
	return &Source{now: now, sleep: sleep, random: random, worker: worker & MaxWorker, snowflakes: map[string]*snowflake{}}
}

// Worker derives a worker id from what tells this process from its siblings, such as the pod's name and address.
// Ten bits cannot rule collisions out: 32 sidecars collide with a chance of about 38 %, so large fleets set worker-id.
func Worker(identity ...string) int {
	h := fnv.New64a()
	for _, s := range identity {
		_, _ = io.WriteString(h, s)
		_, _ = h.Write([]byte{0})
	}
	n := h.Sum64()
	return int((n ^ n>>32 ^ n>>54) & MaxWorker)
}

// NextKey returns the next key of a rule's generator.
func (s *Source) NextKey(k *rule.Key) (value.Value, error) {
	switch k.Type {
	case "UUID":
		id, err := s.uuid()
		return value.NewString(id), err
	case "SNOWFLAKE":
		n, err := s.generator(k).next(s)
		return value.NewInt(n), err
	}
	return value.Value{}, fmt.Errorf("unknown key generator %q", k.Type)
}

// uuid is a random UUID without dashes, as ShardingSphere writes it.
func (s *Source) uuid() (string, error) {
	var b [16]byte
	s.mu.Lock()
	_, err := io.ReadFull(s.random, b[:])
	s.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return hex.EncodeToString(b[:]), nil
}

// generator returns the state of a generator: one for a name, whatever tables share it.
func (s *Source) generator(k *rule.Key) *snowflake {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.snowflakes[k.Generator]
	if g == nil {
		g = &snowflake{worker: s.worker, tolerance: 10 * time.Millisecond, vibration: 1}
		if n, err := strconv.Atoi(k.Props["worker-id"]); err == nil {
			g.worker = n & MaxWorker
		}
		if n, err := strconv.Atoi(k.Props["max-tolerate-time-difference-milliseconds"]); err == nil {
			g.tolerance = time.Duration(n) * time.Millisecond
		}
		if n, err := strconv.Atoi(k.Props["max-vibration-offset"]); err == nil {
			g.vibration = n
		}
		s.snowflakes[k.Generator] = g
	}
	return g
}

type snowflake struct {
	worker    int
	tolerance time.Duration
	vibration int

	mu       sync.Mutex
	last     int64 // milliseconds
	sequence int64
	offset   int
}

// next returns the next key. Within a millisecond the sequence counts up; with each new one it begins at an offset that
// walks from 0 to max-vibration-offset, so that keys of a quiet system do not all end in the same bits.
func (g *snowflake) next(s *Source) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, err := g.clock(s)
	if err != nil {
		return 0, err
	}
	if now == g.last {
		if g.sequence = (g.sequence + 1) & maxSequence; g.sequence == 0 {
			for now <= g.last {
				s.sleep(time.Millisecond / 4)
				if now, err = g.clock(s); err != nil {
					return 0, err
				}
			}
		}
	} else {
		g.offset++
		if g.offset > g.vibration {
			g.offset = 0
		}
		g.sequence = int64(g.offset)
	}
	g.last = now
	ms := now - Epoch.UnixMilli()
	if ms < 0 || ms >= 1<<41 {
		return 0, fmt.Errorf("%w: %d ms since %s do not fit", ErrClock, ms, Epoch.UTC().Format(time.DateOnly))
	}
	return ms<<(workerBits+sequenceBits) | int64(g.worker)<<sequenceBits | g.sequence, nil
}

// clock returns the time in milliseconds, never before the last key's.
func (g *snowflake) clock(s *Source) (int64, error) {
	now := s.now().UnixMilli()
	if back := time.Duration(g.last-now) * time.Millisecond; back > 0 {
		if back > g.tolerance {
			return 0, fmt.Errorf("%w by %v, more than the %v tolerated", ErrClock, back, g.tolerance)
		}
		s.sleep(back)
		if now = s.now().UnixMilli(); now < g.last {
			return 0, fmt.Errorf("%w and does not catch up", ErrClock)
		}
	}
	return now, nil
}

// Seed returns a worker id from randomness, for processes without an identity.
func Seed(random io.Reader) (int, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("reading randomness: %w", err)
	}
	return int(binary.LittleEndian.Uint64(b[:]) & MaxWorker), nil
}
