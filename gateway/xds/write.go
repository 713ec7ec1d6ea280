package xds

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"

	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The other direction, for a control plane of sidewire's own: entries of the configuration file as Envoy's messages, which
// readListener and readCluster turn back into the same entries.

// ads is the one stream that everything comes by.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

// own packs an entry's fields.
func own(kind string, body map[string]any) (*anypb.Any, error) {
	value, err := toStruct(body)
	if err != nil {
		return nil, err
	}
	return anypb.New(&xdsv3.TypedStruct{TypeUrl: prefix + kind, Value: value})
}

// toStruct is fromStruct's inverse. Whole numbers that a double cannot hold are refused: they would arrive changed.
func toStruct(body map[string]any) (*structpb.Struct, error) {
	var check func(at string, v any) error
	check = func(at string, v any) error {
		switch v := v.(type) {
		case int:
			if math.Abs(float64(v)) >= 1<<53 {
				return fmt.Errorf("%s: %d is too large to travel as a number; write it as a string", at, v)
			}
		case map[string]any:
			for k, e := range v {
				if err := check(at+"."+k, e); err != nil {
					return err
				}
			}
		case []any:
			for i, e := range v {
				if err := check(fmt.Sprintf("%s[%d]", at, i), e); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for k, v := range body {
		if err := check(k, v); err != nil {
			return nil, err
		}
	}
	return structpb.NewStruct(body)
}

// WriteListener is one entry of `listeners:`. The virtual databases that it names travel by themselves.
func WriteListener(body map[string]any, databases []string) (*listenerv3.Listener, error) {
	name, _ := body["name"].(string)
	address, err := toAddress(fmt.Sprint(body["address"]))
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", name, err)
	}
	config, err := own(ownListener, body)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", name, err)
	}
	filters := []*listenerv3.Filter{{Name: "sidewire", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: config}}}
	for _, d := range databases {
		filters = append(filters, &listenerv3.Filter{Name: d, ConfigType: &listenerv3.Filter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{
			ConfigSource: ads(), TypeUrls: []string{prefix + ownDatabase},
		}}})
	}
	return &listenerv3.Listener{Name: name, Address: address, FilterChains: []*listenerv3.FilterChain{{Filters: filters}}}, nil
}

// WriteDatabase is one entry of `databases:`.
func WriteDatabase(body map[string]any) (*corev3.TypedExtensionConfig, error) {
	name, _ := body["name"].(string)
	text, err := yaml.Marshal(body) // as text: a Struct has no place for the tags of rules
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", name, err)
	}
	value := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), string(text))
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: &anypb.Any{TypeUrl: prefix + ownDatabase, Value: value}}, nil
}

// WriteCluster is one entry of `clusters:`. Its endpoints travel by themselves, so that they can change alone.
func WriteCluster(body map[string]any) (*clusterv3.Cluster, *endpointv3.ClusterLoadAssignment, error) {
	name, _ := body["name"].(string)
	rest := make(map[string]any, len(body))
	for k, v := range body {
		if k != "endpoints" {
			rest[k] = v
		}
	}
	config, err := own(ownCluster, rest)
	if err != nil {
		return nil, nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	list, _ := body["endpoints"].([]any)
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for i, e := range list {
		one, err := writeEndpoint(e)
		if err != nil {
			return nil, nil, fmt.Errorf("cluster %q: endpoints[%d]: %w", name, i, err)
		}
		assignment.Endpoints = append(assignment.Endpoints, one)
	}
	return &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:              &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"sidewire": config},
	}, assignment, nil
}

// writeEndpoint keeps the order of endpoints: each is a group of its own.
func writeEndpoint(e any) (*endpointv3.LocalityLbEndpoints, error) {
	body, ok := e.(map[string]any)
	if !ok {
		body = map[string]any{"address": fmt.Sprint(e)}
	}
	address, err := toAddress(fmt.Sprint(body["address"]))
	if err != nil {
		return nil, err
	}
	out := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}}}
	rest := make(map[string]any)
	for k, v := range body {
		switch k {
		case "address":
		case "weight":
			if n, ok := v.(int); ok && n > 0 {
				out.LoadBalancingWeight = wrapperspb.UInt32(uint32(n))
				continue
			}
			fallthrough
		default:
			rest[k] = v
		}
	}
	if len(rest) > 0 {
		value, err := toStruct(rest)
		if err != nil {
			return nil, err
		}
		out.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataKey: value}}
	}
	group := &endpointv3.LocalityLbEndpoints{LbEndpoints: []*endpointv3.LbEndpoint{out}}
	if zone, ok := body["zone"].(string); ok {
		group.Locality = &corev3.Locality{Zone: zone}
	}
	return group, nil
}

func toAddress(a string) (*corev3.Address, error) {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}, nil
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return nil, fmt.Errorf("%q is not an address", a)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is not a port", port)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(n)},
	}}}, nil
}
