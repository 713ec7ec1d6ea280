package cluster

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// Cluster is a living cluster. It survives reconfigurations under its name, and so do those of its endpoints whose
// addresses stay.
type Cluster struct {
	name  string
	deps  Deps
	probe Prober

	config    atomic.Pointer[config.Cluster]
	endpoints atomic.Pointer[[]*Endpoint]
	turn      atomic.Uint64 // round robin
	breaker   breaker

	gone chan struct{} // closed by Close

	mu        sync.Mutex // guards what follows, and changes of the pointers above
	changed   chan struct{}
	resolved  chan struct{} // closed once the names of the configuration have been looked up
	resolving *resolving
	unresolve context.CancelFunc // ends resolving
	closed    bool
	strangers map[string]*Endpoint // members that the cluster itself named, by address
	probes    sync.WaitGroup       // probes and resolving
}

// Deps is what a cluster needs of its process. Clock and randomness are passed in so that tests decide them.
type Deps struct {
	Log  *slog.Logger
	Rand func() uint64 // uniform
	Now  func() time.Time
	// Resolver looks names up; nil is the system's.
	Resolver Resolver
	// Zone is where this process is; nil or empty when nobody said.
	Zone func() string
}

// New makes a living cluster and begins to probe its endpoints. Close ends it.
func New(c *config.Cluster, p Prober, d Deps) *Cluster {
	if d.Resolver == nil {
		d.Resolver = &DNS{}
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Zone == nil {
		d.Zone = func() string { return "" }
	}
	cl := &Cluster{name: c.Name, deps: d, probe: p, gone: make(chan struct{}), changed: make(chan struct{})}
	cl.endpoints.Store(&[]*Endpoint{})
	cl.Update(c)
	return cl
}

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.name }

// Config is the configuration now in force.
func (c *Cluster) Config() *config.Cluster { return c.config.Load() }

// Endpoints are the endpoints now, in the order of the configuration. The slice is shared: do not change it.
func (c *Cluster) Endpoints() []*Endpoint { return *c.endpoints.Load() }

// Endpoint finds an endpoint by address; nil when there is none.
func (c *Cluster) Endpoint(address string) *Endpoint {
	for _, e := range c.Endpoints() {
		if e.address == address {
			return e
		}
	}
	return nil
}

// Changed is closed when the set of endpoints, a role or a health changes next. Ask for it before looking at what it tells of.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *Cluster) announce() {
	c.mu.Lock()
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
}

// Update takes a new configuration. Endpoints whose addresses stay keep their health, role and probes.
func (c *Cluster) Update(next *config.Cluster) {
	c.mu.Lock()
	if c.closed || c.config.Load() == next {
		c.mu.Unlock()
		return
	}
	c.config.Store(next)
	var known map[string][]config.Endpoint
	if c.resolving != nil {
		c.unresolve()
		known, c.resolving = c.resolving.last(), nil
	}
	c.resolved = make(chan struct{})
	if !names(next) {
		close(c.resolved)
		c.mu.Unlock()
		c.setEndpoints(next, next.Endpoints)
		return
	}
	r := &resolving{cluster: c, conf: next, known: known, wake: make(chan struct{}, 1)}
	if r.known == nil {
		r.known = map[string][]config.Endpoint{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.resolving, c.unresolve = r, cancel
	resolved := c.resolved
	c.probes.Add(1)
	go func() {
		defer c.probes.Done()
		r.run(ctx, resolved)
	}()
	c.mu.Unlock()
}

// Resolved is closed once every name of the configuration has been looked up, found or not.
func (c *Cluster) Resolved() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resolved
}

// setEndpoints makes the endpoints those of a list, unless the configuration it belongs to is no longer in force.
func (c *Cluster) setEndpoints(of *config.Cluster, to []config.Endpoint) {
	c.mu.Lock()
	if c.closed || c.config.Load() != of {
		c.mu.Unlock()
		return
	}
	old := map[string]*Endpoint{}
	for _, e := range c.Endpoints() {
		old[e.address] = e
	}
	list := make([]*Endpoint, 0, len(to))
	same := len(to) == len(old)
	for _, ec := range to {
		e := old[ec.Address]
		delete(old, ec.Address)
		if e == nil {
			same = false
			e = newEndpoint(ec)
		}
		if before := e.config.Swap(&ec); !reflect.DeepEqual(*before, ec) {
			same = false
		}
		list = append(list, e)
		c.keepProbing(e, ec)
	}
	c.endpoints.Store(&list)
	c.mu.Unlock()
	for _, e := range old {
		e.stop()
	}
	if !same {
		c.announce()
	}
}

// Close stops the probes and waits for them, and wakes whoever waits for a change. Connections that others hold stay.
func (c *Cluster) Close() {
	c.mu.Lock()
	if !c.closed {
		close(c.gone)
	}
	c.closed = true
	list, strangers := c.Endpoints(), c.strangers
	c.strangers = nil
	if c.unresolve != nil {
		c.unresolve()
	}
	c.mu.Unlock()
	for _, e := range list {
		e.stop()
	}
	for _, e := range strangers {
		e.stop()
	}
	c.announce()
	c.probes.Wait()
}

// Done is closed when the cluster was removed: nothing about it changes any more.
func (c *Cluster) Done() <-chan struct{} { return c.gone }

// ErrClosed is the answer of a cluster that a reconfiguration removed.
var ErrClosed = errors.New("cluster was removed")

// State is what a probe learnt of an endpoint.
type State struct {
	Role    Role
	Lag     time.Duration // behind its primary; negative when unknown
	Version string        // the server's own words
	Detail  map[string]string
}

// Role is an endpoint's part in replication.
type Role uint32

// The roles. Any is a wish only: no endpoint is Any.
const (
	Unknown Role = iota
	Primary
	Replica
	Any = Unknown
)

func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	}
	return "unknown"
}
