package socket

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// pipeSize is asked of every splice pipe. The kernel may give less once one user's pipes hold many pages together.
const pipeSize = 256 << 10

const (
	spliceMove     = 1    // SPLICE_F_MOVE
	spliceNonblock = 2    // SPLICE_F_NONBLOCK
	setPipeSize    = 1031 // F_SETPIPE_SZ
)

// pipe carries bytes from one socket to another inside the kernel. Only an empty pipe goes back to the pool; the callbacks
// are made once, so that splicing allocates nothing.
type pipe struct {
	r, w  int
	held  int // bytes inside
	limit int // how many the next fill may take
	errno syscall.Errno
	src   *Conn
	dst   *Conn
	fill  func(fd uintptr) bool
	drain func(fd uintptr) bool
}

var pipes sync.Pool

func getPipe() (*pipe, error) {
	if p, ok := pipes.Get().(*pipe); ok {
		return p, nil
	}
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	// A pipe that stays small is slower, not wrong.
	syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fds[1]), setPipeSize, pipeSize)
	p := &pipe{r: fds[0], w: fds[1]}
	p.fill, p.drain = p.tryFill, p.tryDrain
	runtime.SetFinalizer(p, (*pipe).close) // the pool drops what nobody takes
	return p, nil
}

func (p *pipe) close() {
	runtime.SetFinalizer(p, nil)
	syscall.Close(p.r)
	syscall.Close(p.w)
}

func (p *pipe) release() {
	p.src, p.dst = nil, nil
	if p.held == 0 {
		pipes.Put(p)
		return
	}
	p.close() // what is left inside belongs to a session that ended
}

func splice(from, to int, n int) (int, syscall.Errno) {
	for {
		k, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), spliceMove|spliceNonblock)
		if errno != syscall.EINTR {
			return int(k), errno
		}
	}
}

// tryFill runs inside RawConn.Read. The pipe is empty, so EAGAIN can only mean that the socket has nothing.
func (p *pipe) tryFill(fd uintptr) bool {
	n, errno := splice(int(fd), p.w, p.limit)
	if errno == syscall.EAGAIN && !p.src.interrupted.Load() {
		return false
	}
	if p.errno = errno; errno == 0 {
		p.held = n
	}
	return true
}

// tryDrain runs inside RawConn.Write until the pipe is empty.
func (p *pipe) tryDrain(fd uintptr) bool {
	for p.held > 0 {
		n, errno := splice(p.r, int(fd), p.held)
		if errno == syscall.EAGAIN && !p.dst.interrupted.Load() {
			return false
		}
		if p.errno = errno; errno != 0 {
			return true
		}
		p.held -= n
	}
	return true
}

// CanSplice reports whether Splice moves bytes between these two without copying them through this process.
func CanSplice(dst, src *Conn) bool { return dst.raw != nil && src.raw != nil }

// Splice moves n bytes from src to dst inside the kernel and returns how many it moved. Deadlines, Interrupt and Close work
// as in Read and Write. Both connections must be raw; the caller is their reading and their writing goroutine.
func Splice(dst, src *Conn, n int64) (moved int64, err error) {
	if !CanSplice(dst, src) {
		return 0, errors.ErrUnsupported
	}
	p, err := getPipe()
	if err != nil {
		return 0, err
	}
	defer p.release()
	p.src, p.dst = src, dst
	for moved < n {
		if src.interrupted.Load() || dst.interrupted.Load() {
			return moved, ErrInterrupted
		}
		p.limit, p.errno = int(min(n-moved, pipeSize)), 0
		if err := p.outcome(src, "read", src.raw.Read(p.fill)); err != nil {
			return moved, err
		}
		if p.held == 0 {
			return moved, io.ErrUnexpectedEOF
		}
		taken := p.held
		if err := p.outcome(dst, "write", dst.raw.Write(p.drain)); err != nil {
			return moved + int64(taken-p.held), err
		}
		moved += int64(taken)
	}
	return moved, nil
}

func (p *pipe) outcome(c *Conn, op string, err error) error {
	switch {
	case err != nil:
		return c.opError(op, err)
	case p.errno == syscall.EAGAIN:
		return ErrInterrupted
	case p.errno != 0:
		return c.opError(op, os.NewSyscallError("splice", p.errno))
	}
	return nil
}
