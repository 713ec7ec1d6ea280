package redis

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/sidewire/sidewire/protocols/redis"
)

// op is a command that several servers answer a part of.
type op struct {
	session *session
	seq     uint64
	left    int
	parts   []part
	order   []int32 // MGET: the part in which each key's value is found
	join    func(o *op, dst []byte) []byte
	command *redis.Command
	text    []byte   // a transaction, to be repeated whole
	backend *backend // where it went
	hops    uint8
	resent  bool           // has been sent again after its connection was lost
	watched bool           // keys are watched where it was sent: it cannot go elsewhere
	asked   func(f []byte) // a question of the engine's own: it has no slot, and its reply goes here
}

type part struct {
	reply []byte
	count int // keys asked of it
	at    int // how far a join has read
	nodes int
}

// op takes a spare one.
func (s *session) op(c *redis.Command, parts int, join func(*op, []byte) []byte) *op {
	e := s.engine
	var o *op
	if n := len(e.ops); n > 0 {
		o = e.ops[n-1]
		e.ops = e.ops[:n-1]
	} else {
		o = &op{}
	}
	o.session, o.left, o.command, o.join, o.order = s, parts, c, join, o.order[:0]
	if cap(o.parts) < parts {
		o.parts = make([]part, parts)
	}
	o.parts = o.parts[:parts]
	for i := range o.parts {
		o.parts[i] = part{}
	}
	o.seq = s.push()
	return o
}

// part takes the reply of one server; the last one makes the client's.
func (o *op) part(i int, f []byte) {
	if o.asked != nil {
		o.asked(f)
		return
	}
	s := o.session
	o.parts[i].reply = append(s.engine.take(), f...)
	s.keep(len(f))
	if o.left--; o.left > 0 {
		return
	}
	if o.text != nil && o.repeat() {
		return
	}
	for i := range o.parts {
		s.kept -= len(o.parts[i].reply)
	}
	if !s.closed {
		b := o.join(o, s.engine.take())
		s.gate.joined(o.command, b)
		s.deliver(o.seq, b)
		s.engine.give(b)
	}
	for i := range o.parts {
		s.engine.give(o.parts[i].reply)
		o.parts[i].reply = nil
	}
	o.session, o.text, o.backend, o.hops, o.resent, o.watched = nil, nil, nil, 0, false, false
	if len(s.engine.ops) < 64 {
		s.engine.ops = append(s.engine.ops, o)
	}
}

// failure appends the error of a command of which parts failed, in Envoy's words and with the first server's own.
func (o *op) failure(dst []byte) ([]byte, bool) {
	n := 0
	var first []byte
	for i := range o.parts {
		if f := o.parts[i].reply; f[0] == redis.TypeError {
			if n++; n == 1 {
				first = bytes.TrimRight(f[1:], "\r\n")
			}
		}
	}
	if n == 0 {
		return dst, false
	}
	if n == len(o.parts) { // nothing was done: the server's own error says it best
		return append(append(append(dst, '-'), first...), "\r\n"...), true
	}
	return append(append(fmt.Appendf(dst, "-ERR finished with %d error(s): ", n), first...), "\r\n"...), true
}

// multiShard splits a command among the shards of its keys: one command a shard, not one a key.
func (s *session) multiShard(c *redis.Command) bool {
	r := &s.request
	step := int(c.Keys[0].Step)
	if !c.ArityOK(r.Len()) || (r.Len()-1)%step != 0 {
		return s.wrongArity(c)
	}
	if !s.adopt() {
		return s.hold()
	}
	u := s.view.upstream
	sp := &s.engine.split
	if node := sp.assign(u, r, step, c); node >= -1 {
		return s.forward(node, c)
	}
	if !u.split {
		return s.refuse(crossSlot)
	}
	for i := range sp.groups {
		if _, err := s.conn(sp.groups[i].node); err != nil { // nothing has been sent yet: all of it can still be refused
			return s.unreachable(sp.groups[i].node, err)
		}
	}
	var join func(*op, []byte) []byte
	switch {
	case c.Response == redis.Sum:
		join = joinSum
	case c.Response == redis.AllSucceeded:
		join = joinOK
	default:
		join = joinKeys
	}
	if !c.Has(redis.ReadOnly) {
		s.writing()
	}
	o := s.op(c, len(sp.groups), join)
	if c.Response == redis.DefaultResponse {
		o.order = append(o.order, sp.part...)
	}
	for i := range sp.groups {
		g := &sp.groups[i]
		o.parts[i].count = g.count
		b, err := s.conn(g.node)
		if err != nil {
			o.part(i, appendCannot(nil, "", err))
			continue
		}
		s.preface(b)
		p := b.expect()
		out := redis.AppendHeader(b.begin(), redis.TypeArray, 1+g.count*step)
		out = append(out, r.RawArg(0)...)
		rewrites := u.routes != nil && u.routes.rewrites
		for k := g.first; k >= 0; k = sp.next[k] {
			for a := range step {
				if arg := 1 + int(k)*step + a; a == 0 && rewrites {
					out = u.routes.appendArg(out, s.engine, r.Arg(arg))
				} else {
					out = append(out, r.RawArg(arg)...)
				}
			}
		}
		b.commit(out)
		p.op, p.part, p.command, p.end = o, int32(i), c.ID, b.offset()
		if c.Has(redis.ReadOnly) {
			p.flags = readOnly
		}
		s.pace(b)
		if u.routes != nil && u.routes.mirrors {
			s.mirror(r.Arg(1+int(g.first)*step), c, b.tail(p))
		}
	}
	return true
}

// splitter sorts a request's keys by where they go, in time linear in their number and without memory of its own per request. A Redis
// Cluster takes the keys of one slot in a command, so there they are sorted by slot, else by node.
type splitter struct {
	touched []int32 // slots or nodes, in the order of their first keys
	seat    []int32 // by slot or node: its place in touched, plus one
	groups  []group // by place in touched
	next    []int32 // by key: its group's next key
	part    []int32 // by key: its group
}

type group struct {
	node        int
	count       int
	first, last int32
}

// assign distributes the keys. If they all go to one place, it returns that node, or -1 if there is none; else -2.
func (sp *splitter) assign(u *upstream, r *redis.Request, step int, c *redis.Command) int {
	for _, t := range sp.touched {
		sp.seat[t] = 0
	}
	if places := u.seats(); len(sp.seat) < places {
		sp.seat = make([]int32, places)
	}
	sp.touched, sp.groups, sp.next, sp.part = sp.touched[:0], sp.groups[:0], sp.next[:0], sp.part[:0]
	for k := range (r.Len() - 1) / step {
		key := r.Arg(1 + k*step)
		at, node := u.seat(key, c)
		if node < 0 {
			return -1
		}
		sp.next = append(sp.next, -1)
		if sp.seat[at] == 0 {
			sp.touched = append(sp.touched, int32(at))
			sp.groups = append(sp.groups, group{node: node, count: 1, first: int32(k), last: int32(k)})
			sp.seat[at] = int32(len(sp.touched))
		} else {
			g := &sp.groups[sp.seat[at]-1]
			g.count++
			sp.next[g.last] = int32(k)
			g.last = int32(k)
		}
		sp.part = append(sp.part, sp.seat[at]-1)
	}
	if len(sp.groups) == 1 {
		return sp.groups[0].node
	}
	return -2
}

// joinKeys puts MGET's values back into the order of its keys.
func joinKeys(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	for i := range o.parts {
		p := &o.parts[i]
		n, at, ok := arrayHeader(p.reply)
		if !ok || n != p.count {
			return append(dst, "-ERR upstream protocol error: a shard's values do not match its keys\r\n"...)
		}
		p.at = at
	}
	size := 16
	for i := range o.parts {
		size += len(o.parts[i].reply)
	}
	dst = redis.AppendHeader(slices.Grow(dst, size), redis.TypeArray, len(o.order))
	for _, i := range o.order {
		p := &o.parts[i]
		n := redis.CutBulk(p.reply[p.at:])
		if n == 0 { // a null, or an error in a value's place
			var f redis.Framer
			var err error
			if n, err = f.Next(p.reply[p.at:]); err != nil || n == 0 {
				return append(dst[:0], "-ERR upstream protocol error: a shard's values end early\r\n"...)
			}
		}
		dst = append(dst, p.reply[p.at:p.at+n]...)
		p.at += n
	}
	return dst
}

// arrayHeader reads "*n" and returns where the elements begin.
func arrayHeader(f []byte) (n, at int, ok bool) {
	if f[0] != redis.TypeArray && f[0] != redis.TypeSet {
		return 0, 0, false
	}
	i := bytes.IndexByte(f, '\n')
	v, ok := redis.ParseInt(f[1 : i-1])
	return int(v), i + 1, ok
}

func joinSum(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	var sum int64
	for i := range o.parts {
		n, ok := integer(o.parts[i].reply)
		if !ok {
			return append(dst, "-ERR upstream protocol error: not an integer\r\n"...)
		}
		sum += n
	}
	return redis.AppendInt(dst, sum)
}

func integer(f []byte) (int64, bool) {
	if f[0] != redis.TypeInt {
		return 0, false
	}
	return redis.ParseInt(f[1 : len(f)-2])
}

func joinOK(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	return append(dst, o.parts[0].reply...)
}

// fanout sends a command to every shard, and joins the replies as the table says.
func (s *session) fanout(c *redis.Command) bool {
	if !c.ArityOK(s.request.Len()) {
		return s.wrongArity(c)
	}
	if !s.adopt() {
		return s.hold()
	}
	join := joiner(c)
	if join == nil {
		return s.refused(c)
	}
	if s.view.upstream.shards() == 0 {
		return s.unreachable(-1, errNobody)
	}
	return s.broadcast(c, s.request.Raw(), join)
}

// broadcast sends the same bytes to every shard, and to their replicas if the command is for every server. Scripts are no matter of replicas
// that are out of reach: they come back without any, as after a restart.
func (s *session) broadcast(c *redis.Command, raw []byte, join func(*op, []byte) []byte) bool {
	pools := s.view.pools[:min(s.view.upstream.shards(), len(s.view.pools))]
	if in := c.Parent(); c.Request == redis.AllNodes || in != nil && (in.Name == "acl" || in.Name == "config") {
		pools = s.withReplicas(pools, in != nil && in.Name == "script")
	}
	if !c.Has(redis.ReadOnly) {
		s.writing()
	}
	o := s.op(c, len(pools), join)
	for i, pool := range pools {
		b, err := pool.conn(s.id)
		if err != nil {
			o.part(i, appendCannot(nil, pool.node.address, err))
			continue
		}
		p := b.send(raw)
		p.op, p.part, p.command = o, int32(i), c.ID
		if c.Has(redis.ReadOnly) {
			p.flags = readOnly
		}
	}
	return true
}

// withReplicas adds the replicas' pools.
func (s *session) withReplicas(pools []*pool, reachable bool) []*pool {
	all := slices.Clone(pools)
	for _, p := range pools {
		for _, r := range p.node.replicas {
			if reachable && r.retryAt > s.engine.clock {
				continue
			}
			all = append(all, p.view.replicaPool(r))
		}
	}
	return all
}

func joiner(c *redis.Command) func(*op, []byte) []byte {
	switch c.FullName() {
	case "randomkey":
		return joinAnyKey
	case "function|stats":
		return joinRunning
	case "keys", "slowlog|get":
		return joinConcat
	case "slowlog|len":
		return joinSum
	}
	switch c.Response {
	case redis.Sum:
		return joinSum
	case redis.Min:
		return joinMin
	case redis.LogicalAnd:
		return joinAnd
	case redis.OneSucceeded:
		return joinOne
	case redis.SpecialResponse:
		return nil
	}
	return joinOK
}

// joinRunning joins FUNCTION STATS: the libraries are the same everywhere, a script runs on one server.
func joinRunning(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	for i := range o.parts {
		v, _, err := parseValue(o.parts[i].reply, 0)
		if err == nil && len(v.list) > 1 && len(v.list[1].list) > 0 {
			return append(dst, o.parts[i].reply...)
		}
	}
	return append(dst, o.parts[0].reply...)
}

func joinMin(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	least := int64(-1)
	for i := range o.parts {
		n, ok := integer(o.parts[i].reply)
		if !ok {
			return append(dst, "-ERR upstream protocol error: not an integer\r\n"...)
		}
		if least < 0 || n < least {
			least = n
		}
	}
	return redis.AppendInt(dst, least)
}

func joinOne(o *op, dst []byte) []byte {
	for i := range o.parts {
		if f := o.parts[i].reply; f[0] != redis.TypeError {
			return append(dst, f...)
		}
	}
	return append(dst, o.parts[0].reply...)
}

// joinAnd joins arrays of 0 and 1 (SCRIPT EXISTS): a script is there if it is everywhere.
func joinAnd(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	n, _, ok := arrayHeader(o.parts[0].reply)
	if !ok || n < 0 {
		return append(dst, o.parts[0].reply...)
	}
	all := make([]int64, n)
	for i := range all {
		all[i] = 1
	}
	for i := range o.parts {
		f := o.parts[i].reply
		m, at, ok := arrayHeader(f)
		if !ok || m != n {
			return append(dst, "-ERR upstream protocol error: replies of different lengths\r\n"...)
		}
		for k := range n {
			end := bytes.IndexByte(f[at:], '\n')
			if end < 0 {
				return append(dst, "-ERR upstream protocol error: a reply ends early\r\n"...)
			}
			if v, ok := integer(f[at : at+end+1]); !ok || v == 0 {
				all[k] = 0
			}
			at += end + 1
		}
	}
	dst = redis.AppendHeader(dst, redis.TypeArray, n)
	for _, v := range all {
		dst = redis.AppendInt(dst, v)
	}
	return dst
}

// joinConcat appends arrays to one another.
func joinConcat(o *op, dst []byte) []byte {
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	total := 0
	for i := range o.parts {
		n, at, ok := arrayHeader(o.parts[i].reply)
		if !ok {
			return append(dst, "-ERR upstream protocol error: not an array\r\n"...)
		}
		total += max(n, 0)
		o.parts[i].at = at
	}
	dst = redis.AppendHeader(dst, redis.TypeArray, total)
	for i := range o.parts {
		dst = append(dst, o.parts[i].reply[o.parts[i].at:]...)
	}
	return dst
}

// joinAnyKey takes a key of any shard that has one, not always the first's.
func joinAnyKey(o *op, dst []byte) []byte {
	n := len(o.parts)
	from := o.session.engine.rnd.IntN(n)
	for i := range n {
		f := o.parts[(from+i)%n].reply
		if f[0] == redis.TypeBulk && f[1] != '-' {
			return append(dst, f...)
		}
	}
	if dst, failed := o.failure(dst); failed {
		return dst
	}
	return append(dst, o.parts[0].reply...)
}

// SCAN's cursor over shards has 53 bits, so that clients that keep numbers as doubles keep it whole: the server's own cursor in 40,
// the shard in 8, a mark of the topology in 5.
const (
	cursorBits = 40
	shardBits  = 8
	markBits   = 5
)

func (u *upstream) mark() uint64 {
	h := uint64(len(u.nodes))
	for _, n := range u.nodes {
		for i := range len(n.address) {
			h = (h ^ uint64(n.address[i])) * 0x100000001b3
		}
	}
	return h >> 32 % (1 << markBits)
}

// scan walks one shard after the other.
func (s *session) scan(c *redis.Command) bool {
	r := &s.request
	if !c.ArityOK(r.Len()) {
		return s.wrongArity(c)
	}
	if !s.adopt() {
		return s.hold()
	}
	u := s.view.upstream
	cursor, err := strconv.ParseUint(string(r.Arg(1)), 10, 64)
	if err != nil || cursor>>(cursorBits+shardBits+markBits) != 0 {
		return s.refuse("ERR invalid cursor")
	}
	shard := int(cursor >> cursorBits % (1 << shardBits))
	if cursor != 0 && cursor>>(cursorBits+shardBits) != u.mark() || shard >= u.shards() {
		return s.refuse("ERR invalid cursor: the servers have changed since the scan began; begin again with 0")
	}
	if u.shards() > 1<<shardBits {
		return s.refuse(fmt.Sprintf("ERR SCAN is not supported over more than %d servers", 1<<shardBits))
	}
	b, err := s.conn(shard)
	if err != nil {
		return s.unreachable(shard, err)
	}
	o := s.op(c, 1, joinScan)
	o.parts[0].at, o.parts[0].nodes = shard, u.shards()
	o.parts[0].count = int(u.mark())
	p := b.expect()
	out := redis.AppendHeader(b.begin(), redis.TypeArray, r.Len())
	out = append(out, r.RawArg(0)...)
	out = redis.AppendBulk(out, strconv.FormatUint(cursor%(1<<cursorBits), 10))
	for i := 2; i < r.Len(); i++ {
		out = append(out, r.RawArg(i)...)
	}
	b.commit(out)
	p.op, p.command, p.flags, p.end = o, c.ID, readOnly, b.offset()
	return true
}

// joinScan puts the shard into the cursor.
func joinScan(o *op, dst []byte) []byte {
	p := &o.parts[0]
	f := p.reply
	if f[0] == redis.TypeError {
		return append(dst, f...)
	}
	_, at, ok := arrayHeader(f)
	var fr redis.Framer
	var n int
	if ok {
		n, _ = fr.Next(f[at:])
	}
	if n == 0 || f[at] != redis.TypeBulk {
		return append(dst, "-ERR upstream protocol error: not a scan's reply\r\n"...)
	}
	text := f[at : at+n]
	text = bytes.TrimRight(text[bytes.IndexByte(text, '\n')+1:], "\r\n")
	cursor, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || cursor>>cursorBits != 0 {
		return append(dst, "-ERR the server's cursor is too large to carry the shard's number\r\n"...)
	}
	shard := uint64(p.at)
	if cursor == 0 {
		shard++
	}
	next := uint64(0)
	if shard < uint64(p.nodes) {
		next = (uint64(p.count)<<shardBits|shard)<<cursorBits | cursor
	}
	dst = append(dst, "*2\r\n"...)
	dst = redis.AppendBulk(dst, strconv.FormatUint(next, 10))
	return append(dst, f[at+n:]...)
}
