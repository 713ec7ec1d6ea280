package cluster

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// Prober is the part of a protocol that finds out how an endpoint is.
type Prober interface {
	// NewProbe makes a probe of one endpoint. It may keep a connection between questions.
	NewProbe(c *config.Cluster, e config.Endpoint) Probe
}

// StartTLS is implemented by probers whose protocol begins TLS inside its own handshake: they are given plain connections.
type StartTLS interface{ StartTLS() bool }

// Probe asks one endpoint, again and again, from one goroutine.
type Probe interface {
	// Ask finds out how the endpoint is. dial opens a connection to it as Cluster.Dial does; ctx bounds the whole question.
	Ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) (State, error)
	// Close gives up what the probe kept.
	Close()
}

type probing struct {
	config   *config.Cluster
	endpoint config.Endpoint
	cancel   context.CancelFunc
}

// keepProbing sees to it that e, whose entry is ec, is probed as the configuration in force says: a probe that stands on
// something else (credentials, intervals, TLS) begins anew. One that stands on the same goes on, however often endpoints
// beside it come and go: begun anew at each push, it might never fail often enough in a row. c.mu is held.
func (c *Cluster) keepProbing(e *Endpoint, ec config.Endpoint) {
	now := c.Config()
	if p := e.probing; p != nil {
		if (p.config == now || sameQuestion(p.config, now)) && reflect.DeepEqual(p.endpoint, ec) {
			return
		}
		p.cancel()
		e.probing = nil
	}
	if now.Health.Disabled || c.probe == nil {
		e.set(failedProbes, false)
		return
	}
	ctx, cancel := context.WithCancel(e.ctx)
	e.probing = &probing{config: now, endpoint: ec, cancel: cancel}
	c.probes.Add(1)
	go func() {
		defer c.probes.Done()
		c.probeLoop(ctx, e, now)
	}()
}

// sameQuestion tells whether two configurations differ at most in what no probe looks at.
func sameQuestion(a, b *config.Cluster) bool {
	if !a.TLS.Same(b.TLS) {
		return false
	}
	x, y := *a, *b
	x.TLS = y.TLS
	x.Endpoints, x.Limits, x.Pool, x.Origin, x.Hash = y.Endpoints, y.Limits, y.Pool, y.Origin, y.Hash
	return reflect.DeepEqual(x, y)
}

func (c *Cluster) probeLoop(ctx context.Context, e *Endpoint, conf *config.Cluster) {
	probe := c.probe.NewProbe(conf, *e.Config())
	defer probe.Close()
	dial := func(ctx context.Context) (net.Conn, error) { return c.dial(ctx, e, true) }
	if s, ok := c.probe.(StartTLS); ok && s.StartTLS() {
		dial = func(ctx context.Context) (net.Conn, error) { return c.dialPlain(ctx, e, true) }
	}
	good, bad := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		state, err := c.ask(ctx, probe, dial, conf.Health.Timeout.Std())
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			good, bad = 0, bad+1
		} else {
			good, bad = good+1, 0
		}
		c.learn(ctx, e, conf.Health, state, err, good, bad)
		// A tenth of jitter keeps many sidecars from asking one server in step.
		interval := conf.Health.Interval.Std()
		timer.Reset(interval - interval/20 + time.Duration(c.deps.Rand()%uint64(interval/10+1)))
	}
}

func (c *Cluster) ask(ctx context.Context, p Probe, dial func(context.Context) (net.Conn, error), limit time.Duration) (s State, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("probing: panic: %v", r)
		}
	}()
	return p.Ask(ctx, dial)
}

// learn applies one probe's answer; good and bad are how many of their kind came in a row. An answer that comes after its
// probe was replaced is not applied: it belongs to a configuration that is gone.
func (c *Cluster) learn(ctx context.Context, e *Endpoint, h config.Health, s State, err error, good, bad int) {
	c.mu.Lock()
	if ctx.Err() != nil {
		c.mu.Unlock()
		return
	}
	changed := false
	if err != nil {
		text := err.Error()
		e.problem.Store(&text)
		if bad >= h.Unhealthy && e.set(failedProbes, true) {
			changed = true
			c.deps.Log.Warn("endpoint unhealthy", "cluster", c.name, "endpoint", e.address, "error", err)
		}
	} else {
		e.problem.Store(nil)
		e.lag.Store(int64(s.Lag))
		e.state.Store(&s)
		if Role(e.role.Swap(uint32(s.Role))) != s.Role {
			changed = true
			c.deps.Log.Info("endpoint role", "cluster", c.name, "endpoint", e.address, "role", s.Role.String())
		}
		if good >= h.Healthy {
			e.failures.Store(0)
			back := e.set(failedProbes, false)
			if c.readmit(e) || back {
				changed = true
				c.deps.Log.Info("endpoint healthy", "cluster", c.name, "endpoint", e.address)
			}
		}
	}
	c.mu.Unlock()
	if changed {
		c.announce()
	}
}
