package redis

import (
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// paused serves an upstream whose one server has been told to CLIENT PAUSE: it stops reading from a connection at the first command it does
// not serve now, whoever sent it. So that one client's held-up write keeps nobody's read waiting, each has a connection of its own for as
// long, as each would have had without a proxy.
var paused [redis.Count]action

// heldWrites and heldAll serve an upstream of several servers that have been told to CLIENT PAUSE: what they would not serve now waits here, so
// that it stops nobody on the shared connections.
var heldWrites, heldAll [redis.Count]action

// mayWrite tells whether CLIENT PAUSE WRITE holds a command up.
func mayWrite(c *redis.Command) bool { return c.Flags&(redis.Write|redis.MayReplicate) != 0 }

func fillHeld() {
	hold := func(c *redis.Command) {
		heldAll[c.ID], heldWrites[c.ID] = (*session).inHold, sharded[c.ID]
		if mayWrite(c) {
			heldWrites[c.ID] = (*session).inHold
		}
	}
	all := redis.Commands()
	for i := range all {
		hold(&all[i])
		for j := range all[i].Sub {
			if hold(&all[i].Sub[j]); mayWrite(&all[i].Sub[j]) {
				heldWrites[all[i].ID] = (*session).inHold // its subcommands are told apart too late for this
			}
		}
	}
	for _, name := range []string{"client", "auth", "hello", "quit", "reset"} {
		id := redis.Lookup([]byte(name)).ID
		heldAll[id], heldWrites[id] = sharded[id], sharded[id]
	}
}

// pauseAll serves CLIENT PAUSE and UNPAUSE over several servers: all of them are told, and what they would hold up waits here.
func (s *session) pauseAll(c *redis.Command) bool {
	r, u := &s.request, s.view.upstream
	writes := false
	switch {
	case redis.EqualFold(r.Arg(1), "unpause"):
		u.pausedUntil = 0
	case r.Len() == 4 && redis.EqualFold(r.Arg(3), "write"):
		writes = true
	case r.Len() == 4 && redis.EqualFold(r.Arg(3), "all"), r.Len() == 3:
	case r.Len() == 4:
		return s.refuse("ERR CLIENT PAUSE mode must be WRITE or ALL")
	default:
		return s.refuse("ERR wrong number of arguments for 'client|pause' command")
	}
	if r.Len() > 2 {
		ms, ok := redis.ParseInt(r.Arg(2))
		if !ok || ms < 0 {
			return s.refuse("ERR timeout is not an integer or out of range")
		}
		pausing := u.engine.clock < u.pausedUntil
		d := time.Duration(min(ms, int64(maxPause/time.Millisecond))) * time.Millisecond
		u.pausedWrites = writes && (!pausing || u.pausedWrites) // the longer time and the stricter mode hold
		u.pausedUntil = max(u.pausedUntil, u.engine.clock+int64(d))
		u.engine.sleep(d, u.goOn)
	}
	u.serve(u.mode)
	if s.broadcast(c, r.Raw(), joinOK); u.pausedUntil == 0 {
		u.goOn()
	}
	return true
}

// goOn lets those go on whom a pause has held up, if it is over.
func (u *upstream) goOn() {
	if u.engine.clock < u.pausedUntil {
		return
	}
	u.serve(u.mode)
	held := u.held
	u.held = nil
	for _, s := range held {
		if !s.closed {
			s.proceed()
		}
	}
}

// inHold keeps a session waiting until the pause is over.
func (s *session) inHold(c *redis.Command) bool {
	u := s.view.upstream
	if u.engine.clock >= u.pausedUntil {
		u.serve(u.mode)
		return s.dispatch(c)
	}
	u.held = append(u.held, s)
	s.wait()
	return false
}

// fillPaused is called when single is complete.
func fillPaused() {
	for id, h := range single {
		paused[id] = h
		if h == nil {
			paused[id] = (*session).inPause
		}
	}
	for _, name := range []string{"script", "function", "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro", "xread", "xreadgroup"} {
		paused[redis.Lookup([]byte(name)).ID] = (*session).inPause
	}
}

// serve chooses how commands are served.
func (u *upstream) serve(m mode) {
	u.mode = m
	pausing := u.engine.clock < u.pausedUntil
	switch {
	case m == modeSingle && pausing:
		u.handlers = &paused
	case m == modeSingle:
		u.handlers = &single
	case pausing && u.pausedWrites:
		u.handlers = &heldWrites
	case pausing:
		u.handlers = &heldAll
	default:
		u.handlers = &sharded
	}
}

// pause notes what a client asks of the server, before the server has agreed: to be wrong costs connections only.
func (s *session) pause() {
	r, u := &s.request, s.view.upstream
	if u.mode != modeSingle {
		return
	}
	switch {
	case r.Len() >= 3 && redis.EqualFold(r.Arg(1), "pause"):
		if ms, ok := redis.ParseInt(r.Arg(2)); ok && ms > 0 {
			until := u.engine.clock + int64(time.Duration(min(ms, int64(maxPause/time.Millisecond)))*time.Millisecond)
			u.pausedUntil = max(u.pausedUntil, until)
		}
	case r.Len() == 2 && redis.EqualFold(r.Arg(1), "unpause"):
		u.pausedUntil = 0
	}
	u.serve(modeSingle)
}

const maxPause = 24 * time.Hour

// inPause serves a command on a connection of the client's own.
func (s *session) inPause(c *redis.Command) bool {
	if u := s.view.upstream; u.engine.clock >= u.pausedUntil {
		u.serve(modeSingle)
		return s.dispatch(c)
	}
	return s.blocking(c)
}
