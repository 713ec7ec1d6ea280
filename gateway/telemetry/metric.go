package telemetry

import (
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"
)

// cacheLine keeps shards that different cores write apart.
const cacheLine = 64

// shards is how many pieces a counter is split into: enough for every core to write its own, a power of two.
var shards = 1 << bits.Len(uint(min(runtime.GOMAXPROCS(0), 64)-1))

// shard picks the piece the calling goroutine writes to. A goroutine's stack is memory of its own, so the place of a local
// variable spreads goroutines over the pieces at the price of a shift; which piece it is matters to nobody.
func shard() int {
	var here byte
	at := uintptr(unsafe.Pointer(&here))
	return int((at>>11 ^ at>>15 ^ at>>20) & uintptr(shards-1))
}

type cell struct {
	n atomic.Int64
	_ [cacheLine - 8]byte
}

// Counter counts upwards. It is safe for concurrent use; adding costs one atomic on a cache line that few others touch.
type Counter struct{ cells []cell }

func newCounter() *Counter { return &Counter{cells: make([]cell, shards)} }

// Inc adds one.
func (c *Counter) Inc() { c.cells[shard()].n.Add(1) }

// Add adds n, which must not be negative.
func (c *Counter) Add(n int64) { c.cells[shard()].n.Add(n) }

// Value sums the pieces.
func (c *Counter) Value() int64 {
	var sum int64
	for i := range c.cells {
		sum += c.cells[i].n.Load()
	}
	return sum
}

// Gauge is a value that goes up and down.
type Gauge struct{ n atomic.Int64 }

// Set, Add, Inc and Dec change the value.
func (g *Gauge) Set(n int64) { g.n.Store(n) }
func (g *Gauge) Add(n int64) { g.n.Add(n) }
func (g *Gauge) Inc()        { g.n.Add(1) }
func (g *Gauge) Dec()        { g.n.Add(-1) }

// Value reads the value.
func (g *Gauge) Value() int64 { return g.n.Load() }

// Bounds of histograms that several rooms share.
var (
	// OperationBounds are the buckets OpenTelemetry prescribes for db.client.operation.duration, in seconds, and below
	// them the ones a proxy on the same machine needs.
	OperationBounds = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}
	// OverheadBounds are for time spent inside sidewire, in seconds.
	OverheadBounds = []float64{0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.1, 1}
)

// Histogram counts values by buckets. Its unit is the metric's name's: durations are kept in nanoseconds and shown in seconds.
type Histogram struct {
	bounds []int64   // upper bounds in the unit that is kept
	shown  []float64 // the same in the unit that is shown
	scale  float64   // kept units in one shown unit
	stride int       // words of one shard: buckets, the one above all, the sum, padding
	words  []atomic.Int64
}

func newHistogram(bounds []float64, scale float64) *Histogram {
	const line = cacheLine / 8
	h := &Histogram{shown: bounds, scale: scale, stride: (len(bounds) + 2 + line - 1) / line * line}
	for _, b := range bounds {
		h.bounds = append(h.bounds, int64(b*scale+0.5))
	}
	h.words = make([]atomic.Int64, h.stride*shards)
	return h
}

// Observe records a duration; the histogram's name ends in _seconds.
func (h *Histogram) Observe(d time.Duration) { h.Record(int64(d)) }

// Record records a value of a histogram of another unit (bytes, rows).
func (h *Histogram) Record(n int64) {
	bucket := 0
	for bucket < len(h.bounds) && n > h.bounds[bucket] {
		bucket++
	}
	base := shard() * h.stride
	h.words[base+bucket].Add(1)
	h.words[base+len(h.bounds)+1].Add(n)
}

// Reading is a histogram at one moment. Counts has one more element than Bounds and is not cumulative.
type Reading struct {
	Bounds []float64
	Counts []uint64
	Count  uint64
	Sum    float64
}

// Read sums the pieces.
func (h *Histogram) Read() Reading {
	r := Reading{Bounds: h.shown, Counts: make([]uint64, len(h.bounds)+1)}
	var sum int64
	for base := 0; base < len(h.words); base += h.stride {
		for i := range r.Counts {
			n := uint64(h.words[base+i].Load())
			r.Counts[i] += n
			r.Count += n
		}
		sum += h.words[base+len(h.bounds)+1].Load()
	}
	r.Sum = float64(sum) / h.scale
	return r
}

// Value is the number of values recorded, so that a histogram may serve as a stat.
func (h *Histogram) Value() int64 { return int64(h.Read().Count) }
