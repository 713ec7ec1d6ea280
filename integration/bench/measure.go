package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// contender is one way from a client to the servers.
type contender struct {
	name  string
	addr  string           // where clients connect
	proxy *servers.Process // whose CPU and memory is charged; nil: directly
}

// load is one kind of traffic.
type load struct {
	title   string
	unit    string // what an operation is
	budgets []budget
	// run drives the load at addr for about that long and says what it did.
	run func(ctx context.Context, addr string, d time.Duration) (outcome, error)
}

// budget is what the project promises of sidewire beside a peer.
type budget struct {
	of    string // whose; empty: the subject's
	peer  string
	limit float64
	least bool // of throughput, at least so much of the peer's; else of CPU time, at most
	p50   bool // of the median latency, at most so many milliseconds more than the peer's
	p99   bool // of the 99th percentile of latency, likewise
}

// outcome is what one load did in one go.
type outcome struct {
	ops      int
	elapsed  time.Duration
	p50, p99 time.Duration // zero: the load does not know
}

// sample is an outcome and what it cost.
type sample struct {
	outcome
	cpu      time.Duration // of the proxy, per operation
	rss      int64
	syscalls float64 // of the proxy, per operation; negative: not measured
}

func (s sample) throughput() float64 { return float64(s.ops) / s.elapsed.Seconds() }

// result is everything measured for one load.
type result struct {
	load
	contenders []contender
	samples    map[string][]sample // by contender, one a round
}

// measure runs one load through all contenders in rounds.
func measure(ctx context.Context, p plan, l load, contenders []contender) (*result, error) {
	r := &result{load: l, contenders: contenders, samples: map[string][]sample{}}
	for _, c := range contenders {
		// Connections, caches and pools are filled before anything is counted.
		if _, err := l.run(ctx, c.addr, p.each/4); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", l.title, c.name, err)
		}
	}
	order := slices.Clone(contenders)
	for range p.rounds {
		for _, c := range order {
			s, err := once(ctx, p, l, c)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", l.title, c.name, err)
			}
			r.samples[c.name] = append(r.samples[c.name], s)
		}
		order = append(order[1:], order[0])
	}
	// System calls are counted apart: counting slows every one of them down.
	for _, c := range contenders {
		n, err := countSyscalls(ctx, p, l, c)
		if err != nil {
			return nil, err
		}
		for i := range r.samples[c.name] {
			r.samples[c.name][i].syscalls = n
		}
	}
	fmt.Fprintf(os.Stderr, "bench: %s: done\n", l.title)
	return r, nil
}

func once(ctx context.Context, p plan, l load, c contender) (sample, error) {
	var before time.Duration
	var err error
	if c.proxy != nil {
		if before, err = c.proxy.CPU(); err != nil {
			return sample{}, err
		}
	}
	did, err := l.run(ctx, c.addr, p.each)
	if err != nil {
		return sample{}, err
	}
	s := sample{outcome: did}
	if c.proxy != nil {
		after, err := c.proxy.CPU()
		if err != nil {
			return sample{}, err
		}
		s.cpu = (after - before) / time.Duration(max(did.ops, 1))
		if s.rss, err = c.proxy.RSS(); err != nil {
			return sample{}, err
		}
	}
	return s, nil
}

// countSyscalls runs the load once more with perf attached to the proxy. It returns -1 where perf is not there or not
// allowed to.
func countSyscalls(ctx context.Context, p plan, l load, c contender) (float64, error) {
	if c.proxy == nil {
		return -1, nil
	}
	var out bytes.Buffer
	perf := exec.CommandContext(ctx, "perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", strconv.Itoa(c.proxy.PID()))
	perf.Stderr = &out
	if err := perf.Start(); err != nil {
		return -1, nil
	}
	// perf says nothing when it is ready: a first go gives it the time, and is counted with its operations.
	did, err := l.run(ctx, c.addr, p.each/2)
	perf.Process.Signal(os.Interrupt)
	perf.Wait()
	if err != nil {
		return -1, err
	}
	count, _, _ := strings.Cut(out.String(), ",")
	n, err := strconv.ParseFloat(strings.TrimSpace(count), 64)
	if err != nil || did.ops == 0 {
		return -1, nil
	}
	return n / float64(did.ops), nil
}

// percentiles sorts what it is given.
func percentiles(all []time.Duration) (p50, p99 time.Duration) {
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}
