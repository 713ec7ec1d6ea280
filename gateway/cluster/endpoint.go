package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// Endpoint is one living server of a cluster. Its identity is its address.
type Endpoint struct {
	// Fixed at creation.
	address string
	ctx     context.Context // ends with the endpoint
	cancel  context.CancelFunc
	// stranger marks a member that nobody declared: the cluster itself named it, and knows how it is.
	stranger bool

	// Accessed atomically.
	config   atomic.Pointer[config.Endpoint]
	health   atomic.Uint32 // one word: healthy is zero
	role     atomic.Uint32
	lag      atomic.Int64
	failures atomic.Int32
	inflight atomic.Int64
	conns    atomic.Int64 // connections of every kind
	used     atomic.Int64 // those that count against the cluster's limits
	opened   atomic.Int64 // connections ever opened, probes not counted
	failed   atomic.Int64 // attempts that did not come to a connection, probes not counted
	latency  latency
	state    atomic.Pointer[State]
	problem  atomic.Pointer[string] // why the last probe failed

	// Guarded by the cluster's mu.
	probing   *probing
	ejections int // in a row
	ejected   *time.Timer
}

// Reasons for which an endpoint is out; bits of one word, so that asking is one load.
const (
	failedProbes = 1 << iota
	ejectedByUse
)

func newEndpoint(ec config.Endpoint) *Endpoint {
	e := &Endpoint{address: ec.Address}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.config.Store(&ec)
	e.lag.Store(-1)
	return e // healthy until a probe says otherwise: a start must not wait for the first round of probes
}

// Address is where the server listens: host:port or unix:/path.
func (e *Endpoint) Address() string { return e.address }

// Config is the endpoint's entry in the configuration now in force.
func (e *Endpoint) Config() *config.Endpoint { return e.config.Load() }

// Healthy reports whether the endpoint may serve.
func (e *Endpoint) Healthy() bool { return e.health.Load() == 0 }

// Ejected reports whether failures of sessions left it out.
func (e *Endpoint) Ejected() bool { return e.health.Load()&ejectedByUse != 0 }

// Failing reports whether probes left it out.
func (e *Endpoint) Failing() bool { return e.health.Load()&failedProbes != 0 }

// set raises or clears a reason and reports whether that changed what Healthy says.
func (e *Endpoint) set(reason uint32, on bool) (changed bool) {
	var old uint32
	if on {
		old = e.health.Or(reason)
		return old == 0
	}
	old = e.health.And(^reason)
	return old != 0 && old&^reason == 0
}

// Role is what the last probe found, or what was configured until one has.
func (e *Endpoint) Role() Role {
	if r := Role(e.role.Load()); r != Unknown {
		return r
	}
	switch e.Config().Role {
	case "primary":
		return Primary
	case "replica":
		return Replica
	}
	return Unknown
}

// Lag is how far a replica is behind, or negative when that is unknown.
func (e *Endpoint) Lag() time.Duration { return time.Duration(e.lag.Load()) }

// State is what the last good probe learnt; nil before the first.
func (e *Endpoint) State() *State { return e.state.Load() }

// Problem is why the last probe failed; empty when it did not.
func (e *Endpoint) Problem() string {
	if p := e.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Begin and End count the work that is under way, for balancing.
func (e *Endpoint) Begin() { e.inflight.Add(1) }

// End is the other half of Begin.
func (e *Endpoint) End() { e.inflight.Add(-1) }

// Inflight is the work under way.
func (e *Endpoint) Inflight() int64 { return e.inflight.Load() }

// Connections are those open now, a probe's among them; those ever opened and the attempts that failed, without probes.
func (e *Endpoint) Connections() (open, opened, failed int64) {
	return e.conns.Load(), e.opened.Load(), e.failed.Load()
}

// Done is closed when the endpoint has left its cluster: pools close its idle connections then.
func (e *Endpoint) Done() <-chan struct{} { return e.ctx.Done() }

func (e *Endpoint) stop() { e.cancel() }
