package xds

import (
	"fmt"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sidewire/sidewire/gateway/config"
)

// wireTCP and wireRedis are protocols that only configuration sees.
type wire struct{ name string }

type wireListener struct {
	Cluster  string          `yaml:"cluster" required:"true"`
	Idle     config.Duration `yaml:"idle_timeout"`
	Password config.Secret   `yaml:"password"`
	Book     string          `yaml:"book"`
	Hash     string          `yaml:"hash"`
}

type wireCluster struct {
	Password config.Secret   `yaml:"password"`
	HashTag  string          `yaml:"hash_tag"`
	Hashing  string          `yaml:"hashing"`
	RingSize int             `yaml:"ring_size"`
	Timeout  config.Duration `yaml:"timeout"`
}

func (w wire) Name() string       { return w.name }
func (w wire) ListenerBlock() any { return &wireListener{} }
func (w wire) ClusterBlock() any  { return &wireCluster{} }
func (w wire) CheckListener(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	b := l.Block.(*wireListener)
	problems := m.CheckClusterRef(b.Cluster, w.name, at.Field("cluster"))
	if b.Idle < 0 {
		problems = append(problems, at.Field("idle_timeout").Problem("must not be negative"))
	}
	if b.Book != "" {
		problems = append(problems, m.CheckResourceRef("databases", b.Book, at.Field("book"))...)
	}
	return problems
}
func (wire) CheckCluster(*config.Model, *config.Cluster, config.Path) []config.Problem { return nil }

func (w wire) Meaningless() map[string]string {
	if w.name == "tcp" {
		return map[string]string{"limits.requests": "it has none"}
	}
	return nil
}

// books is a kind of resource.
type books struct{}

func (books) Name() string { return "databases" }
func (books) Decode(n *yaml.Node, at config.Path, env *config.Env) (config.Resource, []config.Problem) {
	v := &struct {
		Name  string `yaml:"name" required:"true"`
		Pages int    `yaml:"pages" min:"1"`
	}{}
	problems := config.Decode(n, at, v, env)
	return config.Resource{Name: v.Name, Value: v, Source: fmt.Appendf(nil, "%v", v)}, problems
}
func (books) Check(*config.Model, *config.Resource, config.Path) []config.Problem { return nil }

// process applies snapshots by noting them; what is in taken cannot be bound.
type process struct {
	language config.Language
	snapshot *config.Snapshot
	applied  int
	taken    map[string]bool
}

func newProcess() *process {
	return &process{language: config.Language{Protocols: []config.Protocol{wire{"tcp"}, wire{"redis"}}, Kinds: []config.Kind{books{}}}, taken: make(map[string]bool)}
}

func (p *process) Language() config.Language  { return p.language }
func (p *process) Snapshot() *config.Snapshot { return p.snapshot }
func (p *process) Apply(s *config.Snapshot) []config.Problem {
	var problems []config.Problem
	for i, l := range s.Listeners() {
		if p.taken[l.Address] {
			problems = append(problems, config.Path("listeners").Index(i).Field("address").Problem("address already in use"))
		}
	}
	if len(problems) == 0 {
		p.snapshot = s
		p.applied++
	}
	return problems
}

// bench is a store with a process behind it.
type bench struct {
	t       testing.TB
	process *process
	store   *store
	base    *config.Model
	last    *build
	wants   map[string][]string
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, process: newProcess(), base: &config.Model{Partial: true}, wants: make(map[string][]string)}
	b.base.SetDefaults()
	b.store = newStore(b.process.language, func() *config.Env { return &config.Env{} }, func() time.Time { return start }, func(url string, names []string) { b.wants[short(url)] = names })
	return b
}

// push delivers resources as one response each and makes what there is active. It returns what was wrong.
func (b *bench) push(version string, messages ...proto.Message) string {
	b.t.Helper()
	var wrong []string
	for _, m := range messages {
		body := pack(b.t, m)
		name, err := nameOf(body)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, err := range b.store.Update(body.TypeUrl, []Resource{{Name: name, Version: version, Body: body}}, nil) {
			wrong = append(wrong, err.Error())
		}
	}
	b.settle()
	return strings.Join(wrong, "; ")
}

func (b *bench) remove(url string, names ...string) {
	b.t.Helper()
	b.store.Update(url, nil, names)
	b.settle()
}

func (b *bench) settle() {
	b.t.Helper()
	b.last = b.store.build(b.process.snapshot)
	if err := b.last.apply(b.base, b.process); err != nil {
		b.t.Fatal(err)
	}
}

// active tells listeners with their clusters and clusters with their endpoints, as they are in force.
func (b *bench) active() string {
	var out []string
	if b.process.snapshot == nil {
		return "nothing"
	}
	for _, l := range b.process.snapshot.Listeners() {
		out = append(out, l.Name+">"+l.Block.(*wireListener).Cluster)
	}
	for _, c := range b.process.snapshot.Clusters() {
		one := c.Name + "/" + c.Protocol
		for _, e := range c.Endpoints {
			one += " " + e.Address
		}
		out = append(out, one)
	}
	for _, r := range b.process.snapshot.Resources() {
		out = append(out, r.Kind+" "+r.Name)
	}
	return strings.Join(out, ", ")
}

func (b *bench) want(want string) {
	b.t.Helper()
	if got := b.active(); got != want {
		b.t.Errorf("active is %q, want %q; waiting: %v", got, want, b.last.waiting)
	}
}

func listener(t testing.TB, name string, port int, cluster string) *listenerv3.Listener {
	var l listenerv3.Listener
	fromYAML(t, fmt.Sprintf(`
name: %s
address: {socket_address: {address: 127.0.0.1, port_value: %d}}
filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: %s}}]}]
`, name, port, cluster), &l)
	return &l
}

func edsCluster(t testing.TB, name string) *clusterv3.Cluster {
	var c clusterv3.Cluster
	fromYAML(t, "name: "+name+"\ntype: EDS\neds_cluster_config: {eds_config: {ads: {}}}", &c)
	return &c
}

func endpoints(t testing.TB, name string, ports ...int) *endpointv3.ClusterLoadAssignment {
	text := "cluster_name: " + name + "\nendpoints: [{lb_endpoints: ["
	for _, p := range ports {
		text += fmt.Sprintf("{endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: %d}}}},", p)
	}
	var a endpointv3.ClusterLoadAssignment
	fromYAML(t, strings.TrimSuffix(text, ",")+"]}]", &a)
	return &a
}

// Rule 8: whatever the order of arrival, the whole becomes active, and nothing half before.
func TestAnyOrderOfArrival(t *testing.T) {
	pieces := func(t *testing.T) []proto.Message {
		return []proto.Message{edsCluster(t, "c"), endpoints(t, "c", 1, 2), listener(t, "l", 100, "c")}
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {2, 0, 1}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			b := newBench(t)
			for i, at := range order {
				b.push("1", pieces(t)[at])
				if i < 2 && strings.Contains(b.active(), "l>") {
					t.Errorf("a listener without its cluster is active: %s", b.active())
				}
			}
			b.want("l>c, c/tcp 10.0.0.1:1 10.0.0.1:2")
		})
	}
}

// Make before break: a listener that moves to a cluster that is not there yet stays where it is until that has come, even
// when the server removes the old one first.
func TestMakeBeforeBreak(t *testing.T) {
	b := newBench(t)
	b.push("1", edsCluster(t, "old"), endpoints(t, "old", 1), listener(t, "l", 100, "old"))
	b.push("2", listener(t, "l", 100, "new"))
	b.want("l>old, old/tcp 10.0.0.1:1")
	b.remove(ClusterType, "old")
	b.want("l>old, old/tcp 10.0.0.1:1")
	b.push("2", edsCluster(t, "new"))
	b.want("l>old, old/tcp 10.0.0.1:1")
	b.push("2", endpoints(t, "new", 2))
	b.want("l>new, new/tcp 10.0.0.1:2")
	b.remove(ListenerType, "l")
	b.want("")
}

func TestLastGoodIsKept(t *testing.T) {
	b := newBench(t)
	b.push("1", edsCluster(t, "c"), endpoints(t, "c", 1), listener(t, "l", 100, "c"))
	bad := listener(t, "l", 100, "c")
	fromYAML(t, `{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 100}}, filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct,
  type_url: x/sidewire.config.v1.Listener, value: {tcp: {cluster: c, idle_timeot: 5s}}}}]}]}`, bad)
	if wrong := b.push("2", bad); wrong != `tcp.idle_timeot: unknown field; did you mean "idle_timeout"?` {
		t.Errorf("wrong: %s", wrong)
	}
	b.want("l>c, c/tcp 10.0.0.1:1")
	it := b.store.items[ListenerType]["l"]
	if it.version != "1" || it.rejected == nil || it.rejected.Version != "2" {
		t.Errorf("%+v", it)
	}
	if b.push("3", listener(t, "l", 200, "c")); it.rejected != nil || b.process.snapshot.Listener("l").Address != "127.0.0.1:200" {
		t.Errorf("%+v", it)
	}
}

// Envoy ignores the thresholds that mean nothing to a protocol, and control planes send all of them. Who writes sidewire's own
// words means what they say.
func TestLimitsThatMeanNothing(t *testing.T) {
	b := newBench(t)
	c := edsCluster(t, "c")
	fromYAML(t, `{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}, circuit_breakers: {thresholds: [{max_connections: 7, max_requests: 9, max_retries: 4294967295}]}}`, c)
	if wrong := b.push("1", c, endpoints(t, "c", 1), listener(t, "l", 100, "c")); wrong != "" {
		t.Fatal(wrong)
	}
	if got := b.process.snapshot.Cluster("c").Limits; got != (config.Breaker{Total: 7}) {
		t.Errorf("limits are %+v", got)
	}
	if notes := b.last.notes["cluster c"]; len(notes) != 1 || notes[0] != "circuit_breakers: requests is not acted on: it has none" {
		t.Errorf("notes: %q", notes)
	}
	fromYAML(t, `{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}, typed_extension_protocol_options: {sidewire: {"@type": type.googleapis.com/xds.type.v3.TypedStruct,
  type_url: x/sidewire.config.v1.Cluster, value: {tcp: {}, limits: {requests: 9}}}}}`, c)
	if got := b.push("2", c); got != "limits.requests: means nothing to tcp: it has none" {
		t.Errorf("wrong: %q", got)
	}
	if got := b.process.snapshot.Cluster("c").Limits.Total; got != 7 {
		t.Errorf("the last good version is gone: %d", got)
	}
}

// A policy that hashes places connections at layer 4; who is out of health has no part in that, so that there is no word for it.
func TestHashingOfConnections(t *testing.T) {
	b := newBench(t)
	c := &clusterv3.Cluster{}
	fromYAML(t, `{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}, lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 64}, outlier_detection: {}}`, c)
	if wrong := b.push("1", c, endpoints(t, "c", 1), listener(t, "l", 100, "c")); wrong != "" {
		t.Fatal(wrong)
	}
	if got := b.process.snapshot.Cluster("c").Block.(*wireCluster); *got != (wireCluster{Hashing: "envoy_ring", RingSize: 64}) {
		t.Errorf("the cluster's block is %+v", got)
	}
	if notes := b.last.notes["cluster c"]; len(notes) > 0 {
		t.Errorf("notes: %q", notes)
	}
	if spread, lost := (&clusterReading{spread: tree{"hashing": "envoy_ring"}}).hashed("kafka"); spread != nil || !lost {
		t.Errorf("to Kafka it means %v", spread)
	}
}

func TestEndpointsChange(t *testing.T) {
	b := newBench(t)
	b.push("1", edsCluster(t, "c"), endpoints(t, "c", 1), listener(t, "l", 100, "c"))
	before := b.process.snapshot.Listener("l")
	b.push("2", endpoints(t, "c", 2, 3))
	b.want("l>c, c/tcp 10.0.0.1:2 10.0.0.1:3")
	if b.process.snapshot.Listener("l") != before {
		t.Error("a listener that did not change is another one")
	}
	applied := b.process.applied
	b.push("3", endpoints(t, "c", 2, 3))
	if b.process.applied != applied {
		t.Error("the same content was applied again")
	}
	b.push("4", endpoints(t, "c"))
	b.want("l>c, c/tcp")
}

func TestProtocolComesFromTheListeners(t *testing.T) {
	b := newBench(t)
	redis := &listenerv3.Listener{}
	fromYAML(t, `{name: r, address: {socket_address: {address: 127.0.0.1, port_value: 101}}, filter_chains: [{filters: [{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy,
  prefix_routes: {catch_all_route: {cluster: c}}}}]}]}`, redis)
	b.push("1", edsCluster(t, "c"), endpoints(t, "c", 1))
	if b.last.waiting["cluster c"] != "no listener names it, so its protocol is not known" {
		t.Errorf("waiting: %v", b.last.waiting)
	}
	b.push("1", redis)
	b.want("r>c, c/redis 10.0.0.1:1")
	b.push("1", listener(t, "l", 100, "c"))
	if b.last.waiting["cluster c"] != "listeners speak redis and tcp to it" {
		t.Errorf("waiting: %v", b.last.waiting)
	}
	b.want("r>c, c/redis 10.0.0.1:1")
}

func TestPortInUseHoldsBackOneListenerOnly(t *testing.T) {
	b := newBench(t)
	b.process.taken["127.0.0.1:100"] = true
	b.push("1", edsCluster(t, "c"), endpoints(t, "c", 1), listener(t, "l", 100, "c"), listener(t, "m", 101, "c"))
	b.want("m>c, c/tcp 10.0.0.1:1")
	if !b.last.failed || !strings.Contains(b.last.waiting["listener l"], "address already in use") {
		t.Errorf("failed %v, waiting %v", b.last.failed, b.last.waiting)
	}
	delete(b.process.taken, "127.0.0.1:100")
	b.settle()
	b.want("l>c, m>c, c/tcp 10.0.0.1:1")
}

func TestExtensionConfigs(t *testing.T) {
	b := newBench(t)
	l := &listenerv3.Listener{}
	fromYAML(t, `{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 100}}, filter_chains: [{filters: [
  {name: rules, config_discovery: {config_source: {ads: {}}, type_urls: [x/sidewire.config.v1.Listener]}},
  {name: atlas, config_discovery: {config_source: {ads: {}}, type_urls: [x/sidewire.config.v1.Database]}},
  {name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: c}}]}]}`, l)
	b.push("1", edsCluster(t, "c"), endpoints(t, "c", 1), l)
	b.want("")
	if want := "extension configs rules, atlas have not come"; b.last.waiting["listener l"] != want {
		t.Errorf("waiting: %v", b.last.waiting)
	}
	if got := fmt.Sprint(b.wants["TypedExtensionConfig"]); got != "[atlas rules]" {
		t.Errorf("asked for %s", got)
	}
	ext := func(name, kind, value string) *corev3.TypedExtensionConfig {
		var m corev3.TypedExtensionConfig
		fromYAML(t, fmt.Sprintf(`{name: %s, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: x/sidewire.config.v1.%s, value: %s}}`, name, kind, value), &m)
		return &m
	}
	b.push("1", ext("rules", "Listener", "{tcp: {book: atlas}}"), ext("atlas", "Database", "{pages: 7}"))
	b.want("l>c, c/tcp 10.0.0.1:1, databases atlas")
	if wrong := b.push("2", ext("atlas", "Database", "{pages: 0}")); !strings.Contains(wrong, "pages: ") {
		t.Errorf("wrong: %s", wrong)
	}
	b.want("l>c, c/tcp 10.0.0.1:1, databases atlas")
	before := b.process.snapshot.Resource("databases", "atlas")
	b.push("3", ext("atlas", "Database", "{pages: 8}"))
	if b.process.snapshot.Resource("databases", "atlas") == before {
		t.Error("new rules are not active")
	}
}

func TestSecrets(t *testing.T) {
	b := newBench(t)
	l := &listenerv3.Listener{}
	fromYAML(t, `{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 100}}, filter_chains: [{filters: [
  {name: own, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: x/sidewire.config.v1.Listener, value: {tcp: {cluster: c, password: {secret: pw}}}}}]}]}`, l)
	c := edsCluster(t, "c")
	fromYAML(t, `{name: c, type: EDS, typed_extension_protocol_options: {own: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: x/sidewire.config.v1.Cluster, value: {tcp: {}}}}}`, c)
	if wrong := b.push("1", c, endpoints(t, "c", 1), l); wrong != "" {
		t.Errorf("a secret that has not come is no fault: %s", wrong)
	}
	b.want("c/tcp 10.0.0.1:1")
	secret := func(v string) *tlsv3.Secret {
		var s tlsv3.Secret
		fromYAML(t, "{name: pw, generic_secret: {secret: {inline_string: "+v+"}}}", &s)
		return &s
	}
	b.push("1", secret("swordfish"))
	b.want("l>c, c/tcp 10.0.0.1:1")
	if got := b.process.snapshot.Listener("l").Block.(*wireListener).Password.Value(); got != "swordfish" {
		t.Errorf("password %q", got)
	}
	b.push("2", secret("marlin"))
	if got := b.process.snapshot.Listener("l").Block.(*wireListener).Password.Value(); got != "marlin" {
		t.Errorf("password %q after rotation", got)
	}
}

func TestNobodyRefersAnyMore(t *testing.T) {
	b := newBench(t)
	b.push("1", edsCluster(t, "c"), endpoints(t, "c", 1), listener(t, "l", 100, "c"))
	b.remove(ClusterType, "c")
	if got := b.wants["ClusterLoadAssignment"]; len(got) != 0 {
		t.Errorf("still asks for %v", got)
	}
	if len(b.store.items[EndpointType]) != 0 {
		t.Error("endpoints of a cluster that is gone are kept")
	}
}

func TestBaseStaysBesideWhatComes(t *testing.T) {
	b := newBench(t)
	n, problems := config.Parse([]byte(`
listeners: [{name: l, address: "127.0.0.1:100", tcp: {cluster: c}}, {name: k, address: "127.0.0.1:99", tcp: {cluster: own}}]
clusters: [{name: own, tcp: {}, endpoints: ["10.0.0.9:1"]}]
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if b.base, problems = b.process.language.DecodeModel(n, config.Origin{Source: "file"}, &config.Env{}); len(problems) > 0 {
		t.Fatal(problems)
	}
	b.settle()
	b.want("k>own, own/tcp 10.0.0.9:1")
	c := edsCluster(t, "c")
	fromYAML(t, `{name: c, type: EDS, typed_extension_protocol_options: {own: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: x/sidewire.config.v1.Cluster, value: {tcp: {}}}}}`, c)
	b.push("1", c, endpoints(t, "c", 1), listener(t, "k", 98, "own"))
	b.want("l>c, k>own, c/tcp 10.0.0.1:1, own/tcp 10.0.0.9:1")
	if !strings.Contains(b.last.waiting["listener k"], "duplicate listener") {
		t.Errorf("waiting %v", b.last.waiting)
	}
}
