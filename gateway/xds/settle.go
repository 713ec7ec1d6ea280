package xds

import "time"

// Settling tells when a burst of changes is over: quiet after the last one, but not later than longest after the first, because who
// never stops writing must not keep everybody else's changes back.
type Settling struct {
	quiet, longest time.Duration
	timer          *time.Timer
	since          time.Time // when the burst began; zero: there is none
}

// NewSettling knows of no change yet.
func NewSettling(quiet, longest time.Duration) *Settling {
	s := &Settling{quiet: quiet, longest: longest, timer: time.NewTimer(quiet)}
	s.timer.Stop()
	return s
}

// Touch notes a change.
func (s *Settling) Touch(now time.Time) {
	if s.since.IsZero() {
		s.since = now
	}
	s.timer.Reset(s.left(now))
}

func (s *Settling) left(now time.Time) time.Duration {
	return max(0, min(s.quiet, s.since.Add(s.longest).Sub(now)))
}

// Over receives when a burst is over; the receiver calls Ended before it looks at what changed.
func (s *Settling) Over() <-chan time.Time { return s.timer.C }

// Ended begins anew.
func (s *Settling) Ended() { s.since = time.Time{} }

// Stop frees the timer.
func (s *Settling) Stop() { s.timer.Stop() }
