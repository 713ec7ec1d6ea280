package redis

import (
	"bytes"

	"github.com/sidewire/sidewire/protocols/redis"
)

// family returns which of the three kinds of subscription a command is about: channels, patterns, sharded channels.
func family(name string) int {
	switch name[0] {
	case 'p':
		return 1
	case 's':
		if name == "ssubscribe" || name == "sunsubscribe" {
			return 2
		}
	}
	return 0
}

// subscribe serves the six commands that change subscriptions. They answer with a frame for each channel.
func (s *session) subscribe(c *redis.Command) bool {
	r := &s.request
	if !c.ArityOK(r.Len()) {
		return s.wrongArity(c)
	}
	leaving := bytes.Contains([]byte(c.Name), []byte("unsub"))
	several := s.view.upstream.mode != modeSingle
	if several && !leaving && notified(r) {
		return s.refuse("ERR notifications of keys are not supported over several servers: each has those of its own keys alone")
	}
	if leaving && s.lease == nil {
		return s.nothingToLeave(c)
	}
	if s.lease == nil || several {
		if s.inFlight() > 0 || !s.adopt() {
			return s.hold()
		}
	}
	node := 0
	if several {
		if node = pubsubNode; family(c.Name) == 2 && r.Len() > 1 {
			n, ok := s.shardOf(c)
			if !ok {
				return true
			}
			node = n
		}
	}
	if s.lease == nil {
		if _, err := s.acquire(node); err != nil {
			return s.unreachable(node, err)
		}
		s.track.aside = several && s.resp3
		s.settle()
	}
	if several && (!s.leasedFrom(node) || s.track.watches > 0) {
		return s.refuse(crossSlot)
	}
	p := s.leased1(c)
	p.part = int32(max(r.Len()-1, 1))
	if leaving && r.Len() == 1 {
		p.part = -1 // as many as there are when it is executed
	}
	if s.track.aside {
		s.hold()
	}
	return true
}

// nothingToLeave answers an unsubscription of a session that has no subscriptions, as the server would.
func (s *session) nothingToLeave(c *redis.Command) bool {
	r := &s.request
	return s.reply(func(b []byte) []byte {
		for i := 1; i < max(r.Len(), 2); i++ {
			kind := byte(redis.TypeArray)
			if s.resp3 {
				kind = redis.TypePush
			}
			b = redis.AppendHeader(b, kind, 3)
			b = redis.AppendBulk(b, c.Name)
			if r.Len() > 1 {
				b = redis.AppendBulk(b, r.Arg(i))
			} else {
				b = redis.AppendNull(b, s.resp3)
			}
			b = append(b, ":0\r\n"...)
		}
		return b
	})
}

// subscribed looks at a frame of a leased connection. It returns true if it was a message or an acknowledgement and has been dealt with.
func (s *session) subscribed(b *backend, f []byte, p *pending) bool {
	if f[0] != redis.TypeArray && f[0] != redis.TypePush || s.closed {
		return false
	}
	word, rest := element(f)
	if word == nil {
		return false
	}
	switch string(word) {
	case "message", "pmessage", "smessage":
		if f[0] == redis.TypeArray && !s.track.subscribed() {
			return false
		}
		s.pushOut(f)
		return true
	case "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe":
	default:
		return false
	}
	at := family(string(word))
	leaving := bytes.Contains(word, []byte("unsub"))
	if p == nil && b.pending.len() > 0 {
		p = b.pending.at(0)
	} else if p != nil {
		p = b.pending.at(0)
	}
	mine := p != nil && p.session == s && p.part != 0
	if f[0] == redis.TypeArray && !mine && !s.track.subscribed() {
		return false
	}
	channel, _ := bulk(rest)
	if mine && p.part < 0 {
		p.part = int32(max(len(s.track.subs[at]), 1))
	}
	if leaving {
		delete(s.track.subs[at], string(channel))
	} else {
		if s.track.subs[at] == nil {
			s.track.subs[at] = make(map[string]struct{})
		}
		s.track.subs[at][string(channel)] = struct{}{}
	}
	if !mine {
		s.pushOut(f) // the server itself ended a subscription: its slot has moved
		return true
	}
	// The session's ring holds this command alone at its head: everything before was answered before the lease or on it.
	s.pushOut(f) // heard even by a client that has turned replies off
	if p.part--; p.part == 0 {
		b.pay()
		s.advance()
	}
	return true
}

// element returns the first bulk string of an array or push, and what follows it.
func element(f []byte) (word, rest []byte) {
	i := bytes.IndexByte(f, '\n')
	return bulk(f[i+1:])
}

// bulk reads a bulk string.
func bulk(f []byte) (text, rest []byte) {
	if len(f) == 0 || f[0] != redis.TypeBulk {
		return nil, f
	}
	i := bytes.IndexByte(f, '\n')
	if i < 2 {
		return nil, f
	}
	n, ok := redis.ParseInt(f[1 : i-1])
	if !ok || n < 0 || i+1+int(n)+2 > len(f) {
		return nil, f
	}
	return f[i+1 : i+1+int(n)], f[i+1+int(n)+2:]
}
