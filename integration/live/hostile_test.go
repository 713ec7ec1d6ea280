package live

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// connect opens a bare connection with a deadline for everything on it.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	return conn
}

// mysqlFrame is a packet whose header announces size bytes.
func mysqlFrame(size int, sequence byte, body string) string {
	return string([]byte{byte(size), byte(size >> 8), byte(size >> 16), sequence}) + body
}

func kafkaFrame(size uint32, body string) string {
	return string(binary.BigEndian.AppendUint32(nil, size)) + body
}

func noise(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// Bytes that no client sends end the connection that sent them, within seconds, whether it goes on or leaves; nobody
// else notices, and neither memory nor goroutines stay behind.
func TestHostileBytes(t *testing.T) {
	w := begin(t)
	tr := w.steady(t)
	tr.await(t, 20)
	before, err := w.goroutines(deadline(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := w.side.RSS()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, addr, say string
	}{
		{"mysql, noise", w.sql, noise(4096)},
		{"mysql, zeros", w.sql, strings.Repeat("\x00", 4096)},
		{"mysql, HTTP", w.sql, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"mysql, a handshake of 16 MB", w.sql, mysqlFrame(0xffffff, 1, noise(1<<20))},
		{"mysql, an empty handshake", w.sql, mysqlFrame(0, 1, "")},
		{"mysql, wrong sequence", w.sql, mysqlFrame(32, 77, noise(32))},
		{"redis, noise", w.cache, noise(4096) + "\r\n"},
		{"redis, a bulk of 2 GB", w.cache, "*2\r\n$3\r\nGET\r\n$2147483647\r\n" + noise(1<<16)},
		{"redis, a negative bulk", w.cache, "*2\r\n$3\r\nGET\r\n$-7\r\n"},
		{"redis, a billion arguments", w.cache, "*1000000000\r\n$3\r\nGET\r\n"},
		{"redis, no number", w.cache, "*x\r\n"},
		{"redis, an endless line", w.cache, strings.Repeat("a", 1<<18)},
		{"kafka, noise", w.kafka, noise(4096)},
		{"kafka, HTTP", w.kafka, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"kafka, 2 GB", w.kafka, kafkaFrame(0x7fffffff, noise(1<<16))},
		{"kafka, a negative size", w.kafka, kafkaFrame(0xffffffff, noise(64))},
		{"kafka, no header", w.kafka, kafkaFrame(2, "\x00\x03")},
		{"kafka, unknown request", w.kafka, kafkaFrame(14, "\x7f\xff\x00\x00\x00\x00\x00\x01\x00\x04abcd")},
		{"kafka, a topic list of a billion", w.kafka, kafkaFrame(18, "\x00\x03\x00\x01\x00\x00\x00\x01\x00\x04abcd\x3b\x9a\xca\x00")},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, c.addr)
			// The other side may have closed already.
			io.WriteString(conn, c.say)
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open after 15 s")
			}
		})
	}
	tr.await(t, 20)
	w.settles(t, before)
	after, err := w.side.RSS()
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - memory; grown > 64<<20 {
		t.Errorf("%d MB more than before", grown>>20)
	}
}

// Half a frame is waited for and then forgotten with its client; two hundred of them at once disturb nobody.
func TestHalfFrames(t *testing.T) {
	w := begin(t)
	tr := w.steady(t)
	tr.await(t, 20)
	before, err := w.goroutines(deadline(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, addr, say string }{
		{"mysql", w.sql, mysqlFrame(100, 1, "\x85\xa6")},
		{"redis", w.cache, "*2\r\n$3\r\nGET\r\n$100\r\nab"},
		{"kafka", w.kafka, kafkaFrame(100, "\x00\x03\x00")},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conns []net.Conn
			for range 200 {
				conn := connect(t, c.addr)
				if _, err := io.WriteString(conn, c.say); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
			}
			tr.await(t, 20)
			for _, conn := range conns {
				conn.Close()
			}
		})
	}
	w.settles(t, before)
}

// A client that asks for much and does not read holds no more of the process than a bound, and nobody waits for it.
func TestClientsThatDoNotRead(t *testing.T) {
	w := begin(t)
	tr := w.steady(t)
	tr.await(t, 20)
	memory, err := w.side.RSS()
	if err != nil {
		t.Fatal(err)
	}
	before, err := w.goroutines(deadline(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	// 1 MB a value, asked for 400 times by each of four clients, who are allowed 16 MB each.
	setup := connect(t, w.cache)
	value := strings.Repeat("v", 1<<20)
	fmt.Fprintf(setup, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n%s\r\n", len(value), value)
	if _, err := io.ReadFull(setup, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range 4 {
		conn := connect(t, w.cache)
		conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		io.WriteString(conn, strings.Repeat("*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n", 400))
		conns = append(conns, conn)
	}
	tr.await(t, 50)
	after, err := w.side.RSS()
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - memory; grown > 128<<20 {
		t.Errorf("%d MB held for clients that do not read", grown>>20)
	}
	for _, conn := range conns {
		conn.Close()
	}
	tr.await(t, 20)
	w.settles(t, before)
}

// A result that its MySQL client does not read is not collected in the process.
func TestMySQLResultIsNotCollected(t *testing.T) {
	w := begin(t)
	tr := w.steady(t)
	tr.await(t, 20)
	memory, err := w.side.RSS()
	if err != nil {
		t.Fatal(err)
	}
	db := w.open(t, "")
	ctx, cancel := context.WithCancel(deadline(t, time.Minute))
	defer cancel()
	// 360 MB, of which the client takes one row.
	rows, err := db.QueryContext(ctx, "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 900) SELECT REPEAT('x', 400000) FROM s")
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	tr.await(t, 50)
	after, err := w.side.RSS()
	if err != nil {
		t.Fatal(err)
	}
	if grown := after - memory; grown > 64<<20 {
		t.Errorf("%d MB held for a client that does not read", grown>>20)
	}
	cancel()
	rows.Close()
	tr.await(t, 20)
}
