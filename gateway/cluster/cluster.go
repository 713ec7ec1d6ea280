package cluster

import (
	"errors"
	"log/slog"
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

	mu      sync.Mutex // guards what follows, and changes of the pointers above
	changed chan struct{}
	closed  bool
	probes  sync.WaitGroup
}

// Deps is what a cluster needs of its process. Clock and randomness are passed in so that tests decide them.
type Deps struct {
	Log  *slog.Logger
	Rand func() uint64 // uniform
}

// New makes a living cluster and begins to probe its endpoints. Close ends it.
func New(c *config.Cluster, p Prober, d Deps) *Cluster {
	cl := &Cluster{name: c.Name, deps: d, probe: p, changed: make(chan struct{})}
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
	old := map[string]*Endpoint{}
	for _, e := range c.Endpoints() {
		old[e.address] = e
	}
	c.config.Store(next)
	list := make([]*Endpoint, 0, len(next.Endpoints))
	for _, ec := range next.Endpoints {
		e := old[ec.Address]
		delete(old, ec.Address)
		if e == nil {
			e = newEndpoint(c, ec)
			if !next.Health.Disabled && c.probe != nil {
				c.startProbe(e)
			}
		}
		e.config.Store(&ec)
		list = append(list, e)
	}
	c.endpoints.Store(&list)
	c.mu.Unlock()
	for _, e := range old {
		e.stop()
	}
	for _, e := range list {
		e.restartProbe(c)
	}
	c.announce()
}

// Close stops the probes and waits for them. Connections that others hold stay.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	list := c.Endpoints()
	c.mu.Unlock()
	for _, e := range list {
		e.stop()
	}
	c.probes.Wait()
}

// Report is passive health: what a session saw of an endpoint, nil for a good answer.
//
// Only failures to reach it count, not errors that it answers. Enough of them in a row leave it out at once, ahead of the
// next probe, which alone brings it back; without probes nothing would, so then reports do not count.
func (c *Cluster) Report(e *Endpoint, err error) {
	if err == nil {
		if e.failures.Load() != 0 {
			e.failures.Store(0)
		}
		return
	}
	h := c.Config().Health
	if n := e.failures.Add(1); !h.Disabled && int(n) >= h.Unhealthy && e.healthy.CompareAndSwap(true, false) {
		c.deps.Log.Warn("endpoint left out", "cluster", c.name, "endpoint", e.address, "failures", n, "error", err)
		c.announce()
	}
}

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
