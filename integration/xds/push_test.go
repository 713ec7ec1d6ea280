// Package xds_test drives a whole gateway from a control plane that is built on go-control-plane.
package xds_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	_ "github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/certify"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
	"github.com/sidewire/sidewire/integration/embedded"
	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

const patience = 30 * time.Second

// plane is a control plane that serves whatever it is given.
type plane struct {
	t     *testing.T
	cache cache.SnapshotCache
	at    string

	mu    sync.Mutex
	nacks []string
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, cache: cache.NewSnapshotCache(false, cache.IDHash{}, nil)}
	nack := func(url, detail string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.nacks = append(p.nacks, url[strings.LastIndexByte(url, '.')+1:]+": "+detail)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := server.NewServer(ctx, p.cache, server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, r *discoveryv3.DiscoveryRequest) error {
			if r.ErrorDetail != nil {
				nack(r.TypeUrl, r.ErrorDetail.Message)
			}
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			if r.ErrorDetail != nil {
				nack(r.TypeUrl, r.ErrorDetail.Message)
			}
			return nil
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		cancel()
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	p.at = l.Addr().String()
	return p
}

func (p *plane) refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.nacks)
}

// world is the stores, and the ports that applications know.
type world struct {
	mysql                   *embedded.MySQL
	redis                   *embedded.Redis
	kafka                   *embedded.Kafka
	echo                    string
	cert, key               string // PEM, of the TCP listener
	pool                    *x509.CertPool
	tcpAt, redisAt, mysqlAt string
	kafkaAt, brokers        string
}

func closing(t *testing.T, c io.Closer) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func startWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	var err error
	if w.mysql, err = embedded.StartMySQL("127.0.0.1:0", "shop", "app", "pw"); err != nil {
		t.Fatal(err)
	}
	closing(t, w.mysql)
	if w.redis, err = embedded.StartRedis("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	closing(t, w.redis)
	if w.kafka, err = embedded.StartKafka([]int{0}, 1, "events"); err != nil {
		t.Fatal(err)
	}
	closing(t, w.kafka)
	w.echo = echo(t)
	cert, key, pool := certify.Own(t, "relay")
	w.cert, w.key, w.pool = cert, string(must[[]byte](t, "reading the key")(os.ReadFile(key))), pool
	local := func() string { return fmt.Sprintf("127.0.0.1:%d", servers.Port(t)) }
	w.tcpAt, w.redisAt, w.mysqlAt, w.kafkaAt = local(), local(), local(), local()
	first := servers.Port(t)
	w.brokers = fmt.Sprintf("%d-%d", first, first)
	return w
}

// echo answers every line with itself.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	return l.Addr().String()
}

type tree = map[string]any

// books are rows over two tables; what the rules say besides is different at every push.
const books = `
databaseName: library
dataSources: {ds_0: {cluster: mysql, database: shop}}
rules:
- !SHARDING
  tables:
    book:
      actualDataNodes: ds_0.book_${0..1}
      tableStrategy: {standard: {shardingColumn: id, shardingAlgorithmName: by_id}}
  shardingAlgorithms:
    by_id: {type: MOD, props: {sharding-count: 2}}
    unused: {type: MOD, props: {sharding-count: %d}}
`

// listeners are version i of all listeners: limits, what is forbidden, and what a secret is for are different each time.
func (w *world) listeners(i int, bad bool) []tree {
	limits := tree{"connections": 1000 + i}
	users := []any{tree{"name": "app", "password": "pw"}, tree{"name": "other", "password": tree{"secret": "password"}}}
	relay := tree{"name": "tcp", "address": w.tcpAt, "limits": limits, "tcp": tree{"cluster": "echo"},
		"deny": []any{fmt.Sprintf("10.0.0.%d", i%250)}, "tls": tree{"cert": w.cert, "key": tree{"secret": "key"}}}
	if bad {
		relay["tcp"].(tree)["clutser"] = "echo"
	}
	return []tree{
		relay,
		{"name": "redis", "address": w.redisAt, "limits": limits, "redis": tree{"cluster": "redis", "users": users,
			"routes": []any{tree{"prefix": fmt.Sprintf("%d:", i), "cluster": "redis"}}}},
		{"name": "mysql", "address": w.mysqlAt, "limits": limits, "mysql": tree{"cluster": "mysql", "databases": []any{"library"}, "users": users}},
		{"name": "kafka", "address": w.kafkaAt, "limits": limits, "kafka": tree{"cluster": "kafka", "brokers": tree{"ports": w.brokers},
			"authentication": "terminate", "users": users, "rules": []any{tree{"action": "deny", "topics": []any{fmt.Sprintf("forbidden-%d", i)}}}}},
	}
}

// clusters are version i of all clusters: every second time each has one more endpoint, which is the same server by another name.
func (w *world) clusters(i int) []tree {
	of := func(address string) []any {
		_, port, _ := net.SplitHostPort(address)
		all := []any{tree{"address": address, "weight": 1 + i%50}}
		if i%2 == 1 {
			all = append(all, tree{"address": "localhost:" + port, "weight": 1})
		}
		return all
	}
	return []tree{
		{"name": "echo", "tcp": tree{}, "endpoints": of(w.echo)},
		{"name": "redis", "redis": tree{}, "endpoints": of(w.redis.Addr)},
		{"name": "mysql", "mysql": tree{"user": "app", "password": "pw", "database": "shop", "failover": tree{"writable": "first"}}, "endpoints": of(w.mysql.Addr)},
		{"name": "kafka", "kafka": tree{}, "endpoints": of(w.kafka.Addrs[0])},
	}
}

// secrets are version i of a password that nobody uses, and of the TCP listener's key, which reads differently and is the same.
func (w *world) secrets(i int) []types.Resource {
	secret := func(name, text string) types.Resource {
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
			Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
		}}}
	}
	return []types.Resource{secret("password", fmt.Sprintf("old-%d", i)), secret("key", fmt.Sprintf("%s# %d\n", w.key, i))}
}

// push is version i of everything.
func (w *world) push(t *testing.T, p *plane, i int, bad bool) {
	t.Helper()
	all := map[resource.Type][]types.Resource{resource.SecretType: w.secrets(i)}
	for _, body := range w.listeners(i, bad) {
		var databases []string
		if body["name"] == "mysql" {
			databases = []string{"library"}
		}
		all[resource.ListenerType] = append(all[resource.ListenerType], must[types.Resource](t, "listener")(xds.WriteListener(body, databases)))
	}
	for _, body := range w.clusters(i) {
		c, a, err := xds.WriteCluster(body)
		if err != nil {
			t.Fatal(err)
		}
		all[resource.ClusterType] = append(all[resource.ClusterType], c)
		all[resource.EndpointType] = append(all[resource.EndpointType], a)
	}
	var rules yaml.Node
	if err := yaml.Unmarshal(fmt.Appendf(nil, books, 2+i), &rules); err != nil {
		t.Fatal(err)
	}
	library := tree{"name": "library", "rules": rules.Content[0]}
	all[resource.ExtensionConfigType] = []types.Resource{must[types.Resource](t, "database")(xds.WriteDatabase(library))}
	version := fmt.Sprintf("%d", i)
	if bad {
		version += "-bad"
	}
	s, err := cache.NewSnapshot(version, all)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cache.SetSnapshot(context.Background(), "pushed", s); err != nil {
		t.Fatal(err)
	}
}

func startGateway(t *testing.T, p *plane, delta bool) *gateway.Gateway {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sidewire.yaml")
	text := fmt.Sprintf("node: {id: pushed}\nadmin: {address: \"\"}\nxds: {delta: %v, servers: [{address: %q}]}\n", delta, p.at)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return fromFile(t, file)
}

// active waits until version i is what serves, and tells how long that took.
func active(t *testing.T, g *gateway.Gateway, p *plane, i int) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		missing := waitsFor(g.Snapshot(), i)
		if missing == "" {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			t.Fatalf("push %d: %s is not active after %v; refused: %v", i, missing, patience, p.refused())
		}
	}
}

// waitsFor names what is not as version i has it; empty: everything is.
func waitsFor(s *config.Snapshot, i int) string {
	for _, name := range []string{"tcp", "redis", "mysql", "kafka"} {
		if l := s.Listener(name); l == nil || l.Limits.Connections != 1000+i {
			return "listener " + name
		}
	}
	for _, name := range []string{"echo", "redis", "mysql", "kafka"} {
		if c := s.Cluster(name); len(c.Endpoints) != 1+i%2 || c.Endpoints[0].Weight != 1+i%50 {
			return "cluster " + name
		}
	}
	if !strings.HasSuffix(s.Listener("tcp").TLS.Key.Value(), fmt.Sprintf("# %d\n", i)) {
		return "secret"
	}
	if d := s.Resource("databases", "library"); !strings.Contains(string(d.Source), fmt.Sprintf("sharding-count: %d", 2+i)) {
		return "rules"
	}
	return ""
}

// load is clients of every protocol that never stop; whatever fails is counted by the test.
type load struct {
	stop    atomic.Bool
	clients sync.WaitGroup
	done    map[string]*atomic.Int64
}

func (l *load) run(t *testing.T, name string, once func() error) {
	n := new(atomic.Int64)
	l.done[name] = n
	l.clients.Go(func() {
		// A load, not all that the machine can take: what a push takes is measured meanwhile.
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ; !l.stop.Load(); <-tick.C {
			if err := once(); err != nil {
				t.Errorf("%s: after %d: %v", name, n.Load(), err)
				return
			}
			n.Add(1)
		}
	})
}

func startLoad(t *testing.T, w *world) *load {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	l := &load{done: make(map[string]*atomic.Int64)}
	t.Cleanup(cancel)
	l.tcp(t, w)
	l.mysql(t, ctx, w)
	rdb := redis.NewClient(&redis.Options{Addr: w.redisAt, Username: "app", Password: "pw", MaxRetries: -1, PoolSize: 1, ReadTimeout: patience})
	t.Cleanup(func() { l.wait(); rdb.Close() })
	l.run(t, "redis", func() error {
		if err := rdb.Set(ctx, "k", "v", 0).Err(); err != nil {
			return err
		}
		return rdb.Get(ctx, "k").Err()
	})
	kc, err := kgo.NewClient(kgo.SeedBrokers(w.kafkaAt), kgo.SASL(plain.Auth{User: "app", Pass: "pw"}.AsMechanism()), kgo.RecordRetries(0), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.wait(); kc.Close() })
	l.run(t, "kafka", func() error {
		return kc.ProduceSync(ctx, &kgo.Record{Topic: "events", Value: []byte("v")}).FirstErr()
	})
	return l
}

// least is how often the slowest client was served; few times prove nothing.
func (l *load) least() int64 {
	least := int64(math.MaxInt64)
	for _, n := range l.done {
		least = min(least, n.Load())
	}
	return least
}

// wait ends the load.
func (l *load) wait() {
	l.stop.Store(true)
	l.clients.Wait()
}

// tcp asks over one connection for good, and over a new one each time, which shows that the listener's key still fits.
func (l *load) tcp(t *testing.T, w *world) {
	t.Helper()
	secure := &tls.Config{RootCAs: w.pool, ServerName: "relay"}
	dial := func() (net.Conn, error) {
		return tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.tcpAt, secure)
	}
	ask := func(c net.Conn) error {
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "line\n"); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 5))
		return err
	}
	conn := must[net.Conn](t, "connecting")(dial())
	t.Cleanup(func() { l.wait(); conn.Close() })
	l.run(t, "tcp, one connection", func() error { return ask(conn) })
	l.run(t, "tcp, new connections", func() error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		return ask(c)
	})
}

// mysql works in transactions on the cluster, and over the tables that the rules name. Each has one connection for good: a
// new one would hide a dropped one.
func (l *load) mysql(t *testing.T, ctx context.Context, w *world) {
	t.Helper()
	open := func(address, database string) *sql.Conn {
		db := must[*sql.DB](t, "opening")(sql.Open("mysql", "app:pw@tcp("+address+")/"+database))
		session := must[*sql.Conn](t, "connecting")(db.Conn(ctx))
		t.Cleanup(func() { l.wait(); session.Close(); db.Close() })
		return session
	}
	direct := open(w.mysql.Addr, "shop")
	for _, table := range []string{"book_0", "book_1"} {
		if _, err := direct.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (id INT PRIMARY KEY, title TEXT)"); err != nil {
			t.Fatal(err)
		}
	}
	session, sharded := open(w.mysqlAt, "shop"), open(w.mysqlAt, "library")
	l.run(t, "mysql, transactions", func() error {
		tx, err := session.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT 1 + ?", 1).Scan(&n); err != nil {
			return err
		}
		return tx.Commit()
	})
	id := 0
	l.run(t, "mysql, sharded", func() error {
		id++
		if _, err := sharded.ExecContext(ctx, "INSERT INTO book (id, title) VALUES (?, 'a')", id); err != nil {
			return err
		}
		n := 0
		if err := sharded.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM book WHERE id IN (%d, %d)", id, id-1)).Scan(&n); err != nil {
			return err
		}
		if want := min(id, 2); n != want {
			return fmt.Errorf("%d rows, want %d", n, want)
		}
		return nil
	})
}

// TestThousandPushesUnderLoad changes every listener with its rules, every cluster's endpoints and the secrets a thousand
// times, while clients of every protocol work: none of them may notice. A bad push in the middle changes nothing.
func TestThousandPushesUnderLoad(t *testing.T) {
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprintf("delta %v", delta), func(t *testing.T) {
			leak.Check(t)
			pushes := 500 // of each protocol: a thousand in all
			if testing.Short() || raceDetector {
				pushes = 20
			}
			p, w := startPlane(t), startWorld(t)
			w.push(t, p, 0, false)
			g := startGateway(t, p, delta)
			active(t, g, p, 0)
			l := startLoad(t, w)
			var took []time.Duration
			for i := 1; (i <= pushes || l.least() < 10 && i < 10*pushes) && !t.Failed(); i++ {
				if i == pushes/2 {
					w.push(t, p, i, true)
					for began := time.Now(); len(p.refused()) == 0; time.Sleep(time.Millisecond) {
						if time.Since(began) > patience {
							t.Fatal("a bad push was not refused")
						}
					}
					if want := `Listener: tcp: tcp.clutser: unknown field; did you mean "cluster"?`; p.refused()[0] != want {
						t.Errorf("refused with %q, want %q", p.refused()[0], want)
					}
					if l := g.Snapshot().Listener("tcp"); l.Limits.Connections != 1000+i-1 {
						t.Errorf("a bad listener took the place of a good one: %+v", l)
					}
					continue
				}
				w.push(t, p, i, false)
				took = append(took, active(t, g, p, i))
			}
			l.wait()
			for name, n := range l.done {
				if n.Load() < 10 {
					t.Errorf("%s did %d operations only; the test proves nothing", name, n.Load())
				}
				t.Logf("%s: %d operations, none failed", name, n.Load())
			}
			slices.Sort(took)
			t.Logf("push to active: median %v, 99%% %v, worst %v", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		})
	}
}
