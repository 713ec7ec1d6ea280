package redis

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// storm is a world in which clients leave in the middle of whatever they do, connections break, servers are late and slots move, at
// random. Whatever happens, a reply must be about what its client asked, nothing is executed twice, and in the end nothing is left over.
type storm struct {
	*world
	asked map[string]int // by counter: how often it was to be increased
	told  map[string]int // by counter: how often the client was told that it was
	maybe map[string]int // by counter: how often nobody knows
}

// bigOf is a value that passes in pieces.
func bigOf(key string, n int) string { return valueOf(key, n) + strings.Repeat("y", 2000+n*37%6000) }

func newStorm(t testing.TB, seed uint64, m mode) *storm {
	nodes := 3
	if m == modeSingle {
		nodes = 1
	}
	st := &storm{world: newWorld(t, seed, nodes, m), asked: map[string]int{}, told: map[string]int{}, maybe: map[string]int{}}
	st.up.timeout, st.up.stuck, st.up.large = int64(200*time.Millisecond), int64(400*time.Millisecond), 2000
	st.slow = seed%4 == 1
	if seed%3 == 0 {
		st.chunk = 5000
	}
	if seed%5 == 0 {
		st.gate.limits.output = 20000
	}
	return st
}

// failed tells whether a reply is one that a fault may bring.
func failed(reply []byte) bool {
	for _, p := range []string{"-ERR upstream failure: ", "-ERR no upstream host", "-ERR finished with", "-TRYAGAIN", "-MOVED", "-EXECABORT", "-ERR all ", "*-1\r\n"} {
		if bytes.HasPrefix(reply, []byte(p)) {
			return true
		}
	}
	return false
}

// about tells whether a reply is a value of a key, none, or a failure.
func about(key string) func([]byte) error {
	return func(reply []byte) error {
		v, _ := bulk(reply)
		if failed(reply) || string(reply) == "$-1\r\n" || bytes.HasPrefix(v, []byte(key+"#")) {
			return nil
		}
		return fmt.Errorf("GET %s was answered %.80q", key, reply)
	}
}

// done tells whether a reply says that a command was executed, or why not.
func done(want string) func([]byte) error {
	return func(reply []byte) error {
		if failed(reply) || string(reply) == want {
			return nil
		}
		return fmt.Errorf("%q was expected and %.80q came", want, reply)
	}
}

// counts notes what became of an increase; at is where the reply's number stands.
func (st *storm) counts(counter, at string) func([]byte) error {
	st.asked[counter]++
	return func(reply []byte) error {
		switch {
		case bytes.HasPrefix(reply, []byte(at)):
			st.told[counter]++
		case bytes.Contains(reply, []byte("unknown outcome")):
			st.maybe[counter]++
		case !failed(reply):
			return fmt.Errorf("increasing %s was answered %.80q", counter, reply)
		}
		return nil
	}
}

// say has a client ask one thing, or a few that belong together.
func (st *storm) say(c *client, i, n int) {
	key := fmt.Sprintf("{c%d:%d}", i, st.rnd.IntN(6))
	counter := fmt.Sprintf("{c%d}count", i)
	switch st.rnd.IntN(9) {
	case 0, 1:
		c.askFunc(done("+OK\r\n"), "SET", key, valueOf(key, n))
		c.askFunc(about(key), "GET", key)
	case 2:
		args, want := []string{"MGET"}, 0
		for j := range 6 {
			args = append(args, fmt.Sprintf("{c%d:%d}", i, j))
			want++
		}
		c.askFunc(func(reply []byte) error {
			if failed(reply) {
				return nil
			}
			got, at, ok := arrayHeader(reply)
			if !ok || got != want {
				return fmt.Errorf("MGET of %d keys was answered %.80q", want, reply)
			}
			for _, k := range args[1:] {
				var f redis.Framer
				size, err := f.Next(reply[at:])
				if err == nil {
					err = about(k)(reply[at : at+size])
				}
				if err != nil {
					return err
				}
				at += size
			}
			return nil
		}, args...)
	case 3, 4:
		c.askFunc(st.counts(counter, ":"), "INCR", counter)
	case 5:
		c.askFunc(done("+OK\r\n"), "MULTI")
		c.askFunc(done("+QUEUED\r\n"), "INCR", counter)
		c.askFunc(st.counts(counter, "*1\r\n:"), "EXEC")
	case 6:
		c.askFunc(done("+OK\r\n"), "SET", key, bigOf(key, n))
		c.askFunc(about(key), "GET", key)
	case 7:
		if st.up.mode != modeSingle { // over one server the connection would be the client's own from here on
			c.askFunc(done("+OK\r\n"), "WATCH", key)
			c.askFunc(done("+OK\r\n"), "UNWATCH")
		}
	case 8:
		if st.rnd.IntN(10) == 0 {
			c.askFunc(func(reply []byte) error {
				if failed(reply) {
					return nil
				}
				return fmt.Errorf("BLPOP was answered %.80q", reply)
			}, "BLPOP", key+"list", "0")
		}
	}
}

// strike does something to somebody.
func (st *storm) strike() {
	switch st.rnd.IntN(6) {
	case 0:
		if n := len(st.clients); n > 0 {
			s := st.clients[st.rnd.IntN(n)].session
			if !s.closed {
				[]func(){func() { s.ended(false) }, func() { s.ended(true) }, s.hangup}[st.rnd.IntN(3)]()
			}
		}
	case 1:
		if n := len(st.links); n > 0 {
			st.lose(st.links[st.rnd.IntN(n)], errors.New("reset"))
		}
	case 2:
		st.pass(time.Duration(st.rnd.IntN(150)) * time.Millisecond)
	case 3:
		if st.up.mode == modeSlots {
			key := fmt.Sprintf("{c%d:%d}", st.rnd.IntN(6), st.rnd.IntN(6))
			from, to := st.up.nodes[st.rnd.IntN(3)], st.up.nodes[st.rnd.IntN(3)]
			for _, s := range st.servers {
				delete(s.says, key)
			}
			if from != to {
				st.servers[from.address].says = map[string]string{key: moved("MOVED", key, to.address)}
			}
		}
	}
}

// settle lets the storm pass, and everybody go.
func (st *storm) settle() {
	for range 12 {
		st.run()
		st.pass(250 * time.Millisecond)
	}
	for _, c := range st.clients {
		if !c.session.closed {
			c.session.ended(false)
		}
	}
	for range 6 {
		st.run()
		st.pass(250 * time.Millisecond)
	}
}

// nothingLeft looks for what a client or a connection that is gone has left behind.
func (st *storm) nothingLeft() {
	t, u := st.t, st.up
	if len(st.engine.sessions) > 0 || len(st.engine.later) > 0 || u.underWay != 0 || u.retries != 0 || u.queued != 0 {
		t.Errorf("%d sessions, %d to come again, %d under way, %d retries, %d queued are left", len(st.engine.sessions), len(st.engine.later), u.underWay, u.retries, u.queued)
	}
	for _, v := range u.views {
		for _, p := range v.pools {
			if p.leased != 0 {
				t.Errorf("%d connections to %s are still lent", p.leased, p.node.address)
			}
		}
	}
	for b := range st.engine.backends {
		if b.pending.len() > 0 || b.holder != nil || b.wire != nil && b.wire.(*memory).paused {
			t.Errorf("a connection to %s is left with %d commands, lent %v, paused %v", b.pool.node.address, b.pending.len(), b.holder != nil, b.wire.(*memory).paused)
		}
	}
	for counter, asked := range st.asked {
		n := 0
		for _, s := range st.servers {
			v, _ := strconv.Atoi(s.data[counter])
			n += v
		}
		if n < st.told[counter] || n > asked {
			t.Errorf("%s is %d: %d were asked for, %d told of", counter, n, asked, st.told[counter])
		}
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	for _, m := range []mode{modeSingle, modeHashed, modeSlots} {
		for seed := range uint64(25) {
			t.Run(fmt.Sprintf("mode %d seed %d", m, seed), func(t *testing.T) {
				st := newStorm(t, seed, m)
				for i := range 6 {
					c := st.client()
					for n := range 30 {
						st.say(c, i, n)
					}
				}
				for range 400 {
					st.moves(1 + st.rnd.IntN(40))
					if st.rnd.IntN(3) == 0 {
						st.strike()
					}
				}
				st.settle()
				st.nothingLeft()
			})
		}
	}
}

// moves takes some steps, whoever can.
func (st *storm) moves(n int) {
	for range n {
		st.move()
	}
}
