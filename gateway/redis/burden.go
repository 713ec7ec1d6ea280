package redis

import (
	"errors"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/redis"
)

// burden is what an upstream carries, and how much of it the cluster's limits allow. The engine counts by itself, since a command
// costs two additions this way and no atomic ones; the cluster is told once a wake.
type burden struct {
	underWay int // commands whose replies are due
	queued   int // those of them that wait for a connection
	retries  int // those that were sent before, or wait to be sent again
	told     [3]int
	limits   [cluster.Burdens]int // negative: none
	refuse   func(cluster.Burden) error
}

// unburdened has no limits. What it refuses when it gets some is told to nobody, unless refuse is set.
func (u *upstream) unburdened() {
	u.limit(&config.Breaker{})
	u.refuse = func(kind cluster.Burden) error {
		return &cluster.Overloaded{Cluster: u.name, Burden: kind, Limit: u.limits[kind]}
	}
}

// limit takes the limits of a configuration.
func (b *burden) limit(l *config.Breaker) {
	for kind := range cluster.Burdens {
		b.limits[kind] = -1
		if n, limited := cluster.LimitOf(l, kind); limited {
			b.limits[kind] = n
		}
	}
}

// admit says no when there is as much of a burden as there may be.
func (b *burden) admit(kind cluster.Burden, now int) error {
	if limit := b.limits[kind]; limit >= 0 && now >= limit {
		return b.refuse(kind)
	}
	return nil
}

// tell lets the cluster know.
func (b *burden) tell(c *cluster.Cluster) {
	now := [3]int{b.underWay, b.queued, b.retries}
	if now == b.told {
		return
	}
	b.told = now
	c.Carry(cluster.Requests, b.underWay)
	c.Carry(cluster.Pending, b.queued)
	c.Carry(cluster.Retries, b.retries)
}

// owe takes the next place in the queue of commands whose replies are due; pay gives up the oldest.
func (b *backend) owe() *pending {
	u := b.pool.node.upstream
	u.underWay++
	b.asked = b.engine.clock
	if b.wire == nil {
		u.queued++
	}
	return b.pending.push()
}

func (b *backend) pay() {
	u := b.pool.node.upstream
	u.underWay--
	if b.pending.at(0).flags&retried != 0 {
		u.retries--
	}
	b.pending.pop()
}

// repeat sends the command of an entry that has been on a connection before, or could not get onto one.
func (b *backend) repeat(text []byte, was *pending) *pending {
	q := b.send(text)
	from, end := q.from, q.end
	*q = *was
	q.from, q.end = from, end
	if q.flags&retried != 0 {
		b.pool.node.upstream.retries++
	}
	return q
}

// cannot is the reply to a command that gets no connection to a server.
func cannot(address string, err error) string {
	var full *cluster.Overloaded
	if errors.As(err, &full) {
		return "ERR " + full.Error()
	}
	if address != "" {
		address += " "
	}
	return noHost + address + err.Error()
}

func appendCannot(b []byte, address string, err error) []byte {
	return redis.AppendError(b, cannot(address, err))
}
