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
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/tcp"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

func start(t *testing.T) *gateway.Gateway {
	t.Helper()
	logs, err := telemetry.NewLogs(io.Discard, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(logs, tcp.Protocol(), greeter{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		g.Close(ctx)
	})
	return g
}

func apply(g *gateway.Gateway, text string) []config.Problem {
	n, problems := config.Parse([]byte(text))
	if len(problems) > 0 {
		return problems
	}
	m, problems := g.Language().DecodeModel(n, config.Origin{}, &config.Env{})
	if len(problems) > 0 {
		return problems
	}
	s, problems := g.Language().Compile(m, g.Snapshot())
	if len(problems) > 0 {
		return problems
	}
	return g.Apply(s)
}

func mustApply(t *testing.T, g *gateway.Gateway, text string, more ...string) {
	t.Helper()
	if problems := apply(g, text+"\n"+strings.Join(more, "\n")); len(problems) > 0 {
		t.Fatal(config.Problems(problems))
	}
}

// echoServer answers every line with its own name and the line.
func echoServer(t *testing.T, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveEcho(t, l, name)
}

func serveEcho(t *testing.T, l net.Listener, name string) string {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					fmt.Fprintf(c, "%s %s", name, line)
				}
			})
		}
	})
	return l.Addr().String()
}

type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	return dialFrom(t, nil, address)
}

// dialFrom connects from an address of this host; nil is any.
func dialFrom(t *testing.T, source net.Addr, address string) *client {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := (&net.Dialer{Timeout: patience, LocalAddr: source}).Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(c)}
}

func (c *client) ask(line string) (string, error) {
	if _, err := fmt.Fprintf(c, "%s\n", line); err != nil {
		return "", err
	}
	answer, err := c.r.ReadString('\n')
	return strings.TrimSpace(answer), err
}

func (c *client) want(t *testing.T, line, want string) {
	t.Helper()
	if got, err := c.ask(line); err != nil || got != want {
		t.Fatalf("answer to %q is %q, %v; want %q", line, got, err, want)
	}
}

func relay(server string) string {
	return fmt.Sprintf(`
listeners: [{name: a, address: "127.0.0.1:0", tcp: {cluster: c}}]
clusters: [{name: c, tcp: {}, endpoints: [%q]}]
`, server)
}

func TestHundredReloadsUnderLoadDropNothing(t *testing.T) {
	one, two := echoServer(t, "one"), echoServer(t, "two")
	g := start(t)
	mustApply(t, g, relay(one))
	address := g.Listener("a").Addr().String()
	var stop atomic.Bool
	var asked atomic.Int64
	var load sync.WaitGroup
	for range 8 {
		c := dial(t, address)
		load.Go(func() {
			for !stop.Load() {
				if _, err := c.ask("x"); err != nil {
					t.Errorf("an open connection failed: %v", err)
					return
				}
				asked.Add(1)
			}
		})
		load.Go(func() {
			for !stop.Load() {
				c, err := net.DialTimeout("tcp", address, patience)
				if err != nil {
					t.Errorf("a new connection failed: %v", err)
					return
				}
				fmt.Fprintln(c, "y")
				if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
					t.Errorf("a new connection got no answer: %v", err)
				}
				c.Close()
			}
		})
	}
	for i := range 100 {
		mustApply(t, g, relay([]string{two, one}[i%2]))
		for before := asked.Load(); asked.Load() < before+20 && !t.Failed(); { // load runs between any two reloads
			time.Sleep(time.Millisecond)
		}
	}
	stop.Store(true)
	load.Wait()
}

func TestNewConfigurationServesNewConnections(t *testing.T) {
	one, two := echoServer(t, "one"), echoServer(t, "two")
	g := start(t)
	mustApply(t, g, relay(one))
	address := g.Listener("a").Addr().String()
	before := dial(t, address)
	before.want(t, "x", "one x")
	mustApply(t, g, relay(two))
	dial(t, address).want(t, "x", "two x")
	before.want(t, "y", "one y")
}

func TestPortInUseChangesNothing(t *testing.T) {
	server := echoServer(t, "one")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	g := start(t)
	mustApply(t, g, relay(server))
	address := g.Listener("a").Addr().String()
	before := g.Snapshot()
	problems := apply(g, fmt.Sprintf(`
listeners:
  - {name: b, address: "127.0.0.1:0", tcp: {cluster: d}}
  - {name: c, address: %q, tcp: {cluster: d}}
clusters: [{name: d, tcp: {}, endpoints: [%q]}]
`, taken.Addr(), server))
	want := fmt.Sprintf("listeners[1].address: binding %s: bind: address already in use by this process", taken.Addr())
	if len(problems) != 1 || problems[0].String() != want {
		t.Fatalf("problems are %v, want %s", problems, want)
	}
	if g.Snapshot() != before || g.Listener("b") != nil || g.Cluster("d") != nil || g.Listener("a") == nil {
		t.Fatal("a configuration that did not apply left traces")
	}
	dial(t, address).want(t, "x", "one x")
}

func TestRemovedListenerIsDrainedAndCut(t *testing.T) {
	server := echoServer(t, "one")
	g := start(t)
	mustApply(t, g, relay(server))
	address := g.Listener("a").Addr().String()
	c := dial(t, address)
	c.want(t, "x", "one x")
	mustApply(t, g, strings.Replace(relay(server), "name: a", "name: b", 1), "drain: {timeout: 100ms}")
	if _, err := c.r.ReadByte(); err == nil {
		t.Fatal("a connection of a removed listener outlived its drain")
	}
	if _, err := net.DialTimeout("tcp", address, patience); err == nil {
		t.Fatal("a removed listener still accepts")
	}
}

func TestRenamedListenerKeepsItsConnections(t *testing.T) {
	server := echoServer(t, "one")
	path := "unix:" + filepath.Join(t.TempDir(), "s")
	text := func(name string) string {
		return strings.NewReplacer("127.0.0.1:0", path, "name: a", "name: "+name).Replace(relay(server))
	}
	g := start(t)
	mustApply(t, g, text("a"))
	c := dial(t, path)
	c.want(t, "x", "one x")
	mustApply(t, g, text("b"))
	c.want(t, "y", "one y")
	dial(t, path).want(t, "z", "one z")
	if g.Listener("b") == nil || g.Listener("a") != nil {
		t.Fatal("the listener did not take its new name")
	}
}

// What a listener had told goes with it, unless it goes on under another name.
func TestRemovedListenerIsForgotten(t *testing.T) {
	dir := t.TempDir()
	text := func(name, path string) string {
		return fmt.Sprintf("listeners: [{name: %s, address: \"unix:%s/%s\", greeter: {words: hi}}]\n", name, dir, path)
	}
	g := start(t)
	mustApply(t, g, text("a", "one"))
	describe := func(string, uint8) (string, string) { return "SELECT ?", "SELECT" }
	g.Statements().Recorder("a", "greeter", describe).Record(&telemetry.Statement{Text: "SELECT 1", Digest: 7}, nil)
	if n := len(g.Statements().Digests()); n != 1 {
		t.Fatalf("%d digests", n)
	}
	mustApply(t, g, text("b", "one"))
	if n := len(g.Statements().Digests()); n != 1 {
		t.Errorf("%d digests after a change of name", n)
	}
	mustApply(t, g, text("b", "two"))
	if n := len(g.Statements().Digests()); n != 0 {
		t.Errorf("%d digests of a listener that is gone", n)
	}
}

// A listener that moved is there twice while the old one drains: what the old one leaves is not the new one's.
func TestViewsOfTwoOwners(t *testing.T) {
	g := start(t)
	first := g.View("v", func() any { return 1 })
	second := g.View("v", func() any { return 2 })
	first()
	if v := g.Views()["v"]; v == nil || v() != 2 {
		t.Error("the second owner's view went with the first")
	}
	second()
	if g.Views()["v"] != nil {
		t.Error("a view outlived its owner")
	}
}

func TestEndpointsCountConnections(t *testing.T) {
	server := echoServer(t, "one")
	g := start(t)
	mustApply(t, g, strings.Replace(relay(server), "tcp: {}", "tcp: {}, health: {disabled: true}", 1))
	for range 3 {
		dial(t, g.Listener("a").Addr().String()).want(t, "x", "one x")
	}
	if open, opened, failed := g.Cluster("c").Endpoints()[0].Connections(); open != 3 || opened != 3 || failed != 0 {
		t.Errorf("%d open, %d opened, %d failed", open, opened, failed)
	}
	mustApply(t, g, strings.Replace(relay("127.0.0.1:1"), "tcp: {}", "tcp: {}, health: {disabled: true}", 1))
	c := dial(t, g.Listener("a").Addr().String())
	if _, err := c.ask("x"); err == nil {
		t.Fatal("nobody listens, and there was an answer")
	}
	if _, opened, failed := g.Cluster("c").Endpoints()[0].Connections(); opened != 0 || failed != 1 {
		t.Errorf("%d opened, %d failed", opened, failed)
	}
}

func TestAddressChangesItsProtocol(t *testing.T) {
	server := echoServer(t, "one")
	path := "unix:" + filepath.Join(t.TempDir(), "s")
	text := strings.Replace(relay(server), "127.0.0.1:0", path, 1) + "drain: {timeout: 100ms}\n"
	g := start(t)
	mustApply(t, g, text)
	dial(t, path).want(t, "x", "one x")
	mustApply(t, g, strings.Replace(text, "tcp: {cluster: c}", "greeter: {words: hello}", 1))
	dial(t, path).want(t, "x", "hello")
	mustApply(t, g, strings.Replace(text, "tcp: {cluster: c}", "greeter: {words: goodbye}", 1))
	dial(t, path).want(t, "x", "goodbye")
}

// What cannot be taken back waits until the whole configuration is in force.
func TestRefusedConfigurationSettlesNothing(t *testing.T) {
	dir := t.TempDir()
	text := func(first, second string) string {
		return fmt.Sprintf("listeners:\n- {name: a, address: \"unix:%[1]s/a\", greeter: {words: %[2]s}}\n- {name: b, address: \"unix:%[1]s/b\", greeter: {words: %[3]s}}\n", dir, first, second)
	}
	g := start(t)
	mustApply(t, g, text("one", "one"))
	mustApply(t, g, text("two", "one"))
	h := g.Listener("a").Handler().(*greeting)
	if h.settled.Load() != "two" {
		t.Errorf("settled on %v, want two", h.settled.Load())
	}
	if problems := apply(g, text("three", "refused")); len(problems) != 1 {
		t.Fatalf("problems: %v", problems)
	}
	if h.settled.Load() != "two" || h.words.Load() != "two" {
		t.Errorf("a refused configuration settled on %v and left %v", h.settled.Load(), h.words.Load())
	}
}

// A listener widens from one address of its port to all, and narrows again, without a moment in which the port is closed.
func TestAddressesOfOnePort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs SO_REUSEPORT on bound sockets")
	}
	server := echoServer(t, "one")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	text := func(host string) string {
		return strings.Replace(relay(server), "127.0.0.1:0", host+":"+port, 1) + "drain: {timeout: 60s}\n"
	}
	g := start(t)
	mustApply(t, g, text("127.0.0.1"))
	old := dial(t, "127.0.0.1:"+port)
	old.want(t, "x", "one x")
	var stop atomic.Bool
	var asking sync.WaitGroup
	asking.Go(func() {
		for ; !stop.Load(); time.Sleep(time.Millisecond) {
			c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, patience)
			switch {
			case err == nil:
				c.Close()
			case !errors.Is(err, syscall.ECONNRESET): // it had come to the old socket, whose queue went with it
				t.Errorf("the port was closed: %v", err)
				return
			}
		}
	})
	for range 5 {
		mustApply(t, g, text("0.0.0.0"))
		dial(t, "127.0.0.2:"+port).want(t, "y", "one y")
		mustApply(t, g, text("127.0.0.1"))
		dial(t, "127.0.0.1:"+port).want(t, "z", "one z")
		if c, err := net.DialTimeout("tcp", "127.0.0.2:"+port, patience); err == nil {
			c.Close()
			t.Error("a narrowed listener still serves other addresses")
		}
	}
	stop.Store(true)
	asking.Wait()
	old.want(t, "w", "one w")
	if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
		l.Close()
		t.Error("the port was given to others")
	}
	// A configuration that is refused for another reason leaves the old socket.
	two := strings.Replace(text("0.0.0.0"), "listeners: [", "listeners: [{name: r, address: \"unix:"+t.TempDir()+"/no/such/dir\", tcp: {cluster: c}}, ", 1)
	if problems := apply(g, two); len(problems) == 0 {
		t.Fatal("a socket in a folder that is not there was bound")
	}
	dial(t, "127.0.0.1:"+port).want(t, "v", "one v")
}

func TestConnectionLimitRefusesInTheProtocolsWords(t *testing.T) {
	g := start(t)
	mustApply(t, g, `listeners: [{name: a, address: "127.0.0.1:0", limits: {connections: 1}, greeter: {words: hello}}]`)
	address := g.Listener("a").Addr().String()
	first := dial(t, address)
	first.want(t, "x", "hello")
	second := dial(t, address)
	if got, _ := second.r.ReadString('\n'); got != "sorry: too many connections\n" {
		t.Fatalf("refusal is %q", got)
	}
	first.want(t, "y", "hello")
	first.Close()
	for deadline := time.Now().Add(patience); g.Listener("a").Connections() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("a closed connection still counts")
		}
		time.Sleep(time.Millisecond)
	}
	dial(t, address).want(t, "z", "hello")
}

func TestPanicEndsOneSessionOnly(t *testing.T) {
	g := start(t)
	mustApply(t, g, `listeners: [{name: a, address: "127.0.0.1:0", greeter: {words: hello}}]`)
	address := g.Listener("a").Addr().String()
	other := dial(t, address)
	other.want(t, "x", "hello")
	if _, err := dial(t, address).ask("panic"); err == nil {
		t.Fatal("a session answered after its panic")
	}
	other.want(t, "y", "hello")
}

func TestReloadOnSignalAndFileChange(t *testing.T) {
	one, two := echoServer(t, "one"), echoServer(t, "two")
	file := filepath.Join(t.TempDir(), "sidewire.yaml")
	write := func(text string) {
		t.Helper()
		// As editors and config maps do it: a new file takes the old one's name.
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	g := start(t)
	write(relay(one))
	if p := g.LoadFile(file); len(p) > 0 {
		t.Fatal(p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		if err := g.WatchFile(ctx, file, signals); err != nil {
			t.Error(err)
		}
	})
	signals <- syscall.SIGHUP // answered only once the watch stands
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !ok(); {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
			time.Sleep(time.Millisecond)
		}
	}
	first := g.Snapshot()
	write(relay(two))
	until("a changed file was not loaded", func() bool { return g.Snapshot() != first })
	second := g.Snapshot()
	write("listeners: nonsense")
	until("a broken file was not rejected", func() bool { return g.Rejected() != nil })
	if g.Snapshot() != second {
		t.Fatal("a broken file replaced a good one")
	}
	if got := g.Rejected().Texts[0]; got != `listeners: expected a list, found "nonsense"` {
		t.Fatalf("rejected for %q", got)
	}
	write(relay(two))
	until("the rejection outlived its cause", func() bool { return g.Rejected() == nil })
}

// greeter is a protocol in which the server says the same words to every line.
type greeter struct{}

type greeterBlock struct {
	Words string `yaml:"words" required:"true"`
}

func (greeter) Name() string       { return "greeter" }
func (greeter) ListenerBlock() any { return &greeterBlock{} }
func (greeter) ClusterBlock() any  { return nil }
func (greeter) CheckListener(*config.Model, *config.Listener, config.Path) []config.Problem {
	return nil
}
func (greeter) CheckCluster(*config.Model, *config.Cluster, config.Path) []config.Problem { return nil }
func (greeter) NewProbe(*config.Cluster, config.Endpoint) cluster.Probe                   { return nil }
func (greeter) Upstream(host.Host, *cluster.Cluster) (host.Upstream, error)               { return nil, nil }
func (greeter) Listen(_ host.Host, l *config.Listener) (listener.Handler, error) {
	g := &greeting{}
	return g, g.Update(l)
}

type greeting struct{ words, settled atomic.Value }

func (g *greeting) Update(l *config.Listener) error {
	words := l.Block.(*greeterBlock).Words
	if words == "refused" {
		return errors.New("no such words")
	}
	g.words.Store(words)
	return nil
}
func (g *greeting) Settle()                            { g.settled.Store(g.words.Load()) }
func (g *greeting) Refuse(c *listener.Conn, why error) { fmt.Fprintf(c, "sorry: %v\n", why) }
func (g *greeting) Drain(context.Context)              {}
func (g *greeting) Close()                             {}
func (g *greeting) Handle(_ context.Context, c *listener.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "panic\n" {
			panic("asked to")
		}
		fmt.Fprintf(c, "%s\n", g.words.Load())
	}
}
