package redis

import (
	"maps"
	"testing"
	"time"
)

func TestTallyAsHistogram(t *testing.T) {
	var m tally
	for _, took := range []time.Duration{0, 3 * time.Microsecond, 4 * time.Microsecond, time.Hour} {
		m.nanos += int64(took)
		m.count++
		m.buckets[bucketOf(int64(took))]++
	}
	r := m.reading()
	if len(r.Counts) != len(r.Bounds)+1 || r.Count != 4 || r.Sum < 3600 {
		t.Fatalf("%+v", r)
	}
	if r.Counts[0] != 1 || r.Bounds[2] != 4e-6 || r.Counts[2] != 1 || r.Counts[3] != 1 || r.Counts[len(r.Counts)-1] != 1 {
		t.Errorf("%+v", r)
	}
}

// A listener counts its clients' commands as Envoy does: a split one once, and apart what it does not pass on.
func TestListenersCountAnswers(t *testing.T) {
	w := newWorld(t, 1, 3, modeHashed)
	c := w.client()
	c.ask("+OK\r\n", "SET", "a", "1")
	c.ask("$1\r\n1\r\n", "GET", "a")
	c.ask("*4\r\n$1\r\n1\r\n$-1\r\n$-1\r\n$-1\r\n", "MGET", "a", "bravo", "charlie", "delta")
	c.ask("-ERR wrong number of arguments for 'get' command\r\n", "GET")
	c.ask("-ERR unknown command 'nothing', with args beginning with: 'k' \r\n", "nothing", "k")
	c.ask("-ERR command 'monitor' is not supported over several servers\r\n", "MONITOR")
	w.finish()
	for _, s := range w.servers {
		s.says = map[string]string{"a": "-WRONGTYPE no\r\n"}
	}
	c.ask("-WRONGTYPE no\r\n", "GET", "a")
	w.finish()
	got := w.gate.reading()
	if got.Invalid != 1 || got.Unsupported != 2 {
		t.Errorf("%d invalid, %d unsupported, want 1 and 2", got.Invalid, got.Unsupported)
	}
	if want := map[string]outcomes{"set": {1, 0}, "get": {2, 1}, "mget": {1, 0}}; !maps.Equal(got.commands, want) {
		t.Errorf("commands: %v, want %v", got.commands, want)
	}
}
