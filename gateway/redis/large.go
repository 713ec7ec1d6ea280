package redis

import (
	"math"
	"slices"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// Large commands and replies pass in pieces, over a connection that nobody else waits on, and only as fast as the other side takes them.
// A command is known to be large when its first bytes have come; it gets a connection of its own. A reply is known to be large when it
// is on its way: then the shared connection it comes on is left to it, and the next reads of that key get one of their own at once.

const (
	defaultLarge = 1 << 20
	highWater    = 1 << 20 // what may wait to be sent before the source is not read any further
	largeKeys    = 1024    // keys whose replies were large that are remembered
	largeFor     = time.Minute
)

// upload is a large command on its way.
type upload struct {
	to     *backend // nil: its server is gone, and the rest is dropped
	framer redis.Framer
	said   bool // the server has answered before the end, so its connection is not one to go on with
	seq    uint64
}

// beginUpload looks at a command of which only the beginning is there. It returns true if the command is large and goes out in pieces from here on.
func (s *session) beginUpload(b []byte) bool {
	if !s.ordinary || s.gate.upstream != s.view.upstream {
		return false
	}
	u := s.view.upstream
	args, total, pending := s.request.Begun(b)
	if args == 0 || pending < int64(u.large) && len(b) < u.large {
		return false
	}
	c := redis.Lookup(s.request.Arg(0))
	if c == nil || u.handlers[c.ID] != nil || !c.ArityOK(total) || u.routes != nil && (u.routes.rewrites || u.routes.mirrors) {
		return false // it is looked at whole
	}
	at := c.OneKey()
	if u.mode != modeSingle && (at == 0 || at >= args) {
		return false
	}
	if s.inFlight() > 0 || !s.adopt() {
		s.hold()
		return false
	}
	node := 0
	if u.mode != modeSingle {
		node = u.locate(s.request.Arg(at), c)
	}
	up := &upload{}
	to, err := s.acquire(node)
	if err == nil {
		if at > 0 && at < args {
			u.meter.big.add(s.request.Arg(at), uint64(max(pending, int64(len(b)))), true)
		}
		up.seq = s.push()
		p := to.expect()
		s.track.wrote = mayWrite(c)
		p.session, p.seq, p.command, p.flags, p.end = s, up.seq, c.ID, unlimited|uploaded, math.MaxInt64
		up.to = to
	} else {
		s.unreachable(node, err)
	}
	s.request.Reset()
	s.up = up
	return true
}

// uploadSome passes on what has come of a large command, and returns how much that was.
func (s *session) uploadSome(in []byte) int {
	up := s.up
	if b := up.to; b != nil {
		switch {
		case b.wire == nil && len(b.queued) > 0:
			s.wait()
			b.waiters = append(b.waiters, func(error) { s.uploadOn() })
			return 0
		case b.wire != nil && b.wire.Stalled() && b.wire.Unsent() > highWater:
			s.wait()
			return 0
		}
	}
	n, err := up.framer.Next(in)
	if err != nil {
		// What the server was told so far has no end; its connection goes, and the client with it.
		s.gate.protocolError(s)
		s.wire.Write(redis.AppendError(nil, "ERR Protocol error: invalid bulk length"))
		s.finish()
		return len(in)
	}
	whole := n > 0
	if !whole {
		if n = up.framer.Accounted(len(in)); n == 0 {
			s.wire.Want(len(in) + 1)
			return 0
		}
		up.framer.Skip(n)
	}
	if b := up.to; b != nil {
		b.commit(append(b.begin(), in[:n]...))
		if b.wire != nil {
			b.wire.Forget(b.wire.SentTo()) // it cannot be sent again; to keep it would be to hold it
			if !up.said {
				p := b.pending.at(b.pending.len() - 1)
				p.from = max(p.from, b.wire.SentTo())
			}
		}
	}
	if whole {
		s.endUpload()
	}
	return n
}

// uploadOn is told that the server takes more, or that there is none.
func (s *session) uploadOn() {
	if s.up != nil && s.waiting && !s.closed {
		s.proceed()
	}
}

func (s *session) endUpload() {
	up := s.up
	s.up = nil
	if b := up.to; b != nil && b.state != dead {
		if up.said {
			b.dirty = true
		} else {
			p := b.pending.at(b.pending.len() - 1)
			p.from, p.end = b.offset(), b.offset()
		}
	}
	if s.head == s.tail {
		s.idle()
	} else {
		s.hold()
	}
}

// uploaded tells whether an error reply is to a large command, whose bytes are gone: it cannot be sent on. The client is told to try again,
// as a Redis Cluster tells it when keys are on the move.
func (b *backend) uploadMoved(p *pending, slot int, n *node, ask bool) {
	u := b.pool.view.upstream
	if !ask {
		u.moved(slot, n)
	}
	b.pay()
	p.session.deliver(p.seq, []byte("-TRYAGAIN the key's slot has moved while a large command was on its way; it was not executed\r\n"))
}

// detach leaves a shared connection to the large reply that comes on it.
func (b *backend) detach() {
	if b.dedicated || b.detached || b.pending.len() == 0 {
		return
	}
	b.unshare()
	u := b.pool.node.upstream
	p := b.pending.at(0)
	if key := u.meter.keyOf(b.text(p).bytes()); key != nil && p.flags&readOnly != 0 {
		if u.largeKeys == nil || len(u.largeKeys) >= largeKeys {
			u.largeKeys = map[string]int64{}
		}
		u.largeKeys[string(key)] = b.engine.clock + int64(largeFor)
	}
}

// alone tells whether a read's reply is expected to be large.
func (s *session) alone(node int, c *redis.Command) bool {
	if c == nil || c.Flags&redis.ReadOnly == 0 || node < 0 || node >= len(s.view.pools) {
		return false
	}
	keys := s.view.pools[node].node.upstream.largeKeys
	at := c.OneKey()
	if len(keys) == 0 || at == 0 || at >= s.request.Len() {
		return false
	}
	until, ok := keys[string(s.request.Arg(at))]
	if ok && s.engine.clock > until {
		delete(keys, string(s.request.Arg(at)))
		return false
	}
	return ok
}

// forwardAlone sends a read down a connection of the client's own.
func (s *session) forwardAlone(node int, c *redis.Command) bool {
	if s.inFlight() > 0 {
		return s.hold()
	}
	if _, err := s.acquire(node); err != nil {
		return s.unreachable(node, err)
	}
	s.leased1(c).flags |= readOnly
	s.hold()
	return true
}

// throttle stops reading a reply that its client does not fetch, unless others wait behind it: then the client's output limit decides.
func (b *backend) throttle(s *session) {
	if (b.dedicated || b.detached) && s.source == nil && s.wire.Stalled() && s.wire.Unsent() > highWater && b.serves(s) {
		s.source = b
		b.wire.Pause()
	}
}

// serves tells whether nobody but s waits for what is under way on the connection.
func (b *backend) serves(s *session) bool {
	for i := range b.pending.len() {
		if o := b.pending.at(i).owner(); o != nil && o != s {
			return false
		}
	}
	return true
}

// drained is told that a client has fetched everything.
func (s *session) drained() {
	if b := s.source; b != nil {
		s.source = nil
		if b.state == ready {
			b.wire.Resume()
		}
	}
}

// park stops reading a large reply whose turn has not come, unless others wait behind it.
func (b *backend) park(s *session) bool {
	if !b.dedicated && !b.detached || !b.serves(s) {
		return false
	}
	s.parked = append(s.parked, b)
	b.wire.Pause()
	return true
}

// unpark has the reply read whose turn has come; and all of them, if nobody takes them any more.
func (s *session) unpark() {
	s.parked = slices.DeleteFunc(s.parked, func(b *backend) bool {
		if b.state == ready && b.pending.len() > 0 && b.pending.at(0).seq != s.head && !s.closed {
			return false
		}
		if b.state == ready {
			b.wire.Resume()
		}
		return true
	})
}

// waitsFor tells whether it is its client that keeps the reply at the head from being read.
func (b *backend) waitsFor(s *session) bool {
	return s != nil && (s.source == b || slices.Contains(s.parked, b))
}

// spare lets go of a reply that nobody waits for, or that would be too much for its client: the rest of it is dropped as it comes.
func (b *backend) spare(rest int) {
	if b.streaming || b.pending.len() == 0 {
		return
	}
	p := b.pending.at(0)
	s := p.owner()
	if s == nil || p.kind != kindPlain || p.op != nil && p.op.asked != nil {
		return
	}
	if !s.closed && s.kept+rest > s.limits.output {
		s.gate.overflowed(s)
		s.end()
	}
	if s.closed {
		p.session, p.op = nil, nil
	}
}
