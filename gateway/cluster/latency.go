package cluster

import (
	"math"
	"sync/atomic"
	"time"
)

// decay is how long an observation weighs: after it, a third of its weight is left.
const decay = 10 * time.Second

// latency is an exponentially weighted average that takes peaks at once ("peak EWMA"): a server that turns slow must lose
// its traffic now, one that recovers may win it back slowly.
type latency struct {
	nanos atomic.Uint64 // float64 bits
	when  atomic.Int64  // of the last observation
}

// observe takes a measurement. Two at the same moment may lose one: it is an average.
func (l *latency) observe(d time.Duration, now time.Time) {
	cost := l.at(now)
	x := float64(d)
	if x < cost {
		age := now.UnixNano() - l.when.Load()
		keep := math.Exp(-float64(max(age, 0)) / float64(decay))
		x = cost*keep + x*(1-keep)
	}
	l.nanos.Store(math.Float64bits(x))
	l.when.Store(now.UnixNano())
}

// at is the average now: what was seen long ago counts ever less, so that an endpoint nobody uses is tried again.
func (l *latency) at(now time.Time) float64 {
	n := l.nanos.Load()
	if n == 0 {
		return 0
	}
	age := now.UnixNano() - l.when.Load()
	return math.Float64frombits(n) * math.Exp(-float64(max(age, 0))/float64(10*decay))
}

// Observe tells how long an endpoint took to answer, for `balance: latency`.
func (c *Cluster) Observe(e *Endpoint, d time.Duration) {
	if c.Config().Balance == "latency" {
		e.latency.observe(d, c.deps.Now())
	}
}
