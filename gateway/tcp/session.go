package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// chunk is how much is read at once: the size at which large transfers stopped gaining in measurements.
const chunk = 64 << 10

type handler struct {
	host host.Host
	all  *telemetry.Counter
	in   *telemetry.Counter
	out  *telemetry.Counter

	unmatched   *telemetry.Counter
	uninspected *telemetry.Counter

	routes   atomic.Pointer[routes]
	sessions listener.Sessions
}

func newHandler(h host.Host, l *config.Listener) (*handler, error) {
	t := &handler{
		host: h,
		all:  h.Metrics().Counter("sidewire_tcp_connections_total", "Connections of clients.", "listener", l.Name),
		in:   h.Metrics().Counter("sidewire_tcp_received_bytes_total", "Bytes from clients.", "listener", l.Name),
		out:  h.Metrics().Counter("sidewire_tcp_sent_bytes_total", "Bytes to clients.", "listener", l.Name),

		unmatched:   h.Metrics().Counter("sidewire_tcp_unmatched_total", "Connections closed because no filter chain matched.", "listener", l.Name),
		uninspected: h.Metrics().Counter("sidewire_tcp_uninspected_total", "Connections that ended, or were closed, before they had said which filter chain they need.", "listener", l.Name),
	}
	for name, c := range map[string]*telemetry.Counter{"downstream_cx_total": t.all, "downstream_cx_rx_bytes_total": t.in, "downstream_cx_tx_bytes_total": t.out} {
		h.Metrics().Stat("tcp."+l.Name+"."+name, c) // as Envoy calls them
	}
	h.Metrics().Stat("listener."+l.Name+".no_filter_chain_match", t.unmatched)
	return t, t.Update(l)
}

func (t *handler) Update(l *config.Listener) error {
	r, err := newRoutes(l.Block.(*ListenerBlock))
	if err != nil {
		return err
	}
	t.routes.Store(r)
	return nil
}

// Refuse has no words at layer 4: the connection closes.
func (t *handler) Refuse(*listener.Conn, error) {}

// Drain waits for the connections to end by themselves: bytes without meaning have no boundary to cut at.
func (t *handler) Drain(ctx context.Context) { t.sessions.Wait(ctx) }

// Close has nothing to add: the listener interrupts the connections, and each session ends its other half.
func (t *handler) Close() {}

func (t *handler) Handle(ctx context.Context, c *listener.Conn) {
	t.all.Inc()
	t.sessions.Begin()
	defer t.sessions.End()
	defer c.Close()
	target, first := t.admit(ctx, c)
	if target == nil {
		return
	}
	entry := telemetry.Entry{Time: c.Started, Listener: c.Listener().Name(), Protocol: name, Client: c.Client(), Target: target.choose(t.host.Rand()), Operation: "connection"}
	err := t.relay(ctx, c, target, first, &entry)
	if err != nil && !quiet(err) {
		entry.Error = err.Error()
		t.host.Log().Warn("connection failed", "listener", entry.Listener, "client", entry.Client, "error", err)
	}
	entry.Duration = t.host.Now().Sub(c.Started)
	t.host.Access().Log(&entry)
}

// relay joins the client with a server, which is sent first what was read of the client already.
func (t *handler) relay(ctx context.Context, c *listener.Conn, target *Target, first []byte, entry *telemetry.Entry) error {
	servers, _ := t.host.Upstream(entry.Target).(*upstream)
	if servers == nil {
		return cluster.ErrClosed
	}
	cl := servers.cluster
	e, err := servers.pick(c.RemoteAddr(), target.Hash)
	if err != nil {
		return err
	}
	entry.Endpoint = e.Address()
	e.Begin()
	defer e.End()
	if err := cl.Take(cluster.Pending); err != nil {
		return err
	}
	up, err := cl.Dial(cluster.WithClient(ctx, c.RemoteAddr(), c.LocalAddr()), e)
	cl.Release(cluster.Pending)
	if err != nil {
		return err
	}
	defer up.Close()
	cl.Report(e, nil)
	stop := context.AfterFunc(ctx, func() { interrupt(up) })
	defer stop()
	idle := target.IdleTimeout.Std()
	if len(first) > 0 {
		if _, err := up.Write(first); err != nil {
			return err
		}
		t.in.Add(int64(len(first)))
	}
	back := make(chan error, 1)
	go func() {
		n, err := pump(c.Conn, up, idle, t.out)
		entry.BytesOut = n
		if err != nil { // the client may be silent for long: wake the other half
			c.Raw().Interrupt()
		}
		back <- err
	}()
	n, err := pump(up, c.Conn, idle, t.in)
	entry.BytesIn = n + int64(len(first))
	if err != nil {
		interrupt(up)
	}
	return errors.Join(err, <-back)
}

func interrupt(conn net.Conn) {
	if s, ok := conn.(*socket.Conn); ok {
		s.Interrupt()
		return
	}
	conn.SetDeadline(time.Unix(1, 0))
}

// pump moves bytes until src ends, and then ends dst's incoming half, so that either side may finish first.
func pump(dst, src net.Conn, idle time.Duration, count *telemetry.Counter) (moved int64, err error) {
	raw, _ := src.(*socket.Conn)
	for {
		if idle > 0 {
			src.SetReadDeadline(time.Now().Add(idle))
		}
		var buf *socket.Buffer
		var n int
		if raw != nil {
			buf, n, err = raw.ReadPooled(&socket.Shared, chunk)
		} else {
			buf = socket.Shared.Get(chunk)
			n, err = src.Read(buf.Bytes())
		}
		if n > 0 {
			count.Add(int64(n))
			moved += int64(n)
			if _, werr := dst.Write(buf.Bytes()[:n]); werr != nil {
				err = werr
			}
		}
		buf.Free()
		if err == io.EOF {
			return moved, closeWrite(dst)
		}
		if err != nil {
			return moved, err
		}
	}
}

func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) && !quiet(err) {
		return err
	}
	return nil
}

// quiet reports whether an error is an ordinary end of a connection: nothing an operator wants to read about.
func quiet(err error) bool {
	var op *net.OpError
	return errors.Is(err, socket.ErrInterrupted) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) ||
		(errors.As(err, &op) && op.Op != "dial" && !op.Timeout())
}
