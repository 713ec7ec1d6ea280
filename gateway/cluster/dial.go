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

// Dial opens a connection to an endpoint, with TLS when the cluster asks for it: a *socket.Conn, or a *tls.Conn over one.
//
// The cluster's connect timeout bounds the whole; ctx may end it sooner. The outcome counts as passive health.
func (c *Cluster) Dial(ctx context.Context, e *Endpoint) (net.Conn, error) {
	return c.dial(ctx, e, false)
}

// DialAddress opens a connection as Dial does to a member that the cluster itself named and nobody declared: a Kafka broker,
// a node of a Redis Cluster. The outcome counts for the endpoint of that address when there is one.
func (c *Cluster) DialAddress(ctx context.Context, address string) (net.Conn, error) {
	return c.Dial(ctx, c.member(address))
}

// DialPlainAddress is to DialPlain what DialAddress is to Dial.
func (c *Cluster) DialPlainAddress(ctx context.Context, address string) (net.Conn, error) {
	return c.DialPlain(ctx, c.member(address))
}

// member is the endpoint of an address, a declared one or not. One that is not declared lives as long as the cluster and has
// no probes; without an identity of its own its connections could not be counted.
func (c *Cluster) member(address string) *Endpoint {
	if e := c.Endpoint(address); e != nil {
		return e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.strangers[address]
	if e == nil {
		e = newEndpoint(config.Endpoint{Address: address})
		e.stranger = true
		if c.strangers == nil || len(c.strangers) >= maxStrangers {
			c.strangers = map[string]*Endpoint{} // the connections of those forgotten count against the cluster still
		}
		c.strangers[address] = e
	}
	return e
}

// maxStrangers bounds how many members are remembered that nobody declared: a cluster may move from address to address.
const maxStrangers = 1024

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

// dialPlain connects. Probes count neither against the limits nor as passive health: they have a say of their own.
func (c *Cluster) dialPlain(ctx context.Context, e *Endpoint, probe bool) (net.Conn, error) {
	conf := c.Config()
	leave, err := c.admit(ctx, e, probe)
	if err != nil {
		return nil, err
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
		leave()
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
	s.OnClose(leave)
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

// ServerName is the name that the certificate of a member has to have: that by which its address was found.
func (c *Cluster) ServerName(address string) string { return c.member(address).serverName() }

func (e *Endpoint) serverName() string {
	if host := e.Config().Host; host != "" {
		return host
	}
	host, _, err := net.SplitHostPort(e.address)
	if err != nil {
		return "localhost"
	}
	return host
}

// StartTLS wraps a connection that DialPlain opened. On an error the caller closes plain.
func (c *Cluster) StartTLS(ctx context.Context, e *Endpoint, plain net.Conn) (*tls.Conn, error) {
	return c.startTLS(ctx, c.Config(), e, plain, false)
}

func (c *Cluster) startTLS(ctx context.Context, conf *config.Cluster, e *Endpoint, plain net.Conn, probe bool) (*tls.Conn, error) {
	if conf.TLS == nil {
		return nil, fmt.Errorf("starting TLS with %s of cluster %q: the configuration no longer asks for it", e.address, c.name)
	}
	secure, err := conf.TLS.Config(e.serverName())
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
