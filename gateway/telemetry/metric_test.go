package telemetry

import (
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestCountersAddUpAcrossGoroutines(t *testing.T) {
	r := NewRegistry()
	c := r.Counter("sidewire_test_total", "Test.", "kind", "a")
	h := r.Histogram("sidewire_test_duration_seconds", "Test.", []float64{0.001, 0.01})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range 1000 {
				c.Inc()
				c.Add(2)
				h.Observe(time.Duration(i%3) * 5 * time.Millisecond) // 0, 5 and 10 ms
			}
		})
	}
	all.Wait()
	if n := c.Value(); n != 48000 {
		t.Errorf("counter says %d, want 48000", n)
	}
	got := h.Read()
	if got.Count != 16000 || got.Counts[0] != 16*334 || got.Counts[1] != 16*666 || got.Counts[2] != 0 {
		t.Errorf("histogram says %+v", got)
	}
	if want := 16 * (333*0.005 + 333*0.010); got.Sum < want-1e-6 || got.Sum > want+1e-6 {
		t.Errorf("sum %v, want %v", got.Sum, want)
	}
}

func TestMetricsDoNotAllocate(t *testing.T) {
	r := NewRegistry()
	c := r.Counter("sidewire_test_total", "Test.")
	g := r.Gauge("sidewire_test_connections", "Test.")
	h := r.Histogram("sidewire_test_duration_seconds", "Test.", OperationBounds)
	if n := testing.AllocsPerRun(1000, func() {
		c.Inc()
		g.Inc()
		g.Dec()
		h.Observe(time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSameNameAndLabelsIsTheSameMetric(t *testing.T) {
	r := NewRegistry()
	a := r.Counter("sidewire_test_total", "Test.", "b", "2", "a", "1")
	if b := r.Counter("sidewire_test_total", "Test.", "a", "1", "b", "2"); a != b {
		t.Error("the order of labels made another counter")
	}
	if b := r.Counter("sidewire_test_total", "Test.", "a", "1", "b", "3"); a == b {
		t.Error("another label value gave the same counter")
	}
}

func TestFaultsOfTheProgramPanic(t *testing.T) {
	r := NewRegistry()
	r.Counter("sidewire_used_total", "Used.", "a", "1")
	r.GaugeFunc("sidewire_read_connections", "Read.", func() float64 { return 1 })
	for name, f := range map[string]func(){
		"counter without _total": func() { r.Counter("sidewire_things", "Things.") },
		"gauge with _total":      func() { r.Gauge("sidewire_things_total", "Things.") },
		"no help":                func() { r.Gauge("sidewire_things", "") },
		"milliseconds":           func() { r.Gauge("sidewire_wait_ms", "Wait.") },
		"upper case":             func() { r.Gauge("sidewireThings", "Things.") },
		"made suffix":            func() { r.Gauge("sidewire_things_count", "Things.") },
		"label le":               func() { r.Gauge("sidewire_things", "Things.", "le", "1") },
		"label twice":            func() { r.Gauge("sidewire_things", "Things.", "a", "1", "a", "2") },
		"label without value":    func() { r.Gauge("sidewire_things", "Things.", "a") },
		"another kind":           func() { r.CounterFunc("sidewire_read_connections", "Read.", nil) },
		"other labels":           func() { r.Counter("sidewire_used_total", "Used.", "b", "1") },
		"writing a function":     func() { r.Gauge("sidewire_read_connections", "Read.") },
		"falling bounds":         func() { r.Histogram("sidewire_size_bytes", "Size.", []float64{2, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("went through")
				}
			}()
			f()
		})
	}
}

func filled() *Registry {
	r := NewRegistry()
	r.Counter("sidewire_used_total", "Used.", "cluster", "a", "endpoint", "1").Add(3)
	r.Counter("sidewire_used_total", "Used.", "cluster", "a", "endpoint", "2").Add(4)
	r.Counter("sidewire_used_total", "Used.", "cluster", "b", "endpoint", "1").Add(5)
	r.Gauge("sidewire_connections", "Connections.", "cluster", "a").Set(-1)
	r.GaugeFunc("sidewire_lag_seconds", "Lag.", func() float64 { return 1.5 }, "cluster", "\xff\"\n")
	r.Histogram("db_client_operation_duration_seconds", "Duration.", OperationBounds, "db_system_name", "mysql").Observe(3 * time.Millisecond)
	r.Histogram("sidewire_response_bytes", "Size.", []float64{100, 1000}).Record(500)
	return r
}

func TestExposition(t *testing.T) {
	r := filled()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body := w.Body.String()
	for _, want := range []string{
		`sidewire_used_total{cluster="a",endpoint="2"} 4`,
		`sidewire_connections{cluster="a"} -1`,
		"sidewire_lag_seconds{cluster=\"\uFFFD\\\"\\n\"} 1.5",
		`db_client_operation_duration_seconds_bucket{db_system_name="mysql",le="0.001"} 0`,
		`db_client_operation_duration_seconds_bucket{db_system_name="mysql",le="0.005"} 1`,
		`db_client_operation_duration_seconds_bucket{db_system_name="mysql",le="+Inf"} 1`,
		`db_client_operation_duration_seconds_sum{db_system_name="mysql"} 0.003`,
		`sidewire_response_bytes_bucket{le="1000"} 1`,
		`sidewire_response_bytes_sum 500`,
		"go_goroutines",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestDelete(t *testing.T) {
	r := filled()
	kept := r.Counter("sidewire_used_total", "Used.", "cluster", "a", "endpoint", "1")
	r.Delete("endpoint", "1", "cluster", "a")
	kept.Inc()
	p := prometheus.NewRegistry()
	p.MustRegister(r)
	families, err := p.Gather()
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, f := range families {
		if f.GetName() == "sidewire_used_total" {
			used = len(f.Metric)
		}
	}
	if used != 2 {
		t.Errorf("%d series are left, want 2", used)
	}
	r.Delete("cluster", "a")
	if again := r.Counter("sidewire_used_total", "Used.", "cluster", "a", "endpoint", "1"); again.Value() != 0 {
		t.Error("a cluster of the same name inherited the count of the one before")
	}
}

func TestStats(t *testing.T) {
	r := NewRegistry()
	c := r.Counter("sidewire_used_total", "Used.")
	c.Add(7)
	r.Stat("mysql.shop.queries", c)
	r.Stat("mysql.shop.a", &Gauge{})
	r.Stat("redis.cache.b", &Gauge{})
	if got := r.Stats(); len(got) != 3 || got[0] != (Stat{"mysql.shop.a", 0}) || got[1] != (Stat{"mysql.shop.queries", 7}) {
		t.Errorf("%v", got)
	}
	r.DeleteStats("mysql.shop.")
	if got := r.Stats(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// TestFunctionsMayAsk checks that a function read at scrape may use the registry itself.
func TestFunctionsMayAsk(t *testing.T) {
	r := NewRegistry()
	r.GaugeFunc("sidewire_things", "Things.", func() float64 {
		return float64(r.Counter("sidewire_asked_total", "Asked.").Value())
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		io.Copy(io.Discard, w.Body)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a scrape hangs")
	}
}

func BenchmarkCounter(b *testing.B) {
	c := NewRegistry().Counter("sidewire_test_total", "Test.")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Inc()
		}
	})
}

func BenchmarkHistogram(b *testing.B) {
	h := NewRegistry().Histogram("sidewire_test_duration_seconds", "Test.", OperationBounds)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.Observe(300 * time.Microsecond)
		}
	})
}
