package redis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/sharding/hash"
)

// at returns the server that a world's map gives a key to, and another one.
func (w *world) at(key string) (owner, other *node) {
	i := w.up.locate([]byte(key), nil)
	return w.up.nodes[i], w.up.nodes[(i+1)%len(w.up.nodes)]
}

func moved(word, key, address string) string {
	return fmt.Sprintf("-%s %d %s\r\n", word, hash.Slot([]byte(key)), address)
}

// A slot that has moved: the commands under way follow it, in order, and later ones go there at once.
func TestMovedIsFollowedInOrder(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 3, modeSlots)
		old, now := w.at("k")
		w.servers[old.address].says = map[string]string{"k": moved("MOVED", "k", now.address)}
		c := w.client()
		for i := range 20 {
			c.ask("+OK\r\n", "SET", "k", fmt.Sprint(i))
			c.ask(bulkOf(fmt.Sprint(i)), "GET", "k")
		}
		c.ask("*2\r\n"+bulkOf("19")+"$-1\r\n", "MGET", "k", "other")
		w.finish()
		if w.up.nodes[w.up.locate([]byte("k"), nil)] != now {
			t.Error("the slot's new place was not learnt")
		}
	}
}

// ASK holds for one command, and ASKING stands right before it whatever others send.
func TestAskGoesWithItsCommand(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 3, modeSlots)
		old, importing := w.at("k")
		w.servers[old.address].says = map[string]string{"k": moved("ASK", "k", importing.address)}
		w.servers[importing.address].says = map[string]string{"k": moved("MOVED", "k", old.address)}
		w.servers[importing.address].data["k"] = "here"
		var clients []*client
		for range 4 {
			clients = append(clients, w.client())
		}
		for i, c := range clients {
			for j := range 10 {
				c.ask(bulkOf("here"), "GET", "k")
				c.ask("+OK\r\n", "SET", fmt.Sprintf("noise%d.%d", i, j), "1")
			}
		}
		w.finish()
		if w.up.nodes[w.up.locate([]byte("k"), nil)] != old {
			t.Error("ASK was taken for MOVED")
		}
	}
}

func TestTransactionFollowsItsSlot(t *testing.T) {
	for _, word := range []string{"MOVED", "ASK"} {
		w := newWorld(t, 2, 3, modeSlots)
		old, now := w.at("{k}")
		w.servers[old.address].says = map[string]string{"{k}a": moved(word, "{k}", now.address)}
		if word == "ASK" {
			w.servers[now.address].says = map[string]string{"{k}a": moved("MOVED", "{k}", old.address)}
		}
		c := w.client()
		c.ask("+OK\r\n", "MULTI")
		c.ask("+QUEUED\r\n", "SET", "{k}b", "1")
		c.ask("+QUEUED\r\n", "INCR", "{k}a")
		c.ask("*2\r\n+OK\r\n:1\r\n", "EXEC")
		c.ask("$-1\r\n", "GET", "elsewhere")
		w.finish()
		if d := w.servers[old.address].data; len(d) > 0 {
			t.Errorf("%s: a part was executed at the old place: %v", word, d)
		}
	}
}

func TestBlockingFollowsItsSlot(t *testing.T) {
	w := newWorld(t, 3, 3, modeSlots)
	old, now := w.at("q")
	w.servers[old.address].says = map[string]string{"q": moved("MOVED", "q", now.address)}
	c := w.client()
	c.askFunc(func([]byte) error { return fmt.Errorf("was answered") }, "BLPOP", "q", "0")
	w.run()
	if !slices.Contains(w.servers[now.address].seen, "BLPOP q 0") {
		t.Errorf("the new place saw %q", w.servers[now.address].seen)
	}
}

// TRYAGAIN and the like come again a bounded number of times, then the client hears of it.
func TestTryAgainIsBounded(t *testing.T) {
	w := newWorld(t, 4, 3, modeSlots)
	owner, _ := w.at("k")
	say := "-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
	w.servers[owner.address].says = map[string]string{"k": say}
	c := w.client()
	c.ask(say, "GET", "k")
	w.run()
	if c.done != 0 {
		t.Fatal("given up at once")
	}
	for range 3 * maxHops {
		w.pass(retryAfter)
		w.run()
	}
	if c.done != 1 {
		t.Fatal("tried for ever")
	}
	c.ask("-CLUSTERDOWN The cluster is down\r\n", "GET", "k")
	w.servers[owner.address].says["k"] = "-CLUSTERDOWN The cluster is down\r\n"
	w.run()
	w.pass(retryAfter)
	delete(w.servers[owner.address].says, "k")
	c.expect[1] = func(reply []byte) error {
		if string(reply) != "$-1\r\n" {
			return fmt.Errorf("got %q", reply)
		}
		return nil
	}
	for range 4 {
		w.pass(retryAfter)
		w.run()
	}
	if c.done != 2 {
		t.Error("not tried again")
	}
}

// A redirection that goes round in circles ends.
func TestRedirectionLoopEnds(t *testing.T) {
	w := newWorld(t, 5, 2, modeSlots)
	a, b := w.at("k")
	w.servers[a.address].says = map[string]string{"k": moved("MOVED", "k", b.address)}
	w.servers[b.address].says = map[string]string{"k": moved("MOVED", "k", a.address)}
	c := w.client()
	c.askFunc(func(reply []byte) error {
		if !strings.HasPrefix(string(reply), "-MOVED ") {
			return fmt.Errorf("got %q", reply)
		}
		return nil
	}, "GET", "k")
	w.finish()
}

// A server nobody knew is believed in when a redirection names it.
func TestMovedToUnknownNode(t *testing.T) {
	w := newWorld(t, 6, 2, modeSlots)
	a, _ := w.at("k")
	w.servers["10.0.0.9:6379"] = &server{data: map[string]string{"k": "far"}}
	w.servers[a.address].says = map[string]string{"k": moved("MOVED", "k", "10.0.0.9:6379")}
	c := w.client()
	c.ask(bulkOf("far"), "GET", "k")
	c.ask(bulkOf("far"), "GET", "k")
	w.finish()
}

func TestReadSlots(t *testing.T) {
	// As Redis 7 answers: hostnames, IDs and further facts behind the port; a server without an address is the one that was asked.
	text := "*2\r\n" +
		"*4\r\n:0\r\n:5460\r\n*4\r\n$4\r\nhost\r\n:7000\r\n$3\r\nid1\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n*4\r\n$8\r\n10.0.0.1\r\n:7003\r\n$3\r\nid4\r\n*0\r\n" +
		"*3\r\n:5461\r\n:16383\r\n*4\r\n$-1\r\n:7001\r\n$3\r\nid2\r\n*0\r\n"
	m, err := readSlots([]byte(text), "asked")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.primaries, []string{"asked:7001", "host:7000"}) || m.slots[0] != 1 || m.slots[5461] != 0 || m.replicas["host:7000"][0] != "10.0.0.1:7003" {
		t.Errorf("%v %v, slot 0 at %d", m.primaries, m.replicas, m.slots[0])
	}
	for _, bad := range []string{"-ERR This instance has cluster support disabled\r\n", "*0\r\n", "*1\r\n:1\r\n", "*1\r\n*3\r\n:5\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n", "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n", "*99999999\r\n"} {
		if _, err := readSlots([]byte(bad), "x"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzReadSlots(f *testing.F) {
	f.Add([]byte("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:6379\r\n$1\r\nx\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		if m, err := readSlots(b, "asked"); err == nil {
			for _, i := range m.slots {
				if int(i) >= len(m.primaries) {
					t.Fatal("a slot without a server")
				}
			}
		}
	})
}

// One node that was cut off from the others must not turn the view around.
func TestVoteOfNodes(t *testing.T) {
	view := func(epoch int64, ok bool, primaries ...string) *slotMap {
		return &slotMap{primaries: primaries, epoch: epoch, state: ok}
	}
	for _, c := range []struct {
		maps []*slotMap
		want string
	}{
		{[]*slotMap{view(5, true, "a"), view(5, true, "a"), view(9, true, "z")}, "a"},
		{[]*slotMap{view(5, true, "a"), view(6, true, "b")}, "b"},
		{[]*slotMap{view(9, false, "a"), view(9, false, "a"), view(6, true, "b")}, "b"},
		{[]*slotMap{view(1, true, "a")}, "a"},
	} {
		if got := choose(c.maps); got.primaries[0] != c.want {
			t.Errorf("chose %v, want %s", got.primaries, c.want)
		}
	}
}

func TestSessionsWaitForTheFirstView(t *testing.T) {
	w := newWorld(t, 7, 3, modeSlots)
	w.up.asked = false
	c := w.client()
	c.ask("$-1\r\n", "GET", "k")
	w.run()
	if c.done != 0 {
		t.Fatal("answered before anything is known")
	}
	w.up.learnt(nil)
	w.finish()
	w.pass(time.Second)
}
