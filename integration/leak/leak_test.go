package leak

import (
	"strings"
	"testing"
	"time"
)

// recorder is a test that may fail without failing this one.
type recorder struct {
	testing.TB
	cleanups []func()
	failed   []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(args ...any) {
	for _, a := range args {
		r.failed = append(r.failed, a.(error).Error())
	}
}

func TestCheck(t *testing.T) {
	for _, leaks := range []bool{false, true} {
		r := &recorder{TB: t}
		check(r, time.Second)
		stop := make(chan struct{})
		if leaks {
			go func() { <-stop }()
		}
		r.cleanups[0]()
		close(stop)
		if got := strings.Join(r.failed, "\n"); strings.Contains(got, "leak_test.go") != leaks {
			t.Errorf("leaking %v: %s", leaks, got)
		}
	}
}
