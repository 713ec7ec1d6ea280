package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report collects results and writes them down.
type report struct {
	started time.Time
	plan    plan
	results []*result
	memory  []string // lines of the memory table
	notes   []string
}

func (r *report) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(os.Stderr, "bench:", text)
	r.notes = append(r.notes, text)
}

// spread is the median of some figures and their extremes.
type spread struct{ median, low, high float64 }

func spreadOf(list []float64) spread {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	if n == 0 {
		return spread{}
	}
	return spread{median: (list[(n-1)/2] + list[n/2]) / 2, low: list[0], high: list[n-1]}
}

func (s spread) String() string {
	if s == (spread{}) {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.median, s.low, s.high)
}

// over collects a figure of every round.
func over(list []sample, f func(sample) float64) []float64 {
	var out []float64
	for _, s := range list {
		out = append(out, f(s))
	}
	return out
}

// ratio divides a figure of one contender by another's, round by round.
func (r *result) ratio(name, peer string, f func(sample) float64) spread {
	a, b := r.samples[name], r.samples[peer]
	var list []float64
	for i := range min(len(a), len(b)) {
		if d := f(b[i]); d > 0 {
			list = append(list, f(a[i])/d)
		}
	}
	return spreadOf(list)
}

// beside is by how much a figure of one contender is above another's, round by round.
func (r *result) beside(name, peer string, f func(sample) float64) spread {
	a, b := r.samples[name], r.samples[peer]
	var list []float64
	for i := range min(len(a), len(b)) {
		list = append(list, f(a[i])-f(b[i]))
	}
	return spreadOf(list)
}

func p50Of(s sample) float64 { return float64(s.p50) / float64(time.Millisecond) }

func p99Of(s sample) float64 { return float64(s.p99) / float64(time.Millisecond) }

func cpuOf(s sample) float64 { return float64(s.cpu) / float64(time.Microsecond) }

const subject = "sidewire"

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\n")
	how := "make bench"
	if r.plan.quick {
		how += " QUICK=1"
	}
	fmt.Fprintf(&b, "Written by `%s` on %s: %s, %d CPUs, %s. %d rounds of %v for each load and way.\n\n", how,
		r.started.UTC().Format(time.DateOnly), cpuModel(), runtime.NumCPU(), runtime.Version(), r.plan.rounds, r.plan.each)
	b.WriteString(`Client, server and proxy share the machine, so absolute figures say little; ratios are taken within a round and given as
median (lowest to highest). A difference below 0.1 is noise. CPU is user and system time of the proxy process alone. "sidewire tcp" is its
bare layer-4 relay, on the same listener and cluster code.

`)
	r.summary(&b)
	for _, result := range r.results {
		result.table(&b)
	}
	if len(r.memory) > 0 {
		b.WriteString("\n## Memory and start\n\n| what | value |\n|---|---|\n" + strings.Join(r.memory, "\n") + "\n")
	}
	if len(r.notes) > 0 {
		b.WriteString("\n## Left out\n\n")
		for _, n := range r.notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	return b.String()
}

// summary sets what the project promises beside what was measured.
func (r *report) summary(b *strings.Builder) {
	b.WriteString("## Budgets\n\n| load | compared with | budget | measured | |\n|---|---|---|---|---|\n")
	for _, result := range r.results {
		for _, want := range result.budgets {
			title, of := result.title, subject
			if want.of != "" {
				title, of = title+" ("+want.of+")", want.of
			}
			if len(result.samples[of]) == 0 || len(result.samples[want.peer]) == 0 {
				continue
			}
			what, bound, verdict := "CPU of "+want.peer, "at most", "not met"
			got := result.ratio(of, want.peer, cpuOf)
			switch {
			case want.least:
				what, bound = "throughput of "+want.peer, "at least"
				got = result.ratio(of, want.peer, sample.throughput)
			case want.p50:
				what, bound = "p50 of "+want.peer, "at most ms more"
				got = result.beside(of, want.peer, p50Of)
			case want.p99:
				what, bound = "p99 of "+want.peer, "at most ms more"
				got = result.beside(of, want.peer, p99Of)
			}
			if want.least == (got.median >= want.limit) || got.median == want.limit {
				verdict = "met"
			}
			fmt.Fprintf(b, "| %s | %s | %s %.2f | %s | %s |\n", title, what, bound, want.limit, got, verdict)
		}
	}
	for _, row := range r.shares() {
		b.WriteString(row)
	}
}

func (r *result) table(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n| | throughput of direct | CPU us/%s | CPU of HAProxy | system calls/%s | p50 ms | p99 ms | RSS MB |\n|---|---|---|---|---|---|---|---|\n", r.title, r.unit, r.unit)
	for _, c := range r.contenders {
		list := r.samples[c.name]
		cells := []string{c.name, r.ratio(c.name, direct, sample.throughput).String(), "-", "-", "-", millis(list, 50), millis(list, 99), "-"}
		if c.proxy != nil {
			cells[2] = fmt.Sprintf("%.1f", spreadOf(over(list, cpuOf)).median)
			cells[3] = r.ratio(c.name, haproxy, cpuOf).String()
			if n := list[0].syscalls; n >= 0 {
				cells[4] = fmt.Sprintf("%.2f", n)
			}
			cells[7] = fmt.Sprintf("%.0f", spreadOf(over(list, func(s sample) float64 { return float64(s.rss) / (1 << 20) })).median)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

func millis(list []sample, percentile int) string {
	m := spreadOf(over(list, func(s sample) float64 {
		if percentile == 50 {
			return p50Of(s)
		}
		return p99Of(s)
	})).median
	if m == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", m)
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, found := strings.CutPrefix(line, "model name"); found {
			return strings.TrimSpace(strings.TrimLeft(name, "\t: "))
		}
	}
	return runtime.GOARCH
}
