// Package kafka serves Kafka clients: every broker of a cluster appears behind sidewire's own addresses, and bodies stream
// past without being held.
package kafka

import (
	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
)

const name = "kafka"

type protocol struct{}

// Protocol is Kafka for gateway.New.
func Protocol() host.Protocol { return protocol{} }

func (protocol) Name() string { return name }

func (protocol) ListenerBlock() any {
	b := &ListenerBlock{}
	b.SetDefaults()
	return b
}

func (protocol) ClusterBlock() any {
	b := &ClusterBlock{}
	b.SetDefaults()
	return b
}

func (protocol) CheckListener(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	return l.Block.(*ListenerBlock).check(m, l, at)
}

// Meaningless are limits of what Kafka's clients do by themselves.
func (protocol) Meaningless() map[string]string {
	return map[string]string{
		"limits.requests": "a Fetch waits at its broker for long; limit connections, or clients by quotas",
		"limits.retries":  "sidewire repeats no request; clients do",

		"pool.lifetime":     "a connection is its client's, there is no pool",
		"pool.idle_timeout": "a connection is its client's, there is no pool; brokers end idle ones (connections.max.idle.ms)",
		"pool.min":          "a connection is its client's, there is no pool",
	}
}

func (protocol) CheckCluster(_ *config.Model, c *config.Cluster, at config.Path) []config.Problem {
	return c.Block.(*ClusterBlock).check(at)
}

func (protocol) NewProbe(c *config.Cluster, e config.Endpoint) cluster.Probe { return &probe{} }

func (protocol) Upstream(h host.Host, c *cluster.Cluster) (host.Upstream, error) {
	return newUpstream(h, c), nil
}

func (protocol) Listen(h host.Host, l *config.Listener) (listener.Handler, error) {
	d, err := newDoor(h, l)
	if err != nil {
		return nil, err
	}
	return &handler{door: d, node: bootstrap}, nil
}
