package redis

import (
	"slices"
	"strings"

	"github.com/sidewire/sidewire/protocols/redis"
	"github.com/sidewire/sidewire/sharding/hash"
)

// modeRouted is an upstream made of others: a key's prefix says in which it lives. Its nodes are theirs, one after the other, so that
// everything that spreads over nodes spreads over clusters as well; connections belong to the clusters alone.

// routes are what makes a routed upstream.
type routes struct {
	list     []*route // the longest prefix first; the last may have an empty one
	fold     bool     // prefixes in any case
	members  []*realm
	rewrites bool
	mirrors  bool
}

// realm is a cluster in a routed upstream, and where its nodes and seats begin there.
type realm struct {
	up          *upstream
	first, seat int
	readsOnly   bool // named by read_cluster alone: what is asked of all shards is not asked of it
}

// route says where the keys of a prefix live.
type route struct {
	prefix        string
	remove        bool
	before, after string // what the key that goes upstream has around it
	to, reads     *realm
	mirrors       []mirror
}

// mirror is a cluster that is told too, and whose answers nobody hears.
type mirror struct {
	to      *upstream
	percent float64
	writes  bool // commands that only read are left out
}

// of finds the route of a key; nil if there is none.
func (t *routes) of(key []byte) *route {
	for _, r := range t.list {
		n := len(r.prefix)
		if len(key) < n {
			continue
		}
		if string(key[:n]) == r.prefix || t.fold && redis.EqualFold(key[:n], r.prefix) {
			return r
		}
	}
	return nil
}

func (r *route) rewrites() bool { return r.remove && r.prefix != "" || r.before != "" || r.after != "" }

// appendKey appends the key as the route's cluster knows it.
func (r *route) appendKey(b, key []byte) []byte {
	if r.remove {
		key = key[len(r.prefix):]
	}
	b = append(b, r.before...)
	b = append(b, key...)
	return append(b, r.after...)
}

// member is the cluster that serves a command for the route's keys.
func (r *route) member(c *redis.Command) *realm {
	if r.reads != nil && c != nil && c.Has(redis.ReadOnly) {
		return r.reads
	}
	return r.to
}

// newRouted makes an upstream of others; open gives it its routes.
func (e *engine) newRouted(name string, fold bool) *upstream {
	return &upstream{
		engine: e, name: name, mode: modeRouted, handlers: &sharded, views: make(map[viewKey]*view), known: make(map[string]*node), meter: &meter{},
		split: true, large: defaultLarge, routes: &routes{fold: fold}, reporting: func(*node, error) {},
	}
}

// join puts a cluster among the members, those that only serve reads behind the others.
func (t *routes) join(up *upstream, reads bool) *realm {
	for _, m := range t.members {
		if m.up == up {
			m.readsOnly = m.readsOnly && reads
			return m
		}
	}
	m := &realm{up: up, readsOnly: reads}
	t.members = append(t.members, m)
	return m
}

// open begins to follow the members. The cluster of the empty prefix stands first: it serves what has no key.
func (u *upstream) open(list []*route) {
	t := u.routes
	t.list = list
	slices.SortStableFunc(t.list, func(a, b *route) int { return len(b.prefix) - len(a.prefix) })
	for _, r := range list {
		t.rewrites = t.rewrites || r.rewrites()
		t.mirrors = t.mirrors || len(r.mirrors) > 0
	}
	if t.rewrites {
		u.handlers = &rewritten
	}
	rank := func(m *realm) int {
		switch {
		case m.readsOnly:
			return 2
		case len(t.list) > 0 && t.list[len(t.list)-1].prefix == "" && t.list[len(t.list)-1].to == m:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(t.members, func(a, b *realm) int { return rank(a) - rank(b) })
	for _, m := range t.members {
		m.up.parents = append(m.up.parents, u)
	}
	u.gather()
}

// close ends following them. Sessions that still see the routed upstream are told to look again.
func (u *upstream) close() {
	for _, m := range u.routes.members {
		m.up.parents = slices.DeleteFunc(m.up.parents, func(p *upstream) bool { return p == u })
	}
	u.epoch++
}

// replace puts another upstream in a member's place.
func (u *upstream) replace(was, next *upstream) {
	for _, r := range u.routes.list {
		for i := range r.mirrors {
			if r.mirrors[i].to == was {
				r.mirrors[i].to = next
			}
		}
	}
	for _, m := range u.routes.members {
		if m.up == was {
			m.up = next
			was.parents = slices.DeleteFunc(was.parents, func(p *upstream) bool { return p == u })
			next.parents = append(next.parents, u)
			u.gather()
		}
	}
}

// changed tells those who are made of this upstream that its nodes, or where keys live, are not what they were.
func (u *upstream) changed() {
	u.epoch++
	for _, p := range u.parents {
		p.gather()
	}
}

// gather lays out the members' nodes.
func (u *upstream) gather() {
	u.nodes = nil
	seat := 0
	u.home = 0
	for i, m := range u.routes.members {
		m.first, m.seat = len(u.nodes), seat
		seat += m.up.seats()
		u.nodes = append(u.nodes, m.up.nodes...)
		if !m.readsOnly {
			u.all = len(u.nodes)
		}
		if i == 0 {
			u.home = len(u.nodes)
		}
	}
	u.epoch++
	for _, v := range u.views {
		v.rebuild()
	}
}

// gather collects the members' pools for the view's identity.
func (v *view) gather() {
	v.pools = v.pools[:0:0]
	for _, m := range v.upstream.routes.members {
		key := v.key
		key.db = m.up.db
		v.pools = append(v.pools, m.up.view(key).pools...)
	}
}

// shards is how many nodes a command goes to that is for all of them.
func (u *upstream) shards() int {
	if u.mode == modeRouted {
		return u.all
	}
	return len(u.nodes)
}

// seats is how many places there are for keys that may stand in one command.
func (u *upstream) seats() int {
	switch u.mode {
	case modeSlots:
		return hash.Slots
	case modeRouted:
		n := 0
		for _, m := range u.routes.members {
			n += m.up.seats()
		}
		return n
	}
	return len(u.nodes)
}

// seat returns a key's place and its node; keys of one place may stand in one command. The node is -1 if there is none.
func (u *upstream) seat(key []byte, c *redis.Command) (at, node int) {
	switch u.mode {
	case modeSlots:
		at = int(hash.Slot(key))
		return at, int(u.slots[at])
	case modeRouted:
		r := u.routes.of(key)
		if r == nil {
			return 0, -1
		}
		if r.rewrites() {
			u.engine.key = r.appendKey(u.engine.key[:0], key)
			key = u.engine.key
		}
		m := r.member(c)
		at, node = m.up.seat(key, c)
		if node < 0 {
			return 0, -1
		}
		return m.seat + at, m.first + node
	}
	node = u.locate(key, c)
	return max(node, 0), node
}

// text returns the request as it goes upstream, its keys rewritten if the routes say so. It is valid until the next call.
func (s *session) text(c *redis.Command) []byte {
	r := &s.request
	t := s.view.upstream.routes
	if t == nil || !t.rewrites || c == nil {
		return r.Raw()
	}
	keys, err := c.AppendKeys(s.engine.keys[:0], r)
	s.engine.keys = keys[:0]
	if err != nil || len(keys) == 0 {
		return r.Raw()
	}
	slices.Sort(keys)
	b := redis.AppendHeader(s.engine.text[:0], redis.TypeArray, r.Len())
	for i := range r.Len() {
		if len(keys) > 0 && keys[0] == i {
			keys = keys[1:]
			b = t.appendArg(b, s.engine, r.Arg(i))
		} else {
			b = append(b, r.RawArg(i)...)
		}
	}
	s.engine.text = b
	return b
}

// appendArg appends a key as an argument of what goes upstream.
func (t *routes) appendArg(b []byte, e *engine, key []byte) []byte {
	if r := t.of(key); r != nil && r.rewrites() {
		e.key = r.appendKey(e.key[:0], key)
		key = e.key
	}
	b = redis.AppendHeader(b, redis.TypeBulk, len(key))
	return append(append(b, key...), "\r\n"...)
}

// rewritten is sharded without the commands whose answers or options name keys, for routes that rewrite those.
var rewritten [redis.Count]action

func fillRewritten() {
	rewritten = sharded
	for _, name := range []string{"keys", "scan", "randomkey", "sort", "sort_ro", "blpop", "brpop", "bzpopmin", "bzpopmax", "blmpop", "bzmpop", "lmpop", "zmpop",
		"xread", "xreadgroup", "spublish", "ssubscribe", "sunsubscribe"} {
		rewritten[redis.Lookup([]byte(name)).ID] = (*session).namesKeys
	}
}

func (s *session) namesKeys(c *redis.Command) bool {
	return s.refuse("ERR '" + c.FullName() + "' command names keys, and is not supported where a route rewrites them")
}

// mayCollect tells whether a command may stand in a transaction that rewrites keys.
func (u *upstream) mayCollect(c *redis.Command) bool {
	if u.routes == nil || !u.routes.rewrites {
		return true
	}
	switch c.Name {
	case "keys", "scan", "randomkey", "sort", "sort_ro", "lmpop", "zmpop", "blpop", "brpop", "bzpopmin", "bzpopmax", "blmpop", "bzmpop", "xread", "xreadgroup", "spublish":
		return false
	}
	return true
}

// maxMirrored is how much may wait for a mirror; what would come on top of it is left out.
const maxMirrored = 16 << 20

// mirrorOne tells the mirrors of the request's first key.
func (s *session) mirrorOne(c *redis.Command, text []byte) {
	if !s.view.upstream.routes.mirrors || c == nil {
		return
	}
	keys, err := c.AppendKeys(s.engine.keys[:0], &s.request)
	s.engine.keys = keys[:0]
	if err == nil && len(keys) > 0 {
		s.mirror(s.request.Arg(keys[0]), c, text)
	}
}

// mirror tells the mirrors of a key's route of a command that goes to its cluster. Its text may be that of a part of the client's.
func (s *session) mirror(key []byte, c *redis.Command, text []byte) {
	r := s.view.upstream.routes.of(key)
	for i := 0; r != nil && i < len(r.mirrors); i++ {
		m := &r.mirrors[i]
		if m.writes && c.Has(redis.ReadOnly) || m.percent < 100 && s.engine.rnd.Float64()*100 >= m.percent {
			continue
		}
		if c.Request == redis.MultiShard && m.to.mode != modeSingle {
			m.to.mirroredApart(s, c, text)
		} else {
			m.to.mirrored(s, text, 1)
		}
	}
}

// mirrorAll tells them of a transaction.
func (s *session) mirrorAll(key []byte, text []byte, commands int) {
	r := s.view.upstream.routes.of(key)
	for i := 0; r != nil && i < len(r.mirrors); i++ {
		if m := &r.mirrors[i]; m.percent >= 100 || s.engine.rnd.Float64()*100 < m.percent {
			m.to.mirrored(s, text, commands)
		}
	}
}

// mirroredApart sends a command key by key: a mirror may place them otherwise than the original.
func (u *upstream) mirroredApart(s *session, c *redis.Command, text []byte) {
	var r redis.Request
	if n, err := r.Next(text); err != nil || n == 0 {
		return
	}
	step := int(c.Keys[0].Step)
	for k := 1; k+step <= r.Len(); k += step {
		one := append(redis.AppendHeader(s.engine.take(), redis.TypeArray, 1+step), r.RawArg(0)...)
		for a := range step {
			one = append(one, r.RawArg(k+a)...)
		}
		u.mirrored(s, one, 1)
		s.engine.give(one)
	}
}

// mirrored sends a text of some commands to where its first key lives, and forgets the replies.
func (u *upstream) mirrored(s *session, text []byte, commands int) {
	node := 0
	if u.mode != modeSingle {
		var ok bool
		if node, ok = u.together(text); !ok {
			u.stats.unmirrored++
			return
		}
	}
	v := u.view(viewKey{db: u.db, resp3: s.resp3})
	if node < 0 || node >= len(v.pools) {
		u.stats.unmirrored++
		return
	}
	b, err := v.pools[node].conn(s.id)
	if err != nil || b.waiting() > maxMirrored {
		u.stats.unmirrored++
		return
	}
	u.stats.mirrored++
	p := b.send(text)
	from := p.from
	p.kind = kindDiscard
	for range commands - 1 {
		p := b.send(nil)
		p.from, p.kind = from, kindDiscard
	}
}

// together finds the one node that a command's keys have there; a mirror may place them otherwise than the original.
func (u *upstream) together(text []byte) (int, bool) {
	var r redis.Request
	if n, err := r.Next(text); err != nil || n == 0 {
		return 0, false
	}
	if r.Len() == 1 && redis.EqualFold(r.Arg(0), "multi") { // its commands' keys are on one node where they came from
		text = text[len(execFirst):]
		if n, err := r.Next(text); err != nil || n == 0 {
			return 0, false
		}
	}
	c := redis.Lookup(r.Arg(0))
	if c == nil {
		return 0, false
	}
	keys, err := c.AppendKeys(nil, &r)
	if err != nil || len(keys) == 0 {
		return 0, false
	}
	at, node := u.seat(r.Arg(keys[0]), nil)
	for _, k := range keys[1:] {
		if other, _ := u.seat(r.Arg(k), nil); other != at {
			return 0, false
		}
	}
	return node, true
}

// waiting is how much output a backend still has to send.
func (b *backend) waiting() int {
	if b.wire == nil {
		return len(b.queued)
	}
	return b.wire.Unsent()
}

// keyFormat splits a format at its %KEY%.
func keyFormat(format string) (before, after string, ok bool) {
	if format == "" {
		return "", "", true
	}
	return strings.Cut(format, "%KEY%")
}
