package socket

import (
	"net"
	"runtime/debug"
	"time"
)

// Stream is a connection inside a loop. All methods are for the loop's goroutine.
type Stream struct {
	loop   *Loop
	owner  Owner
	tls    *TLS
	local  net.Addr
	remote net.Addr
	class  uint8 // 0: upstream, 1: client

	in   []byte // arrived and not consumed
	want int    // the least length of in that is worth handing over
	out  []byte // to be sent from sent on
	sent int
	base int64  // how many bytes stood before out[0]; Retain's offsets count from the stream's beginning
	wire []byte // TLS records not yet written

	retain    bool
	queued    bool // in loop.ready
	dirty     bool // in loop.dirty
	readable  bool // the kernel may have bytes
	hungup    bool // the peer will send no more than what is there
	paused    bool
	stalled   bool // the kernel took no more output
	finishing bool // close when output is gone
	choked    bool // not read for the sake of its output
	lingering bool // finishing has a limit already
	ended     bool // Ended was called
	closed    bool
	pending   error // ends the stream once in is consumed
	highWater int
	onClose   func()
	counted   *func() // the connection's own OnClose

	port port // the platform's side
}

// RemoteAddr and LocalAddr are the connection's.
func (s *Stream) RemoteAddr() net.Addr { return s.remote }
func (s *Stream) LocalAddr() net.Addr  { return s.local }

// Loop returns the loop that the stream lives in.
func (s *Stream) Loop() *Loop { return s.loop }

// Begin returns the output buffer to append to; Commit takes it back. Nothing else may happen to the stream in between.
func (s *Stream) Begin() []byte {
	if s.out == nil {
		s.out = s.loop.take()
	}
	return s.out
}

// Commit takes the appended output. It is written when everything ready has been handled.
func (s *Stream) Commit(out []byte) {
	s.out = out
	s.touch()
}

// Write appends b to the output.
func (s *Stream) Write(b []byte) {
	if s.closed {
		return
	}
	if s.out == nil {
		s.out = s.loop.take()
	}
	s.out = append(s.out, b...)
	s.touch()
}

func (s *Stream) touch() {
	if !s.dirty && !s.closed {
		s.dirty = true
		s.loop.dirty[s.class] = append(s.loop.dirty[s.class], s)
	}
}

// Unsent is how many bytes of output the kernel has not taken.
func (s *Stream) Unsent() int { return len(s.out) - s.sent + len(s.wire) }

// Stalled tells whether the peer has been slow to take output: Drained will be called.
func (s *Stream) Stalled() bool { return s.stalled }

// Retain keeps output that was sent until Forget, so that it can be sent again elsewhere: Redis Cluster's redirections need the
// command's bytes after all, and copying each one aside would cost every command for the sake of a few.
func (s *Stream) Retain() { s.retain = true }

// Offset is where the next byte of output will stand, counted from the stream's beginning; SentTo is up to where the kernel has taken
// output. With TLS a byte counts as taken once it is sealed.
func (s *Stream) Offset() int64 { return s.base + int64(len(s.out)) }
func (s *Stream) SentTo() int64 { return s.base + int64(s.sent) }

// Retained returns the output between two offsets, which must not have been forgotten. It is borrowed until anything happens to the stream.
func (s *Stream) Retained(from, to int64) []byte { return s.out[from-s.base : to-s.base] }

// Forget gives up retained output before an offset.
func (s *Stream) Forget(to int64) {
	n := int(to - s.base)
	if n > s.sent {
		n = s.sent
	}
	switch {
	case n == len(s.out):
		s.base += int64(n)
		s.sent = 0
		s.loop.give(s.out)
		s.out = nil
	case n > keepBuffer && n > len(s.out)/2:
		// Moving the rest is paid for by the longer part that goes.
		s.base += int64(n)
		s.out = append(s.out[:0], s.out[n:]...)
		s.sent -= n
	}
}

// Pause stops reading and handing over, Resume goes on with what was left.
func (s *Stream) Pause() { s.paused = true }

// Resume undoes Pause; the stream has its turn when what is ready now is done.
func (s *Stream) Resume() {
	if s.paused {
		s.paused = false
		s.enqueue()
	}
}

// Paused tells whether the stream is paused.
func (s *Stream) Paused() bool { return s.paused }

// Want sets the least number of unconsumed bytes that is worth a call of Receive. It holds for the next call.
func (s *Stream) Want(n int) { s.want = n }

// HighWater stops reading from a peer that has more than so many bytes of output to fetch, until it has fetched them all.
func (s *Stream) HighWater(n int) { s.highWater = n }

// OnClose has f called when the connection has been closed, on the loop's goroutine.
func (s *Stream) OnClose(f func()) { s.onClose = f }

// linger is how long a peer may take to fetch what was written before Finish.
const linger = 5 * time.Second

// Finish closes the stream when its output has been written, or cannot be.
func (s *Stream) Finish() {
	s.finishing = true
	s.paused = true
	s.touch()
}

// Close closes the connection at once. The owner hears nothing more.
func (s *Stream) Close() {
	if s.closed {
		return
	}
	s.closed = true
	delete(s.loop.streams, s)
	s.loop.wait.remove(s)
	// The buffers go to the collector: an owner that closes its stream inside Receive is still looking at one.
	s.in, s.out, s.wire = nil, nil, nil
	if s.counted != nil {
		(*s.counted)()
	}
	if s.onClose != nil {
		s.onClose()
	}
}

// Closed tells whether Close was called.
func (s *Stream) Closed() bool { return s.closed }

func (s *Stream) enqueue() {
	if !s.queued && !s.closed {
		s.queued = true
		s.loop.ready = append(s.loop.ready, s)
	}
}

// fail ends the stream for its owner, once.
func (s *Stream) fail(err error) {
	if s.ended || s.closed {
		return
	}
	s.ended = true
	s.readable = false
	defer func() {
		if v := recover(); v != nil {
			s.loop.log.Error("panic in event loop", "panic", v, "stack", string(debug.Stack()))
			s.Close()
		}
	}()
	s.owner.Ended(s, err)
}

// advance reads and hands over as far as the stream's turn goes.
func (s *Stream) advance() {
	defer func() {
		if v := recover(); v != nil {
			s.loop.recovered(s, v)
		}
	}()
	budget := turnBudget
	for fresh := true; !s.closed && !s.ended; fresh = false {
		if s.paused {
			if s.hungup {
				s.owner.Hangup(s)
			}
			return
		}
		if s.highWater > 0 && s.Unsent() > s.highWater {
			s.choked = true // flush goes on
			return
		}
		if fresh && len(s.in) > 0 && len(s.in) >= s.want {
			// What a pause left behind comes before what the kernel holds.
			s.consume(s.in, true)
			continue
		}
		if s.pending != nil {
			err := s.pending
			s.pending = nil
			s.fail(err)
			return
		}
		if !s.readable {
			return
		}
		if budget <= 0 {
			s.enqueue()
			return
		}
		budget -= s.read()
	}
}

// consume hands view over and keeps what is not consumed. own says that view is s.in itself.
func (s *Stream) consume(view []byte, own bool) {
	if len(view) < s.want {
		if !own {
			s.keep(view)
		}
		return
	}
	s.want = 0
	n := s.owner.Receive(s, view)
	if s.closed {
		return
	}
	if own {
		// Receive may not touch s.in, but it may have ended with the stream's buffer given away.
		if n == len(s.in) {
			s.loop.give(s.in)
			s.in = nil
		} else if n > 0 {
			s.in = s.in[:copy(s.in, s.in[n:])]
		}
		return
	}
	s.keep(view[n:])
}

func (s *Stream) keep(rest []byte) {
	if len(rest) == 0 {
		if s.in != nil {
			s.loop.give(s.in)
			s.in = nil
		}
		return
	}
	if s.in == nil {
		s.in = s.loop.take()
	}
	s.in = append(s.in[:0], rest...)
}

// read brings in bytes once and hands them over. It returns what to take off the turn's budget.
func (s *Stream) read() int {
	l := s.loop
	if s.tls != nil {
		return s.readTLS()
	}
	var view []byte
	own := len(s.in) > smallRest
	var n int
	var err error
	if own {
		// By a half at least: what would grow by as much each time would be copied as often as it is long.
		s.in = grow(s.in, min(max(s.want, len(s.in)+max(smallRest, len(s.in)/2)), 2*len(s.in)))
		n, err = s.port.read(s, s.in[len(s.in):cap(s.in)])
		s.in = s.in[:len(s.in)+n]
		view = s.in
	} else {
		have := copy(l.buf, s.in)
		n, err = s.port.read(s, l.buf[have:])
		view = l.buf[:have+n]
	}
	if err != nil {
		s.stop(err)
	}
	if n > 0 {
		s.consume(view, own)
	}
	return max(n, 1)
}

// grow makes room up to a capacity without trusting it: want is at most twice what has arrived.
func grow(b []byte, want int) []byte {
	if cap(b) >= want {
		return b
	}
	return append(make([]byte, 0, want), b...)
}

func (s *Stream) readTLS() int {
	l := s.loop
	n, err := s.port.read(s, l.buf)
	if n > 0 {
		if s.in == nil {
			s.in = l.take()
		}
		var oerr error
		s.in, oerr = s.tls.Open(s.in, l.buf[:n])
		if oerr != nil {
			err = oerr
		}
		if s.tls.Unsent() {
			s.touch()
		}
	}
	if err != nil {
		s.stop(err)
	}
	if len(s.in) > 0 {
		s.consume(s.in, true)
	}
	return max(n, 1)
}

// stop remembers that the stream ends after what has arrived.
func (s *Stream) stop(err error) {
	s.readable = false
	s.pending = err
}

// flush writes what there is, once.
func (s *Stream) flush() {
	if s.closed {
		return
	}
	if err := s.send(); err != nil {
		s.stalled = false
		if s.finishing {
			s.Close()
			return
		}
		s.fail(err)
		return
	}
	if s.Unsent() > 0 {
		s.stalled = true
		if s.finishing && !s.lingering {
			s.lingering = true
			time.AfterFunc(linger, func() { s.loop.Post(s.Close) })
		}
		return
	}
	if !s.retain && s.out != nil {
		s.base += int64(len(s.out))
		s.loop.give(s.out)
		s.out, s.sent = nil, 0
	}
	if s.finishing {
		s.Close()
		return
	}
	if s.stalled {
		s.stalled = false
		s.loop.guard(s, func() { s.owner.Drained(s) })
	}
	if s.choked {
		s.choked = false
		s.enqueue()
	}
}

// send gives the kernel as much as it takes now.
func (s *Stream) send() error {
	if s.tls == nil {
		if s.sent == len(s.out) {
			return nil
		}
		n, err := s.port.write(s, s.out[s.sent:])
		s.sent += n
		return err
	}
	if s.sent < len(s.out) || s.tls.Unsent() {
		var err error
		if s.wire == nil {
			s.wire = s.loop.take()
		}
		s.wire, err = s.tls.Seal(s.wire, s.out[s.sent:])
		s.sent = len(s.out)
		if err != nil {
			return err
		}
	}
	if len(s.wire) == 0 {
		return nil
	}
	n, err := s.port.write(s, s.wire)
	if n == len(s.wire) {
		s.loop.give(s.wire)
		s.wire = nil
	} else {
		s.wire = s.wire[:copy(s.wire, s.wire[n:])]
	}
	return err
}

// event is how the platform tells of readiness.
func (s *Stream) event(readable, writable, hangup bool) {
	if hangup {
		s.hungup = true
	}
	if writable && s.stalled {
		s.touch()
	}
	if readable || hangup {
		s.readable = true
		s.advance()
	}
}
