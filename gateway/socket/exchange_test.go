package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// parrot answers everything on peer with itself until it ends.
func parrot(peer net.Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(peer, peer)
		done <- err
	}()
	return done
}

func TestExchange(t *testing.T) {
	everyKind(t, func(t *testing.T, c *Conn, peer net.Conn) {
		done := parrot(peer)
		var pool Buffers
		for range 2000 { // every place where the answer may come between sending and parking
			a, err := c.Exchange([]byte("question"), &pool, 4<<10)
			if err != nil || a.Sent != 8 || a.N == 0 || a.Waited <= 0 {
				t.Fatalf("%+v, %v", a, err)
			}
			got := append([]byte(nil), a.Buffer.Bytes()[:a.N]...)
			a.Buffer.Free()
			for len(got) < 8 { // a pipe hands on a byte and then the rest
				rest := make([]byte, 8)
				n, err := c.Read(rest)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, rest[:n]...)
			}
			if string(got) != "question" {
				t.Fatalf("%q", got)
			}
		}
		if held := pool.InUse(); held != 0 {
			t.Fatalf("%d bytes held", held)
		}
		c.Close()
		within(t, "echo", done)
	})
}

// A question bigger than the kernel takes at once goes out the long way.
func TestExchangeOfMuch(t *testing.T) {
	c, peer := pair(t, "tcp")
	question := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	got := make(chan bool, 1)
	go func() {
		b := make([]byte, len(question))
		_, err := io.ReadFull(peer, b)
		got <- err == nil && bytes.Equal(b, question)
		peer.Write([]byte("yes"))
	}()
	var pool Buffers
	a, err := c.Exchange(question, &pool, 4<<10)
	if err != nil || a.Sent != len(question) || string(a.Buffer.Bytes()[:a.N]) != "yes" {
		t.Fatalf("%d sent, %v", a.Sent, err)
	}
	a.Buffer.Free()
	if !within(t, "peer", got) {
		t.Fatal("the question did not come whole")
	}
}

func TestExchangeIsInterrupted(t *testing.T) {
	c, peer := pair(t, "tcp")
	var pool Buffers
	done := make(chan error, 1)
	go func() {
		_, err := c.Exchange([]byte("x"), &pool, 4<<10)
		done <- err
	}()
	io.ReadFull(peer, make([]byte, 1))
	c.Interrupt()
	if err := within(t, "exchange", done); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	c.Resume()
	peer.Close()
	if a, err := c.Exchange([]byte("x"), &pool, 4<<10); err == nil || a.Buffer != nil {
		t.Fatalf("an answer from nobody: %+v, %v", a, err)
	}
	if held := pool.InUse(); held != 0 {
		t.Fatalf("%d bytes held", held)
	}
}

// An interrupt at any moment is one: it must never look as if the peer had gone.
func TestExchangeIsInterruptedAnywhere(t *testing.T) {
	c, peer := pair(t, "tcp")
	var pool Buffers
	go io.Copy(io.Discard, peer)
	for i := range 3000 {
		done := make(chan error, 1)
		go func() {
			_, err := c.Exchange([]byte("x"), &pool, 4<<10)
			done <- err
		}()
		for range i % 100 {
			runtime.Gosched()
		}
		c.Interrupt()
		if err := within(t, "exchange", done); !errors.Is(err, ErrInterrupted) {
			t.Fatalf("round %d: %v", i, err)
		}
		c.Resume()
	}
	if held := pool.InUse(); held != 0 {
		t.Fatalf("%d bytes held", held)
	}
}

// TestEach has every byte answered the moment it came, as TestNoEdgeIsLost does for Read, and bytes come while each is at work.
func TestEach(t *testing.T) {
	checkLeaks(t)
	c, peer := pair(t, "tcp")
	const rounds = 20000
	failed := make(chan error, 1)
	go func() {
		b, back := make([]byte, 1), make([]byte, 2)
		for range rounds {
			if _, err := peer.Write(b); err != nil {
				failed <- err
				return
			}
			if _, err := peer.Write(b); err != nil { // it comes before, during or after the work on the first
				failed <- err
				return
			}
			if _, err := io.ReadFull(peer, back); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	c.SetDeadline(time.Now().Add(3 * patience))
	var pool Buffers
	seen := 0
	err := c.Each(&pool, 4<<10, func(buf *Buffer, n int) bool {
		_, err := c.Write(buf.Bytes()[:n])
		buf.Free()
		seen += n
		if _, inside := c.Read(make([]byte, 1)); !errors.Is(inside, errInsideEach) {
			t.Error("reading inside:", inside)
		}
		return err == nil && seen < 2*rounds
	})
	if err != nil || seen != 2*rounds {
		t.Fatalf("%d bytes, %v", seen, err)
	}
	if err := within(t, "peer", failed); err != nil {
		t.Fatal(err)
	}
}

func TestEachEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(c *Conn, peer net.Conn)
		want error
	}{
		{"interrupt", func(c *Conn, _ net.Conn) { c.Interrupt() }, ErrInterrupted},
		{"hang-up", func(_ *Conn, peer net.Conn) { peer.Close() }, io.EOF},
		{"close", func(c *Conn, _ net.Conn) { c.Close() }, net.ErrClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, peer := pair(t, "tcp")
			var pool Buffers
			done := make(chan error, 1)
			go func() {
				done <- conn.Each(&pool, 4<<10, func(buf *Buffer, n int) bool { buf.Free(); return true })
			}()
			untilParked(t)
			c.act(conn, peer)
			if err := within(t, "each", done); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if held := pool.InUse(); held != 0 {
				t.Fatalf("%d bytes held", held)
			}
		})
	}
}

// More than one buffer full is read without waiting for another edge.
func TestEachReadsOnWhenBuffersAreFull(t *testing.T) {
	c, peer := pair(t, "tcp")
	go peer.Write(make([]byte, 64<<10))
	c.SetDeadline(time.Now().Add(patience))
	var pool Buffers
	seen := 0
	if err := c.Each(&pool, 4<<10, func(buf *Buffer, n int) bool {
		buf.Free()
		seen += n
		return seen < 64<<10
	}); err != nil {
		t.Fatalf("%v after %d bytes", err, seen)
	}
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties pools")
	}
	c, peer := pair(t, "tcp")
	done := parrot(peer)
	var pool Buffers
	question := []byte("question")
	least := 1.0
	for range 5 {
		least = min(least, testing.AllocsPerRun(200, func() {
			a, err := c.Exchange(question, &pool, 4<<10)
			if err != nil {
				t.Error(err)
				return
			}
			a.Buffer.Free()
		}))
	}
	if least != 0 {
		t.Errorf("%v allocations", least)
	}
	c.Close()
	within(t, "echo", done)
}
