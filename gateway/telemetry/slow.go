package telemetry

import (
	"sync"
	"time"
)

// slowList keeps the latest slow statements.
type slowList struct {
	mu      sync.Mutex // guards what follows
	entries []SlowView // a ring
	next    int
	limit   int
	total   uint64
}

// SlowView is one slow statement as the admin interface shows it. Times are in seconds.
type SlowView struct {
	Number   uint64    `json:"number"` // of all since the start
	Time     time.Time `json:"time"`
	Listener string    `json:"listener"`
	Protocol string    `json:"protocol"`
	Client   string    `json:"client,omitempty"`
	User     string    `json:"user,omitempty"`
	Database string    `json:"database,omitempty"`
	Text     string    `json:"text"`
	Endpoint string    `json:"endpoint,omitempty"`
	Target   string    `json:"target,omitempty"`
	Code     string    `json:"code,omitempty"`
	Error    string    `json:"error,omitempty"`
	TraceID  string    `json:"trace_id,omitempty"`
	Duration float64   `json:"seconds"`
	Upstream float64   `json:"upstream_seconds,omitempty"`
	Rows     int64     `json:"rows"`
}

func (l *slowList) resize(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n == l.limit {
		return
	}
	latest := l.ordered()
	l.limit = n
	if len(latest) > n {
		latest = latest[:n]
	}
	l.entries, l.next = make([]SlowView, 0, min(n, 16)), 0
	for i := len(latest) - 1; i >= 0; i-- {
		l.put(latest[i])
	}
}

func (l *slowList) add(e *Entry) {
	text := e.Digest
	if text == "" {
		text = e.Operation
	}
	v := SlowView{Time: e.Time.UTC(), Listener: e.Listener, Protocol: e.Protocol, Client: e.Client, User: e.User, Database: e.Database, Text: text, Endpoint: e.Endpoint,
		Target: e.Target, Code: e.Code, Error: e.Error, TraceID: e.TraceID, Duration: e.Duration.Seconds(), Upstream: e.Upstream.Seconds(), Rows: e.Rows}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	v.Number = l.total
	l.put(v)
}

func (l *slowList) put(v SlowView) {
	switch {
	case l.limit <= 0:
	case len(l.entries) < l.limit:
		l.entries = append(l.entries, v)
	default:
		l.entries[l.next] = v
		l.next = (l.next + 1) % l.limit
	}
}

// ordered are the entries, the latest first.
func (l *slowList) ordered() []SlowView {
	out := make([]SlowView, 0, len(l.entries))
	for i := len(l.entries) - 1; i >= 0; i-- {
		out = append(out, l.entries[(l.next+i)%len(l.entries)])
	}
	return out
}

func (l *slowList) view() []SlowView {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ordered()
}
