package mysql

import (
	"time"

	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// killGrace is how long a server may take to end a statement that it was told to end. Then its connection is cut.
const killGrace = 3 * time.Second

// limitStatement begins the time of the command that runs. s.mu is held.
func (s *session) limitStatement(now time.Time) {
	limit := s.terms.block.StatementTimeout.Std()
	if limit <= 0 {
		return
	}
	s.expires, s.expired = now.Add(limit), false
	if s.timer == nil {
		s.timer = time.AfterFunc(limit, s.expire)
	} else {
		s.timer.Reset(limit)
	}
}

// unlimit ends it. s.mu is held.
func (s *session) unlimit() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.expires, s.expired = time.Time{}, false
}

// expire ends the statement that runs because its time is over: first as KILL QUERY does, so that the connection and its
// transaction live on, then by cutting the connections it waits for. It runs on the timer's goroutine and may be late, for
// a command that ended; then it finds no time, or one that is not over.
func (s *session) expire() {
	s.mu.Lock()
	over := !s.expires.IsZero() && !s.handler.host.Now().Before(s.expires)
	again := s.expired
	s.expired = over
	if over && again {
		s.interruptBusy()
	}
	if over && !again {
		s.timer.Reset(killGrace)
	}
	s.mu.Unlock()
	if !over || again {
		return
	}
	s.handler.metrics.timeouts.Inc()
	if err := s.kill(false); err != nil {
		s.handler.host.Log().Warn("ending a statement whose time is over", "listener", s.handler.name, "session", s.id, "error", err)
	}
}

// timedOut is the error of a statement whose time is over, in the words of the kind of server it ran on.
func (s *session) timedOut(mariaDB bool) *wire.Error {
	limit := s.terms.block.StatementTimeout
	if mariaDB {
		return fault(codeStatementTimeoutMariaDB, stateInterrupted, "Query execution was interrupted (statement_timeout of %s exceeded)", limit)
	}
	return fault(codeStatementTimeout, stateGeneral, "Query execution was interrupted, maximum statement execution time exceeded (statement_timeout of %s)", limit)
}

// hasExpired reports whether the command's time is over.
func (s *session) hasExpired() bool {
	if s.terms.block.StatementTimeout <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}

// interruption is e, or the reason for it that only sidewire knows.
func (s *session) interruption(e *wire.Error, mariaDB bool) *wire.Error {
	if e.Code == codeInterrupted && s.hasExpired() {
		return s.timedOut(mariaDB)
	}
	return e
}

// tooLong is the error that ends a result longer than the listener allows.
func (s *session) tooLong() *wire.Error {
	return fault(codeInterrupted, stateInterrupted, "sidewire: Query execution was interrupted: its result is longer than max_result (%d bytes)", s.terms.block.MaxResult)
}

// overlong reports whether more of a result has come than the listener allows; done bytes of it were not written yet.
func (s *session) overlong(done int) bool {
	limit := int64(s.terms.block.MaxResult)
	return limit > 0 && s.answer.sent+int64(len(s.answer.held)+done) > limit && s.answer.reply.InRows()
}

// cutShort ends a result that is too long where a client can follow: behind a whole row. The first done unread bytes have
// passed and are not written yet. The server is told to stop; what it still sends goes nowhere.
func (s *session) cutShort(b *backend, done int) error {
	r := &s.answer.reply
	for !r.ErrorFits() {
		if err := s.flush(b, done); err != nil {
			return err
		}
		if done = 0; b.w == b.r {
			if err := b.fill(1); err != nil {
				b.broken = true
				return s.interrupted(b, err)
			}
		}
		n, ev, err := r.Next(b.unread()[:min(r.Left(), b.w-b.r)])
		if err != nil || ev != wire.EventMore {
			b.broken = true
			return s.interrupted(b, wire.ErrMalformed) // a row is bytes and nothing else
		}
		done = n
		if r.Left() == 0 && !r.ErrorFits() { // it goes on in a packet of its own
			if err := s.flush(b, done); err != nil {
				return err
			}
			if done = 0; b.w-b.r < wire.HeaderLen {
				if err := b.fill(wire.HeaderLen); err != nil {
					b.broken = true
					return s.interrupted(b, err)
				}
			}
			if n, _, err = r.Next(b.unread()[:wire.HeaderLen]); err != nil {
				b.broken = true
				return s.interrupted(b, err)
			}
			done = n
		}
	}
	if err := s.flush(b, done); err != nil {
		return err
	}
	s.handler.metrics.cut.Inc()
	why, seq := s.tooLong(), r.Seq()
	if err := s.discardRest(b); err != nil {
		b.broken = true
		if s.status.Has(wire.StatusInTransaction) || s.pins.any() {
			why = fault(codeRolledBack, stateRolledBack, "sidewire: the result is longer than max_result (%d bytes), and %s did not end it: "+
				"its connection was closed, and with it the open transaction", s.terms.block.MaxResult, b.pool.endpoint.Address())
		}
	}
	s.answer.err = why
	s.out = wire.AppendErr(s.out[:0], why)
	if err := s.send(seq, s.out); err != nil {
		b.broken = true
		return errClientGone
	}
	return nil
}

// discardRest has the server stop and reads what it still sends, so that the connection can serve on. One that goes on
// for long is given up.
func (s *session) discardRest(b *backend) error {
	if err := s.kill(false); err != nil {
		return err
	}
	b.cancelled = true
	b.conn.SetReadDeadline(time.Now().Add(killGrace))
	defer b.conn.SetReadDeadline(time.Time{})
	for !s.answer.reply.Done() {
		if _, err := b.next(&s.answer.reply); err != nil {
			return err
		}
	}
	b.finish()
	return nil
}
