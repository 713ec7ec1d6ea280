package mysql

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
)

// drainDefault bounds how long a switch-over waits for open transactions.
const drainDefault = 10 * time.Second

// switchover is a planned change of a cluster's primary that is under way: statements that need a primary wait as in a
// failover, except inside transactions, which go on to their end on the old one.
type switchover struct {
	from    *cluster.Endpoint
	drained atomic.Bool
}

// moving reports whether w has to wait for a switch-over. Who takes a connection asks once more when it has it: either
// the drain has seen that connection in use, or its taker sees the drain.
func (u *upstream) moving(w *want) bool {
	if w.role != cluster.Primary || w.exact {
		return false
	}
	sw := u.switching.Load()
	return sw != nil && (!w.within || sw.drained.Load())
}

func (u *upstream) errMoving() error {
	from := "its primary"
	if sw := u.switching.Load(); sw != nil {
		from = sw.from.Address()
	}
	return &cluster.NoEndpoint{Cluster: u.cluster.Name(), Role: cluster.Primary, Reason: "a switch-over from " + from + " is under way"}
}

// drained is what an operator is told when a primary has nothing open any more.
type drained struct {
	Cluster string `json:"cluster"`
	From    string `json:"from"`
	Took    string `json:"took"`
	Waiting int64  `json:"waiting"`
	Next    string `json:"next"`
}

// switchOver serves POST /actions/mysql/CLUSTER/switchover. It returns when no session holds a connection to the primary;
// from then on, until a probe finds another primary or the time for that is over, statements wait.
func (u *upstream) switchOver(ctx context.Context, values url.Values) (any, error) {
	patience, err := durationOf(values, "drain", drainDefault)
	if err != nil {
		return nil, err
	}
	window, err := durationOf(values, "wait", u.block().Failover.Wait.Std())
	if err != nil {
		return nil, err
	}
	from, err := u.pick(cluster.Primary)
	if err != nil {
		return nil, fmt.Errorf("there is no primary to leave: %w", err)
	}
	sw := &switchover{from: from}
	if !u.switching.CompareAndSwap(nil, sw) {
		return nil, fmt.Errorf("a switch-over of cluster %q is under way already", u.cluster.Name())
	}
	begun := time.Now()
	if n := u.drain(ctx, from, patience); n > 0 && values.Get("force") != "true" {
		u.switched(sw, "refused")
		return nil, fmt.Errorf("%d sessions still hold connections to %s after %s, by transactions or pins; nothing was changed (force=true goes on without them)",
			n, from.Address(), patience)
	}
	u.host.Log().Info("switch-over: primary drained", "cluster", u.cluster.Name(), "endpoint", from.Address(), "took", time.Since(begun))
	sw.drained.Store(true)
	u.swept.Go(func() { u.follow(sw, window) })
	return drained{u.cluster.Name(), from.Address(), time.Since(begun).Round(time.Millisecond).String(), u.held.Load(),
		fmt.Sprintf("make another server the primary and %s read-only within %s: statements wait until then", from.Address(), window)}, nil
}

func durationOf(values url.Values, name string, otherwise time.Duration) (time.Duration, error) {
	text := values.Get(name)
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s: %q is no duration such as 10s", name, text)
	}
	return d, nil
}

// drain waits until nobody holds a connection to e and returns how many still do.
func (u *upstream) drain(ctx context.Context, e *cluster.Endpoint, patience time.Duration) int {
	over := time.NewTimer(patience)
	defer over.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	p := u.pool(e)
	for {
		p.mu.Lock()
		n := p.open - len(p.idle)
		p.mu.Unlock()
		if n == 0 {
			return 0
		}
		select {
		case <-look.C:
		case <-over.C:
			return n
		case <-ctx.Done():
			return n
		case <-u.stop:
			return n
		}
	}
}

// follow lets statements go on when another primary is known, or when its time is over.
func (u *upstream) follow(sw *switchover, window time.Duration) {
	over := time.NewTimer(window)
	defer over.Stop()
	for {
		changed := u.cluster.Changed()
		if e, err := u.pick(cluster.Primary); err == nil && e != sw.from && e.Healthy() {
			u.host.Log().Info("switch-over done", "cluster", u.cluster.Name(), "from", sw.from.Address(), "to", e.Address())
			u.switched(sw, "done")
			return
		}
		select {
		case <-changed:
		case <-over.C:
			u.host.Log().Warn("switch-over given up: no other primary was found in time", "cluster", u.cluster.Name(), "from", sw.from.Address())
			u.switched(sw, "given_up")
			return
		case <-u.stop:
			u.switched(sw, "given_up")
			return
		}
	}
}

// switched ends a switch-over.
func (u *upstream) switched(sw *switchover, outcome string) {
	u.switching.CompareAndSwap(sw, nil)
	u.host.Metrics().Counter("sidewire_mysql_switchovers_total", "Planned switch-overs by their outcome.", "cluster", u.cluster.Name(), "outcome", outcome).Inc()
}

// pick chooses an endpoint of a role, one of several primaries by the cluster's rule.
func (u *upstream) pick(role cluster.Role) (*cluster.Endpoint, error) {
	return u.cluster.Pick(cluster.Want{Role: role, Writable: u.block().Failover.rule()})
}

// supersede cuts what still waits for a primary that does not answer any more, once another has taken its place: a server
// that stands still would keep its statements, and their sessions, for ever.
func (u *upstream) supersede() {
	u.pools.Range(func(_, v any) bool {
		p := v.(*pool)
		if e := p.endpoint; !e.Healthy() && e.Role() == cluster.Primary && u.cluster.Rival(e) != nil {
			p.cut()
		}
		return true
	})
}
