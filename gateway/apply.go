package gateway

import (
	"context"
	"fmt"
	"maps"
	"net"
	"time"

	"github.com/sidewire/sidewire/gateway/admin"
	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// Apply makes a snapshot the one in force. What is unchanged keeps its connections, health and pools; what is gone is
// drained. It applies whole or not at all: everything that can fail is done before anything that is seen.
//
// The order is make before break: clusters, then sockets, then the snapshot becomes visible, then what nobody names any
// more leaves.
func (g *Gateway) Apply(s *config.Snapshot) []config.Problem {
	g.apply.Lock()
	defer g.apply.Unlock()
	old := g.Snapshot()
	if old == s {
		return nil
	}
	access, err := g.openAccess(s, old)
	if err != nil {
		return []config.Problem{config.Path("access_log.path").Problem("%v", err)}
	}
	before := *g.living.Load()
	next := maps.Clone(before)
	fresh, problems := g.attach(s, next)
	g.warm(fresh, next)
	sockets, more := g.bindNew(s)
	problems = append(append(problems, more...), g.bindAdmin(s)...)
	if len(problems) > 0 {
		g.unbindAdmin(old)
		for _, c := range sockets {
			c.Close()
		}
		for _, name := range fresh {
			next[name].close()
		}
		if access != g.Access() {
			_ = access.Close(context.Background())
		}
		return problems
	}
	g.living.Store(&next)
	for _, c := range s.Clusters() {
		a := next[c.Name]
		if a.cluster.Config() == c {
			continue
		}
		a.cluster.Update(c)
		if a.upstream != nil {
			if err := a.upstream.Update(c); err != nil {
				problems = append(problems, config.Path("clusters").Problem("updating %q: %v", c.Name, err))
			}
		}
	}
	g.snapshot.Store(s)
	g.memory.configure(g, s.Memory)
	if before := g.access.Swap(access); before != access {
		_ = before.Close(context.Background())
	}
	problems = append(problems, g.serve(s, sockets)...)
	g.retire(s, before)
	g.rejected.Store(nil)
	g.setState(admin.Live)
	return problems
}

// openAccess is the access log that s asks for: the one that is open when nothing about it changed, nil when there is none.
func (g *Gateway) openAccess(s, old *config.Snapshot) (*telemetry.AccessLog, error) {
	if old != nil && old.AccessLog == s.AccessLog {
		return g.Access(), nil
	}
	if s.AccessLog.Path == "" {
		return nil, nil
	}
	return telemetry.NewAccessLog(g.metrics, telemetry.AccessOptions{
		Path: s.AccessLog.Path, Sample: s.AccessLog.Sample, SlowerThan: s.AccessLog.Slow.Std(), Errors: true,
	})
}

// attach makes living clusters of those that are new, and returns their names.
func (g *Gateway) attach(s *config.Snapshot, into map[string]*attached) (fresh []string, problems []config.Problem) {
	for _, c := range s.Clusters() {
		if have := into[c.Name]; have != nil && have.cluster.Config().Protocol == c.Protocol {
			continue
		}
		p := g.protocols[c.Protocol]
		a := &attached{cluster: cluster.New(c, p, cluster.Deps{Log: g.log, Rand: g.Rand, Now: g.Now, Zone: g.zone})}
		into[c.Name] = a
		fresh = append(fresh, c.Name)
		up, err := p.Upstream(g, a.cluster)
		if err != nil {
			problems = append(problems, config.Path("clusters").Problem("starting %q: %v", c.Name, err))
			continue
		}
		a.upstream = up
	}
	return fresh, problems
}

// warmTime bounds how long new clusters hold a configuration back while their names are looked up.
const warmTime = time.Second

// warm waits until new clusters know their endpoints, so that the first session finds some. A name that cannot be looked up
// does not hold the rest back for longer than warmTime.
func (g *Gateway) warm(fresh []string, in map[string]*attached) {
	limit := time.NewTimer(warmTime)
	defer limit.Stop()
	for _, name := range fresh {
		select {
		case <-in[name].cluster.Resolved():
		case <-limit.C:
			return
		}
	}
}

// zone is where the configuration in force says this process is.
func (g *Gateway) zone() string {
	if s := g.Snapshot(); s != nil {
		return s.Node.Zone
	}
	return ""
}

// bindNew binds the addresses that are not bound yet.
func (g *Gateway) bindNew(s *config.Snapshot) (map[string]net.Listener, []config.Problem) {
	sockets := map[string]net.Listener{}
	var problems []config.Problem
	for i, l := range s.Listeners() {
		if g.bound(l) != nil {
			continue
		}
		socket, err := listener.Bind(l.Address, l.Unix)
		if err != nil {
			problems = append(problems, config.Path("listeners").Index(i).Field("address").Problem("%v", err))
			continue
		}
		sockets[l.Name] = socket
	}
	return sockets, problems
}

// bound is the listener that already serves l's address in l's protocol, whatever its name was; nil when there is none.
func (g *Gateway) bound(l *config.Listener) *bound {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b := g.listeners[l.Name]; b != nil && b.Address() == l.Address {
		return b
	}
	for _, b := range g.listeners {
		if b.Address() == l.Address && l.Address[len(l.Address)-2:] != ":0" {
			return b
		}
	}
	return nil
}

// serve tells the listeners that stay, and starts those that are new.
func (g *Gateway) serve(s *config.Snapshot, sockets map[string]net.Listener) []config.Problem {
	var problems []config.Problem
	next := map[string]*bound{}
	g.mu.Lock()
	old := maps.Clone(g.listeners)
	g.mu.Unlock()
	for i, l := range s.Listeners() {
		at := config.Path("listeners").Index(i)
		b := g.bound(l)
		if b == nil {
			var err error
			if b, err = g.start(l, sockets[l.Name]); err != nil {
				sockets[l.Name].Close()
				problems = append(problems, at.Problem("starting: %v", err))
				continue
			}
		} else if err := g.update(b, l); err != nil {
			problems = append(problems, at.Problem("updating: %v", err))
		}
		next[l.Name] = b
	}
	g.mu.Lock()
	g.listeners = next
	g.mu.Unlock()
	kept := map[*bound]bool{}
	for _, b := range next {
		kept[b] = true
	}
	for _, b := range old {
		if !kept[b] {
			g.log.Info("listener removed", "listener", b.Name(), "address", b.Address(), "connections", b.Connections())
			g.leave(s, b.sockets())
		}
	}
	return problems
}

func (g *Gateway) start(l *config.Listener, socket net.Listener) (*bound, error) {
	h, err := g.protocols[l.Protocol].Listen(g, l)
	if err != nil {
		return nil, err
	}
	ln, err := listener.New(l.Address, socket, l, h, g.listenerDeps())
	if err != nil {
		h.Close()
		return nil, err
	}
	b := &bound{Listener: ln, protocol: l.Protocol, extra: map[string]*listener.Listener{}}
	// Known before it accepts: its first session may ask for further sockets.
	g.mu.Lock()
	g.listeners[l.Name] = b
	g.mu.Unlock()
	g.leaving.Go(ln.Serve)
	g.log.Info("listening", "listener", l.Name, "protocol", l.Protocol, "address", ln.Addr().String())
	return b, nil
}

func (g *Gateway) listenerDeps() listener.Deps {
	return listener.Deps{Log: g.log, Metrics: g.metrics, NextID: func() uint64 { return g.nextID.Add(1) }, Now: g.Now, Full: g.memory.full.Load}
}

// update takes a listener to its new configuration without touching its socket or its connections.
func (g *Gateway) update(b *bound, l *config.Listener) error {
	if b.Config() == l {
		return nil
	}
	if b.protocol == l.Protocol {
		if err := b.Handler().Update(l); err != nil {
			return err
		}
		for _, x := range b.extra {
			if err := x.Update(l, x.Handler()); err != nil {
				return err
			}
		}
		return b.Listener.Update(l, b.Handler())
	}
	// The address changed hands: the socket stays, so that no client finds it closed; old sessions end at a boundary.
	h, err := g.protocols[l.Protocol].Listen(g, l)
	if err != nil {
		return err
	}
	before := b.Handler()
	if err := b.Listener.Update(l, h); err != nil {
		h.Close()
		return err
	}
	b.protocol = l.Protocol
	limit := g.Snapshot().Drain.Timeout.Std()
	g.leaving.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		before.Drain(ctx)
		before.Close()
	})
	return nil
}

// leave drains sockets that the configuration no longer has.
func (g *Gateway) leave(s *config.Snapshot, sockets []*listener.Listener) {
	for _, l := range sockets {
		g.leaving.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), s.Drain.Timeout.Std())
			defer cancel()
			l.Drain(ctx)
		})
	}
}

// retire closes the clusters that the configuration no longer has. Their upstreams close what is idle now and the rest
// when it is given back, so a transaction that began before ends as it began.
func (g *Gateway) retire(s *config.Snapshot, before map[string]*attached) {
	next := maps.Clone(*g.living.Load())
	for name, a := range before {
		if s.Cluster(name) == nil {
			delete(next, name)
		}
		if next[name] != a {
			g.log.Info("cluster removed", "cluster", name)
			g.leaving.Go(a.close)
		}
	}
	g.living.Store(&next)
}

// Bind opens one more socket for the listener named owner.
func (g *Gateway) Bind(owner, address string, h listener.Handler) (*listener.Listener, error) {
	g.mu.Lock()
	b := g.listeners[owner]
	if g.closed || b == nil {
		g.mu.Unlock()
		return nil, fmt.Errorf("binding %s: listener %q is not serving", address, owner)
	}
	have := b.extra[address]
	g.mu.Unlock()
	if have != nil {
		return have, nil
	}
	socket, err := listener.Bind(address, b.Config().Unix)
	if err != nil {
		return nil, err
	}
	ln, err := listener.New(address, socket, b.Config(), h, g.listenerDeps())
	if err != nil {
		socket.Close()
		return nil, err
	}
	g.mu.Lock()
	if g.closed || g.listeners[owner] != b {
		g.mu.Unlock()
		socket.Close()
		return nil, fmt.Errorf("binding %s: listener %q is not serving", address, owner)
	}
	b.extra[address] = ln
	g.leaving.Go(ln.Serve)
	g.mu.Unlock()
	return ln, nil
}

// Unbind drains and closes a socket that Bind opened.
func (g *Gateway) Unbind(l *listener.Listener) {
	g.mu.Lock()
	for _, b := range g.listeners {
		if b.extra[l.Address()] == l {
			delete(b.extra, l.Address())
		}
	}
	g.mu.Unlock()
	g.leave(g.Snapshot(), []*listener.Listener{l})
}

var _ host.Host = (*Gateway)(nil)
