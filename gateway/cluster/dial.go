package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"github.com/sidewire/sidewire/gateway/socket"
)

// Dial opens a connection to an endpoint, with TLS when the cluster asks for it: a *socket.Conn, or a *tls.Conn over one.
//
// The cluster's connect timeout bounds the whole; ctx may end it sooner. The outcome counts as passive health.
func (c *Cluster) Dial(ctx context.Context, e *Endpoint) (net.Conn, error) {
	plain, err := c.DialPlain(ctx, e)
	if err != nil || c.Config().TLS == nil {
		return plain, err
	}
	conn, err := c.StartTLS(ctx, e, plain)
	if err != nil {
		plain.Close()
	}
	return conn, err
}

// DialAddress opens a connection as Dial does to a member that the cluster itself named and nobody declared: a Kafka broker,
// a node of a Redis Cluster. The outcome counts for the endpoint of that address when there is one.
func (c *Cluster) DialAddress(ctx context.Context, address string) (net.Conn, error) {
	e := c.Endpoint(address)
	if e == nil {
		e = &Endpoint{address: address}
		e.healthy.Store(true)
	}
	return c.Dial(ctx, e)
}

// DialPlain opens the bare connection, for protocols that begin TLS inside their handshake.
func (c *Cluster) DialPlain(ctx context.Context, e *Endpoint) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Config().ConnectTimeout.Std())
	defer cancel()
	network, address := "tcp", e.address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		err = fmt.Errorf("connecting to %s of cluster %q: %w", e.address, c.name, err)
		if context.Cause(ctx) != context.Canceled {
			c.Report(e, err)
		}
		return nil, err
	}
	return socket.Wrap(conn), nil
}

// StartTLS wraps a connection that DialPlain opened. On an error the caller closes plain.
func (c *Cluster) StartTLS(ctx context.Context, e *Endpoint, plain net.Conn) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(e.address)
	if err != nil {
		host = "localhost"
	}
	conf, err := c.Config().TLS.Config(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Config().ConnectTimeout.Std())
	defer cancel()
	conn := tls.Client(plain, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		err = fmt.Errorf("starting TLS with %s of cluster %q: %w", e.address, c.name, err)
		c.Report(e, err)
		return nil, err
	}
	return conn, nil
}
