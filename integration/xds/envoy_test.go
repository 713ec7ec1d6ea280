package xds_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/kafka"
	"github.com/sidewire/sidewire/gateway/mysql"
	sideredis "github.com/sidewire/sidewire/gateway/redis"
	"github.com/sidewire/sidewire/gateway/tcp"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/integration/embedded"
	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// example is a bootstrap file in the manner of Envoy's examples: a static listener on every address, a cluster of one DNS name,
// an admin address. ours is our own; published is its place in a checkout of envoyproxy/examples.
type example struct {
	published     string
	listen, admin string // ports
	server        string // the host and port of the cluster's server, as the file has them
	ours          string
	ask           func(t *testing.T, address string)
}

// filters is a file of ours.
func filters(port int, name, chain, policy, host string, serverPort int) string {
	return fmt.Sprintf(`
admin: {address: {socket_address: {address: 0.0.0.0, port_value: 8001}}}
static_resources:
  listeners:
    - name: %[2]s_in
      address: {socket_address: {address: 0.0.0.0, port_value: %[1]d}}
      filter_chains:
        - filters:%[3]s
  clusters:
    - name: %[2]s_servers
      type: STRICT_DNS
      lb_policy: %[4]s
      load_assignment:
        cluster_name: %[2]s_servers
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %[5]s, port_value: %[6]d}}}}]}]
`, port, name, chain, policy, host, serverPort)
}

func relayed(protocol, message, name string) string {
	return fmt.Sprintf(`
            - name: envoy.filters.network.%[1]s
              typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.%[1]s.%[2]s, stat_prefix: %[3]s_out}
            - name: envoy.filters.network.tcp_proxy
              typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: %[3]s_tcp, cluster: %[3]s_servers}`,
		protocol, message, name)
}

func examples() []example {
	return []example{
		{"mysql", "1999", "8001", "mysql:3306", filters(1999, "mysql", relayed("mysql_proxy", "v3.MySQLProxy", "mysql"), "ROUND_ROBIN", "mysql", 3306), askMySQL},
		{"redis", "1999", "8001", "redis:6379", filters(1999, "redis", `
            - name: envoy.filters.network.redis_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
                stat_prefix: redis_out
                settings: {op_timeout: 3s}
                prefix_routes: {catch_all_route: {cluster: redis_servers}}`, "MAGLEV", "redis", 6379), askRedis},
		{"kafka", "10000", "8001", "kafka-server:10000", filters(10000, "kafka", relayed("kafka_broker", "v3.KafkaBroker", "kafka"), "ROUND_ROBIN", "kafka-server", 10000), askKafka},
		{"postgres", "1999", "8001", "postgres:5432", filters(1999, "postgres", relayed("postgres_proxy", "v3alpha.PostgresProxy", "postgres"), "ROUND_ROBIN", "postgres", 5432), askEcho},
	}
}

// TestEnvoyExamples starts a gateway from bootstrap files in the manner of Envoy's examples for data stores, with servers of
// ours in the place of the hosts that they name, and asks through each. ENVOY_EXAMPLES names a checkout of envoyproxy/examples:
// then its own files run, too; they are no part of this project.
func TestEnvoyExamples(t *testing.T) {
	checkout := os.Getenv("ENVOY_EXAMPLES")
	for _, e := range examples() {
		t.Run(e.published, func(t *testing.T) { e.run(t, e.ours) })
		if checkout == "" {
			continue
		}
		t.Run(e.published+", published", func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(checkout, e.published, "envoy.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			e.run(t, string(text))
		})
	}
}

func (e example) run(t *testing.T, text string) {
	leak.Check(t)
	replace := func(old, with string) {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("no %q in\n%s", old, text)
		}
		text = strings.ReplaceAll(text, old, with)
	}
	server, port, err := net.SplitHostPort(e.server)
	if err != nil {
		t.Fatal(err)
	}
	at, atPort, err := net.SplitHostPort(e.store(t))
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprint(servers.Port(t))
	// The listener's port may be the server's as well; the server's stands behind its name.
	head, tail, found := strings.Cut(text, "address: "+server)
	if !found {
		t.Fatalf("no server %q in\n%s", server, text)
	}
	text = head + "address: " + at + strings.Replace(tail, "port_value: "+port, "port_value: "+atPort, 1)
	replace("port_value: "+e.admin, fmt.Sprintf("port_value: %d", servers.Port(t)))
	text = strings.Replace(text, "port_value: "+e.listen, "port_value: "+listen, 1) // it stands before the clusters
	replace("address: 0.0.0.0", "address: 127.0.0.1")
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile(t, file)
	e.ask(t, "127.0.0.1:"+listen)
}

// fromFile starts a gateway from a configuration or a bootstrap file.
func fromFile(t *testing.T, file string) *gateway.Gateway {
	t.Helper()
	logs, err := telemetry.NewLogs(io.Discard, "text", slog.LevelError)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(logs, tcp.Protocol(), sideredis.Protocol(), mysql.Protocol(), kafka.Protocol())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		g.Close(ctx)
	})
	if problems := g.LoadFile(file); len(problems) > 0 {
		t.Fatal(problems)
	}
	return g
}

// TestEnvoyRedisRoutes sends keys where a redis_proxy's prefixes say, with their prefix removed, and fails what a runtime layer has fail.
func TestEnvoyRedisRoutes(t *testing.T) {
	leak.Check(t)
	var stores []*embedded.Redis
	clusters := ""
	for i := range 2 {
		s, err := embedded.StartRedis("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closing(t, s)
		stores = append(stores, s)
		_, port, _ := net.SplitHostPort(s.Addr)
		clusters += fmt.Sprintf(`
    - name: r%d
      type: STATIC
      load_assignment: {cluster_name: r, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]}`, i, port)
	}
	listen := servers.Port(t)
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	text := fmt.Sprintf(`
layered_runtime: {layers: [{name: static, static_layer: {faults: {get: 100}}}]}
static_resources:
  listeners:
    - name: l
      address: {socket_address: {address: 127.0.0.1, port_value: %d}}
      filter_chains:
        - filters:
            - name: redis
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
                stat_prefix: r
                settings: {op_timeout: 3s}
                prefix_routes: {routes: [{prefix: "a:", remove_prefix: true, cluster: r1}], catch_all_route: {cluster: r0}}
                faults: [{fault_type: ERROR, commands: [GETDEL], fault_enabled: {default_value: {numerator: 0}, runtime_key: faults.get}}]
  clusters:%s
`, listen, clusters)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile(t, file)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", listen), MaxRetries: -1})
	defer c.Close()
	for key, where := range map[string]int{"a:k": 1, "other": 0} {
		if err := c.Set(ctx, key, "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Get(ctx, key).Result(); err != nil || v != "v" {
			t.Errorf("%s: %q, %v", key, v, err)
		}
		direct := redis.NewClient(&redis.Options{Addr: stores[where].Addr})
		if n, err := direct.Exists(ctx, strings.TrimPrefix(key, "a:")).Result(); err != nil || n != 1 {
			t.Errorf("%s is not on server %d: %d, %v", key, where, n, err)
		}
		direct.Close()
	}
	if err := c.GetDel(ctx, "other").Err(); err == nil || err == redis.Nil {
		t.Errorf("the runtime layer's fault did not come: %v", err)
	}
}

// store is a server in the place of the example's.
func (e example) store(t *testing.T) string {
	t.Helper()
	switch e.published {
	case "mysql":
		s, err := embedded.StartMySQL("127.0.0.1:0", "shop", "app", "pw")
		if err != nil {
			t.Fatal(err)
		}
		closing(t, s)
		return s.Addr
	case "redis":
		s, err := embedded.StartRedis("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closing(t, s)
		return s.Addr
	case "kafka":
		s, err := embedded.StartKafka([]int{0}, 1, "events")
		if err != nil {
			t.Fatal(err)
		}
		closing(t, s)
		return s.Addrs[0]
	}
	return echo(t)
}

func askMySQL(t *testing.T, address string) {
	db, err := sql.Open("mysql", "app:pw@tcp("+address+")/shop")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var n int
	if err := db.QueryRowContext(ctx, "SELECT 1 + ?", 2).Scan(&n); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
}

func askRedis(t *testing.T, address string) {
	c := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, ReadTimeout: patience})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Set(ctx, "foo", "bar", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if v, err := c.Get(ctx, "foo").Result(); err != nil || v != "bar" {
		t.Errorf("%q, %v", v, err)
	}
}

// askKafka asks for the versions that the broker speaks: at layer 4 everything else would lead past the relay.
func askKafka(t *testing.T, address string) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("t"))
	if _, err := c.Write(f.AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 7)); err != nil {
		t.Fatal(err)
	}
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || head[7] != 7 {
		t.Errorf("answer begins with % x, %v", head, err)
	}
}

func askEcho(t *testing.T, address string) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}
