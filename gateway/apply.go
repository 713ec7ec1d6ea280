package gateway

import (
	"context"
	"maps"
	"time"

	"github.com/sidewire/sidewire/gateway/admin"
	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/gateway/telemetry/otlp"
)

// Apply makes a snapshot the one in force. What is unchanged keeps its connections, health and pools; what is gone is
// drained. It applies whole or not at all: everything that can fail is done first, with a note of how to undo it.
//
// The order is make before break: clusters, then sockets and handlers, then the snapshot becomes visible, then what nobody
// names any more leaves. A problem's path says by index which listener or cluster of the model it is about, so that a front
// end that applies resource by resource can leave that one out and apply again.
func (g *Gateway) Apply(s *config.Snapshot) []config.Problem {
	g.apply.Lock()
	defer g.apply.Unlock()
	if g.Snapshot() == s {
		return nil
	}
	return g.applyLocked(s)
}

// applyOver applies s unless something else than old is in force by now.
func (g *Gateway) applyOver(s, old *config.Snapshot) []config.Problem {
	g.apply.Lock()
	defer g.apply.Unlock()
	if g.Snapshot() != old {
		return nil
	}
	return g.applyLocked(s)
}

func (g *Gateway) applyLocked(s *config.Snapshot) []config.Problem {
	if g.isClosed() {
		return []config.Problem{config.Path("").Problem("the process is shutting down")}
	}
	old := g.Snapshot()
	t := &transition{g: g, s: s, old: old, access: g.Access()}
	for _, step := range []func() []config.Problem{t.openAccess, t.startExport, t.attach, t.warm, t.bindAdmin, t.bind, t.listen, t.updateClusters, t.updateListeners} {
		if problems := step(); len(problems) > 0 {
			for i := len(t.undo) - 1; i >= 0; i-- {
				t.undo[i]()
			}
			return problems
		}
	}
	t.commit()
	return nil
}

// transition is one way from a snapshot to the next.
type transition struct {
	g      *Gateway
	s, old *config.Snapshot // old is nil at the first
	undo   []func()         // in the order in which things were done

	access   *telemetry.AccessLog
	export   *otlp.Exporter
	places   []*place
	after    []func()             // what is left to do when sockets that leave are closed
	fresh    map[string]*attached // clusters that were made for it
	replaced map[string]*attached // clusters whose protocol changed
}

func (t *transition) undoing(f func()) { t.undo = append(t.undo, f) }

// openAccess opens the access log that the snapshot asks for: the one that is open when nothing about it changed, nil when
// there is none.
func (t *transition) openAccess() []config.Problem {
	if t.old != nil && t.old.AccessLog == t.s.AccessLog {
		return nil
	}
	t.access = nil
	want := t.s.AccessLog
	if want.Path == "" {
		return nil
	}
	access, err := telemetry.NewAccessLog(t.g.metrics, telemetry.AccessOptions{
		Path: want.Path, Sample: want.Sample, SlowerThan: want.Slow.Std(), Errors: true,
	})
	if err != nil {
		return []config.Problem{config.Path("access_log.path").Problem("%v", err)}
	}
	t.access = access
	t.undoing(func() { closeAccess(access) })
	return nil
}

// closeAccess does not wait for ever: whoever reads a pipe may have stopped.
func closeAccess(a *telemetry.AccessLog) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	_ = a.Close(ctx)
}

// attach makes living clusters of those that are new. Protocols find them at once: handlers may ask for them.
func (t *transition) attach() (problems []config.Problem) {
	g, fresh := t.g, map[string]*attached{}
	t.fresh, t.replaced = fresh, map[string]*attached{}
	for _, c := range t.s.Clusters() {
		if have := g.adopt(c, t); have {
			continue
		}
		p := g.protocols[c.Protocol]
		a := &attached{cluster: cluster.New(c, p, cluster.Deps{Log: g.log, Rand: g.Rand, Now: g.Now, Zone: g.zone})}
		fresh[c.Name] = a
		up, err := p.Upstream(g, a.cluster)
		if err != nil {
			problems = append(problems, t.s.ClusterPath(c.Name).Problem("starting %q: %v", c.Name, err))
			continue
		}
		a.upstream = up
	}
	g.editLiving(func(living map[string]*attached) {
		for name, a := range fresh {
			if before := living[name]; before != nil {
				t.replaced[name] = before
			}
			living[name] = a
		}
	})
	t.undoing(func() {
		g.editLiving(func(living map[string]*attached) {
			for name := range fresh {
				delete(living, name)
			}
			maps.Copy(living, t.replaced)
		})
		for _, a := range fresh {
			a.close()
		}
	})
	return problems
}

// warmTime bounds how long new clusters hold a configuration back while their names are looked up.
const warmTime = time.Second

// warm waits until new clusters know their endpoints, so that the first session finds some. A name that cannot be looked up
// does not hold the rest back for longer than warmTime.
func (t *transition) warm() []config.Problem {
	limit := time.NewTimer(warmTime)
	defer limit.Stop()
	for _, a := range t.fresh {
		select {
		case <-a.cluster.Resolved():
		case <-limit.C:
			return nil
		}
	}
	return nil
}

// zone is where the configuration in force says this process is.
func (g *Gateway) zone() string {
	if s := g.Snapshot(); s != nil {
		return s.Node.Zone
	}
	return ""
}

// adopt tells whether a cluster lives already. One that was on its way out stays.
func (g *Gateway) adopt(c *config.Cluster, t *transition) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := (*g.living.Load())[c.Name]
	if a == nil || a.cluster.Config().Protocol != c.Protocol {
		return false
	}
	if a.leave != nil {
		a.leave.Stop()
		a.leave = nil
		t.undoing(func() { g.letGo(c.Name, a, t.old.Drain.Timeout.Std()) })
	}
	return true
}

func (t *transition) bindAdmin() []config.Problem {
	t.undoing(func() { t.g.unbindAdmin(t.old) })
	return t.g.bindAdmin(t.s)
}

// updateClusters tells living clusters and what protocols keep on them.
func (t *transition) updateClusters() []config.Problem {
	living := *t.g.living.Load()
	for _, c := range t.s.Clusters() {
		a := living[c.Name]
		before := a.cluster.Config()
		if before == c {
			continue
		}
		t.undoing(func() { a.cluster.Update(before) })
		a.cluster.Update(c)
		if a.upstream == nil {
			continue
		}
		if err := a.upstream.Update(c); err != nil {
			return []config.Problem{t.s.ClusterPath(c.Name).Problem("updating %q: %v", c.Name, err)}
		}
		t.undoing(func() { t.g.restore("cluster", c.Name, a.upstream.Update(before)) })
	}
	return nil
}

// restore logs what should not happen: a configuration that was in force is not taken back.
func (g *Gateway) restore(what, name string, err error) {
	if err != nil {
		g.log.Error("returning to the last good configuration", what, name, "error", err)
	}
}

// commit makes the snapshot visible and lets go of what it does not name. Nothing fails any more.
func (t *transition) commit() {
	g := t.g
	g.snapshot.Store(t.s)
	g.memory.configure(g, t.s.Memory)
	t.commitTelemetry()
	if before := g.access.Swap(t.access); before != t.access {
		closeAccess(before)
	}
	t.commitListeners()
	t.retire()
	g.rejected.Store(nil)
	if g.ending.Err() == nil && !g.awaiting.Load() { // a sidecar that is ending takes configurations, and stays unready
		g.setState(admin.Live)
	}
}

// retire lets clusters go that the configuration no longer has. They stay within reach for as long as a drain may take:
// a transaction, or a session that looked at the configuration a moment ago, may be about to ask for one. Then their
// upstreams close what is idle, and the rest when it is given back.
func (t *transition) retire() {
	g := t.g
	for name, a := range *g.living.Load() {
		if t.s.Cluster(name) == nil {
			g.mu.Lock()
			leaving := a.leave != nil
			g.mu.Unlock()
			if !leaving {
				g.log.Info("cluster removed", "cluster", name)
				g.letGo(name, a, t.s.Drain.Timeout.Std())
			}
		}
	}
	for name, a := range t.replaced {
		g.log.Info("cluster changed its protocol", "cluster", name, "from", a.cluster.Config().Protocol)
		g.leaving.Go(a.close)
	}
}

// letGo closes a cluster after a while, unless a later configuration wants it back.
func (g *Gateway) letGo(name string, a *attached, after time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed || a.leave != timer {
			return
		}
		living := maps.Clone(*g.living.Load())
		delete(living, name)
		g.living.Store(&living)
		g.leaving.Go(a.close)
	})
	a.leave = timer
}

// editLiving replaces the map of living clusters by a changed copy.
func (g *Gateway) editLiving(edit func(map[string]*attached)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	living := maps.Clone(*g.living.Load())
	edit(living)
	g.living.Store(&living)
}
