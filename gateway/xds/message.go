package xds

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// open decodes a resource of one of the types that are asked for.
func open(body *anypb.Any) (proto.Message, error) {
	var m proto.Message
	switch body.GetTypeUrl() {
	case ListenerType:
		m = new(listenerv3.Listener)
	case ClusterType:
		m = new(clusterv3.Cluster)
	case EndpointType:
		m = new(endpointv3.ClusterLoadAssignment)
	case SecretType:
		m = new(tlsv3.Secret)
	case ExtensionType:
		m = new(corev3.TypedExtensionConfig)
	case RuntimeType:
		m = new(runtimev3.Runtime)
	default:
		return nil, fmt.Errorf("resources of type %q are not known", body.GetTypeUrl())
	}
	if err := body.UnmarshalTo(m); err != nil {
		return nil, fmt.Errorf("reading message: %w", err)
	}
	return m, nil
}

// nameOf is the name that a resource carries inside.
func nameOf(body *anypb.Any) (string, error) {
	m, err := open(body)
	if err != nil {
		return "", err
	}
	switch m := m.(type) {
	case *endpointv3.ClusterLoadAssignment:
		return m.ClusterName, nil
	case interface{ GetName() string }:
		return m.GetName(), nil
	}
	return "", nil
}
