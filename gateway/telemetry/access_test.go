package telemetry

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func full() *Entry {
	return &Entry{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678900000, time.UTC), Listener: "shop", Protocol: "mysql", Session: 12, Client: "127.0.0.1:5",
		User: "app", Database: "shop", Operation: "SELECT", Digest: "SELECT * FROM `t` WHERE a = ?", Target: "shop/ds_0", Endpoint: "10.0.0.1:3306",
		Code: "1146", Error: "Table \"x\" doesn't\nexist\x00\xfe\u20ac", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Duration: 1234567 * time.Nanosecond,
		Upstream: time.Millisecond, BytesIn: 10, BytesOut: 20, Rows: 3,
	}
}

func TestEntryAsJSON(t *testing.T) {
	line := string(full().AppendJSON(nil))
	want := `{"time":"2026-01-02T03:04:05.678900Z","listener":"shop","protocol":"mysql","session":12,"client":"127.0.0.1:5","user":"app",` +
		`"database":"shop","operation":"SELECT","digest":"SELECT * FROM ` + "`t`" + ` WHERE a = ?","target":"shop/ds_0","endpoint":"10.0.0.1:3306",` +
		`"code":"1146","error":"Table \"x\" doesn't\nexist\u0000\ufffd` + "\u20ac" + `","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",` +
		`"duration_ms":1.235,"upstream_ms":1.000,"bytes_in":10,"bytes_out":20,"rows":3}` + "\n"
	if line != want {
		t.Errorf("got\n%s\nwant\n%s", line, want)
	}
	if !json.Valid([]byte(line)) {
		t.Error("no valid JSON")
	}
	small := string((&Entry{Time: time.Unix(0, 0)}).AppendJSON(nil))
	if small != `{"time":"1970-01-01T00:00:00.000000Z","duration_ms":0.000}`+"\n" {
		t.Errorf("empty fields are written: %s", small)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "\xff\xfe\u20ac\U0001F600\xe2\x82", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil {
			t.Fatal(err)
		}
		// encoding/json replaces invalid bytes one by one as well
		if want := strings.Map(func(r rune) rune { return r }, s); got != want {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

func newLog(t *testing.T, options AccessOptions) (*AccessLog, func() []string) {
	t.Helper()
	options.Path = filepath.Join(t.TempDir(), "access.log")
	l, err := NewAccessLog(NewRegistry(), options)
	if err != nil {
		t.Fatal(err)
	}
	return l, func() []string {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(options.Path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")
	}
}

func TestCloseFlushesEverything(t *testing.T) {
	l, lines := newLog(t, AccessOptions{Sample: 1})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 100 {
				l.Log(&Entry{Session: uint64(i*100 + j + 1)})
			}
		})
	}
	all.Wait()
	seen := make(map[uint64]bool)
	for _, line := range lines() {
		var e struct{ Session uint64 }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		seen[e.Session] = true
	}
	if len(seen) != 800 || l.written.Value() != 800 || l.Dropped() != 0 {
		t.Errorf("%d of 800 entries, %d said to be written, %d dropped", len(seen), l.written.Value(), l.Dropped())
	}
	l.Log(&Entry{})
	if l.Dropped() != 1 {
		t.Error("an entry after the end is not counted as dropped")
	}
}

// TestSlowDiskDropsAndCounts holds the writer as a full disk or pipe does.
func TestSlowDiskDropsAndCounts(t *testing.T) {
	l, lines := newLog(t, AccessOptions{Sample: 1, Buffer: 4096})
	l.file.Lock()
	const sent = 1000
	for i := range sent {
		l.Log(&Entry{Session: uint64(i + 1)})
	}
	if l.Dropped() == 0 {
		t.Error("nothing was dropped")
	}
	l.mu.Lock()
	held := len(l.waiting)
	l.mu.Unlock()
	if held > 4096 {
		t.Errorf("%d bytes wait, the bound is 4096", held)
	}
	l.file.Unlock()
	got := lines()
	if int64(len(got))+l.Dropped() != sent {
		t.Errorf("%d lines and %d drops are not %d", len(got), l.Dropped(), sent)
	}
}

func TestWants(t *testing.T) {
	draw := 0.5
	for _, c := range []struct {
		options AccessOptions
		d       time.Duration
		failed  bool
		want    bool
	}{
		{AccessOptions{}, time.Hour, true, false},
		{AccessOptions{Sample: 1}, 0, false, true},
		{AccessOptions{Sample: 0.6}, 0, false, true},
		{AccessOptions{Sample: 0.4}, 0, false, false},
		{AccessOptions{Errors: true}, 0, true, true},
		{AccessOptions{Errors: true}, 0, false, false},
		{AccessOptions{SlowerThan: time.Second}, time.Second, false, true},
		{AccessOptions{SlowerThan: time.Second}, time.Second - 1, false, false},
		{AccessOptions{SlowerThan: time.Second, Sample: 0.4}, 1, false, false},
	} {
		c.options.Rand = func() float64 { return draw }
		l, lines := newLog(t, c.options)
		if got := l.Wants(c.d, c.failed); got != c.want {
			t.Errorf("%+v, %v, failed %v: %v", c.options, c.d, c.failed, got)
		}
		lines()
	}
	var none *AccessLog
	none.Log(full())
	if none.Wants(time.Hour, true) || none.Close(context.Background()) != nil || none.Reopen() != nil {
		t.Error("a nil log is not silent")
	}
}

func TestReopenFollowsRotation(t *testing.T) {
	l, lines := newLog(t, AccessOptions{Sample: 1})
	path := l.options.Path
	l.Log(&Entry{Session: 1})
	waitFor(t, func() bool { return l.written.Value() == 1 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Log(&Entry{Session: 2})
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], `"session":2`) {
		t.Errorf("new file holds %q", got)
	}
	if b, err := os.ReadFile(path + ".1"); err != nil || strings.Count(string(b), "\n") != 1 {
		t.Errorf("old file holds %q, %v", b, err)
	}
}

func TestUnwritablePathIsRefused(t *testing.T) {
	_, err := NewAccessLog(NewRegistry(), AccessOptions{Path: filepath.Join(t.TempDir(), "no", "such", "folder")})
	if err == nil || !strings.HasPrefix(err.Error(), "opening access log: ") {
		t.Errorf("error %v", err)
	}
}

func TestLogDoesNotAllocate(t *testing.T) {
	l, lines := newLog(t, AccessOptions{Sample: 1, Buffer: 8 << 20})
	defer lines()
	e := full()
	for range 2000 { // let the buffer reach its size
		l.Log(e)
	}
	waitFor(t, func() bool { return l.written.Value() == 2000 })
	for range 2000 {
		l.Log(e)
	}
	waitFor(t, func() bool { return l.written.Value() == 4000 })
	least := 1.0
	for range 5 {
		least = min(least, testing.AllocsPerRun(100, func() { l.Log(e) }))
	}
	if least != 0 {
		t.Errorf("%v allocations an entry", least)
	}
}

func waitFor(t *testing.T, ready func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ready(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 s")
		}
	}
}

func BenchmarkLog(b *testing.B) {
	l, err := NewAccessLog(NewRegistry(), AccessOptions{Path: os.DevNull, Sample: 1})
	if err != nil {
		b.Fatal(err)
	}
	e := full()
	b.ReportAllocs()
	for b.Loop() {
		l.Log(e)
	}
	l.Close(context.Background())
	b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
}
