//go:build !linux

package socket

import (
	"net"
	"time"
)

// waiter waits on a channel: without epoll every connection is carried by a pump, whose goroutines post what happens.
type waiter struct{ woken chan struct{} }

type port struct{ pump *pump }

func (w *waiter) open() error {
	w.woken = make(chan struct{}, 1)
	return nil
}

func (w *waiter) close() {}

func (w *waiter) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

func (w *waiter) serve(l *Loop) {
	for !l.closing {
		<-w.woken
		for more := true; more && !l.closing; {
			l.now = time.Now()
			more = l.settle()
		}
	}
}

func (w *waiter) add(l *Loop, s *Stream, conn net.Conn) error {
	s.port.pump = newPump(l, s, conn)
	return nil
}

func (w *waiter) remove(s *Stream) { s.port.pump.close() }

func (p *port) read(s *Stream, b []byte) (int, error)  { return p.pump.read(s, b) }
func (p *port) write(s *Stream, b []byte) (int, error) { return p.pump.write(s, b) }
