package control

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sidewire/sidewire/gateway/config"
)

// quiet is how long the folder must be quiet before it is read: editors and config maps write in several steps.
const quiet = 100 * time.Millisecond

// Options are what a control plane is made of.
type Options struct {
	Dir      string
	Language config.Language
	TLS      *tls.Config // nil: plain
	Token    string      // that sidecars must send as a bearer token; empty: none
	Log      *slog.Logger
}

// Server serves a folder. What is wrong in it is never served: the last good content stays.
type Server struct {
	options Options
	cache   cache.SnapshotCache
	grpc    *grpc.Server

	mu     sync.Mutex // guards what follows
	groups map[string]bool
}

// New reads the folder and makes a server. Problems of the first reading are returned: there is no last good yet.
func New(o Options) (*Server, []config.Problem) {
	s := &Server{options: o, groups: make(map[string]bool)}
	s.cache = cache.NewSnapshotCache(false, s, nil)
	if problems := s.Load(); len(problems) > 0 {
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

// Load reads the folder and serves it, or says what is wrong and serves on what it did.
func (s *Server) Load() []config.Problem {
	groups, problems := Groups(s.options.Dir, s.options.Language)
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

// Serve serves until Stop. The folder is watched meanwhile, until ctx is done.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	watching := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { watching <- s.watch(ctx) }()
	err := s.grpc.Serve(l)
	cancel()
	if werr := <-watching; err == nil {
		err = werr
	}
	return err
}

// Stop ends every stream; sidecars keep what they have.
func (s *Server) Stop() { s.grpc.Stop() }

func (s *Server) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching folder: %w", err)
	}
	defer w.Close()
	if err := s.follow(w); err != nil {
		return err
	}
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Events:
			timer.Reset(quiet)
		case err := <-w.Errors:
			s.options.Log.Warn("watching folder", "error", err)
		case <-timer.C:
			for _, p := range s.Load() {
				s.options.Log.Error("folder rejected, the last good content is served", "problem", p.String())
			}
			if err := s.follow(w); err != nil {
				s.options.Log.Warn("watching folder", "error", err)
			}
		}
	}
}

// follow watches the folder and those inside it.
func (s *Server) follow(w *fsnotify.Watcher) error {
	if err := w.Add(s.options.Dir); err != nil {
		return fmt.Errorf("watching folder: %w", err)
	}
	entries, err := os.ReadDir(s.options.Dir)
	if err != nil {
		return fmt.Errorf("watching folder: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := w.Add(filepath.Join(s.options.Dir, e.Name())); err != nil {
				return fmt.Errorf("watching folder: %w", err)
			}
		}
	}
	return nil
}

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
