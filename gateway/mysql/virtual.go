package mysql

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/database"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/keygen"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
)

const (
	// planBytes bounds the plans that one virtual database keeps.
	planBytes = 16 << 20
	// learnTimeout bounds the question for the tables' structure, learnAgain how soon a failed one is asked again.
	learnTimeout = 15 * time.Second
	learnAgain   = 2 * time.Second
)

// virtual is a virtual database at work: its rules, what is known of its tables, and its plans.
type virtual struct {
	// Fixed at creation.
	db    *database.Database
	host  *handler
	cache *plan.Cache
	keys  plan.KeySource
	names *names

	planner atomic.Pointer[plan.Planner]
	known   atomic.Bool // the planner knows the tables' structure
	tried   atomic.Bool // it was asked for since the last change
	uneven  atomic.Pointer[uneven]

	mu    sync.Mutex // guards what follows
	asked time.Time  // when the structure was asked for last
}

// newKeys makes the process's source of generated keys: one for all virtual databases, since sequences of one worker
// must not be drawn twice.
func newKeys() *keygen.Source {
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	return keygen.New(keygen.Worker(name, os.Getenv("POD_NAME"), os.Getenv("POD_IP")), time.Now, pause, rand.Reader)
}

// pause waits for the clock: a generator of keys whose clock ran backwards, or whose millisecond is full, has nothing else
// to wait for.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

// virtual finds a virtual database that this listener serves; nil when name is none.
func (m *handler) virtual(t *terms, name string) *virtual {
	if !t.databases[name] {
		return nil
	}
	r := m.host.Snapshot().Resource(database.Name, name)
	if r == nil {
		return nil
	}
	d := r.Value.(*database.Database)
	if v, ok := m.virtuals.Load(name); ok && v.(*virtual).db == d {
		return v.(*virtual)
	}
	v := &virtual{db: d, host: m, cache: plan.NewCache(planBytes), keys: m.worker(d), names: newNames(d)}
	v.planner.Store(&plan.Planner{Rules: d.Rules, Schema: &schema.Schema{}})
	m.virtuals.Store(name, v)
	return v
}

// place is where a target's rows are.
func (v *virtual) place(target int) database.Source {
	return v.db.Sources[v.db.Rules.Targets[target].Write.Name]
}

// plans is the planner to use now. The first statement learns the tables' structure; without it fewer statements can be
// planned, and reads go to more shards, which is why a server that cannot be asked is no error here. Others do not wait while it is learnt again.
func (v *virtual) plans(ctx context.Context) *plan.Planner {
	if v.known.Load() {
		return v.planner.Load()
	}
	if v.tried.Load() {
		if !v.mu.TryLock() {
			return v.planner.Load()
		}
	} else {
		v.mu.Lock()
	}
	defer v.mu.Unlock()
	now := v.host.host.Now()
	if v.known.Load() || now.Sub(v.asked) < learnAgain {
		return v.planner.Load()
	}
	v.asked = now
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	if s, err := v.learn(ctx); err != nil {
		v.host.host.Log().Warn("learning the structure of tables", "database", v.db.Name, "error", err)
	} else {
		v.known.Store(true)
		v.planner.Store(&plan.Planner{Rules: v.db.Rules, Schema: s})
	}
	v.tried.Store(true)
	return v.planner.Load()
}

// forget makes the next statement learn the structure again, after it changed.
func (v *virtual) forget() {
	v.mu.Lock()
	v.known.Store(false)
	v.tried.Store(false) // the next statement is likely to need the new structure: it waits
	v.asked = time.Time{}
	v.mu.Unlock()
}

// mode is the sql_mode that its servers begin with, as far as it changes how a text is read.
func (v *virtual) mode() scan.Mode {
	if u, _ := v.host.host.Upstream(v.place(v.db.Rules.Default).Cluster).(*upstream); u != nil {
		return scan.Mode(u.mode.Load())
	}
	return 0
}

// lacks notes that a statement named a table whose structure is not known: one that was made behind sidewire's back.
func (v *virtual) lacks(st *plan.Statement) {
	if st.Unknown() {
		v.known.Store(false)
	}
}

func (v *virtual) learn(ctx context.Context) (*schema.Schema, error) {
	physical := map[string]schema.Physical{}
	var first habits
	var u *uneven
	for i, t := range v.db.Rules.Targets {
		p, h, err := v.host.structure(ctx, v.place(i))
		if err != nil {
			return nil, err
		}
		physical[t.Name] = p
		if i == 0 {
			first = h
		} else if u == nil {
			u = first.differ(h, v.db.Rules.Targets[0].Name, t.Name)
		}
	}
	v.uneven.Store(u)
	return schema.Join(v.db.Rules, physical), nil
}

// structure asks a server for the structure of a physical database, and for its habits.
func (m *handler) structure(ctx context.Context, at database.Source) (schema.Physical, habits, error) {
	u, _ := m.host.Upstream(at.Cluster).(*upstream)
	if u == nil {
		return nil, nil, cluster.ErrClosed
	}
	b, err := u.lease(ctx, &want{role: cluster.Primary, class: class{collation: wire.CollationUTF8MB4}, settings: noSettings}, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { b.pool.give(b, u.host.Now()) }()
	stop := context.AfterFunc(ctx, b.conn.Interrupt)
	defer func() {
		if !stop() {
			b.broken = true
		}
	}()
	q := schema.Queries(at.Database)
	columns, err := b.query(q[0])
	if err != nil {
		return nil, nil, err
	}
	keys, err := b.query(q[1])
	if err != nil {
		return nil, nil, err
	}
	h, err := b.query("SELECT " + habitExprs)
	if err != nil || len(h) != 1 || len(h[0]) != len(habitNames) {
		return nil, nil, errors.Join(err, wire.ErrMalformed)
	}
	p, err := schema.Learn(columns, keys)
	return p, h[0], err
}
