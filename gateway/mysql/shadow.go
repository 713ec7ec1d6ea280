package mysql

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/database"
	"github.com/sidewire/sidewire/gateway/telemetry"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/report"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
)

// Bounds of what waits for a shadow's planner: statements, and the bytes of one. What does not fit is counted, not waited for.
const (
	shadowQueue = 512
	shadowText  = 64 << 10
	shadowStale = time.Minute // how old what is known of the tables may be
)

// Shadow is the `shadow:` block of a listener.
type Shadow struct {
	Database string `yaml:"database" required:"true" doc:"The virtual database whose rules are tried. Nothing is sent to it."`
	Replaces string `yaml:"replaces" doc:"The existing database that it would take the place of: statements in others are not planned. Empty: of the same name."`
}

func (b *Shadow) replaces() string {
	if b.Replaces != "" {
		return b.Replaces
	}
	return b.Database
}

// shadowed is a statement that has gone its ordinary way.
type shadowed struct {
	sql  string
	mode scan.Mode
	args []value.Value
}

// shadow plans a listener's statements against the rules of a virtual database, beside what happens to them. One goroutine
// does, which ends with the handler.
type shadow struct {
	// Fixed at creation.
	host    *handler
	queue   chan *shadowed
	planned map[report.Fate]*telemetry.Counter
	dropped *telemetry.Counter

	// Owned by the goroutine.
	block Shadow
	db    *database.Database
	asked time.Time

	mu      sync.Mutex // guards what follows
	report  *report.Report
	planner *plan.Planner // nil: nothing was planned yet
}

func newShadow(m *handler) *shadow {
	r := m.host.Metrics()
	d := &shadow{host: m, queue: make(chan *shadowed, shadowQueue), planned: map[report.Fate]*telemetry.Counter{},
		dropped: r.Counter("sidewire_mysql_shadow_dropped_total", "Statements that were not planned beside, because too many waited or they were too long.", "listener", m.name)}
	for _, f := range []report.Fate{report.Keyed, report.Scattered, report.Copied, report.Unsharded, report.Refused} {
		d.planned[f] = r.Counter("sidewire_mysql_shadow_statements_total", "Statements by what the shadow database would do with them.", "listener", m.name, "fate", f.String())
	}
	return d
}

// run plans what comes.
func (d *shadow) run() {
	for {
		select {
		case <-d.host.life.Done():
			return
		case x := <-d.queue:
			d.plan(x)
		}
	}
}

func (d *shadow) plan(x *shadowed) {
	d.refresh()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.report == nil {
		return
	}
	d.planned[d.report.Execute(x.sql, x.mode, x.args)].Inc()
}

// refresh follows the configuration and, now and then, the structure of the tables.
func (d *shadow) refresh() {
	t := d.host.current.Load()
	block := t.block.Shadow
	if block == nil {
		return
	}
	r := d.host.host.Snapshot().Resource(database.Name, block.Database)
	if r == nil {
		return
	}
	db, now := r.Value.(*database.Database), d.host.host.Now()
	if db == d.db && *block == d.block && now.Sub(d.asked) < shadowStale {
		return
	}
	anew := db != d.db || *block != d.block
	d.db, d.block, d.asked = db, *block, now
	p := &plan.Planner{Rules: db.Rules}
	ctx, cancel := context.WithTimeout(d.host.life, learnTimeout)
	defer cancel()
	tables, _, err := d.host.structure(ctx, database.Source{Cluster: t.block.Cluster, Database: block.replaces()})
	if err != nil {
		d.host.host.Log().Warn("learning the structure of tables", "database", block.replaces(), "error", err)
	} else {
		p.Schema = &schema.Schema{Tables: tables}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if anew {
		d.report = report.New(p)
		d.report.Private = true
	} else if err == nil {
		d.report.Plan(p)
	} else {
		return
	}
	d.planner = p
}

// explains is the planner that explains statements on the listener; nil if the rules are not there. Before the first
// statement was planned it knows no tables.
func (d *shadow) explains(block *Shadow) *plan.Planner {
	r := d.host.host.Snapshot().Resource(database.Name, block.Database)
	if r == nil {
		return nil
	}
	rules := r.Value.(*database.Database).Rules
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.planner != nil && d.planner.Rules == rules {
		return d.planner
	}
	return &plan.Planner{Rules: rules}
}

// view is the report as the admin interface shows it.
func (d *shadow) view() any {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.report == nil {
		return map[string]any{"total": 0}
	}
	text, err := json.Marshal(d.report) // now: it goes on counting
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return json.RawMessage(text)
}

// shadow hands a statement to the planner beside, if the listener has one. Its text, and that of its parameters, is copied.
func (s *session) shadow(sql string, args []wire.Param) {
	b := s.terms.block.Shadow
	if b == nil || s.database != b.replaces() {
		return
	}
	d := s.handler.shadow
	size := len(sql)
	for i := range args {
		size += len(args[i].Data)
	}
	if size > shadowText || len(d.queue) == cap(d.queue) {
		d.dropped.Inc()
		return
	}
	x := &shadowed{sql: strings.Clone(sql), mode: s.mode}
	for i := range args {
		v := argument(&args[i])
		v.Str = strings.Clone(v.Str)
		x.args = append(x.args, v)
	}
	select {
	case d.queue <- x:
	default:
		d.dropped.Inc()
	}
}

// shadowExecution hands an execution to the planner beside. What cannot be read the server will complain of.
func (s *session) shadowExecution(p *prepared, x wire.Execute, named *wire.NamedExecute) {
	types := p.types
	if named != nil {
		var err error
		if x, err = named.Plain(p.params, p.isSent); err != nil {
			return
		}
		types = x.Types
	}
	if params, err := x.Params(nil, types, p.isSent); err == nil {
		s.shadow(p.sql, params)
	}
}
