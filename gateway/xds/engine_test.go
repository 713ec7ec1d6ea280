package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// sink notes what it is told; a resource whose name begins with "bad" is wrong.
type sink struct {
	has     map[string]string // version by type and name
	missing []string
	told    int
}

func newSink() *sink { return &sink{has: make(map[string]string)} }

func (s *sink) Update(typeURL string, changed []Resource, removed []string) map[string]error {
	s.told++
	wrong := make(map[string]error)
	for _, r := range changed {
		if strings.HasPrefix(r.Name, "bad") {
			wrong[r.Name] = errors.New("tcp.cluster: is missing")
			continue
		}
		s.has[short(typeURL)+"/"+r.Name] = r.Version
	}
	for _, name := range removed {
		delete(s.has, short(typeURL)+"/"+name)
	}
	return wrong
}

func (s *sink) Missing(typeURL, name string) {
	s.missing = append(s.missing, short(typeURL)+"/"+name)
}

func (s *sink) want(t *testing.T, want map[string]string) {
	t.Helper()
	if !maps.Equal(s.has, want) {
		t.Errorf("has %v, want %v", s.has, want)
	}
}

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func clusters(t *testing.T, names ...string) []*anypb.Any {
	var out []*anypb.Any
	for _, n := range names {
		out = append(out, pack(t, &clusterv3.Cluster{Name: n}))
	}
	return out
}

func assignments(t *testing.T, names ...string) []*anypb.Any {
	var out []*anypb.Any
	for _, n := range names {
		out = append(out, pack(t, &endpointv3.ClusterLoadAssignment{ClusterName: n}))
	}
	return out
}

// begin connects an engine and returns the requests of the connection's start, by type.
func begin(t *testing.T, delta bool) (*Engine, *sink, []proto.Message) {
	t.Helper()
	s := newSink()
	e := NewEngine(&corev3.Node{Id: "n"}, delta, s)
	e.Connected(start)
	return e, s, e.Flush(start)
}

func sotw(t *testing.T, e *Engine, r *discoveryv3.DiscoveryResponse) []*discoveryv3.DiscoveryRequest {
	t.Helper()
	if err := e.Receive(r, start); err != nil {
		t.Fatal(err)
	}
	return requests[*discoveryv3.DiscoveryRequest](t, e.Flush(start))
}

func deltas(t *testing.T, e *Engine, r *discoveryv3.DeltaDiscoveryResponse) []*discoveryv3.DeltaDiscoveryRequest {
	t.Helper()
	if err := e.ReceiveDelta(r, start); err != nil {
		t.Fatal(err)
	}
	return requests[*discoveryv3.DeltaDiscoveryRequest](t, e.Flush(start))
}

func requests[T proto.Message](t *testing.T, all []proto.Message) []T {
	t.Helper()
	var out []T
	for _, m := range all {
		r, ok := m.(T)
		if !ok {
			t.Fatalf("%T among the requests", m)
		}
		out = append(out, r)
	}
	return out
}

// Rule 1: the first request of a stream carries the node, later ones do not; a new stream begins again.
func TestNodeOnTheFirstRequestOnly(t *testing.T) {
	e, _, first := begin(t, false)
	check := func(all []proto.Message) {
		t.Helper()
		for i, r := range requests[*discoveryv3.DiscoveryRequest](t, all) {
			if (r.Node != nil) != (i == 0) {
				t.Errorf("request %d has node %v", i, r.Node)
			}
		}
	}
	check(first)
	if features := first[0].(*discoveryv3.DiscoveryRequest).Node.ClientFeatures; !slices.Contains(features, "xds.config.supports-resource-ttl") {
		t.Errorf("features are %v", features)
	}
	e.Disconnected()
	e.Connected(start)
	check(e.Flush(start))
}

// Rule 2: an ACK has the new version, a NACK the one before, both the nonce; a NACK names every bad resource, and the good
// ones of the same response are used.
func TestAckAndNack(t *testing.T) {
	e, s, _ := begin(t, false)
	ack := sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "1", Nonce: "a", Resources: clusters(t, "x", "y")})
	if len(ack) != 1 || ack[0].VersionInfo != "1" || ack[0].ResponseNonce != "a" || ack[0].ErrorDetail != nil {
		t.Fatalf("ACK is %v", ack)
	}
	nack := sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "2", Nonce: "b", Resources: clusters(t, "x", "bad1", "bad2", "y")})
	if len(nack) != 1 || nack[0].VersionInfo != "1" || nack[0].ResponseNonce != "b" {
		t.Fatalf("NACK is %v", nack)
	}
	if want := "bad1: tcp.cluster: is missing\nbad2: tcp.cluster: is missing"; nack[0].ErrorDetail.GetMessage() != want {
		t.Errorf("NACK says %q", nack[0].ErrorDetail.GetMessage())
	}
	s.want(t, map[string]string{"Cluster/x": "2", "Cluster/y": "2"})
}

// A server that sends a rejected version again at once is answered ever more slowly, and a new version at once.
func TestRepeatedNacksSlowDown(t *testing.T) {
	e, _, _ := begin(t, false)
	send := func(version string) int {
		t.Helper()
		return len(sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: version, Nonce: "a", Resources: clusters(t, "bad")}))
	}
	if n := send("1"); n != 1 {
		t.Errorf("%d answers to a first bad version", n)
	}
	if n := send("1"); n != 0 {
		t.Errorf("%d answers at once to the same again", n)
	}
	for _, want := range []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond} {
		if next := e.Next(); !next.Equal(start.Add(want)) {
			t.Errorf("next look after %v, want %v", next.Sub(start), want)
		}
		e.Tick(start.Add(want))
		if out := e.Flush(start); len(out) != 1 || errorDetail(out[0]) == "" {
			t.Errorf("late answer is %v", out)
		}
		if n := send("1"); n != 0 {
			t.Errorf("%d answers at once to the same again", n)
		}
	}
	for range 20 {
		e.Tick(e.Next())
		e.Flush(start)
		send("1")
	}
	if next := e.Next(); next.Sub(start) != maxNackDelay {
		t.Errorf("after many times the next look is after %v, want %v", next.Sub(start), maxNackDelay)
	}
	if n := send("2"); n != 1 {
		t.Errorf("%d answers to a new bad version", n)
	}
}

// Rule 3: listeners and clusters are asked for by an empty list, which is a wildcard; a type that was asked for by name gets
// an empty list only to unsubscribe, and none at all before it was named.
func TestWildcardAndUnsubscribe(t *testing.T) {
	e, _, first := begin(t, false)
	var types []string
	for _, r := range requests[*discoveryv3.DiscoveryRequest](t, first) {
		types = append(types, short(r.TypeUrl))
		if len(r.ResourceNames) != 0 {
			t.Errorf("names %v", r.ResourceNames)
		}
	}
	if !slices.Equal(types, []string{"Cluster", "Listener"}) {
		t.Errorf("asked for %v", types)
	}
	e.Want(EndpointType, []string{"b", "a"})
	named := requests[*discoveryv3.DiscoveryRequest](t, e.Flush(start))
	if len(named) != 1 || named[0].TypeUrl != EndpointType || !slices.Equal(named[0].ResourceNames, []string{"a", "b"}) {
		t.Fatalf("%v", named)
	}
	e.Want(EndpointType, nil)
	none := requests[*discoveryv3.DiscoveryRequest](t, e.Flush(start))
	if len(none) != 1 || none[0].TypeUrl != EndpointType || len(none[0].ResourceNames) != 0 {
		t.Fatalf("%v", none)
	}
}

// Rule 4: in the state of the world an absent listener or cluster is deleted, all by an empty response; what was asked for by
// name is not deleted by being absent.
func TestAbsence(t *testing.T) {
	e, s, _ := begin(t, false)
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "1", Nonce: "a", Resources: clusters(t, "x", "y")})
	e.Want(EndpointType, []string{"x", "y"})
	e.Flush(start)
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: EndpointType, VersionInfo: "1", Nonce: "b", Resources: assignments(t, "x", "y")})
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: EndpointType, VersionInfo: "2", Nonce: "c", Resources: assignments(t, "x")})
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "2", Nonce: "d", Resources: clusters(t, "x")})
	s.want(t, map[string]string{"Cluster/x": "2", "ClusterLoadAssignment/x": "2", "ClusterLoadAssignment/y": "1"})
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "3", Nonce: "e"})
	s.want(t, map[string]string{"ClusterLoadAssignment/x": "2", "ClusterLoadAssignment/y": "1"})
}

// A response with something that cannot even be named deletes nothing: it may be any of those that seem absent.
func TestUnreadableResourceDeletesNothing(t *testing.T) {
	e, s, _ := begin(t, false)
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "1", Nonce: "a", Resources: clusters(t, "x", "y")})
	garbage := &anypb.Any{TypeUrl: ClusterType, Value: []byte{0xff}}
	nack := sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "2", Nonce: "b", Resources: append(clusters(t, "x"), garbage)})
	if !strings.HasPrefix(nack[0].ErrorDetail.GetMessage(), "resource 1: reading message") {
		t.Errorf("NACK says %q", nack[0].ErrorDetail.GetMessage())
	}
	s.want(t, map[string]string{"Cluster/x": "2", "Cluster/y": "1"})
}

// Rule 5: delta removes by name.
func TestDeltaRemoves(t *testing.T) {
	e, s, _ := begin(t, true)
	send := func(nonce string, removed []string, names ...string) *discoveryv3.DeltaDiscoveryRequest {
		t.Helper()
		r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: ClusterType, Nonce: nonce, RemovedResources: removed}
		for _, n := range names {
			r.Resources = append(r.Resources, &discoveryv3.Resource{Name: n, Version: nonce, Resource: clusters(t, n)[0]})
		}
		out := deltas(t, e, r)
		if len(out) != 1 || out[0].ResponseNonce != nonce {
			t.Fatalf("%v", out)
		}
		return out[0]
	}
	send("1", nil, "x", "y")
	send("2", []string{"x"}, "z")
	s.want(t, map[string]string{"Cluster/y": "1", "Cluster/z": "2"})
	if r := send("3", nil, "y", "bad"); r.ErrorDetail.GetMessage() != "bad: tcp.cluster: is missing" {
		t.Errorf("NACK says %v", r.ErrorDetail)
	}
	s.want(t, map[string]string{"Cluster/y": "3", "Cluster/z": "2"})
}

// Rule 6: a name that is in a response twice is rejected.
func TestDuplicateNames(t *testing.T) {
	e, s, _ := begin(t, false)
	nack := sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "1", Nonce: "a", Resources: clusters(t, "x", "y", "x")})
	if nack[0].ErrorDetail.GetMessage() != "x: is in the response twice" || nack[0].VersionInfo != "" {
		t.Errorf("%v", nack)
	}
	s.want(t, map[string]string{"Cluster/y": "1"})
}

// Rule 7: a named resource that does not come within 15 s does not exist; one that comes in time, or late, does.
func TestDoesNotExistTimer(t *testing.T) {
	e, s, _ := begin(t, false)
	e.Want(EndpointType, []string{"x", "y"})
	e.Flush(start)
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: EndpointType, VersionInfo: "1", Nonce: "b", Resources: assignments(t, "x")})
	if next := e.Next(); !next.Equal(start.Add(15 * time.Second)) {
		t.Errorf("next look at %v", next)
	}
	e.Tick(start.Add(15*time.Second - 1))
	if s.missing != nil {
		t.Error("given up too early")
	}
	e.Tick(start.Add(15 * time.Second))
	if !slices.Equal(s.missing, []string{"ClusterLoadAssignment/y"}) {
		t.Errorf("missing %v", s.missing)
	}
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: EndpointType, VersionInfo: "2", Nonce: "c", Resources: assignments(t, "x", "y")})
	s.want(t, map[string]string{"ClusterLoadAssignment/x": "2", "ClusterLoadAssignment/y": "2"})
}

// Rule 8, the engine's part: types are asked for in the order in which they are needed.
func TestOrderOfRequests(t *testing.T) {
	s := newSink()
	e := NewEngine(&corev3.Node{}, false, s)
	for _, url := range []string{ExtensionType, EndpointType, SecretType} {
		e.Want(url, []string{"x"})
	}
	e.Connected(start)
	var types []string
	for _, r := range requests[*discoveryv3.DiscoveryRequest](t, e.Flush(start)) {
		types = append(types, short(r.TypeUrl))
	}
	if want := []string{"Cluster", "ClusterLoadAssignment", "Secret", "TypedExtensionConfig", "Listener"}; !slices.Equal(types, want) {
		t.Errorf("asked for %v, want %v", types, want)
	}
}

// Rules 9 and 10: resources travel in a wrapper in either protocol; a time to live removes them, a heartbeat (the wrapper
// without the resource) keeps them.
func TestTimeToLiveAndHeartbeat(t *testing.T) {
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprintf("delta %v", delta), func(t *testing.T) {
			e, s, _ := begin(t, delta)
			send := func(at time.Time, body *anypb.Any, ttl time.Duration) string {
				t.Helper()
				w := &discoveryv3.Resource{Name: "x", Version: "1", Resource: body, Ttl: durationpb.New(ttl)}
				var err error
				if delta {
					err = e.ReceiveDelta(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: ClusterType, Nonce: "a", Resources: []*discoveryv3.Resource{w}}, at)
				} else {
					err = e.Receive(&discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "1", Nonce: "a", Resources: []*anypb.Any{pack(t, w)}}, at)
				}
				if err != nil {
					t.Fatal(err)
				}
				out := e.Flush(at)
				return errorDetail(out[len(out)-1])
			}
			if wrong := send(start, nil, time.Second); wrong != "x: a heartbeat for a resource that was never sent" {
				t.Errorf("NACK says %q", wrong)
			}
			send(start, clusters(t, "x")[0], 10*time.Second)
			if wrong := send(start.Add(9*time.Second), nil, 10*time.Second); wrong != "" {
				t.Errorf("NACK says %q", wrong)
			}
			e.Tick(start.Add(18 * time.Second))
			s.want(t, map[string]string{"Cluster/x": "1"})
			e.Tick(start.Add(19 * time.Second))
			s.want(t, map[string]string{})
		})
	}
}

// A new stream begins with what is held: the last version in the state of the world, every resource's in delta.
func TestReconnectRemembersVersions(t *testing.T) {
	e, _, _ := begin(t, false)
	sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "7", Nonce: "a", Resources: clusters(t, "x")})
	e.Disconnected()
	e.Connected(start)
	again := requests[*discoveryv3.DiscoveryRequest](t, e.Flush(start))
	if again[0].TypeUrl != ClusterType || again[0].VersionInfo != "7" || again[0].ResponseNonce != "" {
		t.Errorf("%v", again[0])
	}
	d, s, _ := begin(t, true)
	d.Want(EndpointType, []string{"x", "y"})
	d.Flush(start)
	deltas(t, d, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: EndpointType, Nonce: "1", Resources: []*discoveryv3.Resource{
		{Name: "x", Version: "5", Resource: assignments(t, "x")[0]}, {Name: "y", Version: "6", Resource: assignments(t, "y")[0]},
	}})
	d.Disconnected()
	s.want(t, map[string]string{"ClusterLoadAssignment/x": "5", "ClusterLoadAssignment/y": "6"})
	d.Want(EndpointType, []string{"x", "z"})
	d.Connected(start)
	for _, r := range requests[*discoveryv3.DeltaDiscoveryRequest](t, d.Flush(start)) {
		if r.TypeUrl == EndpointType && (!maps.Equal(r.InitialResourceVersions, map[string]string{"x": "5"}) || !slices.Equal(r.ResourceNamesSubscribe, []string{"x", "z"})) {
			t.Errorf("%v", r)
		}
	}
}

func TestDeltaSubscribesByDifference(t *testing.T) {
	e, _, _ := begin(t, true)
	e.Want(EndpointType, []string{"a", "b"})
	e.Flush(start)
	e.Want(EndpointType, []string{"b", "c"})
	r := requests[*discoveryv3.DeltaDiscoveryRequest](t, e.Flush(start))
	if len(r) != 1 || !slices.Equal(r[0].ResourceNamesSubscribe, []string{"c"}) || !slices.Equal(r[0].ResourceNamesUnsubscribe, []string{"a"}) || len(r[0].InitialResourceVersions) != 0 {
		t.Errorf("%v", r)
	}
	e.Want(EndpointType, []string{"c", "b"})
	if r := e.Flush(start); len(r) != 0 {
		t.Errorf("nothing changed, and still %v", r)
	}
}

func TestServersThatDoNotSpeakTheProtocol(t *testing.T) {
	e, _, _ := begin(t, false)
	for _, url := range []string{EndpointType, "type.googleapis.com/unknown", ""} {
		if err := e.Receive(&discoveryv3.DiscoveryResponse{TypeUrl: url}, start); err == nil {
			t.Errorf("%q was taken unasked", url)
		}
	}
	nack := sotw(t, e, &discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "1", Nonce: "a", Resources: []*anypb.Any{
		pack(t, &listenerv3.Listener{Name: "l"}), pack(t, &discoveryv3.Resource{Name: "x", Resource: clusters(t, "y")[0]}), clusters(t, "")[0],
	}})
	for _, want := range []string{"resource 0: is a ", "x: calls itself \"y\" inside", "resource 2: has no name"} {
		if !strings.Contains(nack[0].ErrorDetail.GetMessage(), want) {
			t.Errorf("no %q in %q", want, nack[0].ErrorDetail.GetMessage())
		}
	}
}

func FuzzReceive(f *testing.F) {
	whole, err := proto.Marshal(&discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "1", Nonce: "a", Resources: []*anypb.Any{{TypeUrl: ClusterType, Value: []byte("\n\x01x")}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r discoveryv3.DiscoveryResponse
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		e, _, _ := begin(t, false)
		if e.Receive(&r, start) == nil && len(e.Flush(start)) == 0 {
			t.Error("a response was neither acknowledged nor rejected")
		}
	})
}
