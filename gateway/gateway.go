// Package gateway is the living process: it applies compiled configurations to clusters, listeners and protocols, and
// knows none of the protocols by name.
package gateway

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/admin"
	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/gateway/telemetry/otlp"
)

// Protocol is the seam between the core and a protocol. Adding one is a folder in protocols, one here, and a word in cmd.
type Protocol = host.Protocol

// flushTimeout bounds how long the end waits for whoever reads the access log.
const flushTimeout = 2 * time.Second

// Gateway is one running sidewire. It implements host.Host.
type Gateway struct {
	// Fixed at creation.
	logs      *telemetry.Logs
	log       *slog.Logger
	language  config.Language
	protocols map[string]Protocol
	metrics   *telemetry.Registry
	told      *telemetry.Statements
	started   time.Time
	ending    context.Context // done when Close begins
	end       context.CancelFunc
	last      context.Context // done when Close has no more time: ends every drain
	cut       context.CancelFunc
	admin     *admin.Server // nil without ServeAdmin, as life
	life      *admin.Life
	version   string // of the program

	// Accessed atomically.
	snapshot atomic.Pointer[config.Snapshot]
	access   atomic.Pointer[telemetry.AccessLog]  // nil while there is none
	living   atomic.Pointer[map[string]*attached] // clusters by name; replaced, never changed
	rejected atomic.Pointer[Rejection]
	export   atomic.Pointer[otlp.Exporter] // nil while nothing is sent
	nextID   atomic.Uint64
	awaiting atomic.Bool // a control plane has not sent everything yet

	// Owned by whoever loads configurations: one goroutine.
	feed     *feed
	dir      string // of the configuration file
	override Override

	memory memory
	apply  sync.Mutex // held for the whole of Apply and Close

	mu        sync.Mutex // guards what follows; taken after apply
	listeners map[string]*bound
	views     map[string]*view
	actions   map[string]func(context.Context, url.Values) (any, error)
	leaving   sync.WaitGroup // drains of what a reconfiguration removed
	resuming  sync.WaitGroup // drains that are being taken back; they take apply, so that nobody waits for them who holds it
	closed    bool
	takeBack  chan struct{} // closed when a drain that was asked for is taken back; nil: none is under way
}

// attached is a living cluster with what its protocol keeps on it.
type attached struct {
	cluster  *cluster.Cluster
	upstream host.Upstream
	leave    *time.Timer // guarded by Gateway.mu; set while no configuration names the cluster any more
}

// bound is a configured listener, with the further sockets that its protocol opened.
type bound struct {
	*listener.Listener
	first    string                        // its first name, which what it tells is kept by
	binding  sync.Mutex                    // held while a further socket is being opened; taken before Gateway.mu
	protocol string                        // guarded by Gateway.mu, like extra
	extra    map[string]*listener.Listener // by address
}

// Rejection is a configuration that was refused while an older one stays in force.
type Rejection struct {
	Time     time.Time        `json:"time"`
	Source   string           `json:"source"`
	Problems []config.Problem `json:"-"`
	Texts    []string         `json:"problems"`
}

// New makes a gateway that serves these protocols. It does nothing until Apply.
func New(logs *telemetry.Logs, protocols ...Protocol) *Gateway {
	g := &Gateway{
		logs: logs, log: logs.Logger("gateway"), protocols: map[string]Protocol{}, started: time.Now(), metrics: telemetry.NewRegistry(),
		listeners: map[string]*bound{}, views: map[string]*view{}, actions: map[string]func(context.Context, url.Values) (any, error){},
	}
	g.told = telemetry.NewStatements(g.metrics, g.Access)
	g.ending, g.end = context.WithCancel(context.Background())
	g.last, g.cut = context.WithCancel(context.Background())
	g.living.Store(&map[string]*attached{})
	g.language = Language(protocols...)
	for _, p := range protocols {
		g.protocols[p.Name()] = p
	}
	g.registerMetrics()
	return g
}

// Language is what configurations may be written with when these protocols are served.
func Language(protocols ...Protocol) config.Language {
	var l config.Language
	seen := map[string]bool{}
	for _, p := range protocols {
		l.Protocols = append(l.Protocols, p)
		k, ok := p.(host.Kinds)
		if !ok {
			continue
		}
		for _, kind := range k.Kinds() {
			if !seen[kind.Name()] { // two SQL protocols share one kind of virtual database
				seen[kind.Name()] = true
				l.Kinds = append(l.Kinds, kind)
			}
		}
	}
	return l
}

// Language is what configurations of this gateway are written with.
func (g *Gateway) Language() config.Language { return g.language }

// Snapshot is the configuration in force; nil before the first Apply.
func (g *Gateway) Snapshot() *config.Snapshot { return g.snapshot.Load() }

// Rejected is the newest configuration that was refused since the last good one; nil when there is none.
func (g *Gateway) Rejected() *Rejection { return g.rejected.Load() }

// Reject records a configuration that did not become active.
func (g *Gateway) Reject(source string, problems []config.Problem) {
	r := &Rejection{Time: g.Now(), Source: source, Problems: problems}
	for _, p := range problems {
		r.Texts = append(r.Texts, p.String())
	}
	g.rejected.Store(r)
	g.metrics.Counter("sidewire_config_rejected_total", "Configurations that were refused.").Inc()
}

// Cluster is a living cluster; nil when there is none of that name. One that was removed is there until its time is over.
func (g *Gateway) Cluster(name string) *cluster.Cluster {
	if a := (*g.living.Load())[name]; a != nil {
		return a.cluster
	}
	return nil
}

// Upstream is what a cluster's protocol attached to it; nil when there is none.
func (g *Gateway) Upstream(name string) host.Upstream {
	if a := (*g.living.Load())[name]; a != nil {
		return a.upstream
	}
	return nil
}

// Clusters are the living clusters of the configuration in force, sorted by name.
func (g *Gateway) Clusters() []*cluster.Cluster {
	var out []*cluster.Cluster
	s := g.Snapshot()
	for name, a := range *g.living.Load() {
		if s != nil && s.Cluster(name) != nil {
			out = append(out, a.cluster)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out
}

// Listeners are the bound sockets, sorted by name and address; those that a protocol opened included.
func (g *Gateway) Listeners() []*listener.Listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []*listener.Listener
	for _, b := range g.listeners {
		out = append(out, b.Listener)
		for _, l := range b.extra {
			out = append(out, l)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name() != out[j].Name() {
			return out[i].Name() < out[j].Name()
		}
		return out[i].Addr().String() < out[j].Addr().String()
	})
	return out
}

// Listener finds a configured listener by name; nil when it is not bound.
func (g *Gateway) Listener(name string) *listener.Listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b := g.listeners[name]; b != nil {
		return b.Listener
	}
	return nil
}

// Metrics is where instruments are resolved.
func (g *Gateway) Metrics() *telemetry.Registry { return g.metrics }

// Access is the access log; nil, which takes everything and writes nothing, while there is none.
func (g *Gateway) Access() *telemetry.AccessLog { return g.access.Load() }

// Statements is where sessions tell of every statement that ended.
func (g *Gateway) Statements() *telemetry.Statements { return g.told }

// Logs makes loggers and changes their levels.
func (g *Gateway) Logs() *telemetry.Logs { return g.logs }

// Log is the process's log.
func (g *Gateway) Log() *slog.Logger { return g.log }

// Now is the time.
func (g *Gateway) Now() time.Time { return time.Now() }

// Rand is a uniform random number.
func (g *Gateway) Rand() uint64 { return rand.Uint64() }

// Started is when the gateway was made.
func (g *Gateway) Started() time.Time { return g.started }

// View contributes a view to the admin interface, until remove is called or another takes its name.
func (g *Gateway) View(name string, f func() any) (remove func()) {
	v := &view{f}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.views[name] = v
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.views[name] == v {
			delete(g.views, name)
		}
	}
}

// view is a contributed view; its address says whose it is.
type view struct{ show func() any }

// Views are the contributed views.
func (g *Gateway) Views() map[string]func() any {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]func() any, len(g.views))
	for k, v := range g.views {
		out[k] = v.show
	}
	return out
}

// Action contributes an action to the admin interface; nil removes it.
func (g *Gateway) Action(name string, f func(context.Context, url.Values) (any, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f == nil {
		delete(g.actions, name)
		return
	}
	g.actions[name] = f
}

// Actions are the contributed actions.
func (g *Gateway) Actions() map[string]func(context.Context, url.Values) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.actions)
}

// Close ends the gateway: sessions have until ctx is done to reach a boundary, then they are cut.
func (g *Gateway) Close(ctx context.Context) {
	g.setState(admin.Draining)
	g.end()
	defer context.AfterFunc(ctx, g.cut)()
	g.feed.end()
	g.farewell(ctx)
	defer g.resuming.Wait()
	g.apply.Lock()
	defer g.apply.Unlock()
	g.setState(admin.Draining) // an Apply that was under way has set Live
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	g.closed = true
	var sockets []*listener.Listener
	for _, b := range g.listeners {
		sockets = append(sockets, b.sockets()...)
	}
	for _, a := range *g.living.Load() {
		if a.leave != nil {
			a.leave.Stop()
		}
	}
	g.mu.Unlock()
	var drains sync.WaitGroup
	for _, l := range sockets {
		drains.Go(func() { l.Drain(g.last) })
	}
	drains.Wait()
	g.memory.stop()
	g.leaving.Wait()
	g.cut()
	g.mu.Lock()
	g.listeners = map[string]*bound{}
	g.mu.Unlock()
	for _, a := range *g.living.Load() {
		a.close()
	}
	for _, p := range g.protocols {
		if c, ok := p.(host.Closer); ok {
			c.Close()
		}
	}
	closeAccess(g.access.Swap(nil))
	g.told.Trace(nil)
	if e := g.export.Swap(nil); e != nil {
		g.endExport(e)
	}
	if g.admin != nil {
		flush, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		g.admin.Close(flush)
	}
}

func (g *Gateway) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// sockets are all sockets of a listener, the ones its protocol opened first, so that nobody is sent to them any more.
func (b *bound) sockets() []*listener.Listener {
	out := make([]*listener.Listener, 0, len(b.extra)+1)
	for _, l := range b.extra {
		out = append(out, l)
	}
	return append(out, b.Listener)
}

func (a *attached) close() {
	if a.upstream != nil {
		a.upstream.Close()
	}
	a.cluster.Close()
}
