// Package otlp sends metrics and spans by OpenTelemetry's protocol, under the names of its conventions.
package otlp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// scope is the name under which metrics and spans are sent.
const scope = "github.com/sidewire/sidewire"

// spanQueue bounds the spans that wait to be sent; what comes beyond is dropped and counted by the SDK.
const spanQueue = 4096

// Options are what an exporter is made of.
type Options struct {
	Config   *config.OTLP
	Node     config.Node
	Version  string
	Registry *telemetry.Registry
	Started  time.Time
}

// Exporter sends metrics at intervals and spans in batches. It implements telemetry.Tracer.
type Exporter struct {
	share   float64
	metrics *sdkmetric.MeterProvider // nil: none are sent
	spans   *sdktrace.TracerProvider // nil: none are made
	tracer  trace.Tracer
}

// Start makes an exporter. It does not wait for the endpoint: what cannot be sent is tried again, then dropped and counted.
func Start(o Options) (*Exporter, error) {
	about, err := resource.New(context.Background(), resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(identity(o)...))
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("describing this process: %w", err)
	}
	e := &Exporter{share: o.Config.Sample}
	failed := o.Registry.Counter("sidewire_otlp_failures_total", "Sendings of metrics or spans that failed for good.")
	if o.Config.Traces {
		out, err := traces(o.Config)
		if err != nil {
			return nil, err
		}
		e.spans = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSampler(sdktrace.AlwaysSample()),
			sdktrace.WithBatcher(counted[sdktrace.ReadOnlySpan]{out.ExportSpans, out.Shutdown, failed}, sdktrace.WithMaxQueueSize(spanQueue), sdktrace.WithExportTimeout(2*o.Config.Timeout.Std())))
		e.tracer = e.spans.Tracer(scope, trace.WithInstrumentationVersion(o.Version))
	}
	if o.Config.Metrics {
		out, err := metrics(o.Config)
		if err != nil {
			return nil, errors.Join(err, e.Close(context.Background()))
		}
		reader := sdkmetric.NewPeriodicReader(metered{out, failed}, sdkmetric.WithInterval(o.Config.Interval.Std()), sdkmetric.WithTimeout(2*o.Config.Timeout.Std()),
			sdkmetric.WithProducer(&producer{registry: o.Registry, version: o.Version, started: o.Started}))
		e.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithResource(about), sdkmetric.WithReader(reader))
	}
	return e, nil
}

// identity is this process as OpenTelemetry's resource conventions describe one. OTEL_RESOURCE_ATTRIBUTES may add to it.
func identity(o Options) []attribute.KeyValue {
	all := []attribute.KeyValue{attribute.String("service.name", "sidewire"), attribute.String("service.version", o.Version)}
	for _, kv := range []struct{ key, value string }{
		{"service.instance.id", o.Node.ID}, {"service.namespace", o.Node.Cluster}, {"cloud.availability_zone", o.Node.Zone},
	} {
		if kv.value != "" {
			all = append(all, attribute.String(kv.key, kv.value))
		}
	}
	return all
}

// Close sends what waits and ends the exporter; it gives up when ctx ends.
func (e *Exporter) Close(ctx context.Context) error {
	var all error
	if e.spans != nil {
		all = errors.Join(all, e.spans.Shutdown(ctx))
	}
	if e.metrics != nil {
		all = errors.Join(all, e.metrics.Shutdown(ctx))
	}
	return all
}

// Wants follows the parent's word; of the statements without one it takes a share.
func (e *Exporter) Wants(p telemetry.Parent) bool {
	if e.spans == nil {
		return false
	}
	if p.Valid() {
		return p.Sampled
	}
	return e.share > 0 && rand.Float64() < e.share
}

// target is where requests go, taken apart.
type target struct {
	address string
	path    string
	tls     *tls.Config // nil: none
	headers map[string]string
}

func targetOf(c *config.OTLP) (t target, err error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return t, fmt.Errorf("reading endpoint: %w", err)
	}
	t = target{address: c.Address(), path: strings.TrimSuffix(u.Path, "/"), headers: map[string]string{}}
	for k, v := range c.Headers {
		t.headers[k] = v.Value()
	}
	if u.Scheme == "http" {
		return t, nil
	}
	host, _, _ := net.SplitHostPort(t.address)
	how := c.TLS
	if how == nil {
		how = &config.ClientTLS{}
	}
	t.tls, err = how.Config(host)
	return t, err
}

func traces(c *config.OTLP) (*otlptrace.Exporter, error) {
	t, err := targetOf(c)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if c.Protocol == "http" {
		options := []otlptracehttp.Option{otlptracehttp.WithEndpoint(t.address), otlptracehttp.WithURLPath(t.path + "/v1/traces"),
			otlptracehttp.WithHeaders(t.headers), otlptracehttp.WithTimeout(c.Timeout.Std())}
		if t.tls == nil {
			options = append(options, otlptracehttp.WithInsecure())
		} else {
			options = append(options, otlptracehttp.WithTLSClientConfig(t.tls))
		}
		if c.Gzip {
			options = append(options, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		}
		return otlptracehttp.New(ctx, options...)
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(t.address), otlptracegrpc.WithHeaders(t.headers), otlptracegrpc.WithTimeout(c.Timeout.Std())}
	if t.tls == nil {
		options = append(options, otlptracegrpc.WithInsecure())
	} else {
		options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(t.tls)))
	}
	if c.Gzip {
		options = append(options, otlptracegrpc.WithCompressor("gzip"))
	}
	return otlptracegrpc.New(ctx, options...)
}

func metrics(c *config.OTLP) (sdkmetric.Exporter, error) {
	t, err := targetOf(c)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if c.Protocol == "http" {
		options := []otlpmetrichttp.Option{otlpmetrichttp.WithEndpoint(t.address), otlpmetrichttp.WithURLPath(t.path + "/v1/metrics"),
			otlpmetrichttp.WithHeaders(t.headers), otlpmetrichttp.WithTimeout(c.Timeout.Std())}
		if t.tls == nil {
			options = append(options, otlpmetrichttp.WithInsecure())
		} else {
			options = append(options, otlpmetrichttp.WithTLSClientConfig(t.tls))
		}
		if c.Gzip {
			options = append(options, otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression))
		}
		return otlpmetrichttp.New(ctx, options...)
	}
	options := []otlpmetricgrpc.Option{otlpmetricgrpc.WithEndpoint(t.address), otlpmetricgrpc.WithHeaders(t.headers), otlpmetricgrpc.WithTimeout(c.Timeout.Std())}
	if t.tls == nil {
		options = append(options, otlpmetricgrpc.WithInsecure())
	} else {
		options = append(options, otlpmetricgrpc.WithTLSCredentials(credentials.NewTLS(t.tls)))
	}
	if c.Gzip {
		options = append(options, otlpmetricgrpc.WithCompressor("gzip"))
	}
	return otlpmetricgrpc.New(ctx, options...)
}
