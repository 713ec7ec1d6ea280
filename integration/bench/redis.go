package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// keys of 64 bytes that every GET finds.
const keys = 100000

func redisSuite(ctx context.Context, fleet *servers.Fleet, p plan, r *report) error {
	loads := []load{
		{title: "Redis GET, 50 clients", budgets: cpuOver(twemproxy, 0.8), run: redisGet(50, 1)},
		{title: "Redis GET, 50 clients, pipeline of 16", budgets: cpuOver(twemproxy, 0.3), run: redisGet(50, 16)},
		{title: "Redis GET, 1 client", budgets: cpuOver(twemproxy, 0.9), run: redisGet(1, 1)},
		{title: "Redis GET, 500 clients", budgets: cpuOver(twemproxy, 0.9), run: redisGet(500, 1)},
	}
	for i := range loads {
		loads[i].unit = "command"
	}
	if !wanted(p, loads) {
		return nil
	}
	server, err := fleet.Redis(ctx)
	if err != nil {
		return err
	}
	defer server.Kill()
	_, err = redisBenchmark(ctx, server.Addr, "-t", "set", "-c", "50", "-P", "16", "-n", strconv.Itoa(10*keys))
	if err != nil {
		return err
	}
	contenders, err := redisPeers(ctx, fleet, r, "", server)
	defer func() { stop(contenders) }()
	if err != nil {
		return err
	}
	return measureAll(ctx, p, r, loads, contenders)
}

// redisPeers is who is compared before servers: layer 4 before the first, twemproxy and sidewire, in the fields of whose cluster's block
// it is said how keys are placed, before all.
func redisPeers(ctx context.Context, fleet *servers.Fleet, r *report, placed string, nodes ...*servers.RedisServer) ([]contender, error) {
	contenders, err := layer4(ctx, fleet, r, nodes[0].Addr)
	if err != nil {
		return contenders, err
	}
	t, err := fleet.Twemproxy(ctx, nodes...)
	if err != nil {
		return contenders, err
	}
	contenders = append(contenders, contender{name: twemproxy, addr: t.Addrs[0], proxy: t.Process})
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, strconv.Quote(n.Addr))
	}
	return appendSidewire(ctx, fleet, r, contenders, subject, fmt.Sprintf(`
listeners: [{name: l, address: "LISTEN", redis: {cluster: c}}]
clusters: [{name: c, redis: {%s}, endpoints: [%s]}]
`, placed, strings.Join(addrs, ", ")))
}

// redisGet is redis-benchmark for about so long: it takes a number of requests, so its pace is learnt in a short go.
func redisGet(clients, pipeline int) func(context.Context, string, time.Duration) (outcome, error) {
	pace := 0.0 // requests a second, of the latest go
	return func(ctx context.Context, addr string, d time.Duration) (outcome, error) {
		n := int(max(pace*d.Seconds(), float64(200*clients*pipeline)))
		did, err := redisBenchmark(ctx, addr, "-t", "get", "-c", strconv.Itoa(clients), "-P", strconv.Itoa(pipeline), "-n", strconv.Itoa(n))
		if err == nil {
			pace = float64(did.ops) / did.elapsed.Seconds()
		}
		return did, err
	}
}

func redisBenchmark(ctx context.Context, addr string, args ...string) (outcome, error) {
	host, port, _ := strings.Cut(addr, ":")
	args = append([]string{"-h", host, "-p", port, "-d", "64", "-r", strconv.Itoa(keys), "--csv", "--precision", "3"}, args...)
	out, err := exec.CommandContext(ctx, "redis-benchmark", args...).Output()
	if err != nil {
		return outcome{}, fmt.Errorf("running redis-benchmark: %w", err)
	}
	return parseRedisBenchmark(string(out), args)
}

// parseRedisBenchmark reads the two lines "test","rps",... and "GET","123.4",... at the end; warnings may stand before.
func parseRedisBenchmark(out string, args []string) (outcome, error) {
	start := strings.Index(out, `"test"`)
	if start < 0 {
		return outcome{}, fmt.Errorf("reading redis-benchmark's figures: no heading in %q", out)
	}
	rows, err := csv.NewReader(strings.NewReader(out[start:])).ReadAll()
	if err != nil || len(rows) != 2 {
		return outcome{}, fmt.Errorf("reading redis-benchmark's figures: %d rows, %v", len(rows), err)
	}
	figures := map[string]float64{}
	for i, name := range rows[0] {
		figures[name], _ = strconv.ParseFloat(rows[1][i], 64)
	}
	ops, _ := strconv.Atoi(args[len(args)-1])
	rps := figures["rps"]
	if rps <= 0 {
		return outcome{}, fmt.Errorf("reading redis-benchmark's figures: %v", rows[1])
	}
	milli := float64(time.Millisecond)
	return outcome{
		ops: ops, elapsed: time.Duration(float64(ops) / rps * float64(time.Second)),
		p50: time.Duration(figures["p50_latency_ms"] * milli), p99: time.Duration(figures["p99_latency_ms"] * milli),
	}, nil
}
