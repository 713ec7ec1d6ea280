package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// Large values go out and come back in pieces, among small ones, in order, whatever the pieces are.
func TestLargeValuesPassInPieces(t *testing.T) {
	for seed := range uint64(30) {
		for _, m := range []mode{modeSingle, modeHashed, modeSlots} {
			w := newWorld(t, seed, 1+2*int(min(m, 1)), m)
			w.up.large = 500
			w.up.connections = 1
			for g := range 4 {
				c := w.client()
				for i := range 12 {
					k := fmt.Sprint("k", g, i)
					v := strings.Repeat(string(rune('a'+i)), []int{3, 400, 600, 5000}[(i+g)%4])
					c.ask("+OK\r\n", "SET", k, v)
					c.ask(fmt.Sprintf("$%d\r\n%s\r\n", len(v), v), "GET", k)
					c.ask("+PONG\r\n", "PING")
					c.ask("$-1\r\n", "GET", "none")
					c.ask(fmt.Sprintf("$%d\r\n%s\r\n", len(v), v), "GET", k)
				}
			}
			w.finish()
			for _, v := range w.up.views {
				for _, p := range v.pools {
					if p.leased != 0 {
						t.Fatalf("%d connections are leased for ever", p.leased)
					}
				}
			}
		}
	}
}

// What waits for a slow side is bounded, however large the value: the source is not read on.
func TestLargeValuesWaitForTheSlowSide(t *testing.T) {
	w := newWorld(t, 1, 1, modeSingle)
	w.slow, w.chunk = true, 20000
	c, other := w.client(), w.client()
	v := strings.Repeat("v", 8<<20)
	c.ask("+OK\r\n", "SET", "k", v)
	for range 3 {
		c.askFunc(func(f []byte) error {
			if len(f) != len(v)+len("$8388608\r\n\r\n") {
				return fmt.Errorf("a reply of %d bytes", len(f))
			}
			return nil
		}, "GET", "k")
	}
	for range 500 {
		other.ask("$-1\r\n", "GET", "x")
	}
	w.finish()
	for _, l := range w.links {
		if l.most > 2<<20 {
			t.Errorf("%d bytes waited for the server", l.most)
		}
	}
	if c.most > 2<<20 {
		t.Errorf("%d bytes waited for the client", c.most)
	}
}

// A large reply that its client does not fetch keeps nobody else waiting.
func TestLargeReplyHoldsUpNobody(t *testing.T) {
	w := newWorld(t, 2, 1, modeSingle)
	w.slow, w.chunk = true, 20000
	w.servers["10.0.0.1:6379"].data["k"] = strings.Repeat("v", 8<<20)
	first := w.client()
	first.askFunc(func([]byte) error { return errors.New("came whole") }, "GET", "k")
	for first.step() {
	}
	w.clients = nil // it does not read on
	w.run()
	for range 20 {
		other := w.client()
		other.ask("$-1\r\n", "GET", "x")
		other.ask("$-1\r\n", "GET", "y")
	}
	w.finish()
	if first.session.closed || first.wire.Unsent() > 2<<20 {
		t.Errorf("the slow client is gone: %v, or has %d bytes waiting", first.session.closed, first.wire.Unsent())
	}
	w.pass(time.Minute)
	if n := w.up.nodes[0]; first.session.closed || n.failures > 0 {
		t.Errorf("the server is blamed for its client: %d failures, %v", n.failures, n.lastErr)
	}
	// Those who ask for the same key again do so on connections of their own.
	again := w.client()
	again.askFunc(func(f []byte) error { return nil }, "GET", "k")
	w.finish()
	if n := len(w.up.largeKeys); n != 1 {
		t.Errorf("%d keys are known to be large", n)
	}
}

// Those whose commands were behind a large reply already when it turned out to be one do not wait for its client either.
func TestSlowClientHoldsUpNobodyBehindIt(t *testing.T) {
	w := newWorld(t, 2, 1, modeSingle)
	w.slow, w.chunk = true, 20000
	w.gate.limits.output = 16 << 20
	w.servers["10.0.0.1:6379"].data["k"] = strings.Repeat("v", 8<<20)
	first, other := w.client(), w.client()
	for range 3 {
		first.askFunc(func([]byte) error { return errors.New("came whole") }, "GET", "k")
	}
	other.ask("$-1\r\n", "GET", "x")
	for first.session.inFlight() < 3 {
		first.step()
	}
	for other.session.inFlight() == 0 {
		other.step()
	}
	w.clients = []*client{other} // the first does not read
	w.finish()
	if !first.session.closed && first.wire.Unsent() > 16<<20 {
		t.Errorf("%d bytes wait for a client that does not read", first.wire.Unsent())
	}
}

// A large command whose slot has moved cannot be sent on: its bytes are gone. It was not executed, and its client hears so.
func TestLargeCommandThatHasMoved(t *testing.T) {
	w := newWorld(t, 3, 2, modeSlots)
	w.up.large = 500
	at := w.up.nodes[w.up.locate([]byte("k"), nil)].address
	w.servers[at].says = map[string]string{"k": fmt.Sprintf("-MOVED 7629 %s\r\n", w.up.nodes[0].address)}
	if at == w.up.nodes[0].address {
		w.servers[at].says["k"] = fmt.Sprintf("-MOVED 7629 %s\r\n", w.up.nodes[1].address)
	}
	c := w.client()
	v := strings.Repeat("v", 5000)
	c.askFunc(func(f []byte) error {
		if !strings.HasPrefix(string(f), "-TRYAGAIN ") {
			return fmt.Errorf("%q", f)
		}
		return nil
	}, "SET", "k", v)
	c.ask("+OK\r\n", "SET", "k", v)
	w.finish()
}

// The server goes while a large command is on its way: the rest is dropped, the client is told, and goes on.
func TestServerGoesDuringLargeCommand(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 1, modeSingle)
		w.up.large = 500
		c := w.client()
		c.askFunc(func(f []byte) error {
			if f[0] != redis.TypeError || strings.Contains(string(f), "unknown outcome") {
				return fmt.Errorf("%q", f)
			}
			return nil
		}, "SET", "k", strings.Repeat("v", 50000))
		c.ask("$-1\r\n", "GET", "k")
		for len(c.toSend) > 20000 {
			c.step()
			w.connect()
			for _, l := range w.links {
				w.serve(l)
			}
		}
		for _, l := range append([]*upLink(nil), w.links...) {
			if l.b.dedicated {
				w.lose(l, errors.New("gone"))
			}
		}
		w.finish()
	}
}

func TestLargeCommandToNobody(t *testing.T) {
	w := newWorld(t, 4, 1, modeSingle)
	w.up.large = 500
	w.refuse["10.0.0.1:6379"] = errNobody
	c := w.client()
	for range 3 {
		c.askFunc(func(f []byte) error {
			if f[0] != redis.TypeError {
				return fmt.Errorf("%q", f)
			}
			return nil
		}, "SET", "k", strings.Repeat("v", 50000))
	}
	w.finish()
}

func TestLargeCommandThatIsNone(t *testing.T) {
	w := newWorld(t, 5, 1, modeSingle)
	w.up.large = 500
	c := w.client()
	c.toSend = append(c.toSend, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\n"+strings.Repeat("v", 1000)+"xx"...)
	c.askFunc(func(f []byte) error {
		if !strings.HasPrefix(string(f), "-ERR Protocol error") {
			return fmt.Errorf("%q", f)
		}
		return nil
	})
	c.toSend = c.toSend[:len(c.toSend)-len("*0\r\n")]
	w.finish()
	if !c.wire.finished {
		t.Error("the session goes on")
	}
}

// A connection that is closed from here is no failing of its server, which may not be ejected for it.
func TestOwnClosingIsNoFailure(t *testing.T) {
	w := newWorld(t, 6, 1, modeSingle)
	failures := 0
	w.up.reporting = func(_ *node, err error) {
		if err != nil {
			failures++
		}
	}
	for range 10 {
		c := w.client()
		c.askFunc(func([]byte) error { return errors.New("was answered") }, "BLPOP", "q", "0")
		w.run()
		c.session.hangup()
	}
	if w.clients = nil; failures > 0 {
		t.Errorf("ten clients that went while they were blocked are %d failures of their server", failures)
	}
	c := w.client()
	c.askFunc(func([]byte) error { return nil }, "GET", "k")
	w.run()
	for _, l := range append([]*upLink(nil), w.links...) {
		if l.b.state == ready && !l.b.dedicated {
			w.lose(l, errors.New("reset"))
		}
	}
	if failures == 0 {
		t.Error("a lost connection goes unreported")
	}
}
