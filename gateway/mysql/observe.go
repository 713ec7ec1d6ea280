package mysql

import (
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/sharding/scan"
)

// operationNames are the words that statements begin with, as metrics and spans show them.
var operationNames = func() (names [256]string) {
	for v := range names {
		if scan.Known(scan.Verb(v)) {
			names[v] = strings.ToUpper(scan.Verb(v).String())
		}
	}
	return names
}()

// textShown is how much of a sanitised text anybody gets to see.
const textShown = 1024

// describe is a text without its literals, and what it does.
func describe(sql string, mode uint8) (sanitised, summary string) {
	return string(scan.AppendSanitized(nil, sql, scan.Mode(mode), textShown)), string(scan.AppendSummary(nil, sql, scan.Mode(mode)))
}

// note begins the telling of a statement. sql is read until the statement has ended.
func (s *session) note(e *effect, sql string, prepared bool) {
	s.handler.metrics.statements[e.class].Inc()
	t := &s.told
	t.Operation, t.Digest, t.Mode, t.Prepared = operationNames[e.verb], e.digest, uint8(s.mode), prepared
	t.Endpoint, t.Upstream = "", 0
	s.several = false
	t.Text = sql
	if e.loadLocal {
		t.Text = "" // it lies in the buffer that the file will come through
	}
	s.record = true
}

// spent notes how long a server was waited for, and which. s.mu is held. Servers that work at once are waited for at once.
func (s *session) spent(b *backend) {
	t := &s.told
	t.Upstream = max(t.Upstream, b.spent)
	s.several = s.several || len(s.busy) > 0
	if t.Endpoint = b.pool.endpoint.Address(); s.several {
		t.Endpoint = "" // a scatter has no one server
	}
	t.System = "mysql"
	if b.mariaDB {
		t.System = "mariadb"
	}
}

// fill is the stream's, with the time it takes: what a session waits for its server.
func (b *backend) fill(need int) error {
	start := time.Now()
	err := b.stream.fill(need)
	b.spent += time.Since(start)
	return err
}

// observe tells of a statement that has ended.
func (s *session) observe(start, end time.Time) {
	t := &s.told
	if t.System == "" {
		t.System = "mysql"
	}
	t.Start, t.Duration, t.Namespace = start, end.Sub(start), s.database
	t.Code, t.Rows = "", 0
	if e := s.answer.err; e != nil {
		t.Code = itoa(e.Code)
	} else {
		t.Rows = s.answer.reply.Rows
	}
	s.handler.recorder.Record(t, s)
	t.Text = ""
}

// Detail fills in what is shown of a statement that is shown in full.
func (s *session) Detail(e *telemetry.Entry) {
	e.Session, e.Client, e.User, e.BytesOut = uint64(s.id), s.conn.Client(), s.authenticated(), s.answer.sent
	e.Target = s.terms.block.Cluster
	if err := s.answer.err; err != nil {
		e.Error = err.Message
	}
}

// envoyStats shows a listener's counters under the names that Envoy's mysql_proxy has for them.
func (m *metrics) envoyStats() {
	at := "mysql." + m.listener + "."
	m.registry.Stat(at+"sessions", m.begun)
	m.registry.Stat(at+"login_attempts", m.begun) // a session begins with one
	m.registry.Stat(at+"login_failures", m.denied)
	m.registry.Stat(at+"queries_parsed", telemetry.StatFunc(func() (sum int64) {
		for _, c := range m.statements {
			sum += c.Value()
		}
		return sum
	}))
}
