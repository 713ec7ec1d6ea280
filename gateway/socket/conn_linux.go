package socket

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// errWouldBlock is what one try that found nothing returns inside this file.
var errWouldBlock = errors.New("nothing to read")

// readState carries one read from Read into the poller's callback and back; the callback is made once, so that reading
// allocates nothing.
type readState struct {
	callback func(fd uintptr) bool
	buf      []byte
	pool     *Buffers // with buf empty: take a buffer of size only once there are bytes for it
	size     int
	taken    *Buffer
	flags    uintptr
	n        int
	errno    syscall.Errno
	one      [1]byte    // where a peek puts what it sees
	park     bool       // false: one try only
	plain    plainState // serves connections without a raw path

	exchange func(fd uintptr) bool // callback of Exchange, made once as well
	question []byte                // what Exchange has still to send
	asked    int                   // bytes of it that went out
	unsent   syscall.Errno         // why not all did
	since    time.Duration         // when the waiting for its answer began, after epoch

	loop    func(fd uintptr) bool // callback of Each
	each    func(*Buffer, int) bool
	buffers *Buffers // what it is handed
	room    int      // their size
	stopped bool     // each had enough
}

type writeState struct {
	callback func(fd uintptr) bool
	buf      []byte
	n        int
	errno    syscall.Errno
}

// initRaw turns the raw path on for a stream socket. Everything else keeps the standard library's calls.
func (c *Conn) initRaw(sc syscall.Conn) {
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	stream := false
	err = raw.Control(func(fd uintptr) {
		kind, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE)
		stream = err == nil && kind == syscall.SOCK_STREAM
	})
	if err != nil || !stream {
		return
	}
	c.raw = raw
	c.read.callback, c.read.exchange, c.read.loop = c.tryRead, c.tryExchange, c.tryEach
	c.write.callback = c.tryWrite
}

// recv is one non-blocking read. MSG_DONTWAIT makes it so whatever the descriptor's own mode is: a RawSyscall that blocked
// would hold its P and stall the whole process, and os.File.Fd, for one, quietly turns a shared descriptor blocking.
func recv(fd uintptr, b []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			flags|syscall.MSG_DONTWAIT, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// send is one non-blocking write; MSG_NOSIGNAL turns a SIGPIPE into EPIPE.
func send(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// tryRead runs inside RawConn.Read. The runtime has reset the descriptor's readiness just before the first call, so an edge
// that came earlier is forgotten: the read must be tried before parking, never after, or those bytes would wait forever.
func (c *Conn) tryRead(fd uintptr) bool {
	r := &c.read
	buf := r.buf
	if r.pool != nil {
		r.taken = r.pool.Get(r.size)
		buf = r.taken.Bytes()
	}
	r.n, r.errno = recv(fd, buf, r.flags)
	if r.errno == syscall.EAGAIN {
		if r.pool != nil {
			r.taken.Free()
			r.taken = nil
		}
		return !r.park || c.interrupted.Load()
	}
	return true
}

// receive runs one read through the poller's callback and names its errors.
func (c *Conn) receive() (int, error) {
	r := &c.read
	if c.interrupted.Load() {
		return 0, ErrInterrupted
	}
	if r.each != nil {
		return 0, errInsideEach // the descriptor's lock is held: it would wait for itself
	}
	r.n, r.errno = 0, 0
	return c.received(c.raw.Read(r.callback))
}

// received names the outcome of a read through the poller.
func (c *Conn) received(err error) (int, error) {
	r := &c.read
	r.buf = nil
	switch {
	case err != nil:
		return 0, c.opError("read", err)
	case r.errno == syscall.EAGAIN && !r.park:
		return 0, errWouldBlock
	case r.errno == syscall.EAGAIN:
		return 0, ErrInterrupted
	case r.errno != 0:
		return 0, c.opError("read", os.NewSyscallError("recvfrom", r.errno))
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

// Read reads what is there, or waits for it.
func (c *Conn) Read(b []byte) (int, error) {
	if c.raw == nil {
		return c.plainRead(b)
	}
	if len(b) == 0 {
		return 0, nil
	}
	c.read.buf, c.read.pool, c.read.flags, c.read.park = b, nil, 0, true
	return c.receive()
}

// ReadPooled waits for bytes without holding memory for them: a buffer of at least size bytes is taken from pool only when
// there is something to put into it, at no extra system call. The caller frees the buffer; on an error there is none.
func (c *Conn) ReadPooled(pool *Buffers, size int) (*Buffer, int, error) {
	if c.raw == nil {
		return c.plainReadPooled(pool, size)
	}
	r := &c.read
	r.buf, r.pool, r.size, r.flags, r.park = nil, pool, size, 0, true
	n, err := c.receive()
	taken := r.taken
	r.pool, r.taken = nil, nil
	if err != nil && taken != nil {
		taken.Free()
		taken = nil
	}
	return taken, n, err
}

// tryExchange sends the question in the place of the first try to read: the runtime has reset the descriptor's readiness just
// before, so whatever comes in answer to it is an edge that is not lost, and nothing need be tried before parking.
func (c *Conn) tryExchange(fd uintptr) bool {
	r := &c.read
	if r.question == nil {
		return c.tryRead(fd)
	}
	q := r.question
	r.question = nil
	for r.asked < len(q) {
		n, errno := send(fd, q[r.asked:])
		if errno != 0 {
			r.unsent = errno
			return true
		}
		r.asked += n
	}
	r.since = time.Since(epoch)
	if c.interrupted.Load() {
		r.errno = syscall.EAGAIN // nothing was read yet; without it this would be taken for the peer's end
		return true
	}
	return false
}

// Exchange writes question and reads the beginning of its answer as ReadPooled does, with one system call for each. Bytes or
// an end that waited before the question was sent are noticed only with what comes after: it is for a peer that speaks when
// it is asked.
func (c *Conn) Exchange(question []byte, pool *Buffers, size int) (a Answer, err error) {
	if c.raw == nil || len(question) == 0 {
		return c.plainExchange(question, pool, size)
	}
	r := &c.read
	if c.interrupted.Load() {
		return a, ErrInterrupted
	}
	if r.each != nil {
		return a, errInsideEach
	}
	r.buf, r.pool, r.size, r.flags, r.park = nil, pool, size, 0, true
	r.question, r.asked, r.unsent = question, 0, 0
	r.n, r.errno = 0, 0
	err = c.raw.Read(r.exchange)
	r.question = nil
	if a.Sent = r.asked; a.Sent == len(question) {
		a.Waited = time.Since(epoch) - r.since
	}
	if r.unsent != 0 {
		r.pool = nil
		if r.unsent != syscall.EAGAIN {
			return a, c.opError("write", os.NewSyscallError("sendto", r.unsent))
		}
		rest, err := c.plainExchange(question[a.Sent:], pool, size) // there is no room for all of it
		rest.Sent += a.Sent
		return rest, err
	}
	if err == nil && a.Sent < len(question) {
		err = ErrInterrupted
	}
	a.N, err = c.received(err)
	a.Buffer = r.taken
	r.pool, r.taken = nil, nil
	if err != nil && a.Buffer != nil {
		a.Buffer.Free()
		a.Buffer = nil
	}
	return a, err
}

// tryEach reads and hands on until nothing is left. The runtime resets readiness only when Each begins: an edge that comes
// while each is at work makes the next park return at once. A read that was not filled has taken all there was.
func (c *Conn) tryEach(fd uintptr) bool {
	r := &c.read
	for !c.interrupted.Load() {
		buf := r.buffers.Get(r.room)
		r.n, r.errno = recv(fd, buf.Bytes(), 0)
		if r.errno != 0 || r.n == 0 {
			buf.Free()
			return r.errno != syscall.EAGAIN || c.interrupted.Load()
		}
		full := r.n == len(buf.Bytes())
		if !r.each(buf, r.n) {
			r.stopped = true
			return true
		}
		if !full {
			return c.interrupted.Load()
		}
	}
	return true
}

// Each reads what comes into buffers of pool and hands them on, parking in between without one and without a system call that
// finds nothing. It returns nil when each returned false, or why nothing more can be read. each owns the buffers; it must not
// read from c. An end that came together with bytes does not show before more bytes come: whoever uses Each has a Watcher
// interrupt c. Without a raw path it reads once.
func (c *Conn) Each(pool *Buffers, size int, each func(buf *Buffer, n int) bool) error {
	if c.raw == nil {
		buf, n, err := c.plainReadPooled(pool, size)
		if err == nil {
			each(buf, n)
		}
		return err
	}
	r := &c.read
	if c.interrupted.Load() {
		return ErrInterrupted
	}
	if r.each != nil {
		return errInsideEach
	}
	r.buffers, r.room, r.each, r.stopped, r.n, r.errno = pool, size, each, false, 0, 0
	defer func() { r.each = nil }()
	err := c.raw.Read(r.loop)
	r.park = true
	if r.stopped {
		return nil
	}
	if err == nil && c.interrupted.Load() {
		return ErrInterrupted
	}
	_, err = c.received(err)
	return err
}

// WaitReadable parks until bytes, an end or an error wait to be read, holding no buffer, and consumes nothing.
func (c *Conn) WaitReadable() error {
	if c.raw == nil {
		return c.plainWaitReadable()
	}
	_, err := c.peek(true)
	if err == io.EOF {
		return nil // the Read that follows tells it
	}
	return err
}

// Pending reports whether anything waits on a connection nobody asked anything of: bytes (true), an orderly end (true and
// io.EOF) or an error (true and the error). Only false and nil is a connection that may serve again: whatever an idle
// server sent unasked would otherwise become the answer to somebody's next question. It never waits.
func (c *Conn) Pending() (bool, error) {
	if c.raw == nil {
		return c.plainPending()
	}
	n, err := c.peek(false)
	return n > 0 || err != nil, err
}

func (c *Conn) peek(park bool) (int, error) {
	r := &c.read
	r.buf, r.pool, r.flags, r.park = r.one[:], nil, syscall.MSG_PEEK, park
	n, err := c.receive()
	if err == errWouldBlock {
		return 0, nil
	}
	return n, err
}

// tryWrite runs inside RawConn.Write, with the same rule as tryRead: try, then park.
func (c *Conn) tryWrite(fd uintptr) bool {
	w := &c.write
	for w.n < len(w.buf) {
		var n int
		n, w.errno = send(fd, w.buf[w.n:])
		if w.errno == syscall.EAGAIN {
			if c.interrupted.Load() {
				return true
			}
			w.errno = 0
			return false
		}
		if w.errno != 0 {
			return true
		}
		w.n += n
	}
	return true
}

// Write writes all of b, waiting where the peer is slow. On an error it tells how much the kernel took.
func (c *Conn) Write(b []byte) (int, error) {
	if c.raw == nil {
		return c.plainWrite(b)
	}
	if c.interrupted.Load() {
		return 0, ErrInterrupted
	}
	w := &c.write
	w.buf, w.n, w.errno = b, 0, 0
	err := c.raw.Write(w.callback)
	w.buf = nil
	switch {
	case err != nil:
		return w.n, c.opError("write", err)
	case w.errno == syscall.EAGAIN:
		return w.n, ErrInterrupted
	case w.errno != 0:
		return w.n, c.opError("write", os.NewSyscallError("sendto", w.errno))
	}
	return w.n, nil
}

// TryWrite writes what the kernel takes at once and never waits: n may be less than len(b), with no error.
func (c *Conn) TryWrite(b []byte) (int, error) {
	if c.raw == nil {
		return c.plainWrite(b)
	}
	n, errno := 0, syscall.Errno(0)
	err := c.raw.Control(func(fd uintptr) { n, errno = send(fd, b) })
	switch {
	case err != nil:
		return 0, c.opError("write", err)
	case errno == syscall.EAGAIN:
		return 0, nil
	case errno != 0:
		return 0, c.opError("write", os.NewSyscallError("sendto", errno))
	}
	return n, nil
}

// SetUserTimeout bounds how long sent bytes may stay unacknowledged before the kernel gives the connection up (TCP only).
func (c *Conn) SetUserTimeout(milliseconds int) error {
	const tcpUserTimeout = 18 // linux/tcp.h
	if c.raw == nil || c.conn.LocalAddr().Network() != "tcp" {
		return nil
	}
	var serr error
	err := c.raw.Control(func(fd uintptr) {
		serr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, milliseconds)
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", serr)
}
