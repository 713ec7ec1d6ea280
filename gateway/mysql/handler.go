package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/database"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/gateway/telemetry"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/keygen"
)

// handler is MySQL at work on one listener.
type handler struct {
	// Fixed at creation.
	host      host.Host
	name      string
	watcher   *socket.Watcher
	metrics   metrics
	recorder  *telemetry.Recorder
	keys      *keygen.Source
	shadow    *shadow
	gathering chan struct{}   // held by a session while it takes several connections
	large     chan struct{}   // held by a session while it has a statement of 16 MB and more
	life      context.Context // of work that outlives a session: cancels and resets
	stop      context.CancelFunc
	idle      sync.WaitGroup
	unview    func()

	current  atomic.Pointer[terms]
	draining atomic.Bool
	virtuals sync.Map // by name: *virtual

	mu       sync.Mutex // guards what follows
	sessions map[uint32]*session
	workers  map[database.Source]*worker
	gone     chan struct{} // closed when the last session left during a drain
	unshadow func()        // nil: nothing is shown
}

// terms is what sessions are served under; replaced as a whole when the configuration changes.
type terms struct {
	config    *config.Listener
	block     *ListenerBlock
	users     map[string]*User
	databases map[string]bool
	tls       *tls.Config
}

// metrics are a listener's instruments.
type metrics struct {
	statements [classCount]*telemetry.Counter
	errors     *telemetry.Counter
	duration   *telemetry.Histogram
	pins       map[string]*telemetry.Counter
	pinned     *telemetry.Gauge
	denied     *telemetry.Counter
	begun      *telemetry.Counter
	timeouts   *telemetry.Counter
	cut        *telemetry.Counter
	idled      *telemetry.Counter
	tooLarge   *telemetry.Counter
	registry   *telemetry.Registry
	listener   string
}

func newHandler(h host.Host, l *config.Listener, keys *keygen.Source) (*handler, error) {
	w, err := socket.NewWatcher()
	if err != nil {
		return nil, err
	}
	m := &handler{host: h, name: l.Name, watcher: w, keys: keys, gathering: make(chan struct{}, 1), large: make(chan struct{}, largeAtOnce), sessions: map[uint32]*session{}}
	m.life, m.stop = context.WithCancel(context.Background())
	m.metrics = newMetrics(h.Metrics(), l.Name)
	m.recorder = h.Statements().Recorder(l.Name, name, describe)
	m.shadow = newShadow(m)
	if err := m.Update(l); err != nil {
		w.Close()
		return nil, err
	}
	h.Metrics().GaugeFunc("sidewire_mysql_large_statements", "Statements of 16 MB and more that are held now.", func() float64 { return float64(len(m.large)) }, "listener", l.Name)
	m.unview = h.View("mysql/"+l.Name, m.view)
	m.idle.Go(m.shadow.run)
	m.idle.Go(m.endIdle)
	return m, nil
}

func newMetrics(r *telemetry.Registry, listener string) metrics {
	m := metrics{registry: r, listener: listener, pins: map[string]*telemetry.Counter{},
		errors:   r.Counter("sidewire_mysql_errors_total", "Statements that ended with an error.", "listener", listener),
		duration: r.Histogram("sidewire_mysql_statement_seconds", "From a statement's arrival to its answer's end.", telemetry.OperationBounds, "listener", listener),
		pinned:   r.Gauge("sidewire_mysql_pinned_sessions", "Sessions that may not give their connection back.", "listener", listener),
		denied:   r.Counter("sidewire_mysql_denied_total", "Handshakes that ended in a refusal.", "listener", listener),
	}
	m.timeouts = r.Counter("sidewire_mysql_statement_timeouts_total", "Statements ended because statement_timeout was over.", "listener", listener)
	m.cut = r.Counter("sidewire_mysql_results_cut_total", "Results ended because they were longer than max_result.", "listener", listener)
	m.tooLarge = r.Counter("sidewire_mysql_statements_too_large_total", "Statements refused: longer than max_statement, or of 16 MB and more while others were held for too long.", "listener", listener)
	m.idled = r.Counter("sidewire_mysql_idle_sessions_ended_total", "Sessions ended because they said nothing for idle_timeout.", "listener", listener)
	for c := range m.statements {
		m.statements[c] = r.Counter("sidewire_mysql_statements_total", "Statements by what they do.", "listener", listener, "class", classLabel(c))
	}
	for _, reason := range []string{pinSet, pinNextTransaction, pinUserVariable, pinTemporaryTable, pinLockTables, pinUserLock,
		pinTextPrepare, pinHandler, pinXA, pinLongData, pinCursor, pinFoundRows, pinState} {
		m.pins[reason] = r.Counter("sidewire_mysql_pins_total", "Sessions bound to their connection, by reason.", "listener", listener, "reason", reason)
	}
	m.begun = r.Counter("sidewire_mysql_sessions_total", "Sessions of clients.", "listener", listener)
	m.envoyStats()
	return m
}

// Update takes a new block; sessions see it at their next statement.
func (m *handler) Update(l *config.Listener) error {
	block := l.Block.(*ListenerBlock)
	t := &terms{config: l, block: block, users: map[string]*User{}, databases: map[string]bool{}}
	for _, name := range block.Databases {
		t.databases[name] = true
	}
	for i := range block.Users {
		t.users[block.Users[i].Name] = &block.Users[i]
	}
	if l.TLS != nil {
		conf, err := l.TLS.Config()
		if err != nil {
			return fmt.Errorf("loading TLS of listener %q: %w", l.Name, err)
		}
		t.tls = conf
	}
	m.current.Store(t)
	m.showShadow(block.Shadow != nil)
	return nil
}

// showShadow has the admin interface show what differed, or no longer.
func (m *handler) showShadow(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case on && m.unshadow == nil:
		m.unshadow = m.host.View("shadow/"+m.name, m.shadow.view)
	case !on && m.unshadow != nil:
		m.unshadow()
		m.unshadow = nil
	}
}

// Settle ends the sessions of users that are gone, and says so.
func (m *handler) Settle() {
	t := m.current.Load()
	m.each(func(s *session) {
		if u := s.authenticated(); u != "" && t.users[u] == nil {
			m.host.Log().Info("session ended: its user was removed", "listener", m.name, "user", u)
			s.end(fault(codeAccessDenied, stateAccess, "sidewire: user '%s' was removed", u))
		}
	})
}

// StartTLS keeps the listener from beginning TLS: MySQL does so inside its handshake.
func (m *handler) StartTLS() bool { return true }

// Refuse greets with an error, as a server does that has no room.
func (m *handler) Refuse(c *listener.Conn, why error) {
	e := fault(codeTooManyConnections, stateRejected, "Too many connections")
	if errors.Is(why, listener.ErrDraining) {
		e = fault(codeServerShutdown, stateCommunication, "Server shutdown in progress")
	}
	p, _ := wire.AppendPacket(nil, 0, wire.AppendErr(nil, e))
	c.Write(p) // a client that is gone needs no reason
}

func (m *handler) Handle(ctx context.Context, c *listener.Conn) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m.metrics.begun.Inc()
	s := newSession(m, c, ctx, cancel)
	m.mu.Lock()
	m.sessions[s.id] = s
	m.mu.Unlock()
	defer m.left(s)
	defer c.Close()
	stop, err := m.watcher.Watch(c.Raw(), s.hungUp)
	if err != nil {
		m.host.Log().Warn("watching a client for its hang-up", "listener", m.name, "error", err)
		return
	}
	defer stop()
	s.serve()
}

func (m *handler) left(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, s.id)
	if len(m.sessions) == 0 && m.gone != nil {
		close(m.gone)
		m.gone = nil
	}
}

func (m *handler) each(f func(*session)) {
	m.mu.Lock()
	all := make([]*session, 0, len(m.sessions))
	for _, s := range m.sessions {
		all = append(all, s)
	}
	m.mu.Unlock()
	for _, s := range all {
		f(s)
	}
}

// session finds a session by the number its client knows.
func (m *handler) session(id uint32) *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[id]
}

// Drain ends sessions that have no transaction and no pin at once, and the others when theirs are over.
func (m *handler) Drain(ctx context.Context) {
	m.draining.Store(true)
	m.mu.Lock()
	var gone chan struct{}
	if len(m.sessions) > 0 {
		if m.gone == nil { // another drain may wait already
			m.gone = make(chan struct{})
		}
		gone = m.gone
	}
	m.mu.Unlock()
	if gone == nil {
		return
	}
	m.each((*session).drain)
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// Close ends what is left. The listener has interrupted the connections.
func (m *handler) Close() {
	if m.life.Err() != nil {
		return
	}
	m.stop()
	m.each(func(s *session) { s.end(fault(codeServerShutdown, stateCommunication, "Server shutdown in progress")) })
	m.idle.Wait()
	m.watcher.Close()
	m.unview()
	m.showShadow(false)
	m.dropWorkers()
}

// endIdle ends sessions that said nothing for longer than the listener allows. One goroutine looks at all of them, so
// that a statement costs no timer.
func (m *handler) endIdle() {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		select {
		case <-m.life.Done():
			return
		case <-t.C:
		}
		limit := m.current.Load().block.IdleTimeout.Std()
		if limit <= 0 {
			continue
		}
		now := m.host.Now()
		m.each(func(s *session) {
			if s.idleFor(now) > limit {
				m.metrics.idled.Inc()
				s.end(fault(codeInteractionTimeout, stateGeneral, "The client was disconnected by the server because of inactivity."))
			}
		})
	}
}

// serverVersion is what a client is greeted with: configured, else what a probe learnt, else a version that every
// client understands.
func (m *handler) serverVersion(t *terms) string {
	if t.block.ServerVersion != "" {
		return t.block.ServerVersion
	}
	for _, name := range m.clusters(t) {
		c := m.host.Cluster(name)
		if c == nil {
			continue
		}
		for _, e := range c.Endpoints() {
			if s := e.State(); s != nil && s.Version != "" && e.Role() != cluster.Replica {
				return s.Version
			}
		}
	}
	return "8.0.40-sidewire"
}

// clusters are those that serve the listener.
func (m *handler) clusters(t *terms) []string {
	var names []string
	if t.block.Cluster != "" {
		names = append(names, t.block.Cluster)
	}
	for _, name := range t.block.Databases {
		if v := m.virtual(t, name); v != nil {
			for i := range v.db.Rules.Targets {
				names = append(names, v.place(i).Cluster)
			}
		}
	}
	return names
}

// view is the sessions as the admin interface shows them.
func (m *handler) view() any {
	out := []sessionView{}
	m.each(func(s *session) { out = append(out, s.view()) })
	return map[string]any{"sessions": out}
}
