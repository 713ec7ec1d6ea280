package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

func invalidation(key string) string {
	return ">2\r\n$10\r\ninvalidate\r\n*1\r\n" + bulkOf(key)
}

// hears expects a push that answers nothing.
func (c *client) hears(want string) {
	c.ask(want)
	c.toSend = c.toSend[:len(c.toSend)-len("*0\r\n")]
}

// tracked is a client that has turned CLIENT TRACKING on, and a key of each server.
func (w *world) tracked(options ...string) (c *client, keys []string) {
	c = w.client()
	c.askFunc(func([]byte) error { return nil }, "HELLO", "3")
	c.ask("+OK\r\n", append([]string{"CLIENT", "TRACKING", "ON"}, options...)...)
	w.finish()
	keys = make([]string, len(w.up.nodes))
	for i := range 50 {
		k := fmt.Sprint("k", i)
		keys[w.up.locate([]byte(k), nil)] = k
	}
	return c, keys
}

// link is the connection to a server of a client that shares with nobody.
func (w *world) link(c *client, node int) *upLink {
	for _, l := range w.links {
		if l.b.pool == c.session.view.pools[node] && l.b.state == ready {
			return l
		}
	}
	w.t.Fatal("no connection of its own")
	return nil
}

// Invalidations come from every server, to nobody else, and never before the reply that they are about.
func TestTrackingOverSeveralServers(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 2, modeHashed)
		other := w.client()
		other.ask("$-1\r\n", "GET", "k1")
		c, keys := w.tracked()
		for _, k := range keys {
			c.ask("$-1\r\n", "GET", k)
		}
		for c.step() || w.connect() {
		}
		a, b := w.link(c, 0), w.link(c, 1)
		for w.serve(b) {
		}
		b.out = append(b.out, invalidation(keys[1])...) // before the first server has answered at all
		for w.answer(b) {
		}
		c.hears(invalidation(keys[1]))
		w.finish()
		a.out = append(a.out, invalidation(keys[0])...)
		c.hears(invalidation(keys[0]))
		w.finish()
		w.lose(a, errors.New("reset")) // and with it what its server knew
		c.hears(forgetAll)
		w.finish()
		c.ask("+OK\r\n", "CLIENT", "TRACKING", "OFF")
		w.finish()
		if len(w.up.views) != 2 || w.up.trackers != 0 {
			t.Fatalf("%d views and %d trackers are left", len(w.up.views), w.up.trackers)
		}
	}
}

// With BCAST every server has a connection at once, and again when it was lost.
func TestTrackingOfEveryKey(t *testing.T) {
	w := newWorld(t, 1, 3, modeSlots)
	c, _ := w.tracked("BCAST", "PREFIX", "k", "NOLOOP")
	for i := range w.up.nodes {
		w.link(c, i)
	}
	c.askFunc(func(f []byte) error {
		if !strings.Contains(string(f), "bcast") || !strings.Contains(string(f), bulkOf("k")) {
			return fmt.Errorf("%q", f)
		}
		return nil
	}, "CLIENT", "TRACKINGINFO")
	c.ask(":0\r\n", "CLIENT", "GETREDIR")
	w.finish()
	w.lose(w.link(c, 1), errors.New("reset"))
	c.hears(forgetAll)
	c.hears(forgetAll) // what changed before the new connection stood
	w.run()
	w.pass(firstRetry)
	w.finish()
	w.link(c, 1)
	c.session.ended(false)
	if w.clients = nil; len(w.up.views) != 2 || w.up.trackers != 0 {
		t.Errorf("%d views and %d trackers are left", len(w.up.views), w.up.trackers)
	}
	for b := range w.engine.backends {
		if b.pool.view.key.tracker != nil {
			t.Error("a connection outlives its client")
		}
	}
}

// CLIENT CACHING stands right before the one command that it is about, wherever that goes.
func TestCachingGoesWithItsCommand(t *testing.T) {
	w := newWorld(t, 1, 2, modeHashed)
	c, keys := w.tracked("OPTIN")
	c.ask("-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.\r\n", "CLIENT", "CACHING", "NO")
	c.ask("+OK\r\n", "CLIENT", "CACHING", "YES")
	c.ask("*2\r\n$-1\r\n$-1\r\n", "MGET", keys[0], keys[1])
	c.ask("$-1\r\n", "GET", keys[1])
	w.finish()
	for i, n := range w.up.nodes {
		seen := strings.Join(w.servers[n.address].seen, "\n")
		if !strings.Contains(seen, "CLIENT CACHING YES\nMGET "+keys[i]) || strings.Count(seen, "CACHING") != 1 {
			t.Errorf("%s saw %q", n.address, seen)
		}
	}
}

func TestTrackingRefuses(t *testing.T) {
	w := newWorld(t, 1, 2, modeHashed)
	c := w.client()
	c.ask("-ERR CLIENT TRACKING over several servers needs HELLO 3\r\n", "CLIENT", "TRACKING", "ON")
	w.finish()
	c, _ = w.tracked()
	for _, options := range []string{"REDIRECT 5", "PREFIX a", "BCAST", "OPTIN OPTOUT", "NONSENSE", "OPTIN"} {
		c.askFunc(func(f []byte) error {
			if f[0] != redis.TypeError {
				return fmt.Errorf("%s: %q", options, f)
			}
			return nil
		}, append([]string{"CLIENT", "TRACKING", "ON"}, strings.Fields(options)...)...)
	}
	w.finish()
}

// CLIENT UNBLOCK names a client of this listener; the server it waits at hears its own name for it.
func TestUnblockOverSeveralServers(t *testing.T) {
	w := newWorld(t, 1, 2, modeHashed)
	waiter, other := w.client(), w.client()
	other.ask(":0\r\n", "CLIENT", "UNBLOCK", fmt.Sprint(waiter.session.id))
	w.finish()
	waiter.askFunc(func([]byte) error { return errors.New("was answered") }, "BLPOP", "q", "0")
	w.run()
	waiter.session.lease.id = 77
	other.ask(":1\r\n", "CLIENT", "UNBLOCK", fmt.Sprint(waiter.session.id), "error")
	other.ask("-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n", "CLIENT", "UNBLOCK", "1", "why")
	w.run()
	if other.done != len(other.expect) || !strings.Contains(fmt.Sprint(w.servers[w.up.nodes[w.up.locate([]byte("q"), nil)].address].seen), "CLIENT UNBLOCK 77 ERROR") {
		t.Errorf("%d of %d answers", other.done, len(other.expect))
	}
}

// CLIENT PAUSE reaches every server. What they would hold up waits here, so that it stops nobody's reads on the shared connections.
func TestPauseOverSeveralServers(t *testing.T) {
	for _, m := range []mode{modeHashed, modeSlots} {
		w := newWorld(t, 1, 3, m)
		a, b := w.client(), w.client()
		a.ask("+OK\r\n", "CLIENT", "PAUSE", "60000", "WRITE")
		w.finish()
		for _, s := range w.servers {
			if len(s.seen) != 1 {
				t.Errorf("a server saw %q", s.seen)
			}
		}
		a.ask("+OK\r\n", "SET", "k", "1")
		a.ask("+OK\r\n", "MULTI")
		b.ask("+OK\r\n", "MULTI")
		b.ask("+QUEUED\r\n", "SET", "{k}b", "1")
		b.ask("*1\r\n+OK\r\n", "EXEC")
		w.run()
		if a.done != 1 || b.done != 2 {
			t.Fatalf("%d and %d answers while writes are held", a.done, b.done)
		}
		c := w.client()
		c.ask("$-1\r\n", "GET", "k")
		w.run()
		if c.done != 1 {
			t.Fatal("a read is held with the writes")
		}
		c.ask("+OK\r\n", "CLIENT", "UNPAUSE")
		w.finish()
		a.ask("+OK\r\n", "DISCARD")
		a.ask("+OK\r\n", "CLIENT", "PAUSE", "100")
		a.ask(bulkOf("1"), "GET", "k")
		w.run()
		if a.done == len(a.expect) {
			t.Error("a read is not held")
		}
		w.pass(time.Second)
		w.finish()
	}
}
