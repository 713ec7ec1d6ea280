package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/protocols/redis"
)

// client serves CLIENT. What a shared connection would answer about itself is answered here about the client; what needs a connection of
// its own gets one, over one server; over several it is refused.
func (s *session) client(c *redis.Command) bool {
	r := &s.request
	if r.Len() < 2 {
		return s.wrongArity(c)
	}
	sub := strings.ToLower(clipped(r.Arg(1), 32))
	several := s.view.upstream.mode != modeSingle
	switch {
	case sub == "reply":
		return s.clientReply()
	case sub == "setname" && s.lease == nil:
		if r.Len() != 3 {
			return s.refuse("ERR wrong number of arguments for 'client|setname' command")
		}
		if !validName(string(r.Arg(2))) {
			return s.refuse("ERR Client names cannot contain spaces, newlines or special characters.")
		}
		s.name = string(r.Arg(2))
		return s.answer("+OK\r\n")
	case sub == "getname" && s.lease == nil:
		return s.reply(func(b []byte) []byte {
			if s.name == "" {
				return redis.AppendNull(b, s.resp3)
			}
			return redis.AppendBulk(b, s.name)
		})
	case sub == "setinfo":
		if r.Len() != 4 {
			return s.refuse("ERR wrong number of arguments for 'client|setinfo' command")
		}
		return s.answer("+OK\r\n")
	}
	if !several {
		return s.stateful(c)
	}
	return s.clientSeveral(c, sub)
}

// clientReply serves CLIENT REPLY: the replies are left out here. On a shared connection the server must never hear of it.
func (s *session) clientReply() bool {
	r := &s.request
	switch {
	case r.Len() != 3:
		return s.refuse("ERR wrong number of arguments for 'client|reply' command")
	case redis.EqualFold(r.Arg(2), "on"):
		s.mute = muteOff
		s.settle()
		return s.answer("+OK\r\n")
	case redis.EqualFold(r.Arg(2), "off"):
		s.mute = muteAll
	case redis.EqualFold(r.Arg(2), "skip"):
		if s.mute == muteOff {
			s.mute = muteNext
		}
	default:
		return s.refuse("ERR syntax error")
	}
	s.settle()
	return true
}

// clientSeveral serves what remains of CLIENT over several servers, about the clients of this listener.
func (s *session) clientSeveral(c *redis.Command, sub string) bool {
	r := &s.request
	switch sub {
	case "id":
		return s.reply(func(b []byte) []byte { return redis.AppendInt(b, s.id) })
	case "info":
		return s.reply(func(b []byte) []byte { return redis.AppendBulk(b, s.describe()+"\n") })
	case "list":
		return s.reply(func(b []byte) []byte { return redis.AppendBulk(b, s.list()) })
	case "tracking":
		return s.clientTracking()
	case "caching":
		return s.clientCaching()
	case "trackinginfo":
		return s.trackingInfo()
	case "getredir":
		if s.view.key.tracker != nil {
			return s.answer(":0\r\n")
		}
		return s.answer(":-1\r\n")
	case "no-evict":
		if r.Len() == 3 && redis.EqualFold(r.Arg(2), "off") {
			return s.answer("+OK\r\n") // as it is; on would hold for no connection that the session's commands go down
		}
	case "kill":
		return s.kill()
	case "unblock":
		return s.unblock(c)
	case "pause", "unpause":
		if s.view.upstream.mode != modeRouted {
			return s.pauseAll(c)
		}
	}
	if cl := redis.Lookup([]byte("client")); cl.Subcommand(r.Arg(1)) == nil {
		return s.refuse("ERR unknown subcommand '" + clipped(r.Arg(1), 128) + "'. Try CLIENT HELP.")
	}
	what := "servers"
	if s.view.upstream.mode == modeRouted {
		what = "clusters"
	}
	return s.refuse("ERR command 'client|" + sub + "' is not supported over several " + what)
}

func (s *session) describe() string {
	proto := 2
	if s.resp3 {
		proto = 3
	}
	return fmt.Sprintf("id=%d addr=%s name=%s db=%d multi=%d resp=%d user=%s", s.id, s.addr, s.name, s.db, s.queued(), proto, orDefault(s.user))
}

func orDefault(user string) string {
	if user == "" {
		return "default"
	}
	return user
}

func (s *session) list() string {
	var ids []int64
	for id, o := range s.engine.sessions {
		if o.gate == s.gate {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(s.engine.sessions[id].describe() + "\n")
	}
	return b.String()
}

// kill serves CLIENT KILL by address or ID, for clients of the same listener.
func (s *session) kill() bool {
	r := &s.request
	if r.Len() == 2 {
		return s.refuse("ERR wrong number of arguments for 'client|kill' command")
	}
	if r.Len() == 3 {
		for _, o := range s.engine.sessions {
			if o.gate == s.gate && o.addr == string(r.Arg(2)) {
				s.answer("+OK\r\n")
				o.quit()
				return true
			}
		}
		return s.refuse("ERR No such client")
	}
	var id int64 = -1
	addr := ""
	for i := 2; i+1 < r.Len(); i += 2 {
		switch {
		case redis.EqualFold(r.Arg(i), "id"):
			n, ok := redis.ParseInt(r.Arg(i + 1))
			if !ok || n < 1 {
				return s.refuse("ERR client-id should be greater than 0")
			}
			id = n
		case redis.EqualFold(r.Arg(i), "addr"):
			addr = string(r.Arg(i + 1))
		default:
			return s.refuse("ERR CLIENT KILL knows ID and ADDR over several servers")
		}
	}
	if r.Len()%2 != 0 || id < 0 && addr == "" {
		return s.refuse("ERR syntax error")
	}
	var found []*session
	for _, o := range s.engine.sessions {
		if o != s && o.gate == s.gate && (id < 0 || o.id == id) && (addr == "" || o.addr == addr) {
			found = append(found, o)
		}
	}
	s.reply(func(b []byte) []byte { return redis.AppendInt(b, int64(len(found))) })
	for _, o := range found {
		o.end()
	}
	return true
}

// unblock serves CLIENT UNBLOCK over several servers: the client is one of this listener, and the server it waits at is told.
func (s *session) unblock(c *redis.Command) bool {
	r := &s.request
	if n := r.Len(); n != 3 && n != 4 {
		return s.refuse("ERR wrong number of arguments for 'client|unblock' command")
	}
	how := "TIMEOUT"
	if r.Len() == 4 {
		if how = strings.ToUpper(clipped(r.Arg(3), 16)); how != "TIMEOUT" && how != "ERROR" {
			return s.refuse("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		}
	}
	id, ok := redis.ParseInt(r.Arg(2))
	if !ok {
		return s.refuse("ERR value is not an integer or out of range")
	}
	o := s.engine.sessions[id]
	if o == nil || o.gate != s.gate || !o.blocked() {
		return s.answer(":0\r\n")
	}
	b, err := o.lease.pool.conn(s.id)
	if err != nil {
		return s.refuse(cannot(o.lease.pool.node.address, err))
	}
	p := s.op(c, 1, joinOK)
	q := b.send(redis.AppendCommand(nil, "CLIENT", "UNBLOCK", strconv.FormatInt(o.lease.id, 10), how))
	q.op, q.command = p, c.ID
	return true
}

// blocked tells whether the session waits in a blocking command at a server that has been told of it.
func (s *session) blocked() bool {
	b := s.lease
	if b == nil || b.id == 0 || b.pending.len() == 0 {
		return false
	}
	return blocks[min(b.pending.at(b.pending.len()-1).command, redis.Count)]
}
