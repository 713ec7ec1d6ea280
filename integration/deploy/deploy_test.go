package deploy

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/kafka"
	"github.com/sidewire/sidewire/gateway/mysql"
	"github.com/sidewire/sidewire/gateway/tcp"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// promtool runs Prometheus's own checker; CI fails without it.
func promtool(t *testing.T, input []byte, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("promtool is not installed: make servers")
		}
		t.Skip("promtool is not installed: make servers")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("promtool %v: %v\n%s", args, err, out)
	}
}

func TestAlertRulesAreValid(t *testing.T) {
	promtool(t, nil, "check", "rules", "../../deploy/prometheus/alerts.yaml")
}

// Every protocol's metrics exist as soon as its listener and cluster do; no server has to answer for it.
func TestMetricsAreCleanForPromtool(t *testing.T) {
	logs, err := telemetry.NewLogs(bytes.NewBuffer(nil), "text", slog.LevelError)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(logs, tcp.Protocol(), mysql.Protocol(), kafka.Protocol())
	n, _ := config.Parse([]byte(`
listeners:
  - {name: a, address: "127.0.0.1:0", tcp: {cluster: a}}
  - {name: b, address: "127.0.0.1:0", mysql: {cluster: b, users: [{name: u, password: p}]}}
  - {name: c, address: "127.0.0.1:0", kafka: {cluster: c, brokers: {ports: 29192-29201}}}
clusters:
  - {name: a, tcp: {}, endpoints: ["127.0.0.1:1"]}
  - {name: b, mysql: {user: u, password: p}, endpoints: ["127.0.0.1:1"]}
  - {name: c, kafka: {}, endpoints: ["127.0.0.1:1"]}
drain: {timeout: 0}
`))
	m, problems := g.Language().DecodeModel(n, config.Origin{}, &config.Env{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, problems := g.Language().Compile(m, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if problems := g.Apply(s); len(problems) > 0 {
		t.Fatal(problems)
	}
	defer g.Close(t.Context())
	w := httptest.NewRecorder()
	g.Metrics().Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	promtool(t, w.Body.Bytes(), "check", "metrics")
}
