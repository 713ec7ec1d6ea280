package redis

import (
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
