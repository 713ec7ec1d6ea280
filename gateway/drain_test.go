package gateway_test

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestSidecarServesUntilItsApplicationHasGone(t *testing.T) {
	server := echoServer(t, "one")
	g := start(t)
	mustApply(t, g, relay(server)+"\n", "drain: {mode: sidecar, timeout: 1m}")
	address := g.Listener("a").Addr().String()
	c := dial(t, address)
	c.want(t, "x", "one x")
	closed := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() {
		g.Close(ctx)
		close(closed)
	}()
	for range 20 {
		late := dial(t, address) // the application still opens connections while it finishes
		late.want(t, "y", "one y")
		late.Close()
	}
	c.want(t, "z", "one z")
	select {
	case <-closed:
		t.Fatal("ended while a client was connected")
	default:
	}
	c.Close()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("did not end when the last client had gone")
	}
}

func TestSidecarCutsWhatIsLeftAtItsLimit(t *testing.T) {
	g := start(t)
	mustApply(t, g, relay(echoServer(t, "one")), "drain: {mode: sidecar, timeout: 200ms, grace: 100ms}")
	c := dial(t, g.Listener("a").Addr().String())
	c.want(t, "x", "one x")
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	g.Close(ctx)
	if _, err := c.ask("y"); err == nil {
		t.Fatal("a connection outlived the drain")
	}
}

func TestMemoryLimitRefusesNewClientsOnly(t *testing.T) {
	g := start(t)
	hello := `listeners: [{name: a, address: "127.0.0.1:0", greeter: {words: hello}}]`
	mustApply(t, g, hello)
	address := g.Listener("a").Addr().String()
	before := dial(t, address)
	before.want(t, "x", "hello")
	mustApply(t, g, hello, "memory: {limit: 1MB}") // the process takes more than that
	answer := ""
	for deadline := time.Now().Add(patience); !strings.HasPrefix(answer, "sorry"); {
		if time.Now().After(deadline) {
			t.Fatalf("a new client got %q", answer)
		}
		answer, _ = dial(t, address).ask("y")
	}
	if answer != "sorry: out of memory for further connections" {
		t.Fatalf("refusal is %q", answer)
	}
	before.want(t, "z", "hello")
	mustApply(t, g, hello, "memory: {limit: 1GB}")
	dial(t, address).want(t, "x", "hello")
}
