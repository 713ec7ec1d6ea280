package redis

import (
	"bytes"

	"github.com/sidewire/sidewire/protocols/redis"
)

// transaction is what a client says between MULTI and EXEC, over several servers. It is collected here, with the checks that the server
// makes when it queues (name, number of arguments), and sent in one piece with EXEC: on a shared connection it is contiguous, so it
// is as atomic as on one's own, and a redirection can repeat it whole. Only WATCH needs a connection of its own.
type transaction struct {
	text   []byte
	queued int
	node   int    // -1: no key yet
	key    []byte // the first key
	epoch  uint64 // the upstream's, when the first key came
	broken bool
	writes bool // CLIENT PAUSE WRITE holds it up
}

const noTransaction = -1

func (s *session) queued() int {
	if s.multi == nil {
		return noTransaction
	}
	return s.multi.queued
}

func (s *session) multiCommand(c *redis.Command) bool {
	if s.request.Len() != 1 {
		return s.wrongArity(c)
	}
	s.multi = &transaction{node: -1}
	s.settle()
	return s.answer("+OK\r\n")
}

func (s *session) execCommand(c *redis.Command) bool {
	if s.request.Len() != 1 {
		return s.wrongArity(c)
	}
	return s.refuse("ERR EXEC without MULTI")
}

func (s *session) discardCommand(c *redis.Command) bool {
	if s.request.Len() != 1 {
		return s.wrongArity(c)
	}
	return s.refuse("ERR DISCARD without MULTI")
}

// collect serves a command between MULTI and EXEC.
func (s *session) collect(c *redis.Command) bool {
	r, m := &s.request, s.multi
	if c == nil {
		c = s.known()
	}
	if c == nil {
		m.broken = true
		return s.unrecognised()
	}
	switch c.Name {
	case "multi":
		return s.refuse("ERR MULTI calls can not be nested")
	case "watch":
		return s.refuse("ERR WATCH inside MULTI is not allowed")
	case "quit":
		return s.quitCommand(c)
	case "reset":
		return s.reset(c)
	case "discard":
		if r.Len() != 1 {
			break
		}
		if s.inFlight() > 0 {
			return s.hold()
		}
		s.leave()
		return s.answer("+OK\r\n")
	case "exec":
		if r.Len() == 1 {
			return s.exec(c)
		}
	}
	if len(c.Sub) > 0 && r.Len() > 1 {
		if sub := c.Subcommand(r.Arg(1)); sub != nil {
			c = sub
		}
	}
	if !c.ArityOK(r.Len()) {
		m.broken = true
		return s.wrongArity(c)
	}
	if c.Has(redis.NoMulti) {
		m.broken = true
		return s.refuse("ERR Command not allowed inside a transaction")
	}
	if c.Has(redis.PubSub) || c.Name == "select" || c.Name == "auth" || c.Name == "hello" || c.Request == redis.AllShards && len(c.Keys) == 0 && c.Name != "ping" {
		m.broken = true
		return s.refuse("ERR '" + c.FullName() + "' command is not supported within transaction")
	}
	keys, err := c.AppendKeys(s.engine.keys[:0], r)
	s.engine.keys = keys[:0]
	if err != nil {
		m.broken = true
		return s.refuse("ERR " + err.Error())
	}
	for _, k := range keys {
		if m.key == nil {
			m.key, m.epoch = bytes.Clone(r.Arg(k)), s.view.upstream.epoch
		} else if !s.view.upstream.same(m.key, r.Arg(k), nil) {
			m.broken = true
			return s.refuse(crossSlot)
		}
	}
	if !s.view.upstream.mayCollect(c) {
		m.broken = true
		return s.namesKeys(c)
	}
	if len(m.text)+len(r.Raw()) > s.limits.transaction {
		m.broken = true
		return s.refuse("ERR transaction is larger than the limit of " + itoa(s.limits.transaction) + " bytes")
	}
	m.text = append(m.text, s.text(c)...)
	m.queued++
	m.writes = m.writes || mayWrite(c)
	return s.answer("+QUEUED\r\n")
}

// leave ends the transaction and the watches with it.
func (s *session) leave() {
	s.multi = nil
	if b := s.lease; b != nil && s.track.watches > 0 {
		s.track.watches, s.track.doomed = 0, false
		p := b.send([]byte("*1\r\n$7\r\nUNWATCH\r\n"))
		p.kind = kindDiscard
		b.dirty = true // simpler than waiting for the answer; the next one dials
	}
	s.settle()
}

const (
	execFirst = "*1\r\n$5\r\nMULTI\r\n"
	execLast  = "*1\r\n$4\r\nEXEC\r\n"
)

// exec sends the transaction.
func (s *session) exec(c *redis.Command) bool {
	if u := s.view.upstream; u.engine.clock < u.pausedUntil && u.mode != modeSingle && (s.multi.writes || !u.pausedWrites) {
		return s.inHold(c)
	}
	if s.inFlight() > 0 || !s.adopt() {
		return s.hold() // a watched key's connection is another one than the commands before have used
	}
	m := s.multi
	if m.broken {
		s.leave()
		return s.refuse("EXECABORT Transaction discarded because of previous errors.")
	}
	if u := s.view.upstream; m.key != nil && u.mode != modeSlots && m.epoch != u.epoch {
		s.leave()
		return s.refuse("EXECABORT Transaction discarded: the servers have changed since it began, and its keys may be on several now")
	}
	if s.track.doomed {
		s.leave()
		return s.reply(func(b []byte) []byte { return appendNullArray(b, s.resp3) })
	}
	var b *backend
	var err error
	node := s.anyNode()
	switch {
	case s.lease != nil && s.track.watches > 0:
		b = s.lease
		if m.key != nil && !s.leasedFrom(s.view.upstream.locate(m.key, nil)) {
			s.leave()
			return s.refuse(crossSlot)
		}
	case m.queued == 0:
		s.multi = nil
		s.settle()
		return s.answer("*0\r\n")
	default:
		if m.key != nil {
			node = s.view.upstream.locate(m.key, nil)
		}
		b, err = s.conn(node)
	}
	s.multi = nil
	watched := s.track.watches > 0
	s.track.watches = 0
	s.settle()
	if err != nil {
		return s.unreachable(node, err)
	}
	// One slot for the client, one entry for the server: the replies of MULTI and of the queued commands are counted off before
	// EXEC's. A redirection of any of them repeats the whole.
	s.writing()
	o := s.op(c, m.queued+2, joinExec)
	o.text = append(append(append([]byte(nil), execFirst...), m.text...), execLast...)
	o.watched = watched
	s.preface(b)
	o.send(b)
	if t := s.view.upstream.routes; t != nil && t.mirrors && m.key != nil {
		s.mirrorAll(m.key, o.text, m.queued+2)
	}
	if s.lease == b {
		s.hold() // what follows goes down another connection, and must not overtake
	}
	return true
}

// joinExec passes EXEC's reply on. If the server refused while queueing, EXEC says that it aborted, and the first refusal says why.
func joinExec(o *op, dst []byte) []byte {
	last := o.parts[len(o.parts)-1].reply
	if last[0] != redis.TypeError {
		return append(dst, last...)
	}
	for i := range o.parts[:len(o.parts)-1] {
		f := o.parts[i].reply
		if w := string(word(f)); o.watched && f[0] == redis.TypeError && (w == "MOVED" || w == "ASK") {
			return appendNullArray(dst, o.session.resp3)
		}
		if f[0] == redis.TypeError && !bytes.HasPrefix(last, []byte("-EXECABORT")) {
			return append(dst, f...)
		}
	}
	return append(dst, last...)
}

// appendNullArray is what EXEC answers when a watched key has changed.
func appendNullArray(b []byte, resp3 bool) []byte {
	if resp3 {
		return redis.AppendNull(b, true)
	}
	return append(b, "*-1\r\n"...)
}

// watchCommand serves WATCH over several servers: on a connection of its own to the keys' server.
func (s *session) watchCommand(c *redis.Command) bool {
	if s.inFlight() > 0 || !s.adopt() {
		return s.hold()
	}
	node, ok := s.shardOf(c)
	if !ok {
		return true
	}
	if s.lease != nil && !s.leasedFrom(node) {
		return s.refuse(crossSlot)
	}
	if s.lease == nil {
		if _, err := s.acquire(node); err != nil {
			return s.unreachable(node, err)
		}
		s.track.aside = true
	}
	s.track.watches++
	s.leased1(c)
	s.settle()
	s.hold() // what this client reads next must be read after the watch has begun
	return true
}

func (s *session) unwatchCommand(c *redis.Command) bool {
	if s.request.Len() != 1 {
		return s.wrongArity(c)
	}
	if s.lease == nil || s.track.watches == 0 {
		return s.answer("+OK\r\n")
	}
	if s.inFlight() > 0 {
		return s.hold()
	}
	s.track.watches, s.track.doomed = 0, false
	s.leased1(c)
	s.hold()
	return true
}
