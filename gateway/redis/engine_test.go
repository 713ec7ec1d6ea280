package redis

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
	"github.com/sidewire/sidewire/sharding/hash"
)

func bulkOf(v string) string { return string(redis.AppendBulk(nil, v)) }

// valueOf carries a checksum of its key.
func valueOf(key string, n int) string {
	return fmt.Sprintf("%s#%d#%08x%s", key, n, hash.Murmur([]byte(key)), strings.Repeat("x", n%300))
}

// Many clients pipeline over several servers, all bytes in random pieces: every reply must be the asker's, in order, and about the key asked.
func TestRepliesReachTheirAskersInOrder(t *testing.T) {
	for _, m := range []mode{modeSingle, modeHashed, modeSlots} {
		for seed := range uint64(12) {
			nodes := 3
			if m == modeSingle {
				nodes = 1
			}
			w := newWorld(t, seed, nodes, m)
			if seed%3 == 0 {
				w.chunk = 5000
			}
			for i := range 8 {
				c := w.client()
				for n := range 60 {
					script(c, i, n)
				}
			}
			w.finish()
		}
	}
}

// script asks one command, or a few that belong together.
func script(c *client, i, n int) {
	k := func(j int) string { return fmt.Sprintf("c%d:%d", i, j) }
	v := func(j int) string { return valueOf(k(j), n) }
	switch c.w.rnd.IntN(7) {
	case 0, 1:
		c.ask("+OK\r\n", "SET", k(n), v(n))
		c.ask(bulkOf(v(n)), "get", k(n))
	case 2:
		args := []string{"MSET"}
		want := "*12\r\n"
		get := []string{"MGET"}
		for j := range 11 {
			args = append(args, k(j), v(j))
			want += bulkOf(v(j))
			get = append(get, k(j))
		}
		get = append(get, "missing")
		c.ask("+OK\r\n", args...)
		c.ask(want+"$-1\r\n", get...)
	case 3:
		c.ask("+OK\r\n", "MSET", k(1), "1", k(2), "2", k(3), "3")
		c.ask(":3\r\n", "EXISTS", k(1), k(2), k(3), "missing")
		c.ask(":3\r\n", "DEL", k(1), k(2), k(3), "missing")
		c.ask(":0\r\n", "EXISTS", k(1), k(2), k(3))
	case 4:
		c.ask("+PONG\r\n", "PING")
		c.ask("-ERR value is not an integer or out of range\r\n", "SELECT", "x")
	case 5:
		c.ask("+OK\r\n", "SET", "{"+k(0)+"}a", "1")
		c.ask("+OK\r\n", "MULTI")
		c.ask("+QUEUED\r\n", "INCR", "{"+k(0)+"}a")
		c.ask("+QUEUED\r\n", "GET", "{"+k(0)+"}a")
		c.ask("*2\r\n:2\r\n"+bulkOf("2"), "EXEC")
	case 6:
		c.ask("+OK\r\n", "CLIENT", "SETNAME", "n"+k(n)[1:2])
		c.ask(bulkOf("n"+k(n)[1:2]), "CLIENT", "GETNAME")
	}
}

// A big reply goes out while it comes in, and what waits behind it stays in order.
func TestBigRepliesStream(t *testing.T) {
	w := newWorld(t, 3, 3, modeHashed)
	w.chunk = 9000
	big := strings.Repeat("0123456789", 60000)
	c := w.client()
	c.ask("+OK\r\n", "SET", "big", big)
	for i := range 20 {
		c.ask("$-1\r\n", "GET", fmt.Sprint("k", i))
		c.ask(bulkOf(big), "GET", "big")
		c.ask("*3\r\n$-1\r\n"+bulkOf(big)+"$-1\r\n", "MGET", "a", "big", fmt.Sprint("b", i))
	}
	w.finish()
}

func TestScanVisitsEveryShard(t *testing.T) {
	w := newWorld(t, 4, 3, modeHashed)
	want := map[string]bool{}
	for i := range 50 {
		k := fmt.Sprint("key", i)
		w.servers[w.up.nodes[w.up.locate([]byte(k), nil)].address].data[k] = "v"
		want[k] = true
	}
	c := w.client()
	cursor := "0"
	for range 100 {
		var next string
		c.askFunc(func(reply []byte) error {
			_, at, ok := arrayHeader(reply)
			if !ok {
				return fmt.Errorf("got %q", reply)
			}
			text, rest := bulk(reply[at:])
			next = string(text)
			n, at, _ := arrayHeader(rest)
			for rest = rest[at:]; n > 0; n-- {
				text, rest = bulk(rest)
				delete(want, string(text))
			}
			return nil
		}, "SCAN", cursor)
		w.finish()
		if v, err := strconv.ParseUint(next, 10, 64); err != nil || v >= 1<<53 {
			t.Fatalf("cursor %s", next)
		}
		if cursor = next; cursor == "0" {
			break
		}
	}
	if len(want) > 0 || cursor != "0" {
		t.Errorf("cursor %s, %d keys not seen", cursor, len(want))
	}
	c.askFunc(func(reply []byte) error {
		if !bytes.HasPrefix(reply, []byte("-ERR invalid cursor")) {
			return fmt.Errorf("got %q", reply)
		}
		return nil
	}, "SCAN", "18446744073709551615")
	w.finish()
}

// A client that leaves with commands under way must not shift anybody's replies.
func TestClientGoneWithRepliesInFlight(t *testing.T) {
	w := newWorld(t, 5, 2, modeHashed)
	a, b := w.client(), w.client()
	for i := range 50 {
		a.ask("+OK\r\n", "SET", fmt.Sprint("a", i), "1")
		b.ask("+OK\r\n", "SET", fmt.Sprint("b", i), valueOf("b", i))
	}
	for i := range 50 {
		b.ask(bulkOf(valueOf("b", i)), "GET", fmt.Sprint("b", i))
	}
	for range 30 {
		a.step()
		b.step()
		w.connect()
	}
	a.session.ended(false)
	w.clients = w.clients[1:]
	w.finish()
}

// A command that takes too long is answered alone; its late reply is nobody's; the others on the connection are served.
func TestTimeoutAnswersOneCommand(t *testing.T) {
	w := newWorld(t, 6, 1, modeSingle)
	w.up.timeout, w.up.stuck = int64(time.Second), int64(10*time.Second)
	a, b := w.client(), w.client()
	a.ask("-ERR upstream failure: 10.0.0.1:6379: timeout (unknown outcome)\r\n", "SET", "k", "late")
	w.connectAll()
	for a.step() {
	}
	l := w.links[0]
	for w.serve(l) {
	}
	w.pass(600 * time.Millisecond)
	b.ask("+OK\r\n", "SET", "b", "1")
	for b.step() {
	}
	w.pass(500 * time.Millisecond)
	for a.step() {
	}
	if a.done != 1 || b.done != 0 {
		t.Fatalf("a has %d replies, b %d", a.done, b.done)
	}
	a.ask(bulkOf("late"), "GET", "k")
	w.finish()
	if l.b.state == dead {
		t.Error("the connection was given up for one slow command")
	}
}

func (w *world) connectAll() {
	for _, c := range w.clients {
		c.step()
	}
	for w.connect() {
	}
}

// A connection that answers nothing is given up in the end, and what it may have executed is called unknown.
func TestStuckConnectionIsGivenUp(t *testing.T) {
	w := newWorld(t, 7, 1, modeSingle)
	w.up.timeout, w.up.stuck = int64(time.Second), int64(2*time.Second)
	c := w.client()
	c.ask("-ERR upstream failure: 10.0.0.1:6379: timeout (unknown outcome)\r\n", "SILENCE")
	for c.step() {
	}
	w.connectAll()
	for w.serve(w.links[0]) {
	}
	w.pass(1500 * time.Millisecond)
	w.pass(1500 * time.Millisecond)
	if w.links[0].b.state != dead {
		t.Error("still waiting")
	}
	c.ask("-ERR no upstream host: 10.0.0.1:6379 unreachable: no reply for 3s\r\n", "GET", "k") // backing off
	w.finish()
	w.pass(time.Second)
	c.ask("$-1\r\n", "GET", "k")
	w.finish()
}

// What the server cannot have seen whole is sent again, what only reads too; a write that was sent is not.
func TestLostConnectionRetriesOnlyWithProof(t *testing.T) {
	w := newWorld(t, 8, 1, modeSingle)
	c := w.client()
	c.ask("+PONG\r\n", "PING")
	w.finish()
	l := w.links[0]
	c.askFunc(func(reply []byte) error {
		if !bytes.HasPrefix(reply, []byte("-ERR upstream failure: 10.0.0.1:6379: upstream connection lost")) || !bytes.Contains(reply, []byte("(unknown outcome)")) {
			return fmt.Errorf("INCR was answered %q", reply)
		}
		return nil
	}, "INCR", "n")
	c.ask(bulkOf("v"), "GET", "k")
	c.ask(":1\r\n", "INCR", "m")
	w.servers["10.0.0.1:6379"].data["k"] = "v"
	w.chunk = 1 << 20
	for c.step() {
	}
	sent := len("*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$4\r\nINCR\r\n$1")
	l.arrived = append(l.arrived, l.wire.take(sent)...) // the second INCR is cut: it cannot have been executed
	w.lose(l, errors.New("reset"))
	w.finish()
	if got := w.servers["10.0.0.1:6379"].data; got["n"] != "" || got["m"] != "1" {
		t.Errorf("n is %q, m is %q", got["n"], got["m"])
	}
}

// Messages come when nothing is asked, and are the subscriber's; in RESP2 they look like any reply.
func TestMessagesReachTheirSubscriber(t *testing.T) {
	for _, m := range []mode{modeSingle, modeHashed} {
		w := newWorld(t, 20, 2, m)
		c := w.client()
		for i, ch := range []string{"a", "b"} {
			c.askFunc(func(reply []byte) error {
				if want := fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n$1\r\n%s\r\n:%d\r\n", ch, i+1); string(reply) != want {
					return fmt.Errorf("got %q", reply)
				}
				return nil
			}, "PING")
		}
		c.toSend = redis.AppendCommand(nil, "SUBSCRIBE", "a", "b")
		w.finish()
		message := "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
		for range 3 {
			c.expect = append(c.expect, func(reply []byte) error {
				if string(reply) != message {
					return fmt.Errorf("got %q", reply)
				}
				return nil
			})
		}
		l := w.links[len(w.links)-1]
		l.out = []byte(strings.Repeat(message, 3))
		w.finish()
		if l.b.state == dead {
			t.Error("the subscriber's connection was taken for a broken one")
		}
	}
}

// A server that says something nobody asked for must not answer the next command with it.
func TestUnaskedReplyEndsTheConnection(t *testing.T) {
	w := newWorld(t, 9, 1, modeSingle)
	c := w.client()
	c.ask("+PONG\r\n", "PING")
	w.finish()
	l := w.links[0]
	l.out = []byte("+HELLO\r\n")
	for w.answer(l) {
	}
	if l.b.state != dead {
		t.Fatal("the connection is still used")
	}
	c.ask("$-1\r\n", "GET", "k")
	w.finish()
}

func TestUnreachableServer(t *testing.T) {
	w := newWorld(t, 10, 2, modeHashed)
	down := w.up.nodes[0].address
	w.refuse[down] = errors.New("connection refused")
	var there, here string
	for i := 0; there == "" || here == ""; i++ {
		if k := fmt.Sprint("k", i); w.up.locate([]byte(k), nil) == 0 {
			there = k
		} else {
			here = k
		}
	}
	c := w.client()
	c.ask("-ERR upstream failure: "+down+": connection refused\r\n", "SET", there, "1")
	c.ask("+OK\r\n", "SET", here, "1")
	w.finish()
	c.ask("-ERR no upstream host: "+down+" unreachable: connection refused\r\n", "GET", there)
	c.ask("-ERR no upstream host: "+down+" unreachable: connection refused\r\n", "MGET", here, there)
	c.ask(bulkOf("1"), "GET", here)
	w.finish()
}

// A client that goes while it is blocked must take its connection along: what would be popped for it would be lost.
func TestBlockedClientGoneKillsItsConnection(t *testing.T) {
	w := newWorld(t, 11, 1, modeSingle)
	c := w.client()
	c.ask("+OK\r\n", "SET", "k", "1")
	c.askFunc(func([]byte) error { return errors.New("was answered") }, "BLPOP", "q", "0")
	w.run()
	if len(w.links) != 2 {
		t.Fatalf("%d connections", len(w.links))
	}
	blocked := w.links[1]
	c.session.hangup()
	if blocked.b.state != dead || !blocked.wire.closed {
		t.Error("the blocked connection lives on")
	}
	if w.links[0].b.state == dead {
		t.Error("the shared connection went with it")
	}
}

// The way to a dedicated connection waits for what went before on the shared one, and nobody else waits for a blocked client.
func TestBlockingKeepsOrderAndHoldsUpNobody(t *testing.T) {
	w := newWorld(t, 12, 1, modeSingle)
	a, b := w.client(), w.client()
	a.ask("+OK\r\n", "SET", "k", "1")
	a.askFunc(func([]byte) error { return errors.New("was answered") }, "BLPOP", "q", "0")
	a.askFunc(func([]byte) error { return errors.New("was answered") }, "SET", "k", "2")
	for i := range 30 {
		b.ask("+OK\r\n", "SET", fmt.Sprint("b", i), "1")
	}
	w.run()
	if b.done != 30 || a.done != 1 {
		t.Errorf("a has %d replies, b %d", a.done, b.done)
	}
	seen := w.servers["10.0.0.1:6379"].seen
	at := func(s string) int {
		for i, x := range seen {
			if x == s {
				return i
			}
		}
		return -1
	}
	if at("SET k 1") > at("BLPOP q 0") || at("SET k 2") >= 0 {
		t.Errorf("the server saw %q", seen)
	}
}

func TestCrossSlotIsRefusedWhereSplittingIsNot(t *testing.T) {
	w := newWorld(t, 13, 3, modeHashed)
	w.up.split = false
	c := w.client()
	c.ask("-"+crossSlot+"\r\n", "MSET", "alpha", "1", "bravo", "2", "charlie", "3", "delta", "4")
	c.ask("-"+crossSlot+"\r\n", "MSETNX", "alpha", "1", "bravo", "2", "charlie", "3", "delta", "4")
	c.ask("-"+crossSlot+"\r\n", "SINTER", "alpha", "bravo", "charlie", "delta", "echo")
	c.ask("+OK\r\n", "MSET", "{t}a", "1", "{t}b", "2")
	w.finish()
}

func TestTransactionsOverShards(t *testing.T) {
	w := newWorld(t, 14, 3, modeHashed)
	c := w.client()
	c.ask("-ERR EXEC without MULTI\r\n", "EXEC")
	c.ask("-ERR DISCARD without MULTI\r\n", "DISCARD")
	c.ask("+OK\r\n", "MULTI")
	c.ask("-ERR MULTI calls can not be nested\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "PING") // never answered here: EXEC answers
	c.ask("*1\r\n+PONG\r\n", "EXEC")
	c.ask("+OK\r\n", "MULTI")
	c.ask("*0\r\n", "EXEC")
	c.ask("+OK\r\n", "MULTI")
	c.ask("-ERR wrong number of arguments for 'set' command\r\n", "SET", "x")
	c.ask("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.ask("+OK\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "SET", "a", "1")
	c.ask("-"+crossSlot+"\r\n", "MSET", "bravo", "1", "charlie", "1", "delta", "1", "echo", "1")
	c.ask("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.ask("+OK\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "SET", "a", "1")
	c.ask("+OK\r\n", "DISCARD")
	c.ask("$-1\r\n", "GET", "a")
	c.ask("+OK\r\n", "WATCH", "w")
	c.ask("$-1\r\n", "GET", "other")
	c.ask("+OK\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "SET", "w", "2")
	c.ask("*1\r\n+OK\r\n", "EXEC")
	c.ask(bulkOf("2"), "GET", "w")
	w.finish()
}

func TestRepliesCanBeTurnedOff(t *testing.T) {
	w := newWorld(t, 15, 3, modeHashed)
	c := w.client()
	quiet := func(args ...string) { c.toSend = redis.AppendCommand(c.toSend, args...) }
	quiet("CLIENT", "REPLY", "OFF")
	for i := range 5 {
		quiet("SET", fmt.Sprint("k", i), "1")
	}
	c.ask("+OK\r\n", "CLIENT", "REPLY", "ON")
	quiet("CLIENT", "REPLY", "SKIP")
	quiet("SET", "k9", "9")
	c.ask(bulkOf("9"), "GET", "k9")
	w.finish()
}

func TestLoginAndItsErrors(t *testing.T) {
	w := newWorld(t, 16, 1, modeHashed)
	w.gate.users = []user{{name: "app", password: "secret"}}
	c := w.client()
	c.ask("-NOAUTH Authentication required.\r\n", "GET", "k")
	c.ask("-NOAUTH Authentication required.\r\n", "PING")
	c.ask("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "AUTH", "app", "wrong")
	c.ask("-NOPROTO unsupported protocol version\r\n", "HELLO", "4")
	c.ask("-ERR Syntax error in HELLO option 'x'\r\n", "HELLO", "2", "x")
	c.ask("+OK\r\n", "AUTH", "app", "secret")
	c.ask("$-1\r\n", "GET", "k")
	c.ask("+RESET\r\n", "RESET")
	c.ask("-NOAUTH Authentication required.\r\n", "GET", "k")
	c.askFunc(func(reply []byte) error {
		if field(reply, "mode") != "standalone" || reply[0] != '%' {
			return fmt.Errorf("HELLO was answered %q", reply)
		}
		return nil
	}, "HELLO", "3", "AUTH", "app", "secret", "SETNAME", "me")
	c.ask(bulkOf("me"), "CLIENT", "GETNAME")
	w.finish()
}

func TestProtocolErrorsEndTheSession(t *testing.T) {
	w := newWorld(t, 17, 1, modeHashed)
	c := w.client()
	c.ask("+OK\r\n", "SET", "k", "1")
	c.toSend = append(c.toSend, "*1\r\n+PING\r\n"...)
	c.expect = append(c.expect, func(reply []byte) error {
		if string(reply) != "-ERR Protocol error: expected '$', got '+'\r\n" {
			return fmt.Errorf("got %q", reply)
		}
		return nil
	})
	w.finish()
	if !c.wire.finished {
		t.Error("the session goes on")
	}
}

// A client that does not fetch its replies is disconnected at its limit; others go on.
func TestOutputLimit(t *testing.T) {
	w := newWorld(t, 18, 1, modeSingle)
	w.gate.limits.output = 100000
	w.servers["10.0.0.1:6379"].data["big"] = strings.Repeat("x", 30000)
	greedy := w.client()
	for range 10 {
		greedy.toSend = redis.AppendCommand(greedy.toSend, "GET", "big")
	}
	w.chunk = 1 << 20
	greedy.wire.feed(greedy.toSend, greedy.session.receive)
	w.clients = nil // nobody fetches
	b := w.client()
	b.ask("+OK\r\n", "SET", "k", "1")
	w.finish()
	if !greedy.wire.closed {
		t.Errorf("%d bytes wait for a client that is still connected", greedy.wire.Unsent())
	}
}

// In steady state no command allocates, over one server or several.
func TestCommandsAllocateNothing(t *testing.T) {
	for name, m := range map[string]mode{"single": modeSingle, "hashed": modeHashed, "slots": modeSlots} {
		w := newWorld(t, 19, 3, m)
		c := w.client()
		c.ask("+PONG\r\n", "PING")
		c.ask("*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n", "MGET", "alpha", "bravo", "charlie", "delta")
		c.ask("$-1\r\n", "GET", "key:000000012345")
		w.finish()
		get := redis.AppendCommand(nil, "GET", "key:000000012345")
		set := redis.AppendCommand(nil, "SET", "key:000000012345", strings.Repeat("v", 64))
		mget := redis.AppendCommand(nil, "MGET", "alpha", "bravo", "charlie", "delta")
		flat := &flatWire{}
		for _, l := range w.links {
			l.b.wire = &flatWire{}
		}
		c.session.wire = flat
		reply := []byte("$5\r\nhello\r\n")
		run := func(request []byte, answer func(l *upLink, p *pending)) func() {
			return func() {
				flat.out = flat.out[:0]
				if n := c.session.receive(request); n != len(request) {
					t.Fatalf("%s: %d bytes used", name, n)
				}
				for _, l := range w.links {
					for l.b.pending.len() > 0 {
						answer(l, l.b.pending.at(0))
					}
					l.b.wire.(*flatWire).out = l.b.wire.(*flatWire).out[:0]
				}
				if len(flat.out) == 0 {
					t.Fatalf("%s: no reply", name)
				}
			}
		}
		plain := func(l *upLink, _ *pending) { l.b.receive(reply) }
		for what, f := range map[string]func(){"GET": run(get, plain), "SET": run(set, plain), "MGET": run(mget, func(l *upLink, p *pending) {
			n := 4
			if p.op != nil {
				n = p.op.parts[p.part].count
			}
			l.b.receive(arrays[n])
		})} {
			f()
			if n := testing.AllocsPerRun(200, f); n != 0 {
				t.Errorf("%s: %s takes %v allocations", name, what, n)
			}
		}
	}
}

var arrays = [][]byte{nil, []byte("*1\r\n$1\r\na\r\n"), []byte("*2\r\n$1\r\na\r\n$1\r\na\r\n"), []byte("*3\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n"), []byte("*4\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n")}

// flatWire keeps one buffer and allocates nothing.
type flatWire struct{ out []byte }

func (f *flatWire) Begin() []byte                  { return f.out }
func (f *flatWire) Commit(out []byte)              { f.out = out }
func (f *flatWire) Write(b []byte)                 { f.out = append(f.out, b...) }
func (f *flatWire) Stalled() bool                  { return false }
func (f *flatWire) Unsent() int                    { return 0 }
func (f *flatWire) Retain()                        {}
func (f *flatWire) Offset() int64                  { return int64(len(f.out)) }
func (f *flatWire) SentTo() int64                  { return int64(len(f.out)) }
func (f *flatWire) Retained(from, to int64) []byte { return f.out[from:to] }
func (f *flatWire) Forget(int64)                   {}
func (f *flatWire) Pause()                         {}
func (f *flatWire) Resume()                        {}
func (f *flatWire) Want(int)                       {}
func (f *flatWire) Finish()                        {}
func (f *flatWire) Close()                         {}
