package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sidewire/sidewire/gateway/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// oracle is a prober whose answers the test decides.
type oracle struct {
	mu      sync.Mutex
	answers map[string]answer
	asked   map[string]int
}

type answer struct {
	state State
	err   error
	panic bool
}

func (o *oracle) set(address string, a answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers[address] = a
}

func (o *oracle) NewProbe(_ *config.Cluster, e config.Endpoint) Probe { return &question{o, e.Address} }

type question struct {
	o       *oracle
	address string
}

func (q *question) Ask(context.Context, func(context.Context) (net.Conn, error)) (State, error) {
	q.o.mu.Lock()
	defer q.o.mu.Unlock()
	q.o.asked[q.address]++
	a := q.o.answers[q.address]
	if a.panic {
		panic("a probe's fault")
	}
	return a.state, a.err
}

func (q *question) Close() {}

func conf(balance string, addresses ...string) *config.Cluster {
	c := &config.Cluster{Name: "c", Balance: balance, ConnectTimeout: config.Duration(time.Second)}
	c.Health = config.Health{Interval: config.Duration(time.Millisecond), Timeout: config.Duration(time.Second), Unhealthy: 2, Healthy: 2}
	for _, a := range addresses {
		c.Endpoints = append(c.Endpoints, config.Endpoint{Address: a, Weight: 1})
	}
	return c
}

func start(t *testing.T, conf *config.Cluster) (*Cluster, *oracle) {
	t.Helper()
	return startWith(t, conf, nil)
}

func startWith(t *testing.T, conf *config.Cluster, r Resolver) (*Cluster, *oracle) {
	t.Helper()
	o := &oracle{answers: map[string]answer{}, asked: map[string]int{}}
	n := uint64(0)
	var mu sync.Mutex
	c := New(conf, o, Deps{Resolver: r, Zone: func() string { return "here" }, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Rand: func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		n = n*6364136223846793005 + 1442695040888963407 // Knuth's LCG: repeatable
		return n >> 13
	}})
	t.Cleanup(c.Close)
	return c, o
}

// until waits for changes of the cluster until ok.
func until(t *testing.T, c *Cluster, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		changed := c.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond): // what is waited for may not be announced
		case <-limit:
			t.Fatalf("waiting for %s", what)
		}
	}
}

func TestProbesDecideHealthByThresholds(t *testing.T) {
	c, o := start(t, conf("random", "a:1", "b:1"))
	a, b := c.Endpoint("a:1"), c.Endpoint("b:1")
	until(t, c, "first answers", func() bool { return a.State() != nil && b.State() != nil })
	o.set("a:1", answer{err: errors.New("no answer")})
	until(t, c, "a to fail", func() bool { return !a.Healthy() })
	if a.Problem() != "no answer" || !b.Healthy() {
		t.Fatalf("problem is %q, b healthy is %v", a.Problem(), b.Healthy())
	}
	for range 50 {
		if e, err := c.Pick(Want{}); err != nil || e != b {
			t.Fatalf("picked %v, %v with a out", e, err)
		}
	}
	o.set("a:1", answer{})
	until(t, c, "a to come back", a.Healthy)
	o.set("b:1", answer{panic: true})
	until(t, c, "a panicking probe to count as a failure", func() bool { return !b.Healthy() })
}

func TestAllOutMeansAllAreTried(t *testing.T) {
	c, o := start(t, conf("random", "a:1"))
	o.set("a:1", answer{err: errors.New("down")})
	until(t, c, "a to fail", func() bool { return !c.Endpoint("a:1").Healthy() })
	if e, err := c.Pick(Want{}); err != nil || e.Address() != "a:1" {
		t.Fatalf("picked %v, %v", e, err)
	}
}

func TestRoles(t *testing.T) {
	c, o := start(t, conf("random", "a:1", "b:1", "c:1"))
	o.set("a:1", answer{state: State{Role: Primary}})
	o.set("b:1", answer{state: State{Role: Replica, Lag: time.Second}})
	o.set("c:1", answer{state: State{Role: Replica}})
	until(t, c, "roles", func() bool {
		return c.Endpoint("a:1").Role() == Primary && c.Endpoint("b:1").Role() == Replica && c.Endpoint("c:1").Role() == Replica
	})
	if e, err := c.Pick(Want{Role: Primary}); err != nil || e.Address() != "a:1" {
		t.Fatalf("primary is %v, %v", e, err)
	}
	seen := map[string]bool{}
	for range 100 {
		e, err := c.Pick(Want{Role: Replica})
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Address()] = true
	}
	if len(seen) != 2 || seen["a:1"] {
		t.Fatalf("replicas picked: %v", seen)
	}
	if e, _ := c.Pick(Want{Role: Replica, Avoid: c.Endpoint("b:1")}); e.Address() != "c:1" {
		t.Fatalf("picked the replica to avoid")
	}
	if got := c.Endpoint("b:1").Lag(); got != time.Second {
		t.Fatalf("lag is %v", got)
	}
	for range 50 {
		if e, err := c.Pick(Want{Role: Replica, MaxLag: 500 * time.Millisecond}); err != nil || e.Address() != "c:1" {
			t.Fatalf("picked %v, which is too far behind, %v", e, err)
		}
	}
	o.set("c:1", answer{state: State{Role: Replica, Lag: time.Second}})
	until(t, c, "lag", func() bool { return c.Endpoint("c:1").Lag() == time.Second })
	if e, err := c.Pick(Want{Role: Replica, MaxLag: 500 * time.Millisecond}); err == nil {
		t.Fatalf("picked %s although both are too far behind", e.Address())
	}
}

func TestTwoWritersAreRefused(t *testing.T) {
	c, o := start(t, conf("random", "a:1", "b:1"))
	o.set("a:1", answer{state: State{Role: Primary}})
	o.set("b:1", answer{state: State{Role: Primary}})
	until(t, c, "roles", func() bool { return c.Endpoint("a:1").Role() == Primary && c.Endpoint("b:1").Role() == Primary })
	_, err := c.Pick(Want{Role: Primary})
	if err == nil || err.Error() != `cluster "c" has no primary: a:1 and b:1 both accept writes` {
		t.Fatalf("error is %v", err)
	}
	for want, w := range map[string]Want{"a:1": {Role: Primary, Writable: First}, "b:1": {Role: Primary, Writable: ByRole}} {
		ruled := conf("random", "a:1", "b:1")
		ruled.Endpoints[1].Role = "primary"
		c.Update(ruled)
		if e, err := c.Pick(w); err != nil || e.Address() != want {
			t.Errorf("%+v chose %v, %v, want %s", w, e, err, want)
		}
	}
	zones := conf("random", "a:1", "b:1")
	zones.LocalZone, zones.Endpoints[0].Zone, zones.Endpoints[1].Zone = true, "here", "there"
	c.Update(zones)
	if e, err := c.Pick(Want{Role: Primary}); err == nil {
		t.Errorf("the zone chose %s, another sidewire's would choose the other", e.Address())
	}
}

func TestUnknownRolesAreNoPrimary(t *testing.T) {
	c, _ := start(t, conf("random", "a:1", "b:1"))
	var none *NoEndpoint
	if _, err := c.Pick(Want{Role: Primary}); !errors.As(err, &none) {
		t.Fatalf("error is %v", err)
	}
	declared := conf("random", "a:1", "b:1")
	declared.Endpoints[1].Role = "primary"
	c.Update(declared)
	if e, err := c.Pick(Want{Role: Primary}); err != nil || e.Address() != "b:1" {
		t.Fatalf("declared primary is not picked: %v, %v", e, err)
	}
	one, _ := start(t, conf("random", "a:1"))
	if _, err := one.Pick(Want{Role: Primary}); err != nil {
		t.Fatalf("a cluster of one has no primary: %v", err)
	}
}

func TestUpdateKeepsWhatStays(t *testing.T) {
	c, o := start(t, conf("random", "a:1", "b:1"))
	a, b := c.Endpoint("a:1"), c.Endpoint("b:1")
	o.set("a:1", answer{err: errors.New("down")})
	until(t, c, "a to fail", func() bool { return !a.Healthy() })
	c.Update(conf("random", "a:1", "d:1"))
	if c.Endpoint("a:1") != a || a.Healthy() {
		t.Fatal("an endpoint that stayed lost its identity or its health")
	}
	select {
	case <-b.Done():
	default:
		t.Fatal("an endpoint that left was not told")
	}
	until(t, c, "the new one to be probed", func() bool { return c.Endpoint("d:1").State() != nil })
}

func TestReportsLeaveOutAheadOfTheProbe(t *testing.T) {
	slow := conf("random", "a:1", "b:1")
	slow.Health.Interval = config.Duration(time.Hour)
	slow.Ejection = config.Ejection{Failures: 2, Time: config.Duration(time.Hour), MaxPercent: 50}
	c, _ := start(t, slow)
	a := c.Endpoint("a:1")
	until(t, c, "the first probe", func() bool { return a.State() != nil })
	c.Report(a, io.ErrUnexpectedEOF)
	c.Report(a, nil) // one good answer starts the count anew
	c.Report(a, io.ErrUnexpectedEOF)
	if !a.Healthy() {
		t.Fatal("left out too early")
	}
	c.Report(a, io.ErrUnexpectedEOF)
	if a.Healthy() {
		t.Fatal("not left out")
	}
	for range 2 {
		c.Report(c.Endpoint("b:1"), io.ErrUnexpectedEOF)
	}
	if !c.Endpoint("b:1").Healthy() {
		t.Fatal("more than half were ejected")
	}
}

func TestEjectionEnds(t *testing.T) {
	quick := conf("random", "a:1", "b:1")
	quick.Health.Disabled = true
	quick.Ejection = config.Ejection{Failures: 1, Time: config.Duration(time.Millisecond), MaxPercent: 50}
	c, _ := start(t, quick)
	a := c.Endpoint("a:1")
	c.Report(a, io.ErrUnexpectedEOF)
	until(t, c, "the time to pass", a.Healthy)

	probed := conf("random", "a:1", "b:1")
	probed.Ejection = config.Ejection{Failures: 1, Time: config.Duration(time.Hour), MaxPercent: 50}
	d, _ := start(t, probed)
	b := d.Endpoint("b:1")
	d.Report(b, io.ErrUnexpectedEOF)
	until(t, d, "a good probe to end it", b.Healthy)
}

func TestPanicThreshold(t *testing.T) {
	c := conf("random", "a:1", "b:1", "c:1", "d:1")
	c.Health.Panic = 50
	d, o := start(t, c)
	down := func(address string) {
		o.set(address, answer{err: errors.New("down")})
		until(t, d, address, func() bool { return !d.Endpoint(address).Healthy() })
	}
	spread := func() int {
		seen := map[string]bool{}
		for range 200 {
			e, err := d.Pick(Want{})
			if err != nil {
				t.Fatal(err)
			}
			seen[e.Address()] = true
		}
		return len(seen)
	}
	down("a:1")
	down("b:1")
	if n := spread(); n != 2 {
		t.Fatalf("with half of them healthy %d are used", n)
	}
	down("c:1")
	if n := spread(); n != 4 {
		t.Fatalf("with a quarter healthy %d are used", n)
	}
}

func TestLocalZoneFirst(t *testing.T) {
	c := conf("random", "a:1", "b:1", "c:1")
	c.LocalZone = true
	c.Endpoints[1].Zone, c.Endpoints[2].Zone = "here", "here"
	d, o := start(t, c)
	o.set("b:1", answer{err: errors.New("down")})
	until(t, d, "b to fail", func() bool { return !d.Endpoint("b:1").Healthy() })
	for range 50 {
		if e, _ := d.Pick(Want{}); e.Address() != "c:1" {
			t.Fatalf("picked %s", e.Address())
		}
	}
	o.set("c:1", answer{err: errors.New("down")})
	until(t, d, "c to fail", func() bool { return !d.Endpoint("c:1").Healthy() })
	if e, _ := d.Pick(Want{}); e.Address() != "a:1" {
		t.Fatalf("picked %s with its own zone out", e.Address())
	}
}

func TestPrioritiesInOrder(t *testing.T) {
	c := conf("random", "a:1", "b:1", "c:1")
	c.Endpoints[0].Priority, c.Endpoints[1].Priority, c.Endpoints[2].Priority = 2, 1, 1
	d, o := start(t, c)
	picked := func() string {
		seen := map[string]bool{}
		for range 50 {
			e, err := d.Pick(Want{})
			if err != nil {
				t.Fatal(err)
			}
			seen[e.Address()] = true
		}
		return fmt.Sprint(slices.Sorted(maps.Keys(seen)))
	}
	fails := func(address string) {
		o.set(address, answer{err: errors.New("down")})
		until(t, d, address+" to fail", func() bool { return !d.Endpoint(address).Healthy() })
	}
	for _, step := range []struct{ down, want string }{{"", "[b:1 c:1]"}, {"b:1", "[c:1]"}, {"c:1", "[a:1]"}, {"a:1", "[b:1 c:1]"}} {
		if step.down != "" {
			fails(step.down)
		}
		if got := picked(); got != step.want {
			t.Errorf("after %q went down %s serve, want %s", step.down, got, step.want)
		}
	}
}

func TestLatencyPrefersTheQuick(t *testing.T) {
	d, _ := start(t, conf("latency", "a:1", "b:1"))
	d.Observe(d.Endpoint("a:1"), time.Millisecond)
	d.Observe(d.Endpoint("b:1"), 50*time.Millisecond)
	count := 0
	for range 1000 {
		if e, _ := d.Pick(Want{}); e.Address() == "a:1" {
			count++
		}
	}
	if count < 700 { // two are drawn with repetition: a quarter of the draws leave no choice
		t.Fatalf("the quick one got %d of 1000", count)
	}
	var l latency
	now := time.Unix(0, 0)
	l.observe(time.Second, now)
	l.observe(time.Millisecond, now.Add(time.Second))
	if at := time.Duration(l.at(now.Add(time.Second))); at < 500*time.Millisecond {
		t.Fatalf("a peak was forgotten at once: %v", at)
	}
	l.observe(2*time.Second, now.Add(2*time.Second))
	if at := time.Duration(l.at(now.Add(2 * time.Second))); at != 2*time.Second {
		t.Fatalf("a new peak was not taken at once: %v", at)
	}
}

func TestBalance(t *testing.T) {
	for _, kind := range []string{"round_robin", "random", "least_requests"} {
		weighted := conf(kind, "a:1", "b:1")
		weighted.Endpoints[1].Weight = 3
		c, _ := start(t, weighted)
		count := map[string]int{}
		for range 4000 {
			e, err := c.Pick(Want{})
			if err != nil {
				t.Fatal(err)
			}
			e.Begin() // never ends: least requests has to follow the weights
			count[e.Address()]++
		}
		if n := count["b:1"]; n < 2800 || n > 3200 {
			t.Errorf("%s: an endpoint of three quarters of the weight got %d of 4000", kind, n)
		}
	}
}

func TestDialErrorsNameTheEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c, _ := start(t, conf("random", address))
	_, err = c.Dial(t.Context(), c.Endpoint(address))
	if err == nil || !strings.HasPrefix(err.Error(), "connecting to "+address+` of cluster "c": `) {
		t.Fatalf("error is %v", err)
	}
}
