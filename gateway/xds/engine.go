package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The types of resources, by their URLs.
const (
	prefix        = "type.googleapis.com/"
	ListenerType  = prefix + "envoy.config.listener.v3.Listener"
	ClusterType   = prefix + "envoy.config.cluster.v3.Cluster"
	EndpointType  = prefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretType    = prefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
	ExtensionType = prefix + "envoy.config.core.v3.TypedExtensionConfig"
	RuntimeType   = prefix + "envoy.service.runtime.v3.Runtime"
)

// order is the one in which types are asked for: what others refer to first.
var order = []string{ClusterType, EndpointType, SecretType, ExtensionType, RuntimeType, ListenerType}

// absence is how long a named resource may stay out before it counts as not existing (xDS protocol, "Knowing When a
// Requested Resource Does Not Exist").
const absence = 15 * time.Second

// Delays of a NACK for a version that was rejected before. In the state of the world a server may have to wait for the NACK
// before it can send what mends it, so that they are how late the mending may be: short at first, and never long.
const (
	nackDelay    = 20 * time.Millisecond
	maxNackDelay = 5 * time.Second
)

// maxDetail bounds what a NACK says; servers log it and some put it into headers.
const maxDetail = 4 << 10

// Resource is one resource as a response carries it.
type Resource struct {
	Name    string
	Version string
	Body    *anypb.Any
}

// Sink takes what the engine receives. It is called on the engine's goroutine and may call Want.
type Sink interface {
	// Update validates each changed resource, keeps the good ones and says what is wrong with the others, by name.
	Update(typeURL string, changed []Resource, removed []string) map[string]error
	// Missing tells that a wanted resource does not exist on the server.
	Missing(typeURL, name string)
}

// Engine is the client's half of the xDS protocol, state of the world or delta, without a connection: responses in, requests
// out. It outlives streams and remembers across them what it has. One goroutine owns it.
type Engine struct {
	node  *corev3.Node
	delta bool
	sink  Sink

	types    map[string]*kind
	out      []proto.Message
	greeted  bool // the node was sent on this stream
	streamed bool // a stream is up
}

// kind is what the engine knows of one type of resource.
type kind struct {
	url      string
	wildcard bool
	wanted   map[string]bool
	held     map[string]*held
	version  string // of the last response that was taken whole; state of the world only
	answered bool   // a response has come, on any stream

	// Of the stream that is up.
	nonce   string
	asked   bool            // a request for this type was sent
	told    map[string]bool // names that the server knows to be wanted
	pending map[string]time.Time
	due     bool // subscriptions changed since the last request
	// A server that answers a NACK with the same version at once would be answered, and answer, without end.
	nacked string        // the version that was rejected last
	again  int           // how often it came since
	late   proto.Message // a NACK that waits
	lateAt time.Time
}

// held is a resource that was accepted.
type held struct {
	version string
	expires time.Time // zero: never
}

// NewEngine makes an engine for node. Listeners and clusters are asked for whole, by wildcard.
func NewEngine(node *corev3.Node, delta bool, sink Sink) *Engine {
	node = proto.CloneOf(node)
	node.ClientFeatures = append(node.ClientFeatures, "xds.config.supports-resource-ttl", "xds.config.supports-resource-in-sotw", "envoy.lb.does_not_support_overprovisioning")
	e := &Engine{node: node, delta: delta, sink: sink, types: make(map[string]*kind)}
	for _, url := range order {
		e.types[url] = &kind{url: url, wanted: make(map[string]bool), held: make(map[string]*held)}
		e.types[url].reset()
	}
	e.types[ListenerType].wildcard, e.types[ClusterType].wildcard = true, true
	return e
}

func (k *kind) reset() {
	k.nonce, k.asked, k.told, k.pending, k.due = "", false, make(map[string]bool), make(map[string]time.Time), true
	k.nacked, k.again, k.late = "", 0, nil
}

// Connected begins a stream: everything wanted is asked for again, with the versions that are held.
func (e *Engine) Connected(now time.Time) {
	e.streamed, e.greeted, e.out = true, false, nil
	for _, url := range order {
		e.types[url].reset()
	}
	e.flush(now)
}

// Disconnected ends the stream. What is held stays: a control plane that is gone changes nothing.
func (e *Engine) Disconnected() {
	e.streamed, e.out = false, nil
	for _, k := range e.types {
		k.late = nil
		k.pending = make(map[string]time.Time)
	}
}

// Want sets which resources of a type are wanted, by name. The request goes out with the next Flush.
func (e *Engine) Want(typeURL string, names []string) {
	k := e.types[typeURL]
	next := make(map[string]bool, len(names))
	for _, n := range names {
		next[n] = true
	}
	if maps.Equal(next, k.wanted) {
		return
	}
	for name := range k.held {
		if !next[name] && !k.wildcard {
			delete(k.held, name) // nobody refers to it any more; if it is wanted again, it is asked for again
		}
	}
	k.wanted, k.due = next, true
}

// Flush makes requests of what changed, and returns all that is to be sent.
func (e *Engine) Flush(now time.Time) []proto.Message {
	e.flush(now)
	out := e.out
	e.out = nil
	return out
}

func (e *Engine) flush(now time.Time) {
	if !e.streamed {
		return
	}
	for _, url := range order {
		k := e.types[url]
		if !k.due {
			continue
		}
		k.due = false
		for name := range k.wanted {
			if _, waiting := k.pending[name]; !waiting && !k.told[name] && k.held[name] == nil {
				k.pending[name] = now.Add(absence)
			}
		}
		maps.DeleteFunc(k.pending, func(name string, _ time.Time) bool { return !k.wanted[name] })
		// A type that nobody refers to is not asked for: an empty list of names would be a wildcard (the first time).
		if !k.wildcard && len(k.wanted) == 0 && !k.asked {
			continue
		}
		if e.delta {
			e.subscribe(k)
		} else {
			e.request(k, nil)
		}
	}
}

// hello is the node, on the first request of a stream only.
func (e *Engine) hello() *corev3.Node {
	if e.greeted {
		return nil
	}
	e.greeted = true
	return e.node
}

// request asks for, acknowledges (after a response) or rejects (with what is wrong) in the state-of-the-world protocol. An
// acknowledgement and a changed subscription are the same message: version and nonce say what was taken, names what is wanted.
func (e *Engine) request(k *kind, wrong *status.Status) {
	k.asked = true
	for name := range k.wanted {
		k.told[name] = true
	}
	e.out = append(e.out, &discoveryv3.DiscoveryRequest{
		Node: e.hello(), TypeUrl: k.url, VersionInfo: k.version, ResponseNonce: k.nonce, ResourceNames: slices.Sorted(maps.Keys(k.wanted)), ErrorDetail: wrong,
	})
}

// subscribe sends the difference to what the server knows in the delta protocol.
func (e *Engine) subscribe(k *kind) {
	r := &discoveryv3.DeltaDiscoveryRequest{Node: e.hello(), TypeUrl: k.url}
	if !k.asked {
		r.InitialResourceVersions = make(map[string]string)
		for name, h := range k.held {
			r.InitialResourceVersions[name] = h.version
		}
	}
	for name := range k.wanted {
		if !k.told[name] {
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, name)
		}
	}
	for name := range k.told {
		if !k.wanted[name] {
			r.ResourceNamesUnsubscribe = append(r.ResourceNamesUnsubscribe, name)
		}
	}
	slices.Sort(r.ResourceNamesSubscribe)
	slices.Sort(r.ResourceNamesUnsubscribe)
	if k.asked && len(r.ResourceNamesSubscribe)+len(r.ResourceNamesUnsubscribe) == 0 {
		return
	}
	k.asked, k.told = true, maps.Clone(k.wanted)
	e.out = append(e.out, r)
}

// Receive takes a state-of-the-world response. An error ends the stream: the server does not speak the protocol.
func (e *Engine) Receive(r *discoveryv3.DiscoveryResponse, now time.Time) error {
	k := e.types[r.TypeUrl]
	if k == nil || !k.asked {
		return fmt.Errorf("receiving %q: it was not asked for", r.TypeUrl)
	}
	b := newBatch(k, now)
	for i, body := range r.Resources {
		b.add(i, "", r.VersionInfo, body, 0, false)
	}
	wrong := b.apply(e.sink, e.absent(k, b))
	k.nonce, k.answered = r.Nonce, true
	k.late = nil
	if wrong == nil {
		k.version, k.nacked, k.again = r.VersionInfo, "", 0
		e.request(k, nil)
		return nil
	}
	e.request(k, wrong)
	if k.nacked != r.VersionInfo {
		k.nacked, k.again = r.VersionInfo, 0
		return nil
	}
	last := len(e.out) - 1
	k.late, k.lateAt = e.out[last], now.Add(min(nackDelay<<min(k.again, 10), maxNackDelay))
	e.out = e.out[:last]
	k.again++
	return nil
}

// absent are the resources that a state-of-the-world response deletes by not having them: listeners and clusters only. What
// is asked for by name goes when nobody refers to it any more.
func (e *Engine) absent(k *kind, b *batch) []string {
	if !k.wildcard || b.nameless {
		return nil
	}
	var gone []string
	for name := range k.held {
		if !b.seen[name] {
			gone = append(gone, name)
		}
	}
	return gone
}

// ReceiveDelta takes a delta response.
func (e *Engine) ReceiveDelta(r *discoveryv3.DeltaDiscoveryResponse, now time.Time) error {
	k := e.types[r.TypeUrl]
	if k == nil || !k.asked {
		return fmt.Errorf("receiving %q: it was not asked for", r.TypeUrl)
	}
	b := newBatch(k, now)
	for i, res := range r.Resources {
		b.add(i, res.Name, res.Version, res.Resource, res.Ttl.AsDuration(), true)
	}
	for _, name := range r.RemovedResources {
		if b.seen[name] {
			b.fail(name, errors.New("is both sent and removed"))
		}
		delete(k.pending, name)
	}
	wrong := b.apply(e.sink, r.RemovedResources)
	k.answered = true
	if !k.wildcard {
		for _, name := range r.RemovedResources { // an answer to a subscription as well: there is no such thing
			e.sink.Missing(k.url, name)
		}
	}
	e.out = append(e.out, &discoveryv3.DeltaDiscoveryRequest{Node: e.hello(), TypeUrl: k.url, ResponseNonce: r.Nonce, ErrorDetail: wrong})
	return nil
}

// batch is one response on its way to the sink.
type batch struct {
	kind    *kind
	now     time.Time
	changed []Resource
	expires map[string]time.Time
	seen    map[string]bool
	wrong   map[string]error
	order   []string // of names in wrong
	// nameless: something could not even be named. It may be any of those that seem absent, so none of them is deleted.
	nameless bool
}

func newBatch(k *kind, now time.Time) *batch {
	return &batch{kind: k, now: now, expires: make(map[string]time.Time), seen: make(map[string]bool), wrong: make(map[string]error)}
}

func (b *batch) fail(name string, err error) {
	if b.wrong[name] == nil {
		b.order = append(b.order, name)
		b.wrong[name] = err
	}
}

// add takes one resource, unwrapping it where it travels in an envoy.service.discovery.v3.Resource.
func (b *batch) add(i int, name, version string, body *anypb.Any, ttl time.Duration, wrapped bool) {
	if !wrapped && body.GetTypeUrl() == prefix+"envoy.service.discovery.v3.Resource" {
		var w discoveryv3.Resource
		if err := body.UnmarshalTo(&w); err != nil {
			b.fail(b.place("", i), fmt.Errorf("reading wrapper: %w", err))
			return
		}
		if w.Version != "" {
			version = w.Version
		}
		name, body, ttl, wrapped = w.Name, w.Resource, w.Ttl.AsDuration(), true
	}
	if wrapped && body == nil { // a heartbeat: nothing but the time to live is new
		h := b.kind.held[name]
		b.seen[name] = true
		switch {
		case h == nil:
			b.fail(name, errors.New("a heartbeat for a resource that was never sent"))
		case ttl > 0:
			h.expires = b.now.Add(ttl)
		}
		return
	}
	if body.GetTypeUrl() != b.kind.url {
		b.fail(b.place(name, i), fmt.Errorf("is a %q, expected %q", body.GetTypeUrl(), b.kind.url))
		b.seen[name] = true
		return
	}
	own, err := nameOf(body)
	switch {
	case err != nil:
		b.fail(b.place(name, i), err)
		b.seen[name] = true
		return
	case name == "":
		name = own
	case own != "" && own != name:
		b.fail(name, fmt.Errorf("calls itself %q inside", own))
		b.seen[name] = true
		return
	}
	if name == "" {
		b.fail(b.place(name, i), errors.New("has no name"))
		return
	}
	if b.seen[name] {
		b.fail(name, errors.New("is in the response twice"))
		b.changed = slices.DeleteFunc(b.changed, func(r Resource) bool { return r.Name == name })
		return
	}
	b.seen[name] = true
	if ttl > 0 {
		b.expires[name] = b.now.Add(ttl)
	}
	b.changed = append(b.changed, Resource{Name: name, Version: version, Body: body})
}

// place is what a bad resource is called.
func (b *batch) place(name string, i int) string {
	if name != "" {
		return name
	}
	b.nameless = true
	return fmt.Sprintf("resource %d", i)
}

// apply hands the batch to the sink and notes what is held now. The answer is nil when everything was good.
func (b *batch) apply(sink Sink, removed []string) *status.Status {
	k := b.kind
	fresh := b.changed[:0]
	for _, r := range b.changed { // what the server sends again unasked is not new
		delete(k.pending, r.Name)
		if !k.wildcard && !k.wanted[r.Name] {
			continue
		}
		fresh = append(fresh, r)
	}
	wrong := sink.Update(k.url, fresh, removed)
	for _, r := range fresh {
		if err := wrong[r.Name]; err != nil {
			b.fail(r.Name, err)
			continue
		}
		k.held[r.Name] = &held{version: r.Version, expires: b.expires[r.Name]}
	}
	for _, name := range removed {
		delete(k.held, name)
	}
	if len(b.order) == 0 {
		return nil
	}
	lines := make([]string, len(b.order))
	for i, name := range b.order {
		lines[i] = name + ": " + strings.ReplaceAll(b.wrong[name].Error(), "\n", "; ")
	}
	text := strings.Join(lines, "\n")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "..."
	}
	return &status.Status{Code: int32(codes.InvalidArgument), Message: text}
}

// Next is when Tick is due; zero when nothing waits.
func (e *Engine) Next() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, k := range e.types {
		for _, t := range k.pending {
			earlier(t)
		}
		for _, h := range k.held {
			earlier(h.expires)
		}
		if k.late != nil {
			earlier(k.lateAt)
		}
	}
	return next
}

// Tick does what time asks for: a resource whose time to live is over goes, one that did not come does not exist.
func (e *Engine) Tick(now time.Time) {
	for _, url := range order {
		k := e.types[url]
		if k.late != nil && !k.lateAt.After(now) && e.streamed {
			e.out, k.late = append(e.out, k.late), nil
		}
		var gone []string
		for name, h := range k.held {
			if !h.expires.IsZero() && !h.expires.After(now) {
				gone = append(gone, name)
				delete(k.held, name)
			}
		}
		if len(gone) > 0 {
			slices.Sort(gone)
			e.sink.Update(url, nil, gone)
		}
		for name, t := range k.pending {
			if !t.After(now) {
				delete(k.pending, name)
				e.sink.Missing(url, name)
			}
		}
	}
}

// Complete reports whether everything asked for has come or was given up.
func (e *Engine) Complete() bool {
	for _, k := range e.types {
		if len(k.pending) > 0 || k.due || (k.wildcard && !k.answered) {
			return false
		}
	}
	return true
}
