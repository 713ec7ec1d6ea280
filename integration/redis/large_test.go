package redis_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

const (
	largeValue = 256 << 20
	largeHeld  = 100 << 20 // how much more memory it may take: pieces, and what a collector leaves that gets no processor
)

// A value of 256 MB goes in and comes out without being held, however slow its client is, and nobody waits for it. So does a command of a
// million elements, and the largest that Redis takes; what is larger is refused.
func TestLargeValuesAreNotHeld(t *testing.T) {
	leak.Check(t)
	server := servers.Redis(t, servers.Private())
	cluster := servers.RedisCluster(t, servers.Private())
	for name, p := range map[string]*proxied{"one server": start(t, "", "", server.Addr), "cluster": start(t, "", "hashing: slots", cluster.Nodes[0].Addr)} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 60*time.Second)
			quick := p.client(t, 2)
			if err := quick.Set(ctx, "small", "x", 0).Err(); err != nil {
				t.Fatal(err)
			}
			rest, err := p.RSS()
			if err != nil {
				t.Fatal(err)
			}
			most, worst := rest, time.Duration(0)
			look := func() {
				began := time.Now()
				if v, err := quick.Get(ctx, "small").Result(); err != nil || v != "x" {
					t.Fatalf("%q, %v", v, err)
				}
				worst = max(worst, time.Since(began))
				if now, err := p.RSS(); err != nil {
					t.Fatal(err)
				} else {
					most = max(most, now)
				}
			}
			conn, err := net.Dial("tcp", p.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(50 * time.Second))
			in := bufio.NewReader(conn)
			piece := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
			for round := range 2 { // the second read is known to be large
				fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n", largeValue)
				for sent := 0; sent < largeValue; sent += len(piece) {
					if _, err := conn.Write(piece); err != nil {
						t.Fatal(err)
					}
					if sent%(16<<20) == 0 {
						look()
					}
				}
				io.WriteString(conn, "\r\nGET large\r\nPING\r\n")
				if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
					t.Fatalf("SET was answered %q, %v", line, err)
				}
				if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("$%d\r\n", largeValue) {
					t.Fatalf("GET was answered %q, %v", line, err)
				}
				got := make([]byte, len(piece))
				for read := 0; read < largeValue; read += len(piece) {
					if read%(16<<20) == 0 {
						look() // and meanwhile nothing is read
					}
					if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, piece) {
						t.Fatalf("the value is another one after %d bytes, %v", read, err)
					}
				}
				if line, err := in.ReadString('\n'); err != nil || line != "\r\n" {
					t.Fatalf("%q, %v", line, err)
				}
				if line, err := in.ReadString('\n'); err != nil || line != "+PONG\r\n" {
					t.Fatalf("round %d: PING was answered %q, %v", round, line, err)
				}
			}
			t.Logf("%d MB at rest, %d MB at most, another client waited %v at most", rest>>20, most>>20, worst)
			if most-rest > largeHeld {
				t.Errorf("memory has grown by %d MB", (most-rest)>>20)
			}
			const elements = 1<<20 - 2
			fmt.Fprintf(conn, "*%d\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n", elements+2)
			many := bytes.Repeat([]byte("$1\r\nx\r\n"), elements)
			if _, err := conn.Write(many); err != nil {
				t.Fatal(err)
			}
			if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf(":%d\r\n", elements) {
				t.Fatalf("RPUSH was answered %q, %v", line, err)
			}
			look()
			if most-rest > largeHeld {
				t.Errorf("with a million elements memory has grown by %d MB", (most-rest)>>20)
			}
			quick.Del(ctx, "large", "list")
			io.WriteString(conn, "*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$536870913\r\n")
			if line, err := in.ReadString('\n'); err != nil || line != "-ERR Protocol error: invalid bulk length\r\n" {
				t.Fatalf("more than the limit was answered %q, %v", line, err)
			}
		})
	}
}
