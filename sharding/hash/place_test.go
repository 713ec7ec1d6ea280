package hash

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"testing"
)

func pool(n int) []Server {
	s := make([]Server, n)
	for i := range s {
		s[i] = Server{Name: fmt.Sprintf("10.0.1.%d:6379", i+1), Weight: 1}
	}
	return s
}

func share(p Placement, servers, keys int) []int {
	got := make([]int, servers)
	for i := range keys {
		got[p.Place(FNV1a_64(fmt.Appendf(nil, "key:%d", i)))]++
	}
	return got
}

func TestPlacementsFollowWeights(t *testing.T) {
	servers := []Server{{"a", 1}, {"b", 2}, {"c", 5}}
	ketama, err := NewKetama(servers)
	if err != nil {
		t.Fatal(err)
	}
	modula, err := NewModula(servers)
	if err != nil {
		t.Fatal(err)
	}
	maglev, err := NewMaglev(servers)
	if err != nil {
		t.Fatal(err)
	}
	var seed uint32
	random, err := NewRandom(servers, func() uint32 { seed += 0x9e3779b9; return seed })
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]Placement{"ketama": ketama, "modula": modula, "maglev": maglev, "random": random} {
		const keys = 80000
		for i, n := range share(p, 3, keys) {
			want := float64(servers[i].Weight) / 8
			if got := float64(n) / keys; math.Abs(got-want) > 0.35*want {
				t.Errorf("%s: server %s has %.3f of the keys, want about %.3f", name, servers[i].Name, got, want)
			}
		}
	}
}

func TestConsistentPlacementsMoveFewKeys(t *testing.T) {
	build := map[string]func([]Server) (Placement, error){
		"ketama": func(s []Server) (Placement, error) { return NewKetama(s) },
		"maglev": func(s []Server) (Placement, error) { return NewMaglev(s) },
	}
	for name, build := range build {
		before, err := build(pool(10))
		if err != nil {
			t.Fatal(err)
		}
		after, err := build(pool(11))
		if err != nil {
			t.Fatal(err)
		}
		moved := 0
		for i := range 20000 {
			h := Murmur(fmt.Appendf(nil, "k%d", i))
			a, b := before.Place(h), after.Place(h)
			if a != b && b != 10 {
				moved++
			}
		}
		if moved > 600 { // maglev's small disruption; ketama's is none
			t.Errorf("%s: %d of 20000 keys moved between old servers", name, moved)
		}
		if name == "ketama" && moved > 0 {
			t.Errorf("ketama moved %d keys between old servers", moved)
		}
	}
}

func TestPlacementsRefuse(t *testing.T) {
	for _, servers := range [][]Server{nil, {{"a", 0}}, {{"a", 1}, {"a", 1}}, {{"a", MaxWeight + 1}}} {
		if _, err := NewKetama(servers); err == nil {
			t.Errorf("ketama took %v", servers)
		}
		if _, err := NewModula(servers); err == nil {
			t.Errorf("modula took %v", servers)
		}
		if _, err := NewMaglev(servers); err == nil {
			t.Errorf("maglev took %v", servers)
		}
	}
	if _, err := NewKetama(nil); !errors.Is(err, ErrNoServers) {
		t.Errorf("err = %v", err)
	}
}

// TestKetamaTakesTheNextPoint looks at every edge of the continuum: the point itself, right before and right behind it, and both ends.
func TestKetamaTakesTheNextPoint(t *testing.T) {
	for _, n := range []int{1, 2, 3, 50} {
		servers := pool(n)
		servers[0].Weight = 7
		k, err := NewKetama(servers)
		if err != nil {
			t.Fatal(err)
		}
		hashes := []uint32{0, 1<<32 - 1}
		for _, p := range k.points {
			hashes = append(hashes, p.value-1, p.value, p.value+1)
		}
		for _, h := range hashes {
			at := sort.Search(len(k.points), func(i int) bool { return k.points[i].value >= h }) % len(k.points)
			if got, want := k.Place(h), int(k.points[at].index); got != want {
				t.Errorf("%d servers: %#x is at %d, want %d", n, h, got, want)
			}
		}
	}
}

func TestPlaceAllocatesNothing(t *testing.T) {
	k, err := NewKetama(pool(3))
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("some:{tagged}:key")
	if n := testing.AllocsPerRun(100, func() { k.Place(FNV1a_64(Tag{'{', '}'}.Of(key))) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKetama(b *testing.B) {
	k, err := NewKetama(pool(3))
	if err != nil {
		b.Fatal(err)
	}
	key := []byte("key:000000123456")
	for b.Loop() {
		k.Place(FNV1a_64(key))
	}
}
