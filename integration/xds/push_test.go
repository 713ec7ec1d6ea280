// Package xds_test drives a whole gateway from a control plane that is built on go-control-plane.
package xds_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
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
	"google.golang.org/grpc"

	"github.com/sidewire/sidewire/gateway"
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

// push is version i of everything: limits of listeners, weights of endpoints and a secret change each time.
func (w *world) push(t *testing.T, p *plane, i int, bad bool) {
	t.Helper()
	limits := tree{"connections": 1000 + i}
	relay := tree{"name": "tcp", "address": w.tcpAt, "limits": limits, "tcp": tree{"cluster": "echo"}}
	if bad {
		relay["tcp"].(tree)["clutser"] = "echo"
	}
	all := make(map[resource.Type][]types.Resource)
	for _, body := range []tree{
		relay,
		{"name": "redis", "address": w.redisAt, "limits": limits, "redis": tree{"cluster": "redis"}},
		{"name": "mysql", "address": w.mysqlAt, "limits": limits, "mysql": tree{"cluster": "mysql", "users": []any{
			tree{"name": "app", "password": "pw", "old_password": tree{"secret": "old"}},
		}}},
		{"name": "kafka", "address": w.kafkaAt, "limits": limits, "kafka": tree{"cluster": "kafka", "brokers": tree{"ports": w.brokers}}},
	} {
		m, err := xds.WriteListener(body, nil)
		if err != nil {
			t.Fatal(err)
		}
		all[resource.ListenerType] = append(all[resource.ListenerType], m)
	}
	one := func(address string) []any { return []any{tree{"address": address, "weight": 1 + i%50}} }
	for _, body := range []tree{
		{"name": "echo", "tcp": tree{}, "endpoints": one(w.echo)},
		{"name": "redis", "redis": tree{}, "endpoints": one(w.redis.Addr)},
		{"name": "mysql", "mysql": tree{"user": "app", "password": "pw", "database": "shop"}, "endpoints": one(w.mysql.Addr)},
		{"name": "kafka", "kafka": tree{}, "endpoints": one(w.kafka.Addrs[0])},
	} {
		c, a, err := xds.WriteCluster(body)
		if err != nil {
			t.Fatal(err)
		}
		all[resource.ClusterType] = append(all[resource.ClusterType], c)
		all[resource.EndpointType] = append(all[resource.EndpointType], a)
	}
	all[resource.SecretType] = []types.Resource{&tlsv3.Secret{Name: "old", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
		Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: fmt.Sprintf("old-%d", i)}},
	}}}}
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
		there := 0
		for _, l := range g.Snapshot().Listeners() {
			if l.Limits.Connections == 1000+i {
				there++
			}
		}
		if there == 4 {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			t.Fatalf("push %d: %d of 4 listeners are active after %v; refused: %v", i, there, patience, p.refused())
		}
	}
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
		for !l.stop.Load() {
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
	conn, err := net.DialTimeout("tcp", w.tcpAt, patience)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(conn)
	l.run(t, "tcp, one connection", func() error {
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "line\n"); err != nil {
			return err
		}
		_, err := lines.ReadString('\n')
		return err
	})
	rdb := redis.NewClient(&redis.Options{Addr: w.redisAt, MaxRetries: -1, PoolSize: 1, ReadTimeout: patience})
	l.run(t, "redis", func() error {
		if err := rdb.Set(ctx, "k", "v", 0).Err(); err != nil {
			return err
		}
		return rdb.Get(ctx, "k").Err()
	})
	db, err := sql.Open("mysql", "app:pw@tcp("+w.mysqlAt+")/shop")
	if err != nil {
		t.Fatal(err)
	}
	session, err := db.Conn(ctx) // one connection for good: a new one would hide a dropped one
	if err != nil {
		t.Fatal(err)
	}
	l.run(t, "mysql, one connection", func() error {
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
	kc, err := kgo.NewClient(kgo.SeedBrokers(w.kafkaAt), kgo.RecordRetries(0), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	l.run(t, "kafka", func() error {
		return kc.ProduceSync(ctx, &kgo.Record{Topic: "events", Value: []byte("v")}).FirstErr()
	})
	t.Cleanup(func() {
		l.stop.Store(true)
		l.clients.Wait()
		conn.Close()
		rdb.Close()
		session.Close()
		db.Close()
		kc.Close()
		cancel()
	})
	return l
}

// TestThousandPushesUnderLoad changes every listener, every cluster's endpoints and a secret a thousand times, while clients
// of every protocol work: none of them may notice. A bad push in the middle changes nothing.
func TestThousandPushesUnderLoad(t *testing.T) {
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprintf("delta %v", delta), func(t *testing.T) {
			leak.Check(t)
			pushes := 500 // of each protocol: a thousand in all
			if testing.Short() {
				pushes = 50
			}
			p, w := startPlane(t), startWorld(t)
			w.push(t, p, 0, false)
			g := startGateway(t, p, delta)
			active(t, g, p, 0)
			l := startLoad(t, w)
			var took []time.Duration
			for i := 1; i <= pushes && !t.Failed(); i++ {
				if i == pushes/2 {
					before := g.Snapshot().Listener("tcp")
					w.push(t, p, i, true)
					for began := time.Now(); len(p.refused()) == 0; time.Sleep(time.Millisecond) {
						if time.Since(began) > patience {
							t.Fatal("a bad push was not refused")
						}
					}
					if want := `Listener: tcp: tcp.clutser: unknown field; did you mean "cluster"?`; p.refused()[0] != want {
						t.Errorf("refused with %q, want %q", p.refused()[0], want)
					}
					if g.Snapshot().Listener("tcp") != before {
						t.Error("a bad listener took the place of a good one")
					}
					continue
				}
				w.push(t, p, i, false)
				took = append(took, active(t, g, p, i))
			}
			l.stop.Store(true)
			l.clients.Wait()
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
