package tcp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/sidewire/sidewire/gateway/config"
)

// chainsOf reads chains as "name: server names; transport; protocols; sources".
func chainsOf(t *testing.T, lines ...string) []Chain {
	t.Helper()
	var out []Chain
	for _, line := range lines {
		name, rest, _ := strings.Cut(line, ":")
		parts := append(strings.Split(rest, ";"), "", "", "", "")
		c := Chain{Name: name, Match: Match{Names: strings.Fields(parts[0]), Transport: strings.TrimSpace(parts[1]), Protocols: strings.Fields(parts[2])}, Target: Target{Cluster: "c"}}
		for _, s := range strings.Fields(parts[3]) {
			c.Match.Sources = append(c.Match.Sources, config.Network{Prefix: netip.MustParsePrefix(s)})
		}
		out = append(out, c)
	}
	return out
}

func TestFind(t *testing.T) {
	chains := chainsOf(t,
		"exact: www.example.com",
		"wild: *.example.com",
		"com: *.COM a.org",
		"h2: alpn.org; tls; h2",
		"other: alpn.org; tls; http/1.1 x",
		"none: alpn.org; tls",
		"plain: ; raw_buffer",
		"near: ; raw_buffer; ; 10.1.0.0/16 fd00::/8",
		"far: ; raw_buffer; ; 10.0.0.0/8",
		"shadow: inner.example.net; tls; h2",
		"net: *.example.net; tls",
	)
	tls := func(name string, protocols ...string) hello { return hello{true, name, protocols} }
	for _, c := range []struct {
		hello  hello
		source string
		want   string
	}{
		{tls("www.example.com"), "1.2.3.4", "exact"},
		{tls("WWW.Example.com"), "1.2.3.4", "exact"},
		{tls("a.example.com"), "1.2.3.4", "wild"},
		{tls("b.a.example.com"), "1.2.3.4", "wild"},
		{tls("example.com"), "1.2.3.4", "com"}, // not below itself
		{tls("a.org"), "1.2.3.4", "com"},
		{tls("b.org"), "1.2.3.4", "default"},
		{tls(""), "1.2.3.4", "default"},
		{tls("com"), "1.2.3.4", "default"},
		{tls(".example.com"), "1.2.3.4", "com"},
		{tls("alpn.org", "h2", "http/1.1"), "1.2.3.4", "h2"},
		{tls("alpn.org", "x", "h2"), "1.2.3.4", "other"}, // the client's order counts
		{tls("alpn.org", "y"), "1.2.3.4", "none"},
		{tls("alpn.org"), "1.2.3.4", "none"},
		{tls("inner.example.net"), "1.2.3.4", "default"}, // no way back to *.example.net
		{tls("x.example.net"), "1.2.3.4", "net"},
		{hello{}, "1.2.3.4", "plain"},
		{hello{}, "10.1.2.3", "near"},
		{hello{}, "fd00::1", "near"},
		{hello{}, "10.2.2.3", "far"},
		{hello{}, "", "plain"}, // a unix socket
	} {
		r, err := newRoutes(&ListenerBlock{Chains: chains, Default: &Chain{Name: "default"}})
		if err != nil {
			t.Fatal(err)
		}
		source, _ := netip.ParseAddr(c.source)
		if got := r.find(c.hello, source); got.Name != c.want {
			t.Errorf("%+v from %q: %s, want %s", c.hello, c.source, got.Name, c.want)
		}
	}
	r, _ := newRoutes(&ListenerBlock{Chains: chainsOf(t, "only: a")})
	if c := r.find(tls("b"), netip.Addr{}); c != nil {
		t.Errorf("found %s without a default chain", c.Name)
	}
}

func TestCheckChains(t *testing.T) {
	m := &config.Model{Clusters: []*config.Cluster{{Name: "c", Protocol: name}}}
	for _, c := range []struct {
		lines []string
		edit  func(*config.Listener, *ListenerBlock)
		want  string
	}{
		{lines: []string{"a: x; tls; h2; 10.0.0.0/8", "b: x; tls; h2; 10.0.0.0/9", "c: x; tls; ; 10.0.0.0/8", "d: x; ; h2; 10.0.0.0/8", "e: ; tls; h2; 10.0.0.0/8"}},
		{lines: []string{"a: x y; tls", "b: y z; tls"}, want: "tcp.chains[1].match: is the same as that of chains[0] for some connections; one of them would never be chosen"},
		{lines: []string{"a: x", "b: X"}, want: "tcp.chains[1].match: is the same as that of chains[0] for some connections; one of them would never be chosen"},
		{lines: []string{"a:", "b:"}, want: "tcp.chains[1].match: is the same as that of chains[0] for some connections; one of them would never be chosen"},
		{lines: []string{"a: *x.com"}, want: `tcp.chains[0].match.server_names[0]: "*x.com" is neither a name nor *.NAME`},
		{lines: []string{"a: *."}, want: `tcp.chains[0].match.server_names[0]: "*." is neither a name nor *.NAME`},
		{lines: []string{"a: .com"}, want: `tcp.chains[0].match.server_names[0]: ".com" is neither a name nor *.NAME`},
		{lines: []string{"a: x"}, edit: func(_ *config.Listener, b *ListenerBlock) { b.Cluster = "c" }, want: "tcp.chains: cannot stand beside cluster, clusters, hash and idle_timeout, which every chain has itself"},
		{lines: []string{"a: x"}, edit: func(_ *config.Listener, b *ListenerBlock) { b.Hash = "random" }, want: "tcp.chains: cannot stand beside cluster, clusters, hash and idle_timeout, which every chain has itself"},
		{lines: []string{"a: x"}, edit: func(l *config.Listener, _ *ListenerBlock) { l.TLS = &config.ServerTLS{} }, want: "tcp.chains: cannot stand beside the listener's tls; every chain has its own"},
		{lines: []string{"a: x"}, edit: func(_ *config.Listener, b *ListenerBlock) { b.Inspect = 0 }, want: "tcp.inspect_timeout: must be more than 0"},
		{lines: []string{"a: x"}, edit: func(_ *config.Listener, b *ListenerBlock) { b.Chains[0].Cluster = "" }, want: "tcp.chains[0].cluster: is missing"},
		{lines: []string{"a: x"}, edit: func(_ *config.Listener, b *ListenerBlock) { b.Default = &chainsOf(t, "d: x")[0] }, want: "tcp.default_chain.match: has no meaning: the default chain takes what is left"},
		{edit: func(_ *config.Listener, b *ListenerBlock) {
			b.Cluster, b.Default = "c", &chainsOf(t, "d:")[0]
		}, want: "tcp.default_chain: needs chains"},
	} {
		b := protocol{}.ListenerBlock().(*ListenerBlock)
		b.Chains = chainsOf(t, c.lines...)
		l := &config.Listener{Block: b}
		if c.edit != nil {
			c.edit(l, b)
		}
		got := ""
		for _, p := range (protocol{}).CheckListener(m, l, "tcp") {
			got += fmt.Sprint(p)
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.lines, got, c.want)
		}
	}
}
