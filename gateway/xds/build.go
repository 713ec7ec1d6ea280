package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/gateway/config"
)

// build is one attempt to make a model of everything that is here. What is not complete waits, by name and reason, and the
// version that is active stays in its place.
type build struct {
	store   *store
	active  *config.Snapshot // may be nil
	waiting map[string]string
	notes   map[string]notes

	listeners map[string]*config.Listener
	clusters  map[string]*config.Cluster
	resources map[string]*config.Resource // by kind/name
	extra     map[string]*config.Cluster  // that resources brought along
	protocols map[string]map[string]bool  // of clusters, as listeners speak to them
	settings  map[string]tree             // of clusters, as listeners have them
	unused    map[string]bool             // clusters that nobody names
	left      map[string]bool             // of the base, by list/name: what does not fit
	// failed: something compiled and could not be applied, such as a port in use. It may fit later as it is.
	failed bool
	// problems are those of the base and of static resources that waiting does not mend; told says whose they are.
	problems []config.Problem
	told     map[string]bool
}

func (s *store) build(active *config.Snapshot) *build {
	b := &build{
		store: s, active: active, told: make(map[string]bool), unused: make(map[string]bool), settings: make(map[string]tree), left: make(map[string]bool), waiting: make(map[string]string), notes: make(map[string]notes), listeners: make(map[string]*config.Listener),
		clusters: make(map[string]*config.Cluster), resources: make(map[string]*config.Resource), extra: make(map[string]*config.Cluster),
		protocols: make(map[string]map[string]bool),
	}
	for _, name := range slices.Sorted(maps.Keys(s.items[ListenerType])) {
		b.listener(s.items[ListenerType][name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.items[ClusterType])) {
		b.cluster(s.items[ClusterType][name])
	}
	for name, it := range s.items[RuntimeType] {
		if layer, ok := it.message.(tree); ok {
			var n notes
			for _, key := range s.unlooked("", layer) {
				n.add("%s: nothing depends on it", key)
			}
			b.notes["runtime "+name] = n
		}
	}
	return b
}

func origin(it *item) config.Origin {
	if it.static {
		return config.Origin{Source: "bootstrap"}
	}
	return config.Origin{Source: Source, Version: it.version}
}

// Source is the origin of resources that came from a control plane.
const Source = "xds"

func (b *build) wait(what, name, format string, args ...any) {
	b.waiting[what+" "+name] = fmt.Sprintf(format, args...)
}

// listener decodes one listener, or says what it waits for.
func (b *build) listener(it *item) {
	l, err := b.store.readListener(it)
	if l == nil && err == nil {
		return
	}
	if err != nil { // an extension config changed its meaning
		b.wait("listener", it.name, "%v", err)
		return
	}
	b.notes["listener "+it.name] = l.notes
	if len(l.missing) > 0 {
		b.wait("listener", it.name, "extension configs %s have not come", strings.Join(l.missing, ", "))
		return
	}
	for _, r := range l.resources {
		b.resource(it, l, r)
	}
	for _, c := range l.clusters {
		if b.protocols[c] == nil {
			b.protocols[c] = make(map[string]bool)
		}
		b.protocols[c][l.protocol] = true
		if l.settings != nil {
			b.settings[c] = l.settings
		}
	}
	d := b.decode("listeners", it.name, b.made(it, l.needs), func() tree { return l.body }, it, func(m *config.Model, d *decoded) { d.listener = m.Listeners[0] })
	if d != nil {
		b.listeners[it.name] = d.listener
	}
}

func (b *build) resource(it *item, l *reading, r ownResource) {
	d := b.decode(r.kind, r.name, b.made(it, l.needs), func() tree { return r.body }, it, func(m *config.Model, d *decoded) { d.resource, d.extra = m.Resources[0], m.Clusters })
	if d == nil {
		return
	}
	b.resources[r.kind+"/"+r.name] = d.resource
	for _, c := range d.extra {
		b.extra[c.Name] = c
	}
}

// cluster decodes one cluster, once it is known what is spoken to it and where it is.
func (b *build) cluster(it *item) {
	read, err := b.store.readCluster(it)
	if read == nil && err == nil {
		return
	}
	if err != nil {
		b.wait("cluster", it.name, "%v", err)
		return
	}
	c := *read
	c.notes = slices.Clone(c.notes) // what is added here depends on the listeners
	b.notes["cluster "+it.name] = c.notes
	protocol, settings := c.protocol, b.settings[it.name]
	if protocol != "" && !b.protocols[it.name][protocol] {
		settings = nil
	}
	if protocol == "" {
		spoken := slices.Sorted(maps.Keys(b.protocols[it.name]))
		switch len(spoken) {
		case 0:
			b.wait("cluster", it.name, "no listener names it, so its protocol is not known")
			b.unused[it.name] = true
			return
		case 1:
			protocol = spoken[0]
		default:
			b.wait("cluster", it.name, "listeners speak %s to it", strings.Join(spoken, " and "))
			return
		}
	}
	spread, lost := c.hashed(protocol)
	if lost {
		c.notes.add("lb_policy: its connections carry no key to hash; they are balanced")
	}
	meaningless := b.store.language.Meaningless(protocol)
	idle := c.idle(meaningless)
	for _, name := range idle {
		c.notes.add("circuit_breakers: %s is not acted on: %s", name, meaningless["limits."+name])
	}
	b.notes["cluster "+it.name] = c.notes
	var endpoints any
	made := b.made(it, c.needs)
	if c.eds != "" {
		e := b.store.items[EndpointType][c.eds]
		switch {
		case e != nil && e.message != nil:
			endpoints = e.message
			made += fmt.Sprint(" endpoints ", e.changed)
		case e != nil && e.missing:
			endpoints = []any{}
		default:
			b.wait("cluster", it.name, "its endpoints (%s) have not come", c.eds)
			return
		}
	}
	made += " " + protocol + " " + fingerprint(settings, spread)
	body := func() tree {
		out := clone(c.body)
		block := merge(clone(orEmpty(settings)), treeOf(out[protocol]))
		block = merge(block, clone(spread))
		out[protocol] = block
		unlimited(out, idle)
		if endpoints != nil {
			out["endpoints"] = endpoints
		}
		return out
	}
	d := b.decode("clusters", it.name, made, body, it, func(m *config.Model, d *decoded) { d.cluster = m.Clusters[0] })
	if d != nil {
		b.clusters[it.name] = d.cluster
	}
}

// made is what a resource is made of, by versions that only this process knows.
func (b *build) made(it *item, n needs) string {
	s := fmt.Sprint(it.changed, " ", it.readAt)
	if n.any() {
		s += fmt.Sprint(" filled ", b.store.fills)
	}
	return s
}

// decode goes through the cache: what did not change since the last build is the same thing. Versions are compared first,
// then, as a new version may say the same again, the content.
func (b *build) decode(list, name, made string, body func() tree, it *item, take func(*config.Model, *decoded)) *decoded {
	what, at := strings.TrimSuffix(list, "s"), list+"/"+name
	d := b.store.decoded[at]
	if d == nil || d.from != made {
		filled, generic, missing := b.store.fill(body())
		if len(missing) > 0 {
			slices.Sort(missing)
			b.wait(what, name, "secrets %s have not come", strings.Join(slices.Compact(missing), ", "))
			return nil
		}
		key := fingerprint(filled, generic)
		if d == nil || d.key != key {
			d = &decoded{key: key}
			var m *config.Model
			if m, d.problems = b.store.decode(list, filled, generic, origin(it)); m != nil {
				take(m, d)
			}
			b.store.decoded[at] = d
		}
		d.from = made
	}
	if len(d.problems) > 0 {
		b.wait(what, name, "%v", config.Problems(d.problems))
		return nil
	}
	return d
}

// fingerprint is the content of trees as text; maps print in the order of their keys.
func fingerprint(trees ...tree) string {
	var s strings.Builder
	for _, t := range trees {
		fmt.Fprintf(&s, "%#v;", t)
	}
	return s.String()
}

// attempt is a model in the making, with the places of what can be taken out of it.
type attempt struct {
	model     *config.Model
	listeners []string
	clusters  []string
	resources map[string][]string // names by kind
}

// attempt puts the base and everything complete into a model. The structs are copied, because compiling writes into them.
func (b *build) attempt(base *config.Model) *attempt {
	m := *base
	m.Partial = true
	a := &attempt{model: &m, resources: make(map[string][]string)}
	m.Listeners, m.Clusters, m.Resources = nil, nil, nil
	for _, l := range base.Listeners {
		if !b.left["listeners/"+l.Name] {
			a.add(l, nil, nil)
		}
	}
	for _, c := range base.Clusters {
		if !b.left["clusters/"+c.Name] {
			a.add(nil, c, nil)
		}
	}
	for _, r := range base.Resources {
		if !b.left[r.Kind+"/"+r.Name] {
			a.add(nil, nil, r)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.listeners)) {
		a.add(b.listeners[name], nil, nil)
	}
	for _, name := range slices.Sorted(maps.Keys(b.clusters)) {
		a.add(nil, b.clusters[name], nil)
	}
	for _, name := range slices.Sorted(maps.Keys(b.extra)) {
		if b.clusters[name] == nil {
			a.add(nil, b.extra[name], nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.resources)) {
		a.add(nil, nil, b.resources[name])
	}
	return a
}

func (a *attempt) add(l *config.Listener, c *config.Cluster, r *config.Resource) {
	switch {
	case l != nil:
		l := *l
		a.model.Listeners, a.listeners = append(a.model.Listeners, &l), append(a.listeners, l.Name)
	case c != nil:
		c := *c
		a.model.Clusters, a.clusters = append(a.model.Clusters, &c), append(a.clusters, c.Name)
	case r != nil:
		r := *r
		a.model.Resources, a.resources[r.Kind] = append(a.model.Resources, &r), append(a.resources[r.Kind], r.Name)
	}
}

// named finds what a problem's path is about: its list and name.
func (a *attempt) named(p config.Path) (list, name string, ok bool) {
	list, rest, found := strings.Cut(string(p), "[")
	if !found {
		return "", "", false
	}
	number, _, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	if err != nil {
		return "", "", false
	}
	names := a.resources[list]
	switch list {
	case "listeners":
		names = a.listeners
	case "clusters":
		names = a.clusters
	}
	if i < 0 || i >= len(names) {
		return "", "", false
	}
	return list, names[i], true
}

// within is a problem with its place inside its resource, whose name says the rest.
func within(p config.Problem) string {
	_, rest, _ := strings.Cut(string(p.Path), "]")
	p.Path = config.Path(strings.TrimPrefix(rest, "."))
	return p.String()
}

// dynamic reports whether a control plane sent a resource.
func (a *attempt) dynamic(list, name string) bool {
	switch list {
	case "listeners":
		for _, l := range a.model.Listeners {
			if l.Name == name {
				return l.Origin.Source == Source
			}
		}
	case "clusters":
		if c := a.model.Cluster(name); c != nil {
			return c.Origin.Source == Source
		}
	default:
		if r := a.model.Resource(list, name); r != nil {
			return r.Origin.Source == Source
		}
	}
	return false
}

// lingering puts back what the server removed and something present still needs: make before break, in any order.
func (b *build) lingering() bool {
	if b.active == nil {
		return false
	}
	added := false
	for _, c := range b.active.Clusters() {
		if c.Origin.Source == Source && b.clusters[c.Name] == nil && b.extra[c.Name] == nil {
			b.clusters[c.Name] = c
			added = true
		}
	}
	for _, r := range b.active.Resources() {
		if key := r.Kind + "/" + r.Name; r.Origin.Source == Source && b.resources[key] == nil {
			b.resources[key] = r
			added = true
		}
	}
	return added
}

// retreat answers problems: the version that is active takes the place of the one that does not fit, or, when that is the
// one, nothing does. It reports whether anything is different now.
func (b *build) retreat(a *attempt, problems []config.Problem) bool {
	different := false
	for _, p := range problems {
		list, name, ok := a.named(p.Path)
		if !ok {
			continue
		}
		what := strings.TrimSuffix(list, "s")
		if _, told := b.waiting[what+" "+name]; !told {
			b.wait(what, name, "%s", within(p))
		}
		if !p.Reference && !a.dynamic(list, name) {
			b.problems = append(b.problems, p)
			b.told[what+" "+name] = true
		}
		if !a.dynamic(list, name) && !b.left[list+"/"+name] && b.ofBase(list, name) {
			b.left[list+"/"+name] = true
			different = true
			continue
		}
		switch list {
		case "listeners":
			different = retreatTo(b.listeners, name, b.activeListener(name)) || different
		case "clusters":
			different = retreatTo(b.clusters, name, b.activeCluster(name)) || retreatTo(b.extra, name, nil) || different
		default:
			different = retreatTo(b.resources, list+"/"+name, b.activeResource(list, name)) || different
		}
	}
	return different
}

// ofBase reports whether a resource is neither a control plane's nor of a bootstrap file.
func (b *build) ofBase(list, name string) bool {
	switch list {
	case "listeners":
		return b.listeners[name] == nil
	case "clusters":
		return b.clusters[name] == nil && b.extra[name] == nil
	}
	return b.resources[list+"/"+name] == nil
}

func retreatTo[T any](in map[string]*T, name string, active *T) bool {
	now, present := in[name]
	if !present {
		return false
	}
	if active != nil && now != active {
		in[name] = active
	} else {
		delete(in, name)
	}
	return true
}

func (b *build) activeListener(name string) *config.Listener {
	if b.active == nil {
		return nil
	}
	if l := b.active.Listener(name); l != nil && l.Origin.Source == Source {
		return l
	}
	return nil
}

func (b *build) activeCluster(name string) *config.Cluster {
	if b.active == nil {
		return nil
	}
	if c := b.active.Cluster(name); c != nil && c.Origin.Source == Source {
		return c
	}
	return nil
}

func (b *build) activeResource(kind, name string) *config.Resource {
	if b.active == nil {
		return nil
	}
	if r := b.active.Resource(kind, name); r != nil && r.Origin.Source == Source {
		return r
	}
	return nil
}

// keepActive lets what waits keep the version that is active, as long as the server still has it.
func (b *build) keepActive() {
	for name := range b.store.items[ListenerType] {
		if l := b.activeListener(name); b.listeners[name] == nil && l != nil {
			b.listeners[name] = l
		}
	}
	for name := range b.store.items[ClusterType] {
		if c := b.activeCluster(name); b.clusters[name] == nil && c != nil && !b.unused[name] {
			b.clusters[name] = c
		}
	}
}

// errNothingFits is returned when even the base does not compile; it was checked before, so it cannot happen quietly.
var errNothingFits = errors.New("no part of the configuration can be left out to make the rest valid")

// apply compiles and applies, leaving out what does not fit until the rest does.
func (b *build) apply(base *config.Model, target Target) error {
	b.keepActive()
	lingered := false
	for {
		a := b.attempt(base)
		s, problems := target.Language().Compile(a.model, target.Snapshot())
		if len(problems) == 0 {
			if now := target.Snapshot(); now != nil && now.Version == s.Version {
				return nil
			}
			if problems = target.Apply(s); len(problems) == 0 {
				return nil
			}
			b.failed = true
		} else if !lingered {
			lingered = true
			if b.lingering() {
				continue
			}
		}
		if !b.retreat(a, problems) {
			b.problems = append(b.problems, problems...)
			return fmt.Errorf("%w: %w", errNothingFits, config.Problems(problems))
		}
	}
}
