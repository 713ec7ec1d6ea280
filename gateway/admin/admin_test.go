package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// echo is a protocol that only configuration sees.
type echo struct{}

type echoBlock struct {
	Password config.Secret `yaml:"password"`
}

func (echo) Name() string       { return "echo" }
func (echo) ListenerBlock() any { return &echoBlock{} }
func (echo) ClusterBlock() any  { return &echoBlock{} }
func (echo) CheckListener(*config.Model, *config.Listener, config.Path) []config.Problem {
	return nil
}
func (echo) CheckCluster(*config.Model, *config.Cluster, config.Path) []config.Problem { return nil }

// handler serves nobody.
type handler struct{}

func (handler) Handle(_ context.Context, c *listener.Conn) { c.Close() }
func (handler) Refuse(*listener.Conn, error)               {}
func (handler) Update(*config.Listener) error              { return nil }
func (handler) Drain(context.Context)                      {}
func (handler) Close()                                     {}

type process struct {
	views     map[string]func() any // nil: some
	snapshot  *config.Snapshot
	clusters  []*cluster.Cluster
	listeners []*listener.Listener
	metrics   *telemetry.Registry
	told      *telemetry.Statements
	logs      *telemetry.Logs
	started   time.Time
}

func (p *process) Snapshot() *config.Snapshot        { return p.snapshot }
func (p *process) Clusters() []*cluster.Cluster      { return p.clusters }
func (p *process) Listeners() []*listener.Listener   { return p.listeners }
func (p *process) Metrics() *telemetry.Registry      { return p.metrics }
func (p *process) Statements() *telemetry.Statements { return p.told }
func (p *process) Logs() *telemetry.Logs             { return p.logs }
func (p *process) Started() time.Time                { return p.started }
func (p *process) Actions() map[string]func(context.Context, url.Values) (any, error) {
	return map[string]func(context.Context, url.Values) (any, error){
		"echo/shout": func(_ context.Context, v url.Values) (any, error) {
			if v.Get("word") == "" {
				return nil, errors.New("no word")
			}
			return map[string]string{"word": strings.ToUpper(v.Get("word"))}, nil
		},
	}
}
func (p *process) Views() map[string]func() any {
	if p.views != nil {
		return p.views
	}
	return map[string]func() any{
		"sessions": func() any { return []string{"one"} },
		"xds":      func() any { return map[string]any{"client_status": "NACKED"} },
	}
}

const sample = `
listeners:
  - {name: shop, address: "127.0.0.1:0", echo: {password: swordfish}}
  - {name: cache, address: "127.0.0.1:0", echo: {}}
clusters:
  - {name: shop-0, echo: {password: swordfish}, limits: {requests: 1, retries: 0}, health: {disabled: true}, endpoints: [{address: "10.0.0.1:3306", zone: a, role: primary}, {address: "db.example:3306", weight: 3}]}
`

type fixture struct {
	*process
	life    *Life
	server  *Server
	drained []Drain
	quits   int
	resumed int
	rejects any
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	language := config.Language{Protocols: []config.Protocol{echo{}}}
	file := filepath.Join(t.TempDir(), "sidewire.yaml")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	model, problems := language.Load(file, config.SystemEnv(file))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	snapshot, problems := language.Compile(model, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	logs, err := telemetry.NewLogs(io.Discard, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{snapshot: snapshot, metrics: telemetry.NewRegistry(), logs: logs, started: time.Now().Add(-90 * time.Second)}
	p.told = telemetry.NewStatements(p.metrics, func() *telemetry.AccessLog { return nil })
	log := logs.Logger("admin")
	logs.Logger("mysql")
	for _, c := range snapshot.Clusters() {
		cl := cluster.New(c, nil, cluster.Deps{Log: log, Rand: func() uint64 { return 0 }})
		t.Cleanup(cl.Close)
		p.clusters = append(p.clusters, cl)
	}
	for _, l := range snapshot.Listeners() {
		socket, err := listener.Bind(l.Address, config.UnixSocket{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		ln, err := listener.New(l.Address, socket, l, handler{}, listener.Deps{Log: log, Metrics: p.metrics, NextID: func() uint64 { return 1 }, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		p.listeners = append(p.listeners, ln)
	}
	f := &fixture{process: p}
	f.life = NewLife(func(d Drain) { f.drained = append(f.drained, d) }, func() { f.resumed++ }, func() { f.quits++ })
	f.server = New(Options{Source: p, Life: f.life, Log: log, Version: "1.2.3", Node: Node{ID: "n", Cluster: "c"}, Rejected: func() any { return f.rejects }})
	return f
}

func (f *fixture) ask(t *testing.T, method, target string, header ...string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func (f *fixture) json(t *testing.T, target string) map[string]any {
	t.Helper()
	code, body := f.ask(t, "GET", target)
	if code != 200 {
		t.Fatalf("%s: %d %s", target, code, body)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return out
}

func TestReadyFollowsTheLife(t *testing.T) {
	f := newFixture(t)
	expect := func(code int, body string) {
		t.Helper()
		if c, b := f.ask(t, "GET", "/ready"); c != code || b != body {
			t.Errorf("%d %q, want %d %q", c, b, code, body)
		}
	}
	expect(503, "INITIALIZING\n")
	f.life.Set(Live)
	expect(200, "LIVE\n")
	if c, b := f.ask(t, "POST", "/healthcheck/fail"); c != 200 || b != "OK\n" {
		t.Errorf("%d %q", c, b)
	}
	expect(503, "DRAINING\n")
	f.ask(t, "POST", "/healthcheck/ok")
	if f.resumed != 1 {
		t.Errorf("a drain was taken back %d times", f.resumed)
	}
	expect(200, "LIVE\n")
	f.life.Set(Draining)
	expect(503, "DRAINING\n")
}

func TestChangesNeedPost(t *testing.T) {
	f := newFixture(t)
	f.life.Set(Live)
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners", "/quitquitquit", "/logging?level=debug"} {
		if code, body := f.ask(t, "GET", path); code != 405 || !strings.Contains(body, "POST") {
			t.Errorf("GET %s: %d %s", path, code, body)
		}
	}
	if f.life.State() != Live || f.drained != nil || f.quits != 0 || f.logs.Levels()["mysql"] != slog.LevelInfo {
		t.Error("a GET changed something")
	}
	if code, _ := f.ask(t, "POST", "/quitquitquit", "Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"); code != 403 || f.quits != 0 {
		t.Errorf("another site's page: %d, %d quits", code, f.quits)
	}
	if code, _ := f.ask(t, "POST", "/quitquitquit"); code != 200 || f.quits != 1 {
		t.Errorf("%d, %d quits", code, f.quits)
	}
	if code, _ := f.ask(t, "DELETE", "/clusters"); code != 405 {
		t.Errorf("DELETE: %d", code)
	}
}

func TestDrainParameters(t *testing.T) {
	f := newFixture(t)
	for target, want := range map[string]Drain{"/drain_listeners": {}, "/drain_listeners?graceful": {Graceful: true}, "/drain_listeners?graceful&skip_exit": {true, true}} {
		f.drained = nil
		if code, body := f.ask(t, "POST", target); code != 200 || len(f.drained) != 1 || f.drained[0] != want {
			t.Errorf("%s: %d %s %v", target, code, body, f.drained)
		}
	}
	f.drained = nil
	for _, target := range []string{"/drain_listeners?skip_exit", "/drain_listeners?gracefully"} {
		if code, _ := f.ask(t, "POST", target); code != 400 || f.drained != nil {
			t.Errorf("%s: %d, %v", target, code, f.drained)
		}
	}
}

func TestToken(t *testing.T) {
	f := newFixture(t)
	f.life.Set(Live)
	f.server.config = config.Admin{Token: config.Plain("s3cret")}
	for _, c := range []struct {
		path, authorization string
		code                int
	}{
		{"/ready", "", 200}, {"/clusters", "", 401}, {"/clusters", "Bearer wrong", 401}, {"/clusters", "s3cret", 401}, {"/clusters", "Bearer s3cret", 200},
		{"/debug/pprof/", "", 401}, {"/metrics", "", 401},
	} {
		if code, _ := f.ask(t, "GET", c.path, "Authorization", c.authorization); code != c.code {
			t.Errorf("%s with %q: %d, want %d", c.path, c.authorization, code, c.code)
		}
	}
}

func TestClusters(t *testing.T) {
	f := newFixture(t)
	_, body := f.ask(t, "GET", "/clusters")
	for _, want := range []string{"shop-0::10.0.0.1:3306::health_flags::healthy\n", "shop-0::10.0.0.1:3306::role::primary\n", "shop-0::10.0.0.1:3306::zone::a\n", "shop-0::db.example:3306::weight::3\n", "shop-0::protocol::echo\n", "shop-0::10.0.0.1:3306::cx_active::0\n", "::cx_total::0\n", "::cx_connect_fail::0\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	status := f.json(t, "/clusters?format=json")["cluster_statuses"].([]any)[0].(map[string]any)
	host := status["host_statuses"].([]any)[1].(map[string]any)
	if status["name"] != "shop-0" || host["hostname"] != "db.example" || host["weight"] != 3.0 ||
		host["address"].(map[string]any)["socket_address"].(map[string]any)["port_value"] != 3306.0 {
		t.Errorf("%v", status)
	}
	if code, _ := f.ask(t, "GET", "/clusters?format=xml"); code != 400 {
		t.Errorf("xml: %d", code)
	}
}

func TestListeners(t *testing.T) {
	f := newFixture(t)
	_, body := f.ask(t, "GET", "/listeners")
	if !regexp.MustCompile(`^shop::127\.0\.0\.1:\d+\ncache::127\.0\.0\.1:\d+\n$`).MatchString(body) {
		t.Errorf("%q", body)
	}
	status := f.json(t, "/listeners?format=json")["listener_statuses"].([]any)[0].(map[string]any)
	if port := status["local_address"].(map[string]any)["socket_address"].(map[string]any)["port_value"].(float64); status["name"] != "shop" || port == 0 {
		t.Errorf("%v", status)
	}
}

func TestConfigDumpMask(t *testing.T) {
	f := newFixture(t)
	configs := f.json(t, "/config_dump?mask=static_listeners.listener.name,static_clusters")["configs"].([]any)
	var listeners, clusters map[string]any
	for _, c := range configs {
		switch c := c.(map[string]any); c["@type"] {
		case "type.googleapis.com/envoy.admin.v3.ListenersConfigDump":
			listeners = c
		case "type.googleapis.com/envoy.admin.v3.ClustersConfigDump":
			clusters = c
		}
	}
	first := listeners["static_listeners"].([]any)[0].(map[string]any)
	if len(first) != 1 || len(first["listener"].(map[string]any)) != 1 || first["listener"].(map[string]any)["name"] == nil {
		t.Errorf("masked listener: %v", first)
	}
	if whole := clusters["static_clusters"].([]any)[0].(map[string]any); whole["version_info"] == nil || len(whole["cluster"].(map[string]any)) < 3 {
		t.Errorf("a whole cluster: %v", whole)
	}
	// Of one list, the mask is of its resources.
	configs = f.json(t, "/config_dump?resource=static_clusters&mask=cluster.name")["configs"].([]any)
	if one := configs[0].(map[string]any)["static_clusters"].([]any)[0].(map[string]any); len(one) != 1 || len(one["cluster"].(map[string]any)) != 1 {
		t.Errorf("masked cluster: %v", one)
	}
	for mask, want := range map[string]string{"a.b,a": "map[a:map[]]", "a,a.b": "map[a:map[]]", "a.b,a.c,d": "map[a:map[b:map[] c:map[]] d:map[]]"} {
		if got, err := parseMask(mask); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s is %v, %v", mask, got, err)
		}
	}
}

func TestInitDump(t *testing.T) {
	f := newFixture(t)
	f.views = map[string]func() any{"xds": func() any {
		return map[string]any{"resources": []any{
			map[string]any{"type": "Secret", "name": "s", "client_status": "REQUESTED"}, map[string]any{"type": "Cluster", "name": "c", "client_status": "ACKED"},
		}, "waiting": map[string]string{"listener l": "secrets s have not come"}}
	}}
	if got, want := fmt.Sprint(f.json(t, "/init_dump")["unready_targets_dumps"]), "[map[name:requested target_names:[Secret s]] map[name:waiting target_names:[listener l: secrets s have not come]]]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	delete(f.views, "xds")
	if got := fmt.Sprint(f.json(t, "/init_dump")["unready_targets_dumps"]); got != "[]" {
		t.Errorf("without a control plane: %s", got)
	}
}

func TestConfigDump(t *testing.T) {
	f := newFixture(t)
	f.rejects = map[string]any{"problems": []string{"listeners[0].address: bad"}}
	_, body := f.ask(t, "GET", "/config_dump?include_eds")
	if strings.Contains(body, "swordfish") {
		t.Fatal("a secret is in the dump")
	}
	for _, want := range []string{"[redacted]", "envoy.admin.v3.ListenersConfigDump", "envoy.admin.v3.ClustersConfigDump", "envoy.admin.v3.EndpointsConfigDump", "listeners[0].address: bad", `"version_info"`, "NACKED"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	configs := f.json(t, "/config_dump?resource=static_listeners&name_regex=^ca")["configs"].([]any)
	if len(configs) != 1 || len(configs[0].(map[string]any)["static_listeners"].([]any)) != 1 {
		t.Errorf("%v", configs)
	}
	for target, code := range map[string]int{"/config_dump?mask=a..b": 400, "/config_dump?name_regex=(": 400, "/config_dump?resource=routes": 404} {
		if got, body := f.ask(t, "GET", target); got != code {
			t.Errorf("%s: %d %s", target, got, body)
		}
	}
	f.snapshot.Listener("cache").Origin = config.Origin{Source: "xds", Version: "7"}
	configs = f.json(t, "/config_dump?resource=dynamic_listeners")["configs"].([]any)
	if all := configs[0].(map[string]any)["dynamic_listeners"].([]any); len(all) != 1 || all[0].(map[string]any)["active_state"].(map[string]any)["version_info"] != "7" {
		t.Errorf("%v", configs)
	}
	f.snapshot = nil
	if code, body := f.ask(t, "GET", "/config_dump"); code != 200 {
		t.Errorf("before the first configuration: %d %s", code, body)
	}
}

func TestStats(t *testing.T) {
	f := newFixture(t)
	c := f.metrics.Counter("sidewire_test_total", "Test.")
	c.Add(5)
	f.metrics.Stat("mysql.shop.queries_parsed", c)
	f.metrics.Stat("mysql.shop.decoder_errors", &telemetry.Gauge{})
	if shop := f.clusters[0]; shop.Take(cluster.Requests) != nil || shop.Take(cluster.Requests) == nil || shop.Take(cluster.Pending) != nil {
		t.Fatal("limits are not those of the file")
	}
	_, body := f.ask(t, "GET", "/stats")
	for _, want := range []string{"cluster.shop-0.upstream_rq_overflow: 1\n", "cluster.shop-0.circuit_breakers.default.rq_open: 1\n", "cluster.shop-0.circuit_breakers.default.remaining_rq: 0\n",
		"cluster.shop-0.circuit_breakers.default.rq_retry_open: 1\n", "cluster.shop-0.upstream_rq_pending_active: 1\n", "cluster.shop-0.circuit_breakers.default.rq_pending_open: 0\n",
		"mysql.shop.queries_parsed: 5\n", "mysql.shop.decoder_errors: 0\n", "cluster.shop-0.membership_total: 2\n", "server.uptime: 90\n"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	// what istio-agent asks to learn whether it may exit
	if _, body = f.ask(t, "GET", "/stats?usedonly&filter=downstream_cx_active$"); body != "" {
		t.Errorf("unused stats are shown: %s", body)
	}
	if _, body = f.ask(t, "GET", "/stats?filter=downstream_cx_active$"); strings.Count(body, "\n") != 2 || !strings.HasPrefix(body, "listener.127.0.0.1_") {
		t.Errorf("%s", body)
	}
	if got := f.json(t, "/stats?format=json&filter=queries")["stats"].([]any); len(got) != 1 || got[0].(map[string]any)["value"] != 5.0 {
		t.Errorf("%v", got)
	}
	for _, target := range []string{"/stats?format=prometheus", "/stats/prometheus", "/metrics"} {
		if _, body = f.ask(t, "GET", target); !strings.Contains(body, "sidewire_test_total 5\n") {
			t.Errorf("%s lacks the counter", target)
		}
	}
	if code, _ := f.ask(t, "GET", "/stats?filter=("); code != 400 {
		t.Errorf("a broken filter: %d", code)
	}
}

func TestLogging(t *testing.T) {
	f := newFixture(t)
	if _, body := f.ask(t, "GET", "/logging"); body != "active loggers:\n  admin: info\n  mysql: info\n" {
		t.Errorf("%q", body)
	}
	for _, c := range []struct {
		target string
		code   int
		mysql  slog.Level
		admin  slog.Level
	}{
		{"/logging?mysql=debug", 200, slog.LevelDebug, slog.LevelInfo},
		{"/logging?level=warning", 200, slog.LevelWarn, slog.LevelWarn},
		{"/logging?paths=mysql:error,admin:info", 200, slog.LevelError, slog.LevelInfo},
		{"/logging?mysql=loud", 400, slog.LevelError, slog.LevelInfo},
		{"/logging?level=debug&nobody=info", 400, slog.LevelError, slog.LevelInfo},
		{"/logging?paths=mysql", 400, slog.LevelError, slog.LevelInfo},
	} {
		code, body := f.ask(t, "POST", c.target)
		if levels := f.logs.Levels(); code != c.code || levels["mysql"] != c.mysql || levels["admin"] != c.admin {
			t.Errorf("%s: %d %s, levels %v", c.target, code, body, levels)
		}
	}
}

func TestServerInfoViewsHelpAndProfiles(t *testing.T) {
	f := newFixture(t)
	info := f.json(t, "/server_info")
	if info["version"] != "1.2.3" || info["uptime_current_epoch"] != "90s" || info["state"] != "INITIALIZING" || info["node"].(map[string]any)["id"] != "n" {
		t.Errorf("%v", info)
	}
	if _, body := f.ask(t, "GET", "/views/sessions"); !strings.Contains(body, `"one"`) {
		t.Errorf("%s", body)
	}
	if code, _ := f.ask(t, "GET", "/views/pins"); code != 404 {
		t.Errorf("a view that is not there: %d", code)
	}
	for _, c := range []struct {
		method, target string
		code           int
		body           string
	}{{"POST", "/actions/echo/shout?word=hi", 200, `"HI"`}, {"POST", "/actions/echo/shout", 409, "no word"}, {"GET", "/actions/echo/shout?word=hi", 405, "use POST"},
		{"POST", "/actions/echo", 404, "/actions lists them"}, {"GET", "/actions", 200, `"echo/shout"`}} {
		if code, body := f.ask(t, c.method, c.target); code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s %s: %d %s", c.method, c.target, code, body)
		}
	}
	if _, body := f.ask(t, "GET", "/help"); !strings.Contains(body, "/quitquitquit (POST)") {
		t.Errorf("%s", body)
	}
	if code, _ := f.ask(t, "GET", "/debug/pprof/"); code != 404 {
		t.Errorf("profiles are served unasked: %d", code)
	}
	f.server.config.Profiling = true
	if code, body := f.ask(t, "GET", "/debug/pprof/"); code != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("profiles: %d", code)
	}
	if got := f.json(t, "/certs"); len(got["certificates"].([]any)) != 0 {
		t.Errorf("%v", got)
	}
}

func TestApplyBindsMovesAndEnds(t *testing.T) {
	f := newFixture(t)
	f.life.Set(Live)
	get := func(at string, host string) (int, error) {
		req, err := http.NewRequest("GET", "http://"+at+"/ready", nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	if err := f.server.Apply(config.Admin{Address: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	first := f.server.Addr().String()
	if code, err := get(first, ""); code != 200 {
		t.Fatalf("%d, %v", code, err)
	}
	if code, err := get(first, "rebound.example:9901"); code != 403 {
		t.Errorf("a foreign name for this machine: %d, %v", code, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := f.server.Apply(config.Admin{Address: taken.Addr().String()}); err == nil {
		t.Error("a port in use was taken")
	}
	if code, err := get(first, ""); code != 200 {
		t.Errorf("after a failed move: %d, %v", code, err)
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	if err := f.server.Apply(config.Admin{Address: "unix:" + path}); err != nil {
		t.Fatal(err)
	}
	if _, err := get(first, ""); err == nil {
		t.Error("the old address is still served")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /ready HTTP/1.0\r\n\r\n")
	if answer, err := io.ReadAll(conn); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.0 200 OK")) {
		t.Errorf("%q, %v", answer, err)
	}
	f.server.Close(context.Background())
	if f.server.Addr() != nil {
		t.Error("bound after the end")
	}
}
