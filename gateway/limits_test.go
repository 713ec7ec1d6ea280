package gateway_test

import (
	"strings"
	"testing"

	"github.com/sidewire/sidewire/gateway/cluster"
)

// What a cluster's limits refuse is closed at layer 4, and counted; a limit that a reload widens lets in at once, those that are in stay.
func TestClusterLimitClosesWhatIsMore(t *testing.T) {
	server := echoServer(t, "one")
	g := start(t)
	limited := func(limits string) {
		t.Helper()
		mustApply(t, g, strings.Replace(relay(server), "tcp: {}", "tcp: {}, health: {disabled: true}, limits: {"+limits+"}", 1))
	}
	limited("total_connections: 1, pending: 1")
	address := g.Listener("a").Addr().String()
	first := dial(t, address)
	first.want(t, "x", "one x")
	if answer, err := dial(t, address).ask("x"); err == nil {
		t.Fatalf("beyond the limit: %q", answer)
	}
	if now, refused := g.Cluster("c").Burden(cluster.Connections); now != 1 || refused != 1 {
		t.Errorf("%d connections, %d refused", now, refused)
	}
	limited("total_connections: 2")
	dial(t, address).want(t, "y", "one y")
	first.want(t, "x", "one x")
}
