package listener

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// open makes a listener that serves until the test's end.
func open(t *testing.T, h Handler, edit func(*config.Listener)) *Listener {
	t.Helper()
	return openIn(t, telemetry.NewRegistry(), h, edit)
}

func openIn(t *testing.T, metrics *telemetry.Registry, h Handler, edit func(*config.Listener)) *Listener {
	t.Helper()
	conf := &config.Listener{Name: "door", Address: "127.0.0.1:0"}
	edit(conf)
	socket, err := Bind(conf.Address, conf.Unix)
	if err != nil {
		t.Fatal(err)
	}
	var id uint64
	l, err := New(conf.Address, socket, conf, h, Deps{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: metrics, Now: time.Now,
		NextID: func() uint64 { id++; return id },
	})
	if err != nil {
		t.Fatal(err)
	}
	go l.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		l.Drain(ctx)
	})
	return l
}

// A client that was accepted but has not reached its handler when a drain begins is told so, not cut.
func TestDrainKnowsOfClientsOnTheirWay(t *testing.T) {
	l := open(t, porter{}, func(c *config.Listener) { c.Proxy.Trusted = networks(t, "127.0.0.0/8") })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for deadline := time.Now().Add(patience); l.Connections() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not accepted")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		l.Drain(ctx)
	}()
	select {
	case <-drained:
		t.Fatal("the drain did not wait for a client on its way")
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := io.WriteString(c, "PROXY TCP4 192.0.2.7 192.0.2.8 77 88\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != "no: shutting down\n" {
		t.Fatalf("got %q, %v", answer, err)
	}
	<-drained
}

// resumer takes every interrupt back and goes on, until its client has sent what it waits for or its context ends.
type resumer struct{ porter }

func (resumer) Handle(ctx context.Context, c *Conn) {
	defer c.Close()
	b := make([]byte, 1)
	for n := 0; n < 3; n++ {
		if _, err := c.Read(b); err == nil || !strings.Contains(err.Error(), "interrupted") {
			return
		}
		c.Raw().Resume()
	}
}

// An interrupt that a session takes back for a reason of its own is not the last.
func TestCutWakesAgain(t *testing.T) {
	l := open(t, resumer{}, func(*config.Listener) {})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	l.Drain(ctx)
	if n := l.Connections(); n != 0 {
		t.Fatalf("%d sessions were left", n)
	}
}

// deaf does not end when it is cut.
type deaf struct {
	porter
	end chan struct{}
}

func (d deaf) Handle(_ context.Context, c *Conn) {
	defer c.Close()
	<-d.end
}

// A session that hears nothing does not hold up the end of the process.
func TestCutDoesNotWaitForEver(t *testing.T) {
	defer func(before time.Duration) { cutTimeout = before }(cutTimeout)
	cutTimeout = 50 * time.Millisecond
	d := deaf{end: make(chan struct{})}
	l := open(t, d, func(*config.Listener) {})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer close(d.end)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		l.Drain(ctx)
	}()
	select {
	case <-drained:
	case <-time.After(patience):
		t.Fatal("the drain waits for a session that hears nothing")
	}
}
