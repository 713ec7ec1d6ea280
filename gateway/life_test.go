package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// operator asks the admin interface of g.
func operator(t *testing.T, g *gateway.Gateway) func(method, path string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	return func(method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+g.Admin().Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

const withAdmin = "\nadmin: {address: \"127.0.0.1:0\"}\n"

func TestAdminShowsTheProcess(t *testing.T) {
	server := echoServer(t, "one")
	g := start(t)
	quit := make(chan struct{}, 1)
	g.ServeAdmin(gateway.Identity{Version: "1.2.3"}, func() { quit <- struct{}{} })
	mustApply(t, g, relay(server)+withAdmin)
	ask := operator(t, g)
	if code, body := ask("GET", "/ready"); code != 200 || body != "LIVE\n" {
		t.Errorf("%d %s", code, body)
	}
	c := dial(t, g.Listener("a").Addr().String())
	c.want(t, "x", "one x")
	for path, want := range map[string]string{
		"/clusters": "c::" + server + "::health_flags::", "/listeners": "a::127.0.0.1:", "/server_info": `"version": "1.2.3"`,
		"/stats": "downstream_cx_active: 1", "/metrics": `sidewire_listener_connections{listener="a"} 1`, "/config_dump": `"name": "c"`,
	} {
		if code, body := ask("GET", path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, no %q in\n%s", path, code, want, body)
		}
	}
	g.Reject("file:x", apply(g, "listeners: []"))
	if _, body := ask("GET", "/config_dump"); !strings.Contains(body, "there is nothing to serve") {
		t.Errorf("the rejected configuration is not shown:\n%s", body)
	}
	ask("POST", "/quitquitquit")
	select {
	case <-quit:
	case <-time.After(patience):
		t.Error("/quitquitquit did not ask for the end")
	}
}

func TestAdminPortInUseChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	server := echoServer(t, "one")
	g := start(t)
	g.ServeAdmin(gateway.Identity{}, func() {})
	mustApply(t, g, relay(server)+withAdmin)
	before := g.Snapshot()
	problems := apply(g, relay(server)+"\nadmin: {address: \""+taken.Addr().String()+"\"}\n")
	if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "admin.address: binding ") || g.Snapshot() != before {
		t.Fatalf("problems are %v", problems)
	}
	if code, _ := operator(t, g)("GET", "/ready"); code != 200 {
		t.Errorf("%d", code)
	}
}

func TestGracefulDrainServesOnUntilTheLastClientHasGone(t *testing.T) {
	server := echoServer(t, "one")
	g := start(t)
	g.ServeAdmin(gateway.Identity{}, func() {})
	mustApply(t, g, strings.Replace(relay(server), "timeout: 100ms", "timeout: 10s", 1)+withAdmin)
	address := g.Listener("a").Addr().String()
	ask := operator(t, g)
	first := dial(t, address)
	first.want(t, "x", "one x")
	ask("POST", "/drain_listeners?graceful&skip_exit")
	if code, body := ask("GET", "/ready"); code != 503 || body != "DRAINING\n" {
		t.Errorf("%d %s", code, body)
	}
	dial(t, address).want(t, "x", "one x") // the application is still at work
	ask("POST", "/drain_listeners?graceful")
	second := dial(t, address)
	second.want(t, "y", "one y")
	first.want(t, "y", "one y")
}

func TestDrainStopsAccepting(t *testing.T) {
	server := echoServer(t, "one")
	g := start(t)
	g.ServeAdmin(gateway.Identity{}, func() {})
	mustApply(t, g, relay(server)+withAdmin)
	address := g.Listener("a").Addr().String()
	operator(t, g)("POST", "/drain_listeners")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("a drained listener still accepts")
		}
	}
}

// An operator's drain of all listeners gives every session the same time, and SIGTERM during it takes none of that away.
// What an operator drained stays closed through new configurations, and is bound again when the operator takes it back.
func TestDrainIsTakenBack(t *testing.T) {
	server := echoServer(t, "one")
	path := "unix:" + filepath.Join(t.TempDir(), "s")
	text := strings.Replace(relay(server), "127.0.0.1:0", path, 1) + withAdmin
	g := start(t)
	g.ServeAdmin(gateway.Identity{}, func() {})
	mustApply(t, g, text)
	serves := func() bool {
		c, err := net.DialTimeout("unix", strings.TrimPrefix(path, "unix:"), patience)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	until := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); serves() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("serves is not %v", want)
			}
		}
	}
	operator(t, g)("POST", "/drain_listeners")
	until(false)
	mustApply(t, g, text, "node: {zone: z}")
	if serves() {
		t.Fatal("a new configuration opened what an operator had closed")
	}
	operator(t, g)("POST", "/healthcheck/ok")
	until(true)
	dial(t, path).want(t, "x", "one x")
	// A graceful one that still waits for its clients is given up.
	c := dial(t, path)
	c.want(t, "y", "one y")
	operator(t, g)("POST", "/drain_listeners?graceful")
	operator(t, g)("POST", "/healthcheck/ok")
	c.want(t, "z", "one z")
	dial(t, path).want(t, "w", "one w")
}

func TestDrainsShareTheirTime(t *testing.T) {
	p := paths(t, 2)
	f := &fickle{drains: make(chan string, 2), leave: make(chan struct{})}
	g := startWith(t, f)
	g.ServeAdmin(gateway.Identity{}, func() {})
	mustApply(t, g, fmt.Sprintf("listeners:\n  - {name: a, address: %q, fickle: {say: a}}\n  - {name: b, address: %q, fickle: {say: b}}\n", p[0], p[1])+withAdmin)
	a, b := dial(t, p[0]), dial(t, p[1])
	a.want(t, "x", "a")
	b.want(t, "x", "b")
	operator(t, g)("POST", "/drain_listeners")
	for range 2 {
		select {
		case <-f.drains:
		case <-time.After(patience):
			t.Fatal("a listener was not told to drain")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		g.Close(ctx)
	}()
	select {
	case <-closed:
		t.Fatal("the end did not wait for the drain")
	case <-time.After(50 * time.Millisecond):
	}
	a.want(t, "y", "a")
	b.want(t, "y", "b")
	a.Close()
	b.Close()
	close(f.leave)
	within(t, "the end", func() { <-closed })
}

// Whoever reads the access log may have stopped: a reload does not wait for it for ever.
func TestStuckAccessLogHoldsNothingUp(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDWR, 0) // never read
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	g := start(t)
	text := "listeners:\n" + greet("a", paths(t, 1)[0], "one")
	mustApply(t, g, text+fmt.Sprintf("access_log: {path: %q}\n", fifo))
	for range 4 { // more than a pipe holds
		for range 400 {
			g.Access().Log(&telemetry.Entry{Text: strings.Repeat("x", 1000)})
		}
		time.Sleep(10 * time.Millisecond)
	}
	within(t, "a reload", func() { mustApply(t, g, text) })
	reader.Read(make([]byte, 1<<20)) // let the writer end
	reader.Read(make([]byte, 1<<20))
}
