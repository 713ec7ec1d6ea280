package redis

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
	"github.com/sidewire/sidewire/sharding/hash"
)

// memory is a wire without a network: what the engine writes waits in out until the world moves it on.
type memory struct {
	out      []byte // everything since base
	base     int64
	sent     int // how much of out the other side has been given
	retain   bool
	paused   bool
	want     int
	finished bool
	closed   bool
	in       []byte // arrived and not consumed
	resumed  bool
}

func (m *memory) Begin() []byte { return m.out }
func (m *memory) Commit(out []byte) {
	m.out = out
}
func (m *memory) Write(b []byte) { m.out = append(m.out, b...) }
func (m *memory) Unsent() int    { return len(m.out) - m.sent }
func (m *memory) Retain()        { m.retain = true }
func (m *memory) Offset() int64  { return m.base + int64(len(m.out)) }
func (m *memory) SentTo() int64  { return m.base + int64(m.sent) }
func (m *memory) Retained(from, to int64) []byte {
	return m.out[from-m.base : to-m.base]
}
func (m *memory) Forget(to int64) {
	n := min(int(to-m.base), m.sent)
	m.out = append([]byte(nil), m.out[n:]...) // a fresh copy: whoever kept a piece would see it
	m.base += int64(n)
	m.sent -= n
}
func (m *memory) Pause()     { m.paused = true }
func (m *memory) Resume()    { m.paused, m.resumed = false, true }
func (m *memory) Want(n int) { m.want = n }
func (m *memory) Finish()    { m.finished = true }
func (m *memory) Close()     { m.closed = true }

// take gives the other side up to n bytes.
func (m *memory) take(n int) []byte {
	n = min(n, m.Unsent())
	b := append([]byte(nil), m.out[m.sent:m.sent+n]...)
	m.sent += n
	if !m.retain {
		m.base += int64(m.sent)
		m.out, m.sent = append([]byte(nil), m.out[m.sent:]...), 0
	}
	return b
}

// feed gives bytes to a receiver as the loop does.
func (m *memory) feed(b []byte, receive func([]byte) int) {
	m.in = append(m.in, b...)
	if m.paused || m.closed || len(m.in) < m.want || len(m.in) == 0 {
		return
	}
	m.want = 0
	view := append([]byte(nil), m.in...)
	n := receive(view)
	for i := range view {
		view[i] = 0xee // the loop's buffer is used again: nobody may have kept a piece of it
	}
	m.in = m.in[n:]
}

// world is an engine between simulated clients and simulated servers.
type world struct {
	t       testing.TB
	rnd     *rand.Rand
	engine  *engine
	up      *upstream
	gate    *gate
	servers map[string]*server
	links   []*upLink
	dials   []*backend
	clients []*client
	alarmAt time.Time
	refuse  map[string]error
	chunk   int
}

// upLink is one upstream connection.
type upLink struct {
	b       *backend
	wire    *memory
	server  *server
	request redis.Request
	arrived []byte
	out     []byte
	multi   []([]string)
	inMulti bool
	name    string
}

// server keeps strings, and knows the few commands that the tests use.
type server struct {
	data map[string]string
	seen []string
}

func newWorld(t testing.TB, seed uint64, nodes int, m mode) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 2)), servers: map[string]*server{}, refuse: map[string]error{}, chunk: 200}
	w.engine = newEngine(w, seed)
	w.engine.clock = time.Unix(1000, 0).UnixNano()
	w.up = w.engine.newUpstream("cache")
	var members []member
	for i := range nodes {
		a := fmt.Sprintf("10.0.0.%d:6379", i+1)
		w.servers[a] = &server{data: map[string]string{}}
		members = append(members, member{address: a, name: a, weight: 1})
	}
	w.up.mode, w.up.handlers = m, &sharded
	switch m {
	case modeSingle:
		w.up.handlers = &single
	case modeHashed:
		k, err := hash.NewKetama(serversOf(members))
		if err != nil {
			t.Fatal(err)
		}
		w.up.place, w.up.hash, w.up.tag = k, hash.FNV1a_64, hash.Tag{Open: '{', Close: '}'}
	case modeSlots:
		w.up.slots = new([hash.Slots]int16)
		for i := range w.up.slots {
			w.up.slots[i] = int16(i * nodes / hash.Slots)
		}
	}
	w.up.setNodes(members)
	w.gate = &gate{upstream: w.up, name: "test", limits: limits{output: 64 << 20, transaction: 1 << 20}}
	return w
}

func serversOf(m []member) []hash.Server {
	s := make([]hash.Server, len(m))
	for i := range m {
		s[i] = hash.Server{Name: m[i].name, Weight: m[i].weight}
	}
	return s
}

func (w *world) dial(b *backend)           { w.dials = append(w.dials, b) }
func (w *world) alarm(at time.Time)        { w.alarmAt = at }
func (w *world) refresh(*upstream, string) {}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.engine.clock += int64(d)
	w.engine.tick(time.Unix(0, w.engine.clock))
}

// connect answers one dial.
func (w *world) connect() bool {
	if len(w.dials) == 0 {
		return false
	}
	b := w.dials[0]
	w.dials = w.dials[1:]
	if err := w.refuse[b.pool.node.address]; err != nil {
		b.failed(err)
		return true
	}
	l := &upLink{b: b, wire: &memory{}, server: w.servers[b.pool.node.address]}
	w.links = append(w.links, l)
	b.connected(l.wire)
	return true
}

// serve lets a server see some bytes.
func (w *world) serve(l *upLink) bool {
	b := l.wire.take(1 + w.rnd.IntN(w.chunk))
	l.arrived = append(l.arrived, b...)
	for len(l.arrived) > 0 {
		n, err := l.request.Next(l.arrived)
		if err != nil {
			w.t.Fatalf("a server was sent %q: %v", l.arrived, err)
		}
		if n == 0 {
			break
		}
		var args []string
		for i := range l.request.Len() {
			args = append(args, string(l.request.Arg(i)))
		}
		l.arrived = l.arrived[n:]
		l.out = l.execute(args, l.out)
	}
	return len(b) > 0
}

func (l *upLink) execute(args []string, out []byte) []byte {
	s := l.server
	s.seen = append(s.seen, strings.Join(args, " "))
	name := strings.ToLower(args[0])
	if l.inMulti && name != "exec" {
		l.multi = append(l.multi, args)
		return append(out, "+QUEUED\r\n"...)
	}
	switch name {
	case "multi":
		l.inMulti = true
		return append(out, "+OK\r\n"...)
	case "exec":
		l.inMulti = false
		queued := l.multi
		l.multi = nil
		out = redis.AppendHeader(out, redis.TypeArray, len(queued))
		for _, q := range queued {
			out = l.execute(q, out)
		}
		return out
	case "get":
		if v, ok := s.data[args[1]]; ok {
			return redis.AppendBulk(out, v)
		}
		return append(out, "$-1\r\n"...)
	case "set":
		s.data[args[1]] = args[2]
		return append(out, "+OK\r\n"...)
	case "incr":
		n, _ := strconv.Atoi(s.data[args[1]])
		s.data[args[1]] = strconv.Itoa(n + 1)
		return redis.AppendInt(out, int64(n+1))
	case "mget":
		out = redis.AppendHeader(out, redis.TypeArray, len(args)-1)
		for _, k := range args[1:] {
			if v, ok := s.data[k]; ok {
				out = redis.AppendBulk(out, v)
			} else {
				out = append(out, "$-1\r\n"...)
			}
		}
		return out
	case "mset":
		for i := 1; i < len(args); i += 2 {
			s.data[args[i]] = args[i+1]
		}
		return append(out, "+OK\r\n"...)
	case "del", "exists":
		n := int64(0)
		for _, k := range args[1:] {
			if _, ok := s.data[k]; ok {
				n++
				if name == "del" {
					delete(s.data, k)
				}
			}
		}
		return redis.AppendInt(out, n)
	case "dbsize":
		return redis.AppendInt(out, int64(len(s.data)))
	case "select":
		return append(out, "-ERR value is not an integer or out of range\r\n"...)
	case "ping":
		return append(out, "+PONG\r\n"...)
	case "error":
		return append(out, "-ERR as asked\r\n"...)
	case "silence":
		return out
	case "wait_for_ever", "blpop":
		return out
	case "subscribe":
		for i, ch := range args[1:] {
			out = append(out, "*3\r\n"...)
			out = redis.AppendBulk(redis.AppendBulk(out, "subscribe"), ch)
			out = redis.AppendInt(out, int64(i+1))
		}
		return out
	case "client":
		if len(args) == 2 {
			return redis.AppendBulk(out, l.name)
		}
		l.name = args[2]
		return append(out, "+OK\r\n"...)
	case "watch", "unwatch":
		return append(out, "+OK\r\n"...)
	case "scan":
		return append(out, scanReply(s, args[1])...)
	}
	return append(out, "-ERR unknown command\r\n"...)
}

// scanReply gives two keys a call, in order.
func scanReply(s *server, cursor string) string {
	var keys []string
	for k := range s.data {
		keys = append(keys, k)
	}
	sortStrings(keys)
	at, _ := strconv.Atoi(cursor)
	end := min(at+2, len(keys))
	next := end
	if end == len(keys) {
		next = 0
	}
	out := append(redis.AppendBulk([]byte("*2\r\n"), strconv.Itoa(next)), fmt.Sprintf("*%d\r\n", end-at)...)
	for _, k := range keys[at:end] {
		out = redis.AppendBulk(out, k)
	}
	return string(out)
}

func sortStrings(s []string) {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

// answer lets a backend see some of a server's replies.
func (w *world) answer(l *upLink) bool {
	if l.b.state == dead || len(l.out) == 0 && len(l.wire.in) == 0 {
		return false
	}
	n := min(len(l.out), 1+w.rnd.IntN(w.chunk))
	b := l.out[:n]
	l.out = l.out[n:]
	l.wire.feed(b, l.b.receive)
	return n > 0
}

// lose cuts an upstream connection.
func (w *world) lose(l *upLink, err error) {
	for i := range w.links {
		if w.links[i] == l {
			w.links = append(w.links[:i], w.links[i+1:]...)
			break
		}
	}
	l.b.ended(err)
}

// client sends commands and checks what comes back, in order.
type client struct {
	w       *world
	session *session
	wire    *memory
	toSend  []byte
	expect  []func(reply []byte) error
	got     []byte
	framer  redis.Framer
	done    int
}

func (w *world) client() *client {
	c := &client{w: w, wire: &memory{}}
	c.session = w.engine.newSession(c.wire, w.gate, fmt.Sprintf("127.0.0.1:%d", 40000+len(w.clients)))
	w.clients = append(w.clients, c)
	return c
}

// ask queues a command and what its reply must be.
func (c *client) ask(want string, args ...string) {
	c.toSend = redis.AppendCommand(c.toSend, args...)
	c.expect = append(c.expect, func(reply []byte) error {
		if string(reply) != want {
			return fmt.Errorf("%.80q was answered %.200q, want %.200q", args, reply, want)
		}
		return nil
	})
}

func (c *client) askFunc(check func([]byte) error, args ...string) {
	c.toSend = redis.AppendCommand(c.toSend, args...)
	c.expect = append(c.expect, check)
}

func (c *client) step() bool {
	moved := false
	if len(c.toSend) > 0 && !c.wire.finished {
		n := min(len(c.toSend), 1+c.w.rnd.IntN(c.w.chunk))
		b := c.toSend[:n]
		c.toSend = c.toSend[n:]
		c.wire.feed(b, c.session.receive)
		moved = true
	} else if c.wire.resumed {
		c.wire.resumed = false
		c.wire.feed(nil, c.session.receive)
		moved = true
	}
	if b := c.wire.take(1 + c.w.rnd.IntN(c.w.chunk)); len(b) > 0 {
		c.got = append(c.got, b...)
		moved = true
	}
	for {
		n, err := c.framer.Next(c.got)
		if err != nil {
			c.w.t.Fatalf("client got %q: %v", c.got, err)
		}
		if n == 0 {
			return moved
		}
		if c.done >= len(c.expect) {
			c.w.t.Fatalf("client got %q and asked nothing", c.got[:n])
		}
		if err := c.expect[c.done](c.got[:n]); err != nil {
			c.w.t.Fatal(err)
		}
		c.done++
		c.got = c.got[n:]
	}
}

// run moves bytes at random until nothing moves any more.
func (w *world) run() {
	w.t.Helper()
	for idle := 0; idle < 200; {
		moved := false
		switch k := w.rnd.IntN(10); {
		case k == 0:
			moved = w.connect()
		case k < 4 && len(w.links) > 0:
			moved = w.serve(w.links[w.rnd.IntN(len(w.links))])
		case k < 7 && len(w.links) > 0:
			moved = w.answer(w.links[w.rnd.IntN(len(w.links))])
		case len(w.clients) > 0:
			moved = w.clients[w.rnd.IntN(len(w.clients))].step()
		}
		if moved {
			idle = 0
		} else if idle++; idle == 199 {
			// Chance may have left someone out.
			for w.connect() {
				idle = 0
			}
			for _, l := range w.links {
				if w.serve(l) || w.answer(l) {
					idle = 0
				}
			}
			for _, c := range w.clients {
				if c.step() {
					idle = 0
				}
			}
		}
	}
}

// finish runs until every client has all its replies.
func (w *world) finish() {
	w.t.Helper()
	w.run()
	for i, c := range w.clients {
		if c.done != len(c.expect) {
			w.t.Fatalf("client %d has %d of %d replies", i, c.done, len(c.expect))
		}
	}
}

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
		w.servers[w.up.nodes[w.up.locate([]byte(k))].address].data[k] = "v"
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
	a.ask("-ERR upstream 10.0.0.1:6379: timeout (unknown outcome)\r\n", "SET", "k", "late")
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
	c.ask("-ERR upstream 10.0.0.1:6379: timeout (unknown outcome)\r\n", "SILENCE")
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
		if !bytes.HasPrefix(reply, []byte("-ERR upstream 10.0.0.1:6379: upstream connection lost")) || !bytes.Contains(reply, []byte("(unknown outcome)")) {
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
		if k := fmt.Sprint("k", i); w.up.locate([]byte(k)) == 0 {
			there = k
		} else {
			here = k
		}
	}
	c := w.client()
	c.ask("-ERR upstream "+down+": connection refused\r\n", "SET", there, "1")
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
