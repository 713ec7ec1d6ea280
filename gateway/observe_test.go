package gateway_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/certify"
)

// Telemetry goes on over TLS when the collector's certificate and the file with its authority are replaced.
func TestTelemetryFollowsItsAuthority(t *testing.T) {
	dir := t.TempDir()
	pair := func(a *certify.Authority) *tls.Certificate {
		a.CA(dir)
		cert, key := a.Issue(t.TempDir(), "collector")
		p, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return &p
	}
	var now atomic.Pointer[tls.Certificate]
	now.Store(pair(certify.New(t)))
	var sent atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v1/metrics" {
			sent.Add(1)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*now.Load()}, SessionTicketsDisabled: true}, nil // a resumed session checks no certificate
	}}
	s.StartTLS()
	t.Cleanup(s.Close)

	g := start(t)
	file := filepath.Join(dir, "sidewire.yaml")
	text := fmt.Sprintf(`
admin: {address: ""}
listeners: [{name: a, address: "127.0.0.1:0", tcp: {cluster: c}}]
clusters: [{name: c, tcp: {}, health: {disabled: true}, endpoints: ["127.0.0.1:1"]}]
telemetry: {otlp: {endpoint: %q, protocol: http, interval: 20ms, timeout: 5s, traces: false, tls: {ca: ca.pem}}}
`, s.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	arrives := func(when string) {
		t.Helper()
		before := sent.Load()
		for limit := time.Now().Add(30 * time.Second); sent.Load() == before; {
			if time.Now().After(limit) {
				t.Fatalf("nothing arrives %s", when)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	load := func() {
		t.Helper()
		if problems := g.LoadFile(file); len(problems) > 0 {
			t.Fatal(problems)
		}
	}
	load()
	arrives("at first")
	now.Store(pair(certify.New(t)))
	s.CloseClientConnections()
	load()
	arrives("with another authority")
	s.CloseClientConnections() // what was under way may have been let in before: from here on everything is new
	arrives("on a new connection")
}
