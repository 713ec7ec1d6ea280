package mysql

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// Sizes of the buffers that packets are read into. A buffer is held only while there is something in it.
const (
	smallRead = 16 << 10
	largeRead = 64 << 10
)

// errTooLarge is a packet beyond the limit its reader was given.
var errTooLarge = errors.New("packet is too large")

// stream is the buffered reading side of a connection, and its writing side as it is.
type stream struct {
	conn *socket.Conn
	buf  *socket.Buffer
	r, w int // unread bytes are buf.Bytes()[r:w]
	size int // of the next buffer
	// stall is how long the other side may say nothing in the middle of a large packet; 0: for ever.
	stall time.Duration
	// packed is the compression under conn; nil: none.
	packed *compressed
}

func (s *stream) unread() []byte {
	if s.buf == nil {
		return nil
	}
	return s.buf.Bytes()[s.r:s.w]
}

// took gives up the first n unread bytes. They stay valid until the next fill or release.
func (s *stream) took(n int) { s.r += n }

// release gives the buffer back if it holds nothing.
func (s *stream) release() {
	if s.r == s.w {
		s.drop()
	}
}

// drop gives the buffer back with whatever it holds.
func (s *stream) drop() {
	s.buf.Free()
	s.buf, s.r, s.w = nil, 0, 0
}

// fill waits for more bytes. need is how many unread ones the caller wants at once; the buffer grows to hold them.
func (s *stream) fill(need int) error {
	if s.r == s.w {
		if s.buf != nil && !s.conn.Raw() && need <= len(s.buf.Bytes()) {
			// Under TLS whoever waits without a buffer gets a byte first, and a large answer would pass byte by byte.
			n, err := s.conn.Read(s.buf.Bytes())
			s.r, s.w = 0, n
			return err
		}
		s.drop()
		buf, n, err := s.conn.ReadPooled(&socket.Shared, max(need, s.size, smallRead))
		if err != nil {
			return err
		}
		s.buf, s.w = buf, n
		return nil
	}
	b := s.buf.Bytes()
	switch have := s.w - s.r; {
	case need > len(b):
		bigger := socket.Shared.Get(need)
		copy(bigger.Bytes(), b[s.r:s.w])
		s.buf.Free()
		s.buf, s.r, s.w = bigger, 0, have
		b = bigger.Bytes()
	case s.w == len(b) || s.r+need > len(b):
		copy(b, b[s.r:s.w])
		s.r, s.w = 0, have
	}
	n, err := s.conn.Read(b[s.w:])
	s.w += n
	return err
}

// ask sends a command and waits for the beginning of its answer. sent is how much of it the kernel took.
func (s *stream) ask(p []byte) (sent int, waited time.Duration, err error) {
	s.drop()
	a, err := s.conn.Exchange(p, &socket.Shared, max(s.size, smallRead))
	s.buf, s.w = a.Buffer, a.N
	return a.Sent, a.Waited, err
}

// packet reads one packet, or the packets of a payload of 16 MB and more, whole: raw is body behind its header, or behind
// room for one (see large). It borrows until the next read.
func (s *stream) packet(limit int) (raw, body []byte, seq byte, err error) {
	if err := s.header(); err != nil {
		return nil, nil, 0, err
	}
	if n, _ := wire.Header(s.unread()); n > socket.MaxBuffer {
		return s.large(limit)
	}
	return s.one(limit)
}

// one reads a packet that fits a pooled buffer, of which the header is there.
func (s *stream) one(limit int) (raw, body []byte, seq byte, err error) {
	n, seq := wire.Header(s.unread())
	if n > limit {
		return nil, nil, seq, fmt.Errorf("%w: %d bytes, at most %d are taken", errTooLarge, n, limit)
	}
	for s.w-s.r < wire.HeaderLen+n {
		if err := s.fill(wire.HeaderLen + n); err != nil {
			return nil, nil, 0, s.cut(err)
		}
	}
	raw = s.unread()[: wire.HeaderLen+n : wire.HeaderLen+n]
	s.took(wire.HeaderLen + n)
	return raw, raw[wire.HeaderLen:], seq, nil
}

// cut tells an end between packets from one inside.
func (s *stream) cut(err error) error {
	if err == io.EOF && s.w > s.r {
		return io.ErrUnexpectedEOF
	}
	return err
}

// send writes payload as one packet (or several, if it is that long).
func (s *stream) send(seq byte, payload []byte) error {
	b, _ := wire.AppendPacket(make([]byte, 0, len(payload)+wire.HeaderLen), seq, payload)
	_, err := s.conn.Write(b)
	return err
}
