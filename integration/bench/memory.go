package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/embedded"
	"github.com/sidewire/sidewire/integration/servers"
)

// idle is one protocol's part of the memory suite.
type idle struct {
	protocol string
	listener string // YAML of the listener's block
	cluster  string // YAML of the cluster's block
	backend  string
	connect  func(ctx context.Context, addr string) (io.Closer, error)
}

// memorySuite measures what sidewire holds while nothing moves: with a listener of each protocol, and with many idle
// clients of one.
func memorySuite(ctx context.Context, fleet *servers.Fleet, p plan, r *report) error {
	if !p.only.MatchString("memory") {
		return nil
	}
	kv, err := fleet.Redis(ctx)
	if err != nil {
		return err
	}
	defer kv.Kill()
	db, err := fleet.MariaDB(ctx)
	if err != nil {
		return err
	}
	defer db.Kill()
	events, err := embedded.StartKafka([]int{0}, 1, "t")
	if err != nil {
		return err
	}
	defer events.Close()
	ports, err := fleet.PortRange(16)
	if err != nil {
		return err
	}
	kinds := []idle{
		{"tcp", "{cluster: tcp}", "{}", kv.Addr, dial("PING\r\n")},
		{"redis", "{cluster: redis}", "{}", kv.Addr, dial("PING\r\n")},
		{"mysql", fmt.Sprintf("{users: [{name: %s, password: %s}], cluster: mysql}", db.User, db.Password),
			fmt.Sprintf("{user: %s, password: %s}", db.User, db.Password), db.Addr, login(db.User, db.Password)},
		{"kafka", fmt.Sprintf("{cluster: kafka, brokers: {ports: %d-%d}}", ports, ports+15), "{}", events.Addrs[0], dial("")},
	}
	known, err := r.atRest(ctx, fleet, kinds)
	if err != nil {
		return err
	}
	for _, k := range known {
		before, after, err := r.withClients(ctx, fleet, p.clients, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.protocol, err)
		}
		r.memory = append(r.memory, fmt.Sprintf("| a %s client at rest, of %d (budget 24 KB) | %.1f KB |", k.protocol, p.clients,
			float64(after-before)/float64(p.clients)/1e3))
		if k.protocol != "redis" {
			continue
		}
		if _, after, err = r.withClients(ctx, fleet, manyClients, k); err != nil {
			return fmt.Errorf("%s: %w", k.protocol, err)
		}
		r.memory = append(r.memory, fmt.Sprintf("| the whole process with %d %s clients at rest (budget 100 MB) | %.1f MB |", manyClients, k.protocol, float64(after)/1e6))
	}
	return nil
}

// manyClients are as many as a process may well have; the bench has as many files open.
const manyClients = 10000

// config is a file with listeners of these protocols.
func (r *report) config(fleet *servers.Fleet, kinds []idle) (text string, addrs []string, err error) {
	listeners, clusters := "listeners:\n", "clusters:\n"
	for _, k := range kinds {
		port, err := fleet.Port()
		if err != nil {
			return "", nil, err
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		addrs = append(addrs, addr)
		listeners += fmt.Sprintf("  - {name: %[1]s, address: %[2]q, %[1]s: %[3]s}\n", k.protocol, addr, k.listener)
		clusters += fmt.Sprintf("  - {name: %[1]s, %[1]s: %[2]s, endpoints: [%[3]q]}\n", k.protocol, k.cluster, k.backend)
	}
	return listeners + clusters, addrs, nil
}

// atRest measures the process with every protocol that it takes, and returns these.
func (r *report) atRest(ctx context.Context, fleet *servers.Fleet, kinds []idle) ([]idle, error) {
	program, err := fleet.SidewireBinary()
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(program)
	if err != nil {
		return nil, err
	}
	r.memory = append(r.memory, fmt.Sprintf("| stripped binary (budget 35 MB) | %.1f MB |", float64(info.Size())/1e6))
	var known []idle
	for _, k := range kinds {
		text, _, err := r.config(fleet, []idle{k})
		if err != nil {
			return nil, err
		}
		s, err := fleet.Sidewire(ctx, text)
		if err != nil {
			r.note("memory of %s: %s", k.protocol, strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		s.Kill()
		known = append(known, k)
	}
	text, _, err := r.config(fleet, known)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	s, err := fleet.Sidewire(ctx, text)
	if err != nil {
		return nil, err
	}
	defer s.Kill()
	r.memory = append(r.memory, fmt.Sprintf("| from start to /ready, asked every 20 ms (budget 150 ms) | %d ms |", time.Since(began).Milliseconds()))
	rss, err := settled(ctx, s.Process)
	if err != nil {
		return nil, err
	}
	r.memory = append(r.memory, fmt.Sprintf("| resident at rest, %d protocols (budget 25 MB) | %.1f MB |", len(known), float64(rss)/1e6))
	return known, nil
}

// withClients measures what sidewire holds before and after so many clients of one protocol have come, who say nothing.
func (r *report) withClients(ctx context.Context, fleet *servers.Fleet, clients int, k idle) (before, after int64, err error) {
	text, addrs, err := r.config(fleet, []idle{k})
	if err != nil {
		return 0, 0, err
	}
	s, err := fleet.Sidewire(ctx, text)
	if err != nil {
		return 0, 0, err
	}
	defer s.Kill()
	if before, err = settled(ctx, s.Process); err != nil {
		return 0, 0, err
	}
	for range clients {
		c, err := k.connect(ctx, addrs[0])
		if err != nil {
			return 0, 0, err
		}
		defer c.Close()
	}
	after, err = settled(ctx, s.Process)
	return before, after, err
}

// settled is the resident memory once it has not grown for a second; work in the background ends by then.
func settled(ctx context.Context, p *servers.Process) (int64, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last int64
	for calm := 0; calm < 10; calm++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		now, err := p.RSS()
		if err != nil {
			return 0, err
		}
		if now > last {
			calm = 0
		}
		last = now
	}
	return last, nil
}

// dial opens a connection and, when there is something to say, waits for the first bytes of the answer.
func dial(say string) func(context.Context, string) (io.Closer, error) {
	return func(ctx context.Context, addr string) (io.Closer, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil || say == "" {
			return conn, err
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, say); err != nil {
			return nil, err
		}
		_, err = conn.Read(make([]byte, 64))
		return conn, err
	}
}

func login(user, password string) func(context.Context, string) (io.Closer, error) {
	return func(ctx context.Context, addr string) (io.Closer, error) {
		c := mysql.NewConfig()
		c.Net, c.Addr, c.User, c.Passwd = "tcp", addr, user, password
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, err
		}
		return connector.Connect(ctx)
	}
}
