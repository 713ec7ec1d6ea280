package redis

import (
	"fmt"
	"testing"
	"time"
)

// alive counts the connections that are open.
func (w *world) alive() (n int) {
	for b := range w.engine.backends {
		if b.state == ready {
			n++
		}
	}
	return n
}

// Connections are replaced when they are old, with commands under way on them: none is lost, none overtakes another.
func TestOldConnectionsAreReplaced(t *testing.T) {
	for _, m := range []mode{modeSingle, modeHashed, modeSlots} {
		for seed := range uint64(5) {
			w := newWorld(t, seed, 3, m)
			w.up.lifetime = int64(time.Minute)
			var clients []*client
			for range 3 {
				clients = append(clients, w.client())
			}
			seen := map[*backend]bool{}
			for round := range 10 {
				for i, c := range clients {
					for j := range 20 {
						k := fmt.Sprintf("k%d.%d", i, j%4)
						c.ask("+OK\r\n", "SET", k, fmt.Sprint(round, j))
						c.ask(bulkOf(fmt.Sprint(round, j)), "GET", k)
					}
					c.ask(bulkOf2(fmt.Sprint(round, 16), fmt.Sprint(round, 17)), "MGET", fmt.Sprintf("k%d.0", i), fmt.Sprintf("k%d.1", i))
				}
				for range 30 { // some of it is done, some under way
					clients[w.rnd.IntN(3)].step()
					for w.connect() {
					}
					l := w.links[w.rnd.IntN(len(w.links))]
					w.serve(l)
					w.answer(l)
				}
				for b := range w.engine.backends {
					seen[b] = true
				}
				w.engine.clock += int64(time.Minute)
				w.up.sweep()
				w.finish()
			}
			if len(seen) < 5*w.alive() {
				t.Errorf("mode %d: %d connections in ten lifetimes, %d of them open", m, len(seen), w.alive())
			}
		}
	}
}

func bulkOf2(a, b string) string { return "*2\r\n" + bulkOf(a) + bulkOf(b) }

func TestUnusedConnectionsAreClosed(t *testing.T) {
	for least, want := range []int{0, 1} {
		w := newWorld(t, 1, 1, modeSingle)
		w.up.idle, w.up.least = int64(time.Minute), least
		c := w.client()
		c.ask("+OK\r\n", "SET", "k", "v")
		c.ask("+OK\r\n", "WATCH", "k")
		c.ask("+OK\r\n", "UNWATCH")
		w.finish()
		if n := w.alive(); n != 2 { // one shared, one of a transaction's
			t.Fatalf("%d connections", n)
		}
		w.engine.clock += int64(50 * time.Second)
		c.ask(bulkOf("v"), "GET", "k")
		w.finish()
		w.engine.clock += int64(50 * time.Second)
		w.up.sweep()
		if n := w.alive(); n != 1 {
			t.Errorf("%d connections are left, one was used lately", n)
		}
		w.engine.clock += int64(50 * time.Second)
		w.up.sweep()
		if n := w.alive(); n != want {
			t.Errorf("%d connections are left with a minimum of %d", n, least)
		}
		c.ask(bulkOf("v"), "GET", "k")
		w.finish()
	}
}

func TestConnectionsAreOpenAhead(t *testing.T) {
	w := newWorld(t, 1, 3, modeHashed)
	w.up.connections, w.up.least = 2, 1
	w.up.sweep()
	for w.connect() {
	}
	if n := w.alive(); n != 3 {
		t.Fatalf("%d connections before anybody asked, want one a server", n)
	}
	w.lose(w.links[0], fmt.Errorf("cut"))
	w.up.sweep()
	for w.connect() {
	}
	if n := w.alive(); n != 3 {
		t.Errorf("%d connections after one was lost", n)
	}
	w.up.view(viewKey{user: "guest"})
	w.up.sweep()
	if w.connect() {
		t.Error("a guest's connections are opened ahead")
	}
}
