package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/tcp"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// fickle is a protocol that refuses what the test tells it to, and remembers what it was told.
type fickle struct {
	greeter
	mu      sync.Mutex
	updates []string
	host    host.Host
	drained chan struct{} // closed by the first Drain, when set
	drains  chan string   // told of every Drain, when set, which then waits for leave
	leave   chan struct{}
}

type fickleBlock struct {
	Say     string `yaml:"say"`
	Cluster string `yaml:"cluster"`
}

type fickleCluster struct {
	Mood string `yaml:"mood"`
}

func (f *fickle) Name() string       { return "fickle" }
func (f *fickle) ListenerBlock() any { return &fickleBlock{} }
func (f *fickle) ClusterBlock() any  { return &fickleCluster{} }
func (f *fickle) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updates = append(f.updates, fmt.Sprintf(format, args...))
}

func (f *fickle) Upstream(_ host.Host, c *cluster.Cluster) (host.Upstream, error) {
	return &fickleUpstream{f}, nil
}

type fickleUpstream struct{ *fickle }

func (u *fickleUpstream) Update(c *config.Cluster) error {
	mood := c.Block.(*fickleCluster).Mood
	u.note("cluster %s", mood)
	if mood == "bad" {
		return errors.New("in a bad mood")
	}
	return nil
}
func (u *fickleUpstream) Close() { u.note("cluster closed") }

func (f *fickle) Listen(h host.Host, l *config.Listener) (listener.Handler, error) {
	f.mu.Lock()
	f.host = h
	f.mu.Unlock()
	s := &fickleHandler{f: f}
	return s, s.Update(l)
}

type fickleHandler struct {
	f     *fickle
	block atomic.Pointer[fickleBlock]
}

func (s *fickleHandler) Update(l *config.Listener) error {
	b := l.Block.(*fickleBlock)
	s.f.note("listener %s %s", l.Name, b.Say)
	if b.Say == "bad" {
		return errors.New("will not say that")
	}
	s.block.Store(b)
	return nil
}
func (s *fickleHandler) Refuse(*listener.Conn, error) {}
func (s *fickleHandler) Drain(ctx context.Context) {
	if s.f.drains != nil {
		select {
		case s.f.drains <- s.block.Load().Say:
		default:
		}
		select {
		case <-s.f.leave:
		case <-ctx.Done():
		}
	}
	if s.f.drained != nil {
		close(s.f.drained)
		<-ctx.Done()
	}
}
func (s *fickleHandler) Close() {}
func (s *fickleHandler) Handle(_ context.Context, c *listener.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		fmt.Fprintf(c, "%s\n", s.block.Load().Say)
	}
}

func startWith(t *testing.T, protocols ...gateway.Protocol) *gateway.Gateway {
	t.Helper()
	logs, err := telemetry.NewLogs(io.Discard, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(logs, append(protocols, tcp.Protocol(), greeter{})...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		g.Close(ctx)
	})
	return g
}

func paths(t *testing.T, n int) []string {
	t.Helper()
	dir := t.TempDir()
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("unix:%s/%d", dir, i))
	}
	return out
}

func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s did not end", what)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func greet(name, address, words string) string {
	return fmt.Sprintf("  - {name: %s, address: %q, greeter: {words: %s}}\n", name, address, words)
}

// A listener gives its name to a new address and takes another: both keep what is theirs.
func TestNameMovesToANewAddress(t *testing.T) {
	p := paths(t, 2)
	g := start(t)
	mustApply(t, g, "listeners:\n"+greet("a", p[0], "one"))
	c := dial(t, p[0])
	c.want(t, "x", "one")
	mustApply(t, g, "listeners:\n"+greet("a", p[1], "two")+greet("z", p[0], "one"))
	c.want(t, "y", "one")
	dial(t, p[0]).want(t, "x", "one")
	dial(t, p[1]).want(t, "x", "two")
	if got := g.Listener("z").Address(); got != p[0] {
		t.Fatalf("z listens at %s", got)
	}
}

func TestListenersSwapNames(t *testing.T) {
	p := paths(t, 2)
	g := start(t)
	mustApply(t, g, "listeners:\n"+greet("a", p[0], "one")+greet("b", p[1], "two"))
	one, two := dial(t, p[0]), dial(t, p[1])
	one.want(t, "x", "one")
	two.want(t, "x", "two")
	mustApply(t, g, "listeners:\n"+greet("b", p[0], "one")+greet("a", p[1], "two"))
	one.want(t, "y", "one")
	two.want(t, "y", "two")
	if a, b := g.Listener("a").Address(), g.Listener("b").Address(); a != p[1] || b != p[0] {
		t.Fatalf("a listens at %s, b at %s", a, b)
	}
}

// Whatever fails on the way, nothing of the refused configuration stays.
func TestFailedApplyIsUndone(t *testing.T) {
	p := paths(t, 3)
	text := func(first, second, mood, more string) string {
		return fmt.Sprintf(`
listeners:
  - {name: a, address: %q, fickle: {say: %s, cluster: c}}
  - {name: b, address: %q, fickle: {say: %s, cluster: c}}
%s
clusters: [{name: c, fickle: {mood: %s}, endpoints: ["127.0.0.1:1"], health: {disabled: true}}]
`, p[0], first, p[1], second, more, mood)
	}
	for _, c := range []struct{ name, text, problem string }{
		{"a listener that is updated", text("two", "bad", "fine", ""), "listeners[1]: updating: will not say that"},
		{"a cluster that is updated", text("two", "two", "bad", ""), `clusters[0]: updating "c": in a bad mood`},
		{"a listener that is new", text("two", "two", "fine", fmt.Sprintf("  - {name: n, address: %q, fickle: {say: bad}}", p[2])), "listeners[2]: starting: will not say that"},
		{"an address that changes its protocol", strings.Replace(text("two", "two", "fine", greet("g", p[2], "hello")), "greeter: {words: hello}", "fickle: {say: bad}", 1), "listeners[2]: starting: will not say that"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fickle{}
			g := startWith(t, f)
			good := text("one", "one", "good", "")
			if strings.Contains(c.name, "protocol") {
				good = text("one", "one", "good", greet("g", p[2], "hello"))
			}
			mustApply(t, g, good)
			before, names := g.Snapshot(), len(g.Listeners())
			problems := apply(g, c.text)
			if len(problems) != 1 || problems[0].String() != c.problem {
				t.Fatalf("problems are %v, want %s", problems, c.problem)
			}
			if g.Snapshot() != before || len(g.Listeners()) != names {
				t.Fatal("a refused configuration is in force")
			}
			if l := g.Listener("a"); l.Config() != before.Listener("a") {
				t.Fatal("a listener was left with the refused configuration")
			}
			if cl := g.Cluster("c"); cl.Config() != before.Cluster("c") {
				t.Fatal("a cluster was left with the refused configuration")
			}
			dial(t, p[0]).want(t, "x", "one")
			dial(t, p[1]).want(t, "x", "one")
			if strings.Contains(c.name, "protocol") {
				dial(t, p[2]).want(t, "x", "hello")
			}
			mustApply(t, g, text("three", "three", "fine", greet("g", p[2], "hello"))) // nothing holds the address
			dial(t, p[2]).want(t, "x", "hello")
		})
	}
}

// Sockets that a protocol opens come and go while configurations do.
func TestBindWhileApplying(t *testing.T) {
	f := &fickle{}
	g := startWith(t, f)
	p := paths(t, 5)
	text := func(say string) string {
		return fmt.Sprintf("listeners: [{name: a, address: %q, fickle: {say: %s}}]", p[0], say)
	}
	mustApply(t, g, text("zero"))
	var stop atomic.Bool
	var binders sync.WaitGroup
	for _, address := range p[1:] {
		binders.Go(func() {
			for !stop.Load() {
				l, err := f.host.Bind("a", address, greetingOf("extra"))
				if err != nil {
					t.Errorf("binding: %v", err)
					return
				}
				f.host.Unbind(l)
			}
		})
	}
	for i := range 200 {
		mustApply(t, g, text(fmt.Sprint("n", i)))
	}
	stop.Store(true)
	binders.Wait()
}

func greetingOf(words string) *greeting {
	g := &greeting{}
	g.words.Store(words)
	return g
}

func TestSameAddressIsBoundOnce(t *testing.T) {
	f := &fickle{}
	g := startWith(t, f)
	p := paths(t, 2)
	mustApply(t, g, fmt.Sprintf("listeners: [{name: a, address: %q, fickle: {say: x}}]", p[0]))
	for range 50 {
		var got [4]*listener.Listener
		var binders sync.WaitGroup
		for i := range got {
			binders.Go(func() {
				var err error
				if got[i], err = f.host.Bind("a", p[1], greetingOf("extra")); err != nil {
					t.Errorf("binding: %v", err)
				}
			})
		}
		binders.Wait()
		if t.Failed() {
			return
		}
		for _, l := range got {
			if l != got[0] {
				t.Fatal("one address was bound twice")
			}
		}
		f.host.Unbind(got[0])
	}
}

// Sockets that a protocol opened go with it when the address of their owner changes its protocol; under a new name they stay.
func TestExtraSocketsFollowTheirOwner(t *testing.T) {
	f := &fickle{}
	g := startWith(t, f)
	p := paths(t, 2)
	text := func(name, block string) string {
		return fmt.Sprintf("listeners: [{name: %s, address: %q, %s}]\ndrain: {timeout: 100ms}", name, p[0], block)
	}
	mustApply(t, g, text("a", "fickle: {say: x}"))
	if _, err := f.host.Bind("a", p[1], greetingOf("extra")); err != nil {
		t.Fatal(err)
	}
	dial(t, p[1]).want(t, "x", "extra")
	mustApply(t, g, text("b", "fickle: {say: x}"))
	dial(t, p[1]).want(t, "x", "extra")
	if _, err := f.host.Bind("b", p[1], greetingOf("other")); err != nil {
		t.Fatal(err)
	}
	mustApply(t, g, text("b", "greeter: {words: hello}"))
	if c, err := net.Dial("unix", strings.TrimPrefix(p[1], "unix:")); err == nil {
		c.Close()
		t.Fatal("a socket outlived the protocol that opened it")
	}
}

// Sessions of the protocol that an address no longer speaks have the drain time, and then end.
func TestOldProtocolsSessionsEnd(t *testing.T) {
	server := echoServer(t, "one")
	p := paths(t, 1)
	text := strings.Replace(relay(server), "127.0.0.1:0", p[0], 1) + "drain: {timeout: 100ms}\n"
	g := start(t)
	mustApply(t, g, text)
	old := dial(t, p[0])
	old.want(t, "x", "one x")
	mustApply(t, g, strings.Replace(text, "tcp: {cluster: c}", "greeter: {words: hello}", 1))
	fresh := dial(t, p[0])
	fresh.want(t, "x", "hello")
	if _, err := old.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a session of the old protocol outlived its drain: %v", err)
	}
	fresh.want(t, "y", "hello")
}

// An address that one configuration gives up is free for the next.
func TestAddressIsFreeAtOnce(t *testing.T) {
	p := paths(t, 2)
	g := start(t)
	for range 50 {
		mustApply(t, g, "listeners:\n"+greet("a", p[0], "one")+greet("b", p[1], "two"))
		mustApply(t, g, "listeners:\n"+greet("a", p[0], "one"))
	}
}

// A cluster that nobody names any more stays within reach of whoever began before, for as long as a drain may take.
func TestRemovedClusterIsThereForOldTransactions(t *testing.T) {
	f := &fickle{}
	g := startWith(t, f)
	p := paths(t, 1)
	text := func(cluster string, drain string) string {
		return fmt.Sprintf(`
listeners: [{name: a, address: %q, fickle: {say: x, cluster: %s}}]
clusters: [{name: %s, fickle: {}, endpoints: ["127.0.0.1:1"], health: {disabled: true}}]
drain: {timeout: %s}
`, p[0], cluster, cluster, drain)
	}
	mustApply(t, g, text("c", "1h"))
	c, up := g.Cluster("c"), g.Upstream("c")
	mustApply(t, g, text("d", "1h"))
	if g.Cluster("c") != c || g.Upstream("c") != up {
		t.Fatal("a removed cluster is out of reach at once")
	}
	if all := g.Clusters(); len(all) != 1 || all[0].Name() != "d" {
		t.Fatal("a removed cluster is still listed")
	}
	mustApply(t, g, text("c", "10ms"))
	if g.Cluster("c") != c {
		t.Fatal("a cluster that came back lost what it had")
	}
	mustApply(t, g, text("d", "10ms"))
	eventually(t, "a removed cluster never left", func() bool { return g.Cluster("c") == nil && g.Upstream("c") == nil })
	if g.Cluster("d") == nil {
		t.Fatal("the cluster in force left")
	}
}

func (f *fickle) Close() { f.note("protocol closed") }

// What a protocol keeps for the whole process ends last, and once.
func TestProtocolsAreClosedLast(t *testing.T) {
	f := &fickle{}
	g := startWith(t, f)
	mustApply(t, g, fmt.Sprintf(`
listeners: [{name: a, address: %q, fickle: {say: x, cluster: c}}]
clusters: [{name: c, fickle: {}, endpoints: ["127.0.0.1:1"], health: {disabled: true}}]
`, paths(t, 1)[0]))
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		g.Close(ctx)
		cancel()
	}
	if got := strings.Join(f.updates, ", "); got != "listener a x, cluster closed, protocol closed" {
		t.Fatalf("the protocol saw: %s", got)
	}
}

func TestNothingIsAppliedAfterClose(t *testing.T) {
	g := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	g.Close(ctx)
	problems := apply(g, "listeners:\n"+greet("a", paths(t, 1)[0], "one"))
	if len(problems) != 1 || problems[0].String() != "the process is shutting down" {
		t.Fatalf("problems are %v", problems)
	}
}

// The end of the process does not wait for the drain of what a reload removed.
func TestCloseCutsOlderDrains(t *testing.T) {
	f := &fickle{drained: make(chan struct{})}
	g := startWith(t, f)
	p := paths(t, 2)
	mustApply(t, g, "drain: {timeout: 1h}\nlisteners:\n"+fmt.Sprintf("  - {name: f, address: %q, fickle: {say: x}}\n", p[0])+greet("a", p[1], "one"))
	c := dial(t, p[0])
	c.want(t, "x", "x")
	mustApply(t, g, "drain: {timeout: 1h}\nlisteners:\n"+greet("a", p[1], "one"))
	<-f.drained
	within(t, "the end", func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		g.Close(ctx)
	})
}

// A change between the first reading and the watch, and files that keep changing beside the configuration, are no obstacle.
func TestWatchMissesNothing(t *testing.T) {
	dir := t.TempDir()
	file, noise := filepath.Join(dir, "sidewire.yaml"), filepath.Join(dir, "noise.log")
	p := paths(t, 1)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	text := func(words string) string { return "listeners:\n" + greet("a", p[0], words) }
	g := start(t)
	write(file, text("one"))
	if problems := g.LoadFile(file); len(problems) > 0 {
		t.Fatal(problems)
	}
	write(file, text("two")) // before anybody watches
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() { g.WatchFile(ctx, file, nil) })
	said := func(words string) func() bool {
		return func() bool { got, _ := dial(t, p[0]).ask("x"); return got == words }
	}
	eventually(t, "a change before the watch was missed", said("two"))
	watch.Go(func() {
		for ctx.Err() == nil {
			os.WriteFile(noise, []byte("x"), 0o600)
			time.Sleep(5 * time.Millisecond)
		}
	})
	write(file, text("three"))
	eventually(t, "a busy folder held a change back", said("three"))
	// A file that a refused configuration names is watched as well: it may be what is missing.
	secret := filepath.Join(t.TempDir(), "token")
	write(file, text("four")+fmt.Sprintf("admin: {token: {file: %q}}\n", secret))
	eventually(t, "a missing secret was not noticed", func() bool { return g.Rejected() != nil })
	write(secret, "hush")
	eventually(t, "a secret that appeared was not noticed", said("four"))
}
