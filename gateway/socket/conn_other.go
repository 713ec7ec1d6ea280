//go:build !linux

package socket

import "syscall"

// Other systems use the standard library's calls behind the same type.
type (
	readState  struct{ plain plainState }
	writeState struct{}
)

func (c *Conn) initRaw(syscall.Conn) {}

func (c *Conn) Read(b []byte) (int, error) { return c.plainRead(b) }

// ReadPooled reads into a buffer of pool. Here the buffer is held while waiting.
func (c *Conn) ReadPooled(pool *Buffers, size int) (*Buffer, int, error) {
	return c.plainReadPooled(pool, size)
}

// Exchange writes question and reads the beginning of its answer.
func (c *Conn) Exchange(question []byte, pool *Buffers, size int) (Answer, error) {
	return c.plainExchange(question, pool, size)
}

// Each reads once.
func (c *Conn) Each(pool *Buffers, size int, each func(buf *Buffer, n int) bool) error {
	buf, n, err := c.plainReadPooled(pool, size)
	if err == nil {
		each(buf, n)
	}
	return err
}

// WaitReadable parks until bytes, an end or an error wait to be read.
func (c *Conn) WaitReadable() error { return c.plainWaitReadable() }

// Pending reports whether anything waits on a connection nobody asked anything of.
func (c *Conn) Pending() (bool, error) { return c.plainPending() }

func (c *Conn) Write(b []byte) (int, error) { return c.plainWrite(b) }

// TryWrite is Write on systems without the raw path.
func (c *Conn) TryWrite(b []byte) (int, error) { return c.plainWrite(b) }

// SetUserTimeout does nothing here.
func (c *Conn) SetUserTimeout(int) error { return nil }
