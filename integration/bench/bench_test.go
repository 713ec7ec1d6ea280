package main

import (
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{3, 1, 2}, spread{2, 1, 3}},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4}},
	} {
		if got := spreadOf(c.in); got != c.want {
			t.Errorf("%v: %v, want %v", c.in, got, c.want)
		}
	}
}

func TestPercentiles(t *testing.T) {
	var list []time.Duration
	for i := 100; i > 0; i-- {
		list = append(list, time.Duration(i))
	}
	if p50, p99 := percentiles(list); p50 != 51 || p99 != 100 {
		t.Errorf("%d, %d", p50, p99)
	}
}

func TestParseRedisBenchmark(t *testing.T) {
	const out = "WARNING: Could not fetch server CONFIG\n" +
		`"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"` + "\n" +
		`"GET","50000.00","0.9","0.2","0.800","1.500","2.000","9"` + "\n"
	o, err := parseRedisBenchmark(out, []string{"-n", "100000"})
	want := outcome{ops: 100000, elapsed: 2 * time.Second, p50: 800 * time.Microsecond, p99: 2 * time.Millisecond}
	if err != nil || o != want {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []string{"", `"test","rps"` + "\n", `"test","rps"` + "\n" + `"GET","0"` + "\n"} {
		if _, err := parseRedisBenchmark(bad, []string{"1"}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// Ratios are taken round by round, and a budget of throughput is met from above, one of CPU time from below.
func TestSummary(t *testing.T) {
	round := func(ops int, cpu time.Duration) sample {
		return sample{outcome: outcome{ops: ops, elapsed: time.Second, p50: 50*time.Microsecond + 100*cpu, p99: 100*time.Microsecond + 200*cpu}, cpu: cpu}
	}
	r := &report{results: []*result{{
		load: load{title: "load", budgets: []budget{{peer: haproxy, limit: 1.2}, {peer: direct, limit: 0.95, least: true}, {peer: twemproxy, limit: 1}, {peer: direct, limit: 0.1, p99: true}, {of: haproxy, peer: direct, limit: 0.3, p50: true}}},
		samples: map[string][]sample{
			direct:  {round(100, 0), round(200, 0)},
			haproxy: {round(90, 1000), round(90, 2000)},
			subject: {round(90, 1100), round(188, 2200)},
		},
	}}}
	var b strings.Builder
	r.summary(&b)
	for _, want := range []string{
		"| load | CPU of HAProxy | at most 1.20 | 1.10 (1.10 to 1.10) | met |",
		"| load | throughput of direct | at least 0.95 | 0.92 (0.90 to 0.94) | not met |",
		"| load | p99 of direct | at most ms more 0.10 | 0.33 (0.22 to 0.44) | not met |",
		"| load (HAProxy) | p50 of direct | at most ms more 0.30 | 0.15 (0.10 to 0.20) | met |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), twemproxy) {
		t.Error("a peer that was not measured is in the summary")
	}
}
