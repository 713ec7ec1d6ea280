package socket

import (
	"net"
	"sync"
	"time"
)

// pumpBuffer is how much a pump reads, and how much output it holds, before it waits for the other side.
const pumpBuffer = 64 << 10

// pumpGoodbye is how long output that was accepted before the close may take.
const pumpGoodbye = 2 * time.Second

// pump carries a connection without a descriptor of its own (a TLS connection someone else made, a pipe, a system without epoll) into
// the loop: one goroutine reads, one writes, and both tell the loop when something has changed. They end with the connection.
type pump struct {
	conn net.Conn
	loop *Loop

	mu      sync.Mutex
	cond    sync.Cond
	in      []byte // arrived, not yet taken by the loop
	inErr   error
	out     []byte // taken from the loop, not yet written
	writing bool
	outErr  error
	closed  bool
}

func newPump(l *Loop, s *Stream, conn net.Conn) *pump {
	p := &pump{conn: conn, loop: l}
	p.cond.L = &p.mu
	go p.reader(s)
	go p.writer(s)
	return p
}

func (p *pump) reader(s *Stream) {
	buf := make([]byte, pumpBuffer)
	for {
		n, err := p.conn.Read(buf)
		p.mu.Lock()
		for len(p.in)+n > pumpBuffer && len(p.in) > 0 && !p.closed {
			p.cond.Wait()
		}
		p.in = append(p.in, buf[:n]...)
		p.inErr = err
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		p.loop.Post(func() {
			if !s.closed {
				s.event(true, false, err != nil)
			}
		})
		if err != nil {
			return
		}
	}
}

func (p *pump) writer(s *Stream) {
	var buf []byte
	for {
		p.mu.Lock()
		for len(p.out) == 0 && !p.closed {
			p.cond.Wait()
		}
		if len(p.out) == 0 {
			p.mu.Unlock()
			p.conn.Close() // what was written before the end has gone out
			return
		}
		buf, p.out = p.out, buf[:0]
		p.writing = true
		p.mu.Unlock()
		_, err := p.conn.Write(buf)
		p.mu.Lock()
		p.writing = false
		if err != nil {
			p.outErr = err
			p.out = p.out[:0]
		}
		p.mu.Unlock()
		p.loop.Post(func() {
			if !s.closed {
				s.stalled = s.stalled || err != nil
				s.event(false, true, false)
			}
		})
	}
}

// read gives the loop what has arrived.
func (p *pump) read(s *Stream, b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := copy(b, p.in)
	p.in = p.in[:copy(p.in, p.in[n:])]
	p.cond.Broadcast()
	if n > 0 {
		s.readable = len(p.in) > 0 || p.inErr != nil
		return n, nil
	}
	s.readable = false
	return 0, p.inErr
}

// write takes output as long as not too much of it waits.
func (p *pump) write(_ *Stream, b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outErr != nil {
		return 0, p.outErr
	}
	n := min(len(b), max(0, pumpBuffer-len(p.out)))
	p.out = append(p.out, b[:n]...)
	p.cond.Broadcast()
	return n, nil
}

// close ends both goroutines. Output that was accepted is written first, within a time that a peer who does not read cannot stretch.
func (p *pump) close() {
	p.mu.Lock()
	p.closed = true
	idle := len(p.out) == 0 && !p.writing
	p.cond.Broadcast()
	p.mu.Unlock()
	if idle {
		go p.conn.Close() // a TLS connection's goodbye may wait for a slow peer
		return
	}
	p.conn.SetWriteDeadline(time.Now().Add(pumpGoodbye))
}
