package cluster

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/sidewire/sidewire/gateway/config"
)

// sink accepts connections and keeps them.
func sink(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func refusedBy(t *testing.T, err error, endpoint string, kind Burden) {
	t.Helper()
	var full *Overloaded
	if !errors.As(err, &full) || full.Endpoint != endpoint || full.Burden != kind {
		t.Fatalf("error is %v", err)
	}
}

func TestConnectionLimits(t *testing.T) {
	a, b, stranger := sink(t), sink(t), sink(t)
	limited := conf("random", a, b)
	limited.Limits = config.Breaker{Connections: 1, Total: 2}
	c, _ := start(t, limited)
	ea, eb := c.Endpoint(a), c.Endpoint(b)

	probe, err := c.dial(t.Context(), ea, true)
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	own, err := c.Dial(ForItself(t.Context()), ea)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	first, err := c.Dial(t.Context(), ea)
	if err != nil {
		t.Fatalf("a probe's connection, or one of sidewire's own, counts: %v", err)
	}
	_, err = c.Dial(t.Context(), ea)
	refusedBy(t, err, a, Connections)

	// A member that nobody declared has its limit too, over all that is dialled there.
	second, err := c.DialAddress(t.Context(), stranger)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.DialAddress(t.Context(), stranger)
	refusedBy(t, err, stranger, Connections)
	_, err = c.Dial(t.Context(), eb)
	refusedBy(t, err, "", Connections)
	if now, refused := c.Burden(Connections); now != 2 || refused != 3 {
		t.Fatalf("%d connections, %d refused", now, refused)
	}
	second.Close()
	third, err := c.Dial(t.Context(), eb)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	third.Close()
	if now, _ := c.Burden(Connections); now != 0 {
		t.Fatalf("%d connections are left", now)
	}
}

func TestBurdens(t *testing.T) {
	limited := conf("random", "a:1")
	none := 0
	limited.Limits = config.Breaker{Pending: 1, Requests: 2, Retries: &none}
	c, _ := start(t, limited)
	for kind, limit := range map[Burden]int{Pending: 1, Requests: 2, Retries: 0} {
		for range limit {
			if err := c.Take(kind); err != nil {
				t.Fatal(err)
			}
		}
		refusedBy(t, c.Take(kind), "", kind)
		c.Shoulder(kind) // goes on over the limit, and keeps others out for as long
		refusedBy(t, c.Take(kind), "", kind)
		for range limit + 1 {
			c.Release(kind)
		}
		if now, refused := c.Burden(kind); now != 0 || refused != 2 {
			t.Errorf("%s: %d are left, %d were refused", kind, now, refused)
		}
	}
	c.Update(conf("random", "a:1"))
	for range 100 {
		for kind := range Burdens {
			if err := c.Take(kind); err != nil {
				t.Fatalf("without a limit: %v", err)
			}
		}
	}
	if got := fmt.Sprint(c.Refuse(Retries)); got != `cluster "c" repeats 0 requests already (limits.retries)` {
		t.Error(got)
	}
}

// What the cluster itself named and nobody declared is for the cluster to judge: it cannot be ejected, nor does it count.
func TestStrangersAreNotEjected(t *testing.T) {
	failing := conf("random", "a:1")
	failing.Ejection = config.Ejection{Failures: 1, Time: config.Duration(1e9), MaxPercent: 100}
	c, _ := start(t, failing)
	e := c.member("b:1")
	if c.member("b:1") != e {
		t.Fatal("a member is another one each time")
	}
	c.Report(e, errors.New("down"))
	if e.Ejected() || !e.Healthy() {
		t.Fatal("a member that nobody declared was ejected")
	}
}
