// Package leak tells tests which goroutines outlive them.
package leak

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Check fails the test when goroutines are running at its end, its other cleanups included, that were not at its
// start. Call it first, and not in tests that run in parallel with others.
func Check(t testing.TB) {
	t.Helper()
	check(t, 10*time.Second)
}

// check gives goroutines a while to end: connections closed by a cleanup take theirs along a moment later, and goleak's
// own half second is short on a machine busy with servers.
func check(t testing.TB, patience time.Duration) {
	t.Helper()
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		t.Helper()
		var err error
		for limit := time.Now().Add(patience); time.Now().Before(limit); {
			if err = goleak.Find(running); err == nil {
				return
			}
		}
		t.Error(err)
	})
}
