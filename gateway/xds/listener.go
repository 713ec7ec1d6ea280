package xds

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

const tlsInspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"

// reading is a listener or cluster as it was understood.
type reading struct {
	body    tree
	notes   notes
	missing []string // extension configs that are needed and not there
	needs   needs    // of it and of what it brings along
	// Of a listener: the clusters that its Envoy filters name, and the protocol spoken to them.
	protocol string
	clusters []string
	settings tree // of the protocol's block of those clusters, where the listener's filter has them
	// resources are of sidewire's own kinds that the listener's extension configs carry.
	resources []ownResource
}

// ownResource is a resource of one of sidewire's kinds, such as a virtual database.
type ownResource struct {
	kind, name string
	body       tree
}

// extensions finds an extension config by name; nil when it has not come.
type extensions func(name string) *anypb.Any

// readListener says what a listener means. ext may be nil, when only its own content is of interest.
func readListener(l *listenerv3.Listener, ext extensions) (*reading, error) {
	r := &reading{body: tree{"name": l.Name}}
	address, err := addressOf(l.Address)
	if err != nil {
		return nil, err
	}
	r.body["address"] = address
	if l.BindToPort != nil && !l.BindToPort.Value {
		return nil, errors.New("bind_to_port: false means traffic interception, which is not supported; bind the listener (in a mesh: captureMode NONE)")
	}
	if l.UseOriginalDst.GetValue() || l.Transparent.GetValue() {
		return nil, errors.New("use_original_dst and transparent mean traffic interception, which is not supported")
	}
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(slices.Clone(chains), l.DefaultFilterChain)
	}
	if len(chains) == 0 {
		return nil, errors.New("filter_chains: is empty")
	}
	several := len(chains) > 1 || len(l.FilterChains) == 1 && chooses(chains[0].FilterChainMatch)
	if err := listenerFilters(l, r, several); err != nil {
		return nil, err
	}
	understood := []string{"name", "address", "bind_to_port", "use_original_dst", "transparent", "listener_filters", "filter_chains", "default_filter_chain",
		"traffic_direction", "stat_prefix", "metadata"}
	if several {
		if err := readChains(l, r, ext); err != nil {
			return nil, err
		}
		r.notes.rest("listener", l, append(understood, "listener_filters_timeout")...)
	} else {
		if err := chainMatch(l, chains[0], r); err != nil {
			return nil, fmt.Errorf("filter_chain_match: %w", err)
		}
		r.notes.rest("listener", l, understood...)
		if err := readChain(chains[0], r, ext); err != nil {
			return nil, err
		}
	}
	all := []tree{r.body}
	for _, own := range r.resources {
		all = append(all, own.body)
	}
	r.needs = needsOf(all...)
	return r, nil
}

// listenerFilters looks at what would inspect a connection first. With several chains TLS is inspected where one of them asks for
// it, as Envoy does even when the filter is not there.
func listenerFilters(l *listenerv3.Listener, r *reading, several bool) error {
	for _, f := range l.ListenerFilters {
		kind := typeName(f.GetTypedConfig().GetTypeUrl())
		if several && kind == tlsInspector {
			var m inspectorv3.TlsInspector
			if err := f.GetTypedConfig().UnmarshalTo(&m); err != nil {
				return fmt.Errorf("listener_filters: %s: %w", f.Name, err)
			}
			r.notes.rest("tls_inspector", &m)
			continue
		}
		if several && strings.HasSuffix(kind, "Inspector") {
			return fmt.Errorf("listener_filters: %s (%s) is not supported with several filter chains", f.Name, kind)
		}
		switch kind {
		case tlsInspector, "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
			"envoy.extensions.filters.listener.postgres_inspector.v3alpha.PostgresInspector":
			r.notes.add("listener filter %s is not needed: protocols are declared, not guessed", f.Name)
		case "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":
			var m proxyv3.ProxyProtocol
			if err := f.GetTypedConfig().UnmarshalTo(&m); err != nil {
				return fmt.Errorf("listener_filters: %s: %w", f.Name, err)
			}
			if err := refuseFields(&m, "allow_requests_without_proxy_protocol", "disallowed_versions"); err != nil {
				return fmt.Errorf("listener_filters: %s: %w", f.Name, err)
			}
			r.notes.rest("proxy_protocol", &m, "stat_prefix")
			r.body["proxy_protocol"] = tree{"trusted": []any{"0.0.0.0/0", "::/0"}} // every peer must send a header, and is believed
		default:
			return fmt.Errorf("listener_filters: %s (%s) is not supported", f.Name, kind)
		}
	}
	return nil
}

// chainMatch takes what a listener with one chain may ask of its connections: whoever does not match is not served, which
// networks say as well. The port is the one that is bound.
func chainMatch(l *listenerv3.Listener, c *listenerv3.FilterChain, r *reading) error {
	m := c.FilterChainMatch
	if m == nil || c == l.DefaultFilterChain {
		return nil
	}
	if more := unread(m, "destination_port", "source_prefix_ranges", "transport_protocol"); len(more) > 0 {
		return fmt.Errorf("%s is not supported", strings.Join(more, ", "))
	}
	if port := m.DestinationPort; port != nil && port.Value != l.Address.GetSocketAddress().GetPortValue() {
		return fmt.Errorf("destination_port: %d is not the port that is bound; traffic interception is not supported", port.Value)
	}
	switch want := m.TransportProtocol; {
	case want == "" || want == "raw_buffer" && c.TransportSocket == nil || want == "tls" && c.TransportSocket != nil:
	default:
		return fmt.Errorf("transport_protocol: %q does not fit the chain's transport_socket; protocols are declared, not guessed", want)
	}
	if allow := networks(m.SourcePrefixRanges); len(allow) > 0 {
		r.body["allow"] = allow
	}
	return nil
}

func networks(ranges []*corev3.CidrRange) (out []any) {
	for _, p := range ranges {
		out = append(out, fmt.Sprintf("%s/%d", p.AddressPrefix, p.GetPrefixLen().GetValue()))
	}
	return out
}

func readChain(c *listenerv3.FilterChain, r *reading, ext extensions) error {
	tls, err := serverTLS(c.TransportSocket, &r.notes)
	if err != nil {
		return err
	}
	if tls != nil {
		r.body["tls"] = tls
	}
	r.notes.rest("filter chain", c, "filter_chain_match", "filters", "transport_socket", "name", "metadata")
	ch := &chain{reading: r}
	for i, f := range c.Filters {
		config := f.GetTypedConfig()
		if d := f.GetConfigDiscovery(); d != nil {
			if s := d.ConfigSource; s != nil && s.GetAds() == nil && s.GetSelf() == nil {
				return fmt.Errorf("filters[%d]: %s: only ads is supported as the source of a config_discovery", i, f.Name)
			}
			if ext == nil {
				ch.unsure = true
				continue
			}
			if config = ext(f.Name); config == nil {
				config = d.DefaultConfig
			}
			if config == nil {
				r.missing = append(r.missing, f.Name)
				ch.unsure = true
				continue
			}
			if len(d.TypeUrls) > 0 && !slices.ContainsFunc(d.TypeUrls, func(u string) bool { return typeName(u) == typeName(config.TypeUrl) || typeName(u) == ownType(config) }) {
				return fmt.Errorf("filters[%d]: extension config %s is a %q, which type_urls does not list", i, f.Name, typeName(config.TypeUrl))
			}
		}
		if err := ch.filter(f.Name, config); err != nil {
			return fmt.Errorf("filters[%d]: %s: %w", i, f.Name, err)
		}
	}
	return ch.end()
}
