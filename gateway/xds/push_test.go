package xds

import (
	"fmt"
	"reflect"
	"testing"

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
