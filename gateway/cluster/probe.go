package cluster

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// Prober is the part of a protocol that finds out how an endpoint is.
type Prober interface {
	// NewProbe makes a probe of one endpoint. It may keep a connection between questions.
	NewProbe(c *config.Cluster, e config.Endpoint) Probe
}

// Probe asks one endpoint, again and again, from one goroutine.
type Probe interface {
	// Ask finds out how the endpoint is. dial opens a connection to it as Cluster.Dial does; ctx bounds the whole question.
	Ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) (State, error)
	// Close gives up what the probe kept.
	Close()
}

type probing struct {
	config *config.Cluster
	cancel context.CancelFunc
}

// startProbe begins probing e. c.mu is held.
func (c *Cluster) startProbe(e *Endpoint) {
	ctx, cancel := context.WithCancel(e.ctx)
	e.probing.Store(&probing{config: c.Config(), cancel: cancel})
	c.probes.Add(1)
	go func() {
		defer c.probes.Done()
		c.probeLoop(ctx, e)
	}()
}

// restartProbe begins anew when what the probe stands on (credentials, intervals, TLS) has changed.
func (e *Endpoint) restartProbe(c *Cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, now := e.probing.Load(), c.Config()
	if c.closed || (p != nil && p.config == now) {
		return
	}
	if p != nil {
		p.cancel()
		e.probing.Store(nil)
	}
	if now.Health.Disabled || c.probe == nil {
		e.healthy.Store(true)
		return
	}
	c.startProbe(e)
}

func (c *Cluster) probeLoop(ctx context.Context, e *Endpoint) {
	conf := c.Config()
	probe := c.probe.NewProbe(conf, *e.Config())
	defer probe.Close()
	dial := func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, e) }
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
		c.learn(e, state, err, good, bad)
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

// learn applies one probe's answer; good and bad are how many of their kind came in a row.
func (c *Cluster) learn(e *Endpoint, s State, err error, good, bad int) {
	h := c.Config().Health
	changed := false
	if err != nil {
		text := err.Error()
		e.problem.Store(&text)
		if bad >= h.Unhealthy && e.healthy.CompareAndSwap(true, false) {
			changed = true
			c.deps.Log.Warn("endpoint unhealthy", "cluster", c.name, "endpoint", e.address, "error", err)
		}
	} else {
		e.problem.Store(nil)
		e.failures.Store(0)
		e.lag.Store(int64(s.Lag))
		e.state.Store(&s)
		if Role(e.role.Swap(uint32(s.Role))) != s.Role {
			changed = true
			c.deps.Log.Info("endpoint role", "cluster", c.name, "endpoint", e.address, "role", s.Role.String())
		}
		if good >= h.Healthy && e.healthy.CompareAndSwap(false, true) {
			changed = true
			c.deps.Log.Info("endpoint healthy", "cluster", c.name, "endpoint", e.address)
		}
	}
	if changed {
		c.announce()
	}
}
