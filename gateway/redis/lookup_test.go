package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// Over several servers a command that the table does not know goes to the server of its key once one of them has said where that stands.
func TestUnknownCommandsAreLookedUp(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 3, modeSlots)
		var all []*client
		for range 5 {
			c := w.client()
			all = append(all, c)
			for i := range 10 {
				c.ask("+OK\r\n", "SET", fmt.Sprint("k", i), "v")
				c.ask("$1\r\nv\r\n", "MOD.GET", fmt.Sprint("k", i))
				c.ask("-ERR unknown command 'nothing', with args beginning with: 'k' \r\n", "nothing", "k")
			}
			c.ask("-ERR wrong number of arguments for 'mod.get' command\r\n", "mod.get")
			c.ask("+OK\r\n", "MULTI")
			c.ask("+QUEUED\r\n", "mod.get", "k1")
			c.ask("*1\r\n$1\r\nv\r\n", "EXEC")
		}
		w.finish()
		asked := 0
		for _, s := range w.servers {
			for _, text := range s.seen {
				if text == "COMMAND INFO mod.get" {
					asked++
				}
			}
		}
		if asked != 1 {
			t.Errorf("servers were asked %d times", asked)
		}
		all[0].ask("-ERR unknown command 'nothing', with args beginning with: 'k' \r\n", "nothing", "k")
		w.pass(believeNone + time.Second)
		w.finish()
	}
}

// The one who asked may leave; the others still get an answer.
func TestLookupOutlivesItsAsker(t *testing.T) {
	w := newWorld(t, 1, 3, modeSlots)
	first, second := w.client(), w.client()
	first.askFunc(func([]byte) error { return nil }, "mod.get", "k")
	second.ask("$-1\r\n", "mod.get", "k")
	for first.step() || second.step() {
	}
	first.session.end()
	w.clients = w.clients[1:]
	w.finish()
}

func TestLookupOfADeadCluster(t *testing.T) {
	w := newWorld(t, 2, 3, modeSlots)
	for a := range w.servers {
		w.refuse[a] = errNobody
	}
	c := w.client()
	c.askFunc(func(f []byte) error {
		if f[0] != redis.TypeError {
			return fmt.Errorf("%q", f)
		}
		return nil
	}, "mod.get", "k")
	w.finish()
}

func FuzzCommandInfo(f *testing.F) {
	f.Add([]byte("*1\r\n*6\r\n$7\r\nmod.get\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:-1\r\n:2\r\n"))
	f.Add([]byte("*1\r\n*-1\r\n"))
	f.Add([]byte("-ERR no\r\n"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		c := commandInfo("x", reply)
		if c == nil {
			return
		}
		var r redis.Request
		text := redis.AppendCommand(nil, "x", "a", "b", "c")
		if _, err := r.Next(text); err != nil {
			t.Fatal(err)
		}
		keys, _ := c.AppendKeys(nil, &r)
		for _, k := range keys {
			if k < 1 || k >= r.Len() {
				t.Fatalf("key at %d of %d", k, r.Len())
			}
		}
	})
}

// WAIT over several servers is the least that any of them says, on connections that are given back.
func TestWaitAsksEveryShard(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, 3, modeSlots)
		a, b := w.client(), w.client()
		for i := range 30 {
			a.ask("+OK\r\n", "SET", fmt.Sprint("k", i), "v")
			b.ask("$-1\r\n", "GET", fmt.Sprint("x", i))
		}
		w.finish()
		least := 30
		for _, s := range w.servers {
			least = min(least, len(s.data))
		}
		a.ask(fmt.Sprintf(":%d\r\n", least), "WAIT", "1", "0")
		a.ask("-NOTBUSY No scripts in execution right now.\r\n", "SCRIPT", "KILL")
		a.ask("+OK\r\n", "SET", "k1", "v")
		w.finish()
		for _, v := range w.up.views {
			for _, p := range v.pools {
				if p.leased != 0 || len(p.idle) > 2 {
					t.Fatalf("%d connections are leased, %d idle", p.leased, len(p.idle))
				}
			}
		}
		b.session.end()
	}
}

// A client that goes while it waits takes its connections with it.
func TestWaitOfAClientThatGoes(t *testing.T) {
	w := newWorld(t, 1, 3, modeSlots)
	c := w.client()
	c.askFunc(func([]byte) error { return nil }, "WAIT", "1", "0")
	for len(w.links) < 3 {
		c.step()
		w.connect()
	}
	c.session.hangup()
	for _, l := range w.links {
		if l.b.state != dead {
			t.Error("a connection goes on waiting for nobody")
		}
	}
}
