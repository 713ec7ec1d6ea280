package tcp

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sidewire/sidewire/gateway/config"
)

// Chain is where the connections go that it matches, and the TLS that they are served with.
type Chain struct {
	Name  string            `yaml:"name" doc:"For messages."`
	Match Match             `yaml:"match" doc:"Which connections it is for; empty: all that no other chain says more about."`
	TLS   *config.ServerTLS `yaml:"tls" doc:"End the client's TLS here; left out: it is passed on untouched."`
	Target
}

// Match is what a chain asks of a connection. Everything that is set has to fit.
type Match struct {
	Names     []string         `yaml:"server_names" doc:"TLS server names (SNI): exact, or *.example.com for everything below it."`
	Transport string           `yaml:"transport_protocol" enum:"tls|raw_buffer" doc:"Whether the client begins with TLS."`
	Protocols []string         `yaml:"application_protocols" doc:"Of which the client's TLS offers one (ALPN)."`
	Sources   []config.Network `yaml:"source_prefix_ranges" doc:"Networks of clients; the narrowest of all chains counts."`
}

// looks tells whether the match needs the client's first bytes.
func (m *Match) looks() bool { return len(m.Names)+len(m.Protocols) > 0 || m.Transport != "" }

// checkChains reports what is wrong with a block that has chains.
func (b *ListenerBlock) checkChains(m *config.Model, l *config.Listener, at config.Path) (problems []config.Problem) {
	if b.Cluster != "" || len(b.Clusters) > 0 || b.IdleTimeout != 0 || b.Hash != "source_ip" {
		problems = append(problems, at.Field("chains").Problem("cannot stand beside cluster, clusters, hash and idle_timeout, which every chain has itself"))
	}
	if l.TLS != nil {
		problems = append(problems, at.Field("chains").Problem("cannot stand beside the listener's tls; every chain has its own"))
	}
	if b.Inspect <= 0 {
		problems = append(problems, at.Field("inspect_timeout").Problem("must be more than 0"))
	}
	for i := range b.Chains {
		c, place := &b.Chains[i], at.Field("chains").Index(i)
		problems = append(problems, c.check(m, place)...)
		for j := range i {
			if b.Chains[j].Match.overlaps(&c.Match) {
				problems = append(problems, place.Field("match").Problem("is the same as that of chains[%d] for some connections; one of them would never be chosen", j))
				break
			}
		}
	}
	if d := b.Default; d != nil {
		place := at.Field("default_chain")
		problems = append(problems, d.check(m, place)...)
		if d.Match.looks() || len(d.Match.Sources) > 0 {
			problems = append(problems, place.Field("match").Problem("has no meaning: the default chain takes what is left"))
		}
	}
	return problems
}

func (c *Chain) check(m *config.Model, at config.Path) []config.Problem {
	problems := c.Target.check(m, at)
	if c.TLS != nil {
		if _, err := c.TLS.Config(); err != nil {
			problems = append(problems, at.Field("tls").Problem("%v", err))
		}
	}
	for i, name := range c.Match.Names {
		if rest := strings.TrimPrefix(name, "*."); rest == "" || rest[0] == '.' || strings.Contains(rest, "*") {
			problems = append(problems, at.Field("match.server_names").Index(i).Problem("%q is neither a name nor *.NAME", name))
		}
	}
	for i, p := range c.Match.Protocols {
		if p == "" {
			problems = append(problems, at.Field("match.application_protocols").Index(i).Problem("is empty"))
		}
	}
	return problems
}

// overlaps tells whether some connection fits both equally well, so that no rule says whose it is.
func (m *Match) overlaps(o *Match) bool {
	return m.Transport == o.Transport && share(fold(m.Names), fold(o.Names)) && share(m.Protocols, o.Protocols) && share(m.Sources, o.Sources)
}

// share tells whether two lists have an element in common; two that say nothing do.
func share[T comparable](a, b []T) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	have := make(map[T]bool, len(a))
	for _, x := range a {
		have[x] = true
	}
	return slices.ContainsFunc(b, func(x T) bool { return have[x] })
}

// fold makes names comparable: DNS does not tell upper case from lower.
func fold(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

// Certificates are what chains present.
func (b *ListenerBlock) Certificates() (all []*config.ServerTLS) {
	for _, c := range b.all() {
		if c.TLS != nil {
			all = append(all, c.TLS)
		}
	}
	return all
}

func (b *ListenerBlock) all() []*Chain {
	var out []*Chain
	for i := range b.Chains {
		out = append(out, &b.Chains[i])
	}
	if b.Default != nil {
		out = append(out, b.Default)
	}
	return out
}

// routes is a block made ready to choose by. It is not changed once it is in force.
type routes struct {
	block *ListenerBlock
	named map[string][]*Chain // by server name or ".example.com" for what is below; "": those that name none
	tls   map[*Chain]*tls.Config
	looks bool // somebody needs the client's first bytes
}

func newRoutes(b *ListenerBlock) (*routes, error) {
	r := &routes{block: b, named: map[string][]*Chain{}, tls: map[*Chain]*tls.Config{}}
	for _, c := range b.all() {
		if c.TLS != nil {
			cfg, err := c.TLS.Config()
			if err != nil {
				return nil, fmt.Errorf("chain %q: %w", c.Name, err)
			}
			r.tls[c] = cfg
		}
	}
	for i := range b.Chains {
		c := &b.Chains[i]
		r.looks = r.looks || c.Match.looks()
		if len(c.Match.Names) == 0 {
			r.named[""] = append(r.named[""], c)
		}
		for _, name := range slices.Compact(slices.Sorted(slices.Values(fold(c.Match.Names)))) {
			name = strings.TrimPrefix(name, "*")
			r.named[name] = append(r.named[name], c)
		}
	}
	return r, nil
}

// find chooses as Envoy documents for filter_chain_match: server name, transport protocol, application protocols, source. At
// each step the chains that say most about the connection are kept and the others dropped for good: there is no way back to a
// less specific name when a later step leaves nothing. Then the default chain serves; nil when there is none.
func (r *routes) find(h hello, source netip.Addr) *Chain {
	left := r.withName(strings.ToLower(h.name))
	left = prefer(left, func(m *Match) bool { return m.Transport == h.transport() }, func(m *Match) bool { return m.Transport == "" })
	left = byProtocol(left, h.protocols)
	if c := bySource(left, source); c != nil {
		return c
	}
	return r.block.Default
}

// withName finds the chains of a name: its own, then those of the nearest domain above it, then those that name none.
func (r *routes) withName(name string) []*Chain {
	if name != "" {
		if own := r.named[name]; own != nil && name[0] != '.' {
			return own
		}
		for rest := name[1:]; ; rest = rest[1:] {
			dot := strings.IndexByte(rest, '.')
			if dot < 0 {
				break
			}
			rest = rest[dot:]
			if above := r.named[rest]; above != nil {
				return above
			}
		}
	}
	return r.named[""]
}

// prefer keeps the chains that say it, or, when there is none, those that say nothing.
func prefer(all []*Chain, says, silent func(*Match) bool) []*Chain {
	for _, want := range []func(*Match) bool{says, silent} {
		var out []*Chain
		for _, c := range all {
			if want(&c.Match) {
				out = append(out, c)
			}
		}
		if out != nil {
			return out
		}
	}
	return nil
}

// byProtocol takes the first of the client's protocols that a chain names.
func byProtocol(all []*Chain, offered []string) []*Chain {
	for _, p := range offered {
		named := prefer(all, func(m *Match) bool { return slices.Contains(m.Protocols, p) }, func(*Match) bool { return false })
		if named != nil {
			return named
		}
	}
	return prefer(all, func(m *Match) bool { return len(m.Protocols) == 0 }, func(*Match) bool { return false })
}

// bySource takes the chain with the narrowest network around the source; without one, the chain that names none.
func bySource(all []*Chain, source netip.Addr) *Chain {
	var best *Chain
	width := -2
	for _, c := range all {
		bits := -1
		if len(c.Match.Sources) > 0 {
			bits = -2
			for _, n := range c.Match.Sources {
				if n.Contains(source) {
					bits = max(bits, n.Bits())
				}
			}
		}
		if bits > width {
			best, width = c, bits
		}
	}
	return best
}
