package xds

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"go.yaml.in/yaml/v3"
)

// BenchmarkPush pushes the endpoints of one cluster among many: the time from the response to their being active.
func BenchmarkPush(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("clusters=%d", n), func(b *testing.B) {
			w := newBench(b)
			for i := range n {
				name := fmt.Sprintf("c%d", i)
				w.store.Update(ListenerType, []Resource{{Name: name, Body: pack(b, listener(b, name, 1000+i, name))}}, nil)
				w.store.Update(ClusterType, []Resource{{Name: name, Body: pack(b, edsCluster(b, name))}}, nil)
				w.store.Update(EndpointType, []Resource{{Name: name, Body: pack(b, endpoints(b, name, 80))}}, nil)
			}
			w.settle()
			if got := len(w.process.snapshot.Clusters()); got != n {
				b.Fatalf("%d clusters are active, want %d", got, n)
			}
			i := 0
			for b.Loop() {
				i++
				w.store.Update(EndpointType, []Resource{{Name: "c0", Body: pack(b, endpoints(b, "c0", 1+i%60000))}}, nil)
				w.settle()
			}
			if got, want := w.process.snapshot.Cluster("c0").Endpoints[0].Address, fmt.Sprintf("10.0.0.1:%d", 1+i%60000); got != want {
				b.Errorf("active is %s, want %s", got, want)
			}
		})
	}
}

// A push in the state of the world repeats everything; what did not change is not judged again, keeps its place and takes the new version.
func TestRepeatedResourcesAreNotReadAgain(t *testing.T) {
	b := newBench(t)
	b.push("1", listener(t, "l", 1, "c"), edsCluster(t, "c"), endpoints(t, "c", 80))
	before, applied := b.process.snapshot.Listener("l"), b.process.applied
	reading := b.store.items[ListenerType]["l"].listener
	b.push("2", listener(t, "l", 1, "c"), endpoints(t, "c", 81))
	if b.process.snapshot.Listener("l") != before || b.store.items[ListenerType]["l"].listener != reading {
		t.Error("an unchanged listener was read again")
	}
	if v := b.store.items[ListenerType]["l"].version; v != "2" {
		t.Errorf("its version is %q, want 2", v)
	}
	if b.process.applied != applied+1 {
		t.Errorf("applied %d times, want once, for the endpoints", b.process.applied-applied)
	}
	b.want("l>c, c/tcp 10.0.0.1:81")
}

// A tree becomes the same YAML as its text would, whatever its strings look like.
func TestNodeKeepsTypes(t *testing.T) {
	want := tree{
		"list": []any{int64(-1), int64(1 << 60), true, nil, 1.5, "1", "true", "null", "", "~", "a: b", "two\nlines", "0x1", "1e3", "2001-01-01", "=", "<<", " x", "é", "- y", "#"},
		"map":  tree{"1": tree{}, "yes": []any{}, "<<": "merge", "a b": "c"},
	}
	n, err := node(want)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseYAML(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if got := plain(got); !reflect.DeepEqual(got, plain(want)) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}

// plain has one type of integers.
func plain(v any) any {
	return walk(v, func(v any) any {
		if n, ok := v.(int64); ok {
			return int(n)
		}
		return v
	})
}

// A percentage follows its runtime key: the message's own without one, then the static layer's, then the newest discovered one's.
func TestRuntimeLayers(t *testing.T) {
	s := newStore(newProcess().language, nil, func() time.Time { return start }, func(string, []string) {})
	s.runtime, s.layers = tree{"a": tree{"b": int64(3)}, "c": 2.5}, []string{"one", "two"}
	push := func(name, layer string) {
		t.Helper()
		var m runtimev3.Runtime
		fromYAML(t, "name: "+name+"\nlayer: "+layer, &m)
		if wrong := s.Update(RuntimeType, []Resource{{Name: name, Body: pack(t, &m)}}, nil); len(wrong) > 0 {
			t.Fatal(wrong)
		}
	}
	want := func(key string, want float64) {
		t.Helper()
		filled, _, _ := s.fill(tree{"percent": share{key, 7}})
		if filled["percent"] != want {
			t.Errorf("%s is %v, want %v", key, filled["percent"], want)
		}
	}
	want("none", 7)
	want("", 7)
	want("a.b", 3)
	want("c", 2.5)
	push("one", "{a.b: 40, c: {numerator: 5, denominator: TEN_THOUSAND}, d: 400, unread: {x: 1}}")
	want("a.b", 40)
	want("c", 0.05)
	want("d", 100)
	push("two", "{a: {b: 50}, c: {numerator: 5, denominator: DOZEN}}")
	want("a.b", 50)
	want("c", 7)
	if got := s.unlooked("", s.items[RuntimeType]["one"].message.(tree)); !slices.Equal(got, []string{"unread.x"}) {
		t.Errorf("keys that nothing depends on: %v", got)
	}
	before := s.fills
	s.Update(RuntimeType, nil, []string{"two"})
	if s.fills == before {
		t.Error("a layer that went changes nothing")
	}
	want("a.b", 40)
}

// Secrets are found wherever a block names them: inside a tagged rule, which stays YAML, too; those of files are not asked for.
func TestNeeds(t *testing.T) {
	rules, err := parseYAML([]byte("rules: [!SHARDING {tables: {t: {password: {secret: inside}}}}]\nplain: {secret: outside}\nother: {secret: a, more: b}"))
	if err != nil {
		t.Fatal(err)
	}
	rules["tls"] = tree{"cert": hole{"asked", partChain, ""}, "ca": hole{"filed", partCA, "/ca.yaml"}}
	n := needsOf(rules)
	if want := []string{"asked", "inside", "outside"}; !slices.Equal(n.secrets, want) || n.files["filed"] != "/ca.yaml" || len(n.files) != 1 || n.runtime {
		t.Errorf("%+v", n)
	}
	s := newStore(newProcess().language, nil, func() time.Time { return start }, func(string, []string) {})
	var m tlsv3.Secret
	fromYAML(t, "name: inside\ngeneric_secret: {secret: {inline_string: pw}}", &m)
	s.Update(SecretType, []Resource{{Name: "inside", Body: pack(t, &m)}}, nil)
	delete(s.items[SecretType], "inside") // nobody refers to it in this store
	s.item(SecretType, "inside").message = map[string]any{partGeneric: "pw"}
	_, generic, missing := s.fill(tree{"rules": rules["rules"]})
	if generic["inside"] != "pw" || len(missing) > 0 {
		t.Errorf("generic %v, missing %v", generic, missing)
	}
}

// A listener's certificate comes from a file of secrets, and follows it.
func TestSecretOfFile(t *testing.T) {
	b := newBench(t)
	var l listenerv3.Listener
	fromYAML(t, `
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 1}}
filter_chains:
- transport_socket:
    name: tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
      common_tls_context: {tls_certificate_sds_secret_configs: [{name: own, sds_config: {path_config_source: {path: /own.yaml}}}]}
  filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: c}}]
`, &l)
	b.push("1", &l)
	if !b.store.files[FileSource{SecretType, "/own.yaml"}] || len(b.wants["Secret"]) > 0 {
		t.Errorf("files %v, asked for %v", b.store.files, b.wants)
	}
	if want := "secrets own have not come"; b.last.waiting["listener l"] != want {
		t.Errorf("waiting: %v, want %q", b.last.waiting, want)
	}
}
