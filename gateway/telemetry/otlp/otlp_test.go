package otlp

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/sidewire/sidewire/gateway/certify"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// collector takes what is sent, by gRPC or HTTP.
type collector struct {
	collectortrace.UnimplementedTraceServiceServer
	collectormetrics.UnimplementedMetricsServiceServer

	mu        sync.Mutex
	resources []*resourcepb.Resource
	spans     []*tracepb.Span
	metrics   map[string]*metricspb.Metric // the latest of a name
	tokens    []string
}

func (c *collector) takeSpans(r *collectortrace.ExportTraceServiceRequest, token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens = append(c.tokens, token)
	for _, rs := range r.ResourceSpans {
		c.resources = append(c.resources, rs.Resource)
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
}

func (c *collector) takeMetrics(r *collectormetrics.ExportMetricsServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rm := range r.ResourceMetrics {
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				c.metrics[m.Name] = m
			}
		}
	}
}

// grpcTraces and grpcMetrics have the same method of other types.
type grpcTraces struct {
	collectortrace.UnimplementedTraceServiceServer
	*collector
}

func (g grpcTraces) Export(ctx context.Context, r *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	g.takeSpans(r, strings.Join(md.Get("x-tenant"), ","))
	return &collectortrace.ExportTraceServiceResponse{}, nil
}

type grpcMetrics struct {
	collectormetrics.UnimplementedMetricsServiceServer
	*collector
}

func (g grpcMetrics) Export(_ context.Context, r *collectormetrics.ExportMetricsServiceRequest) (*collectormetrics.ExportMetricsServiceResponse, error) {
	g.takeMetrics(r)
	return &collectormetrics.ExportMetricsServiceResponse{}, nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var in io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		in = z
	}
	body, err := io.ReadAll(in)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch req.URL.Path {
	case "/base/v1/traces":
		r := &collectortrace.ExportTraceServiceRequest{}
		if err = proto.Unmarshal(body, r); err == nil {
			c.takeSpans(r, req.Header.Get("X-Tenant"))
		}
	case "/base/v1/metrics":
		r := &collectormetrics.ExportMetricsServiceRequest{}
		if err = proto.Unmarshal(body, r); err == nil {
			c.takeMetrics(r)
		}
	default:
		http.NotFound(w, req)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// serve starts a collector, with TLS when secure is given.
func serve(t *testing.T, protocol string, secure *tls.Config) (*collector, string) {
	t.Helper()
	c := &collector{metrics: map[string]*metricspb.Metric{}}
	if protocol == "http" {
		s := httptest.NewUnstartedServer(c)
		t.Cleanup(s.Close)
		if secure == nil {
			s.Start()
		} else {
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.TLS = secure
			s.StartTLS()
		}
		return c, s.URL + "/base"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme, with := "http://", []grpc.ServerOption(nil)
	if secure != nil {
		scheme, with = "https://", append(with, grpc.Creds(credentials.NewTLS(secure)))
	}
	s := grpc.NewServer(with...)
	collectortrace.RegisterTraceServiceServer(s, grpcTraces{collector: c})
	collectormetrics.RegisterMetricsServiceServer(s, grpcMetrics{collector: c})
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return c, scheme + l.Addr().String()
}

type session struct{}

func (session) Detail(e *telemetry.Entry) {
	e.Client, e.Target = "127.0.0.1:5", "shop"
	if e.Code != "" {
		e.Error = "no such table"
	}
}

func describe(text string, _ uint8) (string, string) {
	return strings.ReplaceAll(text, "1", "?"), "select orders"
}

const parent = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"

func TestSpansAndMetricsArrive(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		for _, compressed := range []bool{false, true} {
			t.Run(protocol, func(t *testing.T) { arrive(t, protocol, compressed, nil, nil) })
		}
	}
}

// Over TLS both sides prove themselves; a collector that another authority signed, and a process that proves nothing, stay alone.
func TestSpansAndMetricsArriveOverTLS(t *testing.T) {
	ours, dir := certify.New(t), t.TempDir()
	cert, key := ours.Issue(dir, "collector")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool()}
	ca, strange := ours.CA(dir), certify.New(t).CA(t.TempDir())
	cert, key = ours.Issue(dir, "client")
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"grpc", "http"} {
		t.Run(protocol, func(t *testing.T) {
			arrive(t, protocol, false, secure, &config.ClientTLS{CA: ca, Cert: cert, Key: config.Plain(string(text))})
			for what, how := range map[string]*config.ClientTLS{"trusts another authority": {CA: strange, Cert: cert, Key: config.Plain(string(text))}, "proves nothing": {CA: ca}} {
				c, endpoint := serve(t, protocol, secure)
				e := startTo(t, endpoint, protocol, false, how, telemetry.NewRegistry())
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				if err := e.Close(ctx); err == nil || len(c.metrics) > 0 {
					t.Errorf("a process that %s sent %d metrics, %v", what, len(c.metrics), err)
				}
				cancel()
			}
		})
	}
}

// startTo starts an exporter to a collector.
func startTo(t *testing.T, endpoint, protocol string, compressed bool, how *config.ClientTLS, registry *telemetry.Registry) *Exporter {
	t.Helper()
	conf := &config.OTLP{}
	conf.SetDefaults()
	conf.Endpoint, conf.Protocol, conf.Gzip = endpoint, protocol, compressed
	conf.Headers = map[string]config.Secret{"x-tenant": config.Plain("web")}
	if conf.TLS = how; how != nil {
		if err := how.Load(config.SystemEnv("")); err != nil {
			t.Fatal(err)
		}
	}
	registry.Counter("sidewire_things_total", "Things.", "kind", "a", "empty", "").Add(3)
	registry.Gauge("sidewire_held_bytes", "Bytes.").Set(7)
	e, err := Start(Options{Config: conf, Node: config.Node{ID: "web-1"}, Version: "1.2.3", Registry: registry, Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func arrive(t *testing.T, protocol string, compressed bool, secure *tls.Config, how *config.ClientTLS) {
	c, endpoint := serve(t, protocol, secure)
	registry := telemetry.NewRegistry()
	e := startTo(t, endpoint, protocol, compressed, how, registry)
	s := telemetry.NewStatements(registry, func() *telemetry.AccessLog { return nil })
	s.Trace(e)
	r := s.Recorder("shop", "mysql", describe)
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	st := telemetry.Statement{System: "mysql", Namespace: "shop", Operation: "SELECT", Endpoint: "10.0.0.1:3306", Start: start, Duration: 3 * time.Millisecond,
		Upstream: 2 * time.Millisecond, Rows: 2, Digest: 7, Text: "select a from orders where b = 1 /*traceparent='00-" + parent + "-01'*/"}
	r.Record(&st, session{})
	st.Code, st.Text = "1146", strings.Replace(st.Text, "-01'", "-00'", 1) // its trace is not sampled
	r.Record(&st, session{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Fatal(err)
	}
	c.checkSpans(t, start)
	c.checkMetrics(t)
}

func (c *collector) checkSpans(t *testing.T, start time.Time) {
	t.Helper()
	if len(c.spans) != 1 || !slices.Equal(c.tokens, []string{"web"}) {
		t.Fatalf("%d spans, with %q", len(c.spans), c.tokens)
	}
	span := c.spans[0]
	if span.Name != "select orders" || span.Kind != tracepb.Span_SPAN_KIND_CLIENT || span.StartTimeUnixNano != uint64(start.UnixNano()) ||
		span.EndTimeUnixNano-span.StartTimeUnixNano != 3e6 || hexed(span.TraceId)+"-"+hexed(span.ParentSpanId) != parent {
		t.Errorf("%v", span)
	}
	got := flat(span.Attributes)
	for key, want := range map[string]string{"db.system.name": "mysql", "db.namespace": "shop", "db.operation.name": "SELECT", "db.query.summary": "select orders",
		"server.address": "10.0.0.1", "server.port": "3306", "network.peer.address": "10.0.0.1", "sidewire.listener": "shop", "db.response.returned_rows": "2",
		"sidewire.inside": "0.001"} {
		if got[key] != want {
			t.Errorf("attribute %s is %q, want %q", key, got[key], want)
		}
	}
	if text := got["db.query.text"]; !strings.HasPrefix(text, "select a from orders where b = ?") {
		t.Errorf("text %q", text)
	}
	about := flat(c.resources[0].Attributes)
	if about["service.name"] != "sidewire" || about["service.version"] != "1.2.3" || about["service.instance.id"] != "web-1" {
		t.Errorf("resource %v", about)
	}
}

func (c *collector) checkMetrics(t *testing.T) {
	t.Helper()
	m := c.metrics["db.client.operation.duration"]
	if m == nil || m.Unit != "s" || len(m.GetHistogram().GetDataPoints()) != 2 {
		t.Fatalf("%v among %d", m, len(c.metrics))
	}
	failures := 0
	for _, p := range m.GetHistogram().DataPoints {
		a := flat(p.Attributes)
		if p.Count != 1 || a["server.port"] != "3306" || a["sidewire.listener"] != "shop" {
			t.Errorf("%v", p)
		}
		if _, has := a["error.type"]; has {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("error.type is on %d of 2 series", failures)
	}
	things := c.metrics["sidewire.things"].GetSum()
	if things == nil || !things.IsMonotonic || things.DataPoints[0].GetAsDouble() != 3 || len(things.DataPoints[0].Attributes) != 1 {
		t.Errorf("%v", things)
	}
	if held := c.metrics["sidewire.held"]; held == nil || held.Unit != "By" || held.GetGauge().DataPoints[0].GetAsDouble() != 7 {
		t.Errorf("%v", held)
	}
}

func hexed(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

func flat(all []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range all {
		text := kv.Value.String()
		_, value, _ := strings.Cut(text, ":")
		out[kv.Key] = strings.Trim(strings.TrimSpace(value), `"`)
	}
	return out
}

// TestWantsAShareOfTheRest checks the sampling of statements without a parent.
func TestWantsAShareOfTheRest(t *testing.T) {
	_, endpoint := serve(t, "grpc", nil)
	for _, c := range []struct {
		sample   float64
		min, max int
	}{{0, 0, 0}, {1, 1000, 1000}, {0.5, 300, 700}} {
		conf := &config.OTLP{}
		conf.SetDefaults()
		conf.Endpoint, conf.Sample, conf.Metrics = endpoint, c.sample, false
		e, err := Start(Options{Config: conf, Registry: telemetry.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range 1000 {
			if e.Wants(telemetry.Parent{}) {
				n++
			}
		}
		if n < c.min || n > c.max {
			t.Errorf("%d of 1000 at %v", n, c.sample)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		e.Close(ctx)
		cancel()
	}
}

// TestNobodyListens checks that an endpoint that is not there costs nothing but the telemetry, and is counted.
func TestNobodyListens(t *testing.T) {
	conf := &config.OTLP{}
	conf.SetDefaults()
	conf.Endpoint, conf.Protocol, conf.Sample, conf.Timeout = "http://127.0.0.1:1", "http", 1, config.Duration(100*time.Millisecond)
	registry := telemetry.NewRegistry()
	e, err := Start(Options{Config: conf, Registry: registry, Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	s := telemetry.NewStatements(registry, func() *telemetry.AccessLog { return nil })
	s.Trace(e)
	st := telemetry.Statement{System: "mysql", Operation: "SELECT", Start: time.Now(), Text: "select 1"}
	s.Recorder("shop", "mysql", describe).Record(&st, session{})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := e.Close(ctx); err == nil {
		t.Error("the last sending went well")
	}
	if n := registry.Counter("sidewire_otlp_failures_total", "Sendings of metrics or spans that failed for good.").Value(); n < 1 {
		t.Error("nothing is counted")
	}
}
