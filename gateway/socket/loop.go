package socket

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of the loop's memory.
const (
	loopBuffer   = 128 << 10 // one read, shared by every stream
	smallRest    = 16 << 10  // an unfinished message up to this size is copied before the next read, so that reads stay large
	spareBuffer  = 4 << 10   // first size of a stream's own buffers
	keepBuffer   = 64 << 10  // bigger ones go back to the collector
	keepBuffers  = 4096      // how many spare ones a loop keeps
	turnBudget   = 256 << 10 // bytes one stream may bring in before others have their turn
	eventsAtOnce = 256
)

// ErrLoopClosed is returned by Add after Close.
var ErrLoopClosed = errors.New("event loop is closed")

// Owner is what a stream's bytes go to. All methods are called on the loop's goroutine.
type Owner interface {
	// Receive is given what has arrived and was not consumed, oldest first, and returns how much of it is done with. The bytes
	// are the loop's again when it returns.
	Receive(s *Stream, b []byte) (consumed int)
	// Hangup says that the peer has hung up while the stream was paused, so that nobody would notice by reading.
	Hangup(s *Stream)
	// Ended says that nothing more will arrive: io.EOF, or why. After io.EOF writing may still work. The owner closes the stream.
	Ended(s *Stream, err error)
	// Drained says that output which the peer had been slow to take is all gone.
	Drained(s *Stream)
}

// Loop is one goroutine that reads, hands over and writes the bytes of many streams: everything ready is handled first, then each
// stream with output is written once. It never blocks but in its wait. Other goroutines reach it through Post alone.
type Loop struct {
	log  *slog.Logger
	done chan struct{}

	mail struct {
		sync.Mutex
		posts    []func()
		closed   bool
		signaled atomic.Bool
	}

	// Owned by the loop's goroutine.
	wait    waiter
	now     time.Time
	buf     []byte
	spare   [][]byte
	running []func()
	ready   []*Stream    // have something to do without an event
	turn    []*Stream    // the ready ones of this turn
	dirty   [2][]*Stream // have output: upstreams, then clients
	streams map[*Stream]struct{}
	hooks   []func(now time.Time)
	closing bool

	timer   *time.Timer // wakes the loop at alarm
	alarm   time.Time
	rung    atomic.Bool
	onAlarm []func(now time.Time)
}

// NewLoop starts a loop. Its log hears of panics in owners, which end one stream, never the loop.
func NewLoop(log *slog.Logger) (*Loop, error) {
	l := &Loop{log: log, done: make(chan struct{}), buf: make([]byte, loopBuffer), streams: make(map[*Stream]struct{}), now: time.Now()}
	if err := l.wait.open(); err != nil {
		return nil, fmt.Errorf("opening event loop: %w", err)
	}
	l.timer = time.AfterFunc(time.Hour, func() { l.rung.Store(true); l.signal() })
	l.timer.Stop()
	go l.run()
	return l, nil
}

// Post runs f on the loop's goroutine, after everything posted before it. It reports false, and does not run f, once the loop is closed.
func (l *Loop) Post(f func()) bool {
	l.mail.Lock()
	if l.mail.closed {
		l.mail.Unlock()
		return false
	}
	l.mail.posts = append(l.mail.posts, f)
	l.mail.Unlock()
	l.signal()
	return true
}

func (l *Loop) signal() {
	if !l.mail.signaled.Swap(true) {
		l.wait.wake()
	}
}

// Close ends the loop and closes its streams, whose owners are told net.ErrClosed. It waits for the loop's goroutine.
func (l *Loop) Close() {
	l.Post(func() { l.closing = true })
	<-l.done
}

// Now is the time of the last wake: one clock reading serves everything that was ready. Loop goroutine only.
func (l *Loop) Now() time.Time { return l.now }

// BeforeFlush has f called after everything ready was handled and before output is written. Loop goroutine only.
func (l *Loop) BeforeFlush(f func(now time.Time)) { l.hooks = append(l.hooks, f) }

// OnAlarm has f called when an alarm goes off. Loop goroutine only.
func (l *Loop) OnAlarm(f func(now time.Time)) { l.onAlarm = append(l.onAlarm, f) }

// Alarm asks for the alarm at a time; an earlier one stands. Loop goroutine only.
func (l *Loop) Alarm(at time.Time) {
	if l.alarm.IsZero() || at.Before(l.alarm) {
		l.alarm = at
		l.timer.Reset(max(at.Sub(l.now), time.Millisecond))
	}
}

// run is the loop's goroutine.
func (l *Loop) run() {
	defer close(l.done)
	l.wait.serve(l)
	l.mail.Lock()
	l.mail.closed = true
	l.mail.Unlock()
	l.timer.Stop()
	for s := range l.streams {
		l.guard(s, func() { s.owner.Ended(s, net.ErrClosed) })
		s.Close()
	}
	l.wait.close()
}

// settle handles everything that needs no event, then writes. It reports whether something is left that must not wait.
func (l *Loop) settle() (more bool) {
	if l.mail.signaled.Load() {
		l.deliver()
	}
	l.turn, l.ready = l.ready, l.turn[:0]
	for i, s := range l.turn {
		l.turn[i] = nil
		s.queued = false
		if !s.closed {
			s.advance()
		}
	}
	for _, f := range l.hooks {
		f(l.now)
	}
	for class := range l.dirty {
		for i := 0; i < len(l.dirty[class]); i++ { // flushing may end streams, which may write to others
			s := l.dirty[class][i]
			l.dirty[class][i] = nil
			s.dirty = false
			s.flush()
		}
		l.dirty[class] = l.dirty[class][:0]
	}
	return len(l.ready) > 0 || len(l.dirty[0]) > 0 || l.mail.signaled.Load()
}

// deliver runs what was posted. The flag falls before the mailbox is emptied: a post that comes in between wakes once too often, never not.
func (l *Loop) deliver() {
	l.mail.signaled.Store(false)
	l.mail.Lock()
	l.running, l.mail.posts = l.mail.posts, l.running[:0]
	l.mail.Unlock()
	for i, f := range l.running {
		l.running[i] = nil
		l.guard(nil, f)
	}
	if l.rung.Swap(false) {
		l.alarm = time.Time{}
		for _, f := range l.onAlarm {
			f(l.now)
		}
	}
}

// guard keeps a panic of one stream's owner from ending the others.
func (l *Loop) guard(s *Stream, f func()) {
	defer func() {
		if v := recover(); v != nil {
			l.recovered(s, v)
		}
	}()
	f()
}

func (l *Loop) recovered(s *Stream, v any) {
	l.log.Error("panic in event loop", "panic", v, "stack", string(debug.Stack()))
	if s != nil && !s.closed {
		s.fail(fmt.Errorf("internal error: %v", v))
	}
}

// take and give keep buffers in a stack, so that the one used next is the one that is still in the processor's cache.
func (l *Loop) take() []byte {
	if n := len(l.spare); n > 0 {
		b := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return b
	}
	return make([]byte, 0, spareBuffer)
}

func (l *Loop) give(b []byte) {
	if cap(b) > 0 && cap(b) <= keepBuffer && len(l.spare) < keepBuffers {
		l.spare = append(l.spare, b[:0])
	}
}

// Add gives a connection to the loop, which owns it from then on: conn itself is closed or must not be used any more. session, if not
// nil, is the TLS session whose handshake ran over conn. Upstreams are written before clients. Loop goroutine only.
func (l *Loop) Add(conn net.Conn, session *TLS, owner Owner, upstream bool) (*Stream, error) {
	if l.closing {
		conn.Close()
		return nil, ErrLoopClosed
	}
	s := &Stream{loop: l, owner: owner, tls: session, local: conn.LocalAddr(), remote: conn.RemoteAddr(), class: 1}
	if upstream {
		s.class = 0
	}
	// Whoever counts connections counts this one until the stream ends, not only until its descriptor is taken over.
	counted, _ := conn.(*Conn)
	if counted != nil {
		s.counted = counted.onClose.Swap(nil)
	}
	if err := l.wait.add(l, s, conn); err != nil {
		if counted != nil {
			counted.onClose.Store(s.counted)
		}
		conn.Close()
		return nil, fmt.Errorf("adding connection to event loop: %w", err)
	}
	l.streams[s] = struct{}{}
	if session != nil {
		// The handshake may have read ahead of itself.
		plain, err := session.Open(l.take(), nil)
		s.in = plain
		if err != nil {
			s.pending = err
		}
	}
	s.enqueue()
	return s, nil
}
