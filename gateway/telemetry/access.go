package telemetry

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// Entry is one statement, command, request or connection as the access log shows it. Empty fields are left out.
type Entry struct {
	Time      time.Time
	Listener  string
	Protocol  string
	Session   uint64
	Client    string
	User      string
	Database  string
	Operation string // SELECT, GET, Produce, COMMIT
	Digest    string // the statement without its literals
	Text      string // the statement with them; filled only when the operator asked for it
	Target    string // cluster, or the shards of a scatter
	Endpoint  string // the server that answered
	Code      string // MySQL error number, SQLSTATE, Redis prefix, Kafka error code; empty: success
	Error     string
	TraceID   string // hexadecimal
	Duration  time.Duration
	Upstream  time.Duration // the part of it spent waiting for servers
	BytesIn   int64
	BytesOut  int64
	Rows      int64
}

// AccessOptions say what is written and where.
type AccessOptions struct {
	Path       string        // a file, "stdout" or "stderr"
	Sample     float64       // share of entries that are written, 0 to 1
	SlowerThan time.Duration // entries at least that slow are always written; 0: slowness does not matter
	Errors     bool          // entries with a code or an error are always written
	Buffer     int           // bytes that may wait to be written; 0: 1 MB. What does not fit is dropped and counted
	Rand       func() float64
}

const (
	accessBuffer   = 1 << 20
	accessInterval = 200 * time.Millisecond
)

// AccessLog writes one JSON line an entry. Log encodes into memory and returns; one goroutine writes. A nil *AccessLog takes
// everything and writes nothing.
type AccessLog struct {
	options AccessOptions
	written *Counter
	dropped *Counter
	failed  *Counter
	wake    chan struct{} // holds one: the buffer is half full, or the end has come
	done    chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	waiting []byte // lines not yet taken by the writer
	lines   int64
	closed  bool

	file   sync.Mutex // held while writing or reopening; never together with mu
	out    io.Writer
	closer io.Closer
}

// NewAccessLog opens the log. Its counters are registered in r.
func NewAccessLog(r *Registry, options AccessOptions) (*AccessLog, error) {
	if options.Buffer <= 0 {
		options.Buffer = accessBuffer
	}
	if options.Rand == nil {
		options.Rand = rand.Float64
	}
	l := &AccessLog{
		options: options,
		written: r.Counter("sidewire_access_log_entries_total", "Access log entries by what became of them.", "outcome", "written"),
		dropped: r.Counter("sidewire_access_log_entries_total", "Access log entries by what became of them.", "outcome", "dropped"),
		failed:  r.Counter("sidewire_access_log_entries_total", "Access log entries by what became of them.", "outcome", "failed"),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

func (l *AccessLog) open() error {
	switch l.options.Path {
	case "stdout", "-":
		l.out, l.closer = os.Stdout, nil
	case "stderr":
		l.out, l.closer = os.Stderr, nil
	default:
		f, err := os.OpenFile(l.options.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return fmt.Errorf("opening access log: %w", err)
		}
		l.out, l.closer = f, f
	}
	return nil
}

// Reopen opens the file again under its name, after something moved the old one away. On an error the old one stays.
func (l *AccessLog) Reopen() error {
	if l == nil {
		return nil
	}
	l.file.Lock()
	defer l.file.Unlock()
	old := l.closer
	if err := l.open(); err != nil {
		return err
	}
	if old != nil {
		return old.Close()
	}
	return nil
}

// Wants tells whether an entry of that duration and outcome is to be written, so that the hot path builds only those. It
// draws the sample: ask once an entry.
func (l *AccessLog) Wants(d time.Duration, failed bool) bool {
	if l == nil {
		return false
	}
	o := &l.options
	switch {
	case failed && o.Errors:
		return true
	case o.SlowerThan > 0 && d >= o.SlowerThan:
		return true
	case o.Sample >= 1:
		return true
	case o.Sample <= 0:
		return false
	}
	return o.Rand() < o.Sample
}

var accessLines = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Log writes e, which is the caller's again when Log returns. It never waits for the disk: an entry that does not fit into
// the buffer is dropped and counted.
func (l *AccessLog) Log(e *Entry) {
	if l == nil {
		return
	}
	line := accessLines.Get().(*[]byte)
	*line = e.AppendJSON((*line)[:0])
	l.mu.Lock()
	fits := !l.closed && len(l.waiting)+len(*line) <= l.options.Buffer
	if fits {
		l.waiting = append(l.waiting, *line...)
		l.lines++
	}
	urgent := len(l.waiting) >= l.options.Buffer/2
	l.mu.Unlock()
	accessLines.Put(line)
	if !fits {
		l.dropped.Inc()
	}
	if urgent {
		l.nudge()
	}
}

func (l *AccessLog) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Dropped tells how many entries were lost because the disk was slower than the traffic.
func (l *AccessLog) Dropped() int64 {
	if l == nil {
		return 0
	}
	return l.dropped.Value()
}

// Close writes what waits and ends the log. It gives up when ctx ends, since a full pipe may hold the writer for ever.
func (l *AccessLog) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.nudge()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flushing access log: %w", ctx.Err())
	}
}

// run is the writer. Two buffers change places, so that nobody waits for a write.
func (l *AccessLog) run() {
	defer close(l.done)
	tick := time.NewTicker(accessInterval)
	defer tick.Stop()
	var spare []byte
	for {
		select {
		case <-l.wake:
		case <-tick.C:
		}
		l.mu.Lock()
		taken, lines, closed := l.waiting, l.lines, l.closed
		l.waiting, l.lines = spare[:0], 0
		l.mu.Unlock()
		spare = taken
		if len(taken) > 0 {
			l.write(taken, lines)
		}
		if closed {
			l.file.Lock()
			if l.closer != nil {
				l.closer.Close()
			}
			l.file.Unlock()
			return
		}
	}
}

func (l *AccessLog) write(b []byte, lines int64) {
	l.file.Lock()
	defer l.file.Unlock()
	if _, err := l.out.Write(b); err != nil {
		l.failed.Add(lines)
		return
	}
	l.written.Add(lines)
}
