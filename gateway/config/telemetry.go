package config

import (
	"net"
	"net/url"
	"reflect"
)

// Telemetry configures what is counted, kept and sent of the traffic.
type Telemetry struct {
	Development bool     `yaml:"development_names" doc:"Show metrics under those of OpenTelemetry's names that are still in development: messaging, Redis, returned rows."`
	Slow        Duration `yaml:"slow" doc:"Statements at least this slow are kept for the admin interface; 0: none." default:"200ms"`
	SlowEntries int      `yaml:"slow_entries" min:"0" max:"10000" doc:"How many slow statements are kept." default:"100"`
	Digests     int      `yaml:"digests" min:"1" max:"10000" doc:"How many forms of statements are told apart on each listener; the others are counted together." default:"200"`
	OTLP        *OTLP    `yaml:"otlp" doc:"Send metrics and traces by OTLP; without this block nothing is sent."`
}

// SetDefaults fills what a file leaves out.
func (t *Telemetry) SetDefaults() {
	t.Slow, t.SlowEntries, t.Digests = Duration(200e6), 100, 200
}

// Same tells whether two say the same.
func (o *OTLP) Same(other *OTLP) bool {
	if o == nil || other == nil {
		return o == other
	}
	if !o.TLS.Same(other.TLS) {
		return false
	}
	a, b := *o, *other
	a.TLS, b.TLS = nil, nil
	return reflect.DeepEqual(a, b)
}

// OTLP is where telemetry goes.
type OTLP struct {
	Endpoint string            `yaml:"endpoint" required:"true" doc:"http://host:port or https://host:port; with protocol http it may have a path, below which v1/traces and v1/metrics are."`
	Protocol string            `yaml:"protocol" enum:"grpc|http" doc:"How OTLP travels: gRPC, usually at port 4317, or HTTP with protobuf, usually at 4318." default:"grpc"`
	Headers  map[string]Secret `yaml:"headers" doc:"Sent with every request, such as {authorization: {env: OTLP_TOKEN}}."`
	TLS      *ClientTLS        `yaml:"tls" doc:"How an https:// endpoint is verified, and this process proves itself."`
	Gzip     bool              `yaml:"gzip" doc:"Compress what is sent."`
	Timeout  Duration          `yaml:"timeout" doc:"For one request." default:"10s"`
	Metrics  bool              `yaml:"metrics" doc:"Send metrics." default:"true"`
	Interval Duration          `yaml:"interval" doc:"Between two sendings of metrics." default:"15s"`
	Traces   bool              `yaml:"traces" doc:"Send spans of the statements whose application says by traceparent in a SQL comment that its trace is sampled, and of a share of the others." default:"true"`
	Sample   float64           `yaml:"sample" min:"0" max:"1" doc:"The share of statements that belong to no trace and begin one of their own." default:"0"`
}

// SetDefaults fills what a file leaves out.
func (o *OTLP) SetDefaults() {
	o.Protocol, o.Timeout, o.Interval, o.Metrics, o.Traces = "grpc", Duration(10e9), Duration(15e9), true, true
}

// checkTelemetry reports what is wrong with the block.
func checkTelemetry(t *Telemetry, at Path) (problems []Problem) {
	if t.Slow < 0 {
		problems = append(problems, at.Field("slow").Problem("must not be negative"))
	}
	o := t.OTLP
	if o == nil {
		return problems
	}
	at = at.Field("otlp")
	u, err := url.Parse(o.Endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		problems = append(problems, at.Field("endpoint").Problem("%q is no address; expected http://host:port or https://host:port", o.Endpoint))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		problems = append(problems, at.Field("endpoint").Problem("has more than an address; credentials go under headers"))
	case o.Protocol == "grpc" && u.Path != "" && u.Path != "/":
		problems = append(problems, at.Field("endpoint").Problem("has the path %q; gRPC has none", u.Path))
	case u.Scheme == "http" && o.TLS != nil:
		problems = append(problems, at.Field("tls").Problem("needs an https:// endpoint"))
	}
	if o.Timeout <= 0 {
		problems = append(problems, at.Field("timeout").Problem("must be more than 0"))
	}
	if o.Interval <= 0 {
		problems = append(problems, at.Field("interval").Problem("must be more than 0"))
	}
	if o.TLS != nil {
		if _, err := o.TLS.Config(""); err != nil {
			problems = append(problems, at.Field("tls").Problem("%v", err))
		}
	}
	return problems
}

// Address is host:port of the endpoint, with the port that its protocol usually has if it names none.
func (o *OTLP) Address() string {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return o.Endpoint
	}
	if u.Port() != "" {
		return u.Host
	}
	port := "4317"
	if o.Protocol == "http" {
		port = "4318"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
