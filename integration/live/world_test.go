package live

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// world is one sidewire with a listener of each protocol, and what stands behind it.
type world struct {
	side   *servers.Sidewire
	db     *servers.MySQLServer
	kv     []*servers.RedisServer
	events *servers.KafkaCluster

	sql, cache, kafka, relay string // addresses of the listeners
	config                   string
}

func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// begin starts a sidewire for this test. The stores are the package's own, or the test's with servers.Private().
func begin(t testing.TB, opts ...servers.Option) *world {
	t.Helper()
	w := &world{db: servers.MariaDB(t, opts...), events: servers.Kafka(t, servers.Nodes(3))}
	for i := range 3 {
		if len(opts) > 0 {
			w.kv = append(w.kv, servers.Redis(t, opts...))
		} else {
			w.kv = servers.RedisNodes(t, 3)[:i+1]
		}
	}
	fleet, err := servers.Shared()
	if err != nil {
		t.Fatal(err)
	}
	brokers, err := fleet.PortRange(8)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []*string{&w.sql, &w.cache, &w.kafka, &w.relay} {
		*addr = "127.0.0.1:" + strconv.Itoa(servers.Port(t))
	}
	quoted := func(list []string) string { return `"` + strings.Join(list, `", "`) + `"` }
	var nodes []string
	for _, s := range w.kv {
		nodes = append(nodes, s.Addr)
	}
	w.config = fmt.Sprintf(`
listeners:
  - {name: sql, address: %q, mysql: {users: [{name: %s, password: %s}], cluster: sql}}
  - {name: cache, address: %q, redis: {cluster: cache, output_limit: 16MB}}
  - {name: events, address: %q, kafka: {cluster: events, brokers: {ports: %d-%d}}}
  - {name: relay, address: %q, tcp: {cluster: relay}}
clusters:
  - {name: sql, mysql: {user: %s, password: %s}, endpoints: [%q]}
  - {name: cache, redis: {hashing: ketama, hash: murmur}, endpoints: [%s]}
  - {name: events, kafka: {}, endpoints: [%s]}
  - {name: relay, tcp: {}, endpoints: [%q]}
`, w.sql, w.db.User, w.db.Password, w.cache, w.kafka, brokers, brokers+7, w.relay,
		w.db.User, w.db.Password, w.db.Addr, quoted(nodes), quoted(w.events.Addrs()), w.kv[0].Addr)
	w.side = servers.StartSidewire(t, w.config)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sidewire's log:\n%s", w.side.LogTail())
		}
	})
	return w
}

var goroutineTotal = regexp.MustCompile(`^goroutine profile: total (\d+)`)

// goroutines counts those of the process.
func (w *world) goroutines(ctx context.Context) (int, error) {
	text, err := w.side.Get(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	found := goroutineTotal.FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no total in %.80q", text)
	}
	return strconv.Atoi(found[1])
}

// settles fails the test when the process does not come back to about as many goroutines as it had.
func (w *world) settles(t *testing.T, before int) {
	t.Helper()
	// Pools may keep a few connections more than before, and each may have a goroutine.
	const slack = 20
	err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
		now, err := w.goroutines(ctx)
		if err == nil && now > before+slack {
			err = fmt.Errorf("%d goroutines, %d before", now, before)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
