package redis

import (
	"strings"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// learned is what a server said of a command that the table does not know: a module's, or a newer server's.
type learned struct {
	command *redis.Command // nil: it does not know it either, or where its keys stand
	until   int64          // asked again then
	waiting []*session     // the question is under way
}

const (
	maxLearned   = 1024
	maxName      = 64
	believeKnown = 5 * time.Minute
	believeNone  = 5 * time.Second // a module may be loaded any time
)

// lookup serves a command that the table does not know, over several servers. One of them is asked what it is.
func (s *session) lookup() bool {
	if len(s.request.Arg(0)) > maxName {
		return s.unrecognised()
	}
	name := strings.ToLower(string(s.request.Arg(0)))
	if c := s.gate.custom[name]; c != nil {
		return s.dynamic(c)
	}
	if !s.adopt() {
		return s.hold()
	}
	u := s.view.upstream
	l := u.learned[name]
	if l != nil && l.until == 0 { // another client has asked
		l.waiting = append(l.waiting, s)
		s.wait()
		return false
	}
	if l != nil && s.engine.clock < l.until {
		if l.command == nil {
			return s.unrecognised()
		}
		return s.dynamic(l.command)
	}
	return s.askAbout(name)
}

// askAbout asks a server about a command; the client waits.
func (s *session) askAbout(name string) bool {
	u := s.view.upstream
	node := s.anyNode()
	b, err := s.conn(node)
	if err != nil {
		return s.unreachable(node, err)
	}
	if u.learned == nil || len(u.learned) >= maxLearned {
		for _, l := range u.learned { // whoever waits for an answer asks again
			for _, w := range l.waiting {
				w.proceed()
			}
		}
		u.learned = map[string]*learned{}
	}
	l := &learned{waiting: []*session{s}}
	u.learned[name] = l
	s.wait()
	p := b.send(redis.AppendCommand(nil, "COMMAND", "INFO", name))
	p.flags = readOnly
	p.op = &op{session: s, asked: func(f []byte) {
		waiting := l.waiting
		l.waiting = nil
		l.command = commandInfo(name, f)
		l.until = s.engine.clock + int64(believeKnown)
		if l.command == nil {
			l.until = s.engine.clock + int64(believeNone)
		}
		for _, w := range waiting {
			if !w.closed {
				w.proceed()
			}
		}
	}}
	return false
}

// commandInfo reads the reply of COMMAND INFO: nil if the server does not know the command, or if it cannot be told where it belongs.
func commandInfo(name string, f []byte) *redis.Command {
	v, _, err := parseValue(f, 0)
	if err != nil || len(v.list) != 1 || len(v.list[0].list) < 6 {
		return nil
	}
	info := v.list[0].list
	var flags redis.Flags
	for _, flag := range info[2].list {
		switch flag.text {
		case "readonly":
			flags |= redis.ReadOnly
		case "write":
			flags |= redis.Write
		case "blocking":
			flags |= redis.Blocking
		case "movablekeys", "pubsub", "admin":
			return nil // it takes more than positions
		}
	}
	arity, first, last, step := info[1].n, info[3].n, info[4].n, info[5].n
	if first <= 0 || first > 127 || last < -127 || last > 127 || step < 0 || step > 127 || arity < -127 || arity > 127 {
		return nil
	}
	return redis.NewCommand(name, int8(arity), flags, int16(first), int16(last), int16(step))
}

// dynamic serves a command that is known by its keys' positions alone.
func (s *session) dynamic(c *redis.Command) bool {
	switch {
	case c.Has(redis.Blocking):
		return s.blocking(c)
	case c.OneKey() > 0:
		return s.keyed(c)
	}
	return s.sameShard(c)
}

// known returns what is known already of a command that the table does not have.
func (s *session) known() *redis.Command {
	name := strings.ToLower(clipped(s.request.Arg(0), maxName+1))
	if c := s.gate.custom[name]; c != nil {
		return c
	}
	if l := s.view.upstream.learned[name]; l != nil {
		return l.command
	}
	return nil
}
