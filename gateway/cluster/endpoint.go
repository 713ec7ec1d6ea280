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

	// Accessed atomically.
	config   atomic.Pointer[config.Endpoint]
	healthy  atomic.Bool
	role     atomic.Uint32
	lag      atomic.Int64
	failures atomic.Int32
	inflight atomic.Int64
	state    atomic.Pointer[State]
	problem  atomic.Pointer[string] // why the last probe failed
	probing  atomic.Pointer[probing]
}

func newEndpoint(c *Cluster, ec config.Endpoint) *Endpoint {
	e := &Endpoint{address: ec.Address}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.config.Store(&ec)
	e.healthy.Store(true) // until a probe says otherwise: a start must not wait for the first round of probes
	e.lag.Store(-1)
	return e
}

// Address is where the server listens: host:port or unix:/path.
func (e *Endpoint) Address() string { return e.address }

// Config is the endpoint's entry in the configuration now in force.
func (e *Endpoint) Config() *config.Endpoint { return e.config.Load() }

// Healthy reports whether the endpoint may serve.
func (e *Endpoint) Healthy() bool { return e.healthy.Load() }

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

// Done is closed when the endpoint has left its cluster: pools close its idle connections then.
func (e *Endpoint) Done() <-chan struct{} { return e.ctx.Done() }

func (e *Endpoint) stop() { e.cancel() }
