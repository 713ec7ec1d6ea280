package gateway

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
)

// place is one listener of a configuration on its way to a socket.
type place struct {
	config  *config.Listener
	path    config.Path
	bound   *bound           // what serves the address already, or what was made for it
	before  *config.Listener // what bound had before; nil: it is new
	socket  net.Listener     // of a new address
	handler listener.Handler // of a new address, or of one that changed its protocol
	drain   func(context.Context)
}

// bind finds for every listener what serves its address already, whatever its name was, and binds the others.
func (t *transition) bind() (problems []config.Problem) {
	g := t.g
	g.mu.Lock()
	free := maps.Clone(g.listeners)
	g.mu.Unlock()
	// What an operator drained stays closed whatever control planes send, until the operator takes it back.
	if g.life == nil || !g.life.Failed() {
		maps.DeleteFunc(free, func(_ string, b *bound) bool { return b.Drained() })
	}
	places := map[string]string{} // the names of free ones by address
	for name, b := range free {
		places[b.Address()] = name
	}
	take := func(p *place, name string) {
		if b := free[name]; p.bound == nil && b != nil && b.Address() == p.config.Address {
			p.bound, p.before = b, b.Config()
			delete(free, name)
		}
	}
	for i, l := range t.s.Listeners() {
		t.places = append(t.places, &place{config: l, path: config.Path("listeners").Index(i)})
	}
	for _, p := range t.places {
		take(p, p.config.Name)
	}
	for _, p := range t.places {
		// Two addresses with port 0 are two addresses: there only the name tells which is which.
		if !strings.HasSuffix(p.config.Address, ":0") {
			take(p, places[p.config.Address])
		}
	}
	for _, p := range t.places {
		if p.bound != nil {
			continue
		}
		socket, err := t.open(p, free)
		if err != nil {
			problems = append(problems, p.path.Field("address").Problem("%v", err))
			continue
		}
		p.socket = socket
		t.undoing(func() { socket.Close() })
	}
	return problems
}

// open binds a new address. Where sockets that leave with this configuration may be in the way, it is bound beside them.
func (t *transition) open(p *place, leaving map[string]*bound) (net.Listener, error) {
	var beside []*listener.Listener
	for _, b := range leaving {
		for _, x := range b.sockets() {
			if listener.Overlaps(x.Address(), p.config.Address) {
				beside = append(beside, x)
			}
		}
	}
	if len(beside) > 0 {
		if socket, done, err := listener.BindBeside(p.config.Address, beside); err == nil {
			t.undoing(done)
			t.after = append(t.after, done)
			return socket, nil
		}
	}
	return listener.Bind(p.config.Address, p.config.Unix)
}

// listen makes the handlers of new addresses and of those that changed their protocol.
func (t *transition) listen() (problems []config.Problem) {
	for _, p := range t.places {
		if p.bound != nil && p.bound.protocol == p.config.Protocol {
			continue
		}
		h, err := t.g.protocols[p.config.Protocol].Listen(t.g, p.config)
		if err != nil {
			problems = append(problems, p.path.Problem("starting: %v", err))
			continue
		}
		t.undoing(h.Close)
		p.handler = h
		if p.bound != nil {
			continue
		}
		ln, err := listener.New(p.config.Address, p.socket, p.config, h, t.g.listenerDeps())
		if err != nil {
			problems = append(problems, p.path.Problem("starting: %v", err))
			continue
		}
		p.bound = &bound{Listener: ln, first: p.config.Name, protocol: p.config.Protocol, extra: map[string]*listener.Listener{}}
	}
	return problems
}

func (g *Gateway) listenerDeps() listener.Deps {
	return listener.Deps{Log: g.log, Metrics: g.metrics, NextID: func() uint64 { return g.nextID.Add(1) }, Now: g.Now, Full: g.memory.full.Load}
}

// updateListeners takes the listeners that stay to their new configuration without touching sockets or connections.
func (t *transition) updateListeners() []config.Problem {
	for _, p := range t.places {
		if p.before == nil || p.before == p.config {
			continue
		}
		if err := t.update(p); err != nil {
			return []config.Problem{p.path.Problem("updating: %v", err)}
		}
	}
	return nil
}

func (t *transition) update(p *place) error {
	b, h := p.bound, p.bound.Handler()
	if p.handler != nil {
		// The address changed hands: the socket stays, so that no client finds it closed; old sessions end at a boundary.
		drain, err := b.Replace(p.config, p.handler)
		if err != nil {
			return err
		}
		p.drain = drain
		t.undoing(func() { t.g.restore("listener", p.before.Name, b.Update(p.before, h)) })
		return nil
	}
	if err := h.Update(p.config); err != nil {
		return err
	}
	t.undoing(func() { t.g.restore("listener", p.before.Name, h.Update(p.before)) })
	b.binding.Lock() // a socket that is being opened is open, and told, or comes later and sees what is new
	defer b.binding.Unlock()
	for _, x := range append(t.g.extras(b), b.Listener) {
		if err := x.Update(p.config, x.Handler()); err != nil {
			return err
		}
		t.undoing(func() { t.g.restore("listener", p.before.Name, x.Update(p.before, x.Handler())) })
	}
	return nil
}

// commitListeners lets new listeners accept and drains those that nobody names any more.
func (t *transition) commitListeners() {
	g, next, kept := t.g, map[string]*bound{}, map[*bound]bool{}
	for _, p := range t.places {
		next[p.config.Name] = p.bound
		kept[p.bound] = true
	}
	var gone []*listener.Listener
	forgotten := map[string]bool{}
	g.mu.Lock()
	for _, b := range g.listeners {
		if !kept[b] {
			g.log.Info("listener removed", "listener", b.Name(), "address", b.Address(), "connections", b.Connections())
			gone = append(gone, b.sockets()...)
			forgotten[b.first] = true
		}
	}
	for _, p := range t.places { // a name that moved to another address goes on
		delete(forgotten, p.bound.first)
	}
	for _, p := range t.places {
		if p.drain != nil {
			gone = append(gone, slices.Collect(maps.Values(p.bound.extra))...)
			p.bound.extra, p.bound.protocol = map[string]*listener.Listener{}, p.config.Protocol
		}
	}
	g.listeners = next
	g.mu.Unlock()
	for _, p := range t.places {
		if s, ok := p.bound.Handler().(listener.Settler); ok && p.before != nil && p.before != p.config {
			s.Settle()
		}
		if p.before == nil {
			g.leaving.Go(p.bound.Serve)
			g.log.Info("listening", "listener", p.config.Name, "protocol", p.config.Protocol, "address", p.bound.Addr().String())
		}
		if p.drain != nil {
			g.leave(t.s, p.drain)
		}
	}
	for _, l := range gone {
		g.removeSocket(t.s, l)
	}
	for name := range forgotten {
		g.told.Forget(name)
	}
	for _, f := range t.after {
		f()
	}
}

// removeSocket closes a socket at once, so that the next configuration may bind its address, and drains its connections.
func (g *Gateway) removeSocket(s *config.Snapshot, l *listener.Listener) {
	l.StopAccepting()
	g.leave(s, l.Drain)
}

// leave drains what the configuration no longer has: for as long as s allows, and no longer than the end of the process.
func (g *Gateway) leave(s *config.Snapshot, drain func(context.Context)) {
	g.leaving.Go(func() {
		ctx, cancel := context.WithTimeout(g.last, s.Drain.Timeout.Std())
		defer cancel()
		drain(ctx)
	})
}

// extras are the sockets that a listener's protocol opened.
func (g *Gateway) extras(b *bound) []*listener.Listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Values(b.extra))
}

// owner is the listener of that name; nil when none serves. A listener that is being renamed is found by its new name, too.
// g.mu is held.
func (g *Gateway) owner(name string) *bound {
	if g.closed {
		return nil
	}
	if b := g.listeners[name]; b != nil {
		return b
	}
	for _, b := range g.listeners {
		if b.Name() == name {
			return b
		}
	}
	return nil
}

// Bind opens one more socket for the listener named owner.
func (g *Gateway) Bind(owner, address string, h listener.Handler) (*listener.Listener, error) {
	g.mu.Lock()
	b := g.owner(owner)
	g.mu.Unlock()
	if b == nil {
		return nil, notServing(owner, address)
	}
	b.binding.Lock() // whoever wants the same address waits and is given the same socket
	defer b.binding.Unlock()
	g.mu.Lock()
	have, protocol := b.extra[address], b.protocol
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
	defer g.mu.Unlock()
	if g.closed || b.protocol != protocol || !slices.Contains(slices.Collect(maps.Values(g.listeners)), b) {
		socket.Close()
		return nil, notServing(owner, address)
	}
	b.extra[address] = ln
	g.leaving.Go(ln.Serve)
	return ln, nil
}

func notServing(owner, address string) error {
	return fmt.Errorf("binding %s: listener %q is not serving", address, owner)
}

// Unbind closes a socket that Bind opened and drains its connections.
func (g *Gateway) Unbind(l *listener.Listener) {
	if g.forget(l) {
		defer g.leaving.Done()
		g.removeSocket(g.Snapshot(), l)
	}
}

// forget takes a socket from its owner; it counts as leaving then. Close drains what is there when it begins.
func (g *Gateway) forget(l *listener.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.listeners {
		if b.extra[l.Address()] == l && !g.closed {
			delete(b.extra, l.Address())
			g.leaving.Add(1)
			return true
		}
	}
	return false
}

var _ host.Host = (*Gateway)(nil)
