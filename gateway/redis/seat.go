package redis

import (
	"sync/atomic"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
)

// shape is what cannot change on an upstream that lives: with another one every key may belong elsewhere, and other commands be possible.
type shape struct {
	hashing, group, hash, tag string
	user, sentinelUser        string
	ring                      int
}

func shapeOf(c *config.Cluster) shape {
	b := c.Block.(*ClusterBlock)
	return shape{b.Hashing, b.Group, b.Hash, b.tag(), b.User, b.SentinelUser, b.RingSize}
}

// seat is a cluster's place in the room. A configuration of another shape gets a new attachment; sessions go over to it, each when
// everything it asked before has been answered.
type seat struct {
	room    *room
	cluster *cluster.Cluster
	now     atomic.Pointer[attachment]
}

func (r *room) seat(c *cluster.Cluster) (*seat, error) {
	a, err := r.attach(c, c.Config())
	if err != nil {
		return nil, err
	}
	s := &seat{room: r, cluster: c}
	s.now.Store(a)
	return s, nil
}

func (s *seat) Update(c *config.Cluster) error {
	a := s.now.Load()
	if shapeOf(c) == a.shape {
		return a.update(c)
	}
	next, err := s.room.attach(s.cluster, c)
	if err != nil {
		return err
	}
	s.now.Store(next)
	s.room.do(func() {
		next.up.meter = a.up.meter // counters go on
		for _, g := range s.room.engine.gates {
			if g.upstream == a.up {
				g.upstream = next.up
			} else if g.upstream != nil && g.upstream.mode == modeRouted {
				g.upstream.replace(a.up, next.up)
			}
		}
	})
	a.depart()
	return nil
}

// Close gives the connections up. Sessions that still come get an error.
func (s *seat) Close() {
	a := s.now.Load()
	a.unview()
	a.depart()
	s.room.do(func() {
		for b := range s.room.engine.backends {
			if b.pool.view.upstream == a.up {
				b.lose(cluster.ErrClosed)
			}
		}
	})
}

// depart closes what is idle; connections with commands under way are closed when those are answered.
func (a *attachment) depart() {
	a.stop()
	a.watch.Wait()
	a.room.do(func() {
		delete(a.room.engine.upstreams, a.up)
		a.up.setNodes(nil)
		a.up.asked = true
		a.up.release() // whoever waited for its first word looks again
	})
}
