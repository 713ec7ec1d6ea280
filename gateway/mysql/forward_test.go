package mysql

import (
	"io"
	"net"
	"testing"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// ends are two connected sockets.
func ends(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b = <-accepted; b == nil {
		t.Fatal("nobody came")
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// resultOf is the answer to a query for so many rows of 190 bytes.
func resultOf(rows int) (all []byte) {
	seq := byte(1)
	add := func(p []byte) { all, seq = wire.AppendPacket(all, seq, p) }
	add([]byte{1})
	add(make([]byte, 30)) // nobody looks at a definition
	row := make([]byte, 190)
	row[0] = 189
	for range rows {
		add(row)
	}
	add([]byte{0xfe, 0, 0, byte(wire.StatusAutocommit), 0, 0, 0})
	return all
}

// TestForwardedRowsCostNoMemory passes results of 10 and of 10,000 rows through real sockets: neither allocates.
func TestForwardedRowsCostNoMemory(t *testing.T) {
	const caps = wire.Protocol41 | wire.DeprecateEOF
	down, client := ends(t)
	up, server := ends(t)
	go io.Copy(io.Discard, client)
	s := &session{stream: stream{conn: socket.Wrap(down)}, terms: &terms{config: &config.Listener{}, block: &ListenerBlock{}}, caps: caps}
	b := &backend{stream: stream{conn: socket.Wrap(up)}, caps: caps, settings: noSettings}
	for _, rows := range []int{10, 10_000} {
		answer := resultOf(rows)
		ask := make(chan bool)
		ended := make(chan error, 1)
		go func() {
			var err error
			for range ask {
				if _, werr := server.Write(answer); werr != nil {
					err = werr
				}
			}
			ended <- err
		}()
		least := 1e9
		for range 5 { // a collection empties the pools now and then, which is not the rows' doing
			least = min(least, testing.AllocsPerRun(5, func() {
				ask <- true
				s.answer.begin(wire.ComQuery, caps, 1)
				if err := s.forward(b, 0); err != nil {
					t.Error(err)
				}
				b.release()
			}))
		}
		close(ask)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if s.answer.reply.Rows != int64(rows) || s.answer.sent != int64(len(answer)) {
			t.Fatalf("%d rows and %d bytes passed, %d and %d were sent", s.answer.reply.Rows, s.answer.sent, rows, len(answer))
		}
		if least > 0 && !raceDetector {
			t.Errorf("%d rows: %v allocations", rows, least)
		}
	}
}
