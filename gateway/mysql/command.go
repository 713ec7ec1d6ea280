package mysql

import (
	"errors"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/scan"
)

// command serves one command and reports whether the session goes on.
func (s *session) command(raw, body []byte, seq byte) bool {
	s.terms = s.handler.current.Load()
	cmd := wire.Command(body[0])
	start := s.began(cmd)
	s.answer.sent, s.newPin = 0, ""
	s.answer.err = nil
	err := s.dispatch(cmd, raw, body, seq)
	switch err {
	case errQuit:
		return false
	case errStraight:
		s.straight = true
		return true
	}
	on := true
	if err != nil {
		on = s.failedWith(err, seq)
	}
	s.ended(start)
	return on
}

// errQuit is a client's orderly goodbye.
var errQuit = errors.New("client quit")

// errStraight means that a command may have to read from the client beyond its packet, which a step must not.
var errStraight = errors.New("not in a step")

// began notes that a command runs, for idle timeouts, drains and the admin interface.
func (s *session) began(cmd wire.Command) time.Time {
	now := s.handler.host.Now()
	s.now = now
	s.active.Store(-1)
	s.mu.Lock()
	s.begun, s.doing = now, cmd.String()
	s.limitStatement(now)
	s.mu.Unlock()
	return now
}

// clock is the present time, for one look at the clock where asking the host takes two.
func (s *session) clock() time.Time { return s.now.Add(time.Since(s.now)) }

func (s *session) ended(start time.Time) {
	now := s.clock()
	s.handler.metrics.duration.Observe(now.Sub(start))
	s.active.Store(now.UnixNano())
	s.mu.Lock()
	s.begun, s.doing = time.Time{}, ""
	s.unlimit()
	s.mu.Unlock()
	if s.record {
		s.observe(start, now)
	}
}

// failedWith tells the client what went wrong and reports whether the session can go on.
func (s *session) failedWith(err error, seq byte) bool {
	if s.over() || errors.Is(err, errClientGone) {
		s.farewell(nil)
		return false
	}
	at := seq + 1
	if s.answer.sent > 0 {
		at = s.answer.reply.Seq()
	}
	if errors.Is(err, errTorn) {
		s.handler.host.Log().Warn("session ended", "listener", s.handler.name, "session", s.id, "error", err)
		return false
	}
	e := s.interruption(clientFault(err), s.told.System == "mariadb")
	s.answer.err = e
	s.warned.failed(e)
	return s.reply(at, e) == nil
}

// dispatch serves a command up to the last byte of its answer. An error that it returns is still to be told.
func (s *session) dispatch(cmd wire.Command, raw, body []byte, seq byte) error {
	s.record = false
	switch cmd {
	case wire.ComQuit:
		return errQuit
	case wire.ComQuery:
		err := s.query(raw, body, seq)
		s.effect = effect{}
		return err
	case wire.ComStmtPrepare:
		before := s.nextStmt
		err := s.prepare(raw, body, seq)
		if s.lastStmt = 0; s.nextStmt != before {
			s.lastStmt = s.nextStmt
		}
		return err
	case wire.ComStmtExecute:
		return s.execute(raw, body, seq)
	case wire.ComStmtLongData:
		s.longData(raw, body)
		return nil
	case wire.ComStmtClose:
		s.closeStatement(body)
		return nil
	case wire.ComStmtReset:
		return s.resetStatement(body, seq)
	case wire.ComStmtFetch:
		return s.fetch(raw, body, seq)
	case wire.ComPing:
		return s.ok(seq+1, wire.OK{})
	case wire.ComInitDB:
		if len(s.terms.databases) > 0 {
			return s.enterDatabase(string(body[1:]), seq)
		}
		return s.run(raw, body, seq, s.present(), &effect{class: scan.Session, accounted: true})
	case wire.ComFieldList, wire.ComStatistics, wire.ComProcessInfo, wire.ComDebug, wire.ComRefresh:
		if v, err := s.sharding(); v != nil || err != nil {
			return errors.Join(err, fault(codeUnknownCommand, stateCommunication, "sidewire: %s is not served on a sharded database", cmd))
		}
		return s.run(raw, body, seq, s.present(), &effect{class: scan.Session, accounted: true})
	case wire.ComProcessKill:
		return s.processKill(body, seq)
	case wire.ComSetOption:
		return s.setOption(body, seq)
	case wire.ComResetConnection:
		s.forget()
		if !strings.Contains(s.handler.serverVersion(s.terms), "MariaDB") { // MySQL forgets the handshake's character set too
			s.settings = noSettings.with([]setting{{nameNames, "default"}})
		}
		return s.ok(seq+1, wire.OK{})
	case wire.ComChangeUser:
		return s.changeUser(body, seq)
	default:
		return fault(codeUnknownCommand, stateCommunication, "Unknown command: sidewire does not pass on %s (0x%02x)", cmd, byte(cmd))
	}
}

// query serves COM_QUERY.
func (s *session) query(raw, body []byte, seq byte) error {
	sql := text(body[1:])
	s.attributes = nil
	if s.caps.Has(wire.QueryAttributes) {
		attributes, said, n, err := wire.SplitAttributes(body[1:])
		if err != nil {
			return err
		}
		if sql = text(said); n > 0 {
			s.attributes = attributes
		}
	}
	e := &s.effect
	if own := s.analyseOwn(sql, e, true); own != "" {
		sql, raw = own, nil
	}
	if s.stepping && (e.loadLocal || e.unread) {
		return errStraight
	}
	s.note(e, sql, false)
	switch {
	case e.loadLocal && !(s.caps.Has(wire.LocalFiles) && s.terms.block.LocalInfile):
		return fault(codeLoadLocal, stateSyntax, "Loading local data is disabled; this must be enabled on both the client and server sides")
	case e.kills:
		return s.killStatement(sql, e, seq)
	}
	v, err := s.sharding()
	if err != nil {
		return err
	}
	if statement, asJSON, ok := explained(sql, s.mode); ok {
		return s.explainOn(v, statement, asJSON, seq)
	}
	if v != nil {
		return s.shardedQuery(v, sql, e, seq)
	}
	s.shadow(sql, nil)
	if e.verb == scan.Use && !e.multi && len(s.terms.databases) > 0 {
		return s.use(sql, seq)
	}
	err = s.exchange(seq, s.requirements(e), e, 0, func(b *backend) ([]byte, error) {
		return s.request(b, raw, sql), nil
	}, wire.ComQuery)
	if err == error(errForgotten) && e.diagnoses && !e.multi {
		if served, failed := s.fromLeftover(sql, seq); served || failed != nil {
			return failed
		}
	}
	return err
}

// sharding is the virtual database that the session is in; nil when statements go to one cluster as they are. A
// transaction keeps the rules that it began with.
func (s *session) sharding() (*virtual, error) {
	name := s.virtual
	if name == "" {
		if s.terms.block.Cluster != "" {
			return nil, nil
		}
		name = s.terms.block.Databases[0] // statements that need no database still need a server
	}
	if s.sharded != nil && s.sharded.db.Name == name && s.inTransaction() {
		return s.sharded, nil
	}
	v := s.handler.virtual(s.terms, name)
	if v == nil {
		return nil, fault(codeUnknownDatabase, stateSyntax, "Unknown database '%s'", name)
	}
	s.sharded = v
	return v, nil
}

// requirements is what a statement needs beyond what every statement of the session does.
func (s *session) requirements(e *effect) needs {
	n := s.present()
	n.insertID, n.several, n.role = e.insertID || e.setsID(), e.multi, s.roleOf(e)
	// What a statement asks about the one before is known only to the connection that ran it, except that nothing
	// happened there. If that connection is gone, nobody can answer.
	n.exact = e.counts && s.last != nil || e.diagnoses && (s.warnings > 0 || s.failed)
	n.clean = e.diagnoses && !n.exact
	return n
}

// roleOf is the role of the server that a statement needs at least.
func (s *session) roleOf(e *effect) cluster.Role {
	if s.readable(e) {
		return cluster.Replica
	}
	return cluster.Primary
}

// run passes a command to a connection that fits and its answer back.
func (s *session) run(raw, body []byte, seq byte, n needs, e *effect) error {
	return s.exchange(seq, n, e, 0, func(*backend) ([]byte, error) { return raw, nil }, wire.Command(body[0]))
}

// exchange is the life of a command: a connection is taken and brought to the session's state, request says what to send
// to it, the answer passes, and the connection is given back. What certainly was not executed is tried again elsewhere.
func (s *session) exchange(seq byte, n needs, e *effect, virtual uint32, request func(*backend) ([]byte, error), cmd wire.Command) error {
	var retrying retry
	defer retrying.done()
	if !e.diagnoses {
		s.goOn()
	}
	for try := 1; ; try++ {
		held := s.lease != nil
		b, err := s.acquire(n)
		if err != nil {
			return err
		}
		sent, err := s.once(b, seq, n, e, virtual, request, cmd)
		if err == nil {
			s.after(b, e)
			return nil
		}
		if errors.Is(err, errElsewhere) {
			s.settle(b)
			n.role = cluster.Primary
			continue
		}
		err = s.undone(b, err, e, sent, held)
		if !errors.Is(err, errAgain) || try == maxTries {
			return err
		}
		if err := retrying.take(b.pool.up.cluster); err != nil {
			return err
		}
	}
}

// retry is the place among a cluster's retries that a statement has which is tried again.
type retry struct{ cluster *cluster.Cluster }

// take fails if the statement may not be tried again on c. It takes one place, however often the statement is tried.
func (r *retry) take(c *cluster.Cluster) error {
	if r.cluster != nil {
		return nil
	}
	if err := c.Take(cluster.Retries); err != nil {
		return fault(codeLostConnection, stateGeneral, "sidewire: %s, and it is not tried again: %s", errAgain, err)
	}
	r.cluster = c
	return nil
}

func (r *retry) done() {
	if r.cluster != nil {
		r.cluster.Release(cluster.Retries)
	}
}

// maxTries bounds how often a statement is tried that was not executed.
const maxTries = 3

// errAgain means that a statement was certainly not executed, or may be executed twice without harm.
var errAgain = errors.New("the connection was lost before the statement ran")

// once tries a command on one connection. sent tells whether the server may have seen it.
func (s *session) once(b *backend, seq byte, n needs, e *effect, virtual uint32, request func(*backend) ([]byte, error), cmd wire.Command) (sent bool, err error) {
	if err := s.wait(b); err != nil {
		return false, err
	}
	defer s.waited(b)
	if err := s.apply(b, n); err != nil {
		var refused *wire.Error
		if n.role == cluster.Replica && errors.As(err, &refused) && !b.broken && b.pool.endpoint.Role() == cluster.Replica {
			return false, errElsewhere // the session's database, say, has not come there yet
		}
		return false, err
	}
	p, err := request(b)
	if err != nil {
		return false, err
	}
	if e.pin != "" {
		s.pin(e.pin)
	}
	s.answer.begin(cmd, b.caps, seq+1)
	s.answer.asked = p
	if sent, err := b.ask(p); err != nil {
		b.broken = true
		return sent, s.interrupted(b, err)
	}
	return true, s.forward(b, virtual)
}

// undone handles a command that failed: the connection, and what the client is told.
func (s *session) undone(b *backend, err error, e *effect, sent, held bool) error {
	var answered *wire.Error
	switch {
	case s.over() || errors.Is(err, errClientGone):
		b.broken = true
		s.abandon(b)
		return err
	case errors.As(err, &answered) && !b.broken:
		s.settle(b)
		return err
	}
	open := s.status.Has(wire.StatusInTransaction)
	pinned := held && s.pins.any()
	b.pool.up.cluster.Report(b.pool.endpoint, err)
	where := b.pool.endpoint.Address()
	s.handler.host.Log().Warn("server connection lost", "listener", s.handler.name, "session", s.id, "endpoint", where, "error", err)
	s.lost(b)
	switch {
	case errors.Is(err, errTorn):
		return err
	case s.hasExpired() && !open && !pinned:
		if e.class != scan.Read {
			return fault(codeLostConnection, stateCompletion, "sidewire: %s did not end the statement when statement_timeout was over: whether it was executed is unknown", where)
		}
		return s.timedOut(b.mariaDB)
	case answered != nil:
		return err
	case s.answer.sent > 0 && sent:
		return fault(codeLostConnection, stateCompletion, "sidewire: %s was lost in the middle of its answer", where)
	case open && e.commits && sent:
		return fault(codeLostConnection, stateResolution, "sidewire: %s was lost before it answered COMMIT: whether the transaction was committed is unknown", where)
	case open:
		return fault(codeRolledBack, stateRolledBack, "sidewire: %s was lost, and with it the open transaction; run it again", where)
	case pinned:
		return fault(codeLostConnection, stateGeneral, "sidewire: %s was lost, and with it what this session left there", where)
	case !sent, e.class == scan.Read:
		return errAgain
	default:
		return fault(codeLostConnection, stateCompletion, "sidewire: %s was lost before it answered: whether the statement was executed is unknown", where)
	}
}

// abandon leaves a connection whose answer nobody waits for any more, and ends what the server still does for it.
func (s *session) abandon(b *backend) {
	u := b.pool.up
	if b.conn.Interrupted() || s.answer.reply.Done() {
		// The server may be at work for long: a statement whose client is gone is of no use.
		if err := u.cancel(s.handler.life, b, "KILL"); err != nil {
			s.handler.host.Log().Debug("cancelling a statement", "endpoint", b.pool.endpoint.Address(), "error", err)
		}
	}
	s.lost(b)
}

// after draws the conclusions from an answer that came whole.
func (s *session) after(b *backend, e *effect) {
	a := &s.answer
	if b == s.read.b {
		b.pool.up.cluster.Observe(b.pool.endpoint, b.spent)
	}
	if a.err != nil || !e.diagnoses || e.multi { // SHOW WARNINGS leaves what it tells of
		s.failed = a.err != nil
	}
	if a.err != nil {
		s.handler.metrics.errors.Inc()
		s.rowCount, s.foundRows = -1, -1
		if e.pin == pinSet || e.pin == pinTextPrepare || e.pin == pinTemporaryTable || e.pin == pinHandler {
			// It did not happen, but what happened before in the same text may have.
			if !e.multi && s.fresh(e.pin) {
				s.unpin(e.pin)
			}
			if !e.multi && e.pin == pinTextPrepare {
				s.unprepared(e) // one of that name that was there is gone all the same
			}
		}
		s.ask(b, e)
	} else {
		s.succeeded(b, e)
	}
	a.asked = nil
	b.foreign = b.foreign && a.err == nil && a.reply.Warnings == 0 && !e.tables // the warnings on it are the session's now
	s.settle(b)
}

// ask finds out after an error whether a transaction is open: the error does not say, and it may have ended one, or have
// come after a statement that began one.
func (s *session) ask(b *backend, e *effect) {
	plain := s.status.Has(wire.StatusAutocommit) && !s.status.Has(wire.StatusInTransaction) && !e.multi
	if plain && (e.class == scan.Read || e.class == scan.Write && e.verb != scan.Call && e.verb != scan.Execute) {
		return
	}
	if _, _, err := b.command(wire.ComPing, ""); err != nil {
		b.broken = true
		return
	}
	s.status = b.status
}

// fresh reports whether a pin was set by the statement that just ran.
func (s *session) fresh(reason string) bool { return s.newPin == reason }

func (s *session) succeeded(b *backend, e *effect) {
	a := &s.answer
	r := &a.reply
	within := s.status.Has(wire.StatusInTransaction)
	if r.Results > 0 { // the answer to a prepare says nothing of it
		s.status = r.Status
		if !e.diagnoses || e.multi {
			s.warnings = r.Warnings
		}
	}
	s.unlogged(b, e)
	if e.prepares == nil {
		s.counted(b, e)
	}
	if a.moved {
		s.database, b.database = a.schema, a.schema
	}
	for _, reason := range e.unpin {
		s.unpin(reason)
	}
	s.temporaryTables(e)
	s.textStatements(e)
	s.userLocks(b, e)
	if s.pins.has(pinNextTransaction) && !s.status.Has(wire.StatusInTransaction) && e.pin != pinNextTransaction && (within || e.ends || e.tables) {
		s.unpin(pinNextTransaction) // a statement without tables is no transaction
	}
	if p := e.prepares; p != nil {
		p.params, p.columns = int(a.prepared.Params), int(a.prepared.Columns)
		b.statement.put(p.key, a.prepared.ID, p.params)
	}
	s.learnMode()
	if e.set != nil {
		s.keep(b, e.set)
	} else if a.changed && !e.accounted && !a.moved {
		s.pin(pinState)
	}
}

// learnMode takes what an answer said of sql_mode: how texts are read from now on.
func (s *session) learnMode() {
	for _, l := range s.answer.learnt {
		if l.name == "sql_mode" {
			s.mode = modeOf(l.value)
		}
	}
}

// keep notes what a SET changed, in the session and on the connection.
func (s *session) keep(b *backend, set *setEffect) {
	changes := set.changes
	if len(set.wishes) > 0 {
		if err := s.wish(b, set.wishes); err != nil {
			b.broken = true // what it does from now on would go unseen
			return
		}
	}
	if s.settings.moved(changes, set.learn) {
		s.pin(pinUserVariable)
	}
	for _, name := range set.learn {
		value, ok := s.learnt(name)
		if !ok {
			s.pin(pinSet)
			continue
		}
		changes = append(changes, setting{name, value})
	}
	if len(changes) > 0 {
		s.settings = b.settings.with(changes)
		b.settings = s.settings
	}
}

// learnt is the value that the server told of with its answer, as SQL text.
func (s *session) learnt(name string) (string, bool) {
	for _, l := range s.answer.learnt {
		if l.name == name {
			return literal(name, l.value), true
		}
	}
	return "", false
}

// temporaryTables follows the session's temporary tables. The last one that goes takes its pin along.
func (s *session) temporaryTables(e *effect) {
	full := func(name string) string {
		if strings.Contains(name, ".") {
			return name
		}
		return strings.ToLower(s.database) + "." + name
	}
	for _, name := range e.created {
		if s.temporary == nil {
			s.temporary = map[string]bool{}
		}
		s.temporary[full(name)] = true
	}
	if len(e.dropped) == 0 || len(s.temporary) == 0 {
		return
	}
	for _, name := range e.dropped {
		delete(s.temporary, full(name))
	}
	if len(s.temporary) == 0 {
		s.unpin(pinTemporaryTable)
	}
}
