package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

func TestSketchFindsTheHeaviest(t *testing.T) {
	var s sketch
	for i := range 20000 {
		s.add(fmt.Appendf(nil, "cold%d", i), 1, false)
		if i%10 == 0 {
			s.add([]byte("hot"), 1, false)
		}
		if i%20 == 0 {
			s.add([]byte("warm"), 1, false)
		}
	}
	top := s.top(2, 1)
	if top[0].Key != "hot" || top[1].Key != "warm" || top[0].Weight < 2000 || top[0].Weight-top[0].Error > 2000 {
		t.Errorf("the heaviest are %+v", top)
	}
	if len(s.entries) != sketchSize {
		t.Errorf("%d entries", len(s.entries))
	}
}

// A command in so many is looked at more closely. That takes no memory either, however many keys there are.
func TestMeterTakesNoMemory(t *testing.T) {
	m := &meter{}
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = redis.AppendCommand(nil, "MSET", fmt.Sprintf("key:%012d", i), "1", "other", "2")
	}
	look := func() {
		for _, text := range keys {
			m.hot.add(m.keyOf(text), 1, false)
			m.big.add(m.keyOf(text), uint64(len(text)), true)
		}
	}
	look()
	if n := testing.AllocsPerRun(10, look); n != 0 {
		t.Errorf("%v allocations in %d commands", n, len(keys))
	}
}

func TestMeterShowsSlowHotAndBig(t *testing.T) {
	w := newWorld(t, 21, 1, modeSingle)
	w.up.slow = int64(5 * time.Millisecond)
	w.chunk = 1 << 20
	c := w.client()
	c.ask("+OK\r\n", "SET", "large", strings.Repeat("x", 2*bigReply))
	for range 2 * (sampleMask + 1) {
		c.ask("$-1\r\n", "GET", "popular")
	}
	w.finish()
	c.ask("$-1\r\n", "GET", "sleepy")
	for c.step() {
	}
	w.pass(7 * time.Millisecond)
	c.ask("-ERR as asked\r\n", "ERROR", "x")
	w.finish()
	m := w.up.meter
	if top := m.hot.top(1, 1); len(top) == 0 || top[0].Key != "popular" {
		t.Errorf("hot keys: %+v", top)
	}
	if top := m.big.top(1, 1); len(top) == 0 || top[0].Key != "large" || top[0].Weight < 2*bigReply {
		t.Errorf("big keys: %+v", top)
	}
	if e := m.slow[0]; m.slowAt < 1 || e.Command != "get" || e.Key != "sleepy" || e.Took < 7*time.Millisecond || e.Client == "" {
		t.Errorf("slow log: %d entries, %+v", m.slowAt, e)
	}
	get := m.commands[redis.Lookup([]byte("get")).ID]
	if get.count != 2*(sampleMask+1)+1 || get.worst < int64(7*time.Millisecond) || get.quantile(0.5) > time.Millisecond {
		t.Errorf("GET: %+v", get)
	}
	if other := m.commands[redis.Count]; other.failed != 1 {
		t.Errorf("others: %+v", other)
	}
}

// Clients that ask for much and fetch nothing must not keep a shared connection from everybody else: few of their commands are under way,
// until their replies turn out to be small.
func TestWindowFollowsTheSizeOfReplies(t *testing.T) {
	w := newWorld(t, 22, 1, modeSingle)
	w.servers["10.0.0.1:6379"].data["big"] = strings.Repeat("x", 1<<20)
	w.chunk = 4 << 20
	c := w.client()
	var all []byte
	for range 400 {
		all = redis.AppendCommand(all, "GET", "big")
	}
	c.wire.feed(all, c.session.receive)
	for w.connect() {
	}
	if n := c.session.inFlight(); n > firstWindow {
		t.Fatalf("%d commands are under way before anything is known", n)
	}
	l := w.links[0]
	for range 200 {
		w.serve(l)
		w.answer(l)
	}
	if n := c.session.window; n > 4 {
		t.Errorf("%d commands of a megabyte each may be under way", n)
	}
	small := w.client()
	for range 2000 {
		small.ask("+PONG\r\n", "PING")
	}
	w.clients = []*client{small}
	w.chunk = 4000
	w.finish()
	if small.session.window < 1000 {
		t.Errorf("only %d small commands may be under way", small.session.window)
	}
}
