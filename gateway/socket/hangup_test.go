package socket

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"
)

func watcher(t *testing.T) *Watcher {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("hang-ups are watched on Linux only")
	}
	w, err := NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// TestHangupEndsTheWaitForABackend is a session's case: the client goes away while its backend is silent.
func TestHangupEndsTheWaitForABackend(t *testing.T) {
	checkLeaks(t)
	for name, leave := range map[string]func(net.Conn){
		"close":      func(c net.Conn) { c.Close() },
		"reset":      func(c net.Conn) { Wrap(c).Abort() },
		"half close": func(c net.Conn) { Wrap(c).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			w := watcher(t)
			client, user := pair(t, "tcp")
			backend, _ := pair(t, "tcp")
			stop, err := w.Watch(client, backend.Interrupt)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			done := readAside(backend, make([]byte, 1))
			untilParked(t)
			leave(user)
			if r := within(t, "backend read", done); !errors.Is(r.err, ErrInterrupted) {
				t.Fatal(r.err)
			}
		})
	}
}

func TestBytesAreNoHangup(t *testing.T) {
	w := watcher(t)
	c, peer := pair(t, "tcp")
	told := make(chan struct{})
	stop, err := w.Watch(c, func() { close(told) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	peer.Write([]byte("more"))
	if err := c.WaitReadable(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
		t.Fatal("bytes were taken for a hang-up")
	case <-time.After(20 * time.Millisecond):
	}
	peer.Close()
	within(t, "hang-up", told)
}

func TestHangupBeforeTheWatchIsTold(t *testing.T) {
	w := watcher(t)
	c, peer := pair(t, "tcp")
	peer.Close()
	c.WaitReadable()
	told := make(chan struct{})
	if _, err := w.Watch(c, func() { close(told) }); err != nil {
		t.Fatal(err)
	}
	within(t, "hang-up", told)
}

func TestStoppedWatchIsSilent(t *testing.T) {
	w := watcher(t)
	c, peer := pair(t, "tcp")
	stop, err := w.Watch(c, func() { t.Error("told after stop") })
	if err != nil {
		t.Fatal(err)
	}
	stop()
	stop()
	peer.Close()
	other, last := pair(t, "tcp")
	told := make(chan struct{})
	if _, err := w.Watch(other, func() { close(told) }); err != nil {
		t.Fatal(err)
	}
	last.Close()
	within(t, "the other's hang-up", told)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Watch(c, func() {}); err == nil {
		t.Fatal("watching on a closed watcher")
	}
}
