package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/gateway/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// nowhere is where logs go.
var nowhere = slog.New(slog.DiscardHandler)

// echo is a protocol that only configuration sees.
type echo struct{}

type echoBlock struct {
	Cluster   string        `yaml:"cluster"`
	Databases []string      `yaml:"databases"`
	Password  config.Secret `yaml:"password"`
}

func (echo) Name() string       { return "tcp" }
func (echo) ListenerBlock() any { return &echoBlock{} }
func (echo) ClusterBlock() any  { return &echoBlock{} }
func (echo) CheckListener(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	return m.CheckClusterRef(l.Block.(*echoBlock).Cluster, "tcp", at.Field("cluster"))
}
func (echo) CheckCluster(*config.Model, *config.Cluster, config.Path) []config.Problem { return nil }

type books struct{}

type book struct {
	Name  string         `yaml:"name" required:"true"`
	File  string         `yaml:"file"`
	Pages int            `yaml:"pages"`
	Rules map[string]int `yaml:"rules"`
}

func (books) Name() string { return "databases" }
func (books) Decode(n *yaml.Node, at config.Path, env *config.Env) (config.Resource, []config.Problem) {
	var b book
	problems := config.Decode(n, at, &b, env)
	return config.Resource{Name: b.Name, Value: &b, Source: fmt.Appendf(nil, "%+v", b)}, problems
}
func (books) Check(*config.Model, *config.Resource, config.Path) []config.Problem { return nil }

var language = config.Language{Protocols: []config.Protocol{echo{}}, Kinds: []config.Kind{books{}}}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

const common = `
listeners: [{name: a, address: "127.0.0.1:100", tcp: {cluster: c, password: {env: X}}, limits: {connections: 7}}]
clusters: [{name: c, tcp: {}, connect_timeout: 7s, endpoints: ["db.prod:1", {address: "10.0.0.2:2", zone: z, weight: 3, role: primary, metadata: {k: v}}, "unix:/run/x"]}]
databases: [{name: atlas, file: atlas.sharding.yaml}]
`

// sidecar is a client whose target only notes.
type sidecar struct {
	mu       sync.Mutex
	snapshot *config.Snapshot
	client   *xds.Client
}

func (s *sidecar) Language() config.Language { return language }
func (s *sidecar) Snapshot() *config.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}
func (s *sidecar) Apply(next *config.Snapshot) []config.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = next
	return nil
}

// until waits for a condition over the snapshot.
func (s *sidecar) until(t *testing.T, what string, ok func(*config.Snapshot) bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		if snap := s.Snapshot(); snap != nil && ok(snap) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; status %+v", what, patience, s.client.Status())
		}
	}
}

func follow(t *testing.T, group string, servers ...xds.Server) *sidecar {
	t.Helper()
	node, err := xds.NodeOf(config.Node{ID: "n-" + group, Cluster: group})
	if err != nil {
		t.Fatal(err)
	}
	base := &config.Model{Partial: true}
	base.SetDefaults()
	s := &sidecar{}
	s.client, err = xds.New(xds.Options{
		Target: s, Node: node, Servers: servers, Base: base, Metrics: telemetry.NewRegistry(), Log: nowhere, Now: time.Now,
		Env: func() *config.Env {
			return &config.Env{LookupEnv: func(string) (string, bool) { return "value", true }}
		},
		Rand: func() uint64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	if problems := s.client.Begin(); len(problems) > 0 {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.client.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func serve(t *testing.T, dir, address, token string) (*Server, string) {
	t.Helper()
	return start(t, address, Options{Source: Folder(dir, nowhere), Token: token})
}

func serveSource(t *testing.T, source Source) (address string) {
	t.Helper()
	_, address = start(t, "127.0.0.1:0", Options{Source: source})
	return address
}

func start(t *testing.T, address string, o Options) (*Server, string) {
	t.Helper()
	o.Language, o.Log = language, nowhere
	s, problems := New(t.Context(), o)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// TestFolderReachesSidecars goes all the way, in both protocols: what a sidecar makes of what travels is what the file says.
func TestFolderReachesSidecars(t *testing.T) {
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprintf("delta %v", delta), func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "common.yaml"), common)
			write(t, filepath.Join(dir, "atlas.sharding.yaml"), "pages: 5\n")
			write(t, filepath.Join(dir, "shop", "more.yaml"), `listeners: [{name: b, address: "127.0.0.1:101", tcp: {cluster: c, databases: [atlas]}}]`)
			_, at := serve(t, dir, "127.0.0.1:0", "")
			all := follow(t, "other", xds.Server{Address: at, Delta: delta})
			shop := follow(t, "shop", xds.Server{Address: at, Delta: delta})
			all.until(t, "common files", func(s *config.Snapshot) bool {
				return s.Listener("a") != nil && s.Resource("databases", "atlas") != nil
			})
			shop.until(t, "own files", func(s *config.Snapshot) bool { return s.Listener("a") != nil && s.Listener("b") != nil })
			s := all.Snapshot()
			l, c := s.Listener("a"), s.Cluster("c")
			if l.Limits.Connections != 7 || l.Address != "127.0.0.1:100" || l.Block.(*echoBlock).Password.Value() != "value" || s.Listener("b") != nil {
				t.Errorf("listener %+v", l)
			}
			if c.ConnectTimeout.Std() != 7*time.Second || len(c.Endpoints) != 3 || c.Endpoints[0].Address != "db.prod:1" || c.Endpoints[2].Address != "unix:/run/x" {
				t.Errorf("cluster %+v", c)
			}
			if e := c.Endpoints[1]; e.Zone != "z" || e.Weight != 3 || e.Role != "primary" || e.Metadata["k"] != "v" {
				t.Errorf("endpoint %+v", e)
			}
			if b := s.Resource("databases", "atlas").Value.(*book); b.Rules["pages"] != 5 {
				t.Errorf("database %+v", b)
			}
			write(t, filepath.Join(dir, "atlas.sharding.yaml"), "pages: 6\n")
			all.until(t, "changed rules", func(s *config.Snapshot) bool {
				return s.Resource("databases", "atlas").Value.(*book).Rules["pages"] == 6
			})
			write(t, filepath.Join(dir, "common.yaml"), strings.Replace(common, "connections: 7", "connectoins: 8", 1))
			write(t, filepath.Join(dir, "shop", "more.yaml"), `listeners: [{name: d, address: "127.0.0.1:101", tcp: {cluster: c}}]`)
			write(t, filepath.Join(dir, "common.yaml"), strings.Replace(common, "connections: 7", "connections: 9", 1))
			shop.until(t, "a mended folder", func(s *config.Snapshot) bool {
				return s.Listener("d") != nil && s.Listener("b") == nil && s.Listener("a").Limits.Connections == 9
			})
		})
	}
}

func TestSidecarsOutliveTheControlPlane(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "common.yaml"), strings.Replace(common, "file: atlas.sharding.yaml", "pages: 1", 1))
	first, at := serve(t, dir, "127.0.0.1:0", "")
	s := follow(t, "", xds.Server{Address: at}, xds.Server{Address: "127.0.0.1:1"})
	s.until(t, "first", func(s *config.Snapshot) bool { return s.Listener("a") != nil })
	first.Stop()
	write(t, filepath.Join(dir, "common.yaml"), strings.NewReplacer("file: atlas.sharding.yaml", "pages: 1", "connections: 7", "connections: 8").Replace(common))
	if s.Snapshot().Listener("a") == nil {
		t.Fatal("losing the control plane changed something")
	}
	serve(t, dir, at, "")
	s.until(t, "after the control plane came back", func(s *config.Snapshot) bool { return s.Listener("a").Limits.Connections == 8 })
}

func TestNextServerOfTheList(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "common.yaml"), strings.Replace(common, "file: atlas.sharding.yaml", "pages: 1", 1))
	_, at := serve(t, dir, "127.0.0.1:0", "")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	s := follow(t, "", xds.Server{Address: closed.Addr().String()}, xds.Server{Address: at})
	s.until(t, "second server", func(s *config.Snapshot) bool { return s.Listener("a") != nil })
	select {
	case <-s.client.Synced():
	case <-time.After(patience):
		t.Error("not synced")
	}
}

func TestToken(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "common.yaml"), strings.Replace(common, "file: atlas.sharding.yaml", "pages: 1", 1))
	_, at := serve(t, dir, "127.0.0.1:0", "s3cret")
	with := follow(t, "", xds.Server{Address: at, Token: "s3cret"})
	without := follow(t, "", xds.Server{Address: at})
	with.until(t, "token", func(s *config.Snapshot) bool { return s.Listener("a") != nil })
	without.until(t, "refusal", func(*config.Snapshot) bool {
		return strings.Contains(without.client.Status().Error, "needs a bearer token")
	})
	if without.Snapshot().Listener("a") != nil {
		t.Error("let in without the token")
	}
}

func TestProblemsNameFileAndPlace(t *testing.T) {
	for _, c := range []struct{ files, want string }{
		{"a.yaml=listeners: [{name: a, address: x, tcp: {cluster: c}}]", "a.yaml: listeners[0].address: \"x\" is not an address; expected host:port or unix:/path\na.yaml: listeners[0].tcp.cluster: no cluster named \"c\""},
		{"a.yaml=admin: {address: \"127.0.0.1:1\"}", "a.yaml: admin: a control plane sends listeners, clusters, databases only"},
		{"a.yaml=clusters: [{name: c, tcp: {}, endpoints: [\"a:1\"]}]|b.yaml=clusters: [{name: c, tcp: {}, endpoints: [\"a:1\"]}]", "b.yaml: clusters[0].name: duplicate cluster \"c\"; the first is at clusters[0].name"},
		{"a.yaml=clusters: [{name: c, tpc: {}, endpoints: [\"a:1\"]}]", "a.yaml: clusters[0].tpc: unknown field; did you mean \"tcp\"?"},
		{"a.yaml=clusters: [{name: c, tcp: {}, tls: {sever_name: x}, endpoints: [\"a:1\"]}]", "a.yaml: clusters[0].tls.sever_name: unknown field; did you mean \"server_name\"?"},
		{"a.yaml=databases: [{name: d, file: nowhere}]", "a.yaml: databases[0]: open DIR/nowhere: no such file or directory"},
		{"a.yaml={", "a.yaml: "},
	} {
		dir := t.TempDir()
		for _, f := range strings.Split(c.files, "|") {
			name, text, _ := strings.Cut(f, "=")
			write(t, filepath.Join(dir, name), text)
		}
		_, problems := New(t.Context(), Options{Source: Folder(dir, nowhere), Language: language, Log: nowhere})
		var got []string
		for _, p := range problems {
			got = append(got, strings.TrimPrefix(strings.ReplaceAll(p.String(), dir, "DIR"), "DIR/"))
		}
		if text := strings.Join(got, "\n"); text != c.want && !(c.want == "a.yaml: " && strings.HasPrefix(text, c.want)) {
			t.Errorf("%s:\n%s\nwant\n%s", c.files, text, c.want)
		}
	}
}
