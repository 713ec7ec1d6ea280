package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/socket"
)

const (
	// maxHello bounds what is kept of a client that has not said yet what it wants. crypto/tls takes messages of 64 KB; the rest
	// is their records' framing, and what came along with the last of them.
	maxHello = 128 << 10
	// recordHandshake is the first byte of every TLS connection (RFC 8446, 5.1).
	recordHandshake = 0x16
)

// hello is what a client's first bytes say.
type hello struct {
	tls       bool
	name      string   // SNI
	protocols []string // ALPN, in the client's order
}

func (h hello) transport() string {
	if h.tls {
		return "tls"
	}
	return "raw_buffer"
}

var (
	errSeen    = errors.New("the ClientHello was seen") // ends a handshake that was never meant to go on
	errTooLong = errors.New("the ClientHello is too long")
)

// inspect reads until it is known how a client begins, and returns what was read. Bytes that are not TLS's are raw; a
// ClientHello that breaks off or contradicts itself is an error. It is crypto/tls that reads it: a handshake is begun whose
// answers go nowhere, and ended at the hook that is told of the ClientHello.
func inspect(r io.Reader) (h hello, first []byte, err error) {
	t := &tape{from: r}
	if _, err := t.Read(make([]byte, 1)); err != nil {
		return h, nil, err
	}
	if t.bytes[0] != recordHandshake {
		return h, t.bytes, nil
	}
	t.again = t.bytes[:1:1]
	err = tls.Server(t, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		h = hello{tls: true, name: i.ServerName, protocols: i.SupportedProtos}
		return nil, errSeen
	}}).Handshake()
	var header tls.RecordHeaderError
	switch {
	case h.tls:
		return h, t.bytes, nil
	case errors.As(err, &header): // no TLS record, though it begins like one
		return h, t.bytes, nil
	}
	return h, nil, err
}

// tape is a connection that keeps what is read and swallows what is written.
type tape struct {
	net.Conn // nil: nothing else is asked of it
	from     io.Reader
	bytes    []byte
	again    []byte // to be read once more
}

func (t *tape) Read(b []byte) (int, error) {
	if len(t.again) > 0 {
		n := copy(b, t.again)
		t.again = t.again[n:]
		return n, nil
	}
	room := maxHello - len(t.bytes)
	if room == 0 {
		return 0, errTooLong
	}
	n, err := t.from.Read(b[:min(len(b), room)])
	t.bytes = append(t.bytes, b[:n]...)
	return n, err
}

func (t *tape) Write(b []byte) (int, error)      { return len(b), nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }
func (t *tape) Close() error                     { return nil }

// replay is a client's connection of which the first bytes were read already.
type replay struct {
	*socket.Conn
	first []byte
}

func (r *replay) Read(b []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(b, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}

// admit says where a connection goes, and what was read of it that the server is to see; nil when it is to be closed.
func (t *handler) admit(ctx context.Context, c *listener.Conn) (*Target, []byte) {
	r := t.routes.Load()
	if len(r.block.Chains) == 0 {
		return &r.block.Target, nil
	}
	fail := func(why string, err error) (*Target, []byte) {
		t.host.Log().Warn(why, "listener", c.Listener().Name(), "client", c.Client(), "error", err)
		return nil, nil
	}
	var h hello
	var first []byte
	if r.looks {
		var err error
		c.Raw().SetReadDeadline(time.Now().Add(r.block.Inspect.Std()))
		h, first, err = inspect(c.Raw())
		c.Raw().SetReadDeadline(time.Time{})
		if err != nil {
			t.uninspected.Inc()
			return fail("connection not inspected", err)
		}
	}
	chain := r.find(h, source(c.RemoteAddr()))
	if chain == nil {
		t.unmatched.Inc()
		return fail("connection closed", fmt.Errorf("no filter chain matches: %s, server name %q, protocols %q", h.transport(), h.name, h.protocols))
	}
	cfg := r.tls[chain]
	if cfg == nil {
		return &chain.Target, first
	}
	if err := c.BeginTLS(ctx, &replay{c.Raw(), first}, cfg); err != nil {
		return fail("TLS handshake failed", err)
	}
	return &chain.Target, nil
}

// source is a client's address; invalid for a unix socket, which no network has.
func source(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
