package socket

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// script is an Owner made of functions.
type script struct {
	receive func(s *Stream, b []byte) int
	hangup  func(s *Stream)
	ended   func(s *Stream, err error)
	drained func(s *Stream)
}

func (o *script) Receive(s *Stream, b []byte) int {
	if o.receive == nil {
		return len(b)
	}
	return o.receive(s, b)
}

func (o *script) Hangup(s *Stream) {
	if o.hangup != nil {
		o.hangup(s)
	}
}

func (o *script) Ended(s *Stream, err error) {
	if o.ended != nil {
		o.ended(s, err)
		return
	}
	s.Close()
}

func (o *script) Drained(s *Stream) {
	if o.drained != nil {
		o.drained(s)
	}
}

// echo answers lines: what is not a whole line is left unconsumed.
func echo() *script {
	return &script{
		receive: func(s *Stream, b []byte) int {
			n := bytes.LastIndexByte(b, '\n') + 1
			s.Write(b[:n])
			return n
		},
		ended: func(s *Stream, err error) { s.Finish() },
	}
}

func newLoop(t *testing.T) *Loop {
	t.Helper()
	l, err := NewLoop(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// sockets returns the two ends of a TCP connection.
func sockets(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close(); near.Close() })
	far.SetDeadline(time.Now().Add(20 * time.Second))
	return Wrap(near), far
}

// add puts a connection into the loop and waits until it is there.
func add(t *testing.T, l *Loop, conn net.Conn, session *TLS, o Owner) *Stream {
	t.Helper()
	got := make(chan *Stream, 1)
	l.Post(func() {
		s, err := l.Add(conn, session, o, false)
		if err != nil {
			t.Error(err)
		}
		got <- s
	})
	return <-got
}

// lines sends lines in ragged pieces and checks that they come back.
func lines(t *testing.T, conn io.ReadWriter, seed uint64, total int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, total)
	for i := range data {
		data[i] = byte('a' + rnd.IntN(26))
		if rnd.IntN(400) == 0 {
			data[i] = '\n'
		}
	}
	data[total-1] = '\n'
	var wg sync.WaitGroup
	wg.Go(func() {
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(40000))
			if _, err := conn.Write(rest[:n]); err != nil {
				t.Errorf("writing: %v", err)
				return
			}
			rest = rest[n:]
		}
	})
	back := make([]byte, total)
	if n, err := io.ReadFull(conn, back); err != nil {
		t.Errorf("reading: %v after %d bytes", err, n)
	} else if !bytes.Equal(back, data) {
		t.Error("what came back differs")
	}
	wg.Wait()
}

func TestLoopCarriesManyStreams(t *testing.T) {
	l := newLoop(t)
	var wg sync.WaitGroup
	for i := range 40 {
		near, far := sockets(t)
		add(t, l, near, nil, echo())
		wg.Go(func() { lines(t, far, uint64(i), 600000) })
	}
	wg.Wait()
}

func TestLoopCarriesConnectionsWithoutDescriptor(t *testing.T) {
	l := newLoop(t)
	near, far := net.Pipe()
	add(t, l, near, nil, echo())
	lines(t, far, 7, 500000)
	far.Close()
}

func TestLoopCarriesTLS(t *testing.T) {
	l := newLoop(t)
	session, near, tc := shaken(t, tls.VersionTLS13)
	add(t, l, near, session, echo())
	lines(t, tc, 3, 700000)
}

// A peer that does not read must neither stall the others nor have its output lost.
func TestLoopSlowReader(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	var drained atomic.Int32
	s := add(t, l, near, nil, &script{drained: func(*Stream) { drained.Add(1) }})
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	l.Post(func() { s.Write(big) })
	other, end := sockets(t)
	add(t, l, other, nil, echo())
	lines(t, end, 5, 100000)
	got, err := io.ReadAll(io.LimitReader(far, int64(len(big))))
	if err != nil || !bytes.Equal(got, big) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(big), err)
	}
	lines(t, end, 6, 1000)
	if drained.Load() != 1 {
		t.Errorf("told %d times that output is gone", drained.Load())
	}
}

func TestLoopHighWaterStopsReading(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	var taken atomic.Int64
	s := add(t, l, near, nil, &script{receive: func(s *Stream, b []byte) int {
		taken.Add(int64(len(b)))
		for range 64 {
			s.Write(b)
		}
		return len(b)
	}})
	l.Post(func() { s.HighWater(1 << 20) })
	chunk := make([]byte, 64<<10)
	var wg sync.WaitGroup
	const total = 2 << 20
	wg.Go(func() {
		for range total / len(chunk) {
			if _, err := far.Write(chunk); err != nil {
				t.Error(err)
				return
			}
		}
	})
	// Nobody reads: the loop must stop taking long before everything was sent.
	time.Sleep(200 * time.Millisecond) // gives a wrong loop the time to go too far; a right one passes whatever happens in it
	if n := taken.Load(); n > 1<<20 {
		t.Errorf("took %d bytes from a peer that does not read", n)
	}
	if _, err := io.CopyN(io.Discard, far, 64*total); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestLoopPauseKeepsWhatArrived(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	calls := make(chan string, 10)
	o := &script{receive: func(s *Stream, b []byte) int {
		n := bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			return 0
		}
		calls <- string(b[:n])
		s.Pause()
		return n
	}}
	s := add(t, l, near, nil, o)
	if _, err := far.Write([]byte("one\ntwo\nthr")); err != nil {
		t.Fatal(err)
	}
	if got := <-calls; got != "one\n" {
		t.Fatalf("got %q", got)
	}
	l.Post(s.Resume)
	if got := <-calls; got != "two\n" {
		t.Fatalf("got %q", got)
	}
	if _, err := far.Write([]byte("ee\n")); err != nil {
		t.Fatal(err)
	}
	l.Post(s.Resume)
	if got := <-calls; got != "three\n" {
		t.Fatalf("got %q", got)
	}
}

func TestLoopHangupOfPausedStream(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	hungup := make(chan struct{}, 1)
	s := add(t, l, near, nil, &script{hangup: func(s *Stream) { s.Close(); hungup <- struct{}{} }})
	paused := make(chan struct{})
	l.Post(func() { s.Pause(); close(paused) })
	<-paused
	far.Close()
	select {
	case <-hungup:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody noticed")
	}
}

func TestLoopEndAfterLastBytes(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	var got bytes.Buffer
	end := make(chan error, 1)
	add(t, l, near, nil, &script{
		receive: func(s *Stream, b []byte) int { got.Write(b); return len(b) },
		ended:   func(s *Stream, err error) { s.Close(); end <- err },
	})
	data := bytes.Repeat([]byte("x"), 300000)
	if _, err := far.Write(data); err != nil {
		t.Fatal(err)
	}
	far.Close()
	select {
	case err := <-end:
		if err != io.EOF || got.Len() != len(data) {
			t.Errorf("%v after %d bytes", err, got.Len())
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the end was lost")
	}
}

// A panic ends its own stream only.
// A connection is counted until its stream ends, whoever has its descriptor by then.
func TestLoopKeepsConnectionsCounted(t *testing.T) {
	l := newLoop(t)
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"descriptor": func(c net.Conn) net.Conn { return c },
		"none":       func(c net.Conn) net.Conn { return struct{ net.Conn }{c} },
	} {
		near, far := sockets(t)
		defer far.Close()
		conn := Wrap(wrap(near))
		var open atomic.Int32
		open.Store(1)
		conn.OnClose(func() { open.Add(-1) })
		s := add(t, l, conn, nil, echo())
		if n := open.Load(); n != 1 {
			t.Errorf("%s: %d are counted while the stream is open", name, n)
		}
		done := make(chan struct{})
		l.Post(func() {
			s.Close()
			s.Close()
			close(done)
		})
		<-done
		if n := open.Load(); n != 0 {
			t.Errorf("%s: %d are counted behind its end", name, n)
		}
	}
}

func TestLoopPanicEndsOneStream(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	ended := make(chan error, 1)
	add(t, l, near, nil, &script{
		receive: func(*Stream, []byte) int { panic("boom") },
		ended:   func(s *Stream, err error) { s.Close(); ended <- err },
	})
	other, end := sockets(t)
	add(t, l, other, nil, echo())
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("ended without a reason")
	}
	lines(t, end, 9, 10000)
}

func TestLoopRetainsUntilForgotten(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	s := add(t, l, near, nil, &script{})
	sent := make(chan struct{})
	l.Post(func() {
		s.Retain()
		s.Write([]byte("hello "))
		s.Write([]byte("world"))
	})
	if _, err := io.ReadFull(far, make([]byte, 11)); err != nil {
		t.Fatal(err)
	}
	l.Post(func() {
		defer close(sent)
		if got := string(s.Retained(6, 11)); got != "world" || s.SentTo() != 11 {
			t.Errorf("retained %q, sent to %d", got, s.SentTo())
		}
		s.Forget(6)
		s.Write([]byte("!"))
		if got := string(s.Retained(6, 12)); got != "world!" || s.Offset() != 12 {
			t.Errorf("retained %q, offset %d", got, s.Offset())
		}
	})
	<-sent
}

func TestLoopAlarm(t *testing.T) {
	l := newLoop(t)
	rang := make(chan time.Time, 1)
	start := time.Now()
	l.Post(func() {
		l.OnAlarm(func(now time.Time) { rang <- now })
		l.Alarm(l.Now().Add(time.Hour))
		l.Alarm(l.Now().Add(20 * time.Millisecond))
	})
	select {
	case now := <-rang:
		if now.Sub(start) < 20*time.Millisecond {
			t.Errorf("rang after %v", now.Sub(start))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no alarm")
	}
}

// The collector must be able to stop the loop's goroutine while it waits and while it works.
func TestLoopDoesNotHoldUpTheCollector(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	add(t, l, near, nil, echo())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			runtime.GC()
		}
	}()
	for i := range 20 {
		lines(t, far, uint64(i), 20000)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the collector hangs")
	}
}

func TestLoopPostAfterClose(t *testing.T) {
	l, err := NewLoop(slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	near, _ := sockets(t)
	ended := make(chan error, 1)
	add(t, l, near, nil, &script{ended: func(s *Stream, err error) { ended <- err }})
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	if l.Post(func() { t.Error("ran") }) {
		t.Error("took a post after its end")
	}
}

// One client that always has something to send must not keep others waiting for ever: an edge that was not read to its end is
// remembered by the loop itself.
func TestLoopBusyStreamYields(t *testing.T) {
	l := newLoop(t)
	near, far := sockets(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	add(t, l, near, nil, &script{})
	wg.Go(func() {
		b := make([]byte, 1<<20)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := far.Write(b); err != nil {
					return
				}
			}
		}
	})
	other, end := sockets(t)
	add(t, l, other, nil, echo())
	for i := range 50 {
		lines(t, end, uint64(i), 500)
	}
	close(stop)
	wg.Wait()
}
