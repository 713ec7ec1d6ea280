package redis_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
	wire "github.com/sidewire/sidewire/protocols/redis"
)

// spoken is a connection without a client library: pushes are seen where they come.
type spoken struct {
	t    *testing.T
	conn net.Conn
	in   []byte
}

func (p *proxied) speak(t *testing.T) *spoken {
	t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	return &spoken{t: t, conn: conn}
}

func (s *spoken) say(words ...string) {
	s.t.Helper()
	if _, err := s.conn.Write(wire.AppendCommand(nil, words...)); err != nil {
		s.t.Fatal(err)
	}
}

// next is the next frame, a reply or a push.
func (s *spoken) next() string {
	s.t.Helper()
	for {
		var f wire.Framer
		n, err := f.Next(s.in)
		if err != nil {
			s.t.Fatal(err)
		}
		if n > 0 {
			frame := string(s.in[:n])
			s.in = s.in[n:]
			return frame
		}
		buf := make([]byte, 4096)
		if n, err = s.conn.Read(buf); err != nil {
			s.t.Fatal(err)
		}
		s.in = append(s.in, buf[:n]...)
	}
}

func (s *spoken) ask(words ...string) string {
	s.t.Helper()
	s.say(words...)
	return s.next()
}

// A client that keeps what it reads hears of every change, whichever server has the key; and of none that another client asked for.
func TestTrackingOverServers(t *testing.T) {
	leak.Check(t)
	ctx := within(t, 60*time.Second)
	for name, p := range shapes(t) {
		t.Run(name, func(t *testing.T) {
			writer := p.client(t, 2)
			reader, every, sharing := p.speak(t), p.speak(t), p.speak(t)
			for _, c := range []*spoken{reader, every, sharing} {
				c.ask("HELLO", "3")
			}
			if got := reader.ask("CLIENT", "TRACKING", "ON") + every.ask("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "seen:"); got != "+OK\r\n+OK\r\n" {
				t.Fatalf("%q", got)
			}
			for i := range 12 { // some for each server
				key := fmt.Sprint("seen:", i)
				reader.ask("GET", key)
				if err := writer.Set(ctx, key, "1", 0).Err(); err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf(">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%s\r\n", len(key), key)
				if got := reader.next() + every.next(); got != want+want {
					t.Fatalf("heard %q, want %q twice", got, want)
				}
				writer.Set(ctx, key, "2", 0) // not read again, so not told again; every hears it
				if got := every.next(); got != want {
					t.Fatalf("heard %q, want %q", got, want)
				}
			}
			for _, c := range []*spoken{reader, sharing} {
				if got := c.ask("GET", "seen:1"); got != "$1\r\n2\r\n" {
					t.Errorf("got %q", got)
				}
			}
			if got := reader.ask("CLIENT", "TRACKING", "OFF"); got != "+OK\r\n" {
				t.Errorf("got %q", got)
			}
			writer.Set(ctx, "seen:1", "3", 0)
			if got := reader.ask("GET", "seen:1"); got != "$1\r\n3\r\n" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Clients are unblocked and writes paused over several servers as over one.
func TestPauseAndUnblockOverServers(t *testing.T) {
	leak.Check(t)
	ctx := within(t, 60*time.Second)
	var three []string
	for _, n := range servers.RedisNodes(t, 3, servers.Private()) {
		three = append(three, n.Addr)
	}
	p := start(t, "", "hashing: ketama", three...)
	c, waiter := p.client(t, 2), p.speak(t)
	id := strings.Trim(waiter.ask("CLIENT", "ID"), ":\r\n")
	waiter.say("BLPOP", "queue", "0")
	if err := servers.Poll(ctx, func(ctx context.Context) error {
		n, err := c.Do(ctx, "CLIENT", "UNBLOCK", id, "ERROR").Int()
		if n != 1 && err == nil {
			err = fmt.Errorf("%d clients unblocked", n)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := waiter.next(); got != "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n" {
		t.Errorf("the client was told %q", got)
	}
	if err := c.Do(ctx, "CLIENT", "PAUSE", 50000, "WRITE").Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		waiter.say("SET", fmt.Sprint("paused", i), "1")
	}
	for i := range 20 { // nobody's read waits behind a write
		if err := c.Get(ctx, fmt.Sprint("paused", i)).Err(); err != redis.Nil {
			t.Fatalf("a read during the pause: %v", err)
		}
	}
	if err := c.Do(ctx, "CLIENT", "UNPAUSE").Err(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got := waiter.next(); got != "+OK\r\n" {
			t.Fatalf("a write after the pause: %q", got)
		}
	}
}
