package redis

import (
	"slices"

	"github.com/sidewire/sidewire/protocols/redis"
)

// readPolicy says who answers commands that only read.
type readPolicy uint8

const (
	readPrimary       readPolicy = iota
	readPreferReplica            // a replica, or the primary if there is none that can be reached
	readReplica                  // a replica, or nobody
	readAny                      // the primary or a replica
	readLocal                    // a replica of this zone, the primary if it is of this zone, another replica, the primary
)

var readPolicies = map[string]readPolicy{"primary": readPrimary, "prefer_replica": readPreferReplica, "replica": readReplica, "any": readAny, "local_zone": readLocal}

// setReplicas says which replicas each primary has. Those that stay keep their connections.
func (u *upstream) setReplicas(of map[string][]string) {
	for _, n := range u.nodes {
		var next []*node
		for _, address := range of[n.address] {
			at := slices.IndexFunc(n.replicas, func(r *node) bool { return r.address == address })
			if at >= 0 {
				next = append(next, n.replicas[at])
			} else {
				next = append(next, &node{upstream: u, address: address, name: address, weight: 1, index: -1, replica: true})
			}
		}
		for _, r := range n.replicas {
			if !slices.Contains(next, r) {
				for _, v := range u.views {
					if p := v.replicas[r]; p != nil {
						delete(v.replicas, r)
						p.retire("replica has left")
					}
				}
			}
		}
		n.replicas = next
	}
	u.settleZones()
}

// settleZones notes which servers are in this process's zone.
func (u *upstream) settleZones() {
	for _, n := range u.nodes {
		n.local = u.nearby != nil && u.nearby(n.address)
		for _, r := range n.replicas {
			r.local = u.nearby != nil && u.nearby(r.address)
		}
	}
}

// replicaPool is the view's pool for a replica.
func (v *view) replicaPool(r *node) *pool {
	p := v.replicas[r]
	if p == nil {
		p = &pool{view: v, node: r, shared: make([]*backend, v.upstream.connections)}
		if v.replicas == nil {
			v.replicas = make(map[*node]*pool)
		}
		v.replicas[r] = p
	}
	return p
}

// reader returns the connection on which a read of a session is answered: always the same replica for a session, so that it does not see
// time go backwards as long as that one lives; and the primary for a while after the session has written, if that is wanted.
func (s *session) reader(i int) (*backend, error) {
	p := s.view.pools[i]
	n, u := p.node, p.node.upstream
	if u.reads == readLocal {
		if b := s.localReader(p); b != nil {
			return b, nil
		}
	}
	choices := len(n.replicas)
	if u.reads == readAny {
		choices++
	}
	var err error = errNoReplica
	for k := range choices {
		at := int((uint64(s.id) + uint64(k)) % uint64(choices))
		var b *backend
		switch {
		case at == len(n.replicas):
			b, err = s.conn(i)
		case !s.reads(n, n.replicas[at]):
			return s.conn(i) // not from another replica, which may be behind this one in what others wrote
		default:
			b, err = p.view.replicaPool(n.replicas[at]).conn(s.id)
		}
		if err == nil {
			return b, nil
		}
	}
	if u.reads == readReplica {
		return nil, err
	}
	return s.conn(i)
}

// localReader finds a server of this zone: a replica, else the primary; nil if there is none that can be reached.
func (s *session) localReader(p *pool) *backend {
	replicas := p.node.replicas
	for k := range replicas {
		r := replicas[(uint64(s.id)+uint64(k))%uint64(len(replicas))]
		if !r.local {
			continue
		}
		if !s.reads(p.node, r) {
			break
		}
		if b, err := p.view.replicaPool(r).conn(s.id); err == nil {
			return b
		}
	}
	if p.node.local {
		if b, err := p.conn(s.id); err == nil {
			return b
		}
	}
	return nil
}

var errNoReplica = &refusal{"has no replica that can be reached"}

// pick returns the connection for a command: a replica's for reads by policy, else the primary's.
func (s *session) pick(i int, c *redis.Command) (*backend, error) {
	if i < 0 || i >= len(s.view.pools) || s.view.pools[i].node.upstream.reads == readPrimary {
		return s.conn(i)
	}
	if c == nil || c.Flags&redis.ReadOnly == 0 {
		s.writing()
		return s.conn(i)
	}
	return s.reader(i)
}
