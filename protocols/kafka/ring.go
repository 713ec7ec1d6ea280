package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// Inflight is one request whose response has not left yet.
type Inflight struct {
	CorrelationID int32
	Key           int16
	Version       int16
	Flags         InflightFlags
	Started       int64         // the caller's clock, nanoseconds
	Size          int64         // of the request's frame
	Traceparent   string        // what its records say of their trace; empty: nothing
	Local         []byte        // a whole response frame sidewire answers itself; nil when the broker answers
	Part          kmsg.Response // refuses some items of the request and joins the response to the rest; nil: none
}

// InflightFlags tell the response side what the request side decided.
type InflightFlags uint16

// FlagNames: the names in the response are mapped. FlagListing: the request asked for everything there is, so that what is
// not allowed is left out of the response instead of refused in it. FlagOwn: nobody but sidewire asked.
const (
	FlagNames InflightFlags = 1 << iota
	FlagListing
	FlagOwn
)

// Ring keeps the in-flight requests of one connection in order: a broker answers a connection strictly in order, so
// the head is what the next response answers, and an answer made here waits for its turn in it. It grows by doubling up
// to its limit; a full ring means that reading from the client stops. It is not safe for concurrent use.
type Ring struct {
	slots []Inflight
	head  int
	n     int
	max   int
}

// ringStart is the capacity a connection begins with: Java's clients keep five requests in flight.
const ringStart = 8

// NewRing returns a ring that holds at most max entries.
func NewRing(max int) *Ring { return &Ring{max: max} }

// Len is the number of entries.
func (r *Ring) Len() int { return r.n }

// Full says that Push would fail.
func (r *Ring) Full() bool { return r.n >= r.max }

// Push appends an entry and reports false when the ring is full.
func (r *Ring) Push(e Inflight) bool {
	if r.n >= r.max {
		return false
	}
	if r.n == len(r.slots) {
		grown := make([]Inflight, min(max(ringStart, 2*len(r.slots)), r.max))
		for i := range r.n {
			grown[i] = r.slots[(r.head+i)%len(r.slots)]
		}
		r.slots, r.head = grown, 0
	}
	r.slots[(r.head+r.n)%len(r.slots)] = e
	r.n++
	return true
}

// Head returns the oldest entry; ok is false when there is none. It is a copy, because Push may move the slots.
func (r *Ring) Head() (e Inflight, ok bool) {
	if r.n == 0 {
		return Inflight{}, false
	}
	return r.slots[r.head], true
}

// Pop removes the oldest entry.
func (r *Ring) Pop() {
	if r.n == 0 {
		return
	}
	r.slots[r.head] = Inflight{}
	r.head = (r.head + 1) % len(r.slots)
	r.n--
}
