package mysql

import (
	"errors"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// apart is how many connections there may be before data sources that share the server share connections too: else they would take turns on as few as are
// busy at once, with a change of database before most statements. The other half of the pool is for when more are busy.
func (p *pool) apart(w *want) int {
	if w.sources < 2 {
		return 0
	}
	most := p.up.block().Pool.Max
	return max(most/2, min(w.sources, most))
}

// forgetOldest closes the connection that rested longest, so that another takes its place. p.mu is held, but not while what a session left there is fetched.
func (p *pool) forgetOldest() {
	old := p.idle[0]
	p.idle = append(p.idle[:0], p.idle[1:]...)
	if old.left != nil {
		p.mu.Unlock()
		old.passOn()
		p.mu.Lock()
	}
	p.forget(old)
}

// full reports whether a connection was refused, by its server or by the cluster's limits, because there are too many: others
// of ours may come free.
func full(err error) bool {
	var e *wire.Error
	var o *cluster.Overloaded
	return errors.As(err, &e) && (e.Code == codeTooManyConnections || e.Code == codeTooManyUserConnections) || errors.As(err, &o)
}

// makeRoom closes a connection that rests at another endpoint, if it is the cluster's limit for all that is reached.
func (u *upstream) makeRoom(but *pool, err error) (made bool) {
	var o *cluster.Overloaded
	if !errors.As(err, &o) || o.Endpoint != "" {
		return false
	}
	u.pools.Range(func(_, v any) bool {
		p := v.(*pool)
		if p == but {
			return true
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if made = len(p.idle) > 0; made {
			p.forgetOldest()
		}
		return !made
	})
	return made
}

// room refuses what could only wait for connections that the session itself holds: a data source has one of its own, and several may stand on one server.
func (s *session) room(u *upstream, role cluster.Role) error {
	most := u.block().Pool.Max
	if len(s.holds) < most {
		return nil
	}
	held := map[*pool]int{}
	for _, h := range s.holds {
		p := h.b.pool
		if held[p]++; p.up != u || held[p] < most {
			continue
		}
		if len(u.cluster.Endpoints()) == 1 || role != cluster.Replica && p.endpoint.Role() == cluster.Primary {
			return fault(codeTooManyConnections, stateRejected, "sidewire: this takes more than the %d connections to %s that its pool may have (mysql.pool.max), one for each data source: "+
				"raise it, or name fewer shards", most, p.endpoint.Address())
		}
	}
	return nil
}
