package telemetry

import (
	"sync"
	"sync/atomic"
	"time"
)

// Statement is what a session tells about one statement that ended. A session keeps one and fills it again and again, so that
// telling costs no memory.
type Statement struct {
	System    string // OpenTelemetry's db.system.name: mysql, mariadb
	Namespace string // the database
	Operation string // SELECT; of a bounded vocabulary
	Endpoint  string // the one server that answered, host:port; empty: none, or several
	Code      string // of the answer; empty: success
	Start     time.Time
	Duration  time.Duration
	Upstream  time.Duration // the part of Duration that servers were waited for
	Rows      int64
	Digest    uint64 // equal for statements of one form; 0: the statement has none
	Text      string // as the client sent it; read only while Record runs
	Mode      uint8  // how Text is to be read; the protocol's own
	Prepared  bool   // Text is older than this execution: a traceparent in it is somebody else's

	last     operation // of the one before: a session mostly repeats itself
	measured *measured
}

// Detailer fills in what only the access log, the slow list and spans want to know.
type Detailer interface{ Detail(*Entry) }

// Describer says what a text does without its literals: the sanitised text and a short summary of it.
type Describer func(text string, mode uint8) (sanitised, summary string)

// Tracer makes spans of statements that ended.
type Tracer interface {
	// Wants decides whether a statement gets a span: its own trace's word counts, else a share of statements.
	Wants(parent Parent) bool
	// Span records one. e is valid until Span returns. It returns the trace's id.
	Span(e *Entry, st *Statement, summary string, parent Parent) string
}

// Settings are what an operator chooses about statements.
type Settings struct {
	Slow        time.Duration // from here on a statement is slow; 0: none is
	SlowEntries int           // how many slow statements are kept
	Digests     int           // how many forms of statements are told apart, of each listener
}

// Statements is the place where all listeners' statements are told.
type Statements struct {
	registry *Registry
	access   func() *AccessLog

	settings atomic.Pointer[Settings]
	tracer   atomic.Pointer[Tracer]
	slow     slowList

	mu        sync.Mutex // guards what follows
	recorders map[string]*Recorder
	sources   map[string]func() []DigestView
}

// NewStatements makes the place. access is asked for the log at every statement that may have to be written there.
func NewStatements(r *Registry, access func() *AccessLog) *Statements {
	s := &Statements{registry: r, access: access, recorders: map[string]*Recorder{}, sources: map[string]func() []DigestView{}}
	s.Configure(Settings{Slow: 200 * time.Millisecond, SlowEntries: 100, Digests: 200})
	return s
}

// Configure changes the settings; what was counted stays.
func (s *Statements) Configure(c Settings) {
	s.settings.Store(&c)
	s.slow.resize(c.SlowEntries)
}

// Settings are those in force.
func (s *Statements) Settings() Settings { return *s.settings.Load() }

// Trace has statements that t wants become spans; nil ends that.
func (s *Statements) Trace(t Tracer) {
	if t == nil {
		s.tracer.Store(nil)
		return
	}
	s.tracer.Store(&t)
}

// Traced says whether anybody makes spans.
func (s *Statements) Traced() bool { return s.tracer.Load() != nil }

// Join makes a span of a request of a protocol that has no statements, in the trace that its application named. It returns the
// trace's id; empty when nobody wanted it.
func (s *Statements) Join(e *Entry, st *Statement, parent Parent) string {
	t := s.tracer.Load()
	if t == nil || !(*t).Wants(parent) {
		return ""
	}
	return (*t).Span(e, st, "", parent)
}

// Slow are the slowest statements of late, the latest first.
func (s *Statements) Slow() []SlowView { return s.slow.view() }

// NoteSlow adds an entry to the slow list, for protocols that count by themselves.
func (s *Statements) NoteSlow(e *Entry) { s.slow.add(e) }

// Digests are the forms of statements by the time they took, longest first.
func (s *Statements) Digests() []DigestView {
	s.mu.Lock()
	var all []DigestView
	for _, r := range s.recorders {
		all = r.digests.view(all, r)
	}
	sources := make([]func() []DigestView, 0, len(s.sources))
	for _, f := range s.sources {
		sources = append(sources, f)
	}
	s.mu.Unlock()
	for _, f := range sources { // outside the lock: it may wait for an event loop
		all = append(all, f()...)
	}
	sortDigests(all)
	return all
}

// Source adds digests that a protocol counts by itself under a name of its own; nil removes them.
func (s *Statements) Source(name string, f func() []DigestView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		delete(s.sources, name)
		return
	}
	s.sources[name] = f
}

// Recorder is where one listener's sessions tell their statements. Asking again for the same listener returns the same one.
func (s *Statements) Recorder(listener, protocol string, describe Describer) *Recorder {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.recorders[listener]; r != nil && r.protocol == protocol {
		return r
	}
	r := &Recorder{
		statements: s, listener: listener, protocol: protocol, describe: describe,
		inside: s.registry.Histogram("sidewire_inside_seconds", "Time of a statement that sidewire itself took: everything but waiting for servers.",
			OverheadBounds, "listener", listener),
		operations: operations{registry: s.registry, listener: listener},
	}
	r.operations.table.Store(&map[operation]*measured{})
	r.digests.init()
	s.recorders[listener] = r
	return r
}

// Forget drops a listener's digests when it is gone.
func (s *Statements) Forget(listener string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.recorders, listener)
}

// Recorder is one listener's part of Statements.
type Recorder struct {
	// Fixed at creation.
	statements *Statements
	listener   string
	protocol   string
	describe   Describer
	inside     *Histogram

	operations operations
	digests    digests
}

// Record takes note of a statement that ended. by is asked for details only if somebody wants them. It allocates nothing for a
// statement whose like was seen before and that nobody wants to see in full.
func (r *Recorder) Record(st *Statement, by Detailer) {
	r.operations.observe(st)
	r.inside.Observe(max(0, st.Duration-st.Upstream))
	all := r.statements
	settings := all.settings.Load()
	var d *digest
	if st.Digest != 0 {
		d = r.digests.find(st, r.describe, settings.Digests)
		d.add(st)
	}
	slow := settings.Slow > 0 && st.Duration >= settings.Slow
	log := all.access().Wants(st.Duration, st.Code != "")
	tracer := all.tracer.Load()
	var parent Parent
	traced := false
	if tracer != nil {
		if !st.Prepared {
			parent = ParentOf(st.Text)
		}
		traced = (*tracer).Wants(parent)
	}
	if slow || log || traced {
		r.detail(st, by, d, parent, traced, slow, log)
	}
}

// detail is the slow way, for the few statements that are shown in full.
func (r *Recorder) detail(st *Statement, by Detailer, d *digest, parent Parent, traced, slow, log bool) {
	e := Entry{Time: st.Start, Listener: r.listener, Protocol: r.protocol, Database: st.Namespace, Operation: st.Operation, Endpoint: st.Endpoint,
		Code: st.Code, Duration: st.Duration, Upstream: st.Upstream, Rows: st.Rows}
	summary := st.Operation
	switch {
	case d != nil && d.text != "":
		e.Digest, summary = d.text, d.summary
	case st.Text != "":
		e.Digest, summary = r.describe(st.Text, st.Mode)
	}
	by.Detail(&e)
	if parent.Valid() {
		e.TraceID = parent.TraceID()
	}
	if traced {
		if t := r.statements.tracer.Load(); t != nil {
			e.TraceID = (*t).Span(&e, st, summary, parent)
		}
	}
	if slow {
		r.statements.slow.add(&e)
	}
	if log {
		r.statements.access().Log(&e)
	}
}
