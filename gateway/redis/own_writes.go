package redis

import (
	"bytes"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// Reading one's own writes. Replication is asynchronous, and WAIT tells how many replicas have a write but not which. So a session that has
// written reads from the primary until the very replica it reads from has said that its offset is at or beyond the one the primary had
// after the write was answered. It says nothing of other clients' writes, nor of those that a failover loses.

// writing notes that the session's next command may write.
func (s *session) writing() {
	s.wrote, s.wroteBy, s.sealed = s.engine.clock, s.tail+1, 0
}

// mayHaveWritten notes that the session may have written up to now, on a connection of its own.
func (s *session) mayHaveWritten() {
	s.wrote, s.wroteBy, s.sealed = s.engine.clock, s.head, 0
}

// reads tells whether the session may read from a replica of n, as far as its own writes go.
func (s *session) reads(n, r *node) bool {
	u := n.upstream
	switch {
	case s.wrote == 0:
		return true
	case s.head < s.wroteBy && (u.confirm || u.ownWrites > 0):
		return false // it is not answered yet
	case !u.confirm:
		return u.ownWrites == 0 || s.engine.clock-s.wrote >= u.ownWrites
	}
	if s.sealed == 0 {
		s.sealed = u.engine.turn() // it was answered by now
	}
	if r.confirmed > s.sealed {
		return true
	}
	n.confirm(s, r)
	return false
}

// turn numbers what happens, for what has to know what came first; two things may be at one time.
func (e *engine) turn() int64 {
	e.turns++
	return e.turns
}

// confirmEvery is the least time between two questions to a replica that lags.
const confirmEvery = 2 * time.Millisecond

// confirm asks the primary how far it is, and then the replica whether it is as far.
func (n *node) confirm(s *session, r *node) {
	e := n.upstream.engine
	if r.confirming || e.clock < r.confirmAt {
		return
	}
	r.confirming = true
	asOf := e.turn()
	ended := func(pause time.Duration) { r.confirming, r.confirmAt = false, e.clock+int64(pause) }
	v := n.upstream.view(viewKey{db: n.upstream.db})
	if n.index >= len(v.pools) || v.pools[n.index].node != n {
		ended(100 * time.Millisecond)
		return
	}
	s.inquire(v.pools[n.index], func(f []byte) {
		id, target, ok := replication(f, "master_repl_offset")
		if !ok {
			ended(100 * time.Millisecond) // it may not be asked, or is not there
			return
		}
		s.inquire(v.replicaPool(r), func(f []byte) {
			same, at, ok := replication(f, "slave_repl_offset")
			if ended(confirmEvery); ok && bytes.Equal(same, id) && at >= target {
				r.confirmed = asOf
			}
		})
	})
}

// inquire asks a server about its replication. The question is nobody's: it takes no slot, and is not repeated.
func (s *session) inquire(p *pool, f func(reply []byte)) {
	b, err := p.conn(s.id)
	if err != nil {
		f(redis.AppendError(nil, "ERR "+err.Error()))
		return
	}
	q := b.send(redis.AppendCommand(nil, "INFO", "replication"))
	q.kind, q.flags = kindDiscard, readOnly
	q.op = &op{session: s, asked: func(reply []byte) { f(bytes.Clone(reply)) }}
}

// replication reads the replication's identity and an offset from INFO.
func replication(f []byte, offset string) (id []byte, at int64, ok bool) {
	for line := range bytes.Lines(f) {
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		switch string(name) {
		case "master_replid":
			id = value
		case offset:
			at, ok = redis.ParseInt(value)
		}
	}
	return id, at, ok && len(id) > 0
}
