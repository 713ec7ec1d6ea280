package redis

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestReadsFollowThePolicy(t *testing.T) {
	const replica = "10.0.1.1:6379"
	for _, c := range []struct {
		policy  readPolicy
		own     time.Duration
		down    bool
		atFirst string // before the session has written
		after   string
	}{
		{readPrimary, 0, false, "primary", "primary"},
		{readPreferReplica, 0, false, "replica", "replica"},
		{readPreferReplica, time.Second, false, "replica", "primary"},
		{readPreferReplica, 0, true, "primary", "primary"},
		{readReplica, 0, true, "", ""},
	} {
		w := newWorld(t, 1, 1, modeSingle)
		w.servers["10.0.0.1:6379"].data["k"] = "primary"
		w.servers[replica] = &server{data: map[string]string{"k": "replica"}}
		w.up.setReplicas(map[string][]string{"10.0.0.1:6379": {replica}})
		w.up.reads, w.up.ownWrites = c.policy, int64(c.own)
		cl := w.client()
		if c.down { // the first command finds out, the next ones know
			w.refuse[replica] = errors.New("connection refused")
			cl.ask("-ERR upstream failure: "+replica+": connection refused\r\n", "GET", "k")
			w.finish()
		}
		want := func(v string) string {
			if v == "" {
				return "-ERR no upstream host: 10.0.0.1:6379 unreachable: connection refused\r\n"
			}
			return bulkOf(v)
		}
		cl.ask(want(c.atFirst), "GET", "k")
		cl.ask("+OK\r\n", "SET", "other", "1")
		cl.ask(want(c.after), "GET", "k")
		w.finish()
		if c.own > 0 {
			w.pass(2 * c.own)
			cl.ask(bulkOf("replica"), "GET", "k")
			w.finish()
		}
		if _, wrote := w.servers[replica].data["other"]; wrote {
			t.Errorf("%+v: a write went to the replica", c)
		}
	}
}

// With confirm_own_writes a session that has written, in whatever way, reads from the primary until its replica has said that it has as much.
func TestOwnWritesAreConfirmed(t *testing.T) {
	const replica = "10.0.1.1:6379"
	writes := map[string]func(c *client){
		"SET":  func(c *client) { c.ask("+OK\r\n", "SET", "{k}w", "1") },
		"MSET": func(c *client) { c.ask("+OK\r\n", "MSET", "a", "1", "b", "1", "c", "1") },
		"EXEC": func(c *client) {
			c.ask("+OK\r\n", "MULTI")
			c.ask("+QUEUED\r\n", "SET", "{k}w", "1")
			c.ask("*1\r\n+OK\r\n", "EXEC")
		},
		"WATCH": func(c *client) {
			c.ask("+OK\r\n", "WATCH", "{k}w")
			c.ask("+OK\r\n", "MULTI")
			c.ask("+QUEUED\r\n", "SET", "{k}w", "1")
			c.ask("*1\r\n+OK\r\n", "EXEC")
		},
	}
	for name, write := range writes {
		w := newWorld(t, 1, 3, modeSlots)
		primary, _ := w.at("k")
		w.servers[replica] = &server{data: map[string]string{"k": "replica"}, info: "role:slave\r\nmaster_replid:abc\r\nslave_repl_offset:90\r\n"}
		p := w.servers[primary.address]
		p.data["k"], p.info = "primary", "role:master\r\nmaster_replid:abc\r\nmaster_repl_offset:100\r\n"
		w.up.setReplicas(map[string][]string{primary.address: {replica}})
		w.up.reads, w.up.confirm = readPreferReplica, true
		c, other := w.client(), w.client()
		c.ask(bulkOf("replica"), "GET", "k")
		w.finish()
		write(c)
		for range 5 {
			c.ask(bulkOf("primary"), "GET", "k")
		}
		other.ask(bulkOf("replica"), "GET", "k") // it has written nothing
		w.finish()
		for _, info := range []string{"", "master_replid:other\r\nslave_repl_offset:100\r\n"} {
			w.pass(time.Second)
			w.servers[replica].info = info
			c.ask(bulkOf("primary"), "GET", "k")
			w.finish()
		}
		w.pass(time.Second)
		w.servers[replica].info = "master_replid:abc\r\nslave_repl_offset:100\r\n"
		c.ask(bulkOf("primary"), "GET", "k") // which asks
		w.finish()
		c.ask(bulkOf("replica"), "GET", "k")
		w.finish()
		write(c)
		c.ask(bulkOf("primary"), "GET", "k")
		w.finish()
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// local_zone reads from replicas of the zone, then from the primary if it is there, then from anybody.
func TestReadsStayInTheZone(t *testing.T) {
	near, far := "10.0.1.1:6379", "10.0.1.2:6379"
	for _, c := range []struct {
		local []string
		down  string
		want  string
	}{
		{[]string{near}, "", near},
		{[]string{far}, "", far},
		{[]string{"10.0.0.1:6379"}, "", "10.0.0.1:6379"},
		{[]string{near, "10.0.0.1:6379"}, near, "10.0.0.1:6379"},
		{[]string{near}, near, far},
	} {
		w := newWorld(t, 1, 1, modeSingle)
		for _, a := range []string{near, far} {
			w.servers[a] = &server{data: map[string]string{}}
		}
		for a, s := range w.servers {
			s.data["k"] = a
		}
		w.up.nearby = func(a string) bool { return slices.Contains(c.local, a) }
		w.up.setReplicas(map[string][]string{"10.0.0.1:6379": {near, far}})
		w.up.reads = readLocal
		for _, n := range w.up.nodes[0].replicas {
			if n.address == c.down {
				n.missed(w.engine.clock, errors.New("down"))
			}
		}
		for range 4 {
			w.client().ask(bulkOf(c.want), "GET", "k")
		}
		w.finish()
	}
}

// A new primary takes over when commands under way are answered; the old one's connections are given up.
func TestElectionMovesSessions(t *testing.T) {
	w := newWorld(t, 2, 1, modeSingle)
	w.up.ask = true
	const next = "10.0.0.2:6379"
	w.servers[next] = &server{data: map[string]string{}}
	c := w.client()
	c.ask("+OK\r\n", "SET", "k", "1")
	w.run()
	if c.done != 0 {
		t.Fatal("answered before the sentinels were")
	}
	w.up.elected(&sentinelGroup{primary: "10.0.0.1:6379"})
	w.finish()
	for i := range 20 {
		c.ask("+OK\r\n", "SET", fmt.Sprint("k", i), "1")
	}
	for range 5 {
		c.step()
	}
	w.up.elected(&sentinelGroup{primary: next})
	w.finish()
	if len(w.servers["10.0.0.1:6379"].data)+len(w.servers[next].data) != 21 || len(w.servers[next].data) == 0 {
		t.Errorf("%d keys on the old server, %d on the new one", len(w.servers["10.0.0.1:6379"].data), len(w.servers[next].data))
	}
	if w.links[0].b.state != dead {
		t.Error("the old connection is kept")
	}
}
