package socket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// TLS is a TLS session as a transform between bytes and bytes: wire bytes in, plain bytes out and the reverse, with no
// socket and no goroutine of its own, so that an event loop can carry it. The handshake alone runs over a connection. It is
// not safe for concurrent use. A goroutine that may block has no need of it: tls.Server or tls.Client over a Conn serves.
type TLS struct {
	conn *tls.Conn
	wire *memory
}

// ServerTLS answers a handshake on conn, ClientTLS begins one. When they return, conn is the caller's again: bytes it reads
// from there go through Open, bytes it wants to send through Seal. A ctx that ends closes conn; other errors leave it open.
func ServerTLS(ctx context.Context, conn net.Conn, cfg *tls.Config) (*TLS, error) {
	wire := &memory{Conn: conn, live: true}
	return handshake(ctx, tls.Server(wire, cfg), wire)
}

func ClientTLS(ctx context.Context, conn net.Conn, cfg *tls.Config) (*TLS, error) {
	wire := &memory{Conn: conn, live: true}
	return handshake(ctx, tls.Client(wire, cfg), wire)
}

func handshake(ctx context.Context, conn *tls.Conn, wire *memory) (*TLS, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("doing TLS handshake: %w", err)
	}
	wire.live = false
	return &TLS{conn: conn, wire: wire}, nil
}

// ConnectionState tells what the handshake agreed on.
func (t *TLS) ConnectionState() tls.ConnectionState { return t.conn.ConnectionState() }

// Open takes bytes from the wire (all of them; they are not kept) and appends what they decrypt to dst. It must be called
// once with no wire bytes after the handshake, which may have read ahead. io.EOF means the peer said its orderly goodbye.
// The protocol itself may want to answer (a key update): Unsent holds that.
func (t *TLS) Open(dst, wire []byte) ([]byte, error) {
	t.wire.in = wire
	for {
		dst = slices.Grow(dst, minOpen)
		n, err := t.conn.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if errors.Is(err, errDrained) {
			return dst, nil
		}
		if err != nil {
			t.wire.in = nil
			return dst, err
		}
	}
}

// minOpen is the least room one decrypting step gets.
const minOpen = 2 << 10

// Seal encrypts plain and appends the records to dst.
func (t *TLS) Seal(dst, plain []byte) ([]byte, error) {
	t.wire.out = append(dst, t.wire.unsent...)
	t.wire.unsent, t.wire.sealing = t.wire.unsent[:0], true
	_, err := t.conn.Write(plain)
	t.wire.sealing = false
	dst, t.wire.out = t.wire.out, nil
	return dst, err
}

// Unsent tells whether the protocol has bytes of its own to send; the next Seal, an empty one too, carries them.
func (t *TLS) Unsent() bool { return len(t.wire.unsent) > 0 }

// SealClose appends the orderly goodbye to dst. Nothing can be sealed after it.
func (t *TLS) SealClose(dst []byte) ([]byte, error) {
	t.wire.out = append(dst, t.wire.unsent...)
	t.wire.unsent, t.wire.sealing = nil, true
	err := t.conn.CloseWrite()
	t.wire.sealing = false
	dst, t.wire.out = t.wire.out, nil
	return dst, err
}

// errDrained is what the memory side answers when it has no more bytes. crypto/tls keeps a half-read record and stays
// usable after an error that calls itself temporary; any other read error would end the session.
var errDrained net.Error = drained{}

type drained struct{}

func (drained) Error() string   { return "no more bytes" }
func (drained) Timeout() bool   { return true }
func (drained) Temporary() bool { return true }

// memory stands under crypto/tls: the live connection during the handshake, memory afterwards.
type memory struct {
	net.Conn
	live    bool
	in      []byte // wire bytes not yet taken; borrowed for one Open
	out     []byte // records of the Seal that is going on
	unsent  []byte // records the protocol itself wrote during Open
	sealing bool
}

func (m *memory) Read(b []byte) (int, error) {
	if m.live {
		return m.Conn.Read(b)
	}
	if len(m.in) == 0 {
		return 0, errDrained
	}
	n := copy(b, m.in)
	m.in = m.in[n:]
	return n, nil
}

func (m *memory) Write(b []byte) (int, error) {
	switch {
	case m.live:
		return m.Conn.Write(b)
	case m.sealing:
		m.out = append(m.out, b...)
	default:
		m.unsent = append(m.unsent, b...)
	}
	return len(b), nil
}

// Close must not reach the connection: it belongs to whoever carries the session.
func (m *memory) Close() error {
	if m.live {
		return m.Conn.Close()
	}
	return io.ErrClosedPipe
}

// SetWriteDeadline must not reach the connection either: crypto/tls sets one that has passed when it says goodbye.
func (m *memory) SetWriteDeadline(t time.Time) error {
	if m.live {
		return m.Conn.SetWriteDeadline(t)
	}
	return nil
}
