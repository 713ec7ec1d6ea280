package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/admin"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/listener"
)

// idlePoll is how often a graceful drain looks whether the last client has gone.
const idlePoll = 100 * time.Millisecond

// Identity is what the process tells about itself on the admin interface and to a control plane.
type Identity struct {
	Version     string
	Node        admin.Node
	CommandLine map[string]any
}

// ServeAdmin makes the admin interface part of g: the address of every configuration from the next on is bound to it. quit
// is called when an operator asks for the end. It must be called before the first Apply.
func (g *Gateway) ServeAdmin(id Identity, quit func()) {
	g.version = id.Version
	g.life = admin.NewLife(g.drainAsked, g.resume, quit)
	g.admin = admin.New(admin.Options{
		Source: g, Life: g.life, Log: g.logs.Logger("admin"), Version: id.Version, Node: id.Node, CommandLine: id.CommandLine, Now: g.Now,
		Rejected: func() any {
			if r := g.Rejected(); r != nil {
				return r
			}
			return nil
		},
	})
}

// Admin is the admin interface; nil when ServeAdmin was not called.
func (g *Gateway) Admin() *admin.Server { return g.admin }

// bindAdmin moves the admin interface to where s wants it.
func (g *Gateway) bindAdmin(s *config.Snapshot) []config.Problem {
	if g.admin == nil {
		return nil
	}
	if err := g.admin.Apply(s.Admin); err != nil {
		return []config.Problem{config.Path("admin.address").Problem("%v", err)}
	}
	return nil
}

// unbindAdmin takes bindAdmin back when the rest of s could not be applied.
func (g *Gateway) unbindAdmin(old *config.Snapshot) {
	if g.admin == nil {
		return
	}
	back := config.Admin{}
	if old != nil {
		back = old.Admin
	}
	if err := g.admin.Apply(back); err != nil {
		g.log.Error("returning admin interface to its address", "error", err)
	}
}

func (g *Gateway) setState(s admin.State) {
	if g.life != nil {
		g.life.Set(s)
	}
}

// drainAsked is /drain_listeners. The process reports unready at once. A graceful drain keeps accepting, because the
// application beside it is still finishing its work, until the last client has gone or the configured time is over; with
// SkipExit it serves on until the process is told to end.
func (g *Gateway) drainAsked(d admin.Drain) {
	g.life.Fail(true)
	s := g.Snapshot()
	if s == nil || (d.Graceful && d.SkipExit) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	limit := s.Drain.Timeout.Std()
	if g.takeBack == nil {
		g.takeBack = make(chan struct{})
	}
	back := g.takeBack
	g.leaving.Go(func() {
		if d.Graceful {
			idle, cancel := context.WithTimeout(g.ending, limit)
			g.untilIdle(idle, back)
			cancel()
			select {
			case <-back:
				return
			default:
			}
		}
		ctx, cancel := context.WithTimeout(g.last, limit)
		defer cancel()
		g.drainListeners(ctx)
	})
}

// resume is /healthcheck/ok, which takes a drain back: one that still waits for clients to go is given up, and what was
// closed is bound anew, in the configuration that is in force.
func (g *Gateway) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.takeBack != nil {
		close(g.takeBack)
		g.takeBack = nil
	}
	if s := g.Snapshot(); s != nil && !g.closed {
		g.resuming.Go(func() { g.reopen(s) })
	}
}

// reopen applies what is in force again when any of its listeners was drained.
func (g *Gateway) reopen(s *config.Snapshot) {
	if !slices.ContainsFunc(g.Listeners(), (*listener.Listener).Drained) {
		return
	}
	again := *s // Apply does nothing for what is in force already
	if problems := g.applyOver(&again, s); len(problems) > 0 {
		g.log.Error("binding drained listeners again", "error", config.Problems(problems))
	}
}

func (g *Gateway) drainListeners(ctx context.Context) {
	var drains sync.WaitGroup
	for _, l := range g.Listeners() {
		drains.Go(func() { l.Drain(ctx) })
	}
	drains.Wait()
}

// untilIdle returns when no client is connected, ctx is done or back is closed, which may be nil.
func (g *Gateway) untilIdle(ctx context.Context, back <-chan struct{}) {
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for g.connections() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-back:
			return
		}
	}
}

func (g *Gateway) connections() int {
	open := 0
	for _, l := range g.Listeners() {
		open += l.Connections()
	}
	return open
}

// farewell is the first part of a sidecar's end: it serves on while the application beside it finishes, until the last
// client has gone or only the grace is left of ctx's time.
func (g *Gateway) farewell(ctx context.Context) {
	s := g.Snapshot()
	if s == nil || s.Drain.Mode != "sidecar" {
		return
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-s.Drain.Grace.Std()))
		defer cancel()
	}
	g.untilIdle(ctx, nil)
}
