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

// cutTimeout bounds how long sessions that were cut may take to end. What is left then is a fault of its protocol: it is
// logged, and does not hold up the end of the process.
var cutTimeout = 5 * time.Second // a variable for tests

// interruptEvery is how often sessions that were cut are woken again: a session that takes an interrupt back for a reason of
// its own must not miss this one.
const interruptEvery = 100 * time.Millisecond

// Listener is one bound address. Its socket outlives changes of everything but the address.
type Listener struct {
	// Fixed at creation.
	address string
	socket  net.Listener
	deps    Deps
	ctx     context.Context // ends when the listener is cut
	cut     context.CancelFunc
	stop    chan struct{}    // closed when nothing more is to be accepted
	ended   chan struct{}    // closed when the accept loop has ended
	active  *telemetry.Gauge // of all sockets of that name
	total   *telemetry.Counter
	refused *telemetry.Counter

	// Accessed atomically.
	state    atomic.Pointer[state]
	draining atomic.Bool
	count    atomic.Int64

	mu      sync.Mutex // guards what follows, and changes of state
	conns   map[*Conn]struct{}
	sources map[netip.Addr]int // connections by client address, while a limit on them is set
}

// state is what a connection is accepted with; replaced as a whole.
type state struct {
	*service
	config *config.Listener
	tls    *tls.Config
	gate   *gate
}

// service is the time of one handler on a listener.
type service struct {
	handler Handler
	ctx     context.Context // ends when its sessions are cut
	cut     context.CancelFunc
	open    Sessions // connections, and the goroutines that were started for them
	close   sync.Once
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
	ln := &Listener{address: address, socket: socket, deps: d, stop: make(chan struct{}), ended: make(chan struct{}), conns: map[*Conn]struct{}{}, sources: map[netip.Addr]int{}}
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

// Drained reports whether it was drained: it accepts nothing any more, and never will again.
func (l *Listener) Drained() bool { return l.draining.Load() }

// Connections is how many client connections are open.
func (l *Listener) Connections() int { return int(l.count.Load()) }

// Update takes a new configuration for the handler, which has been told before. Another handler than the one in force
// serves from now on; the sessions of the one before stay until the listener is drained.
func (l *Listener) Update(c *config.Listener, h Handler) error {
	_, err := l.swap(c, h)
	return err
}

// Replace takes a new configuration and the handler of another protocol. The caller drains what it returns: the sessions
// that the handler before still has.
func (l *Listener) Replace(c *config.Listener, h Handler) (drain func(context.Context), err error) {
	before, err := l.swap(c, h)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(l.ctx, cancel)()
		l.end(ctx, before)
	}, nil
}

func (l *Listener) swap(c *config.Listener, h Handler) (before *service, err error) {
	old := l.state.Load()
	next := &state{config: c, gate: newGate(c, old)}
	start, ok := h.(StartTLS)
	if c.TLS != nil && !(ok && start.StartTLS()) {
		if next.tls, err = c.TLS.Config(); err != nil {
			return nil, err
		}
	}
	if old != nil && old.handler == h {
		next.service = old.service
	} else {
		next.service = &service{handler: h}
		next.ctx, next.cut = context.WithCancel(l.ctx)
	}
	l.mu.Lock()
	l.state.Store(next)
	l.mu.Unlock()
	if old == nil {
		return nil, nil
	}
	return old.service, nil
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
			case <-l.stop:
				return
			}
			continue
		}
		backoff = 0
		l.accept(conn)
	}
}

func (l *Listener) accept(conn net.Conn) {
	raw := socket.Wrap(conn)
	c := &Conn{Conn: raw, raw: raw, ID: l.deps.NextID(), Started: l.deps.Now(), listener: l}
	l.count.Add(1)
	l.active.Inc()
	l.total.Inc()
	l.mu.Lock()
	s := l.state.Load() // under mu: whoever replaces it afterwards knows of this connection
	c.service = s.service
	l.conns[c] = struct{}{}
	s.open.Begin() // for the connection, which a loop may keep longer than its goroutine
	s.open.Begin() // for the goroutine
	l.mu.Unlock()
	go func() {
		defer s.open.End()
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
	s.handler.Handle(s.ctx, c)
}

// secure does the TLS handshake of a listener that serves TLS from the first byte.
func (l *Listener) secure(s *state, c *Conn) bool {
	if err := c.BeginTLS(s.ctx, c.raw, s.tls); err != nil {
		l.deps.Log.Warn("TLS handshake failed", "listener", s.config.Name, "client", c.Client(), "error", err)
		c.Close()
		return false
	}
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
	l.count.Add(-1)
	l.active.Dec()
	c.service.open.End()
}

// StopAccepting closes the socket: new connections are refused by the kernel, those that are open stay.
func (l *Listener) StopAccepting() {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.socket.Close()
	<-l.ended
}

// Drain stops accepting, lets sessions end at their boundaries until ctx is done, and cuts the rest. It may be called more
// than once: the first ctx that is done decides.
func (l *Listener) Drain(ctx context.Context) {
	l.draining.Store(true)
	l.StopAccepting()
	l.end(ctx, l.state.Load().service)
	l.Cut()
}

// Cut ends every connection at once and waits for their goroutines.
func (l *Listener) Cut() {
	l.cut()
	l.kill(l.state.Load().service)
}

// end drains one handler's sessions and cuts what is left when ctx is done.
func (l *Listener) end(ctx context.Context, s *service) {
	s.handler.Drain(ctx)
	s.open.Wait(ctx) // the handler did not know of those that were still on their way to it
	l.kill(s)
}

func (l *Listener) kill(s *service) {
	s.cut()
	l.interrupt(s)
	s.close.Do(s.handler.Close)
	for end := time.Now().Add(cutTimeout); s.open.Count() > 0; {
		if time.Now().After(end) {
			l.deps.Log.Error("sessions did not end when they were cut", "listener", l.Name(), "count", s.open.Count())
			return
		}
		l.interrupt(s)
		ctx, cancel := context.WithTimeout(context.Background(), interruptEvery)
		s.open.Wait(ctx)
		cancel()
	}
}

// interrupt wakes whoever is parked on a connection of s; its owner closes it. Closing from here could hand the descriptor's
// number to another connection while the owner still reads from it.
func (l *Listener) interrupt(s *service) {
	l.mu.Lock()
	var open []*Conn
	for c := range l.conns {
		if c.service == s {
			open = append(open, c)
		}
	}
	l.mu.Unlock()
	for _, c := range open {
		c.raw.Interrupt()
	}
}
