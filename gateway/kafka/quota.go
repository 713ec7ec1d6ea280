package kafka

import (
	"math"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// Quota bounds what clients may move. Clients over it are told to wait by throttle_time_ms (KIP-219), and sidewire reads nothing
// from them meanwhile. Every user, or every client id where users are not known, has the rates to itself.
type Quota struct {
	Users   []string     `yaml:"users" doc:"Patterns of users (authentication: terminate); empty: any."`
	Clients []string     `yaml:"client_ids" doc:"Patterns of client ids; empty: any."`
	Produce config.Bytes `yaml:"produce_rate" min:"0" doc:"Bytes of Produce requests a second; 0: no limit."`
	Fetch   config.Bytes `yaml:"fetch_rate" min:"0" doc:"Bytes of Fetch responses a second; 0: no limit."`
}

// bucket is a token bucket that may be overdrawn: a request is never split, so its debt is waited for after it.
type bucket struct {
	mu     sync.Mutex
	rate   float64 // bytes a second, and the burst
	tokens float64
	last   time.Time
}

// take takes n bytes and returns how long to wait until the debt is paid.
func (b *bucket) take(n int64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() {
		b.tokens = min(b.tokens+now.Sub(b.last).Seconds()*b.rate, b.rate)
	}
	b.last = now
	if b.tokens -= float64(n); b.tokens >= 0 {
		return 0
	}
	return min(time.Duration(-b.tokens/b.rate*float64(time.Second)), maxThrottle)
}

// maxThrottle bounds one wait: a client that is told to wait longer than its own time-outs gives the connection up.
const maxThrottle = 10 * time.Second

// quotas are the buckets of one listener.
type quotas struct {
	mu      sync.Mutex
	buckets map[quotaKey]*bucket
}

type quotaKey struct {
	rule    int
	subject string
	fetch   bool
	rate    int64
}

// maxSubjects bounds the buckets, since client ids are whatever clients say; later ones share.
const maxSubjects = 10000

func (q *quotas) bucket(key quotaKey) *bucket {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.buckets[key]
	if b == nil {
		if len(q.buckets) >= maxSubjects {
			key.subject = ""
			if b = q.buckets[key]; b != nil {
				return b
			}
		}
		if q.buckets == nil {
			q.buckets = map[quotaKey]*bucket{}
		}
		b = &bucket{rate: float64(key.rate), tokens: float64(key.rate)}
		q.buckets[key] = b
	}
	return b
}

// quotaFor is the bucket of the first quota that applies; nil for none.
func (s *session) quotaFor(block *ListenerBlock, user, client string, fetch bool) *bucket {
	for i := range block.Quotas {
		q := &block.Quotas[i]
		rate := int64(q.Produce)
		if fetch {
			rate = int64(q.Fetch)
		}
		if rate == 0 || len(q.Users) > 0 && !matches(q.Users, user) || len(q.Clients) > 0 && !matches(q.Clients, client) {
			continue
		}
		subject := "user:" + user
		if user == "" {
			subject = "client:" + client
		}
		return s.door.quotas.bucket(quotaKey{i, subject, fetch, rate})
	}
	return nil
}

// meter notes whose quota the next requests count for, under the configuration in force. It runs in the request goroutine, before a
// request is under way.
func (s *session) meter(h *kafka.RequestHeader, block *ListenerBlock) {
	if string(h.ClientID) == s.clientID && s.metered == block {
		return
	}
	s.clientID, s.metered = string(h.ClientID), block
	user := s.userName()
	s.quotaIn = s.quotaFor(block, user, s.clientID, false)
	s.quotaOut.Store(s.quotaFor(block, user, s.clientID, true))
}

// hold makes the client wait: until is when its debt is paid.
func (s *session) hold(now time.Time, wait time.Duration) {
	if wait <= 0 {
		return
	}
	s.door.metrics.throttled.Observe(wait)
	until := now.Add(wait).UnixNano()
	for {
		old := s.held.Load()
		if old >= until || s.held.CompareAndSwap(old, until) {
			return
		}
	}
}

// pay waits, in the request goroutine, until the client's debt is paid.
func (s *session) pay() error {
	return s.wait(time.Duration(s.held.Load() - time.Now().UnixNano()))
}

// throttle is what a response made now tells the client to wait, in milliseconds.
func (s *session) throttle() int32 {
	left := time.Duration(s.held.Load() - time.Now().UnixNano())
	return int32(min(max(left.Milliseconds(), 0), math.MaxInt32))
}
