package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/sidewire/sidewire/integration/servers"
)

// Names of the ways, as tables show them.
const (
	direct    = "direct"
	haproxy   = "HAProxy"
	twemproxy = "twemproxy"
	relay     = subject + " tcp"
)

// cpuOver is the budget of at most so much of a peer's CPU time.
func cpuOver(peer string, limit float64) []budget { return []budget{{peer: peer, limit: limit}} }

// layer4 lists what every suite has: no proxy, HAProxy, and sidewire's bare relay.
func layer4(ctx context.Context, fleet *servers.Fleet, r *report, target string) ([]contender, error) {
	list := []contender{{name: direct, addr: target}}
	h, err := fleet.HAProxy(ctx, []string{target})
	if err != nil {
		return nil, err
	}
	list = append(list, contender{name: haproxy, addr: h.Addrs[0], proxy: h.Process})
	return appendSidewire(ctx, fleet, r, list, relay, fmt.Sprintf(`
listeners: [{name: l, address: "LISTEN", tcp: {cluster: c}}]
clusters: [{name: c, tcp: {}, endpoints: [%q]}]
`, target))
}

// appendSidewire starts the binary with a configuration in which LISTEN stands for the address clients connect to. A
// configuration that it does not take is a row left out, said so in the report; anything else is an error.
func appendSidewire(ctx context.Context, fleet *servers.Fleet, r *report, list []contender, name, config string) ([]contender, error) {
	port, err := fleet.Port()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	s, err := fleet.Sidewire(ctx, strings.ReplaceAll(config, "LISTEN", addr))
	if err != nil {
		r.note("%s: %s", name, strings.ReplaceAll(err.Error(), "\n", "; "))
		return list, nil
	}
	return append(list, contender{name: name, addr: addr, proxy: s.Process}), nil
}

// stop ends the proxies of a suite, so that they do not sit in the next one's memory and caches.
func stop(list []contender) {
	for _, c := range list {
		if c.proxy != nil {
			c.proxy.Kill()
		}
	}
}

// measureAll measures the loads that were asked for.
func measureAll(ctx context.Context, p plan, r *report, loads []load, contenders []contender) error {
	for _, l := range loads {
		if !p.only.MatchString(l.title) {
			continue
		}
		result, err := measure(ctx, p, l, contenders)
		if err != nil {
			return err
		}
		r.results = append(r.results, result)
	}
	return nil
}

// wanted tells whether any of the titles was asked for, before servers are started for them.
func wanted(p plan, loads []load) bool {
	for _, l := range loads {
		if p.only.MatchString(l.title) {
			return true
		}
	}
	return false
}
