package redis

import (
	"math/rand/v2"
	"time"
)

// wire is a connection as the engine sees it: *socket.Stream in life, memory in tests. See there for what each method means.
type wire interface {
	Begin() []byte
	Commit(out []byte)
	Write(b []byte)
	Unsent() int
	Stalled() bool
	Retain()
	Offset() int64
	SentTo() int64
	Retained(from, to int64) []byte
	Forget(to int64)
	Pause()
	Resume()
	Want(n int)
	Finish()
	Close()
}

// outside is what the engine asks of the world. Answers come back through the engine's own methods, on its goroutine.
type outside interface {
	// dial opens a connection for b, logged in, with protocol and database selected, and calls b.connected or b.failed.
	dial(b *backend)
	// alarm has engine.tick called at a time.
	alarm(at time.Time)
	// refresh learns a cluster's topology again; many calls while one runs are one.
	refresh(u *upstream, why string)
}

// engine is the state machine of all sessions and upstream connections of one loop. It does no input or output, reads no clock and is
// used by one goroutine: bytes go in by session.receive and backend.receive, and come out at wires.
type engine struct {
	out   outside
	clock int64 // now, in nanoseconds; one reading serves everything that was ready
	spare [][]byte
	rnd   *rand.Rand

	backends map[*backend]struct{}
	ops      []*op // spare ones
	armed    bool
	nextID   int64
	turns    int64
	sessions map[int64]*session

	upstreams map[*upstream]struct{}
	gates     []*gate
	// observe, if not nil, hears of every reply: the access log.
	observe func(n *node, p pending, size int, failed bool)

	later     []later // commands that wait to be sent again
	sleepers  []sleeper
	timed     bool   // some listener gives commands times of their own
	key, text []byte // a rewritten key, a rewritten command
	split     splitter
	keys      []int
}

func newEngine(out outside, seed uint64) *engine {
	return &engine{
		out: out, rnd: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)),
		backends: make(map[*backend]struct{}), sessions: make(map[int64]*session), upstreams: make(map[*upstream]struct{}),
	}
}

const (
	spareSize  = 1 << 10
	spareMax   = 64 << 10
	sparesKept = 1024
)

// take and give keep small buffers for replies that wait for their turn.
func (e *engine) take() []byte {
	if n := len(e.spare); n > 0 {
		b := e.spare[n-1]
		e.spare = e.spare[:n-1]
		return b
	}
	return make([]byte, 0, spareSize)
}

func (e *engine) give(b []byte) {
	if cap(b) > 0 && cap(b) <= spareMax && len(e.spare) < sparesKept {
		e.spare = append(e.spare, b[:0])
	}
}

// tickEvery is how often timeouts are looked at while anything waits: a timeout is late by at most this.
const tickEvery = 50 * time.Millisecond

func (e *engine) arm() {
	if !e.armed {
		e.armed = true
		e.out.alarm(time.Unix(0, e.clock).Add(tickEvery))
	}
}

// tick expires what has waited too long.
func (e *engine) tick(now time.Time) {
	e.clock = now.UnixNano()
	e.armed = false
	if len(e.later) > 0 {
		e.again()
	}
	if len(e.sleepers) > 0 {
		e.awaken()
	}
	waiting := false
	for b := range e.backends {
		b.expire()
		waiting = waiting || b.pending.len() > 0
	}
	if waiting {
		e.arm()
	}
}

// queue is a ring of commands whose replies are due, in the order of their bytes.
type queue struct {
	buf        []pending
	head, tail uint32
}

func (q *queue) len() int { return int(q.tail - q.head) }

func (q *queue) push() *pending {
	if int(q.tail-q.head) == len(q.buf) {
		grown := make([]pending, max(16, 2*len(q.buf)))
		for i := range q.len() {
			grown[i] = *q.at(i)
		}
		q.buf, q.tail, q.head = grown, uint32(q.len()), 0
	}
	p := &q.buf[q.tail&uint32(len(q.buf)-1)]
	q.tail++
	return p
}

func (q *queue) at(i int) *pending { return &q.buf[(q.head+uint32(i))&uint32(len(q.buf)-1)] }

// pop forgets the oldest; what it pointed to is let go.
func (q *queue) pop() {
	*q.at(0) = pending{}
	q.head++
}

// pending is one command that was sent, or will be, and whose reply is due.
type pending struct {
	session *session // nil: nobody waits for this reply any more
	op      *op      // the reply is a part of this
	seq     uint64   // the slot in the session's ring
	from    int64    // where the command's bytes begin and end in the backend's output
	end     int64
	start   int64 // when it was accepted
	part    int32
	command uint16 // ID in the table, or redis.Count
	kind    kind
	flags   pendingFlags
	hops    uint8 // how often it was sent on
}

type pendingFlags uint8

const (
	readOnly  pendingFlags = 1 << iota // may be sent again whatever happened
	unlimited                          // waits as long as it takes: blocking commands
	expired                            // its client has been answered
	resent                             // has been sent again once
	uploaded                           // a large command: its bytes are not kept
	retried                            // counts among the cluster's retries
)

// kind is what a reply means beyond itself.
type kind uint8

const (
	kindPlain   kind = iota
	kindDiscard      // nobody's: the reply of ASKING, or of a command that the engine added
	kindTrack        // changes the state of a dedicated connection; see session.tracked
)
