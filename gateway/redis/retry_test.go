package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A transaction whose connection goes before all of it is out is sent once on the next one, and everybody's replies stay theirs.
func TestTransactionIsSentAgainOnce(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 1, modeHashed)
		a, b := w.client(), w.client()
		a.ask("$-1\r\n", "GET", "warm")
		w.finish()
		a.ask("+OK\r\n", "MULTI")
		a.ask("+QUEUED\r\n", "INCR", "n")
		a.ask("+QUEUED\r\n", "INCR", "n")
		a.ask("*2\r\n:1\r\n:2\r\n", "EXEC")
		b.ask("$-1\r\n", "GET", "other")
		b.ask("+OK\r\n", "SET", "other", "mine")
		for a.step() || b.step() {
		}
		l := w.links[0]
		l.wire.take(int(seed)) // of the transaction's bytes
		w.lose(l, errors.New("reset"))
		a.ask(bulkOf("2"), "GET", "n")
		b.ask(bulkOf("mine"), "GET", "other")
		w.finish()
	}
}

// What was on its way when a connection went comes before what its client says next, however many connections there are.
func TestRetriesStayOnTheirClientsConnection(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 1, modeSingle)
		w.up.connections = 4
		for _, v := range w.up.views {
			v.renew()
		}
		var c *client
		for range 3 {
			c = w.client() // the others ask nothing, so that only the last one's connection is open
		}
		c.ask("$-1\r\n", "GET", "k")
		w.finish()
		for i := range 10 {
			c.ask("+OK\r\n", "SET", "k", fmt.Sprint(i))
		}
		for c.step() {
		}
		w.lose(w.links[0], errors.New("reset"))
		c.ask("+OK\r\n", "SET", "k", "last")
		w.finish()
		if got := w.servers["10.0.0.1:6379"].data["k"]; got != "last" {
			t.Fatalf("seed %d: the last write is lost to %q", seed, got)
		}
	}
}

// A command that timed out while its connection was being opened is not executed afterwards behind its client's back.
func TestTimeoutBeforeConnection(t *testing.T) {
	w := newWorld(t, 1, 1, modeSingle)
	w.up.timeout, w.up.stuck = int64(time.Second), int64(2*time.Second)
	c := w.client()
	c.ask("-ERR upstream failure: 10.0.0.1:6379: timeout\r\n", "INCR", "n")
	for c.step() {
	}
	w.pass(1100 * time.Millisecond)
	w.finish()
	w.pass(time.Second)
	c.ask(":1\r\n", "INCR", "n")
	w.finish()
}

// A slot that moves between WATCH and EXEC takes the watch with it: EXEC must not be executed unwatched elsewhere.
func TestWatchDoesNotFollowItsSlot(t *testing.T) {
	for _, word := range []string{"MOVED", "ASK"} {
		w := newWorld(t, 2, 3, modeSlots)
		old, now := w.at("k")
		c := w.client()
		c.ask("+OK\r\n", "WATCH", "k")
		c.ask("$-1\r\n", "GET", "k")
		w.finish()
		w.servers[old.address].says = map[string]string{"k": moved(word, "k", now.address)}
		w.servers[now.address].data["k"] = "somebody else's"
		c.ask("+OK\r\n", "MULTI")
		c.ask("+QUEUED\r\n", "SET", "k", "mine")
		c.ask("*-1\r\n", "EXEC")
		w.finish()
		if slices.Contains(w.servers[now.address].seen, "SET k mine") || strings.Contains(w.servers[now.address].data["k"], "mine") {
			t.Errorf("%s: written unwatched", word)
		}
	}
}

// A second WATCH that has to go elsewhere cannot take the first along.
func TestSecondWatchIsElsewhere(t *testing.T) {
	w := newWorld(t, 2, 3, modeSlots)
	old, now := w.at("{k}")
	c := w.client()
	c.ask("+OK\r\n", "WATCH", "{k}1")
	w.finish()
	w.servers[old.address].says = map[string]string{"{k}2": moved("MOVED", "{k}", now.address)}
	c.ask("+OK\r\n", "WATCH", "{k}2")
	c.ask("+OK\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "SET", "{k}1", "mine")
	c.ask("*-1\r\n", "EXEC")
	c.ask("$-1\r\n", "GET", "{k}1")
	w.finish()
}

// Keys that stood together when they were queued may stand apart at EXEC.
func TestTransactionAcrossAChangeOfServers(t *testing.T) {
	w := newWorld(t, 2, 3, modeHashed)
	c := w.client()
	c.ask("+OK\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "SET", "a", "1")
	w.finish()
	w.up.changed()
	c.ask("-EXECABORT Transaction discarded: the servers have changed since it began, and its keys may be on several now\r\n", "EXEC")
	w.finish()
}
