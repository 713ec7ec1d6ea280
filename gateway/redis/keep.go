package redis

import (
	"slices"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// keeping is how long connections are kept, and how many there are before anybody asks for them.
type keeping struct {
	lifetime, idle int64
	least          int
}

func (k *keeping) keep(p *config.Pool) {
	k.lifetime, k.idle, k.least = int64(p.Lifetime.Std()), int64(p.IdleTimeout.Std()), p.Min
}

// sweepEvery is how often connections are looked at for age.
const sweepEvery = time.Second

// sweep closes connections whose time is over and opens those that are to be there. Only connections of sidewire's own account are
// opened ahead: whether others will be wanted again is not known.
func (u *upstream) sweep() {
	if u.least > 0 && len(u.nodes) > 0 {
		u.view(viewKey{db: u.db})
	}
	for key, v := range u.views {
		least := u.least
		if key.user != "" || key.pass != "" {
			least = 0
		}
		for _, p := range v.pools {
			p.sweep(least)
		}
		for _, p := range v.replicas {
			p.sweep(least)
		}
	}
}

func (p *pool) sweep(least int) {
	u := p.node.upstream
	for _, b := range slices.Clone(p.idle) {
		if b.old() || b.unused() {
			b.discard("its time is over")
		}
	}
	for i, b := range p.shared {
		switch {
		case b == nil || b.state != ready:
		case b.old() && b.pending.len() > 0:
			b.unshare()
		case b.old() || i >= least && b.unused():
			b.discard("its time is over")
		}
		if p.shared[i] != nil || i >= least {
			continue
		}
		if b, err := p.open(); err == nil {
			p.shared[i] = b
			u.engine.out.dial(b)
		}
	}
}

// old tells whether a connection has been open for as long as it may; a tenth of jitter keeps those that were opened together from
// being opened together again.
func (b *backend) old() bool {
	limit := b.pool.node.upstream.lifetime
	return limit > 0 && b.engine.clock-b.opened > limit-int64(float64(limit)*b.early)
}

// unused tells whether nothing was asked on a connection for as long as that may be.
func (b *backend) unused() bool {
	limit := b.pool.node.upstream.idle
	return limit > 0 && b.pending.len() == 0 && b.engine.clock-b.asked > limit
}

// unshare leaves a shared connection to what is under way on it: what is asked from now on goes down another. Clients with commands under
// way wait for those, so that none of their commands overtakes another.
func (b *backend) unshare() {
	b.detached = true
	for i := range b.pool.shared {
		if b.pool.shared[i] == b {
			b.pool.shared[i] = nil
		}
	}
	for i := range b.pending.len() {
		if s := b.pending.at(i).owner(); s != nil && !s.closed {
			s.hold()
		}
	}
}
