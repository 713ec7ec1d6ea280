package listener

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/socket"
)

// Conn is a client's connection. It counts against its listener's limits until it is closed.
type Conn struct {
	net.Conn // *socket.Conn, or *tls.Conn over it

	ID      uint64 // unique in this process
	Started time.Time

	listener *Listener
	service  *service // whose connection it is
	raw      *socket.Conn
	closed   atomic.Bool

	client net.Addr   // what a trusted peer said in its PROXY header; nil: the socket's own
	source netip.Addr // counted against the listener's limit per source; guarded by the listener's mu
}

// Listener is where the connection came in.
func (c *Conn) Listener() *Listener { return c.listener }

// Socket is the plain socket when nothing stands between it and the protocol; nil under TLS.
func (c *Conn) Socket() *socket.Conn {
	if c.Conn == net.Conn(c.raw) {
		return c.raw
	}
	return nil
}

// Raw is the socket at the bottom, TLS or not: for deadlines and options, never to read or write beside TLS.
func (c *Conn) Raw() *socket.Conn { return c.raw }

// Upgrade puts another connection, such as TLS begun inside a handshake, on top. Only the owner may call it.
func (c *Conn) Upgrade(over net.Conn) { c.Conn = over }

// BeginTLS does a server's TLS handshake over from, which is the raw connection or stands before it, and puts TLS on top.
func (c *Conn) BeginTLS(ctx context.Context, from net.Conn, cfg *tls.Config) error {
	over := tls.Server(from, cfg)
	ctx, cancel := context.WithTimeout(ctx, refuseTimeout)
	defer cancel()
	if err := over.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Upgrade(over)
	return nil
}

// Close closes the connection and gives its place back. It may be called again.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	err := c.Conn.Close()
	c.listener.gone(c)
	return err
}

// RemoteAddr is the client's address: that of a PROXY header when a trusted peer sent one.
func (c *Conn) RemoteAddr() net.Addr {
	if c.client != nil {
		return c.client
	}
	return c.Conn.RemoteAddr()
}

// Client is the client's address as logs show it.
func (c *Conn) Client() string {
	if a := c.RemoteAddr(); a.Network() != "unix" {
		return a.String()
	}
	return "unix" // the peer of a unix socket has no name
}
