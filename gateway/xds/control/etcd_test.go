package control

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/xds"
)

// store is what the fake servers of one etcd cluster share: keys with a history.
type store struct {
	mu       sync.Mutex
	cluster  uint64
	first    int64 // the oldest revision that is not compacted away
	log      []*mvccpb.Event
	values   map[string]string
	changed  chan struct{} // closed and made anew at each change
	starts   int           // a stream ends when its server starts anew
	refusals int           // so many calls to come fail
	password string
	tokens   int // issued so far; only the last one is good
}

func newStore() *store {
	return &store{cluster: 1, first: 1, values: make(map[string]string), changed: make(chan struct{})}
}

// restart is a change that ends every stream, with so many calls refused afterwards.
func (s *store) restart(refusals int, do func()) {
	s.change(func() {
		s.starts++
		s.refusals = refusals
		do()
	})
}

// change does something to the store, which its watchers look at then.
func (s *store) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) put(key, value string) {
	s.change(func() {
		s.values[key] = value
		s.log = append(s.log, &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: s.revision() + 1}})
	})
}

func (s *store) revision() int64 { return s.first + int64(len(s.log)) - 1 }

func (s *store) header() *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{ClusterId: s.cluster, Revision: s.revision()}
}

func (s *store) admit(ctx context.Context) error {
	m, _ := metadata.FromIncomingContext(ctx)
	switch token := strings.Join(m.Get("token"), ","); {
	case s.refusals > 0:
		s.refusals--
		return status.Error(codes.Unavailable, "etcdserver: no leader")
	case s.password != "" && token != fmt.Sprintf("token-%d", s.tokens):
		return status.Error(codes.Unauthenticated, "etcdserver: invalid auth token")
	}
	return nil
}

// etcdServer is one server of the cluster.
type etcdServer struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedWatchServer
	etcdserverpb.UnimplementedAuthServer
	*store
}

func (s etcdServer) Authenticate(_ context.Context, r *etcdserverpb.AuthenticateRequest) (*etcdserverpb.AuthenticateResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Name != "mesh" || r.Password != s.password {
		return nil, status.Error(codes.InvalidArgument, "etcdserver: authentication failed, invalid user ID or password")
	}
	s.tokens++
	return &etcdserverpb.AuthenticateResponse{Header: s.header(), Token: fmt.Sprintf("token-%d", s.tokens)}, nil
}

func (s etcdServer) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	out := &etcdserverpb.RangeResponse{Header: s.header()}
	for key, value := range s.values {
		if key >= string(r.Key) && key < string(r.RangeEnd) {
			out.Kvs = append(out.Kvs, &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value)})
		}
	}
	return out, nil
}

// Watch serves one watcher a stream, as etcd does: from its start revision on, or with a word that it is gone.
func (s etcdServer) Watch(stream etcdserverpb.Watch_WatchServer) error {
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	create := r.GetCreateRequest()
	s.mu.Lock()
	err = s.admit(stream.Context())
	created := &etcdserverpb.WatchResponse{Header: s.header(), Created: true}
	starts := s.starts
	s.mu.Unlock()
	if err == nil {
		err = stream.Send(created)
	}
	if err != nil {
		return err
	}
	for next := create.StartRevision; ; {
		s.mu.Lock()
		news := &etcdserverpb.WatchResponse{Header: s.header()}
		for ; next >= s.first && next <= s.revision(); next++ {
			if e := s.log[next-s.first]; string(e.Kv.Key) >= string(create.Key) && string(e.Kv.Key) < string(create.RangeEnd) {
				news.Events = append(news.Events, e)
			}
		}
		if news.Canceled = next < s.first; news.Canceled {
			news.CompactRevision = s.first
		}
		ended, changed := s.starts != starts, s.changed
		s.mu.Unlock()
		if ended {
			return status.Error(codes.Unavailable, "etcdserver: server stopped")
		}
		if len(news.Events) > 0 || news.Canceled {
			if err := stream.Send(news); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (s *store) serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	etcdserverpb.RegisterKVServer(g, etcdServer{store: s})
	etcdserverpb.RegisterWatchServer(g, etcdServer{store: s})
	etcdserverpb.RegisterAuthServer(g, etcdServer{store: s})
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func limits(n int) string {
	return fmt.Sprintf(`
listeners: [{name: a, address: "127.0.0.1:100", tcp: {cluster: c}, limits: {connections: %d}}]
clusters: [{name: c, tcp: {}, endpoints: ["10.0.0.1:1"]}]
`, n)
}

// limit waits until a sidecar has what limits(n) says.
func (s *sidecar) limit(t *testing.T, what string, n int64) {
	t.Helper()
	s.until(t, what, func(snap *config.Snapshot) bool {
		l := snap.Listener("a")
		return l != nil && int64(l.Limits.Connections) == n
	})
}

// unserved is an address that nobody listens at.
func unserved(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestEtcdReachesSidecars(t *testing.T) {
	s := newStore()
	s.password = "s3cret"
	s.put("/other/common.yaml", "not ours")
	s.put("/mesh0", "behind the prefix")
	s.put("/mesh/common.yaml", limits(7)+"databases: [{name: atlas, file: atlas.sharding.yaml}]\n")
	s.put("/mesh/atlas.sharding.yaml", "pages: 5")
	s.put("/mesh/shop/more.yaml", `listeners: [{name: b, address: "127.0.0.1:101", tcp: {cluster: c, databases: [atlas]}}]`)
	source := Etcd(EtcdOptions{Endpoints: []string{unserved(t), s.serve(t)}, Prefix: "/mesh", User: "mesh", Password: "s3cret", Log: nowhere})
	at := serveSource(t, source)
	all, shop := follow(t, "other", xds.Server{Address: at}), follow(t, "shop", xds.Server{Address: at, Delta: true})
	all.limit(t, "common keys", 7)
	shop.until(t, "own keys", func(snap *config.Snapshot) bool {
		return snap.Listener("b") != nil && snap.Resource("databases", "atlas").Value.(*book).Rules["pages"] == 5
	})

	s.put("/mesh/atlas.sharding.yaml", "pages: 6")
	shop.until(t, "changed rules", func(snap *config.Snapshot) bool {
		return snap.Resource("databases", "atlas").Value.(*book).Rules["pages"] == 6
	})
	s.put("/mesh/broken.yaml", "listeners: [{name: x, addres: nowhere}]")
	s.put("/mesh/common.yaml", limits(8))
	s.restart(2, func() {
		delete(s.values, "/mesh/broken.yaml")
		delete(s.values, "/mesh/shop/more.yaml")
		s.log = append(s.log, &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte("/mesh/broken.yaml")}})
	})
	all.limit(t, "mended after an outage", 8)
	shop.until(t, "a deleted key", func(snap *config.Snapshot) bool { return snap.Listener("b") == nil })

	s.change(func() { s.values["/mesh/common.yaml"], s.first, s.log = limits(9), s.revision()+5, nil })
	all.limit(t, "after history was compacted before it was watched", 9)
	s.restart(0, func() { s.values["/mesh/common.yaml"], s.first, s.log = limits(10), 1, nil })
	all.limit(t, "after an old backup was restored", 10)
	s.put("/mesh/common.yaml", limits(11))
	all.limit(t, "watched on", 11)
	s.restart(1, func() { s.values["/mesh/common.yaml"], s.cluster, s.first = limits(12), 2, 1000 })
	all.limit(t, "another cluster at the same address", 12)
}

func TestEtcdProblems(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"/mesh/a.yaml", "clusters: [{name: c, tpc: {}, endpoints: [\"a:1\"]}]", "/mesh/a.yaml: clusters[0].tpc: unknown field; did you mean \"tcp\"?"},
		{"/mesh/shop/a.yaml", "admin: {address: \"127.0.0.1:1\"}", "/mesh/shop/a.yaml: admin: a control plane sends listeners, clusters, databases only"},
		{"/mesh/a.yaml", "databases: [{name: d, file: nowhere}]", "/mesh/a.yaml: databases[0]: reading key /mesh/nowhere: file does not exist"},
		{"/mesh/a", "", "/mesh/a: this key is not read; expected /mesh/NAME.yaml or /mesh/GROUP/NAME.yaml"},
		{"/mesh/a/b/c.yaml", "", "/mesh/a/b/c.yaml: this key is not read; expected /mesh/NAME.yaml or /mesh/GROUP/NAME.yaml"},
		{"/mesh//c.yaml", "", "/mesh//c.yaml: this key is not read; expected /mesh/NAME.yaml or /mesh/GROUP/NAME.yaml"},
	} {
		s := newStore()
		s.put(c.key, c.value)
		_, problems := New(t.Context(), Options{Source: Etcd(EtcdOptions{Endpoints: []string{s.serve(t)}, Prefix: "/mesh/", Log: nowhere}), Language: language, Log: nowhere})
		if len(problems) != 1 || problems[0].String() != c.want {
			t.Errorf("%s: %q, want %q", c.key, problems, c.want)
		}
	}
	s := newStore()
	s.password = "s3cret"
	at, closed := s.serve(t), unserved(t)
	source := Etcd(EtcdOptions{Endpoints: []string{closed, at}, Prefix: "/mesh", User: "mesh", Password: "wrong", Log: nowhere})
	_, problems := New(t.Context(), Options{Source: source, Language: language, Log: nowhere})
	text := fmt.Sprint(problems)
	for _, want := range []string{"reading etcd at " + closed + ": ", "connection refused", "reading etcd at " + at + ": authenticating as mesh: ", "invalid user ID or password"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q", text, want)
		}
	}
}
