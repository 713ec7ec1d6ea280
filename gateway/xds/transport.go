package xds

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// maxMessage bounds one response; a control plane with thousands of endpoints stays far below it.
const maxMessage = 64 << 20

// Server is one control plane.
type Server struct {
	Address string // host:port or unix:/path
	TLS     *tls.Config
	Token   string // sent as authorization: Bearer
	// Header is sent with the stream, names in lower case.
	Header map[string]string
	// Delta asks for the incremental protocol.
	Delta bool
}

// stream is one ADS stream, of either protocol.
type stream struct {
	send  func(proto.Message) error
	recv  func() (proto.Message, error)
	close func()
}

// connect opens a stream. ctx ends it.
func connect(ctx context.Context, s Server) (*stream, error) {
	conn, err := Dial(s.Address, s.TLS)
	if err != nil {
		return nil, fmt.Errorf("connecting to control plane %s: %w", s.Address, err)
	}
	pairs := metadata.MD{}
	if s.Token != "" {
		pairs.Set("authorization", "Bearer "+s.Token)
	}
	for k, v := range s.Header {
		pairs.Set(k, v)
	}
	ctx = metadata.NewOutgoingContext(ctx, pairs)
	client := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	out := &stream{close: func() { conn.Close() }}
	if s.Delta {
		d, err := client.DeltaAggregatedResources(ctx)
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("connecting to control plane %s: %w", s.Address, err)
		}
		out.send = func(m proto.Message) error { return d.Send(m.(*discoveryv3.DeltaDiscoveryRequest)) }
		out.recv = func() (proto.Message, error) { return d.Recv() }
		return out, nil
	}
	d, err := client.StreamAggregatedResources(ctx)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connecting to control plane %s: %w", s.Address, err)
	}
	out.send = func(m proto.Message) error { return d.Send(m.(*discoveryv3.DiscoveryRequest)) }
	out.recv = func() (proto.Message, error) { return d.Recv() }
	return out, nil
}

// Dial makes a gRPC connection to one server, host:port or unix:/path; secure may be nil. It connects when it is first used.
func Dial(address string, secure *tls.Config) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if secure != nil {
		creds = credentials.NewTLS(secure)
	}
	target := "passthrough:///" + address
	if strings.HasPrefix(address, "unix:") {
		target = address
	}
	return grpc.NewClient(target, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 5 * time.Second}),
		grpc.WithContextDialer(dial))
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return d.DialContext(ctx, "unix", path)
	}
	return d.DialContext(ctx, "tcp", address)
}
