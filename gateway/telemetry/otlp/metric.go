package otlp

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// producer hands the registry's metrics to the SDK's reader: they are counted once, for /metrics and for OTLP alike.
type producer struct {
	registry *telemetry.Registry
	version  string
	started  time.Time
}

// conventional are the names that OpenTelemetry has for metrics, by the name they have at /metrics, with their units.
var conventional = map[string][2]string{
	"db_client_operation_duration_seconds":        {"db.client.operation.duration", "s"},
	"db_client_response_returned_rows":            {"db.client.response.returned_rows", "{row}"},
	"db_client_connections":                       {"db.client.connection.count", "{connection}"},
	"db_client_connection_pending_requests":       {"db.client.connection.pending_requests", "{request}"},
	"db_client_connection_max":                    {"db.client.connection.max", "{connection}"},
	"db_client_connection_idle_max":               {"db.client.connection.idle.max", "{connection}"},
	"db_client_connection_idle_min":               {"db.client.connection.idle.min", "{connection}"},
	"db_client_connection_timeouts_total":         {"db.client.connection.timeouts", "{timeout}"},
	"db_client_connection_create_time_seconds":    {"db.client.connection.create_time", "s"},
	"db_client_connection_wait_time_seconds":      {"db.client.connection.wait_time", "s"},
	"db_client_connection_use_time_seconds":       {"db.client.connection.use_time", "s"},
	"messaging_client_operation_duration_seconds": {"messaging.client.operation.duration", "s"},
}

// labelNames are attributes that the conventions name, by what they are called at /metrics. Others are sidewire's own.
var labelNames = map[string]string{
	"db_system_name": "db.system.name", "db_namespace": "db.namespace", "db_operation_name": "db.operation.name",
	"db_response_status_code": "db.response.status_code", "error_type": "error.type", "server_address": "server.address", "server_port": "server.port",
	"db_client_connection_pool_name": "db.client.connection.pool.name", "db_client_connection_state": "db.client.connection.state",
	"messaging_system": "messaging.system", "messaging_operation_name": "messaging.operation.name", "messaging_operation_type": "messaging.operation.type",
}

// named is a metric's name and unit for OTLP. Prometheus's suffixes go: there they tell the kind and the unit, which OTLP says by
// itself.
func named(f *telemetry.Family) (name, unit string) {
	if n, ok := conventional[f.Name]; ok {
		return n[0], n[1]
	}
	name = strings.TrimSuffix(f.Name, "_total")
	switch {
	case strings.HasSuffix(name, "_seconds"):
		name, unit = strings.TrimSuffix(name, "_seconds"), "s"
	case strings.HasSuffix(name, "_bytes"):
		name, unit = strings.TrimSuffix(name, "_bytes"), "By"
	}
	if rest, ok := strings.CutPrefix(name, "sidewire_"); ok {
		name = "sidewire." + rest
	}
	return name, unit
}

func attributeOf(label string) string {
	if n, ok := labelNames[label]; ok {
		return n
	}
	return "sidewire." + label
}

// Produce reads every metric. Empty labels stay out: at /metrics all series of a name must have the same ones, here not.
func (p *producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Now()
	out := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope, Version: p.version}}
	for _, f := range p.registry.Read() {
		name, unit := named(&f)
		m := metricdata.Metrics{Name: name, Description: f.Help, Unit: unit}
		switch f.Kind {
		case telemetry.KindHistogram:
			m.Data = p.histogram(&f, now)
		case telemetry.KindCounter:
			m.Data = metricdata.Sum[float64]{DataPoints: p.numbers(&f, now), Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
		default:
			if strings.HasPrefix(name, "db.client.connection.") { // up and down counters, to the conventions
				m.Data = metricdata.Sum[float64]{DataPoints: p.numbers(&f, now), Temporality: metricdata.CumulativeTemporality}
				break
			}
			m.Data = metricdata.Gauge[float64]{DataPoints: p.numbers(&f, now)}
		}
		out.Metrics = append(out.Metrics, m)
	}
	return []metricdata.ScopeMetrics{out}, nil
}

func (p *producer) numbers(f *telemetry.Family, now time.Time) []metricdata.DataPoint[float64] {
	points := make([]metricdata.DataPoint[float64], 0, len(f.Samples))
	for _, s := range f.Samples {
		points = append(points, metricdata.DataPoint[float64]{Attributes: attributes(f, &s), StartTime: p.started, Time: now, Value: s.Value})
	}
	return points
}

func (p *producer) histogram(f *telemetry.Family, now time.Time) metricdata.Histogram[float64] {
	h := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
	for _, s := range f.Samples {
		h.DataPoints = append(h.DataPoints, metricdata.HistogramDataPoint[float64]{Attributes: attributes(f, &s), StartTime: p.started, Time: now,
			Count: s.Reading.Count, Bounds: s.Reading.Bounds, BucketCounts: s.Reading.Counts, Sum: s.Reading.Sum})
	}
	return h
}

func attributes(f *telemetry.Family, s *telemetry.Sample) attribute.Set {
	all := make([]attribute.KeyValue, 0, len(f.Labels))
	for i, label := range f.Labels {
		if s.Labels[i] == "" {
			continue
		}
		if label == "server_port" {
			if kv, ok := portAttribute("server.port", s.Labels[i]); ok {
				all = append(all, kv)
			}
			continue
		}
		all = append(all, attribute.String(attributeOf(label), s.Labels[i]))
	}
	return attribute.NewSet(all...)
}

// metered counts what failed for good.
type metered struct {
	sdkmetric.Exporter
	failed *telemetry.Counter
}

func (m metered) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	err := m.Exporter.Export(ctx, rm)
	if err != nil {
		m.failed.Inc()
	}
	return err
}

// counted does the same for spans.
type counted[T any] struct {
	export   func(context.Context, []T) error
	shutdown func(context.Context) error
	failed   *telemetry.Counter
}

func (c counted[T]) ExportSpans(ctx context.Context, spans []T) error {
	err := c.export(ctx, spans)
	if err != nil {
		c.failed.Inc()
	}
	return err
}

func (c counted[T]) Shutdown(ctx context.Context) error { return c.shutdown(ctx) }

var _ sdktrace.SpanExporter = counted[sdktrace.ReadOnlySpan]{}
