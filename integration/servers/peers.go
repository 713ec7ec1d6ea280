package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Proxy is a running peer that listens before servers.
type Proxy struct {
	*Process
	Addrs []string // one for each list of targets, in their order
}

// HAProxy starts HAProxy in TCP mode with one listener for each list of targets.
func HAProxy(t TB, targets ...[]string) *Proxy {
	t.Helper()
	return obtain(t, "haproxy", []Option{Private()}, func(f *Fleet, ctx context.Context, _ ...Option) (*Proxy, error) {
		return f.HAProxy(ctx, targets...)
	})
}

// HAProxy is the package's HAProxy for programs that are no tests.
func (f *Fleet) HAProxy(ctx context.Context, targets ...[]string) (*Proxy, error) {
	var listen []string
	for range targets {
		port, err := f.Port()
		if err != nil {
			return nil, err
		}
		listen = append(listen, local(port))
	}
	return f.HAProxyAt(ctx, listen, targets)
}

// HAProxyAt is HAProxy listening at addresses that were reserved before, one for each list of targets.
func (f *Fleet) HAProxyAt(ctx context.Context, listen []string, targets [][]string) (*Proxy, error) {
	program, err := find("haproxy", "HAProxy")
	if err != nil {
		return nil, err
	}
	dir, err := f.folder("haproxy")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addrs: listen}
	var conf strings.Builder
	conf.WriteString("global\n  nbthread 2\n  maxconn 8000\n" +
		"defaults\n  mode tcp\n  maxconn 8000\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n")
	for i, list := range targets {
		fmt.Fprintf(&conf, "listen l%d\n  bind %s\n", i, listen[i])
		for j, target := range list {
			fmt.Fprintf(&conf, "  server s%d %s\n", j, target)
		}
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf.String()), 0o644); err != nil {
		return nil, err
	}
	p.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: []string{program, "-db", "-f", file}, ready: p.connect}
	return p, p.launch(ctx)
}

// connect is all a layer-4 proxy can be asked itself.
func (p *Proxy) connect(ctx context.Context) error {
	for _, addr := range p.Addrs {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}

// Twemproxy starts twemproxy before Redis nodes, with ketama hashing.
func Twemproxy(t TB, nodes ...*RedisServer) *Proxy {
	t.Helper()
	return obtain(t, "twemproxy", []Option{Private()}, func(f *Fleet, ctx context.Context, _ ...Option) (*Proxy, error) {
		return f.Twemproxy(ctx, nodes...)
	})
}

// Twemproxy is the package's Twemproxy for programs that are no tests.
func (f *Fleet) Twemproxy(ctx context.Context, nodes ...*RedisServer) (*Proxy, error) {
	port, err := f.Port()
	if err != nil {
		return nil, err
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, "pool:\n  listen: %s\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n  servers:\n", local(port))
	for _, n := range nodes {
		fmt.Fprintf(&conf, "   - %s:1\n", n.Addr)
	}
	return f.twemproxy(ctx, conf.String(), []string{local(port)}, (*Proxy).askRedis)
}

// TwemproxyPools starts twemproxy with pools of a configuration of one's own, listening at the given addresses.
func TwemproxyPools(t TB, conf string, listen []string) *Proxy {
	t.Helper()
	return obtain(t, "twemproxy", []Option{Private()}, func(f *Fleet, ctx context.Context, _ ...Option) (*Proxy, error) {
		return f.twemproxy(ctx, conf, listen, (*Proxy).connect)
	})
}

func (f *Fleet) twemproxy(ctx context.Context, conf string, listen []string, ready func(*Proxy, context.Context) error) (*Proxy, error) {
	program, err := find("nutcracker", "twemproxy")
	if err != nil {
		return nil, err
	}
	dir, err := f.folder("twemproxy")
	if err != nil {
		return nil, err
	}
	stats, err := f.Port()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nutcracker.yml")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p := &Proxy{Addrs: listen}
	argv := []string{program, "-c", file, "-s", fmt.Sprint(stats), "-a", "127.0.0.1", "-p", filepath.Join(dir, "pid"), "-m", "16384"}
	p.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: argv, ready: func(ctx context.Context) error { return ready(p, ctx) }}
	return p, p.launch(ctx)
}

// askRedis sends a RESP request, for twemproxy knows no inline commands, that is answered only with the servers' help.
func (p *Proxy) askRedis(ctx context.Context) error {
	return askInline(ctx, p.Addrs[0], "*2\r\n$6\r\nEXISTS\r\n$5\r\nready", ":0")
}

// PgBouncer starts PgBouncer in transaction mode before a PostgreSQL.
func PgBouncer(t TB, server *PostgresServer) *PostgresServer {
	t.Helper()
	return obtain(t, "pgbouncer", []Option{Private()}, func(f *Fleet, ctx context.Context, _ ...Option) (*PostgresServer, error) {
		return f.PgBouncer(ctx, server)
	})
}

// PgBouncer is the package's PgBouncer for programs that are no tests.
func (f *Fleet) PgBouncer(ctx context.Context, server *PostgresServer) (*PostgresServer, error) {
	program, err := find("pgbouncer", "PgBouncer")
	if err != nil {
		return nil, err
	}
	dir, err := f.folder("pgbouncer")
	if err != nil {
		return nil, err
	}
	uid, gid, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	port, err := f.Port()
	if err != nil {
		return nil, err
	}
	host, serverPort, _ := strings.Cut(server.Addr, ":")
	conf := fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 5000
ignore_startup_parameters = extra_float_digits
`, host, serverPort, server.User, server.Password, port)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p := &PostgresServer{Addr: local(port), User: server.User, Password: server.Password}
	p.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: []string{program, file}, uid: uid, gid: gid, ready: p.ping}
	return p, p.launch(ctx)
}
