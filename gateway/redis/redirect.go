package redis

import (
	"bytes"
	"net"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/protocols/redis"
	"github.com/sidewire/sidewire/sharding/hash"
)

// maxHops is how often a command is sent on before its client is given the server's error.
const maxHops = 8

// later is a command that waits to be sent again.
type later struct {
	due  int64
	text []byte
	p    pending
	view *view // of the cluster that asked for it
}

// redirected looks at an error reply. If it says that a Redis Cluster's node did not execute the command, and where it belongs or that it
// should come again, the command is sent on: then redirected reports true, and the entry is no longer the backend's.
func (u *upstream) redirected(b *backend, p *pending, f []byte) bool {
	if u.mode != modeSlots || p.kind != kindPlain {
		if u.mode == modeSlots && string(word(f)) == "MOVED" {
			u.engine.out.refresh(u, "MOVED") // a mirror's
		}
		return false
	}
	w := word(f)
	switch string(w) {
	case "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN":
	default:
		return false
	}
	if p.op != nil && p.op.text != nil || p.session == nil && p.op == nil || p.hops >= maxHops {
		if w[0] != 'A' && w[0] != 'T' {
			u.engine.out.refresh(u, string(w))
		}
		return false // a transaction is repeated whole, when all its replies are in
	}
	text := b.wire.Retained(p.from, p.end)
	switch string(w) {
	case "MOVED", "ASK":
		slot, n := u.target(b, f)
		if n == nil {
			return false
		}
		ask := w[0] == 'A'
		if !ask {
			u.moved(slot, n)
		}
		if p.flags&uploaded != 0 {
			b.uploadMoved(p, slot, n, ask)
			return true
		}
		if b.holder != nil {
			return u.moveLease(b, p, n, ask, text)
		}
		to, err := p.owner().viewOf(b).pools[n.index].connection(p.owner().id)
		if err != nil || to == b && !ask {
			return false
		}
		u.sendOn(b, to, p, text, ask)
	default:
		u.engine.out.refresh(u, string(w))
		if b.holder != nil || b.followed(p, text) || u.admit(cluster.Retries, u.retries) != nil {
			return false
		}
		again := later{u.engine.clock + int64(retryAfter), bytes.Clone(text), *p, b.pool.view}
		again.p.flags |= retried
		u.engine.later = append(u.engine.later, again)
		b.pay()
		u.retries++
		u.engine.arm()
	}
	b.pool.view.key.tracker.reread()
	p.owner().hold() // what the client says next about the same key must not overtake
	return true
}

// followed tells whether a command's owner has another one under way on the same connection, and for the same slot: that one may be
// executed before this one could come again, so this one must not come again.
func (b *backend) followed(p *pending, text []byte) bool {
	slot, ok := slotOf(text)
	for i := 1; i < b.pending.len(); i++ {
		q := b.pending.at(i)
		if (q.session == nil && q.op == nil) || q.owner() != p.owner() {
			continue
		}
		if other, known := slotOf(b.wire.Retained(q.from, q.end)); !ok || !known || other == slot {
			return true
		}
	}
	return false
}

// retryAfter is how long a command that should come again waits; with maxHops it bounds the whole.
const retryAfter = 100 * time.Millisecond

// owner is whose command it is.
func (p *pending) owner() *session {
	if p.op != nil {
		return p.op.session
	}
	return p.session
}

// viewOf is the view that a command was sent through.
func (s *session) viewOf(b *backend) *view { return b.pool.view }

// sendOn moves a command from one backend to another. ASKING goes right before it: nothing can slip in between.
func (u *upstream) sendOn(b, to *backend, p *pending, text []byte, ask bool) {
	moved := *p
	if ask {
		to.send([]byte("*1\r\n$6\r\nASKING\r\n")).kind = kindDiscard
	}
	to.repeat(text, &moved).hops++
	b.pay()
	u.stats.redirected++
}

// target reads "-MOVED 3999 127.0.0.1:6381"; a missing host means the one that answered.
func (u *upstream) target(b *backend, f []byte) (slot int, n *node) {
	parts := bytes.Fields(f)
	if len(parts) != 3 {
		return 0, nil
	}
	v, ok := redis.ParseInt(parts[1])
	if !ok || v < 0 || v >= hash.Slots {
		return 0, nil
	}
	host, port, ok := cutLast(string(parts[2]), ':')
	if !ok || port == "" || host == "?" {
		return 0, nil
	}
	if host == "" {
		host, _, _ = net.SplitHostPort(b.pool.node.address)
	}
	return int(v), u.nodeAt(net.JoinHostPort(trimBrackets(host), port))
}

func cutLast(s string, c byte) (before, after string, ok bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == c {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// maxUnknown is how many servers that only redirections named are believed in between two refreshes.
const maxUnknown = 100

// nodeAt finds a node by address; one that is not known yet is added behind the others, whose numbers stay.
func (u *upstream) nodeAt(address string) *node {
	for _, n := range u.nodes {
		if n.address == address {
			return n
		}
	}
	if u.unknown >= maxUnknown {
		return nil
	}
	u.unknown++
	n := &node{upstream: u, address: address, name: address, weight: 1, index: len(u.nodes)}
	u.known[address] = n
	u.nodes = append(u.nodes, n)
	for _, v := range u.views {
		v.rebuild()
	}
	for _, p := range u.parents {
		p.gather()
	}
	return n
}

// moved notes where a slot is now. Every session lets its commands under way finish before it uses that.
func (u *upstream) moved(slot int, n *node) {
	if u.slots[slot] != int16(n.index) {
		u.slots[slot] = int16(n.index)
		u.changed()
	}
	u.engine.out.refresh(u, "MOVED")
}

// moveLease takes a session whose only command on a connection of its own belongs elsewhere there.
func (u *upstream) moveLease(b *backend, p *pending, n *node, ask bool, text []byte) bool {
	s := b.holder
	t := &s.track
	if p.session != s || b.pending.len() != 1 || t.multi || t.sticky || t.subscribed() {
		return false
	}
	if t.watches > 1 {
		// What was watched before stays behind. EXEC will say that it has changed.
		t.doomed = true
		b.pay()
		s.deliver(p.seq, []byte("+OK\r\n"))
		return true
	}
	text = bytes.Clone(text)
	moved := *p
	kept := *t
	b.pay()
	s.lease = nil
	b.pool.giveBack(b)
	to, err := s.acquireFrom(b.pool.view.pools[n.index])
	if err != nil {
		s.unreachableAt(moved.seq, n, err)
		s.settle()
		return true
	}
	s.track = kept
	s.settle()
	if ask {
		to.send([]byte("*1\r\n$6\r\nASKING\r\n")).kind = kindDiscard
	}
	to.repeat(text, &moved).hops++
	return true
}

func (s *session) unreachableAt(seq uint64, n *node, err error) {
	s.deliver(seq, appendCannot(nil, n.address, err))
}

// again sends what has waited long enough, to where its slot is now.
func (e *engine) again() {
	due := e.later
	e.later = nil
	for i := range due {
		d := &due[i]
		s := d.p.owner()
		gone := s == nil || s.closed && (d.p.op == nil || d.p.op.asked == nil)
		if !gone && d.due > e.clock {
			e.later = append(e.later, *d)
			continue
		}
		d.view.upstream.retries--
		if gone {
			continue
		}
		node := d.view.upstream.relocate(d.text)
		var b *backend
		err := errNobody
		if node >= 0 && node < len(d.view.pools) {
			b, err = d.view.pools[node].connection(s.id)
		}
		if err != nil {
			reply := appendCannot(nil, "", err)
			if d.p.op != nil {
				d.p.op.part(int(d.p.part), reply)
			} else {
				s.deliver(d.p.seq, reply)
			}
			continue
		}
		b.repeat(d.text, &d.p).hops++
	}
	if len(e.later) > 0 {
		e.arm()
	}
}

// relocate finds the node of a command's first key.
func (u *upstream) relocate(text []byte) int {
	key := firstKey(text)
	if key == nil {
		return -1
	}
	return u.locate(key, nil)
}

// slotOf is the slot of a command's first key.
func slotOf(text []byte) (slot uint16, ok bool) {
	key := firstKey(text)
	if key == nil {
		return 0, false
	}
	return hash.Slot(key), true
}

// firstKey reads a whole command, however long: unlike keyOf, which is for figures, it never takes something else for the key.
func firstKey(text []byte) []byte {
	var r redis.Request
	if n, err := r.Next(text); err != nil || n == 0 {
		return nil
	}
	c := redis.Lookup(r.Arg(0))
	if c == nil {
		return nil
	}
	if len(c.Sub) > 0 && r.Len() > 1 {
		if sub := c.Subcommand(r.Arg(1)); sub != nil {
			c = sub
		}
	}
	keys, err := c.AppendKeys(nil, &r)
	if err != nil || len(keys) == 0 {
		return nil
	}
	return r.Arg(keys[0])
}

// repeat sends a transaction again if one of its commands was redirected: the server has then executed none of it.
func (o *op) repeat() bool {
	s := o.session
	if o.backend == nil {
		return false
	}
	v := o.backend.pool.view
	u := v.upstream
	last := o.parts[len(o.parts)-1].reply
	if o.text == nil || u.mode != modeSlots || s.closed || o.hops >= maxHops || !bytes.HasPrefix(last, []byte("-")) {
		return false
	}
	for i := range o.parts {
		f := o.parts[i].reply
		if f[0] != redis.TypeError || string(word(f)) != "MOVED" && string(word(f)) != "ASK" {
			continue
		}
		slot, n := u.target(o.backend, f)
		if n == nil {
			return false
		}
		ask := string(word(f)) == "ASK"
		if !ask {
			u.moved(slot, n)
		}
		if o.watched { // nobody knows what has become of the watched keys there: joinExec says that they have changed
			return false
		}
		to, err := v.pools[n.index].connection(s.id)
		if err != nil {
			return false
		}
		if ask {
			to.send([]byte("*1\r\n$6\r\nASKING\r\n")).kind = kindDiscard
		}
		o.hops++
		o.restart(to)
		v.key.tracker.reread()
		s.hold()
		return true
	}
	return false
}

// restart sends a transaction again of which nothing was executed.
func (o *op) restart(b *backend) {
	for i := range o.parts {
		o.session.kept -= len(o.parts[i].reply)
		o.session.engine.give(o.parts[i].reply)
		o.parts[i].reply = nil
	}
	o.send(b)
}

// send sends a transaction's text and expects the replies of all its commands.
func (o *op) send(b *backend) {
	o.backend = b
	o.left = len(o.parts)
	from := b.offset()
	b.commit(append(b.begin(), o.text...))
	for i := range o.parts {
		p := b.owe()
		*p = pending{op: o, part: int32(i), from: from, end: b.offset(), start: b.engine.clock, command: redis.Count}
		if b.dedicated {
			p.flags = unlimited
		}
		if o.resent && i == len(o.parts)-1 { // one retry, however many commands it has
			p.flags |= retried
			b.pool.node.upstream.retries++
		}
	}
	b.engine.arm()
}
