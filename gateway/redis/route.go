package redis

import (
	"fmt"
	"slices"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/protocols/redis"
	"github.com/sidewire/sidewire/sharding/hash"
)

// mode is how an upstream spreads keys.
type mode uint8

const (
	modeSingle mode = iota // one server: everything goes there
	modeHashed             // a placement by hash
	modeSlots              // a Redis Cluster
	modeRouted             // several of the others, by the keys' prefixes
)

// upstream is a cluster inside an engine: its nodes, how keys are placed on them, and a view of them for every identity.
type upstream struct {
	engine *engine
	name   string
	mode   mode

	nodes []*node // the servers that hold keys
	spread
	tag         hash.Tag
	slots       *[hash.Slots]int16 // modeSlots: index of the node, or -1
	epoch       uint64             // grows whenever a key may have moved
	handlers    *[redis.Count]action
	known       map[string]*node // by address, those that only redirections named included
	views       map[viewKey]*view
	unknown     int        // nodes that only redirections named
	pausedUntil int64      // CLIENT PAUSE holds the servers' clients until then
	held        []*session // whom it keeps waiting here
	ask         bool       // who holds what is asked of the servers or their sentinels
	asked       bool       // an answer to the first question is in, good or bad
	waiting     []*session // until it is
	stats       struct{ redirected, mirrored, unmirrored uint64 }
	large       int                 // from this size on commands and replies pass in pieces
	largeKeys   map[string]int64    // keys whose replies were large, and until when that is believed
	learned     map[string]*learned // commands that only servers know, by name
	parents     []*upstream         // routed upstreams that are made of this one

	// modeRouted: what it is made of, how many nodes hold keys, and how many of those serve what has no key.
	routes    *routes
	all, home int
	meter     *meter
	burden
	keeping
	reporting  func(n *node, err error)
	nearby     func(address string) bool // whether a server is in this process's zone; nil: nobody knows
	attachment *attachment               // nil in tests
	measure    *telemetry.Pool           // nil in tests

	// Settings.
	db           int
	user, pass   string
	timeout      int64
	stuck        int64
	reads        readPolicy
	ownWrites    int64 // for so long after a write a session reads from the primary
	confirm      bool  // or until its replica is known to have it
	slow         int64 // commands at least so slow are kept for the operator
	connections  int
	maxDedicated int
	trackers     int  // sessions with views of their own
	pausedWrites bool // only commands that may write are held
	split        bool // multi-key commands may be split among shards
}

func (e *engine) newUpstream(name string) *upstream {
	u := &upstream{
		engine: e, name: name, views: make(map[viewKey]*view), known: make(map[string]*node), meter: &meter{},
		timeout: int64(defaultTimeout), stuck: int64(2 * defaultTimeout), connections: 1, maxDedicated: 1000, split: true,
		large: defaultLarge, reporting: func(*node, error) {}, slow: int64(10 * time.Millisecond),
	}
	u.unburdened()
	e.upstreams[u] = struct{}{}
	return u
}

func (u *upstream) report(n *node, err error) { u.reporting(n, err) }

// member is a server as configuration or topology names it.
type member struct {
	address string
	name    string
	weight  int
	replica bool
}

// setNodes replaces the servers that hold keys. Those whose address stays keep their connections.
func (u *upstream) setNodes(members []member) {
	old := u.nodes
	u.unknown = 0
	u.nodes = make([]*node, 0, len(members))
	for i, m := range members {
		n := u.known[m.address]
		if n == nil {
			n = &node{upstream: u, address: m.address}
			u.known[m.address] = n
		}
		n.name, n.weight, n.index, n.replica = m.name, max(m.weight, 1), i, m.replica
		if n.name == "" {
			n.name = m.address
		}
		u.nodes = append(u.nodes, n)
	}
	for _, v := range u.views {
		v.rebuild()
	}
	for _, n := range old {
		if !slices.Contains(u.nodes, n) {
			delete(u.known, n.address)
		}
	}
	u.changed()
}

// view returns the upstream as an identity sees it.
func (u *upstream) view(key viewKey) *view {
	v := u.views[key]
	if v == nil {
		v = &view{upstream: u, key: key}
		v.rebuild()
		u.views[key] = v
	}
	return v
}

// renew gives a view connections of another number or kind. What is under way on the old ones ends there.
func (v *view) renew() {
	pools, replicas := v.pools, v.replicas
	v.pools, v.replicas = nil, nil
	v.rebuild()
	for _, p := range pools {
		p.retire("configuration has changed")
	}
	for _, p := range replicas {
		p.retire("configuration has changed")
	}
}

// forget lets go of a view that no session has got into.
func (u *upstream) forget(key viewKey) {
	delete(u.views, key)
	if u.mode != modeRouted {
		return
	}
	for _, m := range u.routes.members {
		key.db = m.up.db
		if v := m.up.views[key]; v != nil && !v.inUse() {
			delete(m.up.views, key)
		}
	}
}

func (v *view) inUse() bool {
	for _, p := range v.pools {
		if p.leased > 0 || len(p.idle) > 0 || slices.ContainsFunc(p.shared, func(b *backend) bool { return b != nil }) {
			return true
		}
	}
	return false
}

func (v *view) rebuild() {
	if v.upstream.mode == modeRouted {
		v.gather()
		return
	}
	old := v.pools
	v.pools = make([]*pool, len(v.upstream.nodes))
	for i, n := range v.upstream.nodes {
		for _, p := range old {
			if p.node == n {
				v.pools[i] = p
			}
		}
		if v.pools[i] == nil {
			v.pools[i] = &pool{view: v, node: n, shared: make([]*backend, v.upstream.connections)}
		}
	}
	for _, p := range old {
		if !slices.Contains(v.pools, p) {
			p.retire("server has left")
		}
	}
	if t := v.key.tracker; t != nil && t.bcast && t.standby {
		v.upstream.engine.sleep(0, t.cover)
	}
}

// locate returns the index of the node that holds a key, or -1 while nobody is known to hold its slot.
func (u *upstream) locate(key []byte, c *redis.Command) int {
	switch u.mode {
	case modeSingle:
		if len(u.nodes) == 0 {
			return -1
		}
		return 0
	case modeSlots:
		return int(u.slots[hash.Slot(key)])
	case modeRouted:
		_, node := u.seat(key, c)
		return node
	}
	if len(u.nodes) == 0 {
		return -1
	}
	key = u.tag.Of(key)
	if u.keys != nil {
		return u.keys.PlaceKey(key)
	}
	h := uint32(0)
	if len(key) > 0 { // twemproxy does not ask its function about nothing
		h = u.hash(key)
	}
	return u.place.Place(h)
}

// same tells whether two keys may stand in one command: on one node, and in a Redis Cluster in one slot.
func (u *upstream) same(a, b []byte, c *redis.Command) bool {
	if u.mode == modeSlots {
		return hash.Slot(a) == hash.Slot(b)
	}
	one, _ := u.seat(a, c)
	other, _ := u.seat(b, c)
	return one == other
}

const (
	crossSlot = "CROSSSLOT Keys in request don't hash to the same slot"
	noHost    = "ERR no upstream host: "
)

// follow takes a session to its listener's upstream if that is another one now, when nothing is under way on the old one.
func (s *session) follow() bool {
	if s.inFlight() > 0 {
		return false
	}
	if s.view.key.tracker != nil {
		s.end() // nobody would tell it of changes any more
		return false
	}
	s.setView(s.gate.upstream.view(s.view.key))
	if s.multi != nil {
		s.multi.broken = true // its keys may belong to several servers there
	}
	s.topology = ^uint64(0) // no upstream's epoch
	return true
}

// unasked is the upstream whose first answer has to be waited for, or nil.
func (u *upstream) unasked() *upstream {
	if u.mode == modeRouted {
		for _, m := range u.routes.members {
			if m.up.unasked() != nil {
				return m.up
			}
		}
		return nil
	}
	if u.ask && !u.asked {
		return u
	}
	return nil
}

// adopt lets a session that has nothing under way see the newest topology. One that has waits: two of its commands for one key must not
// go to two servers at the same time.
func (s *session) adopt() bool {
	if s.topology == s.view.upstream.epoch {
		return true
	}
	if s.inFlight() > 0 {
		return false
	}
	if u := s.view.upstream.unasked(); u != nil {
		u.waiting = append(u.waiting, s)
		s.wait()
		return false
	}
	s.topology = s.view.upstream.epoch
	return true
}

// keyed is the path of most commands: one key at a fixed place.
func (s *session) keyed(c *redis.Command) bool {
	if !s.adopt() {
		return s.hold()
	}
	u := s.view.upstream // not before: it may be another one now
	if u.mode == modeSingle {
		if s.alone(0, c) {
			return s.forwardAlone(0, c)
		}
		return s.forward(0, c)
	}
	if !c.ArityOK(s.request.Len()) {
		return s.wrongArity(c)
	}
	node := u.locate(s.request.Arg(c.OneKey()), c)
	if s.alone(node, c) {
		return s.forwardAlone(node, c)
	}
	return s.forward(node, c)
}

// forward sends the request to a node's shared connection as it came.
func (s *session) forward(node int, c *redis.Command) bool {
	b, err := s.pick(node, c)
	if err != nil {
		return s.unreachable(node, err)
	}
	seq := s.push()
	text := s.request.Raw()
	if s.view.upstream.routes != nil {
		text = s.text(c)
		s.mirrorOne(c, text)
	}
	s.preface(b)
	p := b.send(text)
	p.session, p.seq = s, seq
	if c != nil {
		p.command = c.ID
		if c.Flags&redis.ReadOnly != 0 {
			p.flags = readOnly
		}
	}
	s.pace(b)
	return true
}

// maxBacklog is how many bytes of commands may be under way on a connection before those who add to them wait for their replies: a server
// that reads slowly must not fill this process's memory.
const maxBacklog = 4 << 20

// pace stops reading a client that writes faster than its server reads.
func (s *session) pace(b *backend) {
	if n := b.pending.len(); n > 1 && b.pending.at(n-1).end-b.pending.at(0).from > maxBacklog {
		s.hold()
	}
}

func (s *session) conn(node int) (*backend, error) {
	if node < 0 || node >= len(s.view.pools) {
		return nil, errNobody
	}
	return s.view.pools[node].conn(s.id)
}

var errNobody = fmt.Errorf("no server is known to hold the key")

func (s *session) unreachable(node int, err error) bool {
	if node < 0 || node >= len(s.view.pools) {
		switch u := s.view.upstream; u.mode {
		case modeSlots:
			s.engine.out.refresh(u, "slot without a server")
			return s.refuse("CLUSTERDOWN Hash slot not served")
		case modeRouted:
			for _, m := range u.routes.members {
				if m.up.mode == modeSlots {
					s.engine.out.refresh(m.up, "slot without a server")
				}
			}
			return s.refuse(noHost + "no route has the key's prefix, or its cluster has no server for the key")
		}
		return s.refuse(noHost + "cluster " + s.view.upstream.name + " has no servers")
	}
	return s.refuse(cannot(s.view.pools[node].node.address, err))
}

// wrongArity answers as Redis does.
func (s *session) wrongArity(c *redis.Command) bool {
	s.gate.stats.invalid++
	return s.refuse("ERR wrong number of arguments for '" + c.FullName() + "' command")
}
