package live

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// A hundred reloads under load drop no connection and fail no statement; every one of them is taken.
func TestReloadsUnderLoad(t *testing.T) {
	w := begin(t)
	tr := w.steady(t)
	tr.await(t, 20)
	for n := range 100 {
		// Limits change on every listener, a listener and a cluster come and go, an endpoint's weight moves.
		config := strings.ReplaceAll(w.config, "tcp: {cluster: relay}}", fmt.Sprintf("limits: {connections: %d}, tcp: {cluster: relay}}", 1000+n))
		config = strings.ReplaceAll(config, "mysql: {users:", fmt.Sprintf("limits: {connections: %d}, mysql: {users:", 1000+n))
		if n%2 == 1 {
			config += fmt.Sprintf("  - {name: extra, tcp: {}, connect_timeout: %ds, endpoints: [%q]}\n", n, w.kv[0].Addr)
		}
		if err := w.side.Write(config); err != nil {
			t.Fatal(err)
		}
		if err := w.side.Reload(); err != nil {
			t.Fatal(err)
		}
		if err := w.side.Await(deadline(t, 10*time.Second), "/config_dump", fmt.Sprint(1000+n)); err != nil {
			t.Fatal(err)
		}
		tr.await(t, 1)
	}
}

// A broken file is refused as a whole and the one in force stays; the admin interface shows what was wrong.
func TestBrokenReload(t *testing.T) {
	w := begin(t)
	tr := w.steady(t)
	tr.await(t, 5)
	if err := w.side.Write(w.config + "  - {name: broken, tcp: {}, endpoint: [x]}\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.side.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := w.side.Await(deadline(t, 10*time.Second), "/config_dump", "clusters[4].endpoint"); err != nil {
		t.Error(err)
	}
	tr.await(t, 5)
}

// A start that cannot succeed ends with exit code 1 and says what is wrong and where.
func TestStartThatFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	fleet, err := servers.Shared()
	if err != nil {
		t.Fatal(err)
	}
	const relay = "listeners: [{name: l, address: %q, tcp: {cluster: c}}]\nclusters: [{name: c, tcp: {}, endpoints: [\"127.0.0.1:1\"]}]\n"
	for _, c := range []struct {
		name, config string
		want         []string
	}{
		{"port in use", fmt.Sprintf(relay, taken.Addr()), []string{taken.Addr().String(), "in use"}},
		{"unknown cluster", strings.Replace(fmt.Sprintf(relay, "127.0.0.1:0"), "cluster: c}", "cluster: d}", 1), []string{"listeners[0].tcp.cluster", `"d"`}},
		{"no YAML", "listeners: [", []string{"line"}},
		{"missing secret", "listeners: [{name: l, address: \"127.0.0.1:0\", mysql: {users: [{name: a, password: {file: /nowhere/password}}], cluster: c}}]\n" +
			"clusters: [{name: c, mysql: {user: a}, endpoints: [\"127.0.0.1:1\"]}]\n", []string{"users[0].password", "/nowhere/password"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := fleet.Sidewire(deadline(t, 30*time.Second), c.config)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range append(c.want, "exit code 1") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

// SIGTERM ends the process with exit code 0 while clients are connected, and closes its listeners first.
func TestTerminate(t *testing.T) {
	w := begin(t)
	db := w.open(t, "")
	if err := db.PingContext(deadline(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, w.cache)
	began := time.Now()
	status, err := w.side.Terminate(deadline(t, 60*time.Second))
	if err != nil || status != "exit code 0" {
		t.Errorf("%s, %v", status, err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("idle clients held it for %v", took)
	}
	if n, err := conn.Read(make([]byte, 64)); err == nil && n == 0 || os.IsTimeout(err) {
		t.Errorf("an idle client was left hanging: %v", err)
	}
	if _, err := net.DialTimeout("tcp", w.sql, time.Second); err == nil {
		t.Error("it still listens")
	}
}
