package kafka

import (
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// operations are the APIs that OpenTelemetry's messaging conventions have a name and a type for.
var operations = map[string][2]string{"Produce": {"send", "send"}, "Fetch": {"poll", "receive"}, "OffsetCommit": {"commit", "settle"}}

// conventional shows an API under the names that OpenTelemetry and Envoy have for it.
func (m *metrics) conventional(api string, a *apiMetrics) {
	if o, ok := operations[api]; ok {
		m.registry.HistogramFunc("messaging_client_operation_duration_seconds", "From a request's arrival to its response's.", a.latency.Read,
			"listener", m.listener, "messaging_system", "kafka", "messaging_operation_name", o[0], "messaging_operation_type", o[1])
	}
	name := snake(api)
	m.registry.Stat("kafka."+m.listener+".request."+name+"_request", a.requests)
	m.registry.Stat("kafka."+m.listener+".response."+name+"_response", a.latency)
}

// snake is a name as Envoy writes an API: api_versions.
func snake(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if upper := c >= 'A' && c <= 'Z'; upper {
			if i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// digests are the APIs that were asked, as the other protocols' forms of statements.
func (m *metrics) digests() []telemetry.DigestView {
	var all []telemetry.DigestView
	for key := range m.apis {
		a := m.apis[key].Load()
		if a == nil {
			continue
		}
		v := telemetry.DigestView{Listener: m.listener, Protocol: name, Text: kafka.Name(int16(key))}
		read := a.latency.Read()
		v.Max = read.Quantile(1)
		v.Measure(read)
		v.Count = a.requests.Value()
		all = append(all, v)
	}
	return all
}

// traceparent is what the records of a Produce request say of their trace, as far as the window shows them.
func (s *session) traceparent(h *kafka.RequestHeader) string {
	b := s.req.ahead()
	parent, _ := kafka.Traceparent(b[h.Len:min(len(b), int(h.Size)+4)], h.Version)
	return string(parent)
}

// span joins a Produce request to the trace of its first record.
func (s *session) span(e *kafka.Inflight, code int16, took time.Duration) {
	parent, ok := telemetry.ParseTraceparent(e.Traceparent)
	if !ok {
		return
	}
	st := telemetry.Statement{System: name, Operation: "send", Endpoint: s.target, Start: time.Unix(0, e.Started), Duration: took, Upstream: took}
	entry := telemetry.Entry{Time: st.Start, Listener: s.door.name, Protocol: name, Session: s.client.ID, Client: s.client.Client(), Operation: kafka.Name(e.Key),
		Target: s.door.block().Cluster, Endpoint: s.target, Duration: took, Upstream: took, BytesIn: e.Size}
	if code != 0 {
		st.Code = strconv.Itoa(int(code))
		entry.Code, entry.Error = st.Code, "error code "+st.Code
	}
	s.door.host.Statements().Join(&entry, &st, parent)
}
