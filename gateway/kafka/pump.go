package kafka

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/sidewire/sidewire/gateway/socket"
)

// Sizes of what is read at once. A connection begins small and grows while its reads come back full.
const (
	minWindow = 4 << 10
	maxWindow = 256 << 10
	// bodyWindow is for what is copied through: larger did not move more a system call in measurements.
	bodyWindow = 128 << 10
	// spliceFrom is from where on moving bytes inside the kernel costs less than copying them twice.
	spliceFrom = 64 << 10
)

// pump moves one direction of a session. It holds a window of the stream: what is decided but not sent, and what was not
// looked at yet. One goroutine uses it. While nothing is under way it holds no memory.
type pump struct {
	src, dst *socket.Conn
	flushed  func() error // after everything decided was sent; nil when nobody asks
	stall    time.Duration

	buf            *socket.Buffer
	sent, at, end  int // buf[sent:at] is decided, buf[at:end] not looked at
	window         int
	woke           time.Time // the clock, read once a wake
	spliced, moved int64
}

// errStalled ends a connection whose peer began a frame and did not go on with it.
var errStalled = errors.New("a frame that began made no progress within stall_timeout")

func stalled(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errStalled
	}
	return err
}

// ahead is what is there to look at.
func (p *pump) ahead() []byte {
	if p.buf == nil {
		return nil
	}
	return p.buf.Bytes()[p.at:p.end]
}

// fill waits until n bytes are there to look at. io.EOF means that the stream ended where it may, between two calls that
// consumed everything; anything else that is missing is io.ErrUnexpectedEOF.
func (p *pump) fill(n int) error {
	if p.end-p.at >= n {
		return nil
	}
	for begun := false; p.end-p.at < n; {
		if err := p.flush(); err != nil {
			return err
		}
		if !begun && p.end > p.at && p.stall > 0 { // between frames a peer may take its time
			begun = true
			p.src.SetReadDeadline(time.Now().Add(p.patience(int64(n))))
			defer p.src.SetReadDeadline(time.Time{})
		}
		if err := p.read(n); err != nil {
			if err == io.EOF && p.end > p.at {
				return io.ErrUnexpectedEOF
			}
			if begun {
				return stalled(err)
			}
			return err
		}
	}
	return nil
}

// read reads once. Everything decided is sent already.
func (p *pump) read(n int) error {
	if p.at == p.end {
		p.release()
		size := max(p.window, minWindow, min(n, maxWindow))
		buf, k, err := p.src.ReadPooled(&socket.Shared, size)
		if err != nil {
			return err
		}
		p.woke = time.Now()
		p.buf, p.sent, p.at, p.end = buf, 0, 0, k
		p.adapt(k, len(buf.Bytes()))
		return nil
	}
	p.room(n)
	k, err := p.src.Read(p.buf.Bytes()[p.end:])
	p.woke = time.Now()
	p.end += k
	return err
}

// adapt sizes the next window by how full this one became.
func (p *pump) adapt(k, size int) {
	switch {
	case k == size:
		p.window = min(max(2*p.window, 2*minWindow), maxWindow)
	case k < size/8:
		p.window = max(p.window/2, minWindow)
	}
}

// room makes room behind what is there for n bytes in all. Memory grows by doubling, as bytes arrive, never at once to
// what a length field asks for.
func (p *pump) room(n int) {
	have := p.end - p.at
	b := p.buf.Bytes()
	if p.end < len(b) && (p.at+n <= len(b) || len(b)-p.end >= have) {
		return
	}
	if n <= len(b) || have <= len(b)/2 {
		copy(b, b[p.at:p.end])
		p.sent, p.at, p.end = 0, 0, have
		return
	}
	next := socket.Shared.Get(min(max(2*len(b), minWindow), max(n, 2*have)))
	copy(next.Bytes(), b[p.at:p.end])
	p.buf.Free()
	p.buf, p.sent, p.at, p.end = next, 0, 0, have
}

// take decides that the next n bytes, which are there, go on as they are.
func (p *pump) take(n int) { p.at += n }

// drop decides that the next n bytes, which are there, do not go on.
func (p *pump) drop(n int) error {
	if err := p.flush(); err != nil {
		return err
	}
	p.at += n
	p.sent = p.at
	return nil
}

// put sends bytes that are not of the stream, in their place in it.
func (p *pump) put(b []byte) error {
	if err := p.send(); err != nil {
		return err
	}
	p.moved += int64(len(b))
	_, err := p.dst.Write(b)
	return err
}

func (p *pump) send() error {
	if p.at == p.sent {
		return nil
	}
	b := p.buf.Bytes()[p.sent:p.at]
	p.sent = p.at
	p.moved += int64(len(b))
	_, err := p.dst.Write(b)
	return err
}

// flush sends everything decided.
func (p *pump) flush() error {
	if err := p.send(); err != nil {
		return err
	}
	if p.flushed != nil {
		return p.flushed()
	}
	return nil
}

// pass lets the next n bytes of the stream go on unseen.
func (p *pump) pass(n int64) error {
	k := min(n, int64(p.end-p.at))
	p.take(int(k))
	if n -= k; n == 0 {
		return nil
	}
	if err := p.send(); err != nil {
		return err
	}
	p.release()
	if p.stall > 0 {
		p.src.SetReadDeadline(time.Now().Add(p.patience(n)))
		defer p.src.SetReadDeadline(time.Time{})
	}
	if n >= spliceFrom && socket.CanSplice(p.dst, p.src) {
		moved, err := socket.Splice(p.dst, p.src, n)
		p.moved += moved
		p.spliced += moved
		p.window = minWindow // the next frame's start is all that needs to come through here
		return stalled(err)
	}
	for n > 0 {
		buf, k, err := p.src.ReadPooled(&socket.Shared, int(min(max(n, minWindow), bodyWindow)))
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return stalled(err)
		}
		p.buf, p.sent, p.at, p.end = buf, 0, int(min(n, int64(k))), k
		n -= int64(p.at)
		if n > 0 {
			if err := p.send(); err != nil {
				return err
			}
			p.release()
		}
	}
	return nil
}

// patience is the stall time and more for what is large, so that a fair link is never cut and a trickle is.
func (p *pump) patience(n int64) time.Duration { return p.stall + time.Duration(n>>10)*slowest }

// slowest is the time a kilobyte may take: 32 kB a second.
const slowest = time.Second / 32

// release gives the window's memory back. There is nothing in it that matters any more.
func (p *pump) release() {
	if p.buf != nil {
		p.buf.Free()
		p.buf = nil
	}
	p.sent, p.at, p.end = 0, 0, 0
}
