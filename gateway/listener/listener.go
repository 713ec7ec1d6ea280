package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// refuseTimeout bounds how long a refusal, or a TLS handshake, may occupy its goroutine.
const refuseTimeout = 5 * time.Second

// Listener is one bound address. Its socket outlives changes of everything but the address.
type Listener struct {
	// Fixed at creation.
	address string
	socket  net.Listener
	deps    Deps
	ctx     context.Context // ends when the listener is cut
	cut     context.CancelFunc
	ended   chan struct{} // closed when the accept loop has ended
	active  *telemetry.Gauge
	total   *telemetry.Counter
	refused *telemetry.Counter

	// Accessed atomically.
	state    atomic.Pointer[state]
	draining atomic.Bool
	count    atomic.Int64

	mu       sync.Mutex // guards what follows
	conns    map[*Conn]struct{}
	sources  map[netip.Addr]int // connections by client address, while a limit on them is set
	handlers sync.WaitGroup     // goroutines of connections
}

// state is what a connection is accepted with; replaced as a whole.
type state struct {
	config  *config.Listener
	handler Handler
	tls     *tls.Config
	gate    *gate
}

// Deps is what a listener needs of its process.
type Deps struct {
	Log     *slog.Logger
	Metrics *telemetry.Registry
	NextID  func() uint64
	Now     func() time.Time
	Full    func() bool // the process has no memory left for another client
}

// New makes a listener of a bound socket. Serve begins to accept.
func New(address string, socket net.Listener, l *config.Listener, h Handler, d Deps) (*Listener, error) {
	ln := &Listener{address: address, socket: socket, deps: d, ended: make(chan struct{}), conns: map[*Conn]struct{}{}, sources: map[netip.Addr]int{}}
	ln.ctx, ln.cut = context.WithCancel(context.Background())
	labels := []string{"listener", l.Name}
	ln.active = d.Metrics.Gauge("sidewire_listener_connections", "Client connections now open.", labels...)
	ln.total = d.Metrics.Counter("sidewire_listener_connections_total", "Client connections accepted.", labels...)
	ln.refused = d.Metrics.Counter("sidewire_listener_refused_total", "Client connections refused by a limit or a drain.", labels...)
	return ln, ln.Update(l, h)
}

// Name is the configured name.
func (l *Listener) Name() string { return l.state.Load().config.Name }

// Address is the address as configured.
func (l *Listener) Address() string { return l.address }

// Addr is the address as bound: with its port when port 0 was asked for.
func (l *Listener) Addr() net.Addr { return l.socket.Addr() }

// Config is the configuration now in force.
func (l *Listener) Config() *config.Listener { return l.state.Load().config }

// Handler is the handler now in force.
func (l *Listener) Handler() Handler { return l.state.Load().handler }

// Connections is how many client connections are open.
func (l *Listener) Connections() int { return int(l.count.Load()) }

// Update takes a new configuration, and a new handler when the protocol changed. The handler has been told before.
func (l *Listener) Update(c *config.Listener, h Handler) error {
	next := &state{config: c, handler: h, gate: newGate(c, l.state.Load())}
	start, ok := h.(StartTLS)
	if c.TLS != nil && !(ok && start.StartTLS()) {
		conf, err := c.TLS.Config()
		if err != nil {
			return err
		}
		next.tls = conf
	}
	l.state.Store(next)
	return nil
}

// Serve accepts until the socket is closed. It runs once, on a goroutine of the caller's.
func (l *Listener) Serve() {
	defer close(l.ended)
	for backoff := time.Duration(0); ; {
		conn, err := l.socket.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, usually. Accepting again at once would spin; the connection waits in the backlog.
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			l.deps.Log.Error("accepting connection", "listener", l.Name(), "error", err, "retry_in", backoff)
			select {
			case <-time.After(backoff):
			case <-l.ctx.Done():
				return
			}
			continue
		}
		backoff = 0
		l.accept(conn)
	}
}

func (l *Listener) accept(conn net.Conn) {
	s := l.state.Load()
	raw := socket.Wrap(conn)
	c := &Conn{Conn: raw, raw: raw, ID: l.deps.NextID(), Started: l.deps.Now(), listener: l}
	l.active.Set(l.count.Add(1))
	l.total.Inc()
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	l.handlers.Add(1)
	go func() {
		defer l.handlers.Done()
		l.handle(s, c)
	}()
}

func (l *Listener) handle(s *state, c *Conn) {
	defer func() {
		if r := recover(); r != nil {
			l.deps.Log.Error("session panicked", "listener", s.config.Name, "client", c.Client(), "panic", r, "stack", string(debug.Stack()))
			c.Close()
		}
	}()
	why := l.admit(s, c)
	if errors.Is(why, errDropped) {
		l.refused.Inc()
		l.deps.Log.Warn("connection dropped", "listener", s.config.Name, "client", c.Client(), "reason", why)
		c.Close()
		return
	}
	if s.tls != nil && !l.secure(s, c) {
		return
	}
	if why != nil {
		l.refused.Inc()
		c.SetDeadline(time.Now().Add(refuseTimeout))
		s.handler.Refuse(c, why)
		c.Close()
		return
	}
	s.handler.Handle(l.ctx, c)
}

// secure does the TLS handshake of a listener that serves TLS from the first byte.
func (l *Listener) secure(s *state, c *Conn) bool {
	over := tls.Server(c.raw, s.tls)
	ctx, cancel := context.WithTimeout(l.ctx, refuseTimeout)
	defer cancel()
	if err := over.HandshakeContext(ctx); err != nil {
		l.deps.Log.Warn("TLS handshake failed", "listener", s.config.Name, "client", c.Client(), "error", err)
		c.Close()
		return false
	}
	c.Upgrade(over)
	return true
}

func (l *Listener) gone(c *Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	if c.source.IsValid() {
		if l.sources[c.source]--; l.sources[c.source] == 0 {
			delete(l.sources, c.source)
		}
	}
	l.mu.Unlock()
	l.active.Set(l.count.Add(-1))
}

// StopAccepting closes the socket: new connections are refused by the kernel, those that are open stay.
func (l *Listener) StopAccepting() {
	l.socket.Close()
	<-l.ended
}

// Drain stops accepting, lets sessions end at their boundaries until ctx is done, and cuts the rest.
func (l *Listener) Drain(ctx context.Context) {
	l.draining.Store(true)
	l.StopAccepting()
	l.Handler().Drain(ctx)
	l.Cut()
}

// Cut ends every connection at once and waits for their goroutines.
func (l *Listener) Cut() {
	l.cut()
	l.mu.Lock()
	open := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	// An interrupt wakes whoever is parked on the connection; its owner closes it. Closing from here could hand the
	// descriptor's number to another connection while the owner still reads from it.
	for _, c := range open {
		c.raw.Interrupt()
	}
	l.Handler().Close()
	l.handlers.Wait()
}
