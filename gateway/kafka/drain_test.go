package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/socket"
)

// A broker that left takes its own address along: clients of the other addresses notice nothing.
func TestDrainOfOneBrokerIsItsOwn(t *testing.T) {
	d := &door{lives: map[*session]struct{}{}}
	gone, stays := &handler{door: d, node: 1}, &handler{door: d, node: 2}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c := &listener.Conn{Conn: a}
	s := &session{door: d, handler: stays, client: c, down: socket.Wrap(a)}
	stays.sessions.Begin()
	defer stays.sessions.End()
	if err := s.enter(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	gone.Drain(ctx)
	if ctx.Err() != nil {
		t.Fatal("the drain waited for another broker's client")
	}
	go b.Write([]byte("x"))
	if _, err := s.down.Read(make([]byte, 1)); err != nil {
		t.Fatalf("another broker's client was ended: %v", err)
	}
	late := &session{door: d, handler: stays, client: c, down: s.down}
	if err := late.enter(); err != nil {
		t.Fatalf("a new client of another broker was refused: %v", err)
	}
	if err := (&session{door: d, handler: gone, client: c, down: s.down}).enter(); err != errDrain {
		t.Fatalf("a new client of the broker that left got %v", err)
	}
}

// binder is a host that binds nothing and remembers for whom it did.
type binder struct {
	host.Host
	now    time.Time
	binds  []string
	owners []string
	fails  []error // the first binds
}

func (b *binder) Now() time.Time    { return b.now }
func (b *binder) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }
func (b *binder) Bind(owner, address string, _ listener.Handler) (*listener.Listener, error) {
	if len(b.fails) > 0 {
		err := b.fails[0]
		b.fails = b.fails[1:]
		return nil, err
	}
	b.binds, b.owners = append(b.binds, address), append(b.owners, owner)
	return nil, nil
}

// bound is a door with the brokers of a cluster behind it, on a host that binds nothing.
func bound(t *testing.T, h *binder, nodes ...int32) (*door, *upstream) {
	block := &ListenerBlock{}
	block.SetDefaults()
	block.Brokers.Ports, block.Brokers.Grace = "19092-19099", config.Duration(time.Second)
	cblock := &ClusterBlock{}
	cblock.SetDefaults()
	cl := cluster.New(&config.Cluster{Name: "c", Block: cblock, Health: config.Health{Disabled: true}}, nil, cluster.Deps{Log: h.Log()})
	t.Cleanup(cl.Close)
	u := &upstream{host: h, cluster: cl, brokers: map[int32]broker{}, changed: make(chan struct{})}
	for _, node := range nodes {
		u.brokers[node] = broker{node: node}
	}
	d := &door{host: h, name: "first", address: "127.0.0.1:9092", places: map[int32]*place{}, taken: map[string]int32{}, failed: map[int32]bool{}}
	d.config.Store(&config.Listener{Name: "second", Block: block})
	return d, u
}

// The address of a broker that left is closed once and for all, and those of a renamed listener are opened in its new name.
func TestGoneBrokersStayGone(t *testing.T) {
	h := &binder{now: time.Unix(1000, 0)}
	d, u := bound(t, h, 1)
	for range 3 {
		d.look(u)
	}
	if len(h.binds) != 1 || h.binds[0] != "127.0.0.1:19093" {
		t.Fatalf("bound %v", h.binds)
	}
	if h.owners[0] != "second" {
		t.Fatalf("asked as %q", h.owners[0])
	}
	u.brokers = map[int32]broker{}
	d.look(u)
	if len(d.places) != 1 {
		t.Fatal("closed without grace")
	}
	h.now = h.now.Add(time.Hour)
	d.look(u)
	d.look(u)
	if len(d.places) != 0 {
		t.Fatalf("%d addresses are still open", len(d.places))
	}
}

// A broker has the address that belongs to it unless somebody else sits there: what passes by itself, such as a listener that does not
// serve yet, moves it nowhere, because clients remember addresses.
func TestBrokersKeepTheirAddresses(t *testing.T) {
	inUse := fmt.Errorf("binding: %w", syscall.EADDRINUSE)
	for _, c := range []struct {
		err  error
		want string
	}{{errors.New("listener is not serving"), "127.0.0.1:19093"}, {inUse, "127.0.0.1:19099"}} {
		h := &binder{now: time.Unix(1000, 0), fails: []error{c.err}}
		d, u := bound(t, h, 1)
		for range 3 {
			d.look(u)
		}
		if len(h.binds) != 1 || h.binds[0] != c.want {
			t.Errorf("after %v bound %v, want %s", c.err, h.binds, c.want)
		}
	}
}
