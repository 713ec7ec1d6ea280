package tcp

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/sharding/hash"
)

const clients = 4000

// pool is a cluster of endpoints by number, each with its weight; nothing probes it.
func pool(hashing string, weights map[int]int) *config.Cluster {
	c := &config.Cluster{Name: "c", Protocol: name, Block: &ClusterBlock{Hashing: hashing}, Balance: "least_requests"}
	c.Health.Disabled = true
	c.Ejection = config.Ejection{Failures: 1, Time: config.Duration(time.Hour), MaxPercent: 100}
	for i := range 20 {
		if w, ok := weights[i]; ok {
			c.Endpoints = append(c.Endpoints, config.Endpoint{Address: "10.0.0." + strconv.Itoa(i) + ":80", Weight: w})
		}
	}
	return c
}

func living(t *testing.T, c *config.Cluster) *upstream {
	n := uint64(0)
	rand := func() uint64 { n += 0x9e3779b97f4a7c15; return n }
	cl := cluster.New(c, protocol{}, cluster.Deps{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Rand: rand})
	t.Cleanup(cl.Close)
	return &upstream{cluster: cl, random: rand}
}

// places is where each client goes, and how many go to each endpoint.
func (u *upstream) places(t *testing.T, by string) (at [clients]string, count map[string]int) {
	t.Helper()
	count = map[string]int{}
	for i := range at {
		e, err := u.pick(&net.TCPAddr{IP: net.IPv4(192, 168, byte(i>>8), byte(i)), Port: 1024 + i}, by)
		if err != nil {
			t.Fatal(err)
		}
		at[i] = e.Address()
		count[at[i]]++
	}
	return at, count
}

// moved are the clients that went elsewhere, beside those of an endpoint that had to.
func moved(before, after [clients]string, but string) (n int) {
	for i := range before {
		if before[i] != but && before[i] != after[i] {
			n++
		}
	}
	return n
}

func both(t *testing.T, test func(t *testing.T, hashing string)) {
	for _, hashing := range []string{"envoy_ring", "envoy_maglev"} {
		t.Run(hashing, func(t *testing.T) { test(t, hashing) })
	}
}

// What moves beyond the share of the one that left, at most: a ring of Envoy's deals its points anew.
var beyond = map[string]int{"envoy_ring": clients / 4, "envoy_maglev": clients / 20}

func TestClientsStayWhereTheyAre(t *testing.T) {
	both(t, func(t *testing.T, hashing string) {
		four := map[int]int{1: 1, 2: 1, 3: 1, 4: 1}
		u := living(t, pool(hashing, four))
		at, count := u.places(t, "source_ip")
		for address, n := range count {
			if n < clients/4*7/10 || n > clients/4*13/10 {
				t.Errorf("%s has %d of %d clients", address, n, clients)
			}
		}
		if again, _ := u.places(t, "source_ip"); len(count) != 4 || again != at {
			t.Fatalf("clients move by themselves; endpoints in use: %v", count)
		}
		u.cluster.Update(pool(hashing, map[int]int{1: 1, 2: 1, 4: 1}))
		less, count := u.places(t, "source_ip")
		if n := moved(at, less, "10.0.0.3:80"); n > beyond[hashing] || count["10.0.0.3:80"] > 0 {
			t.Errorf("without the third endpoint %d clients of others moved; %v", n, count)
		}
		u.cluster.Update(pool(hashing, four))
		if back, _ := u.places(t, "source_ip"); back != at {
			t.Error("with the same endpoints clients are elsewhere")
		}
	})
}

func TestOnlyHealthyEndpointsHaveClients(t *testing.T) {
	both(t, func(t *testing.T, hashing string) {
		u := living(t, pool(hashing, map[int]int{1: 1, 2: 1, 3: 1, 4: 1}))
		at, _ := u.places(t, "source_ip")
		out := u.cluster.Endpoint("10.0.0.2:80")
		u.cluster.Report(out, errors.New("refused"))
		less, count := u.places(t, "source_ip")
		if n := moved(at, less, out.Address()); n > beyond[hashing] || count[out.Address()] > 0 || len(count) != 3 {
			t.Errorf("%d clients of others moved; %v", n, count)
		}
		for _, e := range u.cluster.Endpoints() {
			u.cluster.Report(e, errors.New("refused"))
		}
		if panicked, _ := u.places(t, "source_ip"); panicked != at {
			t.Error("with none in health clients are not where they are with all")
		}
	})
}

func TestWeightsShareClients(t *testing.T) {
	both(t, func(t *testing.T, hashing string) {
		for _, by := range []string{"source_ip", "random"} {
			_, count := living(t, pool(hashing, map[int]int{1: 1, 2: 3, 3: 0})).places(t, by)
			if n := count["10.0.0.2:80"]; n < clients*68/100 || n > clients*82/100 || count["10.0.0.3:80"] > 0 {
				t.Errorf("by %s, weights of 1, 3 and 0: %v", by, count)
			}
		}
		if _, count := living(t, pool(hashing, map[int]int{1: 0, 2: 0})).places(t, "source_ip"); len(count) != 2 {
			t.Errorf("without any weight: %v", count)
		}
	})
}

// The hash is Envoy's: of the address as text, without port and zone, IPv4 as such.
func TestAddressHash(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:9": "127.0.0.1", "[::ffff:10.1.2.3]:80": "10.1.2.3", "[2001:db8:0:0::1]:80": "2001:db8::1", "[fe80::1%eth0]:80": "fe80::1",
	} {
		got, ok := addressHash(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)))
		if !ok || got != hash.XXHash64([]byte(want)) {
			t.Errorf("%s: %x, %v", text, got, ok)
		}
	}
	if hash.XXHash64([]byte("abc")) != 0x44bc2cf5ad770999 { // the published value
		t.Error("not xxHash")
	}
	u := living(t, pool("envoy_maglev", map[int]int{1: 1, 2: 1}))
	seen := map[string]bool{}
	for range 50 {
		e, err := u.pick(&net.UnixAddr{Net: "unix"}, "source_ip")
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Address()] = true
	}
	if len(seen) != 2 {
		t.Errorf("clients without an address all go to %v", seen)
	}
}

func TestTableIsMadeOnceAndNothingElse(t *testing.T) {
	both(t, func(t *testing.T, hashing string) {
		conf := pool(hashing, map[int]int{1: 1, 2: 1, 3: 1})
		u := living(t, conf)
		client := net.Addr(&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 9})
		if n := testing.AllocsPerRun(100, func() { u.pick(client, "source_ip") }); n > 0 {
			t.Errorf("a connection allocates %v times", n)
		}
		made := u.table.Load()
		u.cluster.Update(pool(hashing, map[int]int{1: 1, 2: 1, 3: 1}))
		if u.pick(client, "source_ip"); u.table.Load() != made {
			t.Error("a configuration that says the same made another table")
		}
		u.cluster.Update(pool(hashing, map[int]int{1: 1, 2: 1, 3: 2}))
		if u.pick(client, "source_ip"); u.table.Load() == made {
			t.Error("another weight did not")
		}
	})
}

// A name stands for one server; those that DNS found by it are told apart by their addresses.
func TestHashName(t *testing.T) {
	for want, e := range map[string]config.Endpoint{
		"a:1": {Address: "a:1"}, "first": {Address: "a:1", Name: "first"}, "10.0.0.1:1": {Address: "10.0.0.1:1", Name: "first", Host: "a"},
	} {
		if got := hashName(&e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
