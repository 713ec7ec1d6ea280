package redis_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// tap is a way from a replica to its primary that can be shut: what is written meanwhile comes later.
type tap struct {
	net.Listener
	shut sync.Mutex
}

func newTap(t *testing.T, target string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tp := &tap{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				down.Close()
				continue
			}
			t.Cleanup(func() { down.Close(); up.Close() })
			all.Go(func() { io.Copy(up, down); up.Close() })
			all.Go(func() { io.Copy(tp.through(down), up); down.Close() })
		}
	})
	t.Cleanup(func() { l.Close() })
	return tp
}

func (t *tap) through(w io.Writer) io.Writer {
	return writer(func(b []byte) (int, error) {
		t.shut.Lock()
		defer t.shut.Unlock()
		return w.Write(b)
	})
}

type writer func(b []byte) (int, error)

func (f writer) Write(b []byte) (int, error) { return f(b) }

// While its replica is held back, a client that has written reads what it wrote, from the primary; one that has not reads on from the
// replica; and when the replica has caught up, both do.
func TestOwnWritesAreRead(t *testing.T) {
	leak.Check(t)
	primary, replica := servers.Redis(t, servers.Private()), servers.RedisNodes(t, 1, servers.Private())[0]
	tap := newTap(t, primary.Addr)
	ctx := within(t, 40*time.Second)
	on := replica.Client()
	defer on.Close()
	host, port, _ := net.SplitHostPort(tap.Addr().String())
	upon := primary.Client()
	defer upon.Close()
	if err := upon.ConfigSet(ctx, "repl-diskless-sync-delay", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := on.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	p := start(t, "", "read: prefer_replica, confirm_own_writes: true", primary.Addr, replica.Addr)
	reads := func(ctx context.Context) int { // on the replica
		info, err := on.Info(ctx, "commandstats").Result()
		if err != nil {
			return 0
		}
		_, rest, _ := strings.Cut(info, "cmdstat_get:calls=")
		n := 0
		fmt.Sscanf(rest, "%d", &n)
		return n
	}
	one := func() *redis.Client { // one connection: to sidewire that is one client
		c := redis.NewClient(&redis.Options{Addr: p.addr, MaxRetries: -1, PoolSize: 1, ReadTimeout: 20 * time.Second})
		t.Cleanup(func() { c.Close() })
		return c
	}
	c, other := one(), one()
	fromReplica := func(what string, c *redis.Client) {
		t.Helper()
		if err := servers.Poll(ctx, func(ctx context.Context) error {
			before := reads(ctx)
			if err := c.Get(ctx, "k").Err(); err != nil && err != redis.Nil {
				return err
			}
			if after := reads(ctx); after == before {
				return fmt.Errorf("%s reads from the primary", what)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Set(ctx, "k", "0", 0).Err(); err != nil {
		t.Fatal(err)
	}
	fromReplica("a client whose write is everywhere", c)
	tap.shut.Lock()
	open := sync.OnceFunc(tap.shut.Unlock)
	defer open()
	for i := 1; i <= 50; i++ {
		v := fmt.Sprint(i)
		if i%5 == 0 {
			if _, err := c.TxPipelined(ctx, func(tx redis.Pipeliner) error { return tx.Set(ctx, "k", v, 0).Err() }); err != nil {
				t.Fatal(err)
			}
		} else if err := c.Set(ctx, "k", v, 0).Err(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got, err := c.Get(ctx, "k").Result(); err != nil || got != v {
				t.Fatalf("wrote %s and read %q, %v", v, got, err)
			}
		}
	}
	fromReplica("a client that has written nothing", other)
	if got, err := other.Get(ctx, "k").Result(); err != nil || got != "0" {
		t.Errorf("the replica is not held back: %q, %v", got, err)
	}
	open()
	fromReplica("a client whose write has arrived", c)
	if got, err := c.Get(ctx, "k").Result(); err != nil || got != "50" {
		t.Errorf("read %q, %v", got, err)
	}
}
