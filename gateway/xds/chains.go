package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

// chooses tells whether a match asks for what a client says first: then even a single chain is one of several, of which the
// others close the connection.
func chooses(m *listenerv3.FilterChainMatch) bool {
	return len(m.GetServerNames()) > 0 || len(m.GetApplicationProtocols()) > 0
}

// readChains takes several filter chains as those of the file's tcp block. Every one ends in a tcp_proxy: chains of a protocol
// that sidewire speaks itself would be sessions of several handlers on one socket.
func readChains(l *listenerv3.Listener, r *reading, ext extensions) error {
	if l.ContinueOnListenerFiltersTimeout {
		return errors.New("continue_on_listener_filters_timeout is not supported with several filter chains")
	}
	block := tree{}
	var list []any
	for i, c := range l.FilterChains {
		at := fmt.Sprintf("filter_chains[%d]", i)
		match, err := readMatch(c.FilterChainMatch)
		if err != nil {
			return fmt.Errorf("%s: filter_chain_match: %w", at, err)
		}
		part, err := readPart(c, r, ext)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if len(match) > 0 {
			part["match"] = match
		}
		list = append(list, part)
	}
	if len(list) > 0 {
		block["chains"] = list
	}
	if c := l.DefaultFilterChain; c != nil {
		part, err := readPart(c, r, ext)
		if err != nil {
			return fmt.Errorf("default_filter_chain: %w", err)
		}
		block["default_chain"] = part
	}
	if d := l.ListenerFiltersTimeout; d != nil {
		if d.AsDuration() <= 0 {
			return errors.New("listener_filters_timeout: no limit is not supported with several filter chains")
		}
		if err := putDuration(block, "inspect_timeout", d); err != nil {
			return err
		}
	}
	slices.Sort(r.clusters)
	r.protocol, r.clusters, r.body["tcp"] = "tcp", slices.Compact(r.clusters), block
	return nil
}

// readMatch is what one of several chains asks of its connections.
func readMatch(m *listenerv3.FilterChainMatch) (tree, error) {
	if m == nil {
		return nil, nil
	}
	if more := unread(m, "server_names", "application_protocols", "transport_protocol", "source_prefix_ranges"); len(more) > 0 {
		return nil, fmt.Errorf("%s is not supported with several filter chains", strings.Join(more, ", "))
	}
	out := tree{}
	for key, texts := range map[string][]string{"server_names": m.ServerNames, "application_protocols": m.ApplicationProtocols} {
		var all []any
		for _, t := range texts {
			all = append(all, t)
		}
		if all != nil {
			out[key] = all
		}
	}
	if m.TransportProtocol != "" {
		out["transport_protocol"] = m.TransportProtocol
	}
	if sources := networks(m.SourcePrefixRanges); sources != nil {
		out["source_prefix_ranges"] = sources
	}
	return out, nil
}

// readPart is one of several chains without its match.
func readPart(c *listenerv3.FilterChain, r *reading, ext extensions) (tree, error) {
	for i, f := range c.Filters {
		if f.GetConfigDiscovery() != nil {
			return nil, fmt.Errorf("filters[%d]: %s: config_discovery is not supported with several filter chains", i, f.Name)
		}
	}
	p := &reading{body: tree{}, notes: r.notes}
	if err := readChain(c, p, ext); err != nil {
		return nil, err
	}
	r.notes = p.notes
	for _, key := range slices.Sorted(maps.Keys(p.body)) {
		switch key {
		case "tls", "tcp", "name", "address": // the last two are the listener's, and empty here
		case "limits":
			return nil, errors.New("filters: limits of connections are not supported with several filter chains")
		default:
			return nil, fmt.Errorf("filters: %s is not supported with several filter chains, only tcp_proxy", key)
		}
	}
	if p.protocol != "tcp" || len(p.resources) > 0 {
		return nil, errors.New("filters: only tcp_proxy is supported with several filter chains")
	}
	r.clusters = append(r.clusters, p.clusters...)
	out := treeOf(p.body["tcp"])
	if tls := p.body["tls"]; tls != nil {
		out["tls"] = tls
	}
	if c.Name != "" {
		out["name"] = c.Name
	}
	return out, nil
}
