package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// told is a statement's session, which nobody asks for details.
type told struct{}

func (told) Detail(*telemetry.Entry) {}

// recording is what a statement's telemetry costs (the clock, OpenTelemetry's figures, its digest, a look at slow list, access log and
// traces) in CPU time: that of this process, while nothing else goes on in it.
func recording() time.Duration {
	s := telemetry.NewStatements(telemetry.NewRegistry(), func() *telemetry.AccessLog { return nil })
	r := s.Recorder("bench", "mysql", func(text string, _ uint8) (string, string) { return text, "SELECT t" })
	st := telemetry.Statement{System: "mariadb", Namespace: "bench", Operation: "SELECT", Endpoint: "127.0.0.1:3306", Digest: 1,
		Text: "SELECT id, c FROM t WHERE id = 1", Start: time.Now(), Duration: 200 * time.Microsecond, Upstream: 150 * time.Microsecond, Rows: 1}
	const n = 1 << 20
	before := ownCPU()
	for range n {
		st.Start = time.Now()
		st.Duration = time.Since(st.Start)
		r.Record(&st, told{})
	}
	return (ownCPU() - before) / n
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// telemetryBudget is the share of a statement's CPU time that its telemetry may take.
const telemetryBudget = 0.05

// shares is the telemetry's part of what sidewire takes for each of MySQL's point selects. It is computed, because two runs, with and
// without, differ by more than is looked for.
func (r *report) shares() (rows []string) {
	one := time.Duration(0)
	for _, result := range r.results {
		if result.unit != "query" || len(result.samples[subject]) == 0 {
			continue
		}
		if one == 0 {
			one = recording()
		}
		var list []float64
		for _, s := range result.samples[subject] {
			if s.cpu > 0 { // a short round may take less than the kernel counts in
				list = append(list, float64(one)/float64(s.cpu))
			}
		}
		got, verdict := spreadOf(list), "not met"
		if got.median <= telemetryBudget {
			verdict = "met"
		}
		rows = append(rows, fmt.Sprintf("| %s (its telemetry: %d ns) | CPU of sidewire | at most %.2f | %.3f (%.3f to %.3f) | %s |\n",
			result.title, one.Nanoseconds(), telemetryBudget, got.median, got.low, got.high, verdict))
	}
	return rows
}
