package control

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sidewire/sidewire/gateway/config"
)

// Options are what a control plane is made of.
type Options struct {
	Source   Source
	Language config.Language
	TLS      *tls.Config // nil: plain
	Token    string      // that sidecars must send as a bearer token; empty: none
	Log      *slog.Logger
}

// Server serves what a source holds. What is wrong in it is never served: the last good content stays.
type Server struct {
	options Options
	cache   cache.SnapshotCache
	grpc    *grpc.Server

	mu     sync.Mutex // guards what follows
	groups map[string]bool
}

// New reads the source and makes a server. Problems of the first reading are returned: there is no last good yet.
func New(ctx context.Context, o Options) (*Server, []config.Problem) {
	s := &Server{options: o, groups: make(map[string]bool)}
	s.cache = cache.NewSnapshotCache(false, s, nil)
	first, err := o.Source.read(ctx)
	if err != nil {
		return nil, []config.Problem{config.Path("source").Problem("%v", err)}
	}
	if problems := s.load(first); len(problems) > 0 {
		o.Source.close()
		return nil, problems
	}
	opts := []grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.StreamInterceptor(s.admit),
	}
	if o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	s.grpc = grpc.NewServer(opts...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, server.NewServer(context.Background(), s.cache, s.callbacks()))
	return s, nil
}

// ID is the group of a sidecar: the folder named like its cluster, else everybody's.
func (s *Server) ID(node *corev3.Node) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name := node.GetCluster(); s.groups[name] {
		return name
	}
	return ""
}

// load serves what c holds, or says what is wrong and serves on what it did.
func (s *Server) load(c content) []config.Problem {
	groups, problems := groupsOf(c, s.options.Language)
	if len(problems) > 0 {
		return problems
	}
	s.mu.Lock()
	gone := s.groups
	s.groups = make(map[string]bool)
	for name := range groups {
		s.groups[name] = true
		delete(gone, name)
	}
	s.mu.Unlock()
	for name, snapshot := range groups {
		if err := s.cache.SetSnapshot(context.Background(), name, snapshot); err != nil {
			return []config.Problem{config.Path(name).Problem("serving group: %v", err)}
		}
	}
	for name := range gone { // its sidecars belong to everybody's group from their next stream on
		if err := s.cache.SetSnapshot(context.Background(), name, groups[""]); err != nil {
			return []config.Problem{config.Path(name).Problem("serving group: %v", err)}
		}
	}
	return nil
}

// Serve serves until Stop. The source is watched meanwhile, until ctx is done.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	watching := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { watching <- s.options.Source.watch(ctx, s.reload) }()
	err := s.grpc.Serve(l)
	cancel()
	if werr := <-watching; err == nil {
		err = werr
	}
	s.options.Source.close()
	return err
}

// reload reads the source again. An error means that it could not be read; what is wrong in it is only logged.
func (s *Server) reload(ctx context.Context) error {
	next, err := s.options.Source.read(ctx)
	if err != nil {
		return err
	}
	for _, p := range s.load(next) {
		s.options.Log.Error("content rejected, the last good one is served", "problem", p.String())
	}
	return nil
}

// Stop ends every stream; sidecars keep what they have.
func (s *Server) Stop() { s.grpc.Stop() }

// admit lets in who has the token.
func (s *Server) admit(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if s.options.Token != "" {
		m, _ := metadata.FromIncomingContext(stream.Context())
		got := m.Get("authorization")
		if len(got) != 1 || subtle.ConstantTimeCompare([]byte(got[0]), []byte("Bearer "+s.options.Token)) != 1 {
			return status.Error(codes.Unauthenticated, "this control plane needs a bearer token")
		}
	}
	return handle(srv, stream)
}

// callbacks log what sidecars refuse.
func (s *Server) callbacks() server.Callbacks {
	refused := func(node *corev3.Node, typeURL, detail string) {
		s.options.Log.Error("sidecar rejected resources", "node", node.GetId(), "type", typeURL, "problems", detail)
	}
	return server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, r *discoveryv3.DiscoveryRequest) error {
			if r.ErrorDetail != nil {
				refused(r.Node, r.TypeUrl, r.ErrorDetail.Message)
			}
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			if r.ErrorDetail != nil {
				refused(r.Node, r.TypeUrl, r.ErrorDetail.Message)
			}
			return nil
		},
	}
}
