package redis

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sidewire/sidewire/protocols/redis"
)

// Traps of shared connections that are small enough to stand beside each other; the larger ones have files of their own.

// identity returns the identity under which a server saw a command.
func (w *world) identity(command string) (key viewKey, ok bool) {
	for _, l := range w.links {
		if slices.Contains(l.server.seen, command) && l.b.asked > 0 {
			if ok {
				w.t.Fatalf("%q may have come on several connections", command)
			}
			key, ok = l.b.pool.view.key, true
		}
	}
	return key, ok
}

// Clients of different databases or protocol versions never share a connection: what one of them selects would be the other's.
func TestDatabasesAndVersionsAreApart(t *testing.T) {
	w := newWorld(t, 1, 1, modeSingle)
	plain := w.client()
	plain.ask("$-1\r\n", "GET", "plain")
	w.finish()
	if key, ok := w.identity("GET plain"); !ok || key.db != 0 || key.resp3 {
		t.Fatalf("GET went as %+v, %v", key, ok)
	}
	before := len(w.links)
	elsewhere := w.client()
	elsewhere.ask("+OK\r\n", "SELECT", "5")
	elsewhere.ask("$-1\r\n", "GET", "five")
	third := w.client()
	third.askFunc(func([]byte) error { return nil }, "HELLO", "3")
	third.ask("$-1\r\n", "GET", "three")
	w.finish()
	if n := len(w.links) - before; n != 2 {
		t.Fatalf("%d more connections, want one for each identity", n)
	}
	for _, l := range w.links[before:] {
		if key := l.b.pool.view.key; key.db == 5 == key.resp3 {
			t.Errorf("a connection is of %+v", key)
		}
	}
	plain.ask("$-1\r\n", "GET", "plain")
	w.finish()
	if len(w.links) != before+2 {
		t.Error("the first client's connection is not used any more")
	}
}

func TestSelectOverServers(t *testing.T) {
	w := newWorld(t, 2, 3, modeSlots)
	c := w.client()
	c.ask("-ERR SELECT is not allowed in cluster mode\r\n", "SELECT", "1")
	c.ask("-ERR DB index is out of range\r\n", "SELECT", "-1")
	c.ask("+OK\r\n", "SELECT", "0")
	w.finish()
}

// A push on a shared connection is nobody's reply: those behind it keep their places.
func TestPushOnASharedConnectionShiftsNothing(t *testing.T) {
	w := newWorld(t, 3, 1, modeHashed)
	a, b := w.client(), w.client()
	for _, c := range []*client{a, b} {
		c.askFunc(func([]byte) error { return nil }, "HELLO", "3")
	}
	a.ask("+OK\r\n", "SET", "a", "of a")
	b.ask("+OK\r\n", "SET", "b", "of b")
	w.finish()
	a.ask(bulkOf("of a"), "GET", "a")
	b.ask(bulkOf("of b"), "GET", "b")
	w.connectAll()
	l := w.links[len(w.links)-1]
	for w.serve(l) {
	}
	l.out = append([]byte(">2\r\n$8\r\nwhatever\r\n:1\r\n"), l.out...)
	w.finish()
}

// A server ends a sharded subscription by itself when the slot moves: the client hears of it between its replies.
func TestServerEndsASubscription(t *testing.T) {
	w := newWorld(t, 4, 2, modeSlots)
	c := w.client()
	c.toSend = redis.AppendCommand(nil, "SSUBSCRIBE", "ch")
	c.expect = append(c.expect, done("*3\r\n$10\r\nssubscribe\r\n$2\r\nch\r\n:1\r\n"))
	w.finish()
	l := w.links[len(w.links)-1]
	l.out = []byte("*3\r\n$12\r\nsunsubscribe\r\n$2\r\nch\r\n:0\r\n")
	c.expect = append(c.expect, done("*3\r\n$12\r\nsunsubscribe\r\n$2\r\nch\r\n:0\r\n"))
	w.finish()
	c.ask("$-1\r\n", "GET", "ch")
	w.finish()
	if c.session.track.subscribed() || l.b.state == ready && c.session.lease == l.b {
		t.Error("the session still counts as subscribed")
	}
}

// A watch is lost with its connection. Nobody may tell EXEC that nothing has changed, so the client is disconnected, as a server that dies
// disconnects it.
func TestWatchIsLostWithItsConnection(t *testing.T) {
	w := newWorld(t, 5, 3, modeHashed)
	c := w.client()
	c.ask("+OK\r\n", "WATCH", "k")
	c.ask("+OK\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "SET", "k", "1")
	w.finish()
	lease := c.session.lease
	if lease == nil {
		t.Fatal("WATCH has no connection of its own")
	}
	for _, l := range w.links {
		if l.b == lease {
			w.lose(l, errors.New("reset"))
			break
		}
	}
	c.toSend = redis.AppendCommand(c.toSend, "EXEC")
	w.run()
	if !c.wire.finished || c.done != len(c.expect) {
		t.Errorf("the session goes on with %d replies", c.done)
	}
	for _, s := range w.servers {
		if s.data["k"] != "" {
			t.Error("the transaction was executed")
		}
	}
}

// Of many keys some servers answer and one is lost: what was read is not passed off as all, what was written is not called done.
func TestPartOfManyKeysFails(t *testing.T) {
	for _, args := range [][]string{{"MGET"}, {"DEL"}, {"EXISTS"}, {"MSET"}} {
		w := newWorld(t, 6, 3, modeHashed)
		c := w.client()
		for i := range 12 {
			key := fmt.Sprint(i*7919, ":k") // ketama keeps keys together that differ in their last byte alone
			args = append(args, key)
			if args[0] == "MSET" {
				args = append(args, "v")
			}
			c.ask("+OK\r\n", "SET", key, "1")
		}
		w.finish()
		w.refuse[w.links[0].b.pool.node.address] = errors.New("connection refused") // what only reads cannot be asked again
		c.askFunc(func(reply []byte) error {
			if !bytes.HasPrefix(reply, []byte("-ERR finished with 1 error(s): ERR upstream failure: ")) {
				return fmt.Errorf("%s was answered %.80q", args[0], reply)
			}
			return nil
		}, args...)
		for range 50 {
			c.step()
		}
		l := w.links[0]
		l.wire.take(1 << 20) // it is with the server, which does not come to answer
		w.lose(l, errors.New("reset"))
		w.finish()
	}
}

// Errors that prove that nothing was executed bring a command again, whatever it does.
func TestRefusedByItsServerComesAgain(t *testing.T) {
	for _, say := range []string{"-LOADING Redis is loading the dataset in memory\r\n", "-MASTERDOWN Link with MASTER is down\r\n", "-READONLY You can't write against a read only replica.\r\n"} {
		w := newWorld(t, 7, 3, modeSlots)
		owner, _ := w.at("k")
		w.servers[owner.address].says = map[string]string{"k": say}
		c := w.client()
		c.ask(":1\r\n", "INCR", "k")
		w.run()
		if c.done != 0 {
			t.Fatalf("%.10q was passed on at once", say)
		}
		delete(w.servers[owner.address].says, "k")
		w.pass(retryAfter)
		w.finish()
	}
}

// Redirections may name servers that nobody knows, but not any number of them.
func TestUnknownServersAreBounded(t *testing.T) {
	w := newWorld(t, 8, 3, modeSlots)
	for i := range 2 * maxUnknown {
		w.up.nodeAt(fmt.Sprintf("10.1.0.%d:6379", i))
	}
	if n := len(w.up.nodes); n != 3+maxUnknown {
		t.Errorf("%d servers are believed in", n)
	}
}

// A request's lengths are refused before memory is taken for them, in Redis's words.
func TestLengthsAreRefusedInRedisWords(t *testing.T) {
	for in, want := range map[string]string{
		"*1048577\r\n":                         "invalid multibulk length",
		"*1\r\n$536870913\r\n":                 "invalid bulk length",
		"*1\r\n$-1\r\n":                        "invalid bulk length",
		"GET \"k\r\n":                          "unbalanced quotes in request",
		strings.Repeat("x", 64<<10+2):          "too big inline request",
		"*" + strings.Repeat("1", 64<<10+2):    "too big mbulk count string",
		"*1\r\n$" + strings.Repeat("1", 65540): "too big bulk count string",
	} {
		w := newWorld(t, 9, 1, modeSingle)
		c := w.client()
		c.toSend = []byte(in)
		c.expect = append(c.expect, done("-ERR Protocol error: "+want+"\r\n"))
		w.finish()
		if !c.wire.finished {
			t.Errorf("%.20q: the session goes on", in)
		}
	}
}
