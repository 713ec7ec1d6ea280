package xds

import (
	"testing"
	"time"
)

// A burst that never ends is cut into pieces.
func TestSettlingEndsUnderConstantChange(t *testing.T) {
	s := NewSettling(100*time.Millisecond, time.Second)
	defer s.Stop()
	began := time.Now()
	for _, c := range []struct{ at, left time.Duration }{
		{0, 100}, {50, 100}, {900, 100}, {950, 50}, {1000, 0}, {1200, 0},
	} {
		now := began.Add(c.at * time.Millisecond)
		s.Touch(now)
		if left := s.left(now); left != c.left*time.Millisecond {
			t.Errorf("after %d ms it waits for %v more, want %d ms", c.at, left, c.left)
		}
	}
	s.Ended()
	s.Touch(began.Add(2 * time.Second))
	if left := s.left(began.Add(2 * time.Second)); left != 100*time.Millisecond {
		t.Errorf("a new burst has %v", left)
	}
}

// A control plane whose responses never stop coming does not keep what came from becoming active.
func TestSettlesWhileResponsesWait(t *testing.T) {
	now := time.Unix(0, 0)
	c := &Client{store: &store{}, options: Options{Now: func() time.Time { return now }}}
	for _, s := range []struct {
		at      time.Duration
		dirty   bool
		waiting int
		want    bool
	}{
		{0, false, 3, false},
		{0, true, 3, false},
		{settleWithin - 1, true, 1, false},
		{settleWithin, true, 1, true},
		{settleWithin, true, 1, false}, // since the last time
		{settleWithin + 1, true, 0, true},
		{settleWithin + 2, false, 0, true}, // what is not built may still make it ready
	} {
		now, c.store.dirty = time.Unix(0, int64(s.at)), s.dirty
		if got := c.due(s.waiting); got != s.want {
			t.Errorf("%+v: %v", s, got)
		}
	}
}
