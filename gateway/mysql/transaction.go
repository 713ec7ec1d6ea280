package mysql

import (
	"fmt"
	"strings"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
)

// hold is a connection to one target of a virtual database, while the session holds it.
type hold struct {
	target  int
	b       *backend
	begun   bool         // the session's transaction was begun there
	open    bool         // its server says that a transaction is open
	wrote   bool         // rows changed in that transaction
	source  *shardSource // whose rows are being read from it
	stopped bool         // its clock stands at a statement's instant
	once    bool         // SET TRANSACTION went there for one statement alone
}

// transaction is a session's transaction over the shards of a virtual database. It is begun on a shard when the first
// statement goes there.
type transaction struct {
	open       bool
	begin      string   // the text that begins it
	next       []string // SET TRANSACTION, for it alone
	savepoints []savepoint
}

type savepoint struct{ name, sql string }

// join returns the session's connection to a target, brought to the session's state and into its transaction.
func (s *session) join(v *virtual, target int, n needs) (*hold, error) {
	h := s.holdOf(target)
	if h == nil {
		at := v.place(target)
		u, _ := s.handler.host.Upstream(at.Cluster).(*upstream)
		if u == nil {
			return nil, fault(codeNoServer, stateRejected, "sidewire: cluster %q is gone", at.Cluster)
		}
		if err := s.room(u, n.role); err != nil {
			return nil, err
		}
		w := want{role: n.role, class: s.class().plain(), within: len(s.holds) > 0 && s.inTransaction(), settings: s.settings, database: at.Database, now: s.now, sources: len(v.db.Sources)}
		if s.lastOf != nil {
			if l := s.lastOf[target]; l.b != nil {
				w.last, w.uses = l.b, l.uses
			}
		}
		var b *backend
		var err error
		if n.role == cluster.Replica && !s.inTransaction() {
			r := w
			r.last = nil
			b, err = u.leaseRead(s.ctx, &r, uint64(s.id), s.written[u])
		}
		if b == nil && err == nil {
			w.role = cluster.Primary
			b, err = u.lease(s.ctx, &w, uint64(s.id))
		}
		if err != nil {
			return nil, err
		}
		h = &hold{target: target, b: b}
		s.holds = append(s.holds, h)
		s.remember(target, b)
	}
	n.database, n.settings = v.place(target).Database, s.settings
	if err := s.wait(h.b); err != nil {
		return nil, err
	}
	defer s.waited(h.b)
	if err := s.apply(h.b, n); err != nil {
		return h, err
	}
	if s.tx.open && !h.begun {
		if err := s.beginOn(h); err != nil {
			return h, err
		}
	}
	if !s.inTransaction() && !h.once {
		for _, sql := range s.nextTx {
			h.once = true
			if _, err := h.b.query(sql); err != nil {
				return h, err
			}
		}
	}
	return h, nil
}

// onlyOnce makes SET TRANSACTION count for the statement that begins: with autocommit for it alone, else for the transaction
// that it opens. What it returns is to be called when the statement has ended.
func (s *session) onlyOnce() (done func()) {
	if len(s.nextTx) == 0 || s.inTransaction() {
		return func() {}
	}
	if !s.status.Has(wire.StatusAutocommit) {
		s.tx, s.nextTx = transaction{open: true, begin: "BEGIN", next: s.nextTx}, nil
	}
	return func() { s.nextTx = nil }
}

type lastUse struct {
	b    *backend
	uses uint64
}

func (s *session) remember(target int, b *backend) {
	if s.lastOf == nil {
		s.lastOf = map[int]lastUse{}
	}
	s.lastOf[target] = lastUse{b, b.uses}
}

func (s *session) holdOf(target int) *hold {
	for _, h := range s.holds {
		if h.target == target {
			return h
		}
	}
	return nil
}

// beginOn begins the session's transaction on one more shard, with the savepoints that are set.
func (s *session) beginOn(h *hold) error {
	for _, sql := range s.tx.next {
		if _, err := h.b.query(sql); err != nil {
			return err
		}
	}
	if _, err := h.b.query(s.tx.begin); err != nil {
		return err
	}
	h.begun, h.open = true, true
	for _, p := range s.tx.savepoints {
		if _, err := h.b.query(p.sql); err != nil {
			return err
		}
	}
	return nil
}

// inTransaction reports whether the session has a transaction open, on whatever shards.
func (s *session) inTransaction() bool {
	if s.tx.open {
		return true
	}
	for _, h := range s.holds {
		if h.open {
			return true
		}
	}
	return false
}

// finish gives back the connections that nothing holds any more, and says in the session's status whether a
// transaction is open.
func (s *session) finish() {
	s.resumeClocks()
	keep := s.holds[:0]
	for _, h := range s.holds {
		if !h.b.broken && (h.open || h.begun || s.pins.any()) {
			keep = append(keep, h)
			continue
		}
		s.giveHold(h)
	}
	clear(s.holds[len(keep):])
	s.holds = keep
	s.status &^= wire.StatusInTransaction
	if s.inTransaction() {
		s.status |= wire.StatusInTransaction
	}
}

func (s *session) giveHold(h *hold) {
	if h.once && !h.b.broken {
		if _, err := h.b.query("ROLLBACK"); err != nil { // a statement that opened no transaction left it for the next one
			h.b.broken = true
		}
	}
	if h.b.cancelled {
		h.b.broken = true
	}
	h.b.release()
	h.b.pool.give(h.b, s.clock())
}

// oneShard refuses what would make a transaction of changes on several data sources.
func (s *session) oneShard(routes []plan.Route) error {
	target := routes[0].Target
	several := false
	for i := range routes {
		several = several || routes[i].Target != target
	}
	for _, h := range s.holds {
		several = several || h.wrote && h.target != target
	}
	if !several {
		return nil
	}
	return fault(codeNotSupported, stateSyntax, "sidewire: this would change rows on several data sources in one transaction, which the database's setting `transactions: one_shard` refuses; "+
		"give one value of the sharding column, or set best_effort")
}

// endTransaction ends the transaction on every shard with COMMIT or ROLLBACK. A commit over several shards is not atomic: if one
// fails after another succeeded, the error says so.
func (s *session) endTransaction(sql string, commit bool) error {
	var failed error
	done, participants := 0, 0
	var where []string
	for _, h := range s.holds {
		if !h.begun && !h.open {
			continue
		}
		participants++
		if failed != nil && commit && done == 0 {
			sql = "ROLLBACK" // nothing is committed yet: nothing will be
		}
		err := s.wait(h.b)
		if err == nil {
			_, err = h.b.query(sql)
			s.waited(h.b)
		}
		if err != nil {
			where = append(where, h.b.pool.endpoint.Address())
			h.b.broken = true
			if failed == nil {
				failed = err
			}
		} else {
			done++
		}
		h.begun, h.open = false, false
		if commit && err == nil && sql != "ROLLBACK" {
			s.wrote(h.b, h.b.told)
			s.unloggedOn(h, h.b.told, false)
		}
		h.wrote = false
	}
	s.tx = transaction{}
	switch {
	case failed == nil || !commit:
		return nil // what a lost server had open is rolled back by itself
	case participants == 1 && refused(failed):
		return failed
	case participants == 1:
		return fault(codeLostConnection, stateResolution, "sidewire: %s was lost before it answered COMMIT: whether the transaction was committed is unknown", where[0])
	default:
		return fault(codeLostConnection, stateResolution, "sidewire: COMMIT failed on %s (%s); of the %d shards of the transaction %d answered before: it may be committed on some and not on others",
			strings.Join(where, ", "), failed, participants, done)
	}
}

// doom gives up the transaction after a shard of it was lost.
func (s *session) doom() {
	s.endTransaction("ROLLBACK", false)
	s.finish()
}

// transactionStatement serves the statements that begin, end and mark transactions on a virtual database.
func (s *session) transactionStatement(sql string, e *effect, seq byte) error {
	words := strings.Fields(strings.ToLower(strings.TrimRight(strings.TrimSpace(sql), ";")))
	switch {
	case e.verb == scan.Begin || e.verb == scan.Start && len(words) > 1 && words[1] == "transaction":
		if err := s.endTransaction("COMMIT", true); err != nil {
			s.finish()
			return err
		}
		s.tx = transaction{open: true, begin: strings.Clone(sql), next: s.nextTx}
		s.nextTx = nil
	case e.verb == scan.Commit && len(words) == 1 || e.verb == scan.Commit && len(words) == 2 && words[1] == "work":
		err := s.endTransaction("COMMIT", true)
		s.finish()
		s.nextTx = nil
		if err != nil {
			return err
		}
	case e.verb == scan.Rollback && len(words) == 1 || e.verb == scan.Rollback && len(words) == 2 && words[1] == "work":
		s.endTransaction("ROLLBACK", false)
		s.nextTx = nil
	case e.verb == scan.Savepoint && len(words) == 2:
		return s.savepointStatement(sql, words[1], seq)
	case e.verb == scan.Rollback, e.verb == scan.Release:
		if name := words[len(words)-1]; len(words) >= 3 && len(words) <= 4 && (words[1] == "to" || words[1] == "savepoint") {
			return s.toSavepoint(sql, name, e.verb == scan.Release, seq)
		}
		return s.unsupported(sql)
	default:
		return s.unsupported(sql)
	}
	s.finish()
	return s.ok(seq+1, wire.OK{})
}

func (s *session) unsupported(sql string) error {
	if len(sql) > 40 {
		sql = sql[:40] + "..."
	}
	return fault(codeNotSupported, stateSyntax, "sidewire: %q is not served on a sharded database", sql)
}

func (s *session) savepointStatement(sql, name string, seq byte) error {
	if !s.inTransaction() {
		if s.status.Has(wire.StatusAutocommit) {
			return s.ok(seq+1, wire.OK{}) // as a server does outside a transaction: it means nothing
		}
		s.tx = transaction{open: true, begin: "BEGIN"}
	}
	if err := s.everywhere(sql, all); err != nil {
		return err
	}
	s.dropSavepoint(name)
	s.tx.savepoints = append(s.tx.savepoints, savepoint{strings.Clone(name), strings.Clone(sql)})
	return s.ok(seq+1, wire.OK{})
}

func all(*hold) bool { return true }

func (s *session) dropSavepoint(name string) {
	for i, p := range s.tx.savepoints {
		if p.name == name {
			s.tx.savepoints = append(s.tx.savepoints[:i], s.tx.savepoints[i+1:]...)
			return
		}
	}
}

func (s *session) toSavepoint(sql, name string, release bool, seq byte) error {
	at := -1
	for i, p := range s.tx.savepoints {
		if p.name == name {
			at = i
		}
	}
	if at < 0 {
		return fault(codeNoSavepoint, stateSyntax, "SAVEPOINT %s does not exist", name)
	}
	if err := s.everywhere(sql, all); err != nil {
		return err
	}
	if !release {
		at++
	}
	s.tx.savepoints = s.tx.savepoints[:at]
	return s.ok(seq+1, wire.OK{})
}

// everywhere runs a statement on every shard of the transaction that is wanted. If one fails the transaction is given up,
// since the shards would no longer agree.
func (s *session) everywhere(sql string, wanted func(*hold) bool) error {
	for _, h := range s.holds {
		if !h.begun && !h.open || !wanted(h) {
			continue
		}
		err := s.wait(h.b)
		if err == nil {
			_, err = h.b.query(sql)
			s.waited(h.b)
		}
		if err != nil {
			where := h.b.pool.endpoint.Address()
			h.b.broken = h.b.broken || !refused(err)
			s.doom()
			return fault(codeRolledBack, stateRolledBack, "sidewire: the transaction was rolled back: %s", fmt.Errorf("%s: %w", where, err))
		}
	}
	return nil
}
