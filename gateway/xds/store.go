package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sidewire/sidewire/gateway/config"
)

// item is one resource: the last version that was good, and the last that was not.
type item struct {
	name    string
	version string
	message any // of the good version; nil when there was none yet
	changed uint64
	updated time.Time
	content string // of the good version, as it came
	static  bool   // of the bootstrap file: no response deletes it

	// What message means, so that a push of one resource does not read all the others again.
	cluster  *clusterReading
	listener *reading
	fault    error  // instead of either
	readAt   uint64 // the state of the extension configs that listener was read with

	rejected *rejected
	missing  bool // the server says, or 15 s of silence do, that there is no such thing
	notes    notes
}

// rejected is a version that was not taken.
type rejected struct {
	Version string    `json:"version_info"`
	Details string    `json:"details"`
	Time    time.Time `json:"last_update_attempt"`
}

// store holds every resource by type and name, and says what else is needed. One goroutine owns it.
type store struct {
	language config.Language
	env      func() *config.Env
	now      func() time.Time
	want     func(typeURL string, names []string)

	items   map[string]map[string]*item // by type URL
	counter uint64
	extends uint64 // counts changes of extension configs
	fills   uint64 // counts changes of secrets and of runtime layers
	dirty   bool   // something changed since the last build
	decoded map[string]*decoded
	roots   []FileSource        // of the bootstrap file
	runtime tree                // values that the bootstrap file has itself
	layers  []string            // of runtime, which are asked for; later ones decide
	looked  map[string]bool     // runtime keys that something depends on
	files   map[FileSource]bool // roots, and those that resources name
}

// decoded caches what an item came to, until anything it was made of changes.
type decoded struct {
	from     string // versions of what it is made of: equal ones mean equal content
	key      string // the content
	listener *config.Listener
	cluster  *config.Cluster
	resource *config.Resource
	extra    []*config.Cluster // that a resource brought along
	problems []config.Problem
}

func newStore(language config.Language, env func() *config.Env, now func() time.Time, want func(string, []string)) *store {
	s := &store{language: language, env: env, now: now, want: want, items: make(map[string]map[string]*item), decoded: make(map[string]*decoded), looked: make(map[string]bool)}
	for _, url := range order {
		s.items[url] = make(map[string]*item)
	}
	return s
}

func (s *store) item(typeURL, name string) *item {
	it := s.items[typeURL][name]
	if it == nil {
		it = &item{name: name}
		s.items[typeURL][name] = it
	}
	return it
}

// Update takes one response.
func (s *store) Update(typeURL string, changed []Resource, removed []string) map[string]error {
	wrong := make(map[string]error)
	fresh := len(removed) > 0
	for _, r := range changed {
		it := s.item(typeURL, r.Name)
		if it.static {
			wrong[r.Name] = errors.New("the bootstrap file has a resource of this name")
			continue
		}
		if s.same(typeURL, r) { // a state of the world repeats what did not change
			it.version = r.Version
			continue
		}
		message, notes, err := s.check(typeURL, r)
		if err != nil {
			it.rejected = &rejected{r.Version, err.Error(), s.now()}
			wrong[r.Name] = err
			continue
		}
		it.content = string(r.Body.Value)
		s.keep(it, r.Version, message, notes)
		s.count(typeURL)
		fresh = true
	}
	for _, name := range removed {
		if it := s.items[typeURL][name]; it != nil && !it.static {
			s.drop(typeURL, name)
		}
	}
	// Nobody refers from endpoints and secrets to anything; but what files bring unasked is to be let go.
	if leaf := typeURL == EndpointType || typeURL == SecretType || typeURL == RuntimeType; fresh && !leaf || len(s.files) > 0 {
		s.subscribe()
	}
	return wrong
}

func (s *store) drop(typeURL, name string) {
	delete(s.items[typeURL], name)
	s.dirty = true
	s.count(typeURL)
}

// count notes a change of what other resources are made of.
func (s *store) count(typeURL string) {
	switch typeURL {
	case ExtensionType:
		s.extends++
	case SecretType, RuntimeType:
		s.fills++
	}
}

func (s *store) keep(it *item, version string, message any, notes notes) {
	s.counter++
	it.version, it.message, it.notes, it.updated, it.changed = version, message, notes, s.now(), s.counter
	it.rejected, it.missing = nil, false
	it.cluster, it.listener, it.fault = nil, nil, nil
	s.dirty = true
}

// readCluster says what a cluster that is here means. Both results are nil for what has not come.
func (s *store) readCluster(it *item) (*clusterReading, error) {
	m, ok := it.message.(*clusterv3.Cluster)
	if ok && it.cluster == nil && it.fault == nil {
		it.cluster, it.fault = readCluster(m)
	}
	return it.cluster, it.fault
}

// readListener says what a listener that is here means, with the extension configs that are here.
func (s *store) readListener(it *item) (*reading, error) {
	m, ok := it.message.(*listenerv3.Listener)
	if ok && (it.listener == nil && it.fault == nil || it.readAt != s.extends) {
		it.listener, it.fault = readListener(m, s.extension)
		it.readAt = s.extends
	}
	return it.listener, it.fault
}

// Missing notes that a resource does not exist.
func (s *store) Missing(typeURL, name string) {
	it := s.item(typeURL, name)
	if it.message == nil {
		it.missing = true
		s.dirty = true
	}
}

// check opens a resource and tells what is wrong with it in itself. References to what has not come are no fault.
func (s *store) check(typeURL string, r Resource) (any, notes, error) {
	m, err := open(r.Body)
	if err != nil {
		return nil, nil, err
	}
	switch m := m.(type) {
	case *listenerv3.Listener:
		l, err := readListener(m, s.extension)
		if err != nil {
			return nil, nil, err
		}
		return m, l.notes, s.tryListener(l)
	case *clusterv3.Cluster:
		c, err := readCluster(m)
		if err != nil {
			return nil, nil, err
		}
		return m, c.notes, s.tryCluster(c)
	case *endpointv3.ClusterLoadAssignment:
		var n notes
		list, err := readEndpoints(m, &n)
		if err != nil {
			return nil, nil, err
		}
		return list, n, s.tryCluster(&clusterReading{body: tree{"name": m.ClusterName, "endpoints": list}})
	case *tlsv3.Secret:
		var n notes
		parts, err := secretParts(m, &n)
		return parts, n, err
	case *corev3.TypedExtensionConfig:
		return m.TypedConfig, nil, s.tryExtension(m)
	case *runtimev3.Runtime:
		return fromStruct(m.Layer), nil, nil
	}
	return nil, nil, fmt.Errorf("%T is not known", m)
}

// extension finds an extension config by name.
func (s *store) extension(name string) *anypb.Any {
	if it := s.items[ExtensionType][name]; it != nil {
		if config, ok := it.message.(*anypb.Any); ok {
			return config
		}
	}
	return nil
}

// subscribe asks for what the present resources refer to, and lets go of the rest.
func (s *store) subscribe() {
	var eds, sds, ecds, filed []string
	s.files = make(map[FileSource]bool)
	for _, f := range s.roots {
		s.files[f] = true
	}
	var brought []string
	bring := func(n needs) {
		for name, path := range n.files {
			s.files[FileSource{SecretType, path}] = true
			brought = append(brought, name)
		}
	}
	for _, it := range s.items[ClusterType] {
		if c, _ := s.readCluster(it); c != nil {
			switch {
			case c.edsPath != "":
				s.files[FileSource{EndpointType, c.edsPath}] = true
				filed = append(filed, c.eds)
			case c.eds != "":
				eds = append(eds, c.eds)
			}
			sds = append(sds, c.needs.secrets...)
			bring(c.needs)
		}
	}
	for _, it := range s.items[ListenerType] {
		m, ok := it.message.(*listenerv3.Listener)
		if !ok {
			continue
		}
		ecds = append(ecds, discovered(m)...)
		if l, _ := s.readListener(it); l != nil {
			sds = append(sds, l.needs.secrets...)
			bring(l.needs)
		}
	}
	s.wanted(EndpointType, eds, filed)
	s.wanted(SecretType, sds, brought)
	s.wanted(ExtensionType, ecds, nil)
	s.wanted(RuntimeType, slices.Clone(s.layers), nil)
}

// same reports whether a resource is the one that is here already.
func (s *store) same(typeURL string, r Resource) bool {
	it := s.items[typeURL][r.Name]
	return it != nil && it.rejected == nil && it.message != nil && it.content == string(r.Body.Value)
}

// wanted subscribes to names and forgets the resources that nobody refers to. Those that files bring are not asked for.
func (s *store) wanted(typeURL string, names, filed []string) {
	names = slices.DeleteFunc(names, func(n string) bool {
		it := s.items[typeURL][n]
		return it != nil && it.static
	})
	slices.Sort(names)
	names = slices.Compact(names)
	for name, it := range s.items[typeURL] {
		if _, found := slices.BinarySearch(names, name); !found && !it.static && !slices.Contains(filed, name) {
			s.drop(typeURL, name)
		}
	}
	s.want(typeURL, names)
}

// discovered are the extension configs that a listener's filters name.
func discovered(l *listenerv3.Listener) []string {
	var names []string
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(slices.Clone(chains), l.DefaultFilterChain)
	}
	for _, c := range chains {
		for _, f := range c.Filters {
			if f.GetConfigDiscovery() != nil {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

// fill puts secrets into the holes of a copy of t. The names of those that have not come are returned.
func (s *store) fill(t tree) (filled tree, generic tree, missing []string) {
	generic = tree{}
	part := func(name, part string) any {
		it := s.items[SecretType][name]
		if it == nil || it.message == nil {
			missing = append(missing, name)
			return ""
		}
		v := it.message.(map[string]any)[part]
		if v == nil {
			missing = append(missing, name+" (has no "+part+")")
			return ""
		}
		return v
	}
	filled = walk(clone(t), func(v any) any {
		switch v := v.(type) {
		case hole:
			return part(v.secret, v.part)
		case share:
			return s.percent(v)
		}
		if name := genericName(v); name != "" {
			generic[name] = part(name, partGeneric)
		}
		return v
	}).(tree)
	return filled, generic, missing
}

// percent is what the runtime says of a percentage, or what the message says. A number is a percentage; a mapping is a fraction,
// as Envoy's FractionalPercent.
func (s *store) percent(v share) any {
	s.looked[v.key] = true
	value := lookUp(s.runtime, v.key)
	for _, name := range s.layers {
		if it := s.items[RuntimeType][name]; it != nil {
			if layer, ok := it.message.(tree); ok {
				if over := lookUp(layer, v.key); over != nil {
					value = over
				}
			}
		}
	}
	switch value := value.(type) {
	case int64:
		return min(max(float64(value), 0), 100)
	case float64:
		return min(max(value, 0), 100)
	case tree:
		n, _ := value["numerator"].(int64)
		of, ok := map[any]float64{nil: 100, "HUNDRED": 100, "TEN_THOUSAND": 1e4, "MILLION": 1e6}[value["denominator"]]
		if ok {
			return min(max(float64(n)*100/of, 0), 100)
		}
	}
	return v.percent
}

// unlooked are the keys of a runtime layer that nothing here depends on.
func (s *store) unlooked(prefix string, layer tree) (keys []string) {
	for key, v := range layer {
		key = prefix + key
		if inner, ok := v.(tree); ok && !s.looked[key] {
			keys = append(keys, s.unlooked(key+".", inner)...)
		} else if !s.looked[key] {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// lookUp finds a.b as the key "a.b" or as b inside a, as runtime layers may have it.
func lookUp(t tree, key string) any {
	if key == "" {
		return nil
	}
	if v, ok := t[key]; ok {
		return v
	}
	for i := range key {
		if key[i] == '.' {
			if inner, ok := t[key[:i]].(tree); ok {
				if v := lookUp(inner, key[i+1:]); v != nil {
					return v
				}
			}
		}
	}
	return nil
}

func clone(v tree) tree {
	out := maps.Clone(v)
	for k, e := range out {
		out[k] = cloneValue(e)
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case tree:
		return clone(v)
	case []any:
		out := slices.Clone(v)
		for i, e := range out {
			out[i] = cloneValue(e)
		}
		return out
	}
	return v
}

// decode reads one entry of the list called list as the file's decoder does. The problems' paths begin inside the entry.
func (s *store) decode(list string, body, generic tree, origin config.Origin) (*config.Model, []config.Problem) {
	root := tree{list: []any{body}}
	if len(generic) > 0 {
		root["secrets"] = generic
	}
	n, err := node(root)
	if err != nil {
		return nil, []config.Problem{config.Path("").Problem("%v", err)}
	}
	m, problems := s.language.DecodeModel(n, origin, s.env())
	return m, inside(list, problems)
}

// inside strips "listeners[0]." from paths: the resource's own name says which it is.
func inside(list string, problems []config.Problem) []config.Problem {
	at := string(config.Path(list).Index(0))
	out := slices.Clone(problems)
	for i := range out {
		p := strings.TrimPrefix(string(out[i].Path), at)
		out[i].Path = config.Path(strings.TrimPrefix(p, "."))
	}
	return out
}

func asError(problems []config.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return config.Problems(problems)
}

// tryListener decodes and compiles a listener by itself, with stand-ins for secrets that have not come.
func (s *store) tryListener(l *reading) error {
	if len(l.missing) > 0 || l.protocol == "" && !s.declares(l.body) {
		return nil // what it means is known when its extension configs are here
	}
	body, generic, missing := s.fill(l.body)
	if len(missing) > 0 {
		withoutTLS(body)
		for name := range generic {
			if generic[name] == "" {
				generic[name] = "stand-in"
			}
		}
	}
	m, problems := s.decode("listeners", body, generic, config.Origin{})
	if m == nil {
		return asError(problems)
	}
	m.Partial = true
	_, problems = s.language.Compile(m, nil)
	if slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Reference }) {
		return nil // the rest is known when what it refers to is here
	}
	return asError(inside("listeners", problems))
}

// withoutTLS takes a listener's TLS away, and that of its filter chains.
func withoutTLS(body tree) {
	delete(body, "tls")
	block := treeOf(body["tcp"])
	delete(treeOf(block["default_chain"]), "tls")
	chains, _ := block["chains"].([]any)
	for _, c := range chains {
		delete(treeOf(c), "tls")
	}
}

// declares tells whether a body has a protocol's block.
func (s *store) declares(body tree) bool {
	for _, p := range s.language.Protocols {
		if _, ok := body[p.Name()]; ok {
			return true
		}
	}
	return false
}

// tryCluster decodes and compiles a cluster by itself.
func (s *store) tryCluster(c *clusterReading) error {
	body, generic, missing := s.fill(c.body)
	if len(missing) > 0 {
		delete(body, "tls")
		for name := range generic {
			if generic[name] == "" {
				generic[name] = "stand-in"
			}
		}
	}
	if body["endpoints"] == nil {
		body["endpoints"] = []any{"127.0.0.1:1"} // a stand-in: how many there are is their own resource's matter
	}
	idle := c.idle(s.language.Meaningless(c.protocol))
	if !s.declares(body) {
		body[s.plainest()] = tree{}
		idle = slices.Sorted(maps.Keys(treeOf(body["limits"]))) // what they mean depends on the protocol
	}
	unlimited(body, idle)
	m, problems := s.decode("clusters", body, generic, config.Origin{})
	if m == nil {
		return asError(problems)
	}
	m.Partial = true
	_, problems = s.language.Compile(m, nil)
	return asError(inside("clusters", problems))
}

// plainest is the protocol that asks for nothing, to check a cluster whose protocol is not known yet.
func (s *store) plainest() string {
	for _, p := range s.language.Protocols {
		if p.Name() == "tcp" {
			return "tcp"
		}
	}
	return s.language.Protocols[0].Name()
}

// tryExtension checks an extension config: one of sidewire's kinds by its decoder, a filter by reading a chain of it.
func (s *store) tryExtension(m *corev3.TypedExtensionConfig) error {
	c := &chain{reading: &reading{body: tree{"name": m.Name, "address": "127.0.0.1:0"}}, unsure: true}
	if err := c.filter(m.Name, m.TypedConfig); err != nil {
		return err
	}
	for _, r := range c.resources {
		body, generic, _ := s.fill(r.body)
		for name := range generic {
			if generic[name] == "" {
				generic[name] = "stand-in"
			}
		}
		if _, problems := s.decode(r.kind, body, generic, config.Origin{}); len(problems) > 0 {
			return asError(problems)
		}
	}
	return nil
}
