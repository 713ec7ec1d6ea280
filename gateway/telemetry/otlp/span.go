package otlp

import (
	"context"
	"net"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// Span records a statement that ended, as a child of parent if there is one (semantic conventions 1.44, database client spans). It
// is made only now because only now everything is known; nobody below it needed its id.
func (e *Exporter) Span(entry *telemetry.Entry, st *telemetry.Statement, summary string, parent telemetry.Parent) string {
	ctx := context.Background()
	if parent.Valid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: parent.Trace, SpanID: parent.Span, TraceFlags: trace.FlagsSampled, Remote: true}))
	}
	_, span := e.tracer.Start(ctx, spanName(entry, st, summary), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(st.Start),
		trace.WithAttributes(spanAttributes(entry, st, summary)...))
	if st.Code != "" {
		span.SetStatus(codes.Error, entry.Error)
	}
	span.End(trace.WithTimestamp(st.Start.Add(st.Duration)))
	return span.SpanContext().TraceID().String()
}

// spanName is the summary, else the operation with the namespace, else the system.
func spanName(entry *telemetry.Entry, st *telemetry.Statement, summary string) string {
	switch {
	case summary != "" && summary != st.Operation:
		return summary
	case st.Operation != "" && entry.Database != "":
		return st.Operation + " " + entry.Database
	case st.Operation != "":
		return st.Operation
	}
	return st.System
}

func spanAttributes(entry *telemetry.Entry, st *telemetry.Statement, summary string) []attribute.KeyValue {
	all := make([]attribute.KeyValue, 0, 16)
	for _, kv := range []struct{ key, value string }{
		{"db.system.name", st.System}, {"db.namespace", entry.Database}, {"db.operation.name", st.Operation}, {"db.query.summary", summary},
		{"db.query.text", entry.Digest}, {"db.response.status_code", st.Code}, {"error.type", st.Code}, {"sidewire.listener", entry.Listener},
		{"sidewire.target", entry.Target}, {"client.address", host(entry.Client)},
	} {
		if kv.value != "" {
			all = append(all, attribute.String(kv.key, kv.value))
		}
	}
	all = append(all, attribute.Int64("db.response.returned_rows", entry.Rows), attribute.Float64("sidewire.inside", max(0, st.Duration-st.Upstream).Seconds()))
	if server, port, err := net.SplitHostPort(st.Endpoint); err == nil {
		all = append(all, attribute.String("server.address", server), attribute.String("network.peer.address", server))
		if kv, ok := portAttribute("server.port", port); ok {
			all = append(all, kv, attribute.KeyValue{Key: "network.peer.port", Value: kv.Value})
		}
	}
	return all
}

func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return h
}

func portAttribute(key, port string) (attribute.KeyValue, bool) {
	n, err := strconv.Atoi(port)
	return attribute.Int(key, n), err == nil
}
