package admin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// Timeouts of the HTTP server. Writing has none: a profile takes as long as was asked for.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// Source is the process as the admin interface sees it.
type Source interface {
	Snapshot() *config.Snapshot // nil before the first configuration
	Clusters() []*cluster.Cluster
	Listeners() []*listener.Listener
	Views() map[string]func() any
	Actions() map[string]func(context.Context, url.Values) (any, error)
	Metrics() *telemetry.Registry
	Statements() *telemetry.Statements
	Logs() *telemetry.Logs
	Started() time.Time
}

// Options are what the interface is made of.
type Options struct {
	Source  Source
	Life    *Life
	Log     *slog.Logger
	Version string
	Node    Node
	// CommandLine is shown by /server_info.
	CommandLine map[string]any
	// Rejected is what /config_dump shows of configurations that were refused; it may be nil, and return nil.
	Rejected func() any
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Node is who this process is to a control plane.
type Node struct {
	ID      string `json:"id"`
	Cluster string `json:"cluster"`
}

// Server is the admin interface. Apply binds it; it serves one address at a time.
type Server struct {
	options Options
	mux     *http.ServeMux
	routes  []route

	mu      sync.Mutex // guards what follows
	config  config.Admin
	serving *serving
}

type serving struct {
	address string
	http    *http.Server
	addr    net.Addr
	done    chan struct{}
}

type route struct {
	path    string
	help    string
	changes bool // served to POST only
	open    bool // served without a token
	handle  http.HandlerFunc
}

// New makes the interface; it serves nobody until Apply, but Handler works at once.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{options: o, mux: http.NewServeMux()}
	metrics := o.Source.Metrics().Handler()
	s.routes = []route{
		{path: "/{$}", help: "this process as a page that follows it", open: true, handle: s.asset("index.html", "text/html; charset=utf-8")},
		{path: "/assets/page.css", help: "of the page", open: true, handle: s.asset("page.css", "text/css; charset=utf-8")},
		{path: "/assets/page.js", help: "of the page", open: true, handle: s.asset("page.js", "text/javascript; charset=utf-8")},
		{path: "/live", help: "what the page shows, as JSON", handle: s.live},
		{path: "/ready", help: "200 while ready for clients, 503 otherwise", open: true, handle: s.ready},
		{path: "/server_info", help: "version, state, uptime and command line", handle: s.serverInfo},
		{path: "/config_dump", help: "the configuration in force and what was rejected, secrets redacted; ?resource=, ?mask=, ?name_regex=, ?include_eds", handle: s.configDump},
		{path: "/init_dump", help: "what of a control plane's configuration has not come, or waits for something", handle: s.initDump},
		{path: "/clusters", help: "clusters and their endpoints with health and role; ?format=json", handle: s.clusters},
		{path: "/listeners", help: "bound addresses; ?format=json", handle: s.listeners},
		{path: "/certs", help: "certificates in use and when they end", handle: s.certs},
		{path: "/metrics", help: "metrics for Prometheus", handle: metrics.ServeHTTP},
		{path: "/stats", help: "counters under Envoy's names; ?usedonly, ?filter=REGEX, ?format=json|prometheus", handle: s.stats},
		{path: "/stats/prometheus", help: "the same as /metrics", handle: metrics.ServeHTTP},
		{path: "/digests", help: "forms of statements by the time they took; ?limit=N", handle: s.digests},
		{path: "/slow", help: "slow statements of late, the latest first; ?limit=N", handle: s.slow},
		{path: "/views", help: "names of what the protocols show", handle: s.views},
		{path: "/views/{name...}", help: "one view as JSON", handle: s.view},
		{path: "/actions", help: "names of what the protocols can have done", handle: s.actions},
		{path: "/actions/{name...}", help: "have it done", changes: true, handle: s.action},
		{path: "/logging", help: "levels of the loggers; POST ?level=LEVEL or ?paths=NAME:LEVEL,... or ?NAME=LEVEL changes them", handle: s.logging},
		{path: "/healthcheck/fail", help: "report unready from now on", changes: true, handle: s.healthcheck(true)},
		{path: "/healthcheck/ok", help: "take that back", changes: true, handle: s.healthcheck(false)},
		{path: "/drain_listeners", help: "drain; ?graceful keeps accepting, ?skip_exit stays afterwards", changes: true, handle: s.drain},
		{path: "/quitquitquit", help: "end the process in good order", changes: true, handle: s.quit},
		{path: "/help", help: "this list", handle: s.help},
	}
	for _, r := range s.routes {
		s.mux.HandleFunc(r.path, s.guard(r))
	}
	s.mux.HandleFunc("/debug/pprof/", s.guard(route{handle: s.profile(pprof.Index)}))
	s.mux.HandleFunc("/debug/pprof/cmdline", s.guard(route{handle: s.profile(pprof.Cmdline)}))
	s.mux.HandleFunc("/debug/pprof/profile", s.guard(route{handle: s.profile(pprof.Profile)}))
	s.mux.HandleFunc("/debug/pprof/symbol", s.guard(route{handle: s.profile(pprof.Symbol)}))
	s.mux.HandleFunc("/debug/pprof/trace", s.guard(route{handle: s.profile(pprof.Trace)}))
	return s
}

// Handler is the interface without a socket. A browser's cross-origin requests that change anything are refused: a page of
// somebody else's must not be able to end the process of whoever looks at it.
func (s *Server) Handler() http.Handler { return http.NewCrossOriginProtection().Handler(s.mux) }

// Apply binds the interface to the address of c, or ends it when that is empty. A new address is bound before the old one
// is given up; when that fails, everything stays as it was.
func (s *Server) Apply(c config.Admin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.serving
	if (old == nil && c.Address == "") || (old != nil && old.address == c.Address) {
		s.config = c
		return nil
	}
	var next *serving
	if c.Address != "" {
		socket, err := listener.Bind(c.Address, config.UnixSocket{})
		if err != nil {
			return err
		}
		next = &serving{address: c.Address, addr: socket.Addr(), done: make(chan struct{}), http: &http.Server{
			Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
		}}
		go func() {
			defer close(next.done)
			if err := next.http.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
				s.options.Log.Error("serving admin interface", "error", err)
			}
		}()
	}
	s.config, s.serving = c, next
	if old != nil {
		old.close(context.Background())
	}
	return nil
}

// Addr is where the interface is bound; nil when it is not.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil {
		return nil
	}
	return s.serving.addr
}

// Close ends the interface: requests under way have until ctx ends.
func (s *Server) Close(ctx context.Context) {
	s.mu.Lock()
	old := s.serving
	s.serving = nil
	s.mu.Unlock()
	if old != nil {
		old.close(ctx)
	}
}

func (v *serving) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if v.http.Shutdown(ctx) != nil {
		v.http.Close() // somebody is still reading a profile or a page that follows
	}
	<-v.done
}

func (s *Server) current() config.Admin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// guard lets in who may ask: with the token when there is one, and by POST when something changes.
func (s *Server) guard(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if token := s.current().Token.Value(); token != "" && !r.open {
			got, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
			if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(token)) != 1 {
				w.Header().Set("WWW-Authenticate", `Bearer realm="sidewire admin"`)
				http.Error(w, "this interface needs Authorization: Bearer TOKEN", http.StatusUnauthorized)
				return
			}
		}
		if !s.hostAllowed(req.Host) {
			http.Error(w, "this interface is bound to this machine alone and is not called "+req.Host, http.StatusForbidden)
			return
		}
		allowed := []string{http.MethodGet, http.MethodHead, http.MethodPost}
		if r.changes {
			allowed = allowed[2:]
		}
		if !slices.Contains(allowed, req.Method) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			http.Error(w, fmt.Sprintf("method %s not allowed here; use %s", req.Method, strings.Join(allowed, " or ")), http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "no-cache, max-age=0")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		r.handle(w, req)
	}
}

// hostAllowed refuses other names than this machine's when the interface listens on it alone: a name that somebody else's
// page resolves to 127.0.0.1 would make that page of the same origin.
func (s *Server) hostAllowed(host string) bool {
	at, ok := s.Addr().(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil
}

func (s *Server) profile(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if !s.current().Profiling {
			http.Error(w, "profiling is off; set admin.profiling: true", http.StatusNotFound)
			return
		}
		h(w, req)
	}
}

func (s *Server) help(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "admin commands are:")
	for _, r := range s.routes {
		how := ""
		if r.changes {
			how = " (POST)"
		}
		fmt.Fprintf(w, "  %s%s: %s\n", strings.TrimSuffix(r.path, "{$}"), how, r.help)
	}
}
