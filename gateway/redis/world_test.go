package redis

import (
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
	slow     bool // the other side takes less than it is given
}

func (m *memory) Begin() []byte { return m.out }
func (m *memory) Commit(out []byte) {
	m.out = out
}
func (m *memory) Write(b []byte) { m.out = append(m.out, b...) }
func (m *memory) Unsent() int    { return len(m.out) - m.sent }
func (m *memory) Stalled() bool  { return m.slow && m.Unsent() > 0 }
func (m *memory) Retain()        { m.retain = true }
func (m *memory) Offset() int64  { return m.base + int64(len(m.out)) }
func (m *memory) SentTo() int64  { return m.base + int64(m.sent) }
func (m *memory) Retained(from, to int64) []byte {
	return m.out[from-m.base : to-m.base]
}
func (m *memory) Forget(to int64) {
	n := max(min(int(to-m.base), m.sent), 0)
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
	slow    bool // connections take less than they are given
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
	broken  bool
	asking  bool
	blocked bool // by a command that waits: what comes behind it is not looked at
	name    string
	most    int // that has waited to be sent
}

// server keeps strings, and knows the few commands that the tests use.
type server struct {
	data map[string]string
	seen []string
	says map[string]string // by key: the redirection or error that is given instead
	info string
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
		w.up.ask, w.up.asked = true, true
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
	l := &upLink{b: b, wire: &memory{slow: w.slow}, server: w.servers[b.pool.node.address]}
	w.links = append(w.links, l)
	b.connected(l.wire)
	return true
}

// serve lets a server see some bytes.
func (w *world) serve(l *upLink) bool {
	b := l.wire.take(1 + w.rnd.IntN(w.chunk))
	l.most = max(l.most, l.wire.Unsent()+len(b))
	if s := l.b.holder; l.wire.slow && l.wire.Unsent() == 0 && s != nil {
		s.uploadOn()
	}
	l.arrived = append(l.arrived, b...)
	for len(l.arrived) > 0 && !l.blocked {
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
	asked := l.asking
	if name != "multi" && !l.inMulti || name == "exec" {
		l.asking = false
	}
	if name == "asking" {
		l.asking = true
		return append(out, "+OK\r\n"...)
	}
	if len(args) > 1 {
		if say := s.says[args[1]]; say != "" && !asked {
			l.broken = l.inMulti
			return append(out, say...)
		}
	}
	if name == "exec" && l.broken {
		l.inMulti, l.broken, l.multi = false, false, nil
		return append(out, "-EXECABORT Transaction discarded because of previous errors.\r\n"...)
	}
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
			l.asking = asked
			out = l.execute(q, out)
		}
		return out
	case "command":
		if args[2] == "mod.get" {
			return append(out, "*1\r\n*6\r\n$7\r\nmod.get\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"...)
		}
		return append(out, "*1\r\n*-1\r\n"...)
	case "get", "mod.get":
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
	case "info":
		return redis.AppendBulk(out, s.info)
	case "dbsize":
		return redis.AppendInt(out, int64(len(s.data)))
	case "select":
		return append(out, "-ERR value is not an integer or out of range\r\n"...)
	case "ping":
		return append(out, "+PONG\r\n"...)
	case "error":
		return append(out, "-ERR as asked\r\n"...)
	case "silence", "append":
		return out
	case "wait_for_ever":
		return out
	case "blpop":
		l.blocked = true
		return out
	case "subscribe", "ssubscribe":
		for i, ch := range args[1:] {
			out = append(out, "*3\r\n"...)
			out = redis.AppendBulk(redis.AppendBulk(out, name), ch)
			out = redis.AppendInt(out, int64(i+1))
		}
		return out
	case "client":
		switch args[1] {
		case "PAUSE", "UNPAUSE", "CACHING":
			return append(out, "+OK\r\n"...)
		case "UNBLOCK":
			return append(out, ":1\r\n"...)
		}
		if len(args) == 2 {
			return redis.AppendBulk(out, l.name)
		}
		if args[1] == "MAINT_NOTIFICATIONS" {
			return append(out, "-ERR unknown command\r\n"...)
		}
		l.name = args[2]
		return append(out, "+OK\r\n"...)
	case "monitor":
		return append(out, "+OK\r\n"...)
	case "wait":
		return redis.AppendInt(out, int64(len(s.data)))
	case "script":
		return append(out, "-NOTBUSY No scripts in execution right now.\r\n"...)
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
	if l.b.state == dead || l.wire.paused || len(l.out) == 0 && len(l.wire.in) == 0 {
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
	most    int // that has waited to be fetched
}

func (w *world) client() *client {
	c := &client{w: w, wire: &memory{slow: w.slow}}
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
	c.most = max(c.most, c.wire.Unsent())
	if b := c.wire.take(1 + c.w.rnd.IntN(c.w.chunk)); len(b) > 0 {
		if c.wire.slow && c.wire.Unsent() == 0 {
			c.session.drained()
		}
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

// move lets one, whoever it is, do something. It returns false if that one could not.
func (w *world) move() bool {
	switch k := w.rnd.IntN(10); {
	case k == 0:
		return w.connect()
	case k < 4 && len(w.links) > 0:
		return w.serve(w.links[w.rnd.IntN(len(w.links))])
	case k < 7 && len(w.links) > 0:
		return w.answer(w.links[w.rnd.IntN(len(w.links))])
	case len(w.clients) > 0:
		return w.clients[w.rnd.IntN(len(w.clients))].step()
	}
	return false
}

// run moves bytes at random until nothing moves any more.
func (w *world) run() {
	w.t.Helper()
	defer w.weigh()
	for idle := 0; idle < 200; {
		if w.move() {
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
