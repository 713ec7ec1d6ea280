// Package tcp serves listeners at layer 4: bytes go to one endpoint of a cluster and back, untouched.
package tcp

import (
	"context"
	"net"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
)

const name = "tcp"

// ListenerBlock is the `tcp:` block of a listener.
type ListenerBlock struct {
	Target
	Chains  []Chain         `yaml:"chains" doc:"Several targets, chosen by what a connection says first and where it comes from; instead of cluster and clusters."`
	Default *Chain          `yaml:"default_chain" doc:"With chains: where connections go that no chain matches; left out: they are closed. It has no match."`
	Inspect config.Duration `yaml:"inspect_timeout" doc:"With chains that look at TLS: how long a client may take until it has said enough." default:"15s"`
}

// SetDefaults fills what a file leaves out.
func (b *ListenerBlock) SetDefaults() {
	b.Target.SetDefaults()
	b.Inspect = config.Duration(15e9)
}

// Target is where connections go.
type Target struct {
	Cluster     string          `yaml:"cluster" doc:"Where connections go; or clusters."`
	Clusters    []Share         `yaml:"clusters" doc:"Several of them, each with its share of the connections."`
	Hash        string          `yaml:"hash" enum:"source_ip|random" default:"source_ip" doc:"What a connection's place in a cluster with hashing is found by: its client's IP address, or nothing, as in Envoy without a hash_policy. Clients of unix sockets have none."`
	IdleTimeout config.Duration `yaml:"idle_timeout" doc:"Close a connection on which nothing moved for so long; 0: never."`
}

// SetDefaults fills what a file leaves out.
func (b *Target) SetDefaults() { b.Hash = "source_ip" }

// Share is a cluster's part of the connections.
type Share struct {
	Name   string `yaml:"name" required:"true"`
	Weight int    `yaml:"weight" min:"0" doc:"Of the sum of all weights." default:"1"`
}

// SetDefaults fills what a file leaves out.
func (s *Share) SetDefaults() { s.Weight = 1 }

// choose is the cluster that the next connection goes to.
func (b *Target) choose(random uint64) string {
	total := uint64(0)
	for _, s := range b.Clusters {
		total += uint64(s.Weight)
	}
	if total == 0 {
		return b.Cluster
	}
	for n, i := random%total, 0; ; i++ {
		if w := uint64(b.Clusters[i].Weight); n < w {
			return b.Clusters[i].Name
		} else {
			n -= w
		}
	}
}

// ClusterBlock is the `tcp:` block of a cluster. Its presence alone says what the cluster speaks.
type ClusterBlock struct {
	Hashing  string `yaml:"hashing" enum:"envoy_ring|envoy_maglev" doc:"Connections of one client go to one endpoint, as with Envoy's ring_hash and maglev; empty: balance decides. When endpoints come or go a maglev moves little more than their clients, a ring, whose points grow and shrink with their number, more."`
	RingSize int    `yaml:"ring_size" min:"1" max:"1048576" doc:"Points of an envoy_ring, at least: Envoy's minimum_ring_size. Left out: 1024."`
}

type protocol struct{}

// Protocol is TCP for gateway.New.
func Protocol() host.Protocol { return protocol{} }

func (protocol) Name() string       { return name }
func (protocol) ListenerBlock() any { b := &ListenerBlock{}; b.SetDefaults(); return b }
func (protocol) ClusterBlock() any  { return &ClusterBlock{} }

func (protocol) CheckListener(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	b := l.Block.(*ListenerBlock)
	if len(b.Chains) > 0 {
		return b.checkChains(m, l, at)
	}
	problems := b.Target.check(m, at)
	if b.Default != nil {
		problems = append(problems, at.Field("default_chain").Problem("needs chains"))
	}
	return problems
}

func (b *Target) check(m *config.Model, at config.Path) []config.Problem {
	switch {
	case b.Cluster == "" && len(b.Clusters) == 0:
		return []config.Problem{at.Field("cluster").Problem("is missing")}
	case b.Cluster != "" && len(b.Clusters) > 0:
		return []config.Problem{at.Field("clusters").Problem("cannot stand beside cluster")}
	}
	if b.Cluster != "" {
		return m.CheckClusterRef(b.Cluster, name, at.Field("cluster"))
	}
	var problems []config.Problem
	total := 0
	for i, s := range b.Clusters {
		problems = append(problems, m.CheckClusterRef(s.Name, name, at.Field("clusters").Index(i).Field("name"))...)
		total += s.Weight
	}
	if total == 0 {
		problems = append(problems, at.Field("clusters").Problem("all weights are 0"))
	}
	return problems
}

// Meaningless are limits of what bytes without meaning have not.
func (protocol) Meaningless() map[string]string {
	return map[string]string{
		"limits.requests": "its connections are not looked into; limit connections",
		"limits.retries":  "a connection is tried once",

		"pool.lifetime":     "a connection is its client's, there is no pool",
		"pool.idle_timeout": "a connection is its client's, there is no pool; the listener has an idle_timeout",
		"pool.min":          "a connection is its client's, there is no pool",
	}
}

func (protocol) CheckCluster(_ *config.Model, c *config.Cluster, at config.Path) []config.Problem {
	b := c.Block.(*ClusterBlock)
	if b.RingSize > 0 && b.Hashing != "envoy_ring" {
		return []config.Problem{at.Field("ring_size").Problem("needs hashing: envoy_ring")}
	}
	if b.Hashing == "" || len(c.Endpoints) == 0 {
		return nil
	}
	if c.Balance != "least_requests" { // the default
		return []config.Problem{at.Field("hashing").Problem("cannot stand beside balance: %s; leave one out", c.Balance)}
	}
	all := make([]*config.Endpoint, len(c.Endpoints))
	for i := range c.Endpoints {
		all[i] = &c.Endpoints[i]
	}
	if _, _, err := placement(b, all); err != nil {
		return []config.Problem{at.Problem("%v", err)}
	}
	return nil
}

// NewProbe asks whether a connection opens; bytes are not ours to send.
func (protocol) NewProbe(*config.Cluster, config.Endpoint) cluster.Probe { return probe{} }

type probe struct{}

func (probe) Ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) (cluster.State, error) {
	conn, err := dial(ctx)
	if err != nil {
		return cluster.State{}, err
	}
	return cluster.State{Lag: -1}, conn.Close()
}

func (probe) Close() {}

func (protocol) Upstream(h host.Host, c *cluster.Cluster) (host.Upstream, error) {
	return &upstream{cluster: c, random: h.Rand}, nil
}

func (protocol) Listen(h host.Host, l *config.Listener) (listener.Handler, error) {
	t, err := newHandler(h, l)
	if err != nil {
		return nil, err
	}
	return t, nil
}
