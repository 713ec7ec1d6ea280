package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Replies that wait behind one that takes long count as output that a client leaves unfetched: what it can make sidewire hold is bounded.
func TestRepliesThatWaitForTheirTurnAreBounded(t *testing.T) {
	w := newWorld(t, 1, 2, modeHashed)
	w.gate.limits.output, w.chunk = 1<<20, 20000
	slow, fast := "", ""
	for i := range 100 {
		k := fmt.Sprint("k", i)
		if n := w.up.nodes[w.up.locate([]byte(k), nil)]; n.index == 0 {
			slow = k
		} else {
			fast = k
		}
	}
	w.servers["10.0.0.2:6379"].data[fast] = strings.Repeat("v", 30<<10)
	c := w.client()
	c.session.window = 1000
	c.askFunc(func([]byte) error { return errors.New("was answered") }, "APPEND", slow, "never answered")
	for range 100 {
		c.askFunc(func([]byte) error { return errors.New("was answered before its turn") }, "GET", fast)
	}
	w.run()
	if !c.session.closed || w.gate.stats.overflows != 1 {
		t.Errorf("closed: %v, holding %d bytes", c.session.closed, c.session.kept)
	}
	w.clients = nil
	other := w.client()
	other.askFunc(func([]byte) error { return nil }, "GET", fast)
	w.finish()
}

// So do the parts of a reply that is joined.
func TestJoinedRepliesAreBounded(t *testing.T) {
	for _, size := range []int{600 << 10, 3 << 20} {
		w := newWorld(t, 1, 2, modeHashed)
		w.gate.limits.output, w.chunk = 1<<20, 20000
		ask := []string{"MGET"}
		for i := range 20 {
			k := fmt.Sprint("k", i)
			w.servers[w.up.nodes[w.up.locate([]byte(k), nil)].address].data[k] = strings.Repeat("v", size)
			ask = append(ask, k)
		}
		c := w.client()
		c.askFunc(func([]byte) error { return errors.New("was answered") }, ask...)
		w.run()
		if !c.session.closed {
			t.Errorf("values of %d bytes: the client is kept", size)
		}
		for _, l := range w.links {
			if n := len(l.wire.in); n > 1<<20 {
				t.Errorf("values of %d bytes: %d are held for nobody", size, n)
			}
		}
		w.clients = nil
		other := w.client()
		other.ask("$-1\r\n", "GET", "none")
		w.finish()
	}
}

// Two large replies of two servers: the second waits for the client to fetch the first, unread, and nobody is blamed for it.
func TestLargeReplyWaitsForAnother(t *testing.T) {
	w := newWorld(t, 1, 2, modeHashed)
	w.slow, w.chunk = true, 100000
	keys := []string{"", ""}
	v := strings.Repeat("v", 4<<20)
	for i := range 20 {
		k := fmt.Sprint("k", i)
		n := w.up.locate([]byte(k), nil)
		keys[n] = k
		w.servers[w.up.nodes[n].address].data[k] = v
	}
	c := w.client()
	for _, k := range []string{keys[0], keys[1], keys[0]} {
		c.askFunc(func(f []byte) error {
			if len(f) < len(v) {
				return fmt.Errorf("got %.100q", f)
			}
			return nil
		}, "GET", k)
	}
	for c.session.inFlight() < 3 {
		c.step()
	}
	w.clients = nil // it does not read now
	w.run()
	for range 10 {
		w.pass(10 * time.Second)
	}
	for _, n := range w.up.nodes {
		if n.failures > 0 {
			t.Errorf("%s is blamed for its client: %v", n.address, n.lastErr)
		}
	}
	w.clients = []*client{c}
	w.finish()
	if c.most > 2<<20 {
		t.Errorf("%d bytes waited for the client", c.most)
	}
	for _, l := range w.links {
		if l.b.passed+cap(l.wire.in) > 4<<20 {
			t.Errorf("%d bytes of a reply were held", cap(l.wire.in))
		}
	}
}

// A client that writes faster than its server reads is not read any further.
func TestWritesWaitForTheServer(t *testing.T) {
	for _, connected := range []bool{true, false} {
		w := newWorld(t, 1, 1, modeSingle)
		c := w.client()
		c.session.window = maxInFlight
		if connected {
			c.ask("$-1\r\n", "GET", "k")
			w.finish()
		}
		v := strings.Repeat("v", 500<<10)
		for range 100 {
			c.ask("+OK\r\n", "SET", "k", v)
		}
		w.chunk = 1 << 20
		for c.step() && !c.wire.paused {
		}
		held := 0
		for b := range w.engine.backends {
			held += len(b.queued)
			if b.wire != nil {
				held += b.wire.Unsent()
			}
		}
		if held > 2*maxBacklog {
			t.Errorf("connected %v: %d bytes wait for a server that reads nothing", connected, held)
		}
		w.finish()
	}
}
