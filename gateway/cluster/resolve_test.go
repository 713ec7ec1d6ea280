package cluster

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sidewire/sidewire/gateway/config"
)

// nameServer is a DNS server whose answers the test decides.
type nameServer struct {
	conn net.PacketConn

	mu    sync.Mutex
	a     map[string][]string
	srv   map[string][]dnsmessage.SRVResource
	ttl   uint32
	fail  bool
	asked int
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, a: map[string][]string{}, srv: map[string][]dnsmessage.SRVResource{}, ttl: 7}
	var serving sync.WaitGroup
	serving.Go(s.serve)
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	return s
}

func (s *nameServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// resolver is the resolver under test, asking this server.
func (s *nameServer) resolver() *DNS {
	return &DNS{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

func (s *nameServer) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n]); answer != nil {
			s.conn.WriteTo(answer, from)
		}
	}
}

func (s *nameServer) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	m.Response, m.Additionals = true, nil
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: s.ttl}
	_, exists := s.a[name]
	for _, text := range s.a[name] {
		a := netip.MustParseAddr(text)
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if q.Type == dnsmessage.TypeSRV {
		for _, r := range s.srv[name] {
			exists = true
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &r})
		}
	}
	switch {
	case s.fail:
		m.RCode = dnsmessage.RCodeServerFailure
	case !exists:
		m.RCode = dnsmessage.RCodeNameError
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func named(resolve string, addresses ...string) *config.Cluster {
	c := conf("random", addresses...)
	c.Resolve = resolve
	c.Health.Disabled = true
	c.Ejection.Failures = 1
	return c
}

func addresses(c *Cluster) string {
	var out []string
	for _, e := range c.Endpoints() {
		out = append(out, e.Address())
	}
	return strings.Join(out, " ")
}

func resolved(t *testing.T, c *Cluster) {
	t.Helper()
	select {
	case <-c.Resolved():
	case <-time.After(patience):
		t.Fatal("names were not looked up")
	}
}

func TestTTLOfTheAnswerIsKnown(t *testing.T) {
	s := newNameServer(t)
	s.set(func() { s.a["db.test"] = []string{"192.0.2.2", "192.0.2.1", "2001:db8::1"} })
	list, ttl, err := s.resolver().Addresses(t.Context(), "db.test.")
	if err != nil || len(list) != 3 || ttl != 7*time.Second {
		t.Fatalf("%v, %v, %v", list, ttl, err)
	}
	s.set(func() { s.ttl = 0 })
	if _, ttl, _ := s.resolver().Addresses(t.Context(), "db.test."); ttl != minTTL {
		t.Fatalf("a TTL of 0 became %v", ttl)
	}
}

func TestEveryAddressOfANameIsAnEndpoint(t *testing.T) {
	s := newNameServer(t)
	s.set(func() { s.a["db.test"] = []string{"192.0.2.2", "192.0.2.1", "2001:db8::1"} })
	c, _ := startWith(t, named("all", "db.test.:3306", "192.0.2.9:3306"), s.resolver())
	resolved(t, c)
	if got := addresses(c); got != "192.0.2.1:3306 192.0.2.2:3306 [2001:db8::1]:3306 192.0.2.9:3306" {
		t.Fatalf("endpoints are %s", got)
	}
	if h := c.Endpoints()[0].Config().Host; h != "db.test." {
		t.Fatalf("host is %q", h)
	}
}

func TestFailureAsksAgainAndWhatStaysKeepsItsIdentity(t *testing.T) {
	s := newNameServer(t)
	s.set(func() { s.a["db.test"] = []string{"192.0.2.1", "192.0.2.2"} })
	s.set(func() { s.ttl = 300 })
	c, _ := startWith(t, named("all", "db.test.:3306"), s.resolver())
	resolved(t, c)
	stays, goes := c.Endpoint("192.0.2.1:3306"), c.Endpoint("192.0.2.2:3306")
	s.set(func() { s.a["db.test"] = []string{"192.0.2.1", "192.0.2.3"} })
	c.Report(goes, io.ErrUnexpectedEOF)
	until(t, c, "the new address", func() bool { return addresses(c) == "192.0.2.1:3306 192.0.2.3:3306" })
	if c.Endpoint("192.0.2.1:3306") != stays {
		t.Fatal("an address that stayed lost its identity")
	}
	select {
	case <-goes.Done():
	default:
		t.Fatal("an address that left was not told")
	}
}

func TestResolverFailureKeepsWhatWasKnown(t *testing.T) {
	s := newNameServer(t)
	s.set(func() { s.a["db.test"] = []string{"192.0.2.1"} })
	c, _ := startWith(t, named("all", "db.test.:3306"), s.resolver())
	resolved(t, c)
	for _, broken := range []func(){func() { s.fail = true }, func() { s.fail = false; delete(s.a, "db.test") }} {
		s.set(broken)
		before := 0
		s.set(func() { before = s.asked })
		c.Report(c.Endpoints()[0], io.ErrUnexpectedEOF)
		until(t, c, "another question", func() bool { asked := 0; s.set(func() { asked = s.asked }); return asked > before+1 })
		if got := addresses(c); got != "192.0.2.1:3306" {
			t.Fatalf("endpoints are %q", got)
		}
	}
}

func TestUnknownNameIsNoEndpointAndNoHang(t *testing.T) {
	s := newNameServer(t)
	c, _ := startWith(t, named("all", "nowhere.test.:3306"), s.resolver())
	resolved(t, c)
	_, err := c.Pick(Want{})
	if err == nil || err.Error() != `cluster "c" has no endpoint: no address is known for its names` {
		t.Fatalf("error is %v", err)
	}
	s.set(func() { s.a["nowhere.test"] = []string{"192.0.2.1"} })
	until(t, c, "the name to appear", func() bool { return addresses(c) == "192.0.2.1:3306" })
}

func TestServices(t *testing.T) {
	s := newNameServer(t)
	records := []dnsmessage.SRVResource{
		{Priority: 1, Weight: 3, Port: 3306, Target: dnsmessage.MustNewName("a.test.")},
		{Priority: 1, Weight: 1, Port: 3307, Target: dnsmessage.MustNewName("b.test.")},
		{Priority: 2, Weight: 1, Port: 3308, Target: dnsmessage.MustNewName("b.test.")},
	}
	s.set(func() {
		s.srv["_mysql._tcp.test"] = records
		s.a["a.test"], s.a["b.test"] = []string{"192.0.2.1"}, []string{"192.0.2.2"}
	})
	c, _ := startWith(t, named("srv", "_mysql._tcp.test."), s.resolver())
	resolved(t, c)
	if c.Endpoint("192.0.2.1:3306") == nil || c.Endpoint("192.0.2.2:3307") == nil || len(c.Endpoints()) != 2 {
		t.Fatalf("endpoints are %s", addresses(c))
	}
	if w := c.Endpoint("192.0.2.1:3306").Config().Weight; w != 3 {
		t.Fatalf("weight is %d", w)
	}
}

func TestConnectionLimitAndProxyHeader(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	limited := conf("random", l.Addr().String())
	limited.Limits.Connections, limited.Proxy = 1, "v1"
	c, _ := start(t, limited)
	e := c.Endpoints()[0]
	ctx := WithClient(t.Context(), &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 77}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 8), Port: 88})
	first, err := c.Dial(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	header := make([]byte, len("PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\n"))
	if _, err := io.ReadFull(server, header); err != nil || string(header) != "PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\n" {
		t.Fatalf("header is %q, %v", header, err)
	}
	if _, err := c.Dial(ctx, e); err == nil || !strings.HasSuffix(err.Error(), `of cluster "c" has its 1 connections (limits.connections)`) {
		t.Fatalf("error is %v", err)
	}
	first.Close()
	first.Close() // twice gives one place back
	second, err := c.Dial(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := c.Dial(ctx, e); err == nil {
		t.Fatal("a second connection over a limit of one")
	}
}
