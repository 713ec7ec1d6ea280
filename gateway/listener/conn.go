package listener

import (
	"net"
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
	raw      *socket.Conn
	closed   atomic.Bool
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

// Close closes the connection and gives its place back. It may be called again.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	err := c.Conn.Close()
	c.listener.gone(c)
	return err
}

// Client is the client's address as logs show it.
func (c *Conn) Client() string {
	if a := c.RemoteAddr(); a != nil && a.String() != "" {
		return a.String()
	}
	return "unix"
}
