package redis

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// add gives the world a further cluster of servers of its own.
func (w *world) add(name string, nodes int, m mode) *upstream {
	u, all := w.up, w.servers
	w.servers = map[string]*server{}
	other := newWorld(w.t, 1, nodes, m)
	v := other.up
	v.engine, v.name = w.engine, name
	var members []member
	for _, n := range v.nodes {
		a := name + "." + n.address
		all[a] = &server{data: map[string]string{}}
		members = append(members, member{address: a, name: a, weight: 1})
	}
	w.up, w.servers = u, all
	v.nodes, v.known = nil, map[string]*node{}
	v.setNodes(members)
	w.engine.upstreams[v] = struct{}{}
	return v
}

// route gives the world's clients routes.
func (w *world) route(b *ListenerBlock, clusters map[string]*upstream) {
	w.engine.gates = []*gate{w.gate}
	w.gate.rules, w.gate.custom = newRules(b), customCommands(b.CustomCommands)
	next := clusters[b.Cluster]
	if len(b.Routes) > 0 {
		next = b.routed(w.engine, "test", func(name string) *upstream { return clusters[name] })
	}
	w.gate.become(w.engine, next)
}

// holds collects what the servers whose addresses begin with a name have.
func (w *world) holds(name string) map[string]string {
	all := map[string]string{}
	for a, s := range w.servers {
		if strings.HasPrefix(a, name) {
			for k, v := range s.data {
				all[k] = v
			}
		}
	}
	return all
}

func TestPrefixesChooseClusters(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 2, modeHashed)
		users, carts := w.add("users", 3, modeSlots), w.add("carts", 1, modeSingle)
		w.route(&ListenerBlock{Cluster: "rest", Routes: []RouteBlock{
			{Prefix: "user:", Cluster: "users", RemovePrefix: true, KeyFormat: "app:%KEY%:v1"},
			{Prefix: "user:x", Cluster: "carts"},
		}}, map[string]*upstream{"rest": w.up, "users": users, "carts": carts})
		c := w.client()
		var keys, values []string
		c.ask("+OK\r\n", "SET", "user:x1", "cart")
		for i := range 20 {
			for _, k := range []string{fmt.Sprint("user:", i), fmt.Sprint("other", i)} {
				c.ask("+OK\r\n", "SET", k, "v"+k)
				keys, values = append(keys, k), append(values, "v"+k)
			}
		}
		want := redis.AppendHeader(nil, redis.TypeArray, len(values)+1)
		for _, v := range values {
			want = redis.AppendBulk(want, v)
		}
		want = redis.AppendBulk(want, "cart")
		c.ask(string(want), append(append([]string{"MGET"}, keys...), "user:x1")...)
		c.ask(":41\r\n", "DBSIZE")
		c.ask("-"+crossSlot+"\r\n", "RENAME", "user:1", "other1")
		c.ask("+OK\r\n", "MULTI")
		c.ask("+QUEUED\r\n", "GET", "user:3")
		c.ask("*1\r\n$7\r\nvuser:3\r\n", "EXEC")
		c.ask(":41\r\n", append(append([]string{"DEL"}, keys...), "user:x1")...)
		c.ask("+OK\r\n", "SET", "user:7", "seven")
		c.ask("-ERR 'keys' command names keys, and is not supported where a route rewrites them\r\n", "KEYS", "*")
		w.finish()
		if got := w.holds("users"); len(got) != 1 || got["app:7:v1"] != "seven" {
			t.Fatalf("users holds %v", got)
		}
	}
}

func TestRouteWithoutCluster(t *testing.T) {
	w := newWorld(t, 1, 1, modeSingle)
	w.route(&ListenerBlock{Routes: []RouteBlock{{Prefix: "A:", Cluster: "a"}}, IgnoreCase: true}, map[string]*upstream{"a": w.up})
	c := w.client()
	c.ask("+OK\r\n", "SET", "a:1", "x")
	c.ask("-ERR no upstream host: no route has the key's prefix, or its cluster has no server for the key\r\n", "GET", "b:1")
	c.ask("$-1\r\n", "GET", "A:1") // the same prefix, another key
	w.finish()
}

// A cluster's redirection to a node that nobody knew changes where the nodes of the clusters behind it stand among all.
func TestNodesOfOneClusterGrowUnderAnother(t *testing.T) {
	w := newWorld(t, 3, 2, modeSlots)
	last := w.add("last", 1, modeSingle)
	w.route(&ListenerBlock{Cluster: "first", Routes: []RouteBlock{{Prefix: "l:", Cluster: "last"}}}, map[string]*upstream{"first": w.up, "last": last})
	w.servers["10.0.0.9:6379"] = &server{data: map[string]string{"k": "moved"}}
	from := w.up.nodes[w.up.locate([]byte("k"), nil)].address
	w.servers[from].says = map[string]string{"k": "-MOVED 7629 10.0.0.9:6379\r\n"}
	c := w.client()
	for range 10 {
		c.ask("+OK\r\n", "SET", "l:1", "x")
		c.ask("$5\r\nmoved\r\n", "GET", "k")
		c.ask("$1\r\nx\r\n", "GET", "l:1")
	}
	w.finish()
	if got := w.holds("last"); got["l:1"] != "x" {
		t.Fatalf("last holds %v", got)
	}
}

func TestReadsOfARouteGoElsewhere(t *testing.T) {
	w := newWorld(t, 4, 1, modeSingle)
	copies := w.add("copy", 1, modeSingle)
	for _, s := range w.servers {
		s.data["r:1"] = "old"
	}
	w.route(&ListenerBlock{Routes: []RouteBlock{{Prefix: "r:", Cluster: "a", ReadCluster: "copy"}}}, map[string]*upstream{"a": w.up, "copy": copies})
	c := w.client()
	c.ask("+OK\r\n", "SET", "r:1", "new")
	c.ask("$3\r\nold\r\n", "GET", "r:1")
	c.ask(":1\r\n", "DBSIZE") // of the cluster that is written to
	w.finish()
}

func TestMirrorsHearTheSame(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 3, modeHashed)
		shadow, some, writes := w.add("shadow", 2, modeSlots), w.add("some", 1, modeSingle), w.add("writes", 1, modeSingle)
		w.route(&ListenerBlock{Routes: []RouteBlock{{Cluster: "a", Mirrors: []MirrorBlock{
			{Cluster: "shadow", Percent: 100}, {Cluster: "some", Percent: 50}, {Cluster: "writes", Percent: 100, ExcludeReads: true}}}}},
			map[string]*upstream{"a": w.up, "shadow": shadow, "some": some, "writes": writes})
		c := w.client()
		for i := range 200 {
			c.ask("+OK\r\n", "SET", fmt.Sprint("k", i), "v")
		}
		c.ask("+OK\r\n", "MSET", "m1", "1", "m2", "2", "m3", "3")
		c.ask("+OK\r\n", "MULTI")
		c.ask("+QUEUED\r\n", "SET", "t", "1")
		c.ask("*1\r\n+OK\r\n", "EXEC")
		c.ask("$1\r\nv\r\n", "GET", "k1")
		w.finish()
		if got := w.holds("shadow"); len(got) != 204 || got["m2"] != "2" || got["t"] != "1" {
			t.Fatalf("the mirror has %d keys", len(got))
		}
		if got := len(w.holds("some")); got < 60 || got > 140 {
			t.Fatalf("half a mirror has %d of 204 keys", got)
		}
		for a, s := range w.servers {
			if strings.HasPrefix(a, "writes") && slices.Contains(s.seen, "GET k1") || strings.HasPrefix(a, "writes") && len(s.data) != 204 {
				t.Fatal("reads are mirrored that should not be, or writes are not")
			}
		}
	}
}

// A mirror that is gone costs nobody anything.
func TestMirrorThatIsGone(t *testing.T) {
	w := newWorld(t, 5, 1, modeSingle)
	shadow := w.add("shadow", 1, modeSingle)
	w.refuse[shadow.nodes[0].address] = errNobody
	w.route(&ListenerBlock{Routes: []RouteBlock{{Cluster: "a", Mirrors: []MirrorBlock{{Cluster: "shadow", Percent: 100}}}}}, map[string]*upstream{"a": w.up, "shadow": shadow})
	c := w.client()
	for range 50 {
		c.ask("+OK\r\n", "SET", "k", "v")
	}
	w.finish()
	if shadow.stats.unmirrored == 0 {
		t.Error("commands that a mirror missed are not counted")
	}
}

func TestPoliciesOfCommands(t *testing.T) {
	w := newWorld(t, 6, 1, modeSingle)
	w.route(&ListenerBlock{Cluster: "a", CustomCommands: []string{"JSON.GET"}, Commands: []CommandBlock{{Names: []string{"flushall", "config|set"}, Refuse: true}, {Names: []string{"append"}, Timeout: 100e6}}},
		map[string]*upstream{"a": w.up})
	c, other := w.client(), w.client()
	c.ask("-NOPERM this listener does not allow the 'flushall' command\r\n", "FLUSHALL")
	c.ask("-NOPERM this listener does not allow the 'config|set' command\r\n", "CONFIG", "SET", "a", "b")
	c.ask("$-1\r\n", "GET", "k")
	w.finish()
	other.ask("-ERR upstream failure: 10.0.0.1:6379: timeout (unknown outcome)\r\n", "APPEND", "k", "v")
	w.run()
	w.pass(200 * time.Millisecond)
	w.finish()
}

func TestRefusedCommandSpoilsItsTransaction(t *testing.T) {
	w := newWorld(t, 7, 2, modeHashed)
	w.route(&ListenerBlock{Cluster: "a", Commands: []CommandBlock{{Names: []string{"incr"}, Refuse: true}}}, map[string]*upstream{"a": w.up})
	c := w.client()
	c.ask("+OK\r\n", "MULTI")
	c.ask("+QUEUED\r\n", "SET", "k", "1")
	c.ask("-NOPERM this listener does not allow the 'incr' command\r\n", "INCR", "k")
	c.ask("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	w.finish()
}

func TestFaultsAreDealtOutByShare(t *testing.T) {
	w := newWorld(t, 8, 1, modeSingle)
	w.route(&ListenerBlock{Cluster: "a", Faults: []FaultBlock{{Type: "error", Percent: 30, Commands: []string{"get"}}, {Type: "delay", Percent: 20, Delay: 40e6}}}, map[string]*upstream{"a": w.up})
	c := w.client()
	failed, pings := 0, 0
	for range 1000 {
		c.askFunc(func(f []byte) error {
			if string(f) == "-"+faultText+"\r\n" {
				failed++
			}
			return nil
		}, "GET", "k")
		c.askFunc(func(f []byte) error { pings++; return nil }, "PING")
	}
	for range 2000 {
		w.run()
		w.pass(50 * time.Millisecond)
	}
	w.finish()
	if math.Abs(float64(failed)-300) > 60 || math.Abs(float64(w.gate.stats.delayed)-200) > 60 {
		t.Errorf("of 1000 %d failed and %d were late, want 300 and 200", failed, w.gate.stats.delayed)
	}
}

// A cluster behind a route may get another shape: its keys go to the servers of the new one.
func TestClusterOfARouteChangesItsShape(t *testing.T) {
	w := newWorld(t, 9, 1, modeSingle)
	before, after := w.add("before", 2, modeHashed), w.add("after", 3, modeSlots)
	w.route(&ListenerBlock{Cluster: "a", Routes: []RouteBlock{{Prefix: "x:", Cluster: "before", Mirrors: []MirrorBlock{{Cluster: "before", Percent: 100}}}}},
		map[string]*upstream{"a": w.up, "before": before})
	c := w.client()
	c.ask("+OK\r\n", "SET", "x:1", "v")
	w.finish()
	w.gate.upstream.replace(before, after)
	c.ask("$-1\r\n", "GET", "x:1")
	c.ask("+OK\r\n", "SET", "x:2", "v")
	w.finish()
	if len(w.holds("before")) != 1 || len(w.holds("after")) != 1 {
		t.Fatalf("before %v, after %v", w.holds("before"), w.holds("after"))
	}
}
