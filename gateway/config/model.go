package config

import (
	"go.yaml.in/yaml/v3"
)

// Model is a whole configuration as its author wrote it: decoded, references not yet checked.
type Model struct {
	Node      Node      `yaml:"node" doc:"Who and where this process is."`
	Admin     Admin     `yaml:"admin" doc:"The HTTP interface for operators, probes and Prometheus."`
	AccessLog AccessLog `yaml:"access_log" doc:"One JSON line a statement, command or request."`
	Drain     Drain     `yaml:"drain" doc:"How the process ends."`
	Memory    Memory    `yaml:"memory" doc:"How much memory the process may take."`
	XDS       XDS       `yaml:"xds" doc:"Control planes that send listeners, clusters and rules beside those of this file."`
	Telemetry Telemetry `yaml:"telemetry" doc:"What is counted, kept and sent of the traffic."`
	Listeners []*Listener
	Clusters  []*Cluster
	Resources []*Resource

	// Partial marks a model of which more is to come, from a control plane: no listeners yet, or a cluster without
	// endpoints, are no problems then.
	Partial bool `yaml:"-"`

	// Files are the files that the model was read from; a change of any of them is a reload.
	Files []string
}

// SetDefaults fills what a file leaves out.
func (m *Model) SetDefaults() {
	m.Admin.Address = "127.0.0.1:9901"
	m.AccessLog.Sample = 1
	m.Drain = Drain{Mode: "gateway", Timeout: Duration(30e9), Grace: Duration(5e9)}
	m.Memory.Share = 0.9
	m.Telemetry.SetDefaults()
}

// Node is who and where this process is.
type Node struct {
	ID      string `yaml:"id" doc:"A name for logs and control planes."`
	Cluster string `yaml:"cluster" doc:"The name of the group it belongs to."`
	Region  string `yaml:"region" doc:"Told to control planes."`
	Zone    string `yaml:"zone" doc:"Its zone, compared with the zones of endpoints."`

	Metadata map[string]string `yaml:"metadata" doc:"Told to control planes."`
}

// XDS configures where further resources come from.
type XDS struct {
	Servers []XDSServer `yaml:"servers" doc:"Control planes, in the order in which they are tried. None: the file is all."`
	Delta   bool        `yaml:"delta" doc:"Use the incremental protocol."`
}

// XDSServer is one control plane, spoken to by ADS over gRPC.
type XDSServer struct {
	Address string     `yaml:"address" required:"true" doc:"host:port or unix:/path."`
	TLS     *ClientTLS `yaml:"tls" doc:"Speak TLS to it."`
	Token   Secret     `yaml:"token" doc:"Sent as a bearer token."`
}

// DecodeYAML reads the files that the TLS block names along with it.
func (s *XDSServer) DecodeYAML(n *yaml.Node, at Path, env *Env) []Problem {
	type plain XDSServer // without this method, so that decoding does not come back here
	problems := Decode(n, at, (*plain)(s), env)
	if s.TLS != nil && len(problems) == 0 {
		if err := s.TLS.Load(env); err != nil {
			problems = append(problems, at.Field("tls").Problem("%v", err))
		}
	}
	return problems
}

// Admin configures the HTTP admin interface.
type Admin struct {
	Address   string `yaml:"address" doc:"host:port; empty turns the interface off." default:"127.0.0.1:9901"`
	Token     Secret `yaml:"token" doc:"When set, every request but /ready needs Authorization: Bearer TOKEN."`
	Profiling bool   `yaml:"profiling" doc:"Serve net/http/pprof under /debug/pprof/."`
}

// AccessLog configures the access log; it is off while Path is empty.
type AccessLog struct {
	Path   string   `yaml:"path" doc:"A file, or stdout or stderr. Empty: no access log."`
	Sample float64  `yaml:"sample" min:"0" max:"1" doc:"The share of entries that are written; errors are always written." default:"1"`
	Slow   Duration `yaml:"slow" doc:"Entries at least this slow are always written; with sample: 0 only they and errors are."`
}

// Drain configures the end of the process.
type Drain struct {
	Mode    string   `yaml:"mode" enum:"gateway|sidecar" doc:"After SIGTERM: gateway stops accepting and ends sessions at their next boundary; sidecar keeps serving until the application has closed its connections." default:"gateway"`
	Timeout Duration `yaml:"timeout" doc:"For the whole drain; what is left then is cut." default:"30s"`
	Grace   Duration `yaml:"grace" doc:"The end of that time in which a sidecar, too, stops accepting and ends sessions at boundaries." default:"5s"`
}

// Memory bounds the whole process.
type Memory struct {
	Limit Bytes   `yaml:"limit" doc:"Bytes the process may take; 0: what its control group allows, or GOMEMLIMIT."`
	Share float64 `yaml:"share" min:"0.1" max:"1" doc:"Of the limit, at which new connections are refused and idle memory is given back." default:"0.9"`
}

// Origin says where a resource came from.
type Origin struct {
	Source  string `json:"source"` // "file:conf/sidewire.yaml", "xds"
	Version string `json:"version,omitempty"`
}

// Listener is an address that applications connect to and the protocol that is spoken there.
type Listener struct {
	Name    string         `yaml:"name" required:"true" doc:"A name for logs, metrics and the admin interface."`
	Address string         `yaml:"address" required:"true" doc:"host:port or unix:/path."`
	Unix    UnixSocket     `yaml:"unix" doc:"Who may connect to a unix:/path address."`
	TLS     *ServerTLS     `yaml:"tls" doc:"Serve TLS; a MySQL or PostgreSQL listener begins it inside its own handshake."`
	Proxy   ProxyProtocol  `yaml:"proxy_protocol" doc:"Believe PROXY protocol headers (v1 and v2) of trusted peers."`
	Limits  ListenerLimits `yaml:"limits"`
	Allow   []Network      `yaml:"allow" doc:"Networks that may connect; empty: all."`
	Deny    []Network      `yaml:"deny" doc:"Networks that may not, even when allowed."`

	// Protocol is the name of the block that stands beside these fields, Block its decoded content.
	Protocol string `yaml:"-"`
	Block    any    `yaml:"-"`
	Origin   Origin `yaml:"-"`
	Hash     uint64 `yaml:"-"`
}

// ListenerLimits bound what clients of one listener may take.
type ListenerLimits struct {
	Connections int     `yaml:"connections" min:"0" doc:"Client connections at once; 0: no limit." default:"0"`
	PerSource   int     `yaml:"per_source" min:"0" doc:"Client connections at once from one address; 0: no limit." default:"0"`
	Rate        float64 `yaml:"rate" min:"0" doc:"New connections a second, over which they are refused; 0: no limit." default:"0"`
	Burst       int     `yaml:"burst" min:"0" doc:"New connections that may come at once above the rate; 0: as many as a second brings." default:"0"`
}

// UnixSocket is how a socket file appears in the file system.
type UnixSocket struct {
	Mode  FileMode `yaml:"mode" doc:"Octal permissions, such as \"0660\"; empty: what the umask leaves."`
	Owner string   `yaml:"owner" doc:"user, user:group or :group, by name or number; empty: the process's."`
}

// ProxyProtocol says whose word about the client's address counts.
type ProxyProtocol struct {
	Trusted []Network `yaml:"trusted" doc:"Networks of load balancers, which must send a PROXY header; others are taken as they are."`
}

// ServerTLS is how a listener proves itself to clients.
type ServerTLS struct {
	Cert     string `yaml:"cert" required:"true" doc:"PEM file with the certificate chain, or the PEM text itself."`
	Key      Secret `yaml:"key" required:"true" doc:"PEM text of the private key, usually {file: PATH}."`
	ClientCA string `yaml:"client_ca" doc:"PEM file; when set, clients must present a certificate that it signed."`
	// Auth is how strictly; optional is what a mesh asks for while it migrates.
	Auth string `yaml:"client_auth" enum:"required|optional" doc:"With client_ca: whether a client without a certificate is let in; a wrong one never is." default:"required"`

	ClientNames []string `yaml:"client_names" doc:"With client_ca: a client's certificate must have one of these names, such as uri:spiffe://mesh/ns/shop/*; dns:, uri:, email: or ip:, with a * at one end."`

	certPEM, caPEM []byte
}

// Cluster is a named set of endpoints of one logical store.
type Cluster struct {
	Name           string     `yaml:"name" required:"true"`
	Endpoints      []Endpoint `yaml:"endpoints" required:"true" doc:"Addresses, or mappings with address, zone, weight and role."`
	ConnectTimeout Duration   `yaml:"connect_timeout" doc:"For the TCP connection and the TLS handshake." default:"3s"`
	Resolve        string     `yaml:"resolve" enum:"first|all|srv" doc:"What a DNS name stands for: first, one server, looked up at every connection; all, a server an address (A and AAAA), looked up when they expire and when one fails; srv, the servers of its SRV records." default:"first"`
	Balance        string     `yaml:"balance" enum:"round_robin|least_requests|random|latency" doc:"How an endpoint is chosen where the protocol leaves a choice." default:"least_requests"`
	LocalZone      bool       `yaml:"local_zone" doc:"Prefer endpoints in the zone of node.zone while one of them is healthy."`
	Health         Health     `yaml:"health"`
	Ejection       Ejection   `yaml:"ejection"`
	Limits         Breaker    `yaml:"limits"`
	Pool           Pool       `yaml:"pool"`
	KeepAlive      KeepAlive  `yaml:"keepalive"`
	Proxy          string     `yaml:"proxy_protocol" enum:"v1|v2" doc:"Begin connections with a PROXY header that names the client; connections that serve many clients say LOCAL."`
	TLS            *ClientTLS `yaml:"tls" doc:"Speak TLS towards the endpoints."`

	Protocol string `yaml:"-"`
	Block    any    `yaml:"-"`
	Origin   Origin `yaml:"-"`
	Hash     uint64 `yaml:"-"`
}

// SetDefaults fills what a file leaves out.
func (c *Cluster) SetDefaults() {
	c.ConnectTimeout = Duration(3e9)
	c.Balance = "least_requests"
	c.Resolve = "first"
	c.Health = Health{Interval: Duration(2e9), Timeout: Duration(1e9), Unhealthy: 3, Healthy: 1}
	c.Ejection = Ejection{Failures: 3, Time: Duration(10e9), MaxPercent: 50}
	c.KeepAlive = KeepAlive{Idle: Duration(60e9), Interval: Duration(15e9), Count: 4}
}

// Health configures active probes; each protocol asks its own question.
type Health struct {
	Disabled  bool     `yaml:"disabled" doc:"Send no probes; every endpoint counts as healthy."`
	Interval  Duration `yaml:"interval" doc:"Between probes of one endpoint, jittered by a tenth." default:"2s"`
	Timeout   Duration `yaml:"timeout" default:"1s"`
	Unhealthy int      `yaml:"unhealthy" min:"1" doc:"Failures in a row until an endpoint is left out." default:"3"`
	Healthy   int      `yaml:"healthy" min:"1" doc:"Answers in a row until it serves again." default:"1"`
	Panic     int      `yaml:"panic_percent" min:"0" max:"100" doc:"When a smaller share of the endpoints is healthy, all are used; 0: only when none is." default:"0"`
}

// Ejection configures what sessions' own failures to reach an endpoint do, ahead of its next probe.
type Ejection struct {
	Failures   int      `yaml:"failures" min:"0" doc:"In a row, until the endpoint is left out; 0: never." default:"3"`
	Time       Duration `yaml:"time" doc:"How long, times the ejections in a row, at most 30 of them; a good probe ends it sooner." default:"10s"`
	MaxPercent int      `yaml:"max_percent" min:"0" max:"100" doc:"Of the endpoints that may be out this way at once." default:"50"`
}

// Breaker bounds what a cluster is burdened with at once; what is more is refused. Each protocol has its own idea of what a
// request is, and refuses limits of what it has not.
type Breaker struct {
	Connections int  `yaml:"connections" min:"0" doc:"To one endpoint; those of probes and of sidewire's own questions are not counted. 0: no limit." default:"0"`
	Total       int  `yaml:"total_connections" min:"0" doc:"To all endpoints together. 0: no limit." default:"0"`
	Pending     int  `yaml:"pending" min:"0" doc:"What waits for a connection: statements (MySQL), commands (Redis), clients (TCP, Kafka). 0: no limit." default:"0"`
	Requests    int  `yaml:"requests" min:"0" doc:"Statements (MySQL) or commands (Redis) under way, blocking ones among them. What a transaction that has begun still needs is counted and never refused. 0: no limit." default:"0"`
	Retries     *int `yaml:"retries" min:"0" doc:"Statements or commands that are being repeated because the first attempt certainly did nothing. 0: nothing is repeated; left out: no limit."`
}

// Pool configures the connections that a protocol keeps open for whoever comes next.
type Pool struct {
	Lifetime    Duration `yaml:"lifetime" doc:"Replace a connection that is older, once nothing of its present work is left, with up to a tenth of jitter; 0: never."`
	IdleTimeout Duration `yaml:"idle_timeout" doc:"Close a connection on which nothing was asked for so long; 0: never."`
	Min         int      `yaml:"min" min:"0" doc:"Shared connections to each endpoint that are open before anybody asks, and stay; at most what the protocol shares." default:"0"`
}

// KeepAlive configures TCP keep-alive towards endpoints.
type KeepAlive struct {
	Disabled bool     `yaml:"disabled"`
	Idle     Duration `yaml:"idle" default:"60s"`
	Interval Duration `yaml:"interval" default:"15s"`
	Count    int      `yaml:"count" min:"1" default:"4"`
}

// ClientTLS is how sidewire verifies and proves itself to servers.
type ClientTLS struct {
	CA         string `yaml:"ca" doc:"PEM file with the authorities to trust; empty: the system's."`
	Cert       string `yaml:"cert" doc:"PEM file with a client certificate."`
	Key        Secret `yaml:"key" doc:"PEM text of its private key, usually {file: PATH}."`
	ServerName string `yaml:"server_name" doc:"Name to verify and to send as SNI; empty: the endpoint's host."`
	Insecure   bool   `yaml:"insecure_skip_verify" doc:"Encrypt without verifying the server."`
	// Names are for meshes, whose certificates name workloads.
	Names []string `yaml:"names" doc:"The server's certificate must have one of these names, instead of the host's: dns:, uri:, email: or ip:, with a * at one end."`

	certPEM, caPEM []byte
	parsed         *parsedTLS
}

// Endpoint is one server of a cluster.
type Endpoint struct {
	Address  string            `yaml:"address" required:"true" json:"address"`
	Zone     string            `yaml:"zone" json:"zone,omitempty"`
	Weight   int               `yaml:"weight" min:"0" json:"weight,omitempty"`
	Priority int               `yaml:"priority" min:"0" json:"priority,omitempty" doc:"Endpoints of a higher number serve only while none of a lower one is healthy. Who takes writes is found by role, whatever the number."`
	Role     string            `yaml:"role" enum:"primary|replica" json:"role,omitempty" doc:"What it is until a probe finds out; empty: unknown."`
	Name     string            `yaml:"name" json:"name,omitempty" doc:"The name that key hashing uses instead of the address."`
	Metadata map[string]string `yaml:"metadata" json:"metadata,omitempty"`

	// Host is the DNS name that the address was found by; it is what a certificate is checked against.
	Host string `yaml:"-" json:"host,omitempty"`
}

// DecodeYAML takes an address alone, or a mapping.
func (e *Endpoint) DecodeYAML(n *yaml.Node, at Path, env *Env) []Problem {
	e.Weight = 1
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		e.Address = n.Value
		return nil
	}
	type plain Endpoint // without this method, so that decoding does not come back here
	return Decode(n, at, (*plain)(e), env)
}

// Resource is a named thing that the core carries without knowing what it means, such as a virtual database.
//
// Over xDS it travels as an extension config.
type Resource struct {
	Kind   string
	Name   string
	Value  any // what the kind decoded; immutable
	Source []byte
	// Clusters are clusters that the resource brings along, in the file's own form (a jdbc URL is a cluster of one).
	Clusters []*yaml.Node
	Origin   Origin
	Hash     uint64
}
