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
	Consistency string          `yaml:"consistency" enum:"eventual|session|sidewire" doc:"What a replica must have before it serves: anything, what the session wrote, what went through this sidewire." default:"sidewire"`
	Wait        config.Duration `yaml:"wait" doc:"How long a replica may take to catch up before the primary serves instead." default:"100ms"`
	MaxLag      config.Duration `yaml:"max_lag" doc:"Replicas further behind do not serve; 0: no limit." default:"10s"`
}

// Levels of consistency.
const (
	fromReplicas = "replicas"
	eventual     = "eventual"
	ofSession    = "session"
)

// position is how far replication must have come: the newest transaction of each origin, a server's UUID on MySQL, a
// domain on MariaDB. The zero value is the beginning.
type position struct {
	list []origin
}

type origin struct {
	name   string // "uuid" or "domain"
	detail string // MariaDB: the server's number within the domain
	seq    uint64
}

// parsePosition reads what a server tells of a transaction: "uuid:23" or "uuid:20-23" (several by commas), or
// "domain-server-seq".
func parsePosition(text string, mariaDB bool) (p position, ok bool) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		var o origin
		var seq string
		if mariaDB {
			f := strings.Split(part, "-")
			if len(f) != 3 {
				return position{}, false
			}
			o.name, o.detail, seq = f[0], f[1], f[2]
		} else {
			i := strings.LastIndexByte(part, ':')
			if i < 0 {
				return position{}, false
			}
			o.name, seq = part[:i], part[i+1:]
			if j := strings.LastIndexByte(seq, '-'); j >= 0 {
				seq = seq[j+1:]
			}
		}
		n, err := strconv.ParseUint(seq, 10, 64)
		if err != nil {
			return position{}, false
		}
		o.seq = n
		p.list = append(p.list, o)
	}
	return p, true
}

// join is the later of both, origin by origin. Neither is changed.
func (p position) join(q position) position {
	if q.within(p) {
		return p
	}
	list := append([]origin(nil), p.list...)
next:
	for _, o := range q.list {
		for i := range list {
			if list[i].name == o.name {
				if o.seq > list[i].seq {
					list[i] = o
				}
				continue next
			}
		}
		list = append(list, o)
	}
	return position{list}
}

// within reports whether q has come as far as p.
func (p position) within(q position) bool {
next:
	for _, o := range p.list {
		for _, x := range q.list {
			if x.name == o.name {
				if x.seq < o.seq {
					return false
				}
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
			fmt.Fprintf(&b, "%s:%d", o.name, o.seq)
		}
	}
	return b.String()
}

// written is what went through this process to a cluster.
type written struct {
	mu    sync.Mutex
	upTo  position
	blind bool                           // something was written and no server said as what
	has   map[*cluster.Endpoint]position // what replicas were seen to have
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
}

// wrote notes what an answer says of the transaction that it ended, before the client learns of it: from then on a read
// anywhere in this process may expect to see it.
func (s *session) wrote(b *backend) {
	a := &s.answer
	if a.gtid == "" {
		return
	}
	p, ok := parsePosition(a.gtid, b.mariaDB)
	if !ok {
		b.pool.up.unseen(a.gtid)
		return
	}
	s.written = s.written.join(p)
	b.pool.up.written.saw(p)
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

// errElsewhere means that a replica refused a statement because it writes: it runs on the primary.
var errElsewhere = errors.New("the replica refused to write")

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
	default:
		need, blind = u.written.need()
	}
	if blind {
		return nil, nil
	}
	e := u.replica(reads)
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
	b.begin(session)
	if need.within(u.written.at(e)) {
		return b, nil
	}
	if !u.caughtUp(ctx, b, need, reads.Wait.Std()) {
		u.stale.Inc()
		b.pool.give(b)
		return nil, nil
	}
	u.written.reached(e, need)
	return b, nil
}

// replica chooses a replica that is not too far behind; nil when none is left.
func (u *upstream) replica(reads *Reads) *cluster.Endpoint {
	var avoid *cluster.Endpoint
	for range 3 {
		e, err := u.cluster.Pick(cluster.Want{Role: cluster.Replica, Avoid: avoid})
		if err != nil || !e.Healthy() {
			return nil
		}
		if st := e.State(); st != nil && (st.Detail["io"] == "" || st.Detail["sql"] == "Yes") && (reads.MaxLag <= 0 || e.Lag() <= reads.MaxLag.Std()) {
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
