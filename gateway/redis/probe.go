package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/redis"
)

// probe asks one server how it is, over a connection that it keeps.
type probe struct {
	account login
	link    *link
}

// NewProbe makes a probe of one endpoint.
func (*protocol) NewProbe(c *config.Cluster, _ config.Endpoint) cluster.Probe {
	b := c.Block.(*ClusterBlock)
	p := &probe{account: login{user: b.User, pass: b.Password.Value()}}
	if b.Hashing == "sentinel" {
		p.account = login{user: b.SentinelUser, pass: b.SentinelPassword.Value()}
	}
	return p
}

func (p *probe) Ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) (cluster.State, error) {
	if p.link == nil {
		conn, err := dial(ctx)
		if err != nil {
			return cluster.State{}, err
		}
		p.link = &link{conn: conn}
		p.limit(ctx)
		if _, err := p.account.do(p.link); err != nil {
			p.Close()
			return cluster.State{}, err
		}
	}
	p.limit(ctx)
	state, err := p.ask()
	if err != nil {
		p.Close()
	}
	return state, err
}

func (p *probe) limit(ctx context.Context) {
	deadline, _ := ctx.Deadline()
	p.link.conn.SetDeadline(deadline)
}

// ask sends INFO, and PING for those that may not see INFO.
func (p *probe) ask() (cluster.State, error) {
	out := redis.AppendCommand(nil, "PING")
	out = redis.AppendCommand(out, "INFO")
	if err := p.link.send(out); err != nil {
		return cluster.State{}, err
	}
	ping, err := p.link.next()
	if err != nil {
		return cluster.State{}, err
	}
	info, err := p.link.next()
	if err != nil {
		return cluster.State{}, err
	}
	if ping[0] == redis.TypeError && !bytes.HasPrefix(ping, []byte("-NOPERM")) {
		// LOADING, MASTERDOWN, NOAUTH: it lives, but serves nobody.
		return cluster.State{}, errors.New(string(bytes.TrimRight(ping[1:], "\r\n")))
	}
	return readInfo(body(info)), nil
}

// readInfo finds role and lag. A replica without its primary is behind by as long as it has been.
func readInfo(text string) cluster.State {
	st := cluster.State{Lag: -1, Detail: map[string]string{}}
	values := map[string]string{}
	for _, line := range strings.Split(text, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			values[k] = v
		}
	}
	st.Version = values["redis_version"]
	seconds := func(key string) (time.Duration, bool) {
		n, err := strconv.ParseInt(values[key], 10, 64)
		return time.Duration(n) * time.Second, err == nil && n >= 0
	}
	switch values["role"] {
	case "master":
		st.Role, st.Lag = cluster.Primary, 0
	case "slave":
		st.Role = cluster.Replica
		if d, ok := seconds("master_last_io_seconds_ago"); ok {
			st.Lag = d
		} else if d, ok := seconds("master_link_down_since_seconds"); ok {
			st.Lag = d
		}
		st.Detail["primary"] = fmt.Sprintf("%s:%s", values["master_host"], values["master_port"])
	}
	for _, k := range []string{"connected_clients", "used_memory", "maxmemory_policy", "redis_mode", "master_link_status"} {
		if v := values[k]; v != "" {
			st.Detail[k] = v
		}
	}
	return st
}

func (p *probe) Close() {
	if p.link != nil {
		p.link.conn.Close()
		p.link = nil
	}
}
