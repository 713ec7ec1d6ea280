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
	Cluster     string          `yaml:"cluster" required:"true" doc:"Where connections go."`
	IdleTimeout config.Duration `yaml:"idle_timeout" doc:"Close a connection on which nothing moved for so long; 0: never."`
}

// ClusterBlock is the `tcp:` block of a cluster. Its presence alone says what the cluster speaks.
type ClusterBlock struct{}

type protocol struct{}

// Protocol is TCP for gateway.New.
func Protocol() host.Protocol { return protocol{} }

func (protocol) Name() string       { return name }
func (protocol) ListenerBlock() any { return &ListenerBlock{} }
func (protocol) ClusterBlock() any  { return &ClusterBlock{} }

func (protocol) CheckListener(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	return m.CheckClusterRef(l.Block.(*ListenerBlock).Cluster, name, at.Field("cluster"))
}

func (protocol) CheckCluster(*config.Model, *config.Cluster, config.Path) []config.Problem {
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

func (protocol) Upstream(host.Host, *cluster.Cluster) (host.Upstream, error) { return nil, nil }

func (protocol) Listen(h host.Host, l *config.Listener) (listener.Handler, error) {
	return newHandler(h, l), nil
}
