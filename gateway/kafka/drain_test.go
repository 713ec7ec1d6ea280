package kafka

import (
	"context"
	"log/slog"
	"net"
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
}

func (b *binder) Now() time.Time    { return b.now }
func (b *binder) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }
func (b *binder) Bind(owner, address string, _ listener.Handler) (*listener.Listener, error) {
	b.binds, b.owners = append(b.binds, address), append(b.owners, owner)
	return nil, nil
}

// The address of a broker that left is closed once and for all, and those of a renamed listener are opened in its new name.
func TestGoneBrokersStayGone(t *testing.T) {
	h := &binder{now: time.Unix(1000, 0)}
	block := &ListenerBlock{}
	block.SetDefaults()
	block.Brokers.Ports, block.Brokers.Grace = "19092-19099", config.Duration(time.Second)
	cblock := &ClusterBlock{}
	cblock.SetDefaults()
	cl := cluster.New(&config.Cluster{Name: "c", Block: cblock, Health: config.Health{Disabled: true}}, nil, cluster.Deps{Log: h.Log()})
	defer cl.Close()
	u := &upstream{host: h, cluster: cl, brokers: map[int32]broker{1: {node: 1}}, changed: make(chan struct{})}
	d := &door{host: h, name: "first", address: "127.0.0.1:9092", places: map[int32]*place{}, taken: map[string]int32{}, failed: map[int32]bool{}}
	d.config.Store(&config.Listener{Name: "second", Block: block})
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
