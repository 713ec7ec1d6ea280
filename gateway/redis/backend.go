package redis

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/protocols/redis"
)

// streamFrom is the size from which the head of a reply is passed on before its end has come.
const streamFrom = 32 << 10

// maxQueued bounds what waits for a connection that is being opened.
const maxQueued = 64 << 20

type backendState uint8

const (
	dialing backendState = iota
	ready
	dead
)

// backend is one upstream connection. Shared, many sessions' commands go down it; leased, one session's.
type backend struct {
	engine  *engine
	pool    *pool
	wire    wire   // nil while dialing
	queued  []byte // output while dialing
	state   backendState
	pending queue
	framer  redis.Framer

	holder    *session // who leases it
	dedicated bool
	id        int64 // the server's number for it; 0: not known, or not asked
	dirty     bool  // its state on the server is not what its pool promises
	raw       bool  // MONITOR: whatever comes goes to the holder
	streaming bool  // the head's reply is going out in pieces
	detached  bool  // shared no more: it ends when what is under way on it is answered
	passed    int   // bytes of the head's reply that are out
	heard     int64 // when the last of them came
	opened    int64 // when it was connected
	asked     int64 // when it was used last
	lent      int64 // when its holder got it
	early     float64
	waiters   []func(err error)
}

// begin and commit append output, wherever it goes for now.
func (b *backend) begin() []byte {
	if b.wire == nil {
		return b.queued
	}
	return b.wire.Begin()
}

func (b *backend) commit(out []byte) {
	if b.wire == nil {
		b.queued = out
		return
	}
	b.wire.Commit(out)
}

func (b *backend) offset() int64 {
	if b.wire == nil {
		return int64(len(b.queued))
	}
	return b.wire.Offset()
}

// send appends a command and expects its reply. The caller fills in whose it is.
func (b *backend) send(raw []byte) *pending {
	p := b.expect()
	b.commit(append(b.begin(), raw...))
	p.end = b.offset()
	return p
}

// expect begins a command whose bytes the caller appends; it sets the entry's end itself.
func (b *backend) expect() *pending {
	p := b.owe()
	*p = pending{from: b.offset(), start: b.engine.clock, command: redis.Count}
	if b.pending.len() == 1 {
		b.engine.arm()
	}
	return p
}

// connected is told that the connection stands; what waited for it goes out.
func (b *backend) connected(w wire) {
	if b.state != dialing {
		w.Close()
		return
	}
	b.state = ready
	b.opened, b.asked, b.early = b.engine.clock, b.engine.clock, b.engine.rnd.Float64()/10
	b.pool.node.upstream.queued -= b.pending.len()
	for i := range b.pending.len() {
		b.pool.node.upstream.measure.Waited(time.Duration(b.engine.clock - b.pending.at(i).start))
	}
	b.wire = w
	w.Retain()
	if len(b.queued) > 0 {
		w.Write(b.queued)
	}
	b.queued = nil
	b.pool.node.reached()
	b.wake(nil)
}

// failed is told that the connection could not be made.
func (b *backend) failed(err error) {
	if b.state == dead {
		return
	}
	var full *cluster.Overloaded
	if _, no := err.(*refusal); !no && !errors.As(err, &full) { // a wrong password, or our own limit, is no trouble of the server's
		b.pool.node.missed(b.engine.clock, err)
	}
	b.lose(err)
}

func (b *backend) wake(err error) {
	waiters := b.waiters
	b.waiters = nil
	for _, f := range waiters {
		f(err)
	}
}

// receive takes an upstream's bytes and returns how many were used.
func (b *backend) receive(buf []byte) int {
	if b.raw {
		return b.tell(buf)
	}
	used := 0
	for used < len(buf) {
		rest := buf[used:]
		n, err := b.framer.Next(rest)
		if err != nil {
			b.lose(fmt.Errorf("reading reply: %w", err))
			return len(buf)
		}
		if n == 0 {
			if b.spare(len(rest)); b.state == dead {
				return len(buf)
			}
			acc := b.framer.Accounted(len(rest))
			large := max(b.framer.Want(len(rest)), b.passed+acc) >= b.pool.node.upstream.large
			if large {
				b.detach()
			}
			if (acc >= streamFrom || large && acc > 0) && b.pass(rest[:acc]) {
				b.framer.Skip(acc)
				used += acc
				rest = rest[acc:]
			} else if large && !b.streaming && b.pending.len() > 0 {
				if s := b.pending.at(0).session; s != nil && !s.closed && s.head != b.pending.at(0).seq && b.park(s) {
					b.wire.Want(len(rest) + 1)
					break
				}
			}
			if b.streaming { // as it comes
				b.wire.Want(min(b.framer.Want(len(rest)), len(rest)+streamFrom))
			} else {
				b.wire.Want(b.framer.Want(len(rest)))
			}
			break
		}
		b.take(rest[:n])
		if b.state == dead {
			return len(buf)
		}
		used += n
		if b.raw { // MONITOR has just been answered
			return used + b.receive(buf[used:])
		}
	}
	if b.pending.len() == 0 {
		b.wire.Forget(b.wire.Offset())
		if b.detached {
			b.discard("what it was left to is answered")
		} else if !b.dedicated && b.pool.closed() {
			b.discard("server has left") // what was under way when it left is answered now
		}
	} else {
		b.wire.Forget(b.pending.at(0).from)
	}
	return used
}

// tell passes on what MONITOR brings: whole lines, between which what sidewire says itself may stand.
func (b *backend) tell(buf []byte) int {
	n := bytes.LastIndexByte(buf, '\n') + 1
	s := b.holder
	if s == nil || s.closed {
		return len(buf)
	}
	if n == 0 {
		b.wire.Want(len(buf) + 1)
		if len(buf) < s.limits.output {
			return 0
		}
	}
	s.wire.Write(buf[:n])
	if s.wire.Unsent() > s.limits.output || n == 0 {
		s.gate.overflowed(s)
		s.end()
	}
	b.wire.Forget(b.wire.SentTo())
	return n
}

// pass gives a piece of the reply in progress to the client whose turn it is. It declines when the reply has to be looked at whole,
// or to wait.
func (b *backend) pass(piece []byte) bool {
	if !b.streaming {
		if b.pending.len() == 0 || piece[0] == redis.TypePush || piece[0] == redis.TypeAttribute {
			return false
		}
		p := b.pending.at(0)
		if p.op != nil || p.kind != kindPlain || piece[0] == redis.TypeError {
			return false
		}
		if s := p.session; s != nil && !s.closed && s.head != p.seq {
			return false
		}
		b.streaming = true
	}
	b.passed += len(piece)
	b.heard = b.engine.clock
	if s := b.pending.at(0).session; s != nil {
		s.stream(piece)
		b.throttle(s)
		if !s.closed && s.wire.Unsent() > s.limits.output {
			s.gate.overflowed(s)
			s.end()
		}
	}
	return true
}

// take handles one whole reply, or the last piece of one that was passed on.
func (b *backend) take(f []byte) {
	if f[0] == redis.TypePush && !b.streaming {
		b.push(f)
		return
	}
	if b.pending.len() == 0 {
		if b.holder != nil && b.holder.subscribed(b, f, nil) {
			return
		}
		// A server that speaks unasked is not one whose next words may be taken for an answer.
		b.lose(errUnasked)
		return
	}
	p := *b.pending.at(0)
	if b.streaming {
		b.streaming = false
		size := b.passed + len(f)
		b.passed = 0
		b.pay()
		if s := p.session; s != nil && !s.closed {
			s.stream(f)
			s.advance()
		}
		b.count(&p, size, false)
		return
	}
	if b.holder != nil && b.holder.subscribed(b, f, &p) {
		return
	}
	failed := f[0] == redis.TypeError
	if failed && b.pool.view.upstream.redirected(b, &p, f) {
		return
	}
	b.pay()
	b.count(&p, len(f), failed)
	switch {
	case p.kind == kindTrack && p.session != nil:
		p.session.tracked(&p, f)
	case p.op != nil:
		p.op.part(int(p.part), f)
	case p.session != nil:
		p.session.deliver(p.seq, f)
	}
}

// count tells the meter of a reply.
func (b *backend) count(p *pending, size int, failed bool) {
	n := b.pool.node
	n.upstream.meter.answered(n, p, b.engine.clock, size, failed, b.text(p))
	if p.op == nil && p.session != nil {
		p.session.gate.answered(p.command, failed)
	}
	if b.engine.observe != nil {
		b.engine.observe(n, *p, size, failed)
	}
}

// tail is the output of the command that was appended last.
func (b *backend) tail(p *pending) []byte {
	if b.wire == nil {
		return b.queued[p.from:p.end]
	}
	return b.wire.Retained(p.from, p.end)
}

// text returns the command of an entry that has just been answered; its bytes are still retained.
func (b *backend) text(p *pending) retained { return retained{b.wire, p.from, p.end} }

// retained is a command's text that is cut out only if somebody wants it.
type retained struct {
	wire      wire
	from, end int64
}

func (r retained) bytes() []byte { return r.wire.Retained(r.from, r.end) }

var errUnasked = fmt.Errorf("upstream sent a reply that nothing asked for")

// push handles a frame out of band: only a connection of one's own may bring any.
func (b *backend) push(f []byte) {
	if t := b.pool.view.key.tracker; t != nil && invalidates(f) {
		t.invalidated(f)
		return
	}
	s := b.holder
	if s == nil || s.closed {
		return // shared connections ask for nothing that pushes
	}
	if s.subscribed(b, f, nil) {
		return
	}
	s.pushOut(f)
}

// invalidates tells whether a push is CLIENT TRACKING's.
func invalidates(f []byte) bool {
	word, _ := element(f)
	return string(word) == "invalidate"
}

// ended is told that the connection is gone.
func (b *backend) ended(err error) { b.lose(fmt.Errorf("upstream connection lost: %w", err)) }

// lose gives the connection up. Every command on it is answered: what the server cannot have seen whole, or what only reads, is sent
// again once on a new connection; of what it may have executed nobody knows the outcome, and the client is told so.
func (b *backend) lose(err error) {
	if b.state == dead {
		return
	}
	was := b.state
	b.state = dead
	e := b.engine
	delete(e.backends, b)
	b.pool.forget(b)
	holder := b.holder
	b.holder = nil
	var again []pending
	var text []byte
	sent := int64(0)
	if b.wire != nil {
		sent = b.wire.SentTo()
	} else {
		b.pool.node.upstream.queued -= b.pending.len()
	}
	for b.pending.len() > 0 {
		p := *b.pending.at(0)
		b.pay()
		p.flags &^= retried
		if b.streaming {
			// Its beginning is with the client already; nothing but an end can tell that the rest is missing.
			b.streaming = false
			if p.session != nil {
				p.session.end()
			}
			continue
		}
		unseen := was != dialing && p.end > sent
		if was != dialing && b.repeatable(&p, unseen) {
			if n := len(again); n > 0 && p.inTransaction() && again[n-1].op == p.op {
				continue // one entry stands for all of a transaction's
			}
			from := len(text)
			text = append(text, b.wire.Retained(p.from, p.end)...)
			p.from, p.end = int64(from), int64(len(text))
			again = append(again, p)
			continue
		}
		b.abandon(&p, err, unseen || was == dialing)
	}
	if b.wire != nil {
		b.wire.Close()
	}
	if _, own := err.(*closing); was == ready && !own {
		b.pool.node.lost(e.clock, err)
	}
	b.resend(again, text, err)
	if holder != nil && !holder.closed {
		holder.bereaved(b, err)
	}
	if t := b.pool.view.key.tracker; t != nil && was == ready {
		t.lost()
	}
	b.wake(err)
}

// repeatable tells whether a command on a lost connection may be sent again: with proof that the server has not executed it, or if it only
// reads; and once.
func (b *backend) repeatable(p *pending, unseen bool) bool {
	if b.dedicated || p.kind != kindPlain || p.owner() == nil || p.flags&(expired|resent) != 0 || p.inTransaction() && p.op.resent {
		return false
	}
	return unseen || p.flags&readOnly != 0
}

// inTransaction tells whether the entry is one of those that a transaction has, whose text is all of it.
func (p *pending) inTransaction() bool { return p.op != nil && p.op.text != nil }

// abandon answers a command that will have no reply. unseen says that the server cannot have executed it.
func (b *backend) abandon(p *pending, err error, unseen bool) {
	msg := "ERR upstream failure: " + b.pool.node.address + ": " + err.Error()
	if !unseen && p.flags&readOnly == 0 {
		msg += " (unknown outcome)"
	}
	b.pool.node.abandoned(p)
	reply := redis.AppendError(b.engine.take(), msg)
	if p.op == nil && p.session != nil {
		p.session.gate.answered(p.command, true)
	}
	switch {
	case p.op != nil:
		p.op.part(int(p.part), reply)
	case p.session != nil && p.kind == kindTrack:
		p.session.tracked(p, reply)
	case p.session != nil:
		p.session.deliver(p.seq, reply)
	}
	b.engine.give(reply)
}

// resend sends commands again, in their order: each down the connection that its client's next commands take, so that none overtakes it.
func (b *backend) resend(again []pending, text []byte, err error) {
	for i := range again {
		p := &again[i]
		next, none := b.pool.connection(p.owner().id)
		why := err
		if u := b.pool.node.upstream; none == nil {
			if none = u.admit(cluster.Retries, u.retries); none != nil {
				why = fmt.Errorf("%w, and it is not sent again: %w", err, none)
			}
		}
		switch {
		case none != nil && p.inTransaction():
			for ; int(p.part) < len(p.op.parts); p.part++ {
				b.abandon(p, why, true)
			}
		case none != nil:
			b.abandon(p, why, true)
		case p.inTransaction():
			p.op.resent = true
			p.op.restart(next)
		default:
			p.flags |= resent | retried
			next.repeat(text[p.from:p.end], p)
		}
	}
}

// expire answers commands that have waited too long. Their replies are still expected, and dropped; only a connection that answers
// nothing at all for much longer is given up, because that ends everybody's commands.
func (b *backend) expire() {
	for i := range b.pending.len() {
		p := b.pending.at(i)
		if p.flags&unlimited != 0 {
			return
		}
		if i == 0 && b.waitsFor(p.session) {
			return // it is not read for its client's sake, and nobody else waits here
		}
		waited := b.engine.clock - p.start
		if waited < b.limit(p) {
			if !b.engine.timed {
				return
			}
			continue
		}
		if i == 0 && b.state == dialing && waited >= b.pool.node.upstream.timeout {
			b.failed(errTimeout) // nothing of what waits here goes out any more
			return
		}
		if i == 0 && b.streaming && (b.engine.clock-b.heard < b.pool.node.upstream.stuck) {
			continue // it takes its time, but it comes
		}
		if i == 0 && waited > b.pool.node.upstream.stuck {
			b.pool.node.stuck(b.engine.clock)
			b.lose(fmt.Errorf("no reply for %v", time.Duration(waited).Round(time.Millisecond)))
			return
		}
		if p.flags&expired != 0 {
			continue
		}
		p.flags |= expired
		if b.streaming && i == 0 {
			continue // its reply is coming
		}
		copied := *p
		p.session, p.op = nil, nil
		b.pool.node.timedOut()
		b.abandon(&copied, errTimeout, false) // it goes out still, if it has not yet
		if b.state == dead {
			return
		}
	}
}

var errTimeout = fmt.Errorf("timeout")

// discard gives up a leased connection: whatever runs on it must not go on for a client that is gone.
func (b *backend) discard(why string) {
	if b.state == dead {
		return
	}
	b.holder = nil
	for i := range b.pending.len() {
		p := b.pending.at(i)
		p.session, p.op = nil, nil
	}
	b.lose(&closing{why})
}

// closing is why a connection was closed from here: no failing of the server's.
type closing struct{ why string }

func (c *closing) Error() string { return c.why }

// word returns an error reply's first word.
func word(f []byte) []byte {
	f = f[1:]
	if i := bytes.IndexAny(f, " \r"); i >= 0 {
		return f[:i]
	}
	return f
}
