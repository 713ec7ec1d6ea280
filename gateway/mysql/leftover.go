package mysql

import (
	"slices"
	"sync/atomic"
	"time"
)

// leftover is the warnings and errors that a session's last statement left on a connection which it gave back. Whoever gets the connection next fetches
// them first, unless the session has gone on meanwhile: it costs nothing where connections are plenty, and nobody holds one because of a warning.
type leftover struct {
	abandoned atomic.Bool   // the session asks no more
	done      chan struct{} // closed when list says them, or nobody can any more
	list      []diagnostic  // what follows is read behind done
	known     bool
}

// leftoverWait is how long a session waits for the one that has its connection now to fetch what it asks for.
const leftoverWait = 5 * time.Second

// leaveBehind notes what can be asked about the statement that b served, as b goes back.
func (s *session) leaveBehind(b *backend) {
	if s.behind == nil && (s.warnings > 0 || s.failed) && s.virtual == "" {
		s.behind = &leftover{done: make(chan struct{})}
		b.left = s.behind
	}
}

// goOn gives up what was left behind: the session runs another statement, whose warnings they will be.
func (s *session) goOn() {
	if s.behind != nil {
		s.behind.abandoned.Store(true)
		s.behind = nil
	}
}

// takeOver fetches what another session left on b. Its own statement is next, and would overwrite it.
func (s *session) takeOver(b *backend) error {
	if b.left == s.behind {
		return nil
	}
	return b.tellLeft()
}

// passOn fetches what a session left on a connection that makes room for another one.
func (b *backend) passOn() {
	if b.left != nil {
		b.conn.SetDeadline(time.Now().Add(resetTimeout))
		_ = b.tellLeft() // who asks for it is told that nobody knows
	}
}

// tellLeft fetches what was left on b for the session that left it, if that may still ask.
func (b *backend) tellLeft() error {
	l := b.left
	if b.left = nil; l == nil || l.abandoned.Load() {
		return nil
	}
	defer close(l.done)
	return l.fetch(b)
}

// forgetLeft says that nobody will fetch what was left on b.
func (b *backend) forgetLeft() {
	if b.left != nil {
		close(b.left.done)
		b.left = nil
	}
}

func (l *leftover) fetch(b *backend) (err error) {
	l.list, err = b.warnings()
	l.known = err == nil
	return err
}

// keepWarnings fetches the session's own, because it is about to run a statement of sidewire's.
func (s *session) keepWarnings(b *backend) {
	l := &leftover{done: make(chan struct{})}
	close(l.done)
	if l.fetch(b) == nil {
		s.behind, b.left = l, nil
	}
}

// fromLeftover answers a question about the statement before whose connection serves another session by now.
func (s *session) fromLeftover(sql string, seq byte) (served bool, err error) {
	l := s.behind
	if l == nil {
		return false, nil
	}
	over := time.NewTimer(leftoverWait)
	defer over.Stop()
	select {
	case <-l.done:
	case <-over.C:
		return false, nil
	case <-s.ctx.Done():
		return false, errClientGone
	}
	if !l.known {
		return false, nil
	}
	s.warned = diagnostics{list: slices.Clone(l.list), count: len(l.list)}
	return s.diagnose(sql, seq)
}
