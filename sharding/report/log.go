// Package report plans every statement of a log and counts by digest what a sharded database would do with it: what a
// team wants to know before it shards.
package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// maxLine bounds one line of a log.
const maxLine = 16 << 20

// Statements calls f for each statement of a log: MySQL's or MariaDB's general or slow log, JSON lines with a statement
// (or sql, or query) field, or plain statements that end in semicolons.
func Statements(r io.Reader, f func(sql string)) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	var p logParser
	for s.Scan() {
		p.line(s.Text(), f)
	}
	p.flush(f)
	if err := s.Err(); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	return nil
}

// A general log's line: a time or white space, a connection's number, a command, and for Query and Execute the text.
var generalLine = regexp.MustCompile(`^(?:\d{4}-\d\d-\d\dT\S+|\d{6}\s+\d{1,2}:\d\d:\d\d)?\s*(\d+)\s(Query|Execute|Prepare|Connect|Quit|Init DB|Close stmt|Field List|Ping|Statistics|Reset stmt|Change user|Fetch|Daemon)\t?(.*)$`)

// logParser puts statements together that span lines.
type logParser struct {
	b       strings.Builder
	general bool // the statement came from a general log: it ends where the next entry begins
}

func (p *logParser) line(line string, f func(string)) {
	switch {
	case strings.HasPrefix(line, "{"):
		p.flush(f)
		p.object(line, f)
		return
	case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "Time") && strings.Contains(line, "Id Command"),
		strings.HasPrefix(line, "Tcp port:"), strings.Contains(line, ", Version: ") && strings.Contains(line, "started with:"):
		p.flush(f)
		return
	}
	if m := generalLine.FindStringSubmatch(line); m != nil {
		p.flush(f)
		if m[2] == "Query" || m[2] == "Execute" {
			p.general = true
			p.b.WriteString(m[3])
		}
		return
	}
	if p.b.Len() == 0 && (hasPrefixFold(line, "set timestamp=") || hasPrefixFold(line, "use ")) {
		return
	}
	if p.b.Len() > 0 {
		p.b.WriteByte('\n')
	}
	p.b.WriteString(line)
	if !p.general && strings.HasSuffix(strings.TrimSpace(line), ";") {
		p.flush(f)
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func (p *logParser) flush(f func(string)) {
	sql := strings.TrimSuffix(strings.TrimSpace(p.b.String()), ";")
	p.b.Reset()
	p.general = false
	if sql != "" {
		f(sql)
	}
}

func (p *logParser) object(line string, f func(string)) {
	var o struct {
		Statement, SQL, Query string
		Text                  string `json:"db.query.text"`
	}
	if json.Unmarshal([]byte(line), &o) != nil {
		return
	}
	for _, sql := range [...]string{o.Statement, o.SQL, o.Query, o.Text} {
		if sql != "" {
			f(sql)
			return
		}
	}
}
