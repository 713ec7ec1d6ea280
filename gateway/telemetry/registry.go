package telemetry

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Kind is what a family of metrics is.
type Kind string

const (
	KindCounter   Kind = "counter"
	KindGauge     Kind = "gauge"
	KindHistogram Kind = "histogram"
)

// Registry holds every metric of the process. Asking for a metric takes a lock and builds a key: rooms ask once, when a
// listener, cluster or session begins, and keep what they got. Asking again with the same name and labels returns the same
// metric. A name that does not follow Prometheus's conventions, or that comes back with another kind or other label names,
// is a fault of the program and panics.
type Registry struct {
	mu       sync.RWMutex
	families map[string]*family
	stats    map[string]func() int64 // Envoy's names, for /stats
	before   []func()                // called ahead of every reading

	development atomic.Bool
}

type family struct {
	name, help string
	kind       Kind
	labels     []string // names, sorted
	series     map[string]*series
}

// series is one metric: exactly one of the fields is set.
type series struct {
	values    []string // of the family's labels, in their order
	counter   *Counter
	gauge     *Gauge
	function  func() float64
	histogram *Histogram
	reading   func() Reading
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{families: make(map[string]*family), stats: make(map[string]func() int64)}
}

// BeforeReading has f called ahead of every reading, for metrics of things that come and go: f asks for those that are new and
// deletes those that are gone. It runs on the reader's goroutine; two readings may call it at once.
func (r *Registry) BeforeReading(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = append(r.before, f)
}

// Counter returns the counter of that name, which ends in _total, and labels (name, value, name, value ...).
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	return written(name, r.resolve(name, help, KindCounter, labels, func(s *series) { s.counter = newCounter() }).counter)
}

// written refuses to write to a metric that a function is read for.
func written[T any](name string, metric *T) *T {
	if metric == nil {
		panic(fmt.Sprintf("telemetry: %s with these labels is read by a function", name))
	}
	return metric
}

// CounterFunc registers a counter that is read when somebody looks. A later one replaces it.
func (r *Registry) CounterFunc(name, help string, f func() float64, labels ...string) {
	r.function(name, help, KindCounter, f, labels)
}

// Gauge returns the gauge of that name and labels.
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	return written(name, r.resolve(name, help, KindGauge, labels, func(s *series) { s.gauge = new(Gauge) }).gauge)
}

// GaugeFunc registers a gauge that is read when somebody looks. A later one replaces it.
func (r *Registry) GaugeFunc(name, help string, f func() float64, labels ...string) {
	r.function(name, help, KindGauge, f, labels)
}

// Histogram returns the histogram of that name and labels. Its bounds are rising and in the unit the name ends in; with
// _seconds, Observe takes durations.
func (r *Registry) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	if !slices.IsSorted(bounds) || len(bounds) == 0 {
		panic(fmt.Sprintf("telemetry: bounds of %s do not rise", name))
	}
	scale := 1.0
	if strings.HasSuffix(name, "_seconds") {
		scale = 1e9
	}
	return written(name, r.resolve(name, help, KindHistogram, labels, func(s *series) { s.histogram = newHistogram(bounds, scale) }).histogram)
}

// HistogramFunc registers a histogram that is read when somebody looks: the counts of a room that has its own, or a histogram
// under a second name. A later one replaces it.
func (r *Registry) HistogramFunc(name, help string, f func() Reading, labels ...string) {
	s := r.resolve(name, help, KindHistogram, labels, func(s *series) { s.reading = f })
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.reading == nil {
		panic(fmt.Sprintf("telemetry: %s with these labels is not read by a function", name))
	}
	s.reading = f
}

// ShowDevelopment decides whether the names are shown that OpenTelemetry's conventions still have in development and may change:
// messaging, Redis, and all of the databases' but the duration.
func (r *Registry) ShowDevelopment(on bool) { r.development.Store(on) }

// unstable reports whether a series has a name that is still in development (semantic conventions 1.44).
func unstable(f *family, s *series) bool {
	switch {
	case strings.HasPrefix(f.name, "messaging_"):
		return true
	case !strings.HasPrefix(f.name, "db_"):
		return false
	case f.name != "db_client_operation_duration_seconds":
		return true
	}
	return f.carries(s, []string{"db_system_name"}, []string{"redis"})
}

// Delete drops every metric that carries all of the given labels, when what they name is gone. Whoever still holds one may
// go on writing to it; nobody sees it any more.
func (r *Registry) Delete(labels ...string) {
	names, values := sortLabels("Delete", labels)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.families {
		maps.DeleteFunc(f.series, func(_ string, s *series) bool { return f.carries(s, names, values) })
	}
}

func (f *family) carries(s *series, names, values []string) bool {
	for i, name := range names {
		at, found := slices.BinarySearch(f.labels, name)
		if !found || s.values[at] != values[i] {
			return false
		}
	}
	return true
}

// Stat shows a metric at /stats under the name Envoy gives it ("mysql.shop.sessions"). A later one replaces it.
func (r *Registry) Stat(name string, metric interface{ Value() int64 }) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats[name] = metric.Value
}

// DeleteStats drops the stats whose names begin with prefix.
func (r *Registry) DeleteStats(prefix string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.stats, func(name string, _ func() int64) bool { return strings.HasPrefix(name, prefix) })
}

// Stat is one line of /stats.
type Stat struct {
	Name  string
	Value int64
}

// StatFunc is a stat that is read when somebody looks.
type StatFunc func() int64

// Value reads it.
func (f StatFunc) Value() int64 { return f() }

// Stats reads all stats, sorted by name.
func (r *Registry) Stats() []Stat {
	r.prepare()
	r.mu.RLock()
	read := maps.Clone(r.stats)
	r.mu.RUnlock()
	all := make([]Stat, 0, len(read))
	for name, value := range read {
		all = append(all, Stat{name, value()})
	}
	slices.SortFunc(all, func(a, b Stat) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// prepare has those called who want to be called ahead of every reading.
func (r *Registry) prepare() {
	r.mu.RLock()
	before := r.before
	r.mu.RUnlock()
	for _, f := range before {
		f()
	}
}

func (r *Registry) function(name, help string, kind Kind, f func() float64, labels []string) {
	s := r.resolve(name, help, kind, labels, func(s *series) { s.function = f })
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.function == nil {
		panic(fmt.Sprintf("telemetry: %s with these labels is not read by a function", name))
	}
	s.function = f
}

func (r *Registry) resolve(name, help string, kind Kind, labels []string, fill func(*series)) *series {
	names, values := sortLabels(name, labels)
	key := strings.Join(values, "\xff")
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.families[name]
	if f == nil {
		if problem := lint(name, help, kind, names); problem != "" {
			panic(fmt.Sprintf("telemetry: metric %q %s", name, problem))
		}
		f = &family{name: name, help: help, kind: kind, labels: names, series: make(map[string]*series)}
		r.families[name] = f
	}
	if f.kind != kind || !slices.Equal(f.labels, names) {
		panic(fmt.Sprintf("telemetry: %s is a %s by %v, not a %s by %v", name, f.kind, f.labels, kind, names))
	}
	s := f.series[key]
	if s == nil {
		s = &series{values: values}
		f.series[key] = s
	}
	if s.counter == nil && s.gauge == nil && s.histogram == nil && s.function == nil && s.reading == nil {
		fill(s)
	}
	return s
}

// sortLabels splits name, value, name, value into two slices in the order of the names.
func sortLabels(metric string, labels []string) (names, values []string) {
	if len(labels)%2 != 0 {
		panic(fmt.Sprintf("telemetry: label %q of %s has no value", labels[len(labels)-1], metric))
	}
	order := make([]int, 0, len(labels)/2)
	for i := 0; i < len(labels); i += 2 {
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(labels[a], labels[b]) })
	for _, i := range order {
		names, values = append(names, labels[i]), append(values, strings.ToValidUTF8(labels[i+1], "\uFFFD"))
	}
	return names, values
}

var (
	metricName = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	labelName  = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	smallUnits = regexp.MustCompile(`_(ms|us|ns|milliseconds|microseconds|nanoseconds|kilobytes|megabytes|kb|mb|minutes|hours|percent)(_|$)`)
	ownSuffix  = regexp.MustCompile(`_(count|sum|bucket)$`)
)

// lint tells what promtool would complain about, at the moment somebody writes it.
func lint(name, help string, kind Kind, labels []string) string {
	switch {
	case !metricName.MatchString(name):
		return "must be lower-case words joined by single underscores"
	case help == "":
		return "has no help text"
	case kind == KindCounter && !strings.HasSuffix(name, "_total"):
		return "is a counter and must end in _total"
	case kind != KindCounter && strings.HasSuffix(name, "_total"):
		return "is no counter and must not end in _total"
	case ownSuffix.MatchString(name):
		return "must not end in _count, _sum or _bucket: histograms make those"
	case smallUnits.MatchString(name):
		return "must use a base unit: seconds, bytes, ratio"
	}
	for i, l := range labels {
		if !labelName.MatchString(l) || l == "le" || l == "quantile" {
			return fmt.Sprintf("has a label %q that is not a plain lower-case word", l)
		}
		if i > 0 && labels[i-1] == l {
			return fmt.Sprintf("has label %q twice", l)
		}
	}
	return ""
}

// Family is all metrics of one name at one moment.
type Family struct {
	Name, Help string
	Kind       Kind
	Labels     []string // names
	Samples    []Sample
}

// Sample is one metric: a value, or a reading of a histogram.
type Sample struct {
	Labels  []string // values, in the order of the family's names
	Value   float64
	Reading Reading
}

// Read reads every metric, those of one name together.
func (r *Registry) Read() []Family {
	var out []Family
	at := map[string]int{}
	r.each(func(f *family, s *series) {
		i, known := at[f.name]
		if !known {
			i = len(out)
			at[f.name] = i
			out = append(out, Family{Name: f.name, Help: f.help, Kind: f.kind, Labels: f.labels})
		}
		sample := Sample{Labels: s.values}
		if s.distributed() {
			sample.Reading = s.read()
		} else {
			sample.Value = s.value()
		}
		out[i].Samples = append(out[i].Samples, sample)
	})
	return out
}
