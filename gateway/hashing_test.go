package gateway_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// Each client address has its server, whatever the connection, until that server leaves; without a hash a client is anywhere.
func TestConnectionsOfAClientGoToOneServer(t *testing.T) {
	const sources = 24
	var servers []string // their names are hashed: what their ports are must not matter
	for _, name := range []string{"one", "two", "three"} {
		servers = append(servers, fmt.Sprintf("{name: %s, address: %q}", name, echoServer(t, name)))
	}
	g := start(t)
	for _, hashing := range []string{"envoy_ring", "envoy_maglev"} {
		conf := func(hash string, servers []string) string {
			return fmt.Sprintf(`
listeners: [{name: a, address: "127.0.0.1:0", tcp: {cluster: c%s}}]
clusters: [{name: c, tcp: {hashing: %s}, endpoints: [%s]}]`, hash, hashing, strings.Join(servers, ", "))
		}
		// ask is who serves each source, several connections of which must agree.
		ask := func() (served [sources]string, used map[string]int) {
			used = map[string]int{}
			address := g.Listener("a").Addr().String()
			for i := range served {
				for range 3 {
					c := dialFrom(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(10+i))}, address)
					who, err := c.ask("")
					if err != nil || served[i] != "" && served[i] != who {
						t.Fatalf("%s: source %d is served by %q after %q, %v", hashing, i, who, served[i], err)
					}
					c.Close()
					served[i] = who
				}
				used[served[i]]++
			}
			return served, used
		}
		mustApply(t, g, conf("", servers))
		before, used := ask()
		if len(used) != 3 {
			t.Errorf("%s: %d sources use %v", hashing, sources, used)
		}
		mustApply(t, g, conf("", servers[:2]))
		if _, used := ask(); used["three"] > 0 {
			t.Errorf("%s: a server that left is used: %v", hashing, used)
		}
		mustApply(t, g, conf("", servers))
		if after, _ := ask(); after != before {
			t.Errorf("%s: with the same servers sources are elsewhere: %v, %v", hashing, before, after)
		}
		mustApply(t, g, conf(", hash: random", servers))
		used = map[string]int{}
		for range 60 {
			c := dial(t, g.Listener("a").Addr().String())
			who, err := c.ask("")
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			used[who]++
		}
		if len(used) != 3 {
			t.Errorf("%s: at random one source uses %v", hashing, used)
		}
	}
}
