package keygen

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/sidewire/sidewire/sharding/rule"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time        { return c.t }
func (c *clock) sleep(d time.Duration) { c.t = c.t.Add(d) }

func TestSnowflakeLayout(t *testing.T) {
	c := &clock{Epoch.Add(5 * time.Millisecond)}
	s := New(3, c.now, c.sleep, nil)
	k := &rule.Key{Type: "SNOWFLAKE", Generator: "g"}
	v, err := s.NextKey(k)
	if want := int64(5)<<22 | 3<<12 | 1; err != nil || v.Int64() != want {
		t.Errorf("got %d %v, want %d", v.Int64(), err, want)
	}
	v, _ = s.NextKey(k)
	if want := int64(5)<<22 | 3<<12 | 2; v.Int64() != want {
		t.Errorf("second in one millisecond: got %d, want %d", v.Int64(), want)
	}
	c.t = c.t.Add(time.Millisecond)
	v, _ = s.NextKey(k)
	if want := int64(6)<<22 | 3<<12; v.Int64() != want {
		t.Errorf("next millisecond: got %d, want %d", v.Int64(), want)
	}
}

func TestSnowflakeNeverRepeats(t *testing.T) {
	c := &clock{Epoch.Add(time.Hour)}
	s := New(1, c.now, c.sleep, nil)
	k := &rule.Key{Type: "SNOWFLAKE", Generator: "g", Props: map[string]string{"max-vibration-offset": "7", "worker-id": "9"}}
	last := int64(0)
	for i := range 20_000 {
		v, err := s.NextKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if n := v.Int64(); n <= last || n>>12&MaxWorker != 9 {
			t.Fatalf("key %d after %d (worker %d)", n, last, n>>12&MaxWorker)
		}
		last = v.Int64()
		if i%100 == 0 {
			c.t = c.t.Add(time.Millisecond)
		}
	}
}

func TestClockBackwards(t *testing.T) {
	c := &clock{Epoch.Add(time.Hour)}
	s := New(1, c.now, c.sleep, nil)
	k := &rule.Key{Type: "SNOWFLAKE", Generator: "g"}
	first, _ := s.NextKey(k)
	c.t = c.t.Add(-8 * time.Millisecond) // tolerated: waits
	v, err := s.NextKey(k)
	if err != nil || v.Int64() <= first.Int64() {
		t.Errorf("within the tolerance: %v %v", v, err)
	}
	c.t = c.t.Add(-time.Second)
	if _, err = s.NextKey(k); !errors.Is(err, ErrClock) {
		t.Errorf("a second backwards: %v", err)
	}
}

func TestUUID(t *testing.T) {
	s := New(0, nil, nil, bytes.NewReader(bytes.Repeat([]byte{0xff}, 32)))
	v, err := s.NextKey(&rule.Key{Type: "UUID"})
	if err != nil || v.Str != "ffffffffffff4fffbfffffffffffffff" {
		t.Errorf("%q %v", v.Str, err)
	}
}

func TestWorkerSpreads(t *testing.T) {
	seen := map[int]bool{}
	for _, n := range []string{"a-0", "a-1", "a-2", "b-0"} {
		w := Worker(n, "10.0.0.1")
		if w < 0 || w > MaxWorker || seen[w] {
			t.Errorf("%s: worker %d", n, w)
		}
		seen[w] = true
	}
}
