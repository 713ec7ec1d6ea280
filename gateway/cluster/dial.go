package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/socket"
)

// Overloaded is the answer when an endpoint has as many connections as the cluster allows.
type Overloaded struct {
	Cluster, Endpoint string
	Limit             int
}

func (o *Overloaded) Error() string {
	return fmt.Sprintf("endpoint %s of cluster %q has its %d connections", o.Endpoint, o.Cluster, o.Limit)
}

// Dial opens a connection to an endpoint, with TLS when the cluster asks for it: a *socket.Conn, or a *tls.Conn over one.
//
// The cluster's connect timeout bounds the whole; ctx may end it sooner. The outcome counts as passive health.
func (c *Cluster) Dial(ctx context.Context, e *Endpoint) (net.Conn, error) {
	return c.dial(ctx, e, false)
}

// DialAddress opens a connection as Dial does to a member that the cluster itself named and nobody declared: a Kafka broker,
// a node of a Redis Cluster. The outcome counts for the endpoint of that address when there is one.
func (c *Cluster) DialAddress(ctx context.Context, address string) (net.Conn, error) {
	e := c.Endpoint(address)
	if e == nil {
		e = newEndpoint(config.Endpoint{Address: address})
		defer e.stop()
	}
	return c.Dial(ctx, e)
}

// DialPlain opens the bare connection, for protocols that begin TLS inside their handshake.
func (c *Cluster) DialPlain(ctx context.Context, e *Endpoint) (net.Conn, error) {
	return c.dialPlain(ctx, e, false)
}

var noDeadline time.Time

type clientKey struct{}

type client struct{ remote, local net.Addr }

// WithClient says for whom Dial opens a connection, so that a PROXY header can name the client.
func WithClient(ctx context.Context, remote, local net.Addr) context.Context {
	return context.WithValue(ctx, clientKey{}, client{remote, local})
}

func (c *Cluster) dial(ctx context.Context, e *Endpoint, probe bool) (net.Conn, error) {
	conf := c.Config() // once: a reload may turn TLS on or off meanwhile
	ctx, cancel := context.WithTimeout(ctx, conf.ConnectTimeout.Std())
	defer cancel()
	plain, err := c.dialPlain(ctx, e, probe)
	if err != nil || conf.TLS == nil {
		return plain, err
	}
	conn, err := c.startTLS(ctx, conf, e, plain, probe)
	if err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

// dialPlain connects. Probes count neither against the limit nor as passive health: they have a say of their own.
func (c *Cluster) dialPlain(ctx context.Context, e *Endpoint, probe bool) (net.Conn, error) {
	conf := c.Config()
	limit := conf.Limits.Connections
	if n := e.conns.Add(1); !probe && limit > 0 && n > int64(limit) {
		e.conns.Add(-1)
		return nil, &Overloaded{c.name, e.address, limit}
	}
	ctx, cancel := context.WithTimeout(ctx, conf.ConnectTimeout.Std())
	defer cancel()
	network, address := "tcp", e.address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	k := conf.KeepAlive
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: !k.Disabled, Idle: k.Idle.Std(), Interval: k.Interval.Std(), Count: k.Count}}
	if k.Disabled {
		d.KeepAlive = -1
	}
	began := c.deps.Now()
	conn, err := d.DialContext(ctx, network, address)
	if err == nil && conf.Proxy != "" {
		if err = sendProxyHeader(ctx, conn, conf.Proxy); err != nil {
			conn.Close()
		}
	}
	if err != nil {
		e.conns.Add(-1)
		err = fmt.Errorf("connecting to %s of cluster %q: %w", e.address, c.name, err)
		if !probe && context.Cause(ctx) != context.Canceled {
			e.failed.Add(1)
			c.Report(e, err)
		}
		return nil, err
	}
	if !probe {
		e.opened.Add(1)
	}
	c.Observe(e, c.deps.Now().Sub(began))
	s := socket.Wrap(conn)
	s.OnClose(func() { e.conns.Add(-1) })
	return s, nil
}

func sendProxyHeader(ctx context.Context, conn net.Conn, version string) error {
	h := &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	if who, ok := ctx.Value(clientKey{}).(client); ok {
		if header := proxyproto.HeaderProxyFromAddrs(2, who.remote, who.local); header.TransportProtocol.IsStream() {
			h = header
		}
	}
	if version == "v1" {
		h.Version = 1
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetWriteDeadline(deadline)
		defer conn.SetWriteDeadline(noDeadline)
	}
	_, err := h.WriteTo(conn)
	return err
}

// StartTLS wraps a connection that DialPlain opened. On an error the caller closes plain.
func (c *Cluster) StartTLS(ctx context.Context, e *Endpoint, plain net.Conn) (*tls.Conn, error) {
	return c.startTLS(ctx, c.Config(), e, plain, false)
}

func (c *Cluster) startTLS(ctx context.Context, conf *config.Cluster, e *Endpoint, plain net.Conn, probe bool) (*tls.Conn, error) {
	if conf.TLS == nil {
		return nil, fmt.Errorf("starting TLS with %s of cluster %q: the configuration no longer asks for it", e.address, c.name)
	}
	host := e.Config().Host
	if host == "" {
		var err error
		if host, _, err = net.SplitHostPort(e.address); err != nil {
			host = "localhost"
		}
	}
	secure, err := conf.TLS.Config(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, conf.ConnectTimeout.Std())
	defer cancel()
	conn := tls.Client(plain, secure)
	if err := conn.HandshakeContext(ctx); err != nil {
		err = fmt.Errorf("starting TLS with %s of cluster %q: %w", e.address, c.name, err)
		if !probe && context.Cause(ctx) != context.Canceled { // a client that left says nothing about the server
			e.failed.Add(1)
			c.Report(e, err)
		}
		return nil, err
	}
	return conn, nil
}
