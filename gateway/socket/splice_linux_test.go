package socket

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"testing"
	"time"
)

// tcpPair is two ends of a TCP connection.
func tcpPair(t *testing.T) (*Conn, *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return Wrap(a), Wrap(b)
}

func TestSpliceMovesExactlyWhatIsAsked(t *testing.T) {
	from, src := tcpPair(t)
	dst, to := tcpPair(t)
	data := make([]byte, 5<<20)
	rand.New(rand.NewSource(1)).Read(data)
	go func() {
		for rest := data; len(rest) > 0; {
			k := min(len(rest), 1+rand.Intn(100_000))
			from.Write(rest[:k])
			rest = rest[k:]
		}
	}()
	got := make(chan [32]byte, 1)
	want := len(data) - 1000
	go func() {
		b := make([]byte, want)
		io.ReadFull(to, b)
		got <- sha256.Sum256(b)
	}()
	n, err := Splice(dst, src, int64(want))
	if err != nil || n != int64(want) {
		t.Fatalf("moved %d of %d: %v", n, want, err)
	}
	if <-got != sha256.Sum256(data[:want]) {
		t.Fatal("bytes differ")
	}
	rest := make([]byte, 1000)
	if _, err := io.ReadFull(src, rest); err != nil || !bytes.Equal(rest, data[want:]) {
		t.Fatalf("what follows was touched: %v", err)
	}
}

func TestSpliceEndsEarly(t *testing.T) {
	from, src := tcpPair(t)
	dst, _ := tcpPair(t)
	from.Write(make([]byte, 10))
	from.Close()
	if n, err := Splice(dst, src, 100); n != 10 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("moved %d: %v", n, err)
	}
}

func TestSpliceWakes(t *testing.T) {
	_, src := tcpPair(t)
	dst, _ := tcpPair(t)
	src.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := Splice(dst, src, 100); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	src.SetReadDeadline(time.Time{})
	time.AfterFunc(20*time.Millisecond, src.Interrupt)
	if _, err := Splice(dst, src, 100); !errors.Is(err, ErrInterrupted) {
		t.Errorf("interrupt: %v", err)
	}
}

// A reader that stops must stop the splice, not grow anything; an interrupt still ends it, with bytes in the pipe.
func TestSpliceToAStalledReader(t *testing.T) {
	from, src := tcpPair(t)
	dst, _ := tcpPair(t)
	go func() {
		for {
			if _, err := from.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	time.AfterFunc(200*time.Millisecond, dst.Interrupt)
	n, err := Splice(dst, src, 1<<40)
	if !errors.Is(err, ErrInterrupted) || n == 0 {
		t.Errorf("moved %d: %v", n, err)
	}
}

func TestSpliceAllocatesNothing(t *testing.T) {
	from, src := tcpPair(t)
	dst, to := tcpPair(t)
	b, back := make([]byte, 100_000), make([]byte, 100_000)
	if n := testing.AllocsPerRun(50, func() {
		from.Write(b)
		if _, err := Splice(dst, src, int64(len(b))); err != nil {
			t.Fatal(err)
		}
		io.ReadFull(to, back)
	}); n >= 1 {
		t.Errorf("%v allocations a splice", n)
	}
}
