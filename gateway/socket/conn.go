package socket

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrInterrupted is what Read and Write return after Interrupt, until Resume.
var ErrInterrupted = errors.New("connection interrupted by another goroutine")

// errInsideEach is a fault of the program: what Each handed bytes to may not read.
var errInsideEach = errors.New("reading a connection from inside its Each")

// Answer is what came of an Exchange. On an error there is no buffer.
type Answer struct {
	Buffer *Buffer
	N      int           // bytes in it
	Sent   int           // bytes of the question that the kernel took
	Waited time.Duration // from when all of it was sent
}

// epoch is what times are counted from where one clock is enough: time.Now reads two.
var epoch = time.Now()

// past is a deadline that has always gone by; it wakes whoever is parked.
var past = time.Unix(1, 0)

// Conn is a net.Conn whose Read and Write use raw non-blocking system calls and park in the runtime's poller only when the
// kernel has nothing to give or no room to take. At most one goroutine may read and one may write at a time (a session owns
// its connection); any goroutine may Interrupt or Close it. Close never leaves a system call running on a reused
// descriptor, because every call is made under the runtime's own descriptor lock.
type Conn struct {
	conn net.Conn        // read-only after Wrap
	raw  syscall.RawConn // read-only after Wrap; nil: the standard library's own Read and Write serve

	onClose     atomic.Pointer[func()]
	interrupted atomic.Bool
	interrupt   sync.Mutex // makes "flag and deadline" one step in Interrupt and Resume

	read  readState  // owned by the reading goroutine
	write writeState // owned by the writing goroutine
}

// Wrap returns conn as a Conn. TCP and unix stream sockets get the raw path; anything else (a pipe, a TLS connection) is
// served through its own methods behind the same type. A *Conn is returned as it is.
func Wrap(conn net.Conn) *Conn {
	if c, ok := conn.(*Conn); ok {
		return c
	}
	c := &Conn{conn: conn}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		c.initRaw(conn.(syscall.Conn))
	}
	return c
}

// Raw reports whether reads and writes use raw system calls.
func (c *Conn) Raw() bool { return c.raw != nil }

// NetConn returns the wrapped connection. Reading from it directly is safe only while nobody reads from c.
func (c *Conn) NetConn() net.Conn { return c.conn }

// SyscallConn gives the descriptor for calls that Conn does not offer, such as splice.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c.raw != nil {
		return c.raw, nil
	}
	if sc, ok := c.conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// LocalAddr and RemoteAddr are the wrapped connection's.
func (c *Conn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close closes the connection. A parked Read or Write returns net.ErrClosed.
func (c *Conn) Close() error {
	if f := c.onClose.Swap(nil); f != nil {
		(*f)()
	}
	return c.conn.Close()
}

// OnClose has f called once, at the first Close: whoever counts connections gets its place back.
func (c *Conn) OnClose(f func()) { c.onClose.Store(&f) }

// SetDeadline, SetReadDeadline and SetWriteDeadline behave as net.Conn's.
func (c *Conn) SetDeadline(t time.Time) error      { return c.conn.SetDeadline(t) }
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.conn.SetReadDeadline(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }

// Interrupt wakes the owner: a parked or later Read or Write returns ErrInterrupted until Resume. It is how anybody but the
// owner ends a wait, whatever deadlines the owner sets meanwhile: the flag is raised before the deadline moves and is
// looked at before every park, so a deadline set in between cannot swallow the wake.
func (c *Conn) Interrupt() {
	c.interrupt.Lock()
	defer c.interrupt.Unlock()
	c.interrupted.Store(true)
	c.conn.SetDeadline(past) // fails only on a closed connection, whose owner is awake already
}

// Resume takes an Interrupt back and clears both deadlines.
func (c *Conn) Resume() error {
	c.interrupt.Lock()
	defer c.interrupt.Unlock()
	c.interrupted.Store(false)
	return c.conn.SetDeadline(time.Time{})
}

// Interrupted reports whether Interrupt was called and not yet taken back.
func (c *Conn) Interrupted() bool { return c.interrupted.Load() }

// CloseWrite shuts down the writing side, CloseRead the reading side; the other side goes on.
func (c *Conn) CloseWrite() error {
	if h, ok := c.conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *Conn) CloseRead() error {
	if h, ok := c.conn.(interface{ CloseRead() error }); ok {
		return h.CloseRead()
	}
	return errors.ErrUnsupported
}

// Abort closes the connection so that the peer sees a reset instead of an orderly end. A relay uses it to hand on a reset.
func (c *Conn) Abort() error {
	if t, ok := c.conn.(*net.TCPConn); ok {
		t.SetLinger(0) // best effort: an ordinary close follows in any case
	}
	return c.Close()
}

// SetKeepAlive sets TCP keep-alive probes; it does nothing on other sockets.
func (c *Conn) SetKeepAlive(cfg net.KeepAliveConfig) error {
	if t, ok := c.conn.(*net.TCPConn); ok {
		return t.SetKeepAliveConfig(cfg)
	}
	return nil
}

// SetNoDelay turns Nagle's algorithm off (Go's default) or on for TCP; it does nothing on other sockets.
func (c *Conn) SetNoDelay(on bool) error {
	if t, ok := c.conn.(*net.TCPConn); ok {
		return t.SetNoDelay(on)
	}
	return nil
}

// opError names the connection in an error the way package net does.
func (c *Conn) opError(op string, err error) error {
	if c.interrupted.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrInterrupted
	}
	var oe *net.OpError
	if errors.As(err, &oe) {
		err = oe.Err
	}
	return &net.OpError{Op: op, Net: c.conn.LocalAddr().Network(), Source: c.conn.LocalAddr(), Addr: c.conn.RemoteAddr(), Err: err}
}
