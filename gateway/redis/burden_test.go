package redis

import (
	"fmt"
	"testing"

	"github.com/sidewire/sidewire/gateway/cluster"
)

// weigh checks that what upstreams count is what there is.
func (w *world) weigh() {
	w.t.Helper()
	found := map[*upstream]*burden{}
	for u := range w.engine.upstreams {
		found[u] = &burden{}
	}
	for b := range w.engine.backends {
		f := found[b.pool.node.upstream]
		if f == nil {
			continue
		}
		f.underWay += b.pending.len()
		if b.wire == nil {
			f.queued += b.pending.len()
		}
		for i := range b.pending.len() {
			if b.pending.at(i).flags&retried != 0 {
				f.retries++
			}
		}
	}
	for _, l := range w.engine.later {
		found[l.view.upstream].retries++
	}
	for u, f := range found {
		if u.underWay != f.underWay || u.queued != f.queued || u.retries != f.retries {
			w.t.Fatalf("%s counts %d under way, %d waiting, %d retries; there are %d, %d, %d", u.name, u.underWay, u.queued, u.retries, f.underWay, f.queued, f.retries)
		}
	}
}

// feed gives all that a client has to say at once.
func (c *client) feed() {
	b := c.toSend
	c.toSend = nil
	c.wire.feed(b, c.session.receive)
}

func overloaded(kind cluster.Burden, limit int) string {
	return "-ERR " + (&cluster.Overloaded{Cluster: "cache", Burden: kind, Limit: limit}).Error() + "\r\n"
}

func TestLimitsRefuseWhatIsMore(t *testing.T) {
	for name, m := range map[string]mode{"single": modeSingle, "slots": modeSlots} {
		for kind, dialed := range map[cluster.Burden]bool{cluster.Requests: true, cluster.Pending: false} {
			t.Run(fmt.Sprint(name, " ", kind), func(t *testing.T) {
				w := newWorld(t, 1, 1, m)
				c := w.client()
				if dialed {
					c.ask("+OK\r\n", "SET", "k", "0")
					w.finish()
				}
				w.up.limits[kind] = 2
				c.ask("+OK\r\n", "SET", "k", "1")
				c.ask("+OK\r\n", "SET", "k", "2")
				c.ask(overloaded(kind, 2), "SET", "k", "3")
				c.ask(overloaded(kind, 2), "MGET", "k", "k")
				c.feed()
				w.finish()
				c.ask(bulkOf("2"), "GET", "k")
				w.finish()
			})
		}
	}
}

func TestNothingIsRepeatedWithoutRetries(t *testing.T) {
	for limit, want := range map[int]string{-1: bulkOf("v"), 0: ""} {
		w := newWorld(t, 1, 1, modeSingle)
		c := w.client()
		c.ask("+OK\r\n", "SET", "k", "v")
		w.finish()
		w.up.limits[cluster.Retries] = limit
		c.askFunc(func(reply []byte) error {
			if got := string(reply); want != "" && got != want || want == "" && got[0] != '-' {
				return fmt.Errorf("with a limit of %d: %q", limit, reply)
			}
			return nil
		}, "GET", "k")
		c.feed()
		w.lose(w.links[0], fmt.Errorf("cut"))
		w.finish()
	}
}

// A connection that the cluster's own limits refuse says nothing about the server.
func TestRefusedConnectionIsNoFailure(t *testing.T) {
	w := newWorld(t, 1, 1, modeSingle)
	w.up.reporting = func(n *node, err error) {
		if err != nil {
			t.Errorf("%s is reported: %v", n.address, err)
		}
	}
	w.refuse["10.0.0.1:6379"] = &cluster.Overloaded{Cluster: "cache", Burden: cluster.Connections, Limit: 1}
	c := w.client()
	c.askFunc(func(reply []byte) error {
		if reply[0] != '-' {
			return fmt.Errorf("got %q", reply)
		}
		return nil
	}, "GET", "k")
	w.finish()
	w.refuse = nil
	c.ask("$-1\r\n", "GET", "k")
	w.finish()
}
