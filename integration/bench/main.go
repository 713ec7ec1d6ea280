// Command bench measures sidewire beside its peers, alternately in one run, and writes a table of ratios.
//
// Every load runs for each way from client to server in turn (directly, through HAProxy, through twemproxy, through
// sidewire), and the turns repeat in rounds whose order rotates. A figure is the median over the rounds; a ratio is
// taken within a round, where the machine was the same for both, and the table shows the median and the extremes of
// these. CPU time is the proxy process's own, from /proc/PID/stat before and after.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// plan is how long a run takes.
type plan struct {
	rounds  int
	each    time.Duration // one load, one contender, one round
	clients int           // idle connections of the memory suite
	quick   bool
	only    *regexp.Regexp
}

func main() {
	quick := flag.Bool("quick", false, "fewer and shorter rounds")
	out := flag.String("out", "", "write the Markdown here as well")
	only := flag.String("only", "", "only loads whose title matches this `expression`")
	flag.Parse()
	p := plan{rounds: 5, each: 4 * time.Second, clients: 2000}
	if *quick {
		p.quick, p.rounds, p.each = true, 3, time.Second
	}
	var err error
	if p.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, p, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan, out string) error {
	fleet, err := servers.New()
	if err != nil {
		return err
	}
	defer fleet.Close()
	r := &report{started: time.Now(), plan: p}
	for _, s := range []struct {
		name string
		run  func(context.Context, *servers.Fleet, plan, *report) error
	}{{"redis", redisSuite}, {"pool", poolSuite}, {"mysql", mysqlSuite}, {"sharded", shardedSuite}, {"kafka", kafkaSuite}, {"memory", memorySuite}} {
		if err = s.run(ctx, fleet, p, r); err != nil {
			// What was measured before is still worth reading.
			err = fmt.Errorf("%s: %w", s.name, err)
			r.note("ended early: %v", err)
			break
		}
	}
	text := r.markdown()
	fmt.Print(text)
	if out == "" {
		return err
	}
	return errors.Join(err, os.WriteFile(out, []byte(text), 0o644))
}
