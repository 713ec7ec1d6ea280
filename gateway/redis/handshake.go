package redis

import (
	"crypto/subtle"
	"strconv"

	"github.com/sidewire/sidewire/protocols/redis"
)

// gate is what a listener lets its sessions do.
type gate struct {
	upstream *upstream
	users    []user // empty: nobody has to log in
	passOn   bool   // AUTH is the server's to judge, and the upstream connection is the user's own
	face     face
	limits   limits
	rules    *rules // nil: none
	custom   map[string]*redis.Command
	name     string
	announce string // host:port that the cluster face shows as its own

	stats struct {
		sessions, protocolErrors, overflows uint64
		delayed, failed                     uint64 // on purpose
		invalid, unsupported                uint64 // refused here: a wrong number of arguments, a command that is not known or not served
		commands                            [redis.Count + 1]outcomes
	}
	onLeft func(*session)
}

// outcomes are the answers to a command of clients; one that was split counts once.
type outcomes struct{ total, failed uint64 }

// answered counts an answer for which a server was asked; id is the command's.
func (g *gate) answered(id uint16, failed bool) {
	o := &g.stats.commands[id]
	o.total++
	if failed {
		o.failed++
	}
}

// joined counts the answer of several servers; no command is one that the table does not know.
func (g *gate) joined(c *redis.Command, reply []byte) {
	id := uint16(redis.Count)
	if c != nil {
		id = c.ID
	}
	g.answered(id, len(reply) > 0 && reply[0] == redis.TypeError)
}

// face is what the listener pretends to be.
type face uint8

const (
	faceStandalone face = iota
	faceCluster         // a cluster of one node that holds every slot
)

// user is a client's account, and the account that it stands for upstream; an empty one is the cluster's own.
type user struct {
	name, password         string
	upstream, upstreamPass string
}

func (g *gate) locked() bool { return len(g.users) > 0 }

// become takes the gate's sessions to another upstream; nil when none are left.
func (g *gate) become(e *engine, next *upstream) {
	if was := g.upstream; was != nil && was != next && was.mode == modeRouted {
		was.close()
	}
	if next != nil {
		g.upstream = next
	}
	e.timed = false
	for _, x := range e.gates {
		e.timed = e.timed || x.rules != nil && x.rules.timed
	}
	for _, s := range e.sessions {
		if s.gate == g {
			s.settle()
		}
	}
}

func (g *gate) left(s *session) {
	if g.onLeft != nil {
		g.onLeft(s)
	}
}

func (g *gate) overflowed(*session)    { g.stats.overflows++ }
func (g *gate) protocolError(*session) { g.stats.protocolErrors++ }

// auth serves AUTH.
func (s *session) auth(c *redis.Command) bool {
	r := &s.request
	if r.Len() < 2 {
		return s.wrongArity(c)
	}
	if r.Len() > 3 {
		return s.refuse("ERR syntax error")
	}
	if s.inFlight() > 0 {
		return s.hold()
	}
	name, password := "default", r.Arg(1)
	if r.Len() == 3 {
		name, password = string(r.Arg(1)), r.Arg(2)
	}
	return s.login(name, string(password), s.view.key, func(b []byte) []byte { return append(b, "+OK\r\n"...) })
}

// login checks an account, puts its identity into key and goes there; then it answers.
func (s *session) login(name, password string, key viewKey, ok func([]byte) []byte) bool {
	g := s.gate
	switch {
	case g.locked():
		u := g.account(name, password)
		if u == nil {
			return s.refuse("WRONGPASS invalid username-password pair or user is disabled.")
		}
		key.user, key.pass = u.upstream, u.upstreamPass
	case g.passOn:
		key.user, key.pass = name, password
	case name == "default":
		return s.refuse("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	default:
		return s.refuse("WRONGPASS invalid username-password pair or user is disabled.")
	}
	return s.move(key, func() {
		s.admitted, s.user, s.pass = true, name, password
	}, ok)
}

// account finds a user without telling by its time which part was wrong.
func (g *gate) account(name, password string) *user {
	var found *user
	for i := range g.users {
		u := &g.users[i]
		same := subtle.ConstantTimeCompare([]byte(u.name), []byte(name)) & subtle.ConstantTimeCompare([]byte(u.password), []byte(password))
		if same == 1 {
			found = u
		}
	}
	return found
}

// refusal is what a server answered to the login of an upstream connection, in its own words.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// move takes the session to another view. Whether the server agrees (a password, the number of a database) is known when a connection of
// that view stands, so the session waits for one; only a server that says no is a no, one that cannot be reached now is tried by
// whatever command comes next.
func (s *session) move(key viewKey, then func(), ok func([]byte) []byte) bool {
	u := s.view.upstream
	if key.tracker != nil && key != s.view.key {
		return s.refuse("ERR this is not possible over several servers while CLIENT TRACKING is on")
	}
	fresh := u.views[key] == nil
	v := u.view(key)
	finish := func(err error) {
		if s.closed {
			v.unused()
			return
		}
		if no, isNo := err.(*refusal); isNo {
			if fresh {
				u.forget(key)
			}
			s.refuse(no.text)
			return
		}
		s.db, s.resp3 = key.db, key.resp3
		then()
		s.setView(v)
		s.reply(ok)
	}
	node := s.anyNode()
	if node < 0 {
		finish(nil)
		return true
	}
	b, err := v.pools[node].conn(s.id)
	if err != nil || b.state == ready {
		finish(nil)
		return true
	}
	s.wait()
	b.waiters = append(b.waiters, func(err error) {
		finish(err)
		if !s.closed {
			s.proceed()
		}
	})
	return true
}

// selectDB serves SELECT.
func (s *session) selectDB(c *redis.Command) bool {
	r := &s.request
	if r.Len() != 2 {
		return s.wrongArity(c)
	}
	n, ok := redis.ParseInt(r.Arg(1))
	if !ok || n > 1<<31-1 || n < -1<<31 {
		return s.refuse("ERR value is not an integer or out of range")
	}
	switch {
	case n < 0:
		return s.refuse("ERR DB index is out of range")
	case n != 0 && s.view.upstream.mode == modeSlots:
		return s.refuse("ERR SELECT is not allowed in cluster mode")
	case n != 0 && s.view.upstream.mode == modeRouted:
		return s.refuse("ERR SELECT is not supported over several clusters")
	}
	if s.inFlight() > 0 {
		return s.hold()
	}
	if int(n) == s.db {
		return s.answer("+OK\r\n")
	}
	key := s.view.key
	key.db = int(n)
	return s.move(key, func() {}, func(b []byte) []byte { return append(b, "+OK\r\n"...) })
}

// hello serves HELLO (networking.c helloCommand).
func (s *session) hello(c *redis.Command) bool {
	r := &s.request
	if s.inFlight() > 0 {
		return s.hold()
	}
	key := s.view.key
	if r.Len() > 1 {
		v, ok := redis.ParseInt(r.Arg(1))
		if !ok {
			return s.refuse("ERR Protocol version is not an integer or out of range")
		}
		if v < 2 || v > 3 {
			return s.refuse("NOPROTO unsupported protocol version")
		}
		key.resp3 = v == 3
	}
	var name, password string
	login := false
	setName, naming := "", false
	for i := 2; i < r.Len(); i++ {
		left := r.Len() - 1 - i
		switch opt := r.Arg(i); {
		case redis.EqualFold(opt, "auth") && left >= 2:
			name, password, login = string(r.Arg(i+1)), string(r.Arg(i+2)), true
			i += 2
		case redis.EqualFold(opt, "setname") && left >= 1:
			if setName, naming = string(r.Arg(i+1)), true; !validName(setName) {
				return s.refuse("ERR Client names cannot contain spaces, newlines or special characters.")
			}
			i++
		default:
			return s.refuse("ERR Syntax error in HELLO option '" + clipped(opt, 128) + "'")
		}
	}
	answer := func(b []byte) []byte {
		if naming {
			s.name = setName
		}
		return s.greeting(b)
	}
	if login {
		return s.login(name, password, key, answer)
	}
	if !s.admitted {
		return s.refuse("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
	}
	return s.move(key, func() {}, answer)
}

// greeting is HELLO's reply.
func (s *session) greeting(b []byte) []byte {
	version := "7.0.0"
	for _, n := range s.view.upstream.nodes {
		if n.version != "" {
			version = n.version
			break
		}
	}
	if s.resp3 {
		b = redis.AppendHeader(b, redis.TypeMap, 7)
	} else {
		b = redis.AppendHeader(b, redis.TypeArray, 14)
	}
	proto := int64(2)
	if s.resp3 {
		proto = 3
	}
	serves := "standalone"
	if s.gate.face == faceCluster {
		serves = "cluster"
	}
	b = redis.AppendBulk(redis.AppendBulk(b, "server"), "redis")
	b = redis.AppendBulk(redis.AppendBulk(b, "version"), version)
	b = redis.AppendInt(redis.AppendBulk(b, "proto"), proto)
	b = redis.AppendInt(redis.AppendBulk(b, "id"), s.id)
	b = redis.AppendBulk(redis.AppendBulk(b, "mode"), serves)
	b = redis.AppendBulk(redis.AppendBulk(b, "role"), "master")
	return redis.AppendHeader(redis.AppendBulk(b, "modules"), redis.TypeArray, 0)
}

// reset serves RESET: the session is as new.
func (s *session) reset(*redis.Command) bool {
	if s.inFlight() > 0 {
		return s.hold()
	}
	if b := s.lease; b != nil {
		s.lease = nil
		b.discard("RESET")
	}
	s.untrack()
	s.track, s.multi, s.mute, s.name = tracking{}, nil, muteOff, ""
	u := s.view.upstream
	s.admitted, s.user, s.pass, s.db, s.resp3 = !s.gate.locked(), "", "", u.db, false
	s.setView(u.view(viewKey{db: u.db}))
	return s.answer("+RESET\r\n")
}

func validName(name string) bool {
	for i := range len(name) {
		if name[i] < '!' || name[i] > '~' {
			return false
		}
	}
	return true
}

func itoa(n int) string { return strconv.Itoa(n) }
