package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// NewProbe makes a probe that keeps a connection of its own and asks whether the server takes writes and how far it is
// behind.
func (protocol) NewProbe(c *config.Cluster, e config.Endpoint) cluster.Probe {
	return &probe{cluster: c, endpoint: e}
}

type probe struct {
	cluster  *config.Cluster
	endpoint config.Endpoint
	b        *backend
}

func (p *probe) Close() {
	if p.b != nil {
		p.b.close()
		p.b = nil
	}
}

// Ask answers with what the server says of itself. Without an account of the cluster's own only its greeting is read,
// which tells that it lives and no more.
func (p *probe) Ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) (cluster.State, error) {
	if p.b == nil {
		if err := p.connect(ctx, dial); err != nil {
			return cluster.State{}, err
		}
	}
	block := p.cluster.Block.(*ClusterBlock)
	if block.User == "" {
		s := cluster.State{Role: configuredRole(p.endpoint), Lag: -1, Version: p.b.version}
		p.Close()
		return s, nil
	}
	stop := context.AfterFunc(ctx, p.b.conn.Interrupt)
	s, err := p.ask()
	if !stop() || err != nil {
		p.Close()
	}
	return s, err
}

func configuredRole(e config.Endpoint) cluster.Role {
	switch e.Role {
	case "primary":
		return cluster.Primary
	case "replica":
		return cluster.Replica
	}
	return cluster.Unknown
}

func (p *probe) connect(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	b := &backend{stream: stream{conn: socket.Wrap(conn)}, settings: noSettings}
	stop := context.AfterFunc(ctx, b.conn.Interrupt)
	defer stop()
	if err := p.greet(ctx, b); err != nil {
		b.close()
		return fmt.Errorf("probing %s: %w", p.endpoint.Address, err)
	}
	p.b = b
	return nil
}

func (p *probe) greet(ctx context.Context, b *backend) error {
	block := p.cluster.Block.(*ClusterBlock)
	if block.User == "" {
		_, in, _, err := b.packet(wire.MaxControl)
		if err != nil {
			return err
		}
		g, err := wire.DecodeGreeting(in)
		if err != nil {
			return err
		}
		b.version = g.ServerVersion
		return nil
	}
	auth := &wire.ClientAuth{User: block.User, Password: block.Password.Value(), Collation: wire.CollationUTF8MB4, Want: backendCaps,
		TLS: p.cluster.TLS != nil, Private: strings.HasPrefix(p.endpoint.Address, "unix:")}
	start := func(plain net.Conn) (net.Conn, error) {
		host, _, err := net.SplitHostPort(p.endpoint.Address)
		if err != nil {
			host = "localhost"
		}
		conf, err := p.cluster.TLS.Config(host)
		if err != nil {
			return nil, err
		}
		over := tls.Client(plain, conf)
		return over, over.HandshakeContext(ctx)
	}
	if err := b.authenticate(auth, start); err != nil {
		return err
	}
	b.caps, b.version = auth.Capabilities, auth.Greeting.ServerVersion
	b.mariaDB = strings.Contains(b.version, "MariaDB")
	return nil
}

// ask finds the role: a server that is read-only, or that replicates, is a replica.
func (p *probe) ask() (cluster.State, error) {
	rows, err := p.b.query("SELECT @@global.read_only, @@global.version")
	if err != nil {
		return cluster.State{}, fmt.Errorf("probing %s: %w", p.endpoint.Address, err)
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return cluster.State{}, fmt.Errorf("probing %s: %w", p.endpoint.Address, wire.ErrMalformed)
	}
	s := cluster.State{Role: cluster.Primary, Lag: -1, Version: p.b.version}
	replication, err := p.replication()
	if err != nil {
		return cluster.State{}, err
	}
	if on := rows[0][0]; on != "0" && on != "OFF" {
		s.Role = cluster.Replica
	}
	s.Lag, s.Detail = replication.lag, replication.detail
	return s, nil
}

type replicationState struct {
	lag    time.Duration
	detail map[string]string
}

// replication reads how far a replica is behind. An account that may not ask is no fault: the lag is unknown then.
func (p *probe) replication() (replicationState, error) {
	none := replicationState{lag: -1}
	sql := "SHOW REPLICA STATUS"
	if p.b.mariaDB {
		sql = "SHOW ALL SLAVES STATUS"
	}
	columns, rows, err := p.b.command(wire.ComQuery, sql)
	var refused *wire.Error
	if errors.As(err, &refused) {
		return none, nil
	}
	if err != nil || len(rows) == 0 {
		return none, err
	}
	s := replicationState{lag: -1, detail: map[string]string{}}
	for i, c := range columns {
		switch v := rows[0][i]; c {
		case "Seconds_Behind_Master", "Seconds_Behind_Source":
			if n, err := strconv.Atoi(v); err == nil {
				s.lag = time.Duration(n) * time.Second
			}
		case "Slave_IO_Running", "Replica_IO_Running":
			s.detail["io"] = v
		case "Slave_SQL_Running", "Replica_SQL_Running":
			s.detail["sql"] = v
		}
	}
	return s, nil
}
