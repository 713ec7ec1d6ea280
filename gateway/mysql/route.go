package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// needs is what a statement needs of the connection it runs on.
type needs struct {
	role     cluster.Role
	database string
	settings *settings
	exact    bool // the connection that the statement before ran on, and no other
	insertID bool // its LAST_INSERT_ID() must be the session's
	several  bool // the text may hold several statements
	clean    bool // no warnings or errors of another session may be left on it
}

// present is what a statement needs when nothing is special about it.
func (s *session) present() needs {
	return needs{role: cluster.Primary, database: s.database, settings: s.settings}
}

// upstream is the pools of the cluster that serves the session.
func (s *session) upstream() (*upstream, error) {
	u, _ := s.handler.host.Upstream(s.terms.block.Cluster).(*upstream)
	if u == nil {
		return nil, fault(codeNoServer, stateRejected, "sidewire: cluster %q is gone", s.terms.block.Cluster)
	}
	return u, nil
}

// class is the class of the connections that may serve the session.
func (s *session) class() class {
	return class{caps: s.caps & classCaps, collation: s.collation, as: s.as}
}

// plain is the class without what only statements that pass as they are can use.
func (c class) plain() class {
	c.caps &^= wire.QueryAttributes
	return c
}

// acquire takes the connection for a statement: the one that is held, else one from the pool.
func (s *session) acquire(n needs) (*backend, error) {
	if s.lease != nil {
		return s.lease, nil
	}
	u, err := s.upstream()
	if err != nil {
		return nil, err
	}
	if n.settings == nil {
		n.settings = s.settings
	}
	w := want{role: n.role, class: s.class(), last: s.last, uses: s.lastUses,
		exact: n.exact, settings: n.settings, database: n.database, now: s.now}
	if n.role == cluster.Replica {
		r := w
		r.last, r.uses = s.read.b, s.read.uses
		b, err := u.leaseRead(s.ctx, &r, uint64(s.id), s.written[u])
		if err != nil {
			return nil, err
		}
		if b != nil {
			s.lease, s.read = b, lastUse{b, b.uses}
			return b, nil
		}
		w.role = cluster.Primary
	}
	b, err := u.lease(s.ctx, &w, uint64(s.id))
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errForgotten
	}
	s.lease, s.last, s.lastUses = b, b, b.uses
	return b, nil
}

// errForgotten means that nobody can answer a question about the statement before any more.
var errForgotten = fault(codeNotSupported, stateSyntax, "sidewire: what this asks for was known to a server connection that serves another session by now; "+
	"ask inside the transaction of the statement it is about")

// apply brings a connection to the state that a statement needs.
func (s *session) apply(b *backend, n needs) error {
	if err := s.takeOver(b); err != nil {
		return err
	}
	if n.settings == nil {
		n.settings = s.settings
	}
	if n.database != "" && b.database != n.database {
		if _, _, err := b.command(wire.ComInitDB, n.database); err != nil {
			return err
		}
		b.database = n.database
	}
	for _, sql := range diff(b.settings, n.settings, b.names, b.mariaDB) {
		if _, err := b.query(sql); err != nil {
			b.broken = true // some of it may have been done
			return fmt.Errorf("carrying the session's settings to %s: %w", b.pool.endpoint.Address(), err)
		}
	}
	b.settings = n.settings
	if allowed := s.caps.Has(wire.MultiStatements); n.several && b.several != allowed {
		// A server that is told to takes one statement only, and tells a procedure's body from a second statement, which
		// sidewire does not. A client that did not ask for several must not have them run.
		if err := b.option(allowed); err != nil {
			return err
		}
	}
	if n.clean && b.foreign { // to MariaDB a statement without a table is none
		if _, err := b.query("DO (SELECT 1 FROM (SELECT 1) clean)"); err != nil {
			return err
		}
		b.foreign = false
	}
	if n.insertID && s.unsure && s.suspect != 0 {
		s.learnInsertID(b)
	}
	if n.insertID && !s.unsure && b.insertID != s.insertID {
		if _, err := b.query("SET last_insert_id=" + strconv.FormatUint(s.insertID, 10)); err != nil {
			return err
		}
		b.insertID = s.insertID
	}
	return nil
}

// settle gives the connection back unless a transaction or a pin holds it.
func (s *session) settle(b *backend) {
	if b.broken {
		s.lost(b)
		return
	}
	if s.status.Has(wire.StatusInTransaction) || s.pins.any() {
		return
	}
	if s.unsure {
		if s.learnInsertID(b); b.broken {
			s.lost(b)
			return
		}
	}
	if b.cancelled {
		b.broken = true // a late KILL QUERY may still hit it: it serves nobody else
		s.last = nil
	}
	s.leaveBehind(b)
	s.lease = nil
	b.release()
	b.pool.give(b, s.clock())
}

// lost gives up a connection that cannot go on.
func (s *session) lost(b *backend) {
	b.broken = true
	s.yield(b)
}

// yield gives a connection back, and with it whatever the session had there.
func (s *session) yield(b *backend) {
	s.lease, s.last, s.temporary = nil, nil, nil
	s.texts, s.locks = nil, userLocks{}
	s.unpinAll()
	for _, p := range s.prepared {
		p.lost = p.lost || len(p.sent) > 0
		p.sent, p.cursor = nil, false
	}
	s.status &^= wire.StatusInTransaction
	b.pool.give(b, s.clock())
}

// quit gives everything back that the session holds.
func (s *session) quit() {
	if b := s.lease; b != nil {
		s.clean(b)
		s.yield(b)
	}
	for _, h := range s.holds {
		s.clean(h.b)
		s.giveHold(h)
	}
	s.holds, s.tx, s.nextTx, s.lastOf = nil, transaction{}, nil, nil
	s.unpinAll()
	s.status &^= wire.StatusInTransaction
}

// clean ends what the session left on a connection, so that it can serve others.
func (s *session) clean(b *backend) {
	if b.broken {
		return
	}
	stop := context.AfterFunc(s.handler.life, b.conn.Interrupt)
	b.conn.SetDeadline(time.Now().Add(resetTimeout))
	_, _, err := b.command(wire.ComResetConnection, "")
	names := b.names
	if err == nil {
		err = b.prime()
	}
	if err == nil && b.names != names { // MySQL goes back to its own character set, not to that of the handshake
		_, err = b.query("SET NAMES " + names)
		b.names = names
	}
	b.conn.SetDeadline(time.Time{})
	if !stop() || err != nil {
		b.broken = true
	}
	b.settings, b.insertID = noSettings, 0
	b.statement.clear()
}

// resetTimeout bounds the reset of a connection whose session has left.
const resetTimeout = 2 * time.Second

// pin notes a reason to stay on the connection.
func (s *session) pin(reason string) {
	first := !s.pins.any()
	if !s.pins.add(reason) {
		return
	}
	s.newPin = reason
	if c := s.handler.metrics.pins[reason]; c != nil {
		c.Inc()
	}
	if first {
		s.handler.metrics.pinned.Inc()
	}
	s.showPins()
}

func (s *session) unpin(reason string) {
	if !s.pins.remove(reason) {
		return
	}
	if !s.pins.any() {
		s.handler.metrics.pinned.Dec()
	}
	s.showPins()
}

func (s *session) unpinAll() {
	if s.pins.any() {
		s.pins.list = nil
		s.handler.metrics.pinned.Dec()
		s.showPins()
	}
}

func (s *session) showPins() {
	s.mu.Lock()
	s.pinned = s.pins.String()
	s.mu.Unlock()
}

// retryable reports whether an error says that nothing was executed and another connection may be tried.
func retryable(err error) bool {
	var e *wire.Error
	var none *cluster.NoEndpoint
	return !errors.As(err, &e) && !errors.As(err, &none) && !errors.Is(err, context.Canceled)
}
