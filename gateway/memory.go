package gateway

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// watchMemory is how often use is looked at: often enough that a burst of connections is noticed, and free of cost.
const watchMemory = 250 * time.Millisecond

// memory keeps the process under its limit: the collector works harder before it, and new clients are refused in their own
// protocol's words instead of all of them dying at it.
type memory struct {
	full atomic.Bool

	mu      sync.Mutex // guards what follows
	limit   int64
	ending  chan struct{}
	watcher sync.WaitGroup
}

// configure takes a limit: what was configured, else GOMEMLIMIT, else the control group's; without any, nothing is watched.
func (m *memory) configure(g *Gateway, c config.Memory) {
	limit := int64(c.Limit)
	if limit == 0 {
		limit = systemLimit()
	}
	watch := int64(float64(limit) * c.Share)
	m.mu.Lock()
	defer m.mu.Unlock()
	if watch == m.limit {
		return
	}
	m.end()
	m.limit = watch
	if os.Getenv("GOMEMLIMIT") == "" {
		collect := watch
		if limit == 0 {
			collect = math.MaxInt64
		}
		debug.SetMemoryLimit(collect)
	}
	if limit == 0 {
		return
	}
	ending := make(chan struct{})
	m.ending = ending
	m.watcher.Go(func() { m.watch(g, watch, ending) })
}

func (m *memory) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end()
}

// end ends the watcher. mu is held.
func (m *memory) end() {
	if m.ending != nil {
		close(m.ending)
		m.ending = nil
		m.watcher.Wait()
	}
	m.full.Store(false)
}

func (m *memory) watch(g *Gateway, limit int64, ending <-chan struct{}) {
	tick := time.NewTicker(watchMemory)
	defer tick.Stop()
	for {
		select {
		case <-ending:
			return
		case <-tick.C:
		}
		used := inUse()
		switch {
		case used >= limit && !m.full.Swap(true):
			g.log.Error("memory limit reached; new connections are refused", "used", used, "limit", limit)
			debug.FreeOSMemory() // idle buffers included: the collector empties the pools
		case used < limit-limit/10 && m.full.Swap(false):
			g.log.Info("memory is below its limit again", "used", used, "limit", limit)
		}
	}
}

// inUse is what the runtime holds of the system's memory, in bytes: the figure that GOMEMLIMIT is about.
func inUse() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// systemLimit is GOMEMLIMIT, else the limit of the control group; 0 when there is neither.
func systemLimit() int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
			return limit
		}
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && limit > 0 && limit < 1<<60 { // version 1 writes "no limit" as a huge number
			return limit
		}
	}
	return 0
}
