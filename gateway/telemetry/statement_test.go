package telemetry

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// session stands for whoever told.
type session struct{ asked int }

func (s *session) Detail(e *Entry) {
	s.asked++
	e.User, e.Client = "app", "127.0.0.1:5"
}

func describe(text string, _ uint8) (string, string) {
	verb, _, _ := strings.Cut(text, " ")
	return strings.ReplaceAll(text, "1", "?"), verb
}

func newStatements(t *testing.T) (*Statements, *Recorder) {
	t.Helper()
	s := NewStatements(NewRegistry(), func() *AccessLog { return nil })
	return s, s.Recorder("shop", "mysql", describe)
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func point() Statement {
	return Statement{System: "mysql", Namespace: "shop", Operation: "SELECT", Endpoint: "10.0.0.1:3306", Start: began, Duration: 3 * time.Millisecond,
		Upstream: 2 * time.Millisecond, Rows: 1, Digest: 7, Text: "select a from t where b = 1"}
}

func scrape(s *Statements) string {
	w := httptest.NewRecorder()
	s.registry.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestRecord(t *testing.T) {
	s, r := newStatements(t)
	by := &session{}
	for range 3 {
		st := point()
		r.Record(&st, by)
	}
	bad := point()
	bad.Code, bad.Rows, bad.Duration = "1146", 0, time.Second
	r.Record(&bad, by)
	body := scrape(s)
	const at = `db_client_operation_duration_seconds_count{db_namespace="shop",db_operation_name="SELECT",db_response_status_code="%s",db_system_name="mysql",error_type="%s",listener="shop",server_address="10.0.0.1",server_port="3306"} %d`
	for _, want := range []string{
		fmt.Sprintf(at, "", "", 3), fmt.Sprintf(at, "1146", "1146", 1),
		`sidewire_inside_seconds_count{listener="shop"} 4`, `sidewire_inside_seconds_bucket{listener="shop",le="0.001"} 3`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, "returned_rows") {
		t.Error("a name in development is shown unasked")
	}
	s.registry.ShowDevelopment(true)
	if body = scrape(s); !strings.Contains(body, `returned_rows_sum{db_namespace="shop",db_operation_name="SELECT",db_system_name="mysql",listener="shop",server_address="10.0.0.1",server_port="3306"} 3`) {
		t.Errorf("no rows in\n%s", body)
	}
	d := s.Digests()
	if len(d) != 1 || d[0].Count != 4 || d[0].Errors != 1 || d[0].Rows != 3 || d[0].Text != "select a from t where b = ?" || d[0].Max != 1 || d[0].P95 != 1 || d[0].Digest != "0000000000000007" {
		t.Errorf("%+v", d)
	}
	slow := s.Slow()
	if len(slow) != 1 || slow[0].Text != "select a from t where b = ?" || slow[0].User != "app" || slow[0].Code != "1146" || slow[0].Duration != 1 || by.asked != 1 {
		t.Errorf("%+v, details asked %d times", slow, by.asked)
	}
}

// TestRecordDoesNotAllocate is the promise to the hot path, tracing included as long as a statement gets no span.
func TestRecordDoesNotAllocate(t *testing.T) {
	s, r := newStatements(t)
	by := &session{}
	for name, tracer := range map[string]Tracer{"plain": nil, "tracing": &tracer{}} {
		s.Trace(tracer)
		st := point()
		st.Text += " /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00'*/"
		if n := testing.AllocsPerRun(1000, func() { r.Record(&st, by) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestDigestsAreBounded(t *testing.T) {
	s, r := newStatements(t)
	s.Configure(Settings{Digests: 10})
	by := &session{}
	at := began
	tell := func(digest uint64, times int) {
		for range times {
			st := point()
			st.Digest, st.Text, st.Start = digest, fmt.Sprintf("select %d", digest), at
			r.Record(&st, by)
			at = at.Add(time.Millisecond)
		}
	}
	for d := uint64(100); d < 110; d++ { // the table is full of what comes once
		tell(d, 1)
	}
	for range 20 { // two busy forms, among many that never come back
		tell(1, 100)
		tell(2, 50)
		for d := range uint64(20) {
			tell(1000+uint64(at.UnixMilli())*100+d, 1)
		}
	}
	all := s.Digests()
	var sum int64
	counts := map[string]int64{}
	for _, d := range all {
		sum += d.Count
		counts[d.Text] = d.Count
	}
	if len(all) > 11 {
		t.Errorf("%d forms are kept", len(all))
	}
	if want := int64(10 + 20*170); sum != want {
		t.Errorf("%d statements in all, want %d", sum, want)
	}
	if counts["select ?"] < 1900 || counts["select 2"] < 300 || counts["(all other forms)"] == 0 {
		t.Errorf("%v", counts)
	}
}

func TestOperationsAreBounded(t *testing.T) {
	s, r := newStatements(t)
	by := &session{}
	for i := range 5000 {
		st := point()
		st.Namespace, st.Digest = fmt.Sprint("db", i), 0
		r.Record(&st, by)
	}
	body := scrape(s)
	if n := strings.Count(body, "db_client_operation_duration_seconds_count{"); n > operationLimit+1 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(body, `db_namespace="_OTHER"`) {
		t.Error("what is one too many is not counted")
	}
}

func TestSlowListKeepsTheLatest(t *testing.T) {
	s, r := newStatements(t)
	s.Configure(Settings{Slow: time.Millisecond, SlowEntries: 3, Digests: 10})
	by := &session{}
	numbers := func() (out []uint64) {
		for _, v := range s.Slow() {
			out = append(out, v.Number)
		}
		return out
	}
	for range 5 {
		st := point()
		r.Record(&st, by)
	}
	if got := fmt.Sprint(numbers()); got != "[5 4 3]" {
		t.Error(got)
	}
	s.Configure(Settings{Slow: time.Millisecond, SlowEntries: 2, Digests: 10})
	if got := fmt.Sprint(numbers()); got != "[5 4]" {
		t.Error(got)
	}
	s.Configure(Settings{Slow: time.Millisecond, SlowEntries: 4, Digests: 10})
	st := point()
	r.Record(&st, by)
	if got := fmt.Sprint(numbers()); got != "[6 5 4]" {
		t.Error(got)
	}
}

func TestRecordFromManySessions(t *testing.T) {
	s, r := newStatements(t)
	s.Configure(Settings{Slow: time.Nanosecond, SlowEntries: 5, Digests: 5})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			by := &session{}
			for j := range 200 {
				st := point()
				st.Digest, st.Start = uint64(1+(i+j)%9), time.Now()
				r.Record(&st, by)
				if j%50 == 0 {
					s.Digests()
					s.Slow()
				}
			}
		})
	}
	all.Wait()
	var sum int64
	for _, d := range s.Digests() {
		sum += d.Count
	}
	if sum < 1590 { // one that leaves while a session adds to it may take a few with it
		t.Errorf("%d of 1600 statements", sum)
	}
}

// tracer wants what its trace wants.
type tracer struct{ entries []string }

func (t *tracer) Wants(p Parent) bool { return p.Sampled }
func (t *tracer) Span(e *Entry, _ *Statement, summary string, p Parent) string {
	t.entries = append(t.entries, summary+" "+e.Digest+" "+p.TraceID())
	return p.TraceID()
}

func TestTraceJoinsTheApplications(t *testing.T) {
	s, r := newStatements(t)
	tr := &tracer{}
	s.Trace(tr)
	by := &session{}
	st := point()
	st.Text += " /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/"
	r.Record(&st, by)
	st.Prepared = true // the comment is of the day it was prepared
	r.Record(&st, by)
	if len(tr.entries) != 1 || !strings.HasPrefix(tr.entries[0], "select select a from t") || !strings.HasSuffix(tr.entries[0], " 4bf92f3577b34da6a3ce929d0e0e4736") {
		t.Errorf("%q", tr.entries)
	}
}

func TestParentOf(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, c := range []struct {
		sql string
		ok  bool
	}{
		{"select 1 /*traceparent='" + good + "'*/", true},
		{"select 1 /*a='b',traceparent='" + good + "',tracestate='x%3D1'*/ ;\n", true},
		{"/*traceparent='" + good + "'*/ select 1", true},
		{"select 1 /* x */ from t /*traceparent='" + good + "'*/", true},
		{"select '/*traceparent=''" + good + "''*/'", false},
		{"select '/*traceparent='" + good + "'*/' from t", false},
		{"select 1 /*traceparent='" + good[:54] + "'*/", false},
		{"select 1 /*traceparent='" + good + "0'*/", false},
		{"select 1 /*traceparent='01" + good[2:] + "-x'*/", true},
		{"select 1 /*traceparent='ff" + good[2:] + "'*/", false},
		{"select 1 /*traceparent='" + strings.ToUpper(good) + "'*/", false},
		{"select 1 /*traceparent='00-00000000000000000000000000000000-00f067aa0ba902b7-01'*/", false},
		{"select 1 /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01'*/", false},
		{"select 1 /*traceparent='" + good, false},
		{"*/", false}, {"/*", false}, {"", false},
	} {
		p := ParentOf(c.sql)
		if p.Valid() != c.ok || c.ok && (!p.Sampled || p.TraceID() != good[3:35]) {
			t.Errorf("%s: %+v", c.sql, p)
		}
	}
}

func FuzzParentOf(f *testing.F) {
	f.Add("select 1 /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/")
	f.Add("/*traceparent='")
	f.Fuzz(func(t *testing.T, sql string) {
		if p := ParentOf(sql); p.Valid() && !strings.Contains(sql, p.TraceID()) {
			t.Fatalf("%q: %s", sql, p.TraceID())
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	s := NewStatements(NewRegistry(), func() *AccessLog { return nil })
	r := s.Recorder("shop", "mysql", describe)
	st, by := point(), &session{}
	for b.Loop() {
		r.Record(&st, by)
	}
}

// TestHistogramFunc checks that a room's own counts are read, Redis's and messaging's only when asked for.
func TestHistogramFunc(t *testing.T) {
	s, r := newStatements(t)
	st := point()
	r.Record(&st, &session{})
	const name = "db_client_operation_duration_seconds"
	read := func() Reading { return Reading{Bounds: []float64{1, 2}, Counts: []uint64{1, 2, 3}, Count: 6, Sum: 9} }
	s.registry.HistogramFunc(name, "Duration.", read, "listener", "", "db_system_name", "redis", "db_namespace", "", "db_operation_name", "GET", "server_address", "",
		"server_port", "", "db_response_status_code", "", "error_type", "")
	s.registry.HistogramFunc("messaging_client_operation_duration_seconds", "Duration.", read, "messaging_system", "kafka")
	for _, on := range []bool{false, true} {
		s.registry.ShowDevelopment(on)
		body := scrape(s)
		for _, part := range []string{`db_system_name="redis"`, `messaging_client_operation_duration_seconds_bucket{messaging_system="kafka",le="2"} 3`} {
			if strings.Contains(body, part) != on {
				t.Errorf("%s is shown: %v, want %v", part, !on, on)
			}
		}
		if !strings.Contains(body, `db_system_name="mysql"`) {
			t.Error("a stable name is not shown")
		}
	}
}
