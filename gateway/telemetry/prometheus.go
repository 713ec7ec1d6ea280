package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves the metrics in Prometheus's formats, with those of the Go runtime and of the process.
func (r *Registry) Handler() http.Handler {
	p := prometheus.NewRegistry()
	p.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), r)
	return promhttp.HandlerFor(p, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Describe sends nothing: which metrics exist is known only when they are collected.
func (r *Registry) Describe(chan<- *prometheus.Desc) {}

// Collect reads every metric for Prometheus.
func (r *Registry) Collect(out chan<- prometheus.Metric) {
	r.each(func(f *family, s *series) {
		desc := prometheus.NewDesc(f.name, f.help, f.labels, nil)
		if !s.distributed() {
			kind := prometheus.GaugeValue
			if f.kind == KindCounter {
				kind = prometheus.CounterValue
			}
			out <- prometheus.MustNewConstMetric(desc, kind, s.value(), s.values...)
			return
		}
		read := s.read()
		cumulative := make(map[float64]uint64, len(read.Bounds))
		var below uint64
		for i, bound := range read.Bounds {
			below += read.Counts[i]
			cumulative[bound] = below
		}
		out <- prometheus.MustNewConstHistogram(desc, read.Count, read.Sum, cumulative, s.values...)
	})
}

// distributed reports whether a series is a histogram.
func (s *series) distributed() bool { return s.histogram != nil || s.reading != nil }

// read reads a histogram.
func (s *series) read() Reading {
	if s.reading != nil {
		return s.reading()
	}
	return s.histogram.Read()
}

// value reads a series that is no histogram.
func (s *series) value() float64 {
	switch {
	case s.counter != nil:
		return float64(s.counter.Value())
	case s.gauge != nil:
		return float64(s.gauge.Value())
	case s.function != nil:
		return s.function()
	}
	return 0
}

// each visits every series. Functions among them are called outside the lock: they belong to rooms that may be asking for
// metrics themselves.
func (r *Registry) each(visit func(*family, *series)) {
	type pair struct {
		f *family
		s series
	}
	var all []pair
	r.prepare()
	r.mu.RLock()
	for _, f := range r.families {
		for _, s := range f.series {
			if !r.development.Load() && unstable(f, s) {
				continue
			}
			all = append(all, pair{f, *s})
		}
	}
	r.mu.RUnlock()
	for i := range all {
		visit(all[i].f, &all[i].s)
	}
}
