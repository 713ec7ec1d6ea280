package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/telemetry"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// sweepInterval is how often idle connections are looked at for age.
const sweepInterval = 5 * time.Second

// retryInterval is how often a statement that waits for an endpoint looks by itself, beside being told of changes.
const retryInterval = 200 * time.Millisecond

// upstream is the pools of one cluster, one an endpoint.
type upstream struct {
	// Fixed at creation.
	host     host.Host
	cluster  *cluster.Cluster
	stop     chan struct{}
	swept    sync.WaitGroup
	waits    *telemetry.Counter
	refused  *telemetry.Counter
	dials    *telemetry.Counter
	stale    *telemetry.Counter
	buffered *telemetry.Counter
	measure  *telemetry.Pool

	pools     sync.Map                   // *cluster.Endpoint -> *pool
	switching atomic.Pointer[switchover] // nil: none is under way
	closed    atomic.Bool
	written   written
	held      atomic.Int64  // statements that wait for an endpoint
	mode      atomic.Uint32 // scan.Mode of the sql_mode that sessions begin with
}

func newUpstream(h host.Host, c *cluster.Cluster) *upstream {
	labels := []string{"cluster", c.Name()}
	u := &upstream{host: h, cluster: c, stop: make(chan struct{}),
		waits:    h.Metrics().Counter("sidewire_mysql_pool_waits_total", "Statements that waited for a backend connection.", labels...),
		refused:  h.Metrics().Counter("sidewire_mysql_pool_refused_total", "Statements refused because no backend connection came free.", labels...),
		buffered: h.Metrics().Counter("sidewire_mysql_failover_waits_total", "Statements that waited because no endpoint could take them.", labels...),
		stale:    h.Metrics().Counter("sidewire_mysql_reads_not_caught_up_total", "Reads that the primary served because a replica had not caught up.", labels...),
		dials:    h.Metrics().Counter("sidewire_mysql_backend_connections_total", "Backend connections opened.", labels...),
	}
	h.Metrics().GaugeFunc("sidewire_mysql_backend_connections", "Backend connections now open.", func() float64 { return float64(u.count().open) }, labels...)
	h.Metrics().GaugeFunc("sidewire_mysql_backend_idle", "Backend connections that nobody holds.", func() float64 { return float64(u.count().idle) }, labels...)
	h.Metrics().GaugeFunc("sidewire_mysql_failover_waiting", "Statements that now wait because no endpoint can take them.", func() float64 { return float64(u.held.Load()) }, labels...)
	h.Metrics().GaugeFunc("sidewire_mysql_pool_waiting", "Statements now waiting for a backend connection.", func() float64 { return float64(u.count().waiting) }, labels...)
	u.measure = telemetry.NewPool(h.Metrics(), c.Name(), func() telemetry.PoolReading {
		n := u.count()
		most := u.block().Pool.Max * max(len(c.Endpoints()), 1)
		return telemetry.PoolReading{Idle: n.idle, Used: n.open - n.idle, Pending: n.waiting, Max: most, MaxIdle: most}
	})
	u.swept.Go(u.sweep)
	h.Action(u.action(), u.switchOver)
	return u
}

func (u *upstream) action() string { return name + "/" + u.cluster.Name() + "/switchover" }

func (u *upstream) block() *ClusterBlock { return u.cluster.Config().Block.(*ClusterBlock) }

// Update takes the cluster's new configuration: leases go on, idle connections of an account that changed are closed as
// they are found.
func (u *upstream) Update(*config.Cluster) error {
	u.pools.Range(func(_, p any) bool { p.(*pool).trim(u.host.Now()); return true })
	return nil
}

// Close closes what is idle; what is leased is closed when it comes back.
func (u *upstream) Close() {
	if u.closed.Swap(true) {
		return
	}
	u.host.Action(u.action(), nil)
	close(u.stop)
	u.swept.Wait()
	u.pools.Range(func(_, p any) bool { p.(*pool).trim(u.host.Now()); return true })
	if now := u.host.Cluster(u.cluster.Name()); now == nil || now == u.cluster { // else they are another's of the same name
		u.host.Metrics().Delete("cluster", u.cluster.Name())
	}
}

func (u *upstream) sweep() {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		changed := u.cluster.Changed()
		u.supersede()
		select {
		case <-u.stop:
			return
		case <-changed:
		case <-t.C:
			u.pools.Range(func(_, p any) bool { p.(*pool).trim(u.host.Now()); return true })
		}
	}
}

type poolCount struct{ open, idle, waiting int }

func (u *upstream) count() poolCount {
	var c poolCount
	u.pools.Range(func(_, v any) bool {
		p := v.(*pool)
		p.mu.Lock()
		c.open, c.idle, c.waiting = c.open+p.open, c.idle+len(p.idle), c.waiting+len(p.waiting)
		p.mu.Unlock()
		return true
	})
	return c
}

func (u *upstream) pool(e *cluster.Endpoint) *pool {
	if p, ok := u.pools.Load(e); ok {
		return p.(*pool)
	}
	p, _ := u.pools.LoadOrStore(e, &pool{up: u, endpoint: e})
	return p.(*pool)
}

// want says which backend connection fits a statement.
type want struct {
	role  cluster.Role
	class class
	last  *backend // the one the session used last, and its uses then: it fits best
	uses  uint64
	// exact demands the last one: its server still knows what the session did there.
	exact bool
	// settings and database are what the statement needs: a connection that has them is preferred.
	settings *settings
	database string
	now      time.Time
	sources  int  // data sources of its database, which may share a pool; 0: it is no virtual one
	within   bool // its transaction has connections: it does not wait for a switch-over's drain
}

// lease takes a connection that fits w. It waits while all are taken.
func (u *upstream) lease(ctx context.Context, w *want, session uint64) (*backend, error) {
	if b := w.last; b != nil && b.pool.up == u && !u.moving(w) && b.pool.retake(w) {
		if !u.moving(w) {
			u.measure.Waited(0)
			return b.begin(session, w.now), nil
		}
		b.pool.put(b)
	}
	if w.exact {
		return nil, nil
	}
	began := u.host.Now()
	b, err := u.find(ctx, w)
	if err != nil && !refused(err) {
		b, err = u.await(ctx, w, err)
	}
	if err != nil {
		return nil, err
	}
	now := u.host.Now()
	u.measure.Waited(now.Sub(began))
	return b.begin(session, now), nil
}

// find takes a connection to an endpoint that fits now.
func (u *upstream) find(ctx context.Context, w *want) (*backend, error) {
	if u.moving(w) {
		return nil, u.errMoving()
	}
	e, err := u.pick(w.role)
	if err != nil {
		return nil, err
	}
	b, err := u.pool(e).get(ctx, w)
	if err == nil && u.moving(w) {
		u.pool(e).put(b)
		return nil, u.errMoving()
	}
	return b, err
}

// refused reports whether an error is an answer: waiting would not change it.
func refused(err error) bool {
	var e *wire.Error
	var o *cluster.Overloaded
	return errors.As(err, &e) || errors.Is(err, cluster.ErrClosed) || errors.As(err, &o) && o.Burden != cluster.Connections
}

// await holds a statement back while no endpoint can take it: until one can, or its time is over. Nothing of it was
// sent anywhere, so it can still run as if nothing had been.
func (u *upstream) await(ctx context.Context, w *want, why error) (*backend, error) {
	limits := u.block().Failover
	if limits.Wait <= 0 {
		return nil, why
	}
	if n := u.held.Add(1); n > int64(limits.Waiting) {
		u.held.Add(-1)
		return nil, fmt.Errorf("%w (%d statements wait for it already)", why, n-1)
	}
	defer u.held.Add(-1)
	u.buffered.Inc()
	over := time.NewTimer(limits.Wait.Std())
	defer over.Stop()
	again := time.NewTimer(retryInterval)
	defer again.Stop()
	for {
		select {
		case <-u.cluster.Changed():
		case <-again.C:
		case <-over.C:
			return nil, fmt.Errorf("%w (waited %s)", why, limits.Wait)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		b, err := u.find(ctx, w)
		if err == nil || refused(err) {
			return b, err
		}
		why = err
		again.Reset(retryInterval)
	}
}

// begin makes session the backend's owner.
func (b *backend) begin(session uint64, now time.Time) *backend {
	if session == 0 {
		b.forgetLeft()
	}
	b.lent = now
	b.foreign = b.owner != session
	b.owner = session
	b.uses++
	b.pool.endpoint.Begin()
	return b
}

// pool is the connections to one endpoint.
type pool struct {
	// Fixed at creation.
	up       *upstream
	endpoint *cluster.Endpoint

	mu      sync.Mutex // guards what follows
	idle    []*backend // oldest first
	open    int        // idle, leased and being opened
	waiting []chan *backend
	all     map[*backend]struct{} // idle and leased
}

// cut closes what is idle and wakes whoever waits for an answer.
func (p *pool) cut() {
	p.distrust()
	p.mu.Lock()
	defer p.mu.Unlock()
	for b := range p.all {
		b.conn.Interrupt()
	}
}

// forget closes a connection that is taken out of the pool. p.mu is held.
func (p *pool) forget(b *backend) {
	b.close()
	b.forgetLeft()
	delete(p.all, b)
	p.open--
}

// retake takes back the very connection a session used last, if nobody had it since.
func (p *pool) retake(w *want) bool {
	b := w.last
	p.mu.Lock()
	i := slices.Index(p.idle, b)
	// Only of a connection that rests here may anything be read: another session may own it by now.
	if i < 0 || b.uses != w.uses || b.class != w.class {
		p.mu.Unlock()
		return false
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	p.mu.Unlock()
	fits := w.role == cluster.Any || w.exact || p.endpoint.Role() == w.role || p.endpoint.Role() == cluster.Unknown
	if w.role == cluster.Primary && !w.exact && p.up.cluster.Rival(p.endpoint) != nil {
		e, err := p.up.pick(w.role) // two take writes: which one is to be written to is not a session's to say
		fits = err == nil && e == p.endpoint
	}
	if !fits || !p.endpoint.Healthy() && !w.exact {
		p.put(b)
		return false
	}
	if b.quiet(w.now) {
		return true
	}
	p.discard(b)
	return false
}

// get takes an idle connection, opens one, or waits for one.
func (p *pool) get(ctx context.Context, w *want) (*backend, error) {
	if !p.endpoint.Healthy() {
		p.distrust()
	}
	for {
		p.mu.Lock()
		b := p.takeIdle(w)
		if b != nil {
			p.mu.Unlock()
			if b.quiet(w.now) {
				return b, nil
			}
			p.discard(b)
			continue
		}
		limits := p.up.block().Pool
		if p.open >= limits.Max && len(p.idle) > 0 { // all are of other classes
			p.forgetOldest()
		}
		if p.open < limits.Max {
			p.open++
			p.mu.Unlock()
			b, err := p.dial(ctx, w)
			if !full(err) {
				return b, err
			}
			if p.up.makeRoom(p, err) {
				continue
			}
			if w.sources > 0 { // one that rests has to change its database after all
				w.sources = 0
				continue
			}
			p.mu.Lock()
			if p.open == 0 {
				p.mu.Unlock()
				return nil, err // none of ours will come free
			}
			if len(p.idle) > 0 {
				p.forgetOldest()
				p.mu.Unlock()
				continue
			}
		}
		b, err := p.wait(ctx, w, &limits) // unlocks
		if err != nil || b != nil {
			return b, err
		}
	}
}

// distrust closes the idle connections to an endpoint that fails its probes. One that stands still would take a statement
// and never answer; a new connection finds out within the connect timeout.
func (p *pool) distrust() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.idle {
		p.forget(b)
	}
	clear(p.idle)
	p.idle = p.idle[:0]
}

// takeIdle takes the idle connection that fits best: one whose session state is right already, else the one that rested
// longest, because its last session is the least likely to come back for it. p.mu is held.
func (p *pool) takeIdle(w *want) *backend {
	best := -1
	for i, b := range p.idle {
		if b.class != w.class {
			continue
		}
		if b.settings.same(w.settings) && b.database == w.database {
			best = i
			break
		}
		if best < 0 && (w.database != "" || b.database == "") {
			best = i
		}
	}
	if best < 0 || p.idle[best].database != w.database && p.open < p.apart(w) {
		return nil
	}
	b := p.idle[best]
	p.idle = append(p.idle[:best], p.idle[best+1:]...)
	return b
}

// wait queues for a connection and unlocks p.mu. It returns nil, nil when one came free that does not fit, or when there
// is room for another.
func (p *pool) wait(ctx context.Context, w *want, limits *Pool) (*backend, error) {
	if len(p.waiting) >= limits.Waiting {
		n := len(p.waiting)
		p.mu.Unlock()
		p.up.refused.Inc()
		return nil, fault(codeTooManyConnections, stateRejected, "sidewire: all %d connections to %s are in use and %d statements wait already",
			limits.Max, p.endpoint.Address(), n)
	}
	if err := p.up.cluster.Take(cluster.Pending); err != nil {
		p.mu.Unlock()
		p.up.refused.Inc()
		return nil, err
	}
	defer p.up.cluster.Release(cluster.Pending)
	turn := make(chan *backend, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	p.up.waits.Inc()
	timer := time.NewTimer(limits.Wait.Std())
	defer timer.Stop()
	select {
	case b := <-turn:
		return p.fit(b, w), nil
	case <-timer.C:
		p.abandon(turn)
		p.up.refused.Inc()
		p.up.measure.TimedOut()
		return nil, fault(codeTooManyConnections, stateRejected, "sidewire: all %d connections to %s stayed in use for %s",
			limits.Max, p.endpoint.Address(), limits.Wait)
	case <-ctx.Done():
		p.abandon(turn)
		return nil, context.Cause(ctx)
	}
}

// fit checks a connection that was handed over: one of another class makes room for one that fits.
func (p *pool) fit(b *backend, w *want) *backend {
	if b == nil {
		return nil
	}
	if b.class == w.class && b.quiet(w.now) && (w.database != "" || b.database == "") {
		return b
	}
	b.passOn()
	p.discard(b)
	return nil
}

// abandon leaves the queue. What was handed over meanwhile goes to the next.
func (p *pool) abandon(turn chan *backend) {
	p.mu.Lock()
	for i, t := range p.waiting {
		if t == turn {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	if b := <-turn; b != nil {
		p.put(b)
	} else {
		p.wake(nil)
	}
}

// dial opens a connection for w; its place in p.open is taken already.
func (p *pool) dial(ctx context.Context, w *want) (*backend, error) {
	user, password := p.up.block().login(w.class.as)
	began := p.up.host.Now()
	ctx, cancel := context.WithTimeout(ctx, p.up.cluster.Config().ConnectTimeout.Std())
	defer cancel()
	b, err := dialBackend(ctx, p.up.cluster, p.endpoint, w.class, user, password)
	if err != nil {
		p.mu.Lock()
		p.open--
		p.mu.Unlock()
		p.wake(nil)
		return nil, err
	}
	b.user, b.password = user, password
	b.pool, b.opened = p, p.up.host.Now()
	p.up.measure.Created(b.opened.Sub(began))
	p.mu.Lock()
	if p.all == nil {
		p.all = map[*backend]struct{}{}
	}
	p.all[b] = struct{}{}
	p.mu.Unlock()
	p.up.mode.Store(uint32(b.mode))
	p.up.dials.Inc()
	return b, nil
}

// give takes a connection back from its session.
func (p *pool) give(b *backend, now time.Time) {
	p.endpoint.End()
	p.up.measure.Used(now.Sub(b.lent))
	if b.broken || p.worn(b, now) {
		p.discard(b)
		return
	}
	b.idleSince = now
	p.put(b)
}

// worn reports whether a free connection has to go.
func (p *pool) worn(b *backend, now time.Time) bool {
	if p.up.closed.Load() {
		return true
	}
	select {
	case <-p.endpoint.Done():
		return true
	default:
	}
	block := p.up.block()
	if user, password := block.login(b.class.as); user != b.user || password != b.password {
		return true // the account changed
	}
	if b.compress != block.Compress {
		return true
	}
	limits := &block.Pool
	return limits.Lifetime > 0 && now.Sub(b.opened) > limits.Lifetime.Std()
}

// put hands a connection to who waits longest, or lets it rest.
func (p *pool) put(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		turn := p.waiting[0]
		p.waiting = p.waiting[1:]
		turn <- b
		return
	}
	p.idle = append(p.idle, b)
}

// discard closes a connection and lets one who waits open another.
func (p *pool) discard(b *backend) {
	p.mu.Lock()
	p.forget(b)
	p.mu.Unlock()
	p.wake(nil)
}

func (p *pool) wake(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		turn := p.waiting[0]
		p.waiting = p.waiting[1:]
		turn <- b
	}
}

// trim closes idle connections that are too old, too long idle or no longer of use.
func (p *pool) trim(now time.Time) {
	limits := &p.up.block().Pool
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := p.idle[:0]
	for _, b := range p.idle {
		if p.worn(b, now) || now.Sub(b.idleSince) > limits.IdleTimeout.Std() || !b.quiet(now) {
			p.forget(b)
			continue
		}
		keep = append(keep, b)
	}
	clear(p.idle[len(keep):])
	p.idle = keep
}
