package admin

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

func TestPageIsSelfContained(t *testing.T) {
	f := newFixture(t)
	f.server.config = config.Admin{Token: config.Plain("secret")}
	elsewhere := regexp.MustCompile(`(?i)(src|href|url|import|fetch)\s*[=(]\s*["']?(https?:)?//`)
	for target, kind := range map[string]string{"/": "text/html", "/assets/page.css": "text/css", "/assets/page.js": "text/javascript"} {
		w := httptest.NewRecorder()
		f.server.Handler().ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d %s", target, w.Code, w.Header().Get("Content-Type"))
		}
		if !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s has no policy", target)
		}
		if at := elsewhere.FindString(w.Body.String()); at != "" {
			t.Errorf("%s refers to somewhere else: %s", target, at)
		}
		if strings.Contains(w.Body.String(), "innerHTML") {
			t.Errorf("%s writes HTML from data", target)
		}
	}
	w := httptest.NewRecorder()
	f.server.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/live", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("/live without the token: %d", w.Code)
	}
	w = httptest.NewRecorder()
	f.server.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/nothing", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("/nothing: %d", w.Code)
	}
}

func TestLive(t *testing.T) {
	f := newFixture(t)
	for _, list := range []string{"databases", "traffic", "pins", "slow", "digests"} {
		if empty, ok := f.json(t, "/live")[list].([]any); !ok || len(empty) != 0 {
			t.Errorf("%s of nothing is %v", list, empty)
		}
	}
	f.rejects = map[string]any{"problems": []string{"listeners[0]: bad"}}
	f.metrics.Counter("sidewire_mysql_pins_total", "Pins.", "listener", "shop", "reason", "set").Add(3)
	f.metrics.Gauge("sidewire_mysql_pinned_sessions", "Pinned.", "listener", "shop").Set(2)
	f.metrics.Counter("sidewire_tcp_received_bytes_total", "Bytes.", "listener", "cache").Add(500)
	f.told.Source("redis", func() []telemetry.DigestView {
		return []telemetry.DigestView{{Cluster: "kv", Protocol: "redis", Text: "GET", Count: 7, Errors: 1, Total: 0.5}}
	})
	r := f.told.Recorder("shop", "mysql", func(text string, _ uint8) (string, string) { return text, text })
	for range 4 {
		st := telemetry.Statement{System: "mysql", Start: time.Now(), Duration: 300 * time.Millisecond, Digest: 9, Text: "select", Code: "1"}
		r.Record(&st, client{})
	}
	got := f.json(t, "/live")
	if n := len(got["listeners"].([]any)); n != 2 {
		t.Errorf("%d listeners", n)
	}
	cluster := got["clusters"].([]any)[0].(map[string]any)
	endpoint := cluster["endpoints"].([]any)[0].(map[string]any)
	if cluster["name"] != "shop-0" || endpoint["address"] != "10.0.0.1:3306" || endpoint["zone"] != "a" || endpoint["healthy"] != true || endpoint["lag_seconds"] != nil {
		t.Errorf("%v", cluster)
	}
	traffic := map[string]map[string]any{}
	for _, item := range got["traffic"].([]any) {
		m := item.(map[string]any)
		name, _ := m["listener"].(string)
		if c, ok := m["cluster"].(string); ok {
			name = "cluster " + c
		}
		traffic[name] = m
	}
	if s := traffic["shop"]; s["count"] != 4.0 || s["errors"] != 4.0 || traffic["cache"]["bytes"] != 500.0 || traffic["cluster kv"]["count"] != 7.0 {
		t.Errorf("%v", traffic)
	}
	if pins := got["pins"].([]any); len(pins) != 2 || pins[0].(map[string]any)["count"] != 2.0 || pins[1].(map[string]any)["reason"] != "set" {
		t.Errorf("%v", got["pins"])
	}
	if len(got["slow"].([]any)) != 4 || len(got["digests"].([]any)) != 2 || got["rejected"] == nil {
		t.Errorf("%v", got)
	}
}

func TestReferences(t *testing.T) {
	block := map[string]any{"cluster": "a", "databases": []any{"shop"}, "routes": []any{map[string]any{"prefix": "x", "cluster": "b"}}, "mirror": map[string]any{"cluster": ""}}
	if got := strings.Join(sorted(references(nil, block)), " "); got != "a b shop" {
		t.Errorf("%q", got)
	}
}
