package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// RedisServer is a running Redis 7.0 without persistence.
type RedisServer struct {
	*Process
	Addr     string // 127.0.0.1:PORT
	Password string // empty: none asked for
	Replicas []*RedisServer
}

// Client returns a client of this one server, which the caller closes.
func (s *RedisServer) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr, Password: s.Password, DisableIdentity: true})
}

// Kill ends the server and its replicas.
func (s *RedisServer) Kill() error {
	for _, r := range s.Replicas {
		r.Kill()
	}
	return s.Process.Kill()
}

// RedisGroup is several servers that know each other.
type RedisGroup struct {
	Nodes     []*RedisServer // of a cluster: primaries first; watched by sentinels: the first primary, then its replicas
	Sentinels []*RedisServer
	Primary   string // the name sentinels know the group by
}

// Addrs lists the addresses of the nodes.
func (g *RedisGroup) Addrs() []string {
	var list []string
	for _, n := range g.Nodes {
		list = append(list, n.Addr)
	}
	return list
}

// Kill ends every member.
func (g *RedisGroup) Kill() error {
	var errs []error
	for _, s := range append(g.Nodes[:len(g.Nodes):len(g.Nodes)], g.Sentinels...) {
		errs = append(errs, s.Process.Kill())
	}
	return errors.Join(errs...)
}

// Redis starts one Redis, with Replicas when asked for.
func Redis(t TB, opts ...Option) *RedisServer {
	t.Helper()
	return obtain(t, "redis", opts, (*Fleet).Redis)
}

// RedisNodes starts n Redis servers that do not know each other.
func RedisNodes(t TB, n int, opts ...Option) []*RedisServer {
	t.Helper()
	list := make([]*RedisServer, n)
	for i := range list {
		list[i] = obtain(t, "redis-node-"+strconv.Itoa(i), opts, (*Fleet).Redis)
	}
	return list
}

// RedisCluster starts a Redis Cluster of three primaries, or of Nodes(n): with six or more, half of them replicas.
func RedisCluster(t TB, opts ...Option) *RedisGroup {
	t.Helper()
	return obtain(t, "redis-cluster", opts, (*Fleet).RedisCluster)
}

// RedisSentinel starts a primary, two replicas and three sentinels that fail over after one second.
func RedisSentinel(t TB, opts ...Option) *RedisGroup {
	t.Helper()
	return obtain(t, "redis-sentinel", opts, (*Fleet).RedisSentinel)
}

// Redis is the package's Redis for programs that are no tests.
func (f *Fleet) Redis(ctx context.Context, opts ...Option) (*RedisServer, error) {
	o := collect(opts)
	s, err := f.redis(ctx, "redis", o)
	if err != nil {
		return nil, err
	}
	for range o.replicas {
		r, err := f.redisReplica(ctx, s, o)
		if err != nil {
			return nil, err
		}
		s.Replicas = append(s.Replicas, r)
	}
	return s, nil
}

func (f *Fleet) redis(ctx context.Context, kind string, o options, extra ...string) (*RedisServer, error) {
	program, err := find("redis-server", "Redis")
	if err != nil {
		return nil, err
	}
	dir, err := f.folder(kind)
	if err != nil {
		return nil, err
	}
	port, err := f.Port()
	if err != nil {
		return nil, err
	}
	s := &RedisServer{Addr: local(port), Password: o.password}
	argv := []string{
		program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes",
	}
	if o.password != "" {
		argv = append(argv, "--requirepass", o.password, "--masterauth", o.password)
	}
	argv = append(append(argv, extra...), o.argv...)
	s.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: argv, ready: s.ping}
	return s, s.launch(ctx)
}

func (s *RedisServer) ping(ctx context.Context) error {
	if s.Password != "" {
		c := s.Client()
		defer c.Close()
		return c.Ping(ctx).Err()
	}
	return askInline(ctx, s.Addr, "PING", "+PONG")
}

// askInline sends one inline command and compares the first line of the reply. A client library would greet first, with
// a command that twemproxy does not know, and complain on stderr while the server is not up yet.
func askInline(ctx context.Context, addr, command, want string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if limit, ok := ctx.Deadline(); ok {
		conn.SetDeadline(limit)
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.TrimSpace(line) != want {
		err = fmt.Errorf("%s answered %q to %s", addr, line, command)
	}
	return err
}

// redisReplica returns when the replica has the primary's data and follows it.
func (f *Fleet) redisReplica(ctx context.Context, primary *RedisServer, o options) (*RedisServer, error) {
	host, port, _ := strings.Cut(primary.Addr, ":")
	r, err := f.redis(ctx, "redis", o, "--replicaof", host+" "+port)
	if err != nil {
		return nil, err
	}
	return r, r.awaitInfo(ctx, "replication", "master_link_status:up")
}

// awaitInfo returns when a section of INFO holds the line.
func (s *RedisServer) awaitInfo(ctx context.Context, section, line string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	c := s.Client()
	defer c.Close()
	return Poll(ctx, func(ctx context.Context) error {
		info, err := c.Info(ctx, section).Result()
		if err == nil && !strings.Contains(info, line+"\r\n") {
			err = fmt.Errorf("%s: no %q in INFO %s:\n%s", s.Name, line, section, info)
		}
		return err
	})
}

const redisSlots = 16384

// RedisCluster is the package's RedisCluster for programs that are no tests.
func (f *Fleet) RedisCluster(ctx context.Context, opts ...Option) (*RedisGroup, error) {
	o := collect(opts)
	if o.nodes == 0 {
		o.nodes = 3
	}
	if o.nodes < 3 {
		return nil, fmt.Errorf("a Redis Cluster of %d nodes: it needs three", o.nodes)
	}
	g := &RedisGroup{}
	var buses []int
	for range o.nodes {
		// The bus would listen at port + 10000, where the kernel may have put somebody's outgoing connection.
		bus, err := f.Port()
		if err != nil {
			return nil, err
		}
		s, err := f.redis(ctx, "redis-cluster", o, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus),
			"--cluster-node-timeout", "2000", "--cluster-config-file", "nodes.conf")
		if err != nil {
			return nil, err
		}
		g.Nodes, buses = append(g.Nodes, s), append(buses, bus)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	primaries := o.nodes
	if o.nodes >= 6 {
		primaries = o.nodes / 2
	}
	return g, g.join(ctx, buses, primaries)
}

// join makes a cluster of fresh nodes: slots, epochs, acquaintance, replicas, then waits until every node says so.
func (g *RedisGroup) join(ctx context.Context, buses []int, primaries int) error {
	clients := make([]*redis.Client, len(g.Nodes))
	ids := make([]string, len(g.Nodes))
	for i, s := range g.Nodes {
		c := s.Client()
		defer c.Close()
		clients[i] = c
		id, err := c.Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			return fmt.Errorf("asking the id of %s: %w", s.Name, err)
		}
		ids[i] = id
		steps := [][]any{{"CLUSTER", "SET-CONFIG-EPOCH", i + 1}}
		if i < primaries {
			steps = append(steps, []any{"CLUSTER", "ADDSLOTSRANGE", i * redisSlots / primaries, (i+1)*redisSlots/primaries - 1})
		}
		if i > 0 {
			_, port, _ := strings.Cut(g.Nodes[0].Addr, ":")
			steps = append(steps, []any{"CLUSTER", "MEET", "127.0.0.1", port, buses[0]})
		}
		for _, step := range steps {
			if err := c.Do(ctx, step...).Err(); err != nil {
				return fmt.Errorf("%s: %v: %w", s.Name, step, err)
			}
		}
	}
	for i := primaries; i < len(g.Nodes); i++ {
		// Refused until the node has heard of its primary.
		err := Poll(ctx, func(ctx context.Context) error {
			return clients[i].Do(ctx, "CLUSTER", "REPLICATE", ids[i%primaries]).Err()
		})
		if err != nil {
			return fmt.Errorf("making %s a replica: %w", g.Nodes[i].Name, err)
		}
		if err := g.Nodes[i].awaitInfo(ctx, "replication", "master_link_status:up"); err != nil {
			return err
		}
	}
	return Poll(ctx, func(ctx context.Context) error {
		for i, c := range clients {
			info, err := c.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			known := fmt.Sprintf("cluster_known_nodes:%d\r\n", len(g.Nodes))
			if !strings.Contains(info, "cluster_state:ok\r\n") || !strings.Contains(info, known) {
				return fmt.Errorf("%s is not ready: %s", g.Nodes[i].Name, info)
			}
		}
		return nil
	})
}

// RedisSentinel is the package's RedisSentinel for programs that are no tests.
func (f *Fleet) RedisSentinel(ctx context.Context, opts ...Option) (*RedisGroup, error) {
	o := collect(opts)
	g := &RedisGroup{Primary: "main"}
	primary, err := f.redis(ctx, "redis", o)
	if err != nil {
		return nil, err
	}
	g.Nodes = append(g.Nodes, primary)
	for range 2 {
		r, err := f.redisReplica(ctx, primary, o)
		if err != nil {
			return nil, err
		}
		g.Nodes = append(g.Nodes, r)
	}
	for range 3 {
		s, err := f.sentinel(ctx, g, o)
		if err != nil {
			return nil, err
		}
		g.Sentinels = append(g.Sentinels, s)
	}
	for _, s := range g.Sentinels {
		if err := s.awaitInfo(ctx, "sentinel", fmt.Sprintf("master0:name=main,status=ok,address=%s,slaves=2,sentinels=3", primary.Addr)); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (f *Fleet) sentinel(ctx context.Context, g *RedisGroup, o options) (*RedisServer, error) {
	program, err := find("redis-server", "Redis")
	if err != nil {
		return nil, err
	}
	dir, err := f.folder("redis-sentinel")
	if err != nil {
		return nil, err
	}
	port, err := f.Port()
	if err != nil {
		return nil, err
	}
	host, primaryPort, _ := strings.Cut(g.Nodes[0].Addr, ":")
	conf := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %s
sentinel monitor main %s %s 2
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 5000
sentinel parallel-syncs main 1
`, port, dir, host, primaryPort)
	if o.password != "" {
		conf += "sentinel auth-pass main " + o.password + "\n"
	}
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	s := &RedisServer{Addr: local(port)}
	s.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: []string{program, file, "--sentinel"}, ready: s.ping}
	return s, s.launch(ctx)
}
