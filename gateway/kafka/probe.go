package kafka

import (
	"context"
	"net"

	"github.com/sidewire/sidewire/gateway/cluster"
)

// probe asks an endpoint what it speaks, which every broker answers before any authentication.
type probe struct{ conn *control }

func (p *probe) Ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) (cluster.State, error) {
	if p.conn == nil {
		conn, err := dial(ctx)
		if err != nil {
			return cluster.State{}, err
		}
		p.conn = &control{conn: conn, address: conn.RemoteAddr().String()}
	}
	if err := p.conn.apiVersions(ctx); err != nil {
		p.Close()
		return cluster.State{}, err
	}
	return cluster.State{Lag: -1}, nil
}

func (p *probe) Close() {
	p.conn.close()
	p.conn = nil
}
