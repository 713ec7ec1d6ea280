package redis

import (
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// paused serves an upstream whose one server has been told to CLIENT PAUSE: it stops reading from a connection at the first command it does
// not serve now, whoever sent it. So that one client's held-up write keeps nobody's read waiting, each has a connection of its own for as
// long, as each would have had without a proxy.
var paused [redis.Count]action

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
	u.mode, u.handlers = m, &sharded
	if m == modeSingle {
		u.handlers = &single
		if u.engine.clock < u.pausedUntil {
			u.handlers = &paused
		}
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
		if h := u.handlers[c.ID]; h != nil {
			return h(s, c)
		}
		return s.keyed(c)
	}
	return s.blocking(c)
}
