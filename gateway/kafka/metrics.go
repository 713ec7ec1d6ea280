package kafka

import (
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// metrics are one listener's instruments, resolved at first use and then found by API key alone.
type metrics struct {
	registry *telemetry.Registry
	listener string
	apis     [kafka.Keys]atomic.Pointer[apiMetrics]

	sessions  *telemetry.Gauge
	spliced   *telemetry.Counter
	local     *telemetry.Counter
	failed    *telemetry.Counter
	denied    *telemetry.Counter
	refused   *telemetry.Counter
	faults    *telemetry.Counter
	farOut    *telemetry.Counter
	throttled *telemetry.Histogram
	slowed    *telemetry.Histogram
}

type apiMetrics struct {
	requests *telemetry.Counter
	in, out  *telemetry.Counter
	latency  *telemetry.Histogram
}

func newMetrics(r *telemetry.Registry, name string) *metrics {
	return &metrics{
		registry: r, listener: name,
		sessions:  r.Gauge("sidewire_kafka_sessions", "Client connections with a broker behind them.", "listener", name),
		spliced:   r.Counter("sidewire_kafka_spliced_bytes_total", "Bytes moved inside the kernel without being copied.", "listener", name),
		local:     r.Counter("sidewire_kafka_local_answers_total", "Requests that sidewire answered itself.", "listener", name),
		refused:   r.Counter("sidewire_kafka_refused_requests_total", "Requests that a rule, a virtual cluster or a fault answered with an error.", "listener", name),
		faults:    r.Counter("sidewire_kafka_faults_total", "Requests that were hit by a configured fault.", "listener", name),
		throttled: r.Histogram("sidewire_kafka_throttle_seconds", "How long clients over their quota were told to wait.", telemetry.OperationBounds, "listener", name),
		slowed:    r.Histogram("sidewire_kafka_broker_throttle_seconds", "How long brokers told clients to wait in Produce and Fetch responses.", telemetry.OperationBounds, "listener", name),
		farOut:    r.Counter("sidewire_kafka_out_of_rack_bytes_total", "Bytes of Fetch responses from brokers in another rack.", "listener", name),
		denied:    r.Counter("sidewire_kafka_failed_authentications_total", "Clients that could not prove who they are.", "listener", name),
		failed:    r.Counter("sidewire_kafka_failed_sessions_total", "Sessions that a fault ended.", "listener", name),
	}
}

func (m *metrics) api(key int16) *apiMetrics {
	if a := m.apis[key].Load(); a != nil {
		return a
	}
	labels := []string{"listener", m.listener, "api", kafka.Name(key)}
	a := &apiMetrics{
		requests: m.registry.Counter("sidewire_kafka_requests_total", "Requests by API.", labels...),
		in:       m.registry.Counter("sidewire_kafka_request_bytes_total", "Bytes of requests by API.", labels...),
		out:      m.registry.Counter("sidewire_kafka_response_bytes_total", "Bytes of responses by API.", labels...),
		latency:  m.registry.Histogram("sidewire_kafka_request_duration_seconds", "From a request's arrival to its response's.", telemetry.OperationBounds, labels...),
	}
	if m.apis[key].CompareAndSwap(nil, a) {
		m.conventional(kafka.Name(key), a)
	}
	return m.apis[key].Load()
}

func (m *metrics) request(key int16, size int64) {
	a := m.api(key)
	a.requests.Inc()
	a.in.Add(size)
}

func (m *metrics) response(key int16, size int64, took time.Duration) {
	a := m.api(key)
	a.out.Add(size)
	a.latency.Observe(took)
}
