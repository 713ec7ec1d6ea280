package hash

import (
	"fmt"
	"math"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// What Envoy's own tests say: hash_test.cc, ring_hash_lb_test.cc and maglev_lb_test.cc.
func TestHashesAreEnvoys(t *testing.T) {
	for key, want := range map[string]uint64{"foo": 9631199822919835226, "bar": 11474628671133349555, "foo\nbar": 16306510975912980159, "lyft": 12847078931730529320, "": 6142509188972423790} {
		if got := Murmur64([]byte(key)); got != want {
			t.Errorf("murmur of %q is %d, want %d", key, got, want)
		}
	}
	for key, want := range map[string]uint64{"foo": 3728699739546630719, "lyft": 4400747396090729504, "": 17241709254077376921} {
		if got := xxhash.Sum64String(key); got != want {
			t.Errorf("xxhash of %q is %d, want %d", key, got, want)
		}
	}
}

// six are the servers of those tests.
func six() (servers []Server) {
	for port := range 6 {
		servers = append(servers, Server{Name: fmt.Sprintf("127.0.0.1:%d", 90+port), Weight: 1})
	}
	return servers
}

func TestRingIsEnvoys(t *testing.T) {
	r, err := NewEnvoyRing(six(), 12)
	if err != nil {
		t.Fatal(err)
	}
	want := []ringPoint{
		{833437586790550860, 4}, {928266305478181108, 2}, {1033482794131418490, 0}, {3551244743356806947, 5}, {3851675632748031481, 3}, {5583722120771150861, 1},
		{6311230543546372928, 1}, {7700377290971790572, 3}, {13144177310400110813, 5}, {13444792449719432967, 2}, {15516499411664133160, 4}, {16117243373044804889, 0},
	}
	if fmt.Sprint(r.points) != fmt.Sprint(want) {
		t.Fatalf("ring is %v\nwant %v", r.points, want)
	}
	for h, server := range map[uint64]int{0: 4, math.MaxUint64: 4, 3551244743356806947: 5, 3551244743356806948: 3, 16117243373044804880: 0} {
		if got := r.PlaceHash(h); got != server {
			t.Errorf("%d is placed on %d, want %d", h, got, server)
		}
	}
}

func TestMaglevIsEnvoys(t *testing.T) {
	for _, tc := range []struct {
		servers []Server
		size    uint64
		want    string
	}{
		{six(), 7, "[2 4 0 1 5 0 3]"},
		{[]Server{{"90", 1}, {"91", 1}, {"92", 1}, {"93", 1}, {"94", 1}, {"95", 1}}, 7, "[2 5 0 3 4 1 0]"},
		{[]Server{{"127.0.0.1:90", 1}, {"127.0.0.1:91", 2}}, 17, "[1 0 0 1 0 1 1 0 1 1 1 1 1 0 1 0 1]"},
		{[]Server{{"127.0.0.1:91", 2}, {"127.0.0.1:90", 1}}, 17, "[0 1 1 0 1 0 0 1 0 0 0 0 0 1 0 1 0]"}, // in any order
	} {
		m, err := newEnvoyMaglev(tc.servers, tc.size)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(m.table); got != tc.want {
			t.Errorf("table is %s, want %s", got, tc.want)
		}
	}
}

// Weights hold, and what does not fit is refused.
func TestEnvoyPlacementsFollowWeights(t *testing.T) {
	servers := []Server{{"10.0.0.1:6379", 1}, {"10.0.0.2:6379", 3}}
	ring, err := NewEnvoyRing(servers, EnvoyRingSize)
	if err != nil {
		t.Fatal(err)
	}
	maglev, err := NewEnvoyMaglev(servers)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]KeyPlacement{"ring": ring, "maglev": maglev} {
		count := [2]int{}
		for i := range 20000 {
			count[p.PlaceKey(fmt.Appendf(nil, "key:%d", i))]++
		}
		if count[1] < 14000 || count[1] > 16000 {
			t.Errorf("%s: a server of three quarters of the weight got %d of 20000", name, count[1])
		}
		key := []byte("key:000000012345")
		if n := testing.AllocsPerRun(100, func() { p.PlaceKey(key) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, bad := range []int{0, MaxEnvoyRingSize + 1} {
		if _, err := NewEnvoyRing(servers, bad); err == nil {
			t.Errorf("a ring of %d", bad)
		}
	}
	if _, err := NewEnvoyMaglev(nil); err == nil {
		t.Error("a table of nobody")
	}
}
