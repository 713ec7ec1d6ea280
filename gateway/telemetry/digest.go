package telemetry

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// evictEvery bounds how often room is made for new forms, and with it what a client costs that never repeats itself.
const evictEvery = time.Second

// digest counts the statements of one form.
type digest struct {
	// Fixed at creation.
	id         uint64
	text       string // sanitised
	summary    string
	durations  *Histogram
	upstream   *Counter
	rows       *Counter
	errors     *Counter
	worst, end atomic.Int64 // the longest duration, and when the last one ended, in nanoseconds

	score, seen int64 // guarded by digests.mu: how busy it has been of late, and its count when that was last looked at
}

func newDigest(id uint64, text, summary string) *digest {
	return &digest{id: id, text: text, summary: summary, durations: newHistogram(OperationBounds, 1e9), upstream: newCounter(), rows: newCounter(), errors: newCounter()}
}

func (d *digest) add(st *Statement) {
	d.durations.Observe(st.Duration)
	d.upstream.Add(int64(st.Upstream))
	if st.Rows != 0 {
		d.rows.Add(st.Rows)
	}
	if st.Code != "" {
		d.errors.Inc()
	}
	for n := int64(st.Duration); ; {
		was := d.worst.Load()
		if n <= was || d.worst.CompareAndSwap(was, n) {
			break
		}
	}
	if now := st.Start.UnixNano() + int64(st.Duration); now-d.end.Load() > int64(time.Millisecond) { // not a write a statement
		d.end.Store(now)
	}
}

// absorb takes over the counts of a form that had to leave.
func (d *digest) absorb(gone *digest) {
	for i := range gone.durations.words {
		if n := gone.durations.words[i].Load(); n != 0 {
			d.durations.words[i].Add(n)
		}
	}
	d.upstream.Add(gone.upstream.Value())
	d.rows.Add(gone.rows.Value())
	d.errors.Add(gone.errors.Value())
	d.worst.Store(max(d.worst.Load(), gone.worst.Load()))
	d.end.Store(max(d.end.Load(), gone.end.Load()))
}

// digests are the busiest forms of one listener's statements, and one for all the others.
type digests struct {
	table atomic.Pointer[map[uint64]*digest]
	other *digest

	mu      sync.Mutex // held while the table is replaced; guards what follows
	evicted int64      // when room was last made, in nanoseconds
}

func (t *digests) init() {
	t.table.Store(&map[uint64]*digest{})
	t.other = newDigest(0, "", "")
}

// find returns the form's counts; those of the others when there is no room for it.
func (t *digests) find(st *Statement, describe Describer, limit int) *digest {
	if d := (*t.table.Load())[st.Digest]; d != nil {
		return d
	}
	if !t.mu.TryLock() { // somebody is at it; a form that comes back gets its place then
		return t.other
	}
	defer t.mu.Unlock()
	table := *t.table.Load()
	if d := table[st.Digest]; d != nil {
		return d
	}
	now := st.Start.UnixNano()
	if len(table) >= limit && now-t.evicted < int64(evictEvery) {
		return t.other
	}
	table = maps.Clone(table)
	if len(table) >= limit {
		t.evicted = now
		t.evict(table, limit-max(1, limit/4))
	}
	d := t.other
	if len(table) < limit {
		text, summary := describe(st.Text, st.Mode)
		d = newDigest(st.Digest, text, summary)
		table[st.Digest] = d
	}
	t.table.Store(&table)
	return d
}

// evict keeps the busiest forms. Busy is what came since the last time, and half of what was before: a form that was frequent
// yesterday gives way in the end. A session may still be adding to one that leaves; that statement is lost to the view.
func (t *digests) evict(table map[uint64]*digest, keep int) {
	all := make([]*digest, 0, len(table))
	for _, d := range table {
		n := int64(d.durations.Read().Count)
		d.score = d.score/2 + n - d.seen
		d.seen = n
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *digest) int { return cmp.Compare(b.score, a.score) })
	for _, d := range all[min(max(keep, 0), len(all)):] {
		delete(table, d.id)
		t.other.absorb(d)
	}
}

// DigestView is one form of statements as the admin interface shows it. Times are in seconds.
type DigestView struct {
	Listener string    `json:"listener,omitempty"`
	Cluster  string    `json:"cluster,omitempty"` // where it is counted, if not at a listener
	Protocol string    `json:"protocol"`
	Digest   string    `json:"digest,omitempty"` // hexadecimal; empty: all the forms that there was no room for
	Text     string    `json:"text"`
	Summary  string    `json:"summary,omitempty"`
	Count    int64     `json:"count"`
	Errors   int64     `json:"errors"`
	Rows     int64     `json:"rows"`
	Total    float64   `json:"total_seconds"`
	Upstream float64   `json:"upstream_seconds,omitempty"`
	Mean     float64   `json:"mean_seconds"`
	P95      float64   `json:"p95_seconds"` // the upper bound of the bucket it falls into
	Max      float64   `json:"max_seconds"`
	Last     time.Time `json:"last"`
}

func (t *digests) view(all []DigestView, r *Recorder) []DigestView {
	for _, d := range *t.table.Load() {
		all = append(all, d.view(r))
	}
	if v := t.other.view(r); v.Count > 0 {
		v.Text = "(all other forms)"
		all = append(all, v)
	}
	return all
}

func (d *digest) view(r *Recorder) DigestView {
	read := d.durations.Read()
	v := DigestView{Listener: r.listener, Protocol: r.protocol, Text: d.text, Summary: d.summary, Errors: d.errors.Value(), Rows: d.rows.Value(),
		Upstream: time.Duration(d.upstream.Value()).Seconds(), Max: time.Duration(d.worst.Load()).Seconds(), Last: time.Unix(0, d.end.Load()).UTC()}
	if d.id != 0 {
		v.Digest = hex(d.id)
	}
	v.Measure(read)
	return v
}

// Measure fills in what a histogram of durations says.
func (v *DigestView) Measure(read Reading) {
	v.Count, v.Total = int64(read.Count), read.Sum
	if read.Count > 0 {
		v.Mean = read.Sum / float64(read.Count)
		v.P95 = min(read.Quantile(0.95), v.Max)
	}
}

// Quantile is the upper bound of the bucket that a quantile falls into; the highest bound when it is beyond.
func (r Reading) Quantile(q float64) float64 {
	want := uint64(q * float64(r.Count))
	var seen uint64
	for i, n := range r.Counts {
		if seen += n; seen > want || seen == r.Count {
			return r.Bounds[min(i, len(r.Bounds)-1)]
		}
	}
	return 0
}

func sortDigests(all []DigestView) {
	slices.SortFunc(all, func(a, b DigestView) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Text, b.Text))
	})
}

func hex(n uint64) string {
	var b [16]byte
	for i := range b {
		b[15-i] = hexDigits[n&15]
		n >>= 4
	}
	return string(b[:])
}
