package mysql

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

// job is one execution of a statement on a virtual database.
type job struct {
	v      *virtual
	seq    byte
	effect *effect
	needs  needs
	cmd    wire.Command
	format merge.Format
	// numbered: the statement gives its AUTO_INCREMENT column its values, which says nothing to LAST_INSERT_ID().
	numbered bool
	clock    bool   // several connections have to tell the same time
	instant  string // that time, once it is known
	// request writes what a route sends to its connection.
	request func(b *backend, r *plan.Route) ([]byte, error)
	// virtualID is the number a prepared statement gets with its answer.
	virtualID uint32
}

// shardedQuery serves COM_QUERY on a virtual database.
func (s *session) shardedQuery(v *virtual, sql string, e *effect, seq byte) error {
	if e.multi {
		return fault(codeNotSupported, stateSyntax, "sidewire: several statements in one text are not served on a sharded database; send them one by one")
	}
	if e.diagnoses {
		if served, err := s.diagnose(sql, seq); served {
			return err
		}
	}
	s.warned.clear()
	switch {
	case e.verb == scan.Set:
		return s.shardedSet(v, sql, e, seq)
	case e.verb == scan.Use:
		return s.use(sql, seq)
	case e.class == scan.Transaction:
		return s.transactionStatement(sql, e, seq)
	case e.class == scan.Empty:
		return fault(codeEmptyQuery, stateSyntax, "Query was empty")
	}
	st, in, err := s.planned(v, sql, e)
	if err != nil {
		return err
	}
	st.Bind(in, &s.exec)
	j := &job{v: v, seq: seq, effect: e, needs: needs{role: s.roleOf(e), insertID: e.insertID}, cmd: wire.ComQuery, format: merge.Text,
		request: func(_ *backend, r *plan.Route) ([]byte, error) {
			s.scratch = append(s.scratch[:0], 0, 0, 0, 0, byte(wire.ComQuery))
			s.scratch = append(s.scratch, r.SQL...)
			return frame(s.scratch), nil
		}}
	return s.perform(j, st)
}

// planned finds the plan of a text, after what no plan can make right over shards was refused.
func (s *session) planned(v *virtual, sql string, e *effect) (*plan.Statement, *plan.Input, error) {
	switch {
	case e.pin != "" && e.pin != pinUserLock:
		return nil, nil, fault(codeNotSupported, stateSyntax, "sidewire: this needs one server connection of its own (%s), which a sharded database has not", e.pin)
	case e.counts:
		return nil, nil, fault(codeNotSupported, stateSyntax, "sidewire: FOUND_ROWS() and ROW_COUNT() are not served on a sharded database; count in the statement itself")
	case e.diagnoses:
		return nil, nil, fault(codeNotSupported, stateSyntax, "sidewire: of the statement before, a sharded database answers SHOW WARNINGS, SHOW ERRORS, SHOW COUNT(*) WARNINGS, "+
			"SELECT @@warning_count and SELECT @@error_count, unprepared")
	case e.loadLocal:
		return nil, nil, s.unsupported("LOAD DATA LOCAL")
	}
	p := v.plans(s.ctx)
	if m := v.mode(); m != s.mode && s.settings.value("sql_mode") == "" {
		s.mode = m // what the servers begin with was not known when the session began, or it was another cluster's
		*e = effect{}
		s.analyse(sql, e)
	}
	if err := s.legible(sql, nil); err != nil {
		return nil, nil, err
	}
	r := &s.scan
	r.Mode = s.planMode()
	alone := sql[:r.End]
	st := v.cache.Plan(p, alone, r)
	return st, &plan.Input{Text: alone, Vars: r.Vars, Keys: v.keys}, nil
}

// planMode is what of the session a plan depends on.
func (s *session) planMode() scan.Mode {
	if s.settings.value("time_zone") != "" {
		return s.mode | scan.OwnTimeZone
	}
	return s.mode
}

// perform runs a bound statement. Errors of servers come back in the client's names.
func (s *session) perform(j *job, st *plan.Statement) error {
	next := s.nextTx
	err := s.spread(j, st)
	var answered *wire.Error
	if errors.As(err, &answered); answered == nil && s.failed {
		answered = s.answer.err
	}
	if answered != nil && answered.Code == codeReadOnlyTransaction && !s.inTransaction() {
		s.nextTx = next // no transaction began
	}
	if err != nil && answered != nil {
		return j.v.names.fault(answered)
	}
	return err
}

func (s *session) spread(j *job, st *plan.Statement) error {
	x := &s.exec
	j.v.lacks(st)
	j.numbered, j.clock = st.Numbered(), st.Clock() && len(x.Routes) > 1
	if r := x.Refusal; r != nil {
		return fault(r.Code, r.State, "sidewire: %s", r.Error())
	}
	if l := x.Local; l != nil {
		return s.local(l, j)
	}
	if err := s.even(j.v); err != nil {
		return err
	}
	if x.WriteOnly {
		j.needs.role = cluster.Primary
	}
	defer s.onlyOnce()()
	if len(x.Routes) == 0 {
		return fault(codeNotSupported, stateSyntax, "sidewire: the plan names no shard")
	}
	if j.v.db.OneShard && (st.Kind == plan.Write || j.effect.class == scan.Write) {
		if err := s.oneShard(x.Routes); err != nil {
			return err
		}
	}
	defer s.finish()
	if j.effect.class == scan.DDL {
		defer j.v.forget()
		if err := s.endTransaction("COMMIT", true); err != nil { // as DDL does on one server
			return err
		}
	}
	switch {
	case len(x.Routes) == 1 && x.Merge == nil:
		return s.oneRoute(j, &x.Routes[0])
	case x.Merge != nil:
		return s.merged(j)
	default:
		return s.writeAll(j, st)
	}
}

// local answers with what the planner knows without asking a server.
func (s *session) local(l *plan.Local, j *job) error {
	w := &resultWriter{s: s, seq: j.seq + 1}
	w.begin(localColumns(l))
	for _, row := range l.Rows {
		if err := w.row(localRow(row, j.format)); err != nil {
			return err
		}
	}
	s.failed, s.warnings = false, 0
	s.finish()
	return w.end()
}

func localColumns(l *plan.Local) [][]byte {
	defs := make([][]byte, len(l.Names))
	for i, name := range l.Names {
		defs[i] = wire.AppendColumn(nil, &wire.Column{Name: []byte(name), Type: wire.TypeVarString, Collation: wire.CollationUTF8MB4, Length: 1 << 10})
	}
	return defs
}

func localRow(row []string, format merge.Format) []byte {
	if format == merge.Binary {
		b := wire.BeginBinaryRow(nil, len(row))
		for _, v := range row {
			b.Add(wire.TypeVarString, append([]byte{}, v...))
		}
		return b.Bytes()
	}
	var p []byte
	for _, v := range row {
		p = wire.AppendLenencString(p, v)
	}
	return p
}

// oneRoute runs a statement on its only shard and passes the answer on as it comes.
func (s *session) oneRoute(j *job, r *plan.Route) error {
	var retrying retry
	defer retrying.done()
	for try := 1; ; try++ {
		h, err := s.join(j.v, r.Target, j.needs)
		if err != nil {
			if h == nil {
				return err
			}
			err = s.broke(h, err, j, false)
		} else if sent, ferr := s.passOn(h, j, r); ferr == nil {
			s.passed(h, j)
			return nil
		} else if errors.Is(ferr, errElsewhere) {
			s.finish()
			j.needs.role = cluster.Primary
			continue
		} else {
			err = s.broke(h, ferr, j, sent)
		}
		if !errors.Is(err, errAgain) || try == maxTries {
			return err
		}
		if err := retrying.take(h.b.pool.up.cluster); err != nil {
			return err
		}
	}
}

func (s *session) passOn(h *hold, j *job, r *plan.Route) (sent bool, err error) {
	if err := s.wait(h.b); err != nil {
		return false, err
	}
	defer s.waited(h.b)
	p, err := j.request(h.b, r)
	if err != nil {
		return false, err
	}
	s.answer.begin(j.cmd, h.b.caps, j.seq+1)
	s.answer.rename(j.v.names)
	if k := s.exec.Key; !k.IsNull() {
		if n, ok := k.Integer(); ok {
			s.answer.generated = uint64(n)
		}
	}
	if sent, err := h.b.ask(p); err != nil {
		h.b.broken = true
		return sent, s.interrupted(h.b, err)
	}
	return true, s.forward(h.b, j.virtualID)
}

// passed draws the conclusions from an answer of one shard.
func (s *session) passed(h *hold, j *job) {
	a := &s.answer
	s.failed = a.err != nil
	if a.err != nil {
		s.handler.metrics.errors.Inc()
		s.warned.failed(a.err)
		if h.begun || h.open || !s.status.Has(wire.StatusAutocommit) {
			s.learnOpen(h)
		}
		return
	}
	if a.reply.Results > 0 {
		s.status, s.warnings = a.reply.Status, a.reply.Warnings
		h.open = s.status.Has(wire.StatusInTransaction)
		if err := s.collect(h.b, s.warnings, j.v.names, false); err != nil {
			h.b.broken = true // the answer is out: the warnings are lost, as the connection is
		}
	}
	s.unloggedOn(h, a.gtid, j.effect.class == scan.Write && a.affected > 0)
	if a.insertID != 0 && !j.numbered {
		s.insertID = a.insertID
		if a.generated == 0 {
			h.b.insertID = a.insertID
		}
	}
	if j.effect.pin != "" {
		s.pin(j.effect.pin)
	}
	for _, reason := range j.effect.unpin {
		s.unpin(reason)
	}
	if a.changed && !j.effect.accounted && !a.moved {
		h.b.broken = true // nothing says what it left behind: it must serve nobody else
	}
}

// learnOpen asks a shard after an error whether its transaction is still open. A deadlock ends it, and with it the
// transaction of the session, on all shards.
func (s *session) learnOpen(h *hold) {
	if _, _, err := h.b.command(wire.ComPing, ""); err != nil {
		h.b.broken = true
		s.doom()
		return
	}
	was := h.begun || h.open
	h.open = h.b.status.Has(wire.StatusInTransaction)
	if was && !h.open {
		h.begun = false
		s.doom()
	}
}

// broke handles a statement that failed on a shard before its answer was whole: what happens to the session's
// transaction, and what the client is told.
func (s *session) broke(h *hold, err error, j *job, sent bool) error {
	var answered *wire.Error
	if s.over() || errors.Is(err, errClientGone) {
		if h.b.conn.Interrupted() {
			_ = h.b.pool.up.cancel(s.handler.life, h.b, "KILL") // its statement is of no use to anybody
		}
		h.b.broken = true
		return err
	}
	if errors.As(err, &answered) && !h.b.broken {
		return err
	}
	where := h.b.pool.endpoint.Address()
	h.b.broken = true
	h.b.pool.up.cluster.Report(h.b.pool.endpoint, unreachable(err))
	s.handler.host.Log().Warn("server connection lost", "listener", s.handler.name, "session", s.id, "endpoint", where, "error", err)
	open := s.inTransaction()
	h.begun, h.open = false, false
	torn := errors.Is(err, errTorn)
	if open {
		s.doom()
	}
	s.finish()
	switch {
	case torn:
		return err
	case open:
		return fault(codeRolledBack, stateRolledBack, "sidewire: %s was lost, and with it the open transaction; run it again", where)
	case s.answer.sent > 0 && sent:
		return fault(codeLostConnection, stateCompletion, "sidewire: %s was lost in the middle of its answer", where)
	case !sent, j.effect.class == scan.Read:
		return errAgain
	default:
		return fault(codeLostConnection, stateCompletion, "sidewire: %s was lost before it answered: whether the statement was executed is unknown", where)
	}
}

// shardedSet serves SET on a virtual database: a server says whether it is right, and it is carried to every shard that
// the session uses.
func (s *session) shardedSet(v *virtual, sql string, e *effect, seq byte) error {
	set := e.set
	switch {
	case set.next && s.inTransaction():
		return fault(codeTransactionOpen, stateTransactionOpen, "Transaction characteristics can't be changed while a transaction is in progress")
	case set.next:
		s.nextTx = append(s.nextTx, string([]byte(sql)))
		return s.ok(seq+1, wire.OK{})
	case set.pin != "":
		return fault(codeNotSupported, stateSyntax, "sidewire: this SET cannot be carried over the shards of a sharded database; only literal values can")
	case len(set.changes) == 0 && len(set.learn) == 0:
		return fault(codeNotSupported, stateSyntax, "sidewire: SET GLOBAL is not served on a sharded database; run it on each server")
	}
	defer s.finish()
	for _, c := range set.changes {
		if c.name == "autocommit" && s.inTransaction() && c.value != "0" {
			if err := s.endTransaction("COMMIT", true); err != nil {
				return err
			}
		}
	}
	target := v.db.Rules.Default
	if len(s.holds) > 0 {
		target = s.holds[0].target
	}
	j := &job{v: v, seq: seq, effect: e, needs: needs{role: cluster.Primary}, cmd: wire.ComQuery,
		request: func(*backend, *plan.Route) ([]byte, error) {
			p := append([]byte{0, 0, 0, 0, byte(wire.ComQuery)}, sql...)
			return frame(p), nil
		}}
	s.exec.Key = value.Value{}
	err := s.oneRoute(j, &plan.Route{Target: target})
	if err != nil || s.answer.err != nil {
		return err
	}
	s.learnMode()
	if h := s.holdOf(target); h != nil {
		s.keep(h.b, set)
	}
	return nil
}

// writeAll runs a statement that changes rows, or structure, on several shards. Rows change on all of them or, as long
// as no shard is lost between its last two answers, on none: they are changed inside a transaction.
func (s *session) writeAll(j *job, st *plan.Statement) error {
	x := &s.exec
	own, mark := false, false
	if st.Kind == plan.Write {
		switch {
		case s.inTransaction():
			mark = true
		case s.status.Has(wire.StatusAutocommit):
			own, s.tx = true, transaction{open: true, begin: "BEGIN", next: s.nextTx}
		default: // the client ends what begins here
			mark, s.tx = true, transaction{open: true, begin: "BEGIN"}
		}
	}
	marked := map[int]bool{}
	ok, err := s.writeRoutes(j, x, mark, marked)
	if err != nil {
		if own {
			s.endTransaction("ROLLBACK", false)
		} else if mark && s.inTransaction() && refused(err) {
			if rerr := s.everywhere("ROLLBACK TO SAVEPOINT "+markName, func(h *hold) bool { return marked[h.target] }); rerr != nil {
				err = rerr
			}
		}
		if !own && !mark && refused(err) {
			return fmt.Errorf("sidewire: it ran on some shards before it failed on one: %w", err)
		}
		return err
	}
	if own {
		if err := s.endTransaction("COMMIT", true); err != nil {
			return err
		}
	}
	if n, is := x.Key.Integer(); is && !x.Key.IsNull() {
		ok.InsertID = uint64(n)
	}
	if ok.InsertID != 0 && !j.numbered {
		s.insertID = ok.InsertID
	}
	s.finish()
	err = s.ok(j.seq+1, ok)
	s.warnings = ok.Warnings
	return err
}

// markName is the savepoint that a statement over several shards can be taken back to.
const markName = "sidewire_statement"

// writeRoutes runs the routes. With mark it sets a savepoint on each connection first, and notes in marked where it did.
func (s *session) writeRoutes(j *job, x *plan.Execution, mark bool, marked map[int]bool) (ok wire.OK, err error) {
	info := ""
	for i := range x.Routes {
		r := &x.Routes[i]
		h, err := s.join(j.v, r.Target, j.needs)
		if err != nil {
			if h != nil {
				err = s.broke(h, err, j, false)
			}
			return ok, lastTry(err)
		}
		if err := s.stopClock(j, h); err != nil {
			return ok, lastTry(s.broke(h, err, j, false))
		}
		if mark && !marked[r.Target] {
			if _, err := h.b.query("SAVEPOINT " + markName); err != nil {
				return ok, lastTry(s.broke(h, err, j, true))
			}
			marked[r.Target] = true
		}
		part, err := s.writeOn(h, j, r)
		if err != nil {
			return ok, lastTry(s.broke(h, err, j, true))
		}
		if x.Affected == plan.Sum || i == 0 {
			ok.AffectedRows += part.AffectedRows
			if x.Affected == plan.First {
				info = string(part.Info)
			} else {
				info = joinInfo(info, infoOf(j, r, &part))
			}
			if err := s.collect(h.b, part.Warnings, j.v.names, false); err != nil {
				return ok, lastTry(s.broke(h, err, j, true))
			}
		}
		if ok.InsertID == 0 || x.Last == i {
			ok.InsertID = part.InsertID
		}
	}
	ok.Info, ok.Warnings = []byte(info), s.warned.packets()
	return ok, nil
}

// infoOf is what a shard says of its part. Of the single row of an INSERT servers say nothing, but the whole has several.
func infoOf(j *job, r *plan.Route, part *wire.OK) string {
	if len(part.Info) > 0 || j.effect.verb != scan.Insert && j.effect.verb != scan.Replace {
		return string(part.Info)
	}
	duplicates := part.AffectedRows / 2 // a row that took another's place counts twice
	if part.AffectedRows == 0 && containsFold(r.SQL[:min(len(r.SQL), 64)], "ignore") {
		duplicates = 1
	}
	return fmt.Sprintf("Records: 1  Duplicates: %d  Warnings: %d", duplicates, part.Warnings)
}

// lastTry words the wish to try again for a statement that is not tried again.
func lastTry(err error) error {
	if errors.Is(err, errAgain) {
		return fault(codeLostConnection, stateGeneral, "sidewire: a shard was lost before the statement ran; nothing was changed")
	}
	return err
}

// writeOn runs a route whose answer is an OK.
func (s *session) writeOn(h *hold, j *job, r *plan.Route) (ok wire.OK, err error) {
	if err := s.wait(h.b); err != nil {
		return ok, err
	}
	defer s.waited(h.b)
	p, err := j.request(h.b, r)
	if err != nil {
		return ok, err
	}
	if _, err := h.b.write(p); err != nil {
		h.b.broken = true
		return ok, err
	}
	var reply wire.Reply
	reply.Begin(j.cmd, h.b.caps, 1)
	var failed *wire.Error
	gtid := ""
	for !reply.Done() {
		ev, err := h.b.next(&reply)
		if err == nil {
			switch ev {
			case wire.EventOK:
				if gtid, err = gtidOf(reply.Packet, h.b.caps); err != nil {
					break
				}
				ok, err = wire.DecodeOK(reply.Packet, h.b.caps)
				ok.Info, ok.Track = bytes.Clone(ok.Info), nil
				h.open = ok.Status.Has(wire.StatusInTransaction)
				ok.Status = 0
			case wire.EventErr:
				failed, err = wire.DecodeErr(reply.Packet)
			}
		}
		if err != nil {
			h.b.broken = true
			return ok, err
		}
	}
	h.b.finish()
	if failed != nil {
		if failed.Code == codeDeadlock || failed.Code == codeLockWait {
			s.learnOpen(h)
		}
		return ok, failed
	}
	s.wrote(h.b, gtid)
	s.unloggedOn(h, gtid, ok.AffectedRows > 0)
	return ok, nil
}

// use serves USE and COM_INIT_DB: a virtual database is the session's own affair, another one is asked of the cluster.
func (s *session) use(sql string, seq byte) error {
	l := scan.Lexer{Text: sql, Mode: s.mode}
	l.Next()
	t := l.Next()
	name := scan.Unquote(sql[t.Start:t.End])
	return s.enterDatabase(string([]byte(name)), seq)
}

func (s *session) enterDatabase(name string, seq byte) error {
	if v := s.handler.virtual(s.terms, name); v != nil {
		if s.lease != nil {
			return fault(codeNotSupported, stateSyntax, "sidewire: the session holds a connection of another database (%s); end that first", s.holding())
		}
		s.virtual, s.database = name, name
		return s.ok(seq+1, wire.OK{})
	}
	if s.terms.block.Cluster == "" {
		return fault(codeUnknownDatabase, stateSyntax, "Unknown database '%s'", name)
	}
	if len(s.holds) > 0 || s.inTransaction() {
		return fault(codeNotSupported, stateSyntax, "sidewire: a transaction is open on database '%s'; end it first", s.database)
	}
	before := s.virtual
	s.virtual = ""
	p := append([]byte{0, 0, 0, 0, byte(wire.ComInitDB)}, name...)
	frame(p)
	n := s.present()
	n.database = ""
	if err := s.run(p, p[wire.HeaderLen:], seq, n, &effect{class: scan.Session, accounted: true}); err != nil || s.answer.err != nil {
		s.virtual = before
		return err
	}
	return nil
}

func (s *session) holding() string {
	if s.pins.any() {
		return s.pins.String()
	}
	return "a transaction"
}
