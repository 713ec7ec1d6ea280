package xds

import (
	"fmt"
	"net"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sidewire/sidewire/gateway/config"
)

// ServersOf are the control planes that a configuration file names.
func ServersOf(x config.XDS) ([]Server, error) {
	var out []Server
	for i, s := range x.Servers {
		one := Server{Address: s.Address, Token: s.Token.Value(), Delta: x.Delta}
		if s.TLS != nil {
			host, _, err := net.SplitHostPort(s.Address)
			if err != nil {
				host = "localhost"
			}
			if one.TLS, err = s.TLS.Config(host); err != nil {
				return nil, fmt.Errorf("xds.servers[%d].tls: %w", i, err)
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// NodeOf is who the process is, by its configuration file.
func NodeOf(x config.Node) (*corev3.Node, error) {
	n := &corev3.Node{Id: x.ID, Cluster: x.Cluster}
	if n.Id == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("node.id: is empty and the host has no name: %w", err)
		}
		n.Id = name
	}
	if x.Region != "" || x.Zone != "" {
		n.Locality = &corev3.Locality{Region: x.Region, Zone: x.Zone}
	}
	if len(x.Metadata) > 0 {
		n.Metadata = &structpb.Struct{Fields: make(map[string]*structpb.Value)}
		for k, v := range x.Metadata {
			n.Metadata.Fields[k] = structpb.NewStringValue(v)
		}
	}
	return n, nil
}

// Agent fills what every request tells of the program itself.
func Agent(n *corev3.Node, version string) {
	n.UserAgentName = "sidewire"
	n.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: version}
}
