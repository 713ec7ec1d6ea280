package socket

import (
	"errors"
	"os"
	"time"
)

// plainPendingWait is how long a look at a connection without raw calls may take: its Read cannot be asked not to wait.
const plainPendingWait = time.Millisecond

// plainState holds what a look ahead took off a connection that cannot be peeked at. Owned by the reading goroutine.
type plainState struct {
	byte byte
	full bool
	err  error
}

// plainRead is Read where there is no raw path.
func (c *Conn) plainRead(b []byte) (int, error) {
	p := &c.read.plain
	if len(b) == 0 {
		return 0, nil
	}
	if p.full {
		p.full = false
		b[0] = p.byte
		return 1, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	if c.interrupted.Load() {
		return 0, ErrInterrupted
	}
	n, err := c.conn.Read(b)
	if err != nil && n == 0 {
		return 0, c.plainError(err)
	}
	return n, err
}

func (c *Conn) plainError(err error) error {
	if c.interrupted.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrInterrupted
	}
	return err
}

// lookahead is a connection on top of another that can say more than net.Conn asks for.
type lookahead interface {
	WaitReadable() error
	Pending() (bool, error)
}

func (c *Conn) plainReadPooled(pool *Buffers, size int) (*Buffer, int, error) {
	if err := c.plainWaitReadable(); err != nil {
		return nil, 0, err
	}
	buf := pool.Get(size)
	n, err := c.plainRead(buf.Bytes())
	if err != nil {
		buf.Free()
		return nil, 0, err
	}
	return buf, n, nil
}

// plainExchange writes, waiting where there is no room, and then reads.
func (c *Conn) plainExchange(question []byte, pool *Buffers, size int) (a Answer, err error) {
	if a.Sent, err = c.Write(question); err != nil {
		return a, err
	}
	sent := time.Since(epoch)
	a.Buffer, a.N, err = c.ReadPooled(pool, size)
	a.Waited = time.Since(epoch) - sent
	return a, err
}

func (c *Conn) plainWaitReadable() error {
	p := &c.read.plain
	if p.full || p.err != nil {
		return nil
	}
	if w, ok := c.conn.(lookahead); ok {
		if c.interrupted.Load() {
			return ErrInterrupted
		}
		if err := w.WaitReadable(); err != nil {
			return c.plainError(err)
		}
		return nil
	}
	var one [1]byte
	n, err := c.plainRead(one[:])
	if n == 1 {
		p.byte, p.full = one[0], true
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ErrInterrupted) {
		return err
	}
	p.err = err
	return nil
}

func (c *Conn) plainPending() (bool, error) {
	p := &c.read.plain
	if w, ok := c.conn.(lookahead); ok {
		return w.Pending()
	}
	if !p.full && p.err == nil {
		if err := c.conn.SetReadDeadline(time.Now().Add(plainPendingWait)); err != nil {
			return true, err
		}
		err := c.plainWaitReadable()
		if cerr := c.conn.SetReadDeadline(time.Time{}); cerr != nil {
			return true, cerr
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return true, err
		}
	}
	return true, p.err
}

func (c *Conn) plainWrite(b []byte) (int, error) {
	if c.interrupted.Load() {
		return 0, ErrInterrupted
	}
	n, err := c.conn.Write(b)
	if err != nil {
		err = c.plainError(err)
	}
	return n, err
}
