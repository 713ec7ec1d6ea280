package cluster

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sidewire/sidewire/gateway/config"
)

// Burden is a kind of what a cluster carries at once.
type Burden uint8

// The burdens. What a request is, and whether there is any, is the protocol's.
const (
	Connections Burden = iota // to all endpoints together
	Pending                   // what waits for a connection
	Requests                  // under way
	Retries                   // being repeated
	Burdens                   // how many kinds there are
)

// burdenNames are the limits by the configuration's names.
var burdenNames = [Burdens]string{"total_connections", "pending", "requests", "retries"}

func (b Burden) String() string { return burdenNames[b] }

// Overloaded is the answer when a cluster carries as much as it may.
type Overloaded struct {
	Cluster  string
	Endpoint string // whose own limit it is; empty: the whole cluster's
	Burden   Burden
	Limit    int
}

func (o *Overloaded) Error() string {
	switch {
	case o.Endpoint != "":
		return fmt.Sprintf("endpoint %s of cluster %q has its %d connections (limits.connections)", o.Endpoint, o.Cluster, o.Limit)
	case o.Burden == Connections:
		return fmt.Sprintf("cluster %q has its %d connections (limits.total_connections)", o.Cluster, o.Limit)
	case o.Burden == Pending:
		return fmt.Sprintf("%d wait for a connection to cluster %q already (limits.pending)", o.Limit, o.Cluster)
	case o.Burden == Requests:
		return fmt.Sprintf("cluster %q has its %d requests under way (limits.requests)", o.Cluster, o.Limit)
	}
	return fmt.Sprintf("cluster %q repeats %d requests already (limits.retries)", o.Cluster, o.Limit)
}

// breaker counts what a cluster carries.
type breaker struct {
	now, refused [Burdens]atomic.Int64
}

// Limit is how much of a burden the cluster may carry; limited is false where there is no limit.
func (c *Cluster) Limit(b Burden) (limit int, limited bool) { return LimitOf(&c.Config().Limits, b) }

// LimitOf is a configuration's limit of a burden.
func LimitOf(l *config.Breaker, b Burden) (limit int, limited bool) {
	switch b {
	case Connections:
		limit = l.Total
	case Pending:
		limit = l.Pending
	case Requests:
		limit = l.Requests
	case Retries:
		if l.Retries != nil {
			return *l.Retries, true
		}
	}
	return limit, limit > 0
}

// Take takes one place of a burden, or says that there is none. Whoever took one gives it back by Release.
func (c *Cluster) Take(b Burden) error {
	n := c.breaker.now[b].Add(1)
	if limit, limited := c.Limit(b); limited && n > int64(limit) {
		c.Release(b)
		return c.Refuse(b)
	}
	return nil
}

// Shoulder takes a place although there may be none: for what must go on because it has begun.
func (c *Cluster) Shoulder(b Burden) { c.breaker.now[b].Add(1) }

// Release gives a place back.
func (c *Cluster) Release(b Burden) { c.breaker.now[b].Add(-1) }

// Carry says how much of a burden there is, for a protocol that counts by itself and refuses by Refuse.
func (c *Cluster) Carry(b Burden, n int) { c.breaker.now[b].Store(int64(n)) }

// Refuse counts a refusal and words it.
func (c *Cluster) Refuse(b Burden) error {
	c.breaker.refused[b].Add(1)
	limit, _ := c.Limit(b)
	return &Overloaded{Cluster: c.name, Burden: b, Limit: limit}
}

// Burden is how much of a kind there is now, and how often more was refused; an endpoint's own limit counts among connections.
func (c *Cluster) Burden(b Burden) (now, refused int64) {
	return c.breaker.now[b].Load(), c.breaker.refused[b].Load()
}

type ownKey struct{}

// ForItself marks a connection as sidewire's own, to ask or to end something: no limit refuses it, as a server that carries
// all it may is the one to be relieved.
func ForItself(ctx context.Context) context.Context { return context.WithValue(ctx, ownKey{}, true) }

// admit takes a connection's places on the endpoint and on the cluster. leave gives them back.
func (c *Cluster) admit(ctx context.Context, e *Endpoint, probe bool) (leave func(), err error) {
	if own, _ := ctx.Value(ownKey{}).(bool); own || probe {
		e.conns.Add(1)
		return func() { e.conns.Add(-1) }, nil
	}
	limit := c.Config().Limits.Connections
	if n := e.used.Add(1); limit > 0 && n > int64(limit) {
		e.used.Add(-1)
		c.breaker.refused[Connections].Add(1)
		return nil, &Overloaded{Cluster: c.name, Endpoint: e.address, Limit: limit}
	}
	if err := c.Take(Connections); err != nil {
		e.used.Add(-1)
		return nil, err
	}
	e.conns.Add(1)
	return func() {
		e.conns.Add(-1)
		e.used.Add(-1)
		c.Release(Connections)
	}, nil
}
