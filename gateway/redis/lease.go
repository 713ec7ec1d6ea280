package redis

import (
	"bytes"

	"github.com/sidewire/sidewire/protocols/redis"
)

// tracking is what a session has made of its dedicated connection, as far as it decides when the connection can be given back.
type tracking struct {
	multi   bool // between MULTI and EXEC
	watches int  // WATCH commands that hold
	wrote   bool // something on it may have written
	doomed  bool // what was watched is elsewhere now: EXEC fails as if it had changed
	sticky  bool // for good: CLIENT TRACKING, MONITOR, a database or user that is not the pool's
	aside   bool // only WATCH or subscriptions use it; other commands go their ordinary ways
	subs    [3]map[string]struct{}
	changes []change // what the commands under way will change if they succeed
	pushes  []byte   // pushes that must not go into the middle of a reply
}

// change is what a command changes when its reply says so.
type change struct {
	db     int // -1: not this
	resp3  int // -1: not this
	raw    bool
	sticky bool
}

func (t *tracking) subscribed() bool {
	return len(t.subs[0])+len(t.subs[1])+len(t.subs[2]) > 0
}

func (t *tracking) clean() bool {
	return !t.multi && t.watches == 0 && !t.sticky && !t.subscribed() && len(t.changes) == 0
}

// acquire leases a connection to a node. Everything before must have been answered: the transition is ordered.
func (s *session) acquire(node int) (*backend, error) {
	if node < 0 || node >= len(s.view.pools) {
		return nil, errNobody
	}
	return s.acquireFrom(s.view.pools[node])
}

func (s *session) acquireFrom(p *pool) (*backend, error) {
	b, err := p.lease(s)
	if err != nil {
		return nil, err
	}
	s.lease = b
	s.track = tracking{}
	if s.name != "" {
		// So that CLIENT LIST on the server knows it by the name its client chose.
		b.dirty = true
		p := b.send(redis.AppendCommand(nil, "CLIENT", "SETNAME", s.name))
		p.kind = kindDiscard
	}
	s.settle()
	return b, nil
}

// release gives the connection back if nothing of the session clings to it.
func (s *session) release() {
	b := s.lease
	if s.track.wrote {
		s.mayHaveWritten()
	}
	if s.up != nil {
		s.up.said = true
		return
	}
	if !s.track.clean() || b.raw || b.pending.len() > 0 {
		b.leave()
		return
	}
	s.lease = nil
	s.settle()
	b.pool.giveBack(b)
}

// bereaved is told that the leased connection is lost. A session that had state on it cannot go on as if nothing had happened: its
// transaction, its watches or its subscriptions are gone, and a closed connection is what every client knows to mean that.
func (s *session) bereaved(b *backend, err error) {
	if s.lease != b {
		return
	}
	s.lease = nil
	if s.up != nil {
		s.up.to = nil
		s.uploadOn()
	}
	lost := !s.track.clean() || b.raw
	s.track = tracking{}
	s.settle()
	if lost {
		s.quit()
		return
	}
	if s.head == s.tail {
		s.idle()
	}
}

// leasedFrom tells whether the session's own connection goes to a node.
func (s *session) leasedFrom(node int) bool {
	return node >= 0 && node < len(s.view.pools) && s.view.pools[node] == s.lease.pool
}

// stateful serves commands that change the state of a connection, over one server: from here on the client has its own.
func (s *session) stateful(c *redis.Command) bool {
	if s.inFlight() > 0 || !s.adopt() {
		return s.hold()
	}
	if _, err := s.acquire(0); err != nil {
		return s.unreachable(0, err)
	}
	return s.onLease(c)
}

// onLease serves a command of a session that has its own connection. The server answers for itself; only what touches sidewire's own
// state is looked at.
func (s *session) onLease(c *redis.Command) bool {
	b := s.lease
	if b.raw {
		return s.whileMonitoring(c)
	}
	if c == nil {
		s.track.wrote = true
		s.leased1(nil)
		return true
	}
	r := &s.request
	t := &s.track
	switch c.Name {
	case "quit":
		return s.quitCommand(c)
	case "sync", "psync", "replconf", "shutdown":
		if !t.multi || !c.Has(redis.NoMulti) { // the server itself refuses these in a transaction, which ends it
			return s.refused(c)
		}
	case "reset":
		return s.reset(c)
	case "client":
		if r.Len() > 1 && redis.EqualFold(r.Arg(1), "reply") {
			return s.client(c)
		}
		s.pause()
		return s.clientOnLease(c)
	case "multi":
		t.multi = true
	case "exec", "discard":
		t.multi, t.watches = false, 0
	case "watch":
		if !t.multi {
			t.watches++
		}
	case "unwatch":
		if !t.multi {
			t.watches = 0
		}
	case "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe":
		if !t.multi {
			return s.subscribe(c)
		}
		t.sticky, b.dirty = true, true
	case "monitor":
		t.sticky = true
		s.changing(change{db: -1, resp3: -1, raw: !t.multi})
		s.hold() // what follows is answered between the lines
		return true
	case "select", "hello", "auth":
		return s.identify(c)
	}
	s.leased1(c)
	return true
}

// whileMonitoring serves a command of a client that MONITOR tells of everybody's. What the server says is passed on line by line and told
// apart by nobody, so PING goes there without taking a slot; what would change the connection, or ask of keys, a server refuses then too.
func (s *session) whileMonitoring(c *redis.Command) bool {
	switch {
	case c != nil && c.Name == "quit":
		return s.quitCommand(c)
	case c != nil && c.Name == "reset":
		return s.reset(c)
	case c != nil && c.Name == "ping":
		s.lease.commit(append(s.lease.begin(), s.request.Raw()...))
		return true
	}
	return s.refuse("ERR only PING, QUIT and RESET are possible while MONITOR tells of commands")
}

// aboutOthers tells whether a CLIENT subcommand leaves the connection that it comes on as it was, and says nothing of it that the client
// may come back to.
func aboutOthers(sub []byte) bool {
	for _, name := range []string{"list", "kill", "pause", "unpause", "unblock", "help"} {
		if redis.EqualFold(sub, name) {
			return true
		}
	}
	return false
}

// clientOnLease serves CLIENT where the session has a connection of its own. What changes that connection keeps it for good; what the
// server refuses does not: clients try subcommands that only newer servers know.
func (s *session) clientOnLease(c *redis.Command) bool {
	switch {
	case s.track.multi:
		s.track.sticky, s.lease.dirty = true, true // it happens at EXEC; too late to follow
	case s.request.Len() > 1 && !aboutOthers(s.request.Arg(1)):
		s.changing(change{db: -1, resp3: -1, sticky: true})
		return true
	}
	s.leased1(c)
	return true
}

// leased1 sends the request down the leased connection.
func (s *session) leased1(c *redis.Command) *pending {
	seq := s.push()
	p := s.lease.send(s.text(c))
	p.session, p.seq, p.flags = s, seq, unlimited
	if c != nil {
		p.command = c.ID
		s.track.wrote = s.track.wrote || mayWrite(c) || c.Name == "exec"
	}
	s.pace(s.lease)
	return p
}

// changing sends a command whose success changes what the session is.
func (s *session) changing(ch change) {
	s.track.changes = append(s.track.changes, ch)
	s.leased1(nil).kind = kindTrack
}

// identify serves SELECT, HELLO and AUTH on a leased connection: the server decides, the session follows.
func (s *session) identify(c *redis.Command) bool {
	if c.Name != "select" && s.gate.locked() {
		return s.refuse("ERR " + c.Name + " is not possible while the connection is in a transaction, subscribed or tracked")
	}
	s.lease.dirty = true
	ch := change{db: -1, resp3: -1}
	switch {
	case s.track.multi:
		s.track.sticky = true // it happens at EXEC; too late to follow
	case c.Name == "select" && s.request.Len() == 2:
		if n, ok := redis.ParseInt(s.request.Arg(1)); ok {
			ch.db = int(n)
		}
	case c.Name == "hello" && s.request.Len() > 1:
		if n, ok := redis.ParseInt(s.request.Arg(1)); ok {
			ch.resp3 = int(n)
		}
		s.track.sticky = s.track.sticky || s.request.Len() > 2
	case c.Name == "auth":
		s.track.sticky = true
	}
	s.changing(ch)
	return true
}

// tracked takes the reply of a command that changes the session.
func (s *session) tracked(p *pending, f []byte) {
	if s.closed {
		return
	}
	if len(s.track.changes) > 0 {
		ch := s.track.changes[0]
		s.track.changes = s.track.changes[1:]
		if f[0] != redis.TypeError && !bytes.HasPrefix(f, []byte("+QUEUED")) && s.lease != nil {
			s.become(ch)
		}
	}
	s.deliver(p.seq, f)
}

func (s *session) become(ch change) {
	key := s.view.key
	if ch.db >= 0 {
		s.db, key.db = ch.db, ch.db
	}
	if ch.resp3 >= 0 {
		s.resp3 = ch.resp3 == 3
		key.resp3 = s.resp3
	}
	if ch.raw {
		s.lease.raw = true
	}
	if ch.sticky {
		s.track.sticky, s.lease.dirty = true, true
	}
	s.setView(s.view.upstream.view(key))
}

// pushOut gives the client a frame that answers nothing, between replies.
func (s *session) pushOut(f []byte) {
	if s.closed {
		return
	}
	if s.streaming {
		s.track.pushes = append(s.track.pushes, f...)
	} else {
		s.wire.Write(f)
	}
	if s.wire.Unsent()+len(s.track.pushes) > s.limits.output {
		s.gate.overflowed(s)
		s.end()
	}
}

// blocking serves a command that may wait for long: on a connection of its own, so that nobody else waits.
func (s *session) blocking(c *redis.Command) bool {
	if s.inFlight() > 0 || !s.adopt() {
		return s.hold()
	}
	node := 0
	if s.view.upstream.mode != modeSingle {
		n, ok := s.shardOf(c)
		if !ok {
			return true
		}
		node = n
	}
	if s.lease != nil {
		return s.refuse("ERR '" + c.Name + "' is not supported over several servers while keys are watched or channels subscribed")
	}
	if _, err := s.acquire(node); err != nil {
		return s.unreachable(node, err)
	}
	s.leased1(c)
	s.hold() // what follows waits, as it would on the server
	return true
}

// blockingRead serves XREAD and XREADGROUP, which block only if asked to.
func (s *session) blockingRead(c *redis.Command) bool {
	r := &s.request
	for i := 1; i < r.Len(); i++ {
		if redis.EqualFold(r.Arg(i), "streams") {
			break
		}
		if redis.EqualFold(r.Arg(i), "block") {
			return s.blocking(c)
		}
	}
	if s.view.upstream.mode == modeSingle {
		return s.keyed(c)
	}
	return s.sameShard(c)
}

// script serves EVAL and its kin. One without keys goes down a connection of its own: it is rare where speed counts, and it may be anything,
// one that never ends included; SCRIPT KILL must not stand in line behind it.
func (s *session) script(c *redis.Command) bool {
	r := &s.request
	if r.Len() > 2 && len(r.Arg(2)) == 1 && r.Arg(2)[0] == '0' {
		return s.blocking(c)
	}
	if s.view.upstream.mode == modeSingle {
		return s.keyed(c)
	}
	return s.sameShard(c)
}

// killer serves SCRIPT and FUNCTION over one server; KILL overtakes everything.
func (s *session) killer(c *redis.Command) bool {
	if r := &s.request; r.Len() == 2 && redis.EqualFold(r.Arg(1), "kill") {
		return s.blocking(c)
	}
	if r := &s.request; r.Len() == 3 && c.Name == "script" && redis.EqualFold(r.Arg(1), "debug") {
		return s.stateful(c)
	}
	return s.keyed(c)
}

// wait_ serves WAIT. The server counts the replicas that have what the asking connection wrote, and a connection of one's own wrote
// nothing. But any command moves that mark to the newest write of all (server.c processCommand sets woff after each call), so a PING
// first makes the answer hold for everything this client was told is done.
func (s *session) wait_(c *redis.Command) bool {
	if s.view.upstream.mode != modeSingle {
		return s.apart(c, ping, joinMin)
	}
	if s.inFlight() > 0 || !s.adopt() {
		return s.hold()
	}
	b, err := s.acquire(0)
	if err != nil {
		return s.unreachable(0, err)
	}
	b.send([]byte(ping)).kind = kindDiscard
	s.leased1(c)
	s.hold()
	return true
}

const ping = "*1\r\n$4\r\nPING\r\n"

// apart asks every shard on a connection of the client's own to each, for what may take long or must not stand in line.
func (s *session) apart(c *redis.Command, before string, join func(*op, []byte) []byte) bool {
	if !c.ArityOK(s.request.Len()) {
		return s.wrongArity(c)
	}
	if s.inFlight() > 0 || !s.adopt() {
		return s.hold()
	}
	pools := s.view.pools[:min(s.view.upstream.shards(), len(s.view.pools))]
	if len(pools) == 0 {
		return s.unreachable(-1, errNobody)
	}
	o := s.op(c, len(pools), join)
	for i, pool := range pools {
		b, err := pool.lease(s)
		if err != nil {
			o.part(i, appendCannot(nil, pool.node.address, err))
			continue
		}
		s.side = append(s.side, b)
		if before != "" {
			b.send([]byte(before)).kind = kindDiscard
		}
		p := b.send(s.request.Raw())
		p.op, p.part, p.command, p.flags = o, int32(i), c.ID, unlimited
	}
	s.hold()
	return true
}

// killers serves SCRIPT KILL and FUNCTION KILL over several servers.
func (s *session) killers(c *redis.Command) bool { return s.apart(c, "", joinOne) }

// returnSide gives back what apart has leased.
func (s *session) returnSide() {
	side := s.side
	s.side = nil
	for _, b := range side {
		b.pool.giveBack(b)
	}
}
