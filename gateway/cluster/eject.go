package cluster

import (
	"time"
)

// maxEjections caps how long an endpoint that keeps failing is left out: the configured time, times this.
const maxEjections = 30

// Report is passive health: what a session saw of an endpoint, nil for a good answer.
//
// Only failures to reach it count, not errors that it answers. Enough of them in a row leave it out, ahead of the next
// probe, for a time that grows with every ejection in a row; a good probe ends it sooner.
func (c *Cluster) Report(e *Endpoint, err error) {
	if err == nil {
		if e.failures.Load() != 0 {
			e.failures.Store(0)
		}
		return
	}
	if e.stranger {
		c.refresh()
		return
	}
	conf := c.Config().Ejection
	if n := e.failures.Add(1); conf.Failures == 0 || int(n) < conf.Failures || e.Ejected() {
		c.refresh()
		return
	}
	c.refresh()
	c.mu.Lock()
	if c.closed || e.Ejected() || !c.mayEject(conf.MaxPercent) {
		c.mu.Unlock()
		return
	}
	changed := e.set(ejectedByUse, true)
	e.ejections = min(e.ejections+1, maxEjections)
	e.failures.Store(0)
	span := conf.Time.Std() * time.Duration(e.ejections)
	e.ejected = time.AfterFunc(span, func() {
		c.mu.Lock()
		back := e.set(ejectedByUse, false)
		c.mu.Unlock()
		if back {
			c.announce()
		}
	})
	c.mu.Unlock()
	c.deps.Log.Warn("endpoint ejected", "cluster", c.name, "endpoint", e.address, "for", span.String(), "error", err)
	if changed {
		c.announce()
	}
}

// mayEject reports whether one more endpoint may be out. One always may, since Pick takes what is left, or all. c.mu is held.
func (c *Cluster) mayEject(percent int) bool {
	all, out := c.Endpoints(), 0
	for _, e := range all {
		if e.Ejected() {
			out++
		}
	}
	return out == 0 || (out+1)*100 <= len(all)*percent
}

// readmit ends an ejection because a probe found the endpoint well, and reports whether that made it healthy. c.mu is held.
func (c *Cluster) readmit(e *Endpoint) bool {
	if !e.Ejected() {
		e.ejections = 0
		return false
	}
	if e.ejected != nil {
		e.ejected.Stop()
	}
	return e.set(ejectedByUse, false)
}

// refresh asks for the names again: what fails may have moved.
func (c *Cluster) refresh() {
	c.mu.Lock()
	r := c.resolving
	c.mu.Unlock()
	if r == nil {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
