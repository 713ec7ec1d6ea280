package xds

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// guarded is a process that another goroutine looks at.
type guarded struct {
	mu sync.Mutex
	*process
}

func (g *guarded) Snapshot() *config.Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.process.Snapshot()
}

func (g *guarded) Apply(s *config.Snapshot) []config.Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.process.Apply(s)
}

// Rule 11: a file holds a DiscoveryResponse as YAML, JSON or binary; what is wrong with it leaves the last good in place, and
// only the figures tell.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	listeners := func(port int, cluster string) string {
		return fmt.Sprintf(`
version_info: "1"
resources:
- "@type": %s
  name: l
  address: {socket_address: {address: 127.0.0.1, port_value: %d}}
  filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, %s: c}}]}]
`, ListenerType, port, cluster)
	}
	put("lds.yaml", listeners(100, "cluster"))
	put("cds.json", fmt.Sprintf(`{"resources": [{"@type": %q, "name": "c", "type": "EDS", "eds_cluster_config": {"eds_config": {"path_config_source": {"path": %q}}}}]}`,
		ClusterType, filepath.Join(dir, "eds.pb")))
	binary := func(ports ...int) string {
		b, err := proto.Marshal(&discoveryv3.DiscoveryResponse{Resources: assignmentsOf(t, endpoints(t, "c", ports...))})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	put("eds.pb", binary(1))

	p := &guarded{process: newProcess()}
	base := &config.Model{Partial: true}
	base.SetDefaults()
	metrics := telemetry.NewRegistry()
	c, err := New(Options{
		Target: p, Node: &corev3.Node{Id: "n"}, Base: base, Metrics: metrics, Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: func() uint64 { return 0 },
		Env:   func() *config.Env { return &config.Env{} },
		Files: []FileSource{{ListenerType, filepath.Join(dir, "lds.yaml")}, {ClusterType, filepath.Join(dir, "cds.json")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if problems := c.Begin(); len(problems) > 0 {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	defer func() { cancel(); <-done }()
	until := func(what string, ok func(*config.Snapshot) bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(10 * time.Second); !ok(p.Snapshot()); <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within 10 s; %+v", what, c.Status())
			}
		}
	}
	until("first", func(s *config.Snapshot) bool {
		return s.Listener("l") != nil && len(s.Cluster("c").Endpoints) == 1
	})
	put("eds.pb", binary(1, 2))
	until("new endpoints", func(s *config.Snapshot) bool { return len(s.Cluster("c").Endpoints) == 2 })
	put("lds.yaml", listeners(100, "clutser"))
	bad := metrics.Counter("sidewire_xds_resources_total", "Resources received, by type and whether they were valid.", "type", "Listener", "result", "invalid")
	until("a bad file", func(*config.Snapshot) bool { return bad.Value() > 0 })
	if p.Snapshot().Listener("l").Address != "127.0.0.1:100" {
		t.Error("a bad file changed something")
	}
	put("lds.yaml", listeners(200, "cluster"))
	until("a mended file", func(s *config.Snapshot) bool { return s.Listener("l").Address == "127.0.0.1:200" })
	put("lds.yaml", "resources: []\n")
	until("an empty file", func(s *config.Snapshot) bool { return s.Listener("l") == nil })
}

func TestReadResponse(t *testing.T) {
	for name, want := range map[string]string{"a.txt": `".txt" is none of`, "b.yaml": "reading DiscoveryResponse", "c.json": "reading DiscoveryResponse", "d.pb": "reading DiscoveryResponse"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("resources: 5\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readResponse(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readResponse("nowhere.yaml"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func assignmentsOf(t *testing.T, all ...proto.Message) (out []*anypb.Any) {
	for _, m := range all {
		out = append(out, pack(t, m))
	}
	return out
}
