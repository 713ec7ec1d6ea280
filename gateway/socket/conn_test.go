package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of the tests; only a fault makes one last this long.
const patience = 10 * time.Second

// pair returns two ends of a connection, the first wrapped.
func pair(t testing.TB, network string) (*Conn, net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	a, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b := <-accepted
	t.Cleanup(func() { a.Close(); b.Close() })
	c := Wrap(a)
	if runtime.GOOS == "linux" && !c.Raw() {
		t.Fatal("no raw path on a stream socket")
	}
	return c, b
}

// everyKind runs f over TCP, unix and a pipe that has no raw path.
func everyKind(t *testing.T, f func(t *testing.T, c *Conn, peer net.Conn)) {
	t.Run("tcp", func(t *testing.T) { c, p := pair(t, "tcp"); f(t, c, p) })
	t.Run("unix", func(t *testing.T) { c, p := pair(t, "unix"); f(t, c, p) })
	t.Run("pipe", func(t *testing.T) {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		f(t, Wrap(a), b)
	})
}

// checkLeaks fails when goroutines outlive the test.
func checkLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
			runtime.Gosched()
		}
		if n := runtime.NumGoroutine(); n > before {
			stacks := make([]byte, 1<<20)
			t.Errorf("%d goroutines before, %d after:\n%s", before, n, stacks[:runtime.Stack(stacks, true)])
		}
	})
}

// untilParked waits until a Conn's call stands in the network poller, so that a test acts on a parked read, not an early one.
func untilParked(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		for _, g := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(g, "[IO wait") && strings.Contains(g, "socket.(*Conn)") {
				return
			}
		}
	}
	t.Fatal("nothing is parked")
}

func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing after %v", what, patience)
		panic("unreachable")
	}
}

type result struct {
	n   int
	err error
}

func readAside(c io.Reader, b []byte) <-chan result {
	done := make(chan result, 1)
	go func() {
		n, err := c.Read(b)
		done <- result{n, err}
	}()
	return done
}

func TestReadWaitsForLaterData(t *testing.T) {
	checkLeaks(t)
	everyKind(t, func(t *testing.T, c *Conn, peer net.Conn) {
		buf := make([]byte, 16)
		done := readAside(c, buf)
		if c.Raw() {
			untilParked(t)
		}
		if _, err := peer.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if r := within(t, "read", done); r.err != nil || string(buf[:r.n]) != "hello" {
			t.Fatalf("read %q, %v", buf[:r.n], r.err)
		}
	})
}

// TestNoEdgeIsLost answers each byte the moment it comes, so that the peer's next byte lands at every point of the reader's
// way from "nothing there" to parked. A reader that parks without trying again hangs here within a few thousand rounds.
func TestNoEdgeIsLost(t *testing.T) {
	checkLeaks(t)
	c, peer := pair(t, "tcp")
	const rounds = 20000
	failed := make(chan error, 1)
	go func() {
		b := make([]byte, 1)
		for range rounds {
			if _, err := peer.Write(b); err != nil {
				failed <- err
				return
			}
			if _, err := io.ReadFull(peer, b); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	c.SetDeadline(time.Now().Add(3 * patience))
	b := make([]byte, 1)
	for i := range rounds {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if err := within(t, "peer", failed); err != nil {
		t.Fatal(err)
	}
}

// TestPartialWrites moves far more than the socket's buffers hold to a peer that reads slowly and in odd pieces.
func TestPartialWrites(t *testing.T) {
	checkLeaks(t)
	everyKind(t, func(t *testing.T, c *Conn, peer net.Conn) {
		sent := make([]byte, 8<<20)
		for i := range sent {
			sent[i] = byte(i * 7 >> 3)
		}
		got := make(chan []byte, 1)
		go func() {
			var all []byte
			piece := make([]byte, 77777)
			for {
				n, err := peer.Read(piece)
				all = append(all, piece[:n]...)
				if err != nil {
					got <- all
					return
				}
			}
		}()
		if n, err := c.Write(sent); n != len(sent) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
		c.Close()
		if all := within(t, "peer", got); !bytes.Equal(all, sent) {
			t.Fatalf("%d bytes arrived, %d were sent, or they differ", len(all), len(sent))
		}
	})
}

func TestSlowReaderHitsWriteDeadline(t *testing.T) {
	c, _ := pair(t, "tcp")
	big := make([]byte, 64<<20)
	c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	n, err := c.Write(big)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if n == 0 || n == 64<<20 {
		t.Fatalf("%d bytes are said to be written; the kernel's buffers hold some and not all", n)
	}
}

func TestReadDeadline(t *testing.T) {
	everyKind(t, func(t *testing.T, c *Conn, peer net.Conn) {
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatalf("error %v is not a deadline", err)
		}
		c.SetReadDeadline(time.Time{})
		go peer.Write([]byte("x"))
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("after the deadline was taken back: %d, %v", n, err)
		}
	})
}

func TestDeadlineMovedWhileParked(t *testing.T) {
	c, _ := pair(t, "tcp")
	done := readAside(c, make([]byte, 1))
	untilParked(t)
	c.SetReadDeadline(time.Unix(1, 0))
	if r := within(t, "read", done); !errors.Is(r.err, os.ErrDeadlineExceeded) {
		t.Fatal(r.err)
	}
}

func TestCloseWhileParked(t *testing.T) {
	checkLeaks(t)
	c, _ := pair(t, "tcp")
	done := readAside(c, make([]byte, 1))
	untilParked(t)
	c.Close()
	if r := within(t, "read", done); !errors.Is(r.err, net.ErrClosed) {
		t.Fatal(r.err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("reading after close: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("writing after close: %v", err)
	}
}

func TestInterruptWakesAndHolds(t *testing.T) {
	everyKind(t, func(t *testing.T, c *Conn, peer net.Conn) {
		done := readAside(c, make([]byte, 1))
		if c.Raw() {
			untilParked(t)
		}
		c.Interrupt()
		if r := within(t, "read", done); !errors.Is(r.err, ErrInterrupted) {
			t.Fatal(r.err)
		}
		c.SetDeadline(time.Time{}) // an owner that did not notice moves its deadline and reads on
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrInterrupted) {
			t.Fatalf("a deadline set after the interrupt took it back: %v", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		if err := c.Resume(); err != nil {
			t.Fatal(err)
		}
		go peer.Write([]byte("x"))
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("after resume: %d, %v", n, err)
		}
	})
}

// TestInterruptRacesWithDeadlines lets an owner move its deadline and read without end while somebody interrupts: whatever
// the order, the owner must come out.
func TestInterruptRacesWithDeadlines(t *testing.T) {
	checkLeaks(t)
	for range 300 {
		c, _ := pair(t, "tcp")
		done := make(chan error, 1)
		go func() {
			for {
				c.SetReadDeadline(time.Now().Add(patience))
				if _, err := c.Read(make([]byte, 1)); err != nil {
					done <- err
					return
				}
			}
		}()
		runtime.Gosched()
		c.Interrupt()
		if err := within(t, "owner", done); !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		c.Close()
	}
}

func TestHalfClose(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, peer := pair(t, network)
			if _, err := c.Write([]byte("question")); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			asked, err := io.ReadAll(peer)
			if err != nil || string(asked) != "question" {
				t.Fatalf("%q, %v", asked, err)
			}
			go func() {
				peer.Write([]byte("answer"))
				peer.Close()
			}()
			answer, err := io.ReadAll(c)
			if err != nil || string(answer) != "answer" {
				t.Fatalf("%q, %v", answer, err)
			}
		})
	}
}

func TestPending(t *testing.T) {
	everyKind(t, func(t *testing.T, c *Conn, peer net.Conn) {
		if waiting, err := c.Pending(); waiting || err != nil {
			t.Fatalf("quiet: %v, %v", waiting, err)
		}
		written := make(chan struct{})
		go func() {
			defer close(written)
			peer.Write([]byte("ab"))
		}()
		if err := c.WaitReadable(); err != nil {
			t.Fatal(err)
		}
		if waiting, err := c.Pending(); !waiting || err != nil {
			t.Fatalf("bytes wait: %v, %v", waiting, err)
		}
		b := make([]byte, 2)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "ab" {
			t.Fatalf("looking ahead ate bytes: %q, %v", b, err)
		}
		<-written
		peer.Close()
		if err := c.WaitReadable(); err != nil {
			t.Fatal(err)
		}
		if waiting, err := c.Pending(); !waiting || !errors.Is(err, io.EOF) {
			t.Fatalf("hung up: %v, %v", waiting, err)
		}
	})
}

func TestPendingTellsReset(t *testing.T) {
	c, peer := pair(t, "tcp")
	Wrap(peer).Abort()
	c.WaitReadable() // returns once the reset is here
	if waiting, err := c.Pending(); !waiting || err == nil {
		t.Fatalf("reset: %v, %v", waiting, err)
	}
}

func TestReadPooledHoldsNothingWhileParked(t *testing.T) {
	c, peer := pair(t, "tcp")
	var pool Buffers
	type filled struct {
		buf *Buffer
		result
	}
	done := make(chan filled, 1)
	go func() {
		buf, n, err := c.ReadPooled(&pool, 16<<10)
		done <- filled{buf, result{n, err}}
	}()
	untilParked(t)
	if held := pool.InUse(); c.Raw() && held != 0 {
		t.Fatalf("%d bytes held by a parked reader", held)
	}
	peer.Write([]byte("hello"))
	r := within(t, "read", done)
	if r.err != nil || string(r.buf.Bytes()[:r.n]) != "hello" {
		t.Fatalf("%v, %v", r.n, r.err)
	}
	r.buf.Free()
	peer.Close()
	if buf, _, err := c.ReadPooled(&pool, 16<<10); buf != nil || err != io.EOF {
		t.Fatalf("%v, %v", buf, err)
	}
	if held := pool.InUse(); held != 0 {
		t.Fatalf("%d bytes held after the end", held)
	}
}

func TestBuffers(t *testing.T) {
	var pool Buffers
	for _, c := range []struct{ ask, get int }{
		{0, 4 << 10}, {1, 4 << 10}, {4 << 10, 4 << 10}, {4<<10 + 1, 8 << 10}, {100 << 10, 128 << 10}, {256 << 10, 256 << 10}, {256<<10 + 1, 256<<10 + 1},
	} {
		b := pool.Get(c.ask)
		if len(b.Bytes()) != c.get {
			t.Errorf("asked for %d, got %d, want %d", c.ask, len(b.Bytes()), c.get)
		}
		if pool.InUse() != int64(c.get) {
			t.Errorf("%d bytes in use, want %d", pool.InUse(), c.get)
		}
		b.Free()
	}
	b := pool.Get(1)
	b.Free()
	defer func() {
		if recover() == nil {
			t.Error("freeing twice went through")
		}
	}()
	b.Free()
}

// TestBlockingDescriptorDoesNotStall turns the shared descriptor blocking behind Conn's back, as os.File.Fd does, and
// checks that a read with nothing to read still parks in the poller instead of holding its P in the kernel.
func TestBlockingDescriptorDoesNotStall(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("raw calls are made on Linux only")
	}
	c, peer := pair(t, "tcp")
	c.raw.Control(func(fd uintptr) {
		if err := syscall.SetNonblock(int(fd), false); err != nil {
			t.Error(err)
		}
	})
	done := readAside(c, make([]byte, 1))
	untilParked(t)
	runtime.GC() // hangs when a thread sits in a raw blocking call
	peer.Write([]byte("x"))
	if r := within(t, "read", done); r.n != 1 || r.err != nil {
		t.Fatal(r)
	}
	big := make([]byte, 64<<20)
	c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Write(big); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("writing to a peer that does not read: %v", err)
	}
}

func TestDatagramSocketsKeepTheStandardPath(t *testing.T) {
	a, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "d"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if Wrap(a).Raw() {
		t.Fatal("a datagram socket got the stream path")
	}
}

func TestErrorsNameTheConnection(t *testing.T) {
	c, peer := pair(t, "tcp")
	Wrap(peer).Abort()
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, syscall.ECONNRESET) || !strings.Contains(err.Error(), c.RemoteAddr().String()) {
		t.Fatalf("error %q", err)
	}
	if _, err = c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("writing to a peer that is gone: %v", err)
	}
}

func TestWrapTwiceIsOnce(t *testing.T) {
	c, _ := pair(t, "tcp")
	if Wrap(c) != c {
		t.Fatal("wrapped twice")
	}
}

func TestTryWriteNeverWaits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems write through the standard library")
	}
	c, _ := pair(t, "tcp")
	big := make([]byte, 1<<20)
	for range 1000 {
		n, err := c.TryWrite(big)
		if err != nil {
			t.Fatal(err)
		}
		if n < len(big) {
			return
		}
	}
	t.Fatal("a gigabyte went to a peer that does not read")
}

func TestReadAndWriteDoNotAllocate(t *testing.T) {
	c, peer := pair(t, "tcp")
	stop := sync.WaitGroup{}
	stop.Go(func() { io.Copy(peer, peer) })
	defer stop.Wait()
	defer c.Close()
	var pool Buffers
	b := make([]byte, 64)
	for name, f := range map[string]func(){
		"read and write": func() {
			c.Write(b)
			if _, err := c.Read(b); err != nil {
				t.Error(err)
			}
		},
		"pooled read": func() {
			c.Write(b)
			buf, _, err := c.ReadPooled(&pool, 4<<10)
			if err != nil {
				t.Error(err)
				return
			}
			buf.Free()
		},
		"pending": func() { c.Pending() },
	} {
		if name == "pooled read" && raceDetector {
			continue
		}
		// The least of a few runs: a collection between them empties sync.Pool, which is not the path's doing.
		least := 1.0
		for range 5 {
			least = min(least, testing.AllocsPerRun(200, f))
		}
		if least != 0 {
			t.Errorf("%s: %v allocations", name, least)
		}
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, kind := range []string{"std", "raw"} {
		b.Run(kind, func(b *testing.B) {
			c, peer := pair(b, "tcp")
			go func() {
				p := Wrap(peer)
				buf := make([]byte, 1024)
				var rw io.ReadWriter = p
				if kind == "std" {
					rw = peer
				}
				for {
					n, err := rw.Read(buf)
					if err != nil {
						return
					}
					rw.Write(buf[:n])
				}
			}()
			var rw io.ReadWriter = c
			if kind == "std" {
				rw = c.NetConn()
			}
			buf := make([]byte, 1024)
			b.ReportAllocs()
			for b.Loop() {
				rw.Write(buf[:100])
				if _, err := rw.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
		})
	}
}

// However a connection is closed, whoever counts it hears of it once.
func TestOnCloseIsCalledOnce(t *testing.T) {
	for name, end := range map[string]func(*Conn) error{"close": (*Conn).Close, "abort": (*Conn).Abort} {
		a, b := net.Pipe()
		defer b.Close()
		c, calls := Wrap(a), 0
		c.OnClose(func() { calls++ })
		end(c)
		c.Close()
		if calls != 1 {
			t.Errorf("%s: called %d times", name, calls)
		}
	}
}
