package xds

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	// Messages that bootstrap files of proxies for data stores hold inside an Any; reading the file needs to know them, even
	// to refuse them by name.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/redis/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/starttls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/sidewire/sidewire/gateway/config"
)

// Bootstrap is what an Envoy bootstrap file says.
type Bootstrap struct {
	Node    *corev3.Node
	Admin   string // address; empty: none
	Servers []Server
	Static  []Resource
	Files   []FileSource
	Ignored []string
	// Runtime are values that the file has itself; Layers are asked for, by name.
	Runtime map[string]any
	Layers  []string
}

// IsBootstrap tells whether a configuration file is an Envoy bootstrap: by the fields that only that has.
func IsBootstrap(text []byte) bool {
	t, err := parseYAML(text)
	if err != nil {
		return false
	}
	for _, key := range []string{"static_resources", "dynamic_resources", "layered_runtime", "staticResources", "dynamicResources"} {
		if _, ok := t[key]; ok {
			return true
		}
	}
	return false
}

// ReadBootstrap reads an Envoy bootstrap file, YAML or JSON. What is asked for and cannot be done is an error. env reads the
// files that it names.
func ReadBootstrap(text []byte, env *config.Env) (*Bootstrap, error) {
	t, err := parseYAML(text)
	if err != nil {
		return nil, err
	}
	asJSON, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("reading bootstrap: %w", err)
	}
	var m bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(asJSON, &m); err != nil {
		return nil, fmt.Errorf("reading bootstrap: %s", strings.ReplaceAll(strings.TrimPrefix(err.Error(), "proto: "), "\u00a0", " "))
	}
	b := &Bootstrap{Node: m.Node}
	if b.Node == nil {
		b.Node = &corev3.Node{}
	}
	var n notes
	if m.Admin != nil && m.Admin.Address != nil {
		if b.Admin, err = addressOf(m.Admin.Address); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		n.rest("admin", m.Admin, "address")
	}
	n.rest("bootstrap", &m, "node", "admin", "dynamic_resources", "static_resources", "layered_runtime")
	if err := b.runtime(m.LayeredRuntime, &n); err != nil {
		return nil, fmt.Errorf("layered_runtime: %w", err)
	}
	used, err := b.dynamic(&m, env)
	if err != nil {
		return nil, fmt.Errorf("dynamic_resources: %w", err)
	}
	if err := b.static(m.StaticResources, used, &n); err != nil {
		return nil, fmt.Errorf("static_resources: %w", err)
	}
	b.Ignored = n
	return b, nil
}

// runtime takes the layers. Percentages of faults and mirrors are what is looked up in them.
func (b *Bootstrap) runtime(r *bootstrapv3.LayeredRuntime, n *notes) error {
	for i, l := range r.GetLayers() {
		switch s := l.LayerSpecifier.(type) {
		case *bootstrapv3.RuntimeLayer_StaticLayer:
			if len(b.Layers) > 0 {
				return fmt.Errorf("layers[%d]: a static layer behind one that is discovered is not supported", i)
			}
			b.Runtime = merge(orEmpty(b.Runtime), fromStruct(s.StaticLayer))
		case *bootstrapv3.RuntimeLayer_RtdsLayer_:
			if path, err := pathOf(s.RtdsLayer.GetRtdsConfig()); err != nil || path != "" {
				return fmt.Errorf("layers[%d]: only ads is supported as the source of a rtds_layer", i)
			}
			name := s.RtdsLayer.GetName()
			if name == "" {
				name = l.Name
			}
			b.Layers = append(b.Layers, name)
		case *bootstrapv3.RuntimeLayer_AdminLayer_:
			n.add("layered_runtime: admin_layer: runtime values cannot be set on the admin interface")
		default:
			return fmt.Errorf("layers[%d]: %T is not supported", i, s)
		}
	}
	return nil
}

// dynamic finds the control planes. The clusters that lead to them are told, because they serve nobody else.
func (b *Bootstrap) dynamic(m *bootstrapv3.Bootstrap, env *config.Env) (used map[string]bool, err error) {
	d := m.DynamicResources
	used = make(map[string]bool)
	if d == nil {
		return used, nil
	}
	byADS := false
	for _, source := range []struct {
		name, url string
		from      *corev3.ConfigSource
	}{{"cds_config", ClusterType, d.CdsConfig}, {"lds_config", ListenerType, d.LdsConfig}} {
		path, err := pathOf(source.from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source.name, err)
		}
		if path != "" {
			b.Files = append(b.Files, FileSource{source.url, path})
		}
		byADS = byADS || (source.from != nil && path == "")
	}
	ads := d.AdsConfig
	if ads == nil {
		if byADS {
			return nil, errors.New("ads_config is missing")
		}
		return used, nil
	}
	delta := false
	switch ads.ApiType {
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_AGGREGATED_GRPC:
	case corev3.ApiConfigSource_DELTA_GRPC, corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		delta = true
	default:
		return nil, fmt.Errorf("ads_config: api_type %s is not supported", enumName(ads.ApiType))
	}
	for _, g := range ads.GrpcServices {
		server, cluster, err := serverOf(g, m.GetStaticResources().GetClusters(), env)
		if err != nil {
			return nil, fmt.Errorf("ads_config: %w", err)
		}
		server.Delta = delta
		b.Servers = append(b.Servers, *server)
		if cluster != "" {
			used[cluster] = true
		}
	}
	if len(b.Servers) == 0 {
		return nil, errors.New("ads_config: grpc_services is empty")
	}
	return used, nil
}

// serverOf is a control plane as a gRPC service: a static cluster's first endpoint, or a target.
func serverOf(g *corev3.GrpcService, clusters []*clusterv3.Cluster, env *config.Env) (*Server, string, error) {
	s := &Server{Header: make(map[string]string)}
	for _, h := range g.InitialMetadata {
		s.Header[strings.ToLower(h.Key)] = h.Value
	}
	if e := g.GetGoogleGrpc(); e != nil {
		if len(unread(e, "target_uri", "stat_prefix")) > 0 {
			return nil, "", fmt.Errorf("google_grpc: %s is not supported", strings.Join(unread(e, "target_uri", "stat_prefix"), ", "))
		}
		s.Address = e.TargetUri
		return s, "", nil
	}
	name := g.GetEnvoyGrpc().GetClusterName()
	for _, c := range clusters {
		if c.Name != name {
			continue
		}
		list, err := readEndpoints(c.LoadAssignment, new(notes))
		if err != nil {
			return nil, "", fmt.Errorf("cluster %q: %w", name, err)
		}
		if len(list) == 0 {
			return nil, "", fmt.Errorf("cluster %q has no endpoints", name)
		}
		s.Address = list[0].(tree)["address"].(string)
		if s.TLS, err = dialTLS(c, s.Address, env); err != nil {
			return nil, "", fmt.Errorf("cluster %q: %w", name, err)
		}
		return s, name, nil
	}
	return nil, "", fmt.Errorf("grpc_services: no static cluster named %q", name)
}

// dialTLS is the TLS of the way to a control plane; nil is none.
func dialTLS(c *clusterv3.Cluster, address string, env *config.Env) (*tls.Config, error) {
	body, err := clientTLS(c.TransportSocket, new(notes))
	if err != nil || body == nil {
		return nil, err
	}
	var block config.ClientTLS
	n, err := node(body)
	if err != nil {
		return nil, err
	}
	if problems := config.Decode(n, "transport_socket", &block, env); len(problems) > 0 {
		return nil, config.Problems(problems)
	}
	if err := block.Load(env); err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = "localhost"
	}
	return block.Config(host)
}

// static packs the static resources, so that they go through the same reading as those of a control plane.
func (b *Bootstrap) static(s *bootstrapv3.Bootstrap_StaticResources, used map[string]bool, n *notes) error {
	add := func(name string, m proto.Message) error {
		body, err := anypb.New(m)
		if err != nil {
			return err
		}
		b.Static = append(b.Static, Resource{Name: name, Body: body})
		return nil
	}
	for _, x := range s.GetSecrets() {
		if err := add(x.Name, x); err != nil {
			return err
		}
	}
	for _, c := range s.GetClusters() {
		if used[c.Name] {
			continue
		}
		if err := add(c.Name, c); err != nil {
			return err
		}
	}
	for i, l := range s.GetListeners() {
		if l.Name == "" { // Envoy makes one up as well
			l.Name = fmt.Sprintf("listener_%d", i)
		}
		if err := add(l.Name, l); err != nil {
			return err
		}
	}
	return nil
}
