package redis

import (
	"slices"
	"strings"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// tracker is a session with CLIENT TRACKING over several servers. Each server remembers what was read on a connection, so the session has a
// view of its own: connections that nobody shares and that say CLIENT TRACKING when they log in. What one of them knows is lost with it;
// then the client is told to forget everything it keeps, as a server tells it at FLUSHALL.
type tracker struct {
	session *session
	options []string // behind CLIENT TRACKING ON
	bcast   bool
	opt     string   // OPTIN, OPTOUT or empty
	caching []byte   // CLIENT CACHING, which goes before the next command wherever that goes
	late    []notice // invalidations that came after replies which still wait for their turn
	size    int      // of late
	standby bool     // the client has been told that tracking is on
}

// notice is a push that must not go out before the replies of the slots below turn: the client would keep what they bring for good.
type notice struct {
	turn uint64
	text []byte
}

// forgetAll is the invalidation of every key.
const forgetAll = ">2\r\n$10\r\ninvalidate\r\n_\r\n"

// parseTracking reads the options of CLIENT TRACKING ON; a refusal is why they cannot be served over several servers.
func parseTracking(r *redis.Request) (t *tracker, no string) {
	t = &tracker{}
	prefixes := 0
	for i := 3; i < r.Len(); i++ {
		word := strings.ToUpper(clipped(r.Arg(i), 16))
		switch {
		case word == "BCAST":
			t.bcast = true
		case word == "OPTIN", word == "OPTOUT":
			if t.opt != "" && t.opt != word {
				return nil, "ERR You can't specify both OPTIN mode and OPTOUT mode"
			}
			t.opt = word
		case word == "NOLOOP":
		case word == "PREFIX" && i+1 < r.Len():
			prefixes++
			t.options = append(t.options, word)
			i++
			word = string(r.Arg(i))
		case word == "REDIRECT":
			return nil, "ERR CLIENT TRACKING with REDIRECT is not supported over several servers: use HELLO 3, and the same connection hears of changes"
		default:
			return nil, "ERR syntax error"
		}
		t.options = append(t.options, word)
	}
	switch {
	case prefixes > 0 && !t.bcast:
		return nil, "ERR PREFIX option requires BCAST mode to be enabled"
	case t.bcast && t.opt != "":
		return nil, "ERR OPTIN and OPTOUT are not compatible with BCAST"
	}
	return t, ""
}

// clientTracking serves CLIENT TRACKING over several servers.
func (s *session) clientTracking() bool {
	r, was := &s.request, s.view.key.tracker
	switch {
	case r.Len() < 3:
		return s.refuse("ERR wrong number of arguments for 'client|tracking' command")
	case redis.EqualFold(r.Arg(2), "off"):
		if s.inFlight() > 0 {
			return s.hold()
		}
		s.untrack()
		return s.answer("+OK\r\n")
	case !redis.EqualFold(r.Arg(2), "on"):
		return s.refuse("ERR syntax error")
	case !s.resp3:
		return s.refuse("ERR CLIENT TRACKING over several servers needs HELLO 3")
	case s.view.upstream.mode == modeRouted:
		return s.refuse("ERR CLIENT TRACKING is not supported over several clusters")
	}
	t, no := parseTracking(r)
	switch {
	case no != "":
		return s.refuse(no)
	case was != nil && was.bcast != t.bcast:
		return s.refuse("ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.")
	case was != nil && was.opt != t.opt:
		return s.refuse("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.")
	case s.inFlight() > 0 || !s.adopt():
		return s.hold()
	case s.lease != nil:
		return s.refuse("ERR CLIENT TRACKING is not supported over several servers while keys are watched or channels subscribed")
	case was == nil && s.view.upstream.trackers >= s.view.upstream.maxDedicated:
		return s.refuse("ERR all connections for clients with CLIENT TRACKING are taken")
	}
	if was != nil {
		t.options = append(slices.Clone(was.options), t.options...) // a server too adds the prefixes to those it has
		s.untrack()
	}
	t.session = s
	return s.beginTracking(t)
}

// beginTracking gives the session its own view, and answers when a server has agreed: all of them, if they are to tell of every key.
func (s *session) beginTracking(t *tracker) bool {
	u, key := s.view.upstream, s.view.key
	key.tracker = t
	v := u.view(key)
	u.trackers++
	s.setView(v)
	pools := v.pools
	if !t.bcast {
		pools = pools[:min(1, len(pools))]
	}
	left := 1
	var failed error
	done := func(err error) {
		if err != nil {
			failed = err
		}
		if left--; left > 0 || s.closed {
			return
		}
		if failed != nil {
			s.untrack()
			if no, isNo := failed.(*refusal); isNo {
				s.refuse(no.text)
			} else {
				s.refuse(cannot("", failed))
			}
		} else {
			t.standby = true
			s.answer("+OK\r\n")
		}
		s.proceed()
	}
	s.wait()
	for _, p := range pools {
		b, err := p.conn(s.id)
		if left++; err != nil || b.state == ready {
			done(err)
			continue
		}
		b.waiters = append(b.waiters, done)
	}
	done(nil)
	return true
}

// untrack ends tracking and the connections that were made for it.
func (s *session) untrack() {
	t := s.view.key.tracker
	if t == nil {
		return
	}
	v := s.view
	key := v.key
	key.tracker = nil
	t.standby = false
	v.upstream.trackers--
	if !s.closed {
		s.setView(v.upstream.view(key))
	}
	v.dissolve()
}

// invalidated passes on a push of one of the session's connections, behind the replies that were on their way when it came.
func (t *tracker) invalidated(f []byte) {
	s := t.session
	if s.closed || !t.standby {
		return
	}
	if s.head == s.tail {
		s.pushOut(f)
		return
	}
	t.late = append(t.late, notice{s.tail, slices.Clone(f)})
	if t.size += len(f); t.size+s.wire.Unsent() > s.limits.output {
		s.gate.overflowed(s)
		s.end()
	}
}

// catchUp lets those invalidations out whose replies have gone before.
func (t *tracker) catchUp() {
	s, n := t.session, 0
	for n < len(t.late) && t.late[n].turn <= s.head {
		s.wire.Write(t.late[n].text)
		t.size -= len(t.late[n].text)
		n++
	}
	if t.late = t.late[n:]; len(t.late) == 0 {
		t.late = nil
	}
}

// lost is told that one of the session's connections is gone, with all that its server knew.
func (t *tracker) lost() {
	if !t.standby {
		return
	}
	t.invalidated([]byte(forgetAll))
	if t.bcast && !t.session.closed {
		t.session.engine.sleep(firstRetry, t.cover)
	}
}

// reread is told that a command of the session is sent again. CLIENT CACHING YES did not go with it, so nobody would tell of what it brings.
func (t *tracker) reread() {
	if t != nil && t.opt == "OPTIN" {
		t.invalidated([]byte(forgetAll))
	}
}

// cover sees that every server has a connection on which it tells of changes. What has changed in between is not known.
func (t *tracker) cover() {
	s := t.session
	if s.closed || !t.standby || s.view.key.tracker != t {
		return
	}
	again := false
	for _, p := range s.view.pools {
		b, err := p.conn(s.id)
		switch {
		case err != nil:
			again = true
		case b.state == dialing:
			b.waiters = append(b.waiters, func(err error) {
				if err == nil {
					t.invalidated([]byte(forgetAll))
				}
			})
		}
	}
	if again {
		s.engine.sleep(100*time.Millisecond, t.cover)
	}
}

// clientCaching serves CLIENT CACHING over several servers.
func (s *session) clientCaching() bool {
	r, t := &s.request, s.view.key.tracker
	if r.Len() != 3 {
		return s.refuse("ERR wrong number of arguments for 'client|caching' command")
	}
	yes, no := redis.EqualFold(r.Arg(2), "yes"), redis.EqualFold(r.Arg(2), "no")
	switch {
	case t == nil:
		return s.refuse("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
	case yes && t.opt != "OPTIN":
		return s.refuse("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
	case no && t.opt != "OPTOUT":
		return s.refuse("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
	case !yes && !no:
		return s.refuse("ERR syntax error")
	}
	t.caching = slices.Clone(r.Raw())
	return s.answer("+OK\r\n")
}

// preface sends what has to stand right before the session's command on a connection.
func (s *session) preface(b *backend) {
	if t := s.view.key.tracker; t != nil && t.caching != nil {
		b.send(t.caching).kind = kindDiscard
	}
}

// trackingInfo serves CLIENT TRACKINGINFO over several servers.
func (s *session) trackingInfo() bool {
	return s.reply(func(b []byte) []byte {
		flags, redirect := []string{"off"}, int64(-1)
		var prefixes []string
		if t := s.view.key.tracker; t != nil {
			flags, redirect = []string{"on"}, 0
			for i := 0; i < len(t.options); i++ {
				if t.options[i] == "PREFIX" {
					i++
					prefixes = append(prefixes, t.options[i])
				} else if word := strings.ToLower(t.options[i]); !slices.Contains(flags, word) {
					flags = append(flags, word)
				}
			}
			if t.caching != nil {
				flags = append(flags, "caching-"+strings.ToLower(map[string]string{"OPTIN": "yes", "OPTOUT": "no"}[t.opt]))
			}
		}
		set, kind := byte(redis.TypeArray), byte(redis.TypeArray)
		pairs := 6
		if s.resp3 {
			set, kind, pairs = redis.TypeSet, redis.TypeMap, 3
		}
		b = redis.AppendHeader(b, kind, pairs)
		b = redis.AppendHeader(redis.AppendBulk(b, "flags"), set, len(flags))
		for _, f := range flags {
			b = redis.AppendBulk(b, f)
		}
		b = redis.AppendInt(redis.AppendBulk(b, "redirect"), redirect)
		b = redis.AppendHeader(redis.AppendBulk(b, "prefixes"), redis.TypeArray, len(prefixes))
		for _, p := range prefixes {
			b = redis.AppendBulk(b, p)
		}
		return b
	})
}
