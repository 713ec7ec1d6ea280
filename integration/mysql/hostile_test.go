package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// Clients that never get through their handshake hold no memory and no goroutine: those that break the protocol are told
// and left at once, those that are only slow when their ten seconds are over.
func TestHostileHandshakesHoldNothing(t *testing.T) {
	const each = 150
	addr := "127.0.0.1:" + strconv.Itoa(servers.Port(t))
	side := servers.StartSidewire(t, fmt.Sprintf(`
listeners:
  - {name: sql, address: %q, mysql: {users: [{name: app, password: local}], cluster: sql}}
clusters:
  - {name: sql, mysql: {user: app, password: none}, endpoints: ["127.0.0.1:%d"], health: {disabled: true}}
`, addr, servers.Port(t)))
	calm := goroutines(t, side)
	rss, err := side.RSS()
	if err != nil {
		t.Fatal(err)
	}
	packet := func(seq byte, payload ...byte) []byte {
		return append([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), seq}, payload...)
	}
	login := append([]byte{0x85, 0xa2, 0x0a, 0, 0, 0, 0, 1, 45}, make([]byte, 23)...)
	for _, c := range []struct {
		name string
		said []byte
		slow bool
	}{
		{"silent", nil, true},
		{"a header and no more", []byte{0x20, 0, 0}, true},
		{"half a login", packet(1, login...)[:20], true},
		{"a length of 16 MB", []byte{0xff, 0xff, 0xff, 1}, false},
		{"a length of 16 MB and some of it", append([]byte{0xff, 0xff, 0xff, 1}, make([]byte, 4096)...), false},
		{"a wrong number", packet(7, login...), false},
		{"a query first", packet(0, append([]byte{3}, "SELECT 1"...)...), false},
		{"an empty packet", packet(1), false},
		{"a user name without end", packet(1, append(login, bytes.Repeat([]byte("u"), 200)...)...), false},
		{"a password longer than its packet", packet(1, append(append(login, "app\x00"...), 0xfd, 0xff, 0xff, 0xff)...), false},
		{"noise", bytes.Repeat([]byte{0xa5, 0x17, 0xfe}, 100), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conns := make([]net.Conn, each)
			for i := range conns {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conns[i] = conn
				conn.Write(c.said)
			}
			began := time.Now()
			limit := 5 * time.Second
			if c.slow {
				limit = 25 * time.Second
			}
			for _, conn := range conns {
				conn.SetReadDeadline(began.Add(limit))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("still open after %v", limit)
				}
			}
			if took := time.Since(began); c.slow && took < 5*time.Second {
				t.Errorf("left after %v: a slow client has ten seconds", took)
			}
		})
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := servers.Poll(ctx, func(context.Context) error {
			if n := goroutines(t, side); n > calm+5 {
				return fmt.Errorf("%d goroutines, %d before", n, calm)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		after, err := side.RSS()
		if err != nil {
			t.Error(err)
		}
		t.Logf("%d MB resident before, %d after 11 times %d hostile clients", rss>>20, after>>20, each)
		if after > rss+48<<20 {
			t.Errorf("%d MB resident, %d before", after>>20, rss>>20)
		}
	})
}

// goroutines is how many the process has.
func goroutines(t *testing.T, side *servers.Sidewire) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	text, err := side.Get(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(text, "goroutine profile: total %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
