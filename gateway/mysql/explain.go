package mysql

import (
	"encoding/json"
	"strings"

	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
)

// explained finds the statement of SIDEWIRE EXPLAIN [FORMAT = JSON] statement.
func explained(sql string, mode scan.Mode) (statement string, asJSON, ok bool) {
	if len(sql) < len("sidewire explain ") || sql[0]|0x20 != 's' || sql[1]|0x20 != 'i' {
		return "", false, false
	}
	l := scan.Lexer{Text: sql, Mode: mode}
	next := func() (string, int) {
		t := l.Next()
		return sql[t.Start:t.End], t.Start
	}
	if w, _ := next(); !scan.EqualFold(w, "sidewire") {
		return "", false, false
	}
	if w, _ := next(); !scan.EqualFold(w, "explain") {
		return "", false, false
	}
	w, at := next()
	if !scan.EqualFold(w, "format") {
		return sql[at:], false, true
	}
	if w, _ := next(); w == "=" {
		w, _ = next()
		_, at = next()
		return sql[at:], scan.EqualFold(w, "json"), scan.EqualFold(w, "json") || scan.EqualFold(w, "text")
	}
	return "", false, false
}

// explainOn serves SIDEWIRE EXPLAIN by the rules of the current virtual database, or of the listener's shadow.
func (s *session) explainOn(v *virtual, statement string, asJSON bool, seq byte) error {
	var p *plan.Planner
	if v != nil {
		p = v.plans(s.ctx)
	} else if s.terms.block.Shadow != nil {
		p = s.handler.shadow.explains(s.terms.block.Shadow)
	}
	if p == nil {
		return fault(codeNoDatabase, stateSyntax, "sidewire: no virtual database is current, whose rules could explain a statement")
	}
	return s.explain(p, statement, asJSON, seq)
}

// explain tells what the planner would do, without doing it.
func (s *session) explain(p *plan.Planner, statement string, asJSON bool, seq byte) error {
	if err := s.scan.Scan(statement, 0, s.mode); err != nil {
		return fault(codeSyntax, stateSyntax, "sidewire: %s", err)
	}
	e := p.Prepare(statement, &s.scan).Explain(&plan.Input{Text: statement[:s.scan.End], Vars: s.scan.Vars, Keys: plan.SampleKeys{}})
	lines := strings.Split(strings.TrimSuffix(e.String(), "\n"), "\n")
	if asJSON {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lines = []string{string(text)}
	}
	w := &resultWriter{s: s, seq: seq + 1}
	w.begin([][]byte{wire.AppendColumn(nil, &wire.Column{Name: []byte("plan"), Type: wire.TypeVarString, Collation: wire.CollationUTF8MB4, Length: 1 << 16})})
	for _, line := range lines {
		if err := w.row(wire.AppendLenencString(nil, line)); err != nil {
			return err
		}
	}
	s.failed, s.warnings = false, 0
	return w.end()
}
