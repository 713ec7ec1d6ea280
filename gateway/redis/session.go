package redis

import (
	"github.com/sidewire/sidewire/protocols/redis"
)

// How many commands of one client may wait for replies before it is not read any further. A client begins with few and gets more as
// its replies turn out to be small: hundreds of pipelined GETs of a megabyte would keep a shared connection from everybody else.
const (
	firstWindow  = 32
	maxInFlight  = 8192
	windowBudget = 2 << 20 // bytes of replies that may be under way
)

// session is one client.
type session struct {
	engine *engine
	wire   wire
	limits *limits
	gate   *gate // the listener: who may log in, and what is served
	id     int64
	name   string // CLIENT SETNAME
	addr   string

	request redis.Request

	// The ring of slots: every command takes one, and replies leave in their order.
	slots      []slot
	head, tail uint64

	view *view // the upstream as this session's database, protocol version and user see it
	db   int
	user string
	pass string

	resp3     bool
	admitted  bool // logged in, or nobody has to be
	ordinary  bool // nothing special: the fast path serves
	held      bool // paused until the ring is empty
	waiting   bool // paused until something outside has answered
	full      bool // paused until the ring is half empty
	eof       bool // will send nothing more
	closing   bool // ends when its replies are out
	closed    bool
	streaming bool // the reply at the head has begun to go out
	delayed   bool // the command to come has been kept waiting on purpose
	failing   bool // the command to come fails on purpose
	mute      mute

	lease    *backend   // the dedicated connection, if any
	up       *upload    // a large command on its way
	source   *backend   // not read until this client has fetched what it has
	parked   []*backend // not read until their replies' turns come
	side     []*backend // further ones, one to each shard, while a command runs on all of them
	track    tracking
	multi    *transaction // collected here, for several shards
	topology uint64       // the upstream's, when the ring was last empty
	wrote    int64        // when it last wrote, if reads go elsewhere
	wroteBy  uint64       // answered when the head is here
	sealed   int64        // the engine's turn at which that was noticed, or 0
	window   int          // commands that may be under way
	size     int          // a running mean of the size of replies
	passed   int          // bytes of the reply at the head that are out
	kept     int          // bytes of replies that wait for their turn, and of parts that wait for others
}

// slot is where a reply waits for its turn.
type slot struct {
	reply []byte
	ready bool
	muted bool
}

type mute uint8

const (
	muteOff  mute = iota // replies go out
	muteNext             // CLIENT REPLY SKIP: the next one does not
	muteAll              // CLIENT REPLY OFF
)

// limits bound what a client may cost.
type limits struct {
	output      int // bytes waiting to be fetched
	transaction int // bytes between MULTI and EXEC
}

func (e *engine) newSession(w wire, g *gate, addr string) *session {
	e.nextID++
	s := &session{engine: e, wire: w, gate: g, limits: &g.limits, id: e.nextID, addr: addr, admitted: !g.locked(), window: firstWindow}
	e.sessions[s.id] = s
	s.setView(g.upstream.view(viewKey{db: g.upstream.db}))
	s.db = g.upstream.db
	return s
}

func (s *session) setView(v *view) {
	if s.view != nil {
		s.view.left()
	}
	s.view = v
	v.sessions++
	s.settle()
}

// settle works out whether the fast path serves.
func (s *session) settle() {
	s.ordinary = s.admitted && s.lease == nil && s.multi == nil && s.mute == muteOff && !s.closing && s.gate.rules == nil && s.view.key.tracker == nil
}

// push takes the next slot.
func (s *session) push() uint64 {
	if s.tail-s.head == uint64(len(s.slots)) {
		grown := make([]slot, max(4, 2*len(s.slots)))
		for q := s.head; q != s.tail; q++ {
			grown[q&uint64(len(grown)-1)] = s.slots[q&uint64(len(s.slots)-1)]
		}
		s.slots = grown
	}
	seq := s.tail
	s.tail++
	if s.mute != muteOff {
		s.slots[seq&uint64(len(s.slots)-1)].muted = true
		if s.mute == muteNext {
			s.mute = muteOff
			s.settle()
		}
	}
	if int(s.tail-s.head) >= s.window && !s.full {
		s.full = true
		s.wire.Pause()
	}
	return seq
}

func (s *session) inFlight() int { return int(s.tail - s.head) }

func (s *session) slot(seq uint64) *slot { return &s.slots[seq&uint64(len(s.slots)-1)] }

// deliver gives the reply of a slot, whole. The bytes are copied.
func (s *session) deliver(seq uint64, reply []byte) {
	if s.closed {
		return
	}
	sl := s.slot(seq)
	if seq != s.head {
		s.put(sl, reply)
		return
	}
	if !sl.muted {
		s.wire.Write(reply)
	}
	s.passed += len(reply)
	s.advance()
}

// stream gives a piece of the reply at the head of the ring, before its end has come.
func (s *session) stream(piece []byte) {
	if s.closed || s.slot(s.head).muted {
		return
	}
	s.streaming = true
	s.passed += len(piece)
	s.wire.Write(piece)
}

// advance moves the head past an answered slot, and past those whose replies have been waiting for it.
func (s *session) advance() {
	s.streaming = false
	s.measure(s.passed)
	s.passed = 0
	*s.slot(s.head) = slot{}
	s.head++
	if len(s.track.pushes) > 0 {
		s.wire.Write(s.track.pushes)
		s.track.pushes = nil
	}
	s.drain()
	if t := s.view.key.tracker; t != nil && t.late != nil {
		t.catchUp()
	}
	if s.parked != nil {
		s.unpark()
	}
	if s.full && s.inFlight() <= s.window/2 {
		s.full = false
		s.resume()
	}
	if s.wire.Unsent() > s.limits.output {
		s.gate.overflowed(s)
		s.end()
		return
	}
	if s.head == s.tail {
		s.idle()
	}
}

// drain lets the replies out that have been waiting for those before them.
func (s *session) drain() {
	for s.head != s.tail {
		sl := s.slot(s.head)
		if !sl.ready {
			break
		}
		if !sl.muted {
			s.wire.Write(sl.reply)
		}
		s.measure(len(sl.reply))
		s.kept -= len(sl.reply)
		s.engine.give(sl.reply)
		*sl = slot{}
		s.head++
	}
}

// measure learns from the size of a reply how many commands may be under way: their replies should fit into the budget.
func (s *session) measure(size int) {
	if size > 4*s.size { // one big reply among small ones counts at once
		s.size = size
	}
	s.size += (size - s.size) / 8
	if fit := windowBudget / (s.size + 64); s.window > fit {
		s.window = max(fit, 2)
	} else if s.window < maxInFlight {
		s.window++
	}
}

// idle is called whenever everything the client asked has been answered.
func (s *session) idle() {
	if s.lease != nil {
		s.release()
	}
	if s.side != nil {
		s.returnSide()
	}
	if s.held {
		s.held = false
		s.resume()
	}
	if s.closing || s.eof && !s.waiting && !s.leased() {
		s.finish()
	}
}

func (s *session) resume() {
	if !s.held && !s.waiting && !s.full && !s.closing && !s.closed {
		s.wire.Resume()
	}
}

// hold stops reading until every command before this one has been answered. It returns false for the caller to return: the command stays
// unconsumed and is looked at again.
func (s *session) hold() bool {
	if s.waiting || s.head == s.tail { // paused already by what will resume it, or nothing to wait for
		return false
	}
	s.held = true
	s.wire.Pause()
	return false
}

// wait stops reading until proceed.
func (s *session) wait() {
	s.waiting = true
	s.wire.Pause()
}

func (s *session) proceed() {
	s.waiting = false
	s.resume()
	if s.eof && s.head == s.tail && !s.leased() {
		s.finish()
	}
}

// answer gives a reply made here, in its turn.
func (s *session) answer(reply string) bool {
	seq := s.push()
	if seq == s.head {
		if !s.slot(seq).muted {
			s.wire.Commit(append(s.wire.Begin(), reply...))
		}
		s.advance()
		return true
	}
	s.put(s.slot(seq), []byte(reply))
	return true
}

// put leaves a reply to wait for its turn.
func (s *session) put(sl *slot, reply []byte) {
	sl.reply = append(s.engine.take(), reply...)
	sl.ready = true
	s.keep(len(reply))
}

// keep counts bytes that wait for others before they can go out; a client that makes too many wait is disconnected.
func (s *session) keep(n int) {
	s.kept += n
	if s.kept > s.limits.output && !s.closed {
		s.gate.overflowed(s)
		s.end()
	}
}

// refuse answers with an error; msg begins with its code.
func (s *session) refuse(msg string) bool {
	b := redis.AppendError(s.engine.take(), msg)
	s.deliver(s.push(), b)
	s.engine.give(b)
	return true
}

// reply answers with bytes made by f.
func (s *session) reply(f func(b []byte) []byte) bool {
	b := f(s.engine.take())
	s.deliver(s.push(), b)
	s.engine.give(b)
	return true
}

// receive takes a client's bytes and returns how many were used.
func (s *session) receive(b []byte) int {
	used := 0
	for used < len(b) {
		if s.held || s.waiting || s.full || s.closing || s.closed {
			if s.closing || s.closed {
				return len(b)
			}
			return used
		}
		if s.up != nil {
			n := s.uploadSome(b[used:])
			if n == 0 {
				return used
			}
			used += n
			continue
		}
		n, err := s.request.Next(b[used:])
		if err != nil {
			s.gate.protocolError(s)
			s.refuse("ERR " + err.Error())
			s.quit()
			return len(b)
		}
		if n == 0 {
			if s.beginUpload(b[used:]) {
				continue
			}
			if !s.held && !s.waiting {
				s.wire.Want(s.request.Want(b[used:]))
			}
			return used
		}
		if s.request.Len() > 0 && !s.command() {
			s.request.Reset()
			return used
		}
		used += n
	}
	return used
}

// quit ends the session when what was asked before has been answered.
func (s *session) quit() {
	s.closing = true
	s.ordinary = false
	s.wire.Pause()
	if s.head == s.tail {
		s.finish()
	}
}

// ended is told that the client will send no more. What it asked is still answered, unless it waits for something that may never come.
func (s *session) ended(clean bool) {
	if !clean {
		s.end()
		return
	}
	s.eof = true
	if s.head == s.tail && !s.waiting || s.leased() {
		s.finish()
	}
}

// hangup is told that the client is gone while it is not being read. A blocked command must not go on for it: what it would pop is lost.
func (s *session) hangup() {
	if s.leased() {
		s.end()
	}
}

// leased tells whether the session holds a connection of its own whose work may have no end.
func (s *session) leased() bool { return s.lease != nil || s.side != nil }

// finish closes the session once its output is out; end closes it now.
func (s *session) finish() {
	if s.closed {
		return
	}
	s.drop()
	s.wire.Finish()
}

func (s *session) end() {
	if s.closed {
		return
	}
	s.drop()
	s.wire.Close()
}

func (s *session) drop() {
	s.closed = true
	s.ordinary = false
	if s.lease != nil {
		b := s.lease
		s.lease = nil
		b.discard("client is gone")
	}
	s.drained() // others may wait behind what is dropped
	s.unpark()
	s.up = nil
	side := s.side
	s.side = nil
	for _, b := range side {
		b.discard("client is gone")
	}
	if s.multi != nil {
		s.multi = nil
	}
	for q := s.head; q != s.tail; q++ {
		if sl := s.slot(q); sl.ready {
			s.engine.give(sl.reply)
			*sl = slot{}
		}
	}
	s.untrack()
	s.view.left()
	delete(s.engine.sessions, s.id)
	s.gate.left(s)
}
