package gateway_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sidewire/sidewire/gateway"
)

func scrape(t *testing.T, g *gateway.Gateway) string {
	t.Helper()
	w := httptest.NewRecorder()
	g.Metrics().Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("/metrics answers %d:\n%s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetricsFollowTheEndpoints(t *testing.T) {
	one, two := echoServer(t, "one"), echoServer(t, "two")
	g := start(t)
	mustApply(t, g, relay(one))
	line := func(address string) string {
		return `sidewire_endpoint_healthy{cluster="c",endpoint="` + address + `"} 1`
	}
	if got := scrape(t, g); !strings.Contains(got, line(one)) {
		t.Fatalf("%s is not in\n%s", line(one), got)
	}
	mustApply(t, g, relay(two))
	if got := scrape(t, g); strings.Contains(got, one) || !strings.Contains(got, line(two)) {
		t.Fatalf("the metrics did not follow:\n%s", got)
	}
	mustApply(t, g, relay(one))
	if got := scrape(t, g); !strings.Contains(got, line(one)) || strings.Contains(got, two) {
		t.Fatalf("the metrics did not come back:\n%s", got)
	}
}

func TestMetricOfARejectedConfiguration(t *testing.T) {
	g := start(t)
	mustApply(t, g, relay(echoServer(t, "one")))
	if got := scrape(t, g); !strings.Contains(got, "\nsidewire_config_rejected 0\n") {
		t.Fatal(got)
	}
	g.LoadFile("nowhere.yaml")
	if got := scrape(t, g); !strings.Contains(got, "\nsidewire_config_rejected 1\n") || !strings.Contains(got, "\nsidewire_config_rejected_total 1\n") {
		t.Fatal(got)
	}
}
