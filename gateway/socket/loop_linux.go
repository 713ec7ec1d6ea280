package socket

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// waiter is an epoll descriptor nested in the runtime's poller: the loop's goroutine parks as any goroutine does, and the collector
// is never kept waiting by a thread that sits in a raw epoll_wait.
type waiter struct {
	epoll *os.File
	raw   syscall.RawConn
	event int // eventfd by which other goroutines wake the loop
	byFD  []*Stream
	list  [eventsAtOnce]syscall.EpollEvent
	word  [8]byte
}

// port is a stream's descriptor, or a pump for connections that have none.
type port struct {
	fd   int
	pump *pump
}

func (w *waiter) open() error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	// Only a descriptor that says it does not block is taken into the runtime's poller.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	event, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		syscall.Close(fd)
		return os.NewSyscallError("eventfd2", errno)
	}
	w.event = int(event)
	w.epoll = os.NewFile(uintptr(fd), "epoll")
	if w.raw, err = w.epoll.SyscallConn(); err != nil {
		w.close()
		return err
	}
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | edge, Fd: int32(w.event)}
	if err := syscall.EpollCtl(fd, syscall.EPOLL_CTL_ADD, w.event, &ev); err != nil {
		w.close()
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

const edge = 1 << 31 // syscall.EPOLLET is negative, as a C int

func (w *waiter) close() {
	w.epoll.Close()
	syscall.Close(w.event)
}

// wake may be called by any goroutine while the loop runs.
func (w *waiter) wake() {
	one := [8]byte{1}
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(w.event), uintptr(unsafe.Pointer(&one)), 8) // EAGAIN: it is awake
}

// serve is the loop: one RawRead for its whole life, because entering it again would reset the readiness of the epoll descriptor and
// could lose an edge.
func (w *waiter) serve(l *Loop) {
	w.raw.Read(func(fd uintptr) bool {
		for {
			n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&w.list)), eventsAtOnce, 0, 0, 0)
			if errno != 0 {
				n = 0 // EINTR; nothing else can be wrong with these arguments
			}
			l.now = time.Now()
			for i := range int(n) {
				w.dispatch(l, &w.list[i])
			}
			more := l.settle()
			if l.closing {
				return true
			}
			// Fewer events than fit: all was seen, and what comes now is an edge that the runtime's poller keeps for us.
			if n < eventsAtOnce && !more {
				return false
			}
		}
	})
}

func (w *waiter) dispatch(l *Loop, ev *syscall.EpollEvent) {
	if int(ev.Fd) == w.event {
		syscall.RawSyscall(syscall.SYS_READ, uintptr(w.event), uintptr(unsafe.Pointer(&w.word)), 8)
		return // settle delivers
	}
	s := w.byFD[ev.Fd]
	if s == nil {
		return // closed earlier in this batch
	}
	const gone = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	s.event(ev.Events&(syscall.EPOLLIN|gone) != 0, ev.Events&(syscall.EPOLLOUT|gone) != 0, ev.Events&gone != 0)
}

// add takes a connection's descriptor over. The loop works on a duplicate and the original is closed: otherwise every packet
// would also pass through the runtime's poller, which has nobody to wake for it.
func (w *waiter) add(l *Loop, s *Stream, conn net.Conn) error {
	c, ok := conn.(*Conn)
	if !ok || !c.Raw() {
		s.port.fd = -1
		s.port.pump = newPump(l, s, conn)
		return nil
	}
	dup, errno := -1, syscall.Errno(0)
	err := c.raw.Control(func(fd uintptr) {
		n, _, e := syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		dup, errno = int(n), e
	})
	if err != nil {
		return err
	}
	if errno != 0 {
		return os.NewSyscallError("fcntl", errno)
	}
	conn.Close()
	for len(w.byFD) <= dup {
		w.byFD = append(w.byFD, make([]*Stream, max(64, len(w.byFD)))...)
	}
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edge, Fd: int32(dup)}
	ctl := syscall.Errno(0)
	err = w.control(func(fd int) {
		_, _, ctl = syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(fd), syscall.EPOLL_CTL_ADD, uintptr(dup), uintptr(unsafe.Pointer(&ev)), 0, 0)
	})
	if err == nil && ctl != 0 {
		err = os.NewSyscallError("epoll_ctl", ctl)
	}
	if err != nil {
		syscall.Close(dup)
		return err
	}
	w.byFD[dup] = s
	s.port.fd = dup
	return nil
}

func (w *waiter) control(f func(fd int)) error {
	return w.raw.Control(func(fd uintptr) { f(int(fd)) })
}

func (w *waiter) remove(s *Stream) {
	if s.port.pump != nil {
		s.port.pump.close()
		return
	}
	w.byFD[s.port.fd] = nil
	syscall.Close(s.port.fd) // the last descriptor of its socket, so epoll forgets it too
}

// read is one raw read. A short one empties the socket: the next edge tells of more. A peer that has hung up is read to its end.
func (p *port) read(s *Stream, b []byte) (int, error) {
	if p.pump != nil {
		return p.pump.read(s, b)
	}
	n, errno := recv(uintptr(p.fd), b, 0)
	switch {
	case errno == syscall.EAGAIN:
		s.readable = false
		return 0, nil
	case errno != 0:
		return 0, os.NewSyscallError("recvfrom", errno)
	case n == 0:
		return 0, io.EOF
	}
	if n < len(b) && !s.hungup {
		s.readable = false
	}
	return n, nil
}

func (p *port) write(s *Stream, b []byte) (int, error) {
	if p.pump != nil {
		return p.pump.write(s, b)
	}
	n, errno := send(uintptr(p.fd), b)
	if errno == syscall.EAGAIN {
		return 0, nil
	}
	if errno != 0 {
		return 0, os.NewSyscallError("sendto", errno)
	}
	return n, nil
}
