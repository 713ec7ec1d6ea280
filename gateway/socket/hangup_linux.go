package socket

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// epollRdhup and epollET are spelled here because package syscall has the second as a negative int.
const (
	epollRdhup = 0x2000
	epollET    = 1 << 31
)

// Watcher tells sessions that their client hung up while they wait for somebody else. A connection is registered once for
// its life and costs nothing per statement: the kernel wakes the one watching goroutine for the hang-up alone, not for bytes.
type Watcher struct {
	file *os.File
	raw  syscall.RawConn
	done chan struct{}

	mu      sync.Mutex
	next    uint64
	hangups map[uint64]func()
}

// NewWatcher starts a watcher; Close ends it.
func NewWatcher() (*Watcher, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making hang-up watcher: %w", os.NewSyscallError("epoll_create1", err))
	}
	// Non-blocking, so that os.NewFile hands the descriptor to the runtime's poller: waiting costs no thread.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("making hang-up watcher: %w", os.NewSyscallError("fcntl", err))
	}
	w := &Watcher{file: os.NewFile(uintptr(fd), "hang-up watcher"), done: make(chan struct{}), hangups: make(map[uint64]func())}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("making hang-up watcher: %w", err)
	}
	go w.run()
	return w, nil
}

// Close ends the watcher. No hang-up is told after it returns.
func (w *Watcher) Close() error {
	err := w.file.Close()
	<-w.done
	return err
}

func (w *Watcher) run() {
	defer close(w.done)
	var events [64]syscall.EpollEvent
	for {
		n := 0
		err := w.raw.Read(func(fd uintptr) bool {
			n = epollNow(fd, events[:])
			return n > 0
		})
		if err != nil {
			return // closed
		}
		for i := range events[:n] {
			w.tell(eventID(&events[i]))
		}
	}
}

// epollNow collects events without waiting.
func epollNow(fd uintptr, events []syscall.EpollEvent) int {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		if errno == 0 {
			return int(n)
		}
		if errno != syscall.EINTR {
			return 0
		}
	}
}

func (w *Watcher) tell(id uint64) {
	w.mu.Lock()
	f := w.hangups[id]
	delete(w.hangups, id)
	w.mu.Unlock()
	if f != nil {
		f()
	}
}

// Watch calls hangup once, on the watcher's goroutine, when c's peer closes, resets or shuts down its writing side. hangup
// must not block; what it does is mostly Interrupt on the connection the session waits on. A peer that only half-closed
// looks the same: a protocol in which that is legal must not treat it as an end. stop ends the watch; it must be called
// before c is closed. Connections without a raw path are not watched: their end shows at the next read or write.
func (w *Watcher) Watch(c *Conn, hangup func()) (stop func(), err error) {
	if c.raw == nil {
		return func() {}, nil
	}
	w.mu.Lock()
	w.next++
	id := w.next
	w.hangups[id] = hangup
	w.mu.Unlock()
	if err := w.control(c, syscall.EPOLL_CTL_ADD, id); err != nil {
		w.forget(id)
		return nil, fmt.Errorf("watching for hang-up: %w", err)
	}
	return func() {
		w.forget(id)
		w.control(c, syscall.EPOLL_CTL_DEL, id) // fails when either is closed, which ends the watch as well
	}, nil
}

func (w *Watcher) forget(id uint64) {
	w.mu.Lock()
	delete(w.hangups, id)
	w.mu.Unlock()
}

func (w *Watcher) control(c *Conn, op int, id uint64) error {
	var failed error
	err := w.raw.Control(func(epfd uintptr) {
		failed = c.raw.Control(func(fd uintptr) {
			ev := syscall.EpollEvent{Events: epollRdhup | epollET}
			setEventID(&ev, id)
			failed = os.NewSyscallError("epoll_ctl", syscall.EpollCtl(int(epfd), op, int(fd), &ev))
		})
	})
	if err == nil {
		err = failed
	}
	return err
}

// The kernel's 64 bits of user data are two int32 in package syscall's struct.
func setEventID(ev *syscall.EpollEvent, id uint64) {
	binary.NativeEndian.PutUint64((*[8]byte)(unsafe.Pointer(&ev.Fd))[:], id)
}

func eventID(ev *syscall.EpollEvent) uint64 {
	return binary.NativeEndian.Uint64((*[8]byte)(unsafe.Pointer(&ev.Fd))[:])
}
