package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/certify"
	"github.com/sidewire/sidewire/gateway/config"
)

// Two chains end TLS with certificates of their own, a third passes it on to a server that has one, and what begins in plain
// words goes to the default chain, or nowhere once there is none.
func TestChainsOfOneSocket(t *testing.T) {
	a := certify.New(t)
	dir := t.TempDir()
	chain := func(name string) string {
		cert, key := a.Issue(dir, name, name+".example.com")
		return fmt.Sprintf("{name: %s, match: {server_names: [%s.example.com]}, cluster: %s, tls: {cert: %q, key: %q}}", name, name, name, content(t, cert), content(t, key))
	}
	text := fmt.Sprintf(`
admin: {address: ""}
listeners:
- name: front
  address: "127.0.0.1:0"
  tcp:
    chains: [%s, %s, {name: passed, match: {server_names: ["*.passed.com"], transport_protocol: tls, application_protocols: [wanted]}, cluster: passed}]
    %%s
clusters:
- {name: one, tcp: {}, health: {disabled: true}, endpoints: [%q]}
- {name: two, tcp: {}, health: {disabled: true}, endpoints: [%q]}
- {name: passed, tcp: {}, health: {disabled: true}, endpoints: [%q]}
- {name: rest, tcp: {}, health: {disabled: true}, endpoints: [%q]}
`, chain("one"), chain("two"), echoServer(t, "first"), echoServer(t, "second"), secureEcho(t, a, dir), echoServer(t, "plain"))
	g := start(t)
	mustApply(t, g, fmt.Sprintf(text, "default_chain: {cluster: rest}"))
	address := g.Listener("front").Addr().String()

	for _, c := range []struct{ name, protocol, certificate, says string }{
		{"one.example.com", "", "one.example.com", "first hello"},
		{"two.example.com", "", "two.example.com", "second hello"},
		{"ONE.example.com", "", "one.example.com", "first hello"},
		{"a.b.passed.com", "wanted", "a.b.passed.com", "behind hello"},
	} {
		secure, err := overTLS(t, address, a.Pool(), c.name, c.protocol)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		leaf := secure.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
		if said, err := secure.ask("hello"); said != c.says || leaf.VerifyHostname(c.certificate) != nil {
			t.Errorf("%s: %q, %v, certificate of %v", c.name, said, err, leaf.DNSNames)
		}
	}
	plain := dial(t, address)
	if said, err := plain.ask("hello"); said != "plain hello" {
		t.Errorf("without TLS: %q, %v", said, err)
	}

	mustApply(t, g, fmt.Sprintf(text, "inspect_timeout: 50ms"))
	if said, err := plain.ask("still"); said != "plain still" {
		t.Errorf("a connection of the default chain that is gone: %q, %v", said, err)
	}
	for _, c := range []struct{ name, protocol string }{{"three.example.com", ""}, {"a.passed.com", "unwanted"}, {"a.passed.com", ""}} {
		if _, err := overTLS(t, address, a.Pool(), c.name, c.protocol); err == nil {
			t.Errorf("%s: served without a chain", c.name)
		}
	}
	if said, err := dial(t, address).ask("hello"); err == nil {
		t.Errorf("without a chain: %q", said)
	}
	counted(t, g, "sidewire_tcp_unmatched_total", 4)
	silent := dial(t, address)
	if _, err := silent.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a client that says nothing: %v", err)
	}
	counted(t, g, "sidewire_tcp_uninspected_total", 1)
}

// The same as Envoy says it, from its bootstrap file.
func TestChainsOfEnvoy(t *testing.T) {
	a := certify.New(t)
	dir := t.TempDir()
	filter := func(cluster string) string {
		return fmt.Sprintf(`[{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: %s}}]`, cluster)
	}
	text := `
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    listener_filters: [{name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]
    default_filter_chain: {filters: ` + filter("rest") + `}
    filter_chains:`
	clusters := "\n  clusters:"
	for _, name := range []string{"one", "two", "rest"} {
		_, port, err := net.SplitHostPort(echoServer(t, "server "+name))
		if err != nil {
			t.Fatal(err)
		}
		clusters += fmt.Sprintf(`
  - name: %s
    load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]}`, name, name, port)
		if name == "rest" {
			continue
		}
		cert, key := a.Issue(dir, name, name+".example.com")
		text += fmt.Sprintf(`
    - filter_chain_match: {server_names: [%s.example.com]}
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: {tls_certificates: [{certificate_chain: {filename: %q}, private_key: {filename: %q}}]}
      filters: %s`, name, cert, key, filter(name))
	}
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, []byte(text+clusters+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := start(t)
	if problems := g.LoadFile(file); len(problems) > 0 {
		t.Fatal(config.Problems(problems))
	}
	for limit := time.Now().Add(2 * patience); g.Listener("front") == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the listener is not there")
		}
	}
	address := g.Listener("front").Addr().String()
	for _, name := range []string{"one", "two"} {
		secure, err := overTLS(t, address, a.Pool(), name+".example.com", "")
		if err != nil {
			t.Fatal(err)
		}
		if said, err := secure.ask("hello"); said != "server "+name+" hello" {
			t.Errorf("%s: %q, %v", name, said, err)
		}
	}
	if said, err := dial(t, address).ask("hello"); said != "server rest hello" {
		t.Errorf("without TLS: %q, %v", said, err)
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// overTLS begins TLS with a server name and, unless it is empty, a protocol.
func overTLS(t *testing.T, address string, trust *x509.CertPool, name, protocol string) (*client, error) {
	t.Helper()
	cfg := &tls.Config{ServerName: name, RootCAs: trust}
	if protocol != "" {
		cfg.NextProtos = []string{protocol}
	}
	over := tls.Client(dial(t, address).Conn, cfg)
	return &client{over, bufio.NewReader(over)}, over.Handshake()
}

// secureEcho is an echo server behind TLS of its own.
func secureEcho(t *testing.T, a *certify.Authority, dir string) string {
	t.Helper()
	cert, key := a.Issue(dir, "behind", "a.b.passed.com")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveEcho(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"wanted"}}), "behind")
}

// counted waits until a counter of the listener front has a value: it is counted before the connection closes, but read elsewhere.
func counted(t *testing.T, g *gateway.Gateway, counter string, want int) {
	t.Helper()
	line := fmt.Sprintf("\n%s{listener=\"front\"} %d\n", counter, want)
	have := scrape(t, g)
	for limit := time.Now().Add(2 * patience); !strings.Contains(have, line); have = scrape(t, g) {
		if time.Now().After(limit) {
			t.Fatalf("want%shave\n%s", line, have)
		}
		time.Sleep(time.Millisecond)
	}
}
