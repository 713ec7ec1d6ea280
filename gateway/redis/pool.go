package redis

import (
	"errors"
	"fmt"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/protocols/redis"
)

// viewKey is what must be equal for sessions to share connections.
type viewKey struct {
	db         int
	resp3      bool
	user, pass string
	tracker    *tracker // a session that shares with nobody; see there
}

// view is an upstream as sessions of one identity see it: a pool for every node.
type view struct {
	upstream *upstream
	key      viewKey
	pools    []*pool // in the order of upstream.nodes
	replicas map[*node]*pool

	sessions int
	idle     int64 // since when there are none
	resting  bool  // rest will be called
}

// pool holds the connections of one view to one node.
type pool struct {
	view   *view
	node   *node
	shared []*backend // by place; nil: not open
	idle   []*backend // dedicated ones that nobody leases
	leased int
}

// node is one server of an upstream.
type node struct {
	upstream *upstream
	address  string
	name     string // what is hashed
	weight   int
	index    int
	replica  bool
	local    bool    // in this process's zone
	replicas []*node // of a primary, those that may be read from

	// Of a replica: what its primary had at this turn it has too; whether it is being asked how far it is, and not before when again.
	confirmed  int64
	confirming bool
	confirmAt  int64

	version string // as its HELLO said
	// A node that could not be reached is asked again after a while, not by every command.
	failures int
	retryAt  int64
	lastErr  error

	stats nodeStats
}

type nodeStats struct {
	errors, timeouts, lost, unknown uint64
}

const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = time.Second
)

func (n *node) reached() {
	n.failures, n.retryAt, n.lastErr = 0, 0, nil
	n.upstream.report(n, nil)
}

func (n *node) missed(clock int64, err error) {
	n.failures++
	n.retryAt = clock + int64(min(firstRetry<<min(n.failures-1, 10), lastRetry))
	n.lastErr = err
	n.upstream.report(n, err)
}

func (n *node) lost(clock int64, err error) {
	n.stats.lost++
	n.lastErr = err
	n.upstream.report(n, err)
}

func (n *node) stuck(clock int64) { n.missed(clock, errTimeout) }

func (n *node) timedOut() { n.stats.timeouts++ }

func (n *node) abandoned(p *pending) {
	n.stats.errors++
	if p.flags&readOnly == 0 {
		n.stats.unknown++
	}
}

// conn returns the shared connection that a session's commands go down. It is chosen by the session, never in turn: one client's
// commands must not overtake each other on two connections.
func (p *pool) conn(s int64) (*backend, error) {
	u := p.node.upstream
	if err := u.admit(cluster.Requests, u.underWay); err != nil {
		return nil, err
	}
	b, err := p.connection(s)
	if err == nil && b.wire == nil {
		err = u.admit(cluster.Pending, u.queued)
	}
	return b, err
}

// connection is conn for what has been let in already, and goes elsewhere or once more.
func (p *pool) connection(s int64) (*backend, error) {
	i := int(uint64(s) % uint64(len(p.shared)))
	b := p.shared[i]
	if b != nil {
		if b.wire == nil && len(b.queued) > maxQueued {
			return nil, errors.New("too much is waiting for a connection")
		}
		return b, nil
	}
	b, err := p.open()
	if err != nil {
		return nil, err
	}
	p.shared[i] = b
	p.view.upstream.engine.out.dial(b)
	return b, nil
}

// open makes a backend that the caller registers and dials.
func (p *pool) open() (*backend, error) {
	e := p.view.upstream.engine
	if p.node.retryAt > e.clock {
		return nil, fmt.Errorf("unreachable: %w", p.node.lastErr)
	}
	b := &backend{engine: e, pool: p}
	e.backends[b] = struct{}{}
	return b, nil
}

// lease returns a connection that is the session's alone.
func (p *pool) lease(s *session) (*backend, error) {
	u := p.node.upstream
	if err := u.admit(cluster.Requests, u.underWay); err != nil {
		return nil, err
	}
	if n := len(p.idle); n > 0 {
		b := p.idle[n-1]
		p.idle = p.idle[:n-1]
		b.holder, b.lent = s, b.engine.clock
		p.leased++
		u.measure.Waited(0)
		return b, nil
	}
	if limit := p.view.upstream.maxDedicated; p.leased >= limit {
		return nil, fmt.Errorf("all %d dedicated connections are taken", limit)
	}
	if err := u.admit(cluster.Pending, u.queued); err != nil {
		return nil, err
	}
	b, err := p.open()
	if err != nil {
		return nil, err
	}
	b.dedicated, b.holder, b.lent = true, s, b.engine.clock
	p.leased++
	p.view.upstream.engine.out.dial(b)
	return b, nil
}

// keptIdle is how many dedicated connections a pool keeps for the next who needs one.
const keptIdle = 16

// giveBack takes a leased connection whose state is as its pool promises.
func (p *pool) giveBack(b *backend) {
	if b.state == dead {
		return
	}
	if b.dirty || b.state != ready || len(p.idle) >= keptIdle || b.pending.len() > 0 || p.closed() || b.old() {
		b.discard("released")
		return
	}
	b.holder = nil
	p.back(b)
	p.idle = append(p.idle, b)
}

// forget lets go of a backend that is dead.
func (p *pool) forget(b *backend) {
	if !b.dedicated {
		for i := range p.shared {
			if p.shared[i] == b {
				p.shared[i] = nil
			}
		}
		return
	}
	for i := range p.idle {
		if p.idle[i] == b {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
	p.back(b)
}

// back counts a leased connection that is one no more.
func (p *pool) back(b *backend) {
	p.leased--
	p.node.upstream.measure.Used(time.Duration(b.engine.clock - b.lent))
}

// closed tells whether the node has left the upstream.
func (p *pool) closed() bool {
	if p.node.replica {
		return p.view.replicas[p.node] != p
	}
	return p.node.index >= len(p.view.pools) || p.view.pools[p.node.index] != p
}

// retire closes what nobody uses; shared connections with commands under way are closed when those are answered or time out.
func (p *pool) retire(why string) {
	for len(p.idle) > 0 {
		p.idle[0].discard(why)
	}
	for _, b := range p.shared {
		if b != nil && b.pending.len() == 0 {
			b.discard(why)
		}
	}
	if p.leased > 0 && p.closed() {
		for b := range p.view.upstream.engine.backends {
			if b.pool == p {
				b.leave()
			}
		}
	}
}

// leave ends a session's own connection to a server that has left, once no command or transaction is under way on it. The client's state
// there (subscriptions, watches, tracking) would be told of nothing any more, and what it waits for would come elsewhere.
func (b *backend) leave() {
	s := b.holder
	if s == nil || s.track.multi || !b.pool.closed() {
		return
	}
	for i := range b.pending.len() {
		if p := b.pending.at(i); p.session != nil && !blocks[min(p.command, redis.Count)] || p.op != nil {
			return
		}
	}
	b.lose(errLeft)
}

var errLeft = &closing{"the server has left"}

// blocks tells of each command whether it is one that waits.
var blocks = func() (t [redis.Count + 1]bool) {
	all := redis.Commands()
	for i := range all {
		t[all[i].ID] = all[i].Has(redis.Blocking)
	}
	return t
}()

// defaultTimeout is how long a command may take.
const defaultTimeout = 5 * time.Second
