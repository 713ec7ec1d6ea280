package redis

import (
	"fmt"
	"testing"

	"github.com/sidewire/sidewire/sharding/hash"
)

// another makes a second upstream beside the world's: a hashed pool of these servers.
func (w *world) another(addresses ...string) *upstream {
	u := w.engine.newUpstream("cache")
	var members []member
	for _, a := range addresses {
		if w.servers[a] == nil {
			w.servers[a] = &server{data: map[string]string{}}
		}
		members = append(members, member{address: a, name: a, weight: 1})
	}
	place, err := hash.NewModula(serversOf(members))
	if err != nil {
		w.t.Fatal(err)
	}
	u.mode, u.handlers, u.place, u.hash = modeHashed, &sharded, place, hash.FNV1a_64
	u.setNodes(members)
	return u
}

// A listener that is taken to another cluster takes its sessions along: those with commands under way when these are answered, and the
// very next command goes where the new cluster places it.
func TestSessionsFollowTheirListener(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 1, modeSingle)
		busy, idle := w.client(), w.client()
		idle.ask("$-1\r\n", "GET", "before")
		w.finish()
		busy.ask("+OK\r\n", "SET", "before", "1")
		for busy.session.inFlight() == 0 {
			busy.step()
		}
		next := w.another("10.0.0.3:6379", "10.0.0.2:6379", "10.0.0.1:6379")
		w.gate.upstream = next
		for _, c := range []*client{busy, idle} {
			for i := range 20 {
				c.ask("+OK\r\n", "SET", fmt.Sprint("k", i), "v")
			}
			c.ask("*2\r\n$1\r\nv\r\n$1\r\nv\r\n", "MGET", "k1", "k2") // served otherwise than on one server
		}
		w.finish()
		for i := range 20 {
			k := fmt.Sprint("k", i)
			want := next.nodes[next.locate([]byte(k), nil)].address
			for a, s := range w.servers {
				if _, has := s.data[k]; has != (a == want) {
					t.Fatalf("seed %d: %s stands on %s: %v; its place is %s", seed, k, a, has, want)
				}
			}
		}
	}
}

// Views whose connections are made anew still follow the nodes afterwards.
func TestRenewedViewsFollowTheNodes(t *testing.T) {
	w := newWorld(t, 1, 3, modeHashed)
	c := w.client()
	c.ask("+OK\r\n", "SET", "a", "1")
	w.finish()
	w.up.connections = 2
	w.up.epoch++
	for _, v := range w.up.views {
		v.renew()
	}
	n := w.up.nodes
	members := []member{{address: n[2].address, name: n[2].name, weight: 1}, {address: n[0].address, name: n[0].name, weight: 1}, {address: n[1].address, name: n[1].name, weight: 1}}
	k, err := hash.NewKetama(serversOf(members))
	if err != nil {
		t.Fatal(err)
	}
	w.up.place = k
	w.up.setNodes(members)
	for i := range 30 {
		c.ask("+OK\r\n", "SET", fmt.Sprint("k", i), "v")
	}
	w.finish()
	for i := range 30 {
		k := fmt.Sprint("k", i)
		want := w.up.nodes[w.up.locate([]byte(k), nil)].address
		if _, has := w.servers[want].data[k]; !has {
			t.Errorf("%s is not at %s", k, want)
		}
	}
}

// A command that a server would not execute does not come again behind one for the same key that the client sent after it.
func TestRetriesDoNotOvertake(t *testing.T) {
	w := newWorld(t, 1, 3, modeSlots)
	owner, _ := w.at("k")
	say := "-LOADING Redis is loading the dataset in memory\r\n"
	w.servers[owner.address].says = map[string]string{"k": say}
	c := w.client()
	c.ask(say, "SET", "k", "1")
	c.ask("+OK\r\n", "SET", "k", "2")
	for c.session.inFlight() < 2 {
		c.step()
	}
	for len(w.links) == 0 {
		w.connect()
	}
	l := w.links[0]
	for len(l.server.seen) == 0 {
		w.serve(l)
	}
	delete(w.servers[owner.address].says, "k")
	w.run()
	for range 4 {
		w.pass(retryAfter)
		w.run()
	}
	w.finish()
	if got := w.servers[owner.address].data["k"]; got != "2" {
		t.Errorf("k is %q, the newer write said 2", got)
	}
}

// What a client has on a connection of its own to a server that leaves is told of nothing any more: the client is cut, and begins anew.
func TestOwnConnectionsEndWithTheirServer(t *testing.T) {
	for _, own := range [][]string{{"SUBSCRIBE", "ch"}, {"BLPOP", "q", "0"}, {"CLIENT", "TRACKING"}} {
		w := newWorld(t, 1, 1, modeSingle)
		c := w.client()
		c.askFunc(func([]byte) error { return nil }, own...)
		w.run()
		if c.session.lease == nil {
			t.Fatalf("%q has no connection of its own", own)
		}
		w.servers["10.0.0.9:6379"] = &server{data: map[string]string{}}
		w.up.setNodes([]member{{address: "10.0.0.9:6379"}})
		w.run()
		if own[0] != "BLPOP" && !c.wire.finished {
			t.Errorf("%q: the client was not cut", own)
		}
		if own[0] == "BLPOP" && c.done != 1 {
			t.Errorf("%q waits where nothing will come", own)
		}
	}
}

// A subcommand that the server does not know, which clients try when they connect, leaves no connection behind that is the client's alone.
func TestUnknownClientSubcommandKeepsNothing(t *testing.T) {
	w := newWorld(t, 1, 1, modeSingle)
	c := w.client()
	c.ask("-ERR unknown command\r\n", "CLIENT", "MAINT_NOTIFICATIONS", "ON")
	c.ask("$0\r\n\r\n", "CLIENT", "LIST")
	w.finish()
	if c.session.lease != nil {
		t.Error("the session kept a connection")
	}
	c.ask("$-1\r\n", "GET", "k")
	w.finish()
	if n := len(w.links); n != 2 {
		t.Errorf("%d connections, want a shared one and an idle one", n)
	}
}

// What MONITOR tells comes in lines that nothing interrupts, and a client can go on from there.
func TestMonitorTellsInLines(t *testing.T) {
	w := newWorld(t, 1, 1, modeSingle)
	c := w.client()
	c.ask("+OK\r\n", "MONITOR")
	c.ask("+PONG\r\n", "PING") // in the same batch: it must not wait for a reply that nobody recognises
	w.finish()
	l := w.links[0]
	l.out = append(l.out, "+1.2 [0 127.0.0.1:9] \"SET\" \"k\" \"v\"\r\n+1.3 [0 127"...)
	c.expect = append(c.expect, done("+1.2 [0 127.0.0.1:9] \"SET\" \"k\" \"v\"\r\n"))
	w.finish()
	c.ask("-ERR only PING, QUIT and RESET are possible while MONITOR tells of commands\r\n", "GET", "k")
	w.finish()
	l.out = append(l.out, ".0.0.1:9] \"DEL\" \"k\"\r\n"...)
	c.expect = append(c.expect, done("+1.3 [0 127.0.0.1:9] \"DEL\" \"k\"\r\n"))
	w.finish()
	c.ask("+RESET\r\n", "RESET")
	c.ask("$-1\r\n", "GET", "k")
	w.finish()
	if l.b.state != dead || c.session.lease != nil {
		t.Error("RESET kept the connection")
	}
}

// CLIENT NO-EVICT would hold for no connection over several servers: it is refused, not agreed to.
func TestNoEvictIsNotPretended(t *testing.T) {
	w := newWorld(t, 1, 3, modeHashed)
	c := w.client()
	c.ask("-ERR command 'client|no-evict' is not supported over several servers\r\n", "CLIENT", "NO-EVICT", "ON")
	c.ask("+OK\r\n", "CLIENT", "NO-EVICT", "OFF")
	c.ask("-ERR unknown subcommand 'NO-TOUCH'. Try CLIENT HELP.\r\n", "CLIENT", "NO-TOUCH", "ON")
	w.finish()
}

// A pool that Envoy filled keeps its keys where they are.
func TestEnvoysPlacements(t *testing.T) {
	for hashing, want := range map[string]string{"envoy_ring": "221211102211", "envoy_maglev": "022201002012"} {
		w := newWorld(t, 1, 3, modeHashed)
		b := &ClusterBlock{}
		b.SetDefaults()
		b.Hashing = hashing
		var members []member
		for _, n := range w.up.nodes {
			members = append(members, member{address: n.address, name: n.name, weight: 1})
		}
		s, err := placement(b, members)
		if err != nil {
			t.Fatal(err)
		}
		w.up.spread = s
		got := ""
		for i := range 12 {
			got += fmt.Sprint(w.up.locate(fmt.Appendf(nil, "{key:%d}x", i), nil))
		}
		if got != want {
			t.Errorf("%s places keys on %s, want %s", hashing, got, want)
		}
		c := w.client()
		c.ask("+OK\r\n", "SET", "k", "v")
		c.ask(bulkOf("v"), "GET", "k")
		w.finish()
	}
}
