package redis_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
	"github.com/sidewire/sidewire/sharding/hash"
)

// letters answers every GET with the letter of the server that was asked.
func letters(t *testing.T, address, letter string) string {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					// "*2", "$3", "GET", "$n", the key
					for range 3 {
						if _, err := in.ReadString('\n'); err != nil {
							return
						}
					}
					n := 0
					if _, err := fmt.Fscanf(in, "$%d\r\n", &n); err != nil {
						return
					}
					if _, err := io.CopyN(io.Discard, in, int64(n)+2); err != nil {
						return
					}
					io.WriteString(conn, "$1\r\n"+letter+"\r\n")
				}
			}()
		}
	}()
	return l.Addr().String()
}

// placed is a pool of servers as twemproxy is told of it.
type placed struct {
	name, tag string
	list      []string // host:port:weight, and a name
	hashed    []hash.Server
}

func pools(t *testing.T) []placed {
	next := 'a' - 1
	at := func(address string) string { next++; return letters(t, address, string(next)) }
	named := placed{name: "named", tag: "{}"}
	for _, name := range []string{"cache-b", "cache-a", "cache-with-a-long-name"} {
		named.list = append(named.list, at("127.0.0.1:0")+":1 "+name)
		named.hashed = append(named.hashed, hash.Server{Name: name, Weight: 1})
	}
	next = 'a' - 1
	plain := placed{name: "plain"}
	for range 4 {
		a := at("127.0.0.1:0")
		plain.list = append(plain.list, a+":1")
		plain.hashed = append(plain.hashed, hash.Server{Name: a, Weight: 1})
	}
	next = 'a' - 1
	weighted := placed{name: "weighted", tag: "$$"}
	for i, weight := range []int{5, 1, 2} {
		name := fmt.Sprint("w", i)
		weighted.list = append(weighted.list, fmt.Sprintf("%s:%d %s", at("127.0.0.1:0"), weight, name))
		weighted.hashed = append(weighted.hashed, hash.Server{Name: name, Weight: weight})
	}
	next = 'a' - 1
	ported := placed{name: "memcached", tag: "<>"} // whose port is not hashed
	for i := range 3 {
		host := fmt.Sprintf("127.0.71.%d", i+1)
		ported.list = append(ported.list, at(host+":11211")+":1")
		ported.hashed = append(ported.hashed, hash.Server{Name: host, Weight: 1})
	}
	return []placed{named, plain, weighted, ported}
}

// Every key stands where twemproxy puts it: each hash function, by ketama and modula, with server names, weights, hash tags and memcached's
// port. REWRITE=1 notes what twemproxy says in sharding/hash/testdata/placement.txt, for tests that have none. Its distribution "random" asks
// no key and cannot be compared.
func TestPlacementIsTwemproxys(t *testing.T) {
	keys := placementKeys()
	var conf, golden strings.Builder
	var listen []string
	type combination struct {
		placed
		dist, function string
	}
	var all []combination
	for _, p := range pools(t) {
		for _, dist := range []string{"ketama", "modula"} {
			for _, function := range hash.Names() {
				addr := fmt.Sprintf("127.0.0.1:%d", servers.Port(t))
				fmt.Fprintf(&conf, "p%d:\n  listen: %s\n  hash: %s\n  distribution: %s\n  redis: true\n", len(all), addr, function, dist)
				if p.tag != "" {
					fmt.Fprintf(&conf, "  hash_tag: %q\n", p.tag)
				}
				conf.WriteString("  servers:\n")
				for _, s := range p.list {
					conf.WriteString("   - " + s + "\n")
				}
				listen = append(listen, addr)
				all = append(all, combination{p, dist, function})
			}
		}
	}
	proxy := servers.TwemproxyPools(t, conf.String(), listen)
	for _, k := range keys {
		fmt.Fprintf(&golden, "key %q\n", k)
	}
	for i, c := range all {
		theirs := ask(t, proxy.Addrs[i], keys)
		tag, err := hash.ParseTag(c.tag)
		if err != nil {
			t.Fatal(err)
		}
		ours := place(t, c.dist, c.function, tag, c.hashed, keys)
		if ours != theirs {
			t.Errorf("%s %s %s: twemproxy places\n%s\nsidewire\n%s", c.name, c.dist, c.function, theirs, ours)
		}
		fmt.Fprintf(&golden, "pool %s %s %q %s", c.dist, c.function, c.tag, theirs)
		for _, s := range c.hashed {
			fmt.Fprintf(&golden, " %s*%d", s.Name, s.Weight)
		}
		golden.WriteByte('\n')
	}
	if os.Getenv("REWRITE") != "" && !t.Failed() {
		if err := os.WriteFile("../../sharding/hash/testdata/placement.txt", []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// placementKeys are of many lengths and shapes, with bytes beyond ASCII and tags of each kind, whole, empty, open and doubled.
func placementKeys() []string {
	keys := []string{"a", "\xff", "{}", "{}x", "{x", "x}", "{x}", "a{x}b", "{x}{y}", "{{x}}", "$x$", "a$x$b", "$$", "$$x", "$x", "<x>", "a<x>b<y>", "<>", "caf\xc3\xa9"}
	for i := range 45 {
		keys = append(keys, fmt.Sprintf("user:%d:%s", i*7919, strings.Repeat(string(rune('a'+i%26)), i)))
	}
	return append(keys, strings.Repeat("long", 60))
}

// ask has a twemproxy pool place keys.
func ask(t *testing.T, addr string, keys []string) string {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	for _, k := range keys {
		fmt.Fprintf(conn, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(k), k)
	}
	got := make([]byte, len("$1\r\na\r\n")*len(keys))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	return strings.NewReplacer("$1\r\n", "", "\r\n", "").Replace(string(got))
}

// place is what sidewire does.
func place(t *testing.T, dist, function string, tag hash.Tag, list []hash.Server, keys []string) string {
	f, err := hash.Lookup(function)
	if err != nil {
		t.Fatal(err)
	}
	var p hash.Placement
	if dist == "ketama" {
		p, err = hash.NewKetama(list)
	} else {
		p, err = hash.NewModula(list)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, k := range keys {
		h := uint32(0)
		if part := tag.Of([]byte(k)); len(part) > 0 {
			h = f(part)
		}
		out.WriteByte(byte('a' + p.Place(h)))
	}
	return out.String()
}
