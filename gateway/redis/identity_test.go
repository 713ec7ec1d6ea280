package redis

import (
	"fmt"
	"testing"
)

// Whoever logs in with a name of its own has connections of its own, for as long as somebody has that name.
func TestIdentitiesEnd(t *testing.T) {
	for _, m := range []mode{modeSingle, modeHashed} {
		w := newWorld(t, 1, 2, m)
		w.gate.passOn = true
		for i := range 20 {
			c := w.client()
			c.ask("+OK\r\n", "AUTH", fmt.Sprint("user", i), "secret")
			c.ask("$-1\r\n", "GET", "k")
		}
		stays := w.client()
		stays.ask("+OK\r\n", "AUTH", "user0", "secret")
		base := w.client()
		base.ask("$-1\r\n", "GET", "k")
		w.finish()
		if len(w.up.views) != 21 {
			t.Fatalf("%d identities", len(w.up.views))
		}
		for _, c := range w.clients[:20] {
			c.session.ended(false)
		}
		base.session.ended(false)
		w.clients = []*client{stays}
		w.pass(viewKept / 2)
		if len(w.up.views) != 21 {
			t.Errorf("%d identities are left at once", len(w.up.views))
		}
		w.pass(viewKept)
		w.pass(viewKept)
		if len(w.up.views) != 2 { // user0, who is there, and the one that clients begin with
			t.Errorf("%d identities are left", len(w.up.views))
		}
		for b := range w.engine.backends {
			if k := b.pool.view.key; k.user != "" && k.user != "user0" {
				t.Errorf("a connection of %s is left", k.user)
			}
		}
		stays.ask("$-1\r\n", "GET", "k")
		again := w.client()
		again.ask("+OK\r\n", "AUTH", "user7", "secret")
		again.ask("$-1\r\n", "GET", "k")
		w.finish()
	}
}
