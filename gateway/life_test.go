package gateway_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway"
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
