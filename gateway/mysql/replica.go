package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/scan"
)

// Reads says where statements that only read may go.
type Reads struct {
	From        string          `yaml:"from" enum:"primary|replicas" doc:"Who serves statements that only read, outside transactions that write." default:"primary"`
	Consistency string          `yaml:"consistency" enum:"eventual|session|sidewire|global" doc:"What a replica must have before it serves: anything, what the session wrote, what went through this sidewire, all that the primary has (which is asked each time)." default:"sidewire"`
	Wait        config.Duration `yaml:"wait" doc:"How long a replica may take to catch up before the primary serves instead." default:"100ms"`
	MaxLag      config.Duration `yaml:"max_lag" doc:"Replicas further behind do not serve; 0: no limit." default:"10s"`
}

// Levels of consistency.
const (
	fromReplicas = "replicas"
	eventual     = "eventual"
	ofSession    = "session"
	global       = "global"
)

// position is how far replication must have come: the transactions of each origin, a server's or a group's UUID on MySQL, a domain on
// MariaDB. The zero value is the beginning. Within a domain of MariaDB's the newest one stands for all before it. MySQL's replicas may
// apply out of order, and the members of a group number theirs from blocks of their own, so there the first and the last of each
// run of numbers is kept, and a replica must have them all.
type position struct {
	list []origin
}

type origin struct {
	name   string // "uuid" or "domain"
	detail string // MariaDB: the server's number within the domain
	first  uint64 // MariaDB: 0
	seq    uint64
}

// Bounds of what is kept of one of MySQL's origins. Numbers closer than maxGap are of one run: those between them are somebody else's
// transactions, which the primary has too. More runs than maxRuns become one, which a replica may never have; then the primary serves.
const (
	maxGap  = 1 << 14
	maxRuns = 8
)

// parsePosition reads what a server tells of a transaction: MySQL's "uuid:23", "uuid:20-23:30" or "uuid:tag:23", several by commas, or
// MariaDB's "domain-server-seq".
func parsePosition(text string, mariaDB bool) (p position, ok bool) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if mariaDB {
			f := strings.Split(part, "-")
			if len(f) != 3 {
				return position{}, false
			}
			n, err := strconv.ParseUint(f[2], 10, 64)
			if err != nil {
				return position{}, false
			}
			p = p.join(position{[]origin{{name: f[0], detail: f[1], seq: n}}})
			continue
		}
		name, runs, _ := strings.Cut(part, ":")
		if runs == "" {
			return position{}, false
		}
		for run := range strings.SplitSeq(runs, ":") {
			if run != "" && (run[0] < '0' || run[0] > '9') { // a tag
				name, _, _ = strings.Cut(part, ":")
				name += ":" + run
				continue
			}
			first, last, several := strings.Cut(run, "-")
			if !several {
				last = first
			}
			lo, err := strconv.ParseUint(first, 10, 64)
			hi, err2 := strconv.ParseUint(last, 10, 64)
			if err != nil || err2 != nil || lo == 0 || hi < lo {
				return position{}, false
			}
			p = p.join(position{[]origin{{name: name, first: lo, seq: hi}}})
		}
	}
	return p, len(p.list) > 0
}

// join is what both ask for. Neither is changed.
func (p position) join(q position) position {
	if q.within(p) {
		return p
	}
	list := append([]origin(nil), p.list...)
	for _, o := range q.list {
		list = o.into(list)
	}
	return position{list}
}

// into adds a run to a list, of which it may change the elements.
func (o origin) into(list []origin) []origin {
	runs, nearest := 0, -1
	for i := range list {
		x := &list[i]
		if x.name != o.name {
			continue
		}
		if o.first == 0 || o.first <= x.seq+maxGap && x.first <= o.seq+maxGap {
			if o.seq > x.seq {
				x.seq, x.detail = o.seq, o.detail
			}
			x.first = min(x.first, o.first)
			return list
		}
		runs, nearest = runs+1, i
	}
	if runs >= maxRuns {
		x := &list[nearest]
		x.first, x.seq = min(x.first, o.first), max(x.seq, o.seq)
		return list
	}
	return append(list, o)
}

// within reports whether q has come as far as p.
func (p position) within(q position) bool {
next:
	for _, o := range p.list {
		for _, x := range q.list {
			if x.name == o.name && x.first <= o.first && o.seq <= x.seq {
				continue next
			}
		}
		return false
	}
	return true
}

func (p position) text(mariaDB bool) string {
	var b strings.Builder
	for i, o := range p.list {
		if i > 0 {
			b.WriteByte(',')
		}
		if mariaDB {
			fmt.Fprintf(&b, "%s-%s-%d", o.name, o.detail, o.seq)
		} else {
			fmt.Fprintf(&b, "%s:%d-%d", o.name, o.first, o.seq)
		}
	}
	return b.String()
}

// written is what went through this process to a cluster.
type written struct {
	mu    sync.Mutex
	upTo  position
	blind bool                            // something was written and no server said as what
	has   map[*cluster.Endpoint]position  // what replicas were seen to have
	late  map[*cluster.Endpoint]time.Time // until when replicas that were waited for in vain are not waited for again
}

func (w *written) saw(p position) {
	w.mu.Lock()
	w.upTo = w.upTo.join(p)
	w.mu.Unlock()
}

func (w *written) need() (p position, blind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.upTo, w.blind
}

// told reports whether a server has ever told what it wrote.
func (w *written) told() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.upTo.list) > 0
}

func (w *written) at(e *cluster.Endpoint) position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.has[e]
}

func (w *written) reached(e *cluster.Endpoint, p position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.has == nil {
		w.has = map[*cluster.Endpoint]position{}
	}
	w.has[e] = w.has[e].join(p)
	delete(w.late, e)
}

// missed notes that a replica was waited for in vain: until then every read would only lose the same time.
func (w *written) missed(e *cluster.Endpoint, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.late == nil {
		w.late = map[*cluster.Endpoint]time.Time{}
	}
	w.late[e] = until
}

// worth reports whether a replica has a position, or may be waited for to have it.
func (w *written) worth(e *cluster.Endpoint, p position, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !now.Before(w.late[e]) || p.within(w.has[e])
}

// wrote notes the transaction that an answer told of, before the client learns of it: from then on a read anywhere in this process may
// expect to see it.
func (s *session) wrote(b *backend, gtid string) {
	if gtid == "" {
		return
	}
	u := b.pool.up
	p, ok := parsePosition(gtid, b.mariaDB)
	if !ok {
		u.unseen(gtid)
		return
	}
	if s.written == nil {
		s.written = map[*upstream]position{}
	}
	s.written[u] = s.written[u].join(p)
	u.written.saw(p)
}

// gtidOf is the transaction that an OK tells of; empty: none.
func gtidOf(p []byte, caps wire.Capability) (string, error) {
	ok, err := wire.DecodeOK(p, caps)
	if err != nil || !ok.Status.Has(wire.StatusSessionChanged) {
		return "", err
	}
	var a answer
	err = a.track(&ok, tracking{})
	return a.gtid, err
}

// unloggedOn is unlogged for a connection to a shard: gtid is what its answer told of, changed that rows changed.
func (s *session) unloggedOn(h *hold, gtid string, changed bool) {
	h.wrote = h.wrote || changed
	if gtid != "" {
		h.wrote = false
	} else if h.wrote && !h.open {
		h.wrote = false
		h.b.pool.up.unseen("")
	}
}

// unlogged looks for a write of which the server told nothing: an answer's, or a transaction's when it ends.
func (s *session) unlogged(b *backend, e *effect) {
	a := &s.answer
	u := b.pool.up
	open := s.status.Has(wire.StatusInTransaction)
	opaque := e.multi || e.verb == scan.Call || e.verb == scan.Execute || e.verb == scan.Do
	switch {
	case a.gtid != "":
		s.changed = false
		return
	case e.class == scan.Write && !opaque && a.affected > 0, e.class == scan.Write && opaque && !u.written.told():
		// A temporary table's rows are in no log. On a server that has told of transactions before, no word means no transaction.
		s.changed = s.changed || len(s.temporary) == 0 || !u.written.told()
	case e.ends && !e.commits:
		s.changed = false
	}
	if s.changed && !open {
		s.changed = false
		u.unseen("")
	}
}

// unseen notes a write of which nothing is known that a replica could be asked for: the primary serves all reads from
// then on.
func (u *upstream) unseen(said string) {
	w := &u.written
	w.mu.Lock()
	first := !w.blind
	w.blind = true
	w.mu.Unlock()
	if first && u.block().Reads.From == fromReplicas && u.block().Reads.Consistency != eventual {
		u.host.Log().Warn("replicas serve no reads: the primary does not tell what it wrote; turn its binary log and GTIDs on",
			"cluster", u.cluster.Name(), "told", said)
	}
}

// readable reports whether a statement may go to a replica: it reads tables and does nothing else, and nothing that the
// session did binds it to the primary.
func (s *session) readable(e *effect) bool {
	if s.status.Has(wire.StatusInTransaction) || !s.status.Has(wire.StatusAutocommit) || s.pins.any() || s.tx.open {
		return false
	}
	if e.multi || e.pin != "" || e.insertID || e.counts || e.diagnoses {
		return false
	}
	if e.hinted && s.virtual == "" {
		return false // the one hint that means something without rules asks for the primary
	}
	if e.readOnly {
		return true
	}
	switch e.verb {
	case scan.Select, scan.With, scan.Values, scan.Table:
		return e.class == scan.Read && e.tables
	}
	return false
}

// errElsewhere means that a replica refused a statement because it writes, or the session's state because it does not know
// the database yet: it runs on the primary.
var errElsewhere = errors.New("the replica refused")

// writes reports whether a server refused a statement because the server takes no writes.
func writes(e *wire.Error) bool {
	return e.Code == codeReadOnly || e.Code == codeReadOnlyTransaction || e.Code == codeReadOnlyMode
}

// leaseRead takes a connection to a replica that has what must be seen; nil when the primary is to serve.
func (u *upstream) leaseRead(ctx context.Context, w *want, session uint64, own position) (*backend, error) {
	reads := &u.block().Reads
	if reads.From != fromReplicas {
		return nil, nil
	}
	need, blind := own, false
	switch reads.Consistency {
	case eventual:
		need = position{}
	case ofSession:
		_, blind = u.written.need()
	case global:
		var known bool
		if need, known = u.standing(ctx, w, session); !known {
			return nil, nil
		}
	default:
		need, blind = u.written.need()
	}
	if blind {
		return nil, nil
	}
	e := u.replica(reads, need)
	if e == nil {
		return nil, nil
	}
	if w.last != nil && w.last.pool.endpoint != e {
		w.last = nil
	}
	var b *backend
	if w.last != nil && w.last.pool.up == u && w.last.pool.retake(w) {
		b = w.last
	} else {
		var err error
		if b, err = u.pool(e).get(ctx, w); err != nil || b == nil {
			return nil, nil // the primary says what is wrong, if it is more than this replica
		}
	}
	b.begin(session, w.now)
	if need.within(u.written.at(e)) {
		return b, nil
	}
	if !u.caughtUp(ctx, b, need, reads.Wait.Std()) {
		u.stale.Inc()
		now := u.host.Now()
		u.written.missed(e, now.Add(lateFor*reads.Wait.Std()))
		b.pool.give(b, now)
		return nil, nil
	}
	u.written.reached(e, need)
	return b, nil
}

// standing is what the primary has by now; false when it does not say, and is to serve itself.
func (u *upstream) standing(ctx context.Context, w *want, session uint64) (position, bool) {
	p := *w
	p.role, p.last = cluster.Primary, nil
	b, err := u.lease(ctx, &p, session)
	if err != nil || b == nil {
		return position{}, false
	}
	sql := "SELECT @@global.gtid_executed"
	if b.mariaDB {
		sql = "SELECT @@global.gtid_current_pos"
	}
	stop := context.AfterFunc(ctx, b.conn.Interrupt)
	rows, err := b.query(sql)
	if !stop() {
		b.broken = true
	}
	broken, mariaDB := b.broken, b.mariaDB
	b.pool.give(b, u.host.Now())
	if err != nil || broken || len(rows) != 1 {
		return position{}, false
	}
	return parsePosition(rows[0][0], mariaDB)
}

// lateFor is for how many times its patience a replica that did not catch up in time is left alone.
const lateFor = 5

// replica chooses a replica that is not too far behind; nil when none is left.
func (u *upstream) replica(reads *Reads, need position) *cluster.Endpoint {
	var avoid *cluster.Endpoint
	for range 3 {
		e, err := u.cluster.Pick(cluster.Want{Role: cluster.Replica, Avoid: avoid, MaxLag: reads.MaxLag.Std()})
		if err != nil || !e.Healthy() {
			return nil
		}
		if !u.written.worth(e, need, u.host.Now()) {
			u.stale.Inc()
		} else if st := e.State(); st != nil && (st.Detail["io"] == "" || st.Detail["sql"] == "Yes") {
			return e
		}
		avoid = e
	}
	return nil
}

// caughtUp waits until a replica has a position.
func (u *upstream) caughtUp(ctx context.Context, b *backend, p position, patience time.Duration) bool {
	seconds := strconv.FormatFloat(patience.Seconds(), 'f', 3, 64)
	sql := "SELECT WAIT_FOR_EXECUTED_GTID_SET('" + p.text(false) + "', " + seconds + ")"
	if b.mariaDB {
		sql = "SELECT MASTER_GTID_WAIT('" + p.text(true) + "', " + seconds + ")"
	}
	stop := context.AfterFunc(ctx, b.conn.Interrupt)
	rows, err := b.query(sql)
	if !stop() {
		b.broken = true
		return false
	}
	return err == nil && len(rows) == 1 && len(rows[0]) == 1 && rows[0][0] == "0"
}
