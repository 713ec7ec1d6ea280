package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// Endpoints that come and go beside it do not begin an endpoint's probe anew: at a push every few milliseconds it would never
// fail often enough in a row.
func TestPushesDoNotHideAFailure(t *testing.T) {
	with := func(n int) *config.Cluster {
		c := conf("random", "a:1", fmt.Sprintf("b%d:1", n))
		c.Health.Interval, c.Health.Unhealthy = config.Duration(20*time.Millisecond), 5
		return c
	}
	c, o := start(t, with(0))
	o.set("a:1", answer{err: errors.New("no answer")})
	a := c.Endpoint("a:1")
	limit := time.After(patience)
	for n := 1; a.Healthy(); n++ {
		c.Update(with(n))
		select {
		case <-limit:
			t.Fatal("a failure was never noticed")
		case <-time.After(5 * time.Millisecond):
		}
	}
	other := with(0)
	other.ConnectTimeout *= 2
	before := a.probing
	c.Update(other)
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.probing == before {
		t.Fatal("a probe went on with a configuration that is gone")
	}
}

// bare is a protocol of which nothing but its name is known.
type bare struct{}

func (bare) Name() string       { return "bare" }
func (bare) ListenerBlock() any { return &struct{}{} }
func (bare) ClusterBlock() any  { return &struct{}{} }
func (bare) CheckListener(*config.Model, *config.Listener, config.Path) []config.Problem {
	return nil
}
func (bare) CheckCluster(*config.Model, *config.Cluster, config.Path) []config.Problem { return nil }

// What was made of a TLS block since it was read is no difference: a cluster with TLS keeps its probes at a push, too.
func TestPushesKeepProbesOverTLS(t *testing.T) {
	read := func(port int, name string) *config.Cluster {
		t.Helper()
		n, problems := config.Parse(fmt.Appendf(nil, "clusters: [{name: c, bare: {}, tls: {names: [\"dns:%s\"]}, endpoints: [\"a:1\", \"b:%d\"]}]", name, port))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		m, problems := config.Language{Protocols: []config.Protocol{bare{}}}.DecodeModel(n, config.Origin{}, &config.Env{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if _, err := m.Clusters[0].TLS.Config("a"); err != nil { // as Compile and every connection does
			t.Fatal(err)
		}
		return m.Clusters[0]
	}
	c, _ := start(t, read(1, "db"))
	a := c.Endpoint("a:1")
	before := a.probing
	c.Update(read(2, "db"))
	if a.probing != before {
		t.Error("a probe began anew because an endpoint beside it came")
	}
	c.Update(read(2, "other"))
	if a.probing == before {
		t.Error("a probe went on with a name that is gone")
	}
}

// A reload that turns TLS off while a connection is being opened ends in an error at worst.
func TestTLSIsTurnedOffMeanwhile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, _ := start(t, conf("random", l.Addr().String()))
	e := c.Endpoints()[0]
	plain, err := c.DialPlain(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := c.StartTLS(t.Context(), e, plain); err == nil {
		t.Fatal("TLS without a configuration")
	}
}

// A client that leaves during the TLS handshake with a server says nothing about that server.
func TestLeavingClientsEjectNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	secure := conf("random", l.Addr().String())
	secure.Health.Disabled = true
	secure.TLS = &config.ClientTLS{Insecure: true}
	secure.Ejection = config.Ejection{Failures: 1, Time: config.Duration(time.Hour), MaxPercent: 100}
	c, _ := start(t, secure)
	e := c.Endpoints()[0]
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Dial(ctx, e); err == nil {
		t.Fatal("a handshake without an answer")
	}
	if !e.Healthy() {
		t.Fatal("ejected by a client that left")
	}
}

// Whoever waits for an endpoint of a cluster that is removed is told.
func TestRemovalWakesWhoWaits(t *testing.T) {
	c, _ := start(t, conf("random", "a:1"))
	changed := c.Changed()
	c.Close()
	for what, ch := range map[string]<-chan struct{}{"a change": changed, "the end": c.Done()} {
		select {
		case <-ch:
		case <-time.After(patience):
			t.Fatalf("%s was not told", what)
		}
	}
	if _, err := c.Pick(Want{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("a removed cluster answered %v", err)
	}
}

// slowDNS takes its time, whether anybody still wants to know or not.
type slowDNS struct{}

func (slowDNS) Addresses(context.Context, string) ([]netip.Addr, time.Duration, error) {
	time.Sleep(50 * time.Microsecond)
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, time.Second, nil
}

func (slowDNS) Services(context.Context, string) ([]*net.SRV, time.Duration, error) {
	return nil, 0, errors.New("none")
}

// A reload takes over what names stand for while they are being looked up.
func TestReloadDuringALookup(t *testing.T) {
	with := func(n int) *config.Cluster {
		c := conf("random")
		c.Resolve, c.Health.Disabled = "all", true
		for i := range 50 {
			c.Endpoints = append(c.Endpoints, config.Endpoint{Address: fmt.Sprintf("h%d-%d:1", i, n%3), Weight: 1})
		}
		return c
	}
	c, _ := startWith(t, with(0), slowDNS{})
	for n := range 300 {
		c.Update(with(n))
		time.Sleep(200 * time.Microsecond) // a lookup is half done by then
	}
}
