package redis

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

var replies = []string{
	"+OK\r\n", "-ERR no\r\n", ":1\r\n", ":-9223372036854775808\r\n", "$-1\r\n", "$0\r\n\r\n", "$5\r\nhe\r\no\r\n", "*-1\r\n", "*0\r\n",
	"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "_\r\n", "#t\r\n", ",1.5e3\r\n", "(123456789012345678901234567890\r\n", "!7\r\nERR bad\r\n", "=7\r\ntxt:abc\r\n",
	"%1\r\n+k\r\n*1\r\n_\r\n", "~2\r\n:1\r\n:2\r\n", ">2\r\n+message\r\n$1\r\nx\r\n", "|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", "*1\r\n|1\r\n+a\r\n+b\r\n:7\r\n",
	"%0\r\n", "|0\r\n:1\r\n",
}

func TestFramerFindsEveryReplyInAnyChunks(t *testing.T) {
	for _, r := range replies {
		stream := []byte(r + "+NEXT\r\n")
		var f Framer
		for have := 1; ; have++ {
			n, err := f.Next(stream[:have])
			if err != nil {
				t.Fatalf("%q at %d: %v", r, have, err)
			}
			if n > 0 {
				if n != len(r) || have != len(r) {
					t.Errorf("%q: frame of %d bytes found with %d", r, n, have)
				}
				break
			}
			if w := f.Want(have); w <= have || w > len(r) {
				t.Errorf("%q at %d: wants %d", r, have, w)
			}
		}
		if f.Busy() {
			t.Errorf("%q: still busy", r)
		}
	}
}

func TestFramerPassesOnWhatIsAccountedFor(t *testing.T) {
	body := strings.Repeat("x", 100000)
	stream := []byte("*2\r\n$100000\r\n" + body + "\r\n$3\r\nabc\r\n")
	var f Framer
	var out, in []byte
	for at := 0; at < len(stream); at += 777 {
		in = append(in, stream[at:min(at+777, len(stream))]...)
		n, err := f.Next(in)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			n = f.Accounted(len(in))
			f.Skip(n)
		}
		out, in = append(out, in[:n]...), in[n:]
		if len(in) > 64 {
			t.Fatalf("%d bytes are held back", len(in))
		}
	}
	if !bytes.Equal(out, stream) || f.Busy() {
		t.Errorf("%d bytes came out of %d, busy %v", len(out), len(stream), f.Busy())
	}
}

func TestFramerRefuses(t *testing.T) {
	for _, r := range []string{
		"x\r\n", "$x\r\n", "$-2\r\n", "$99999999999\r\n", "*9999999999\r\n", "$1\r\nabc", "+OK\n", "\r\n", "$01\r\na\r\n", "*2147483648\r\n*2147483648\r\n",
		"+" + strings.Repeat("x", maxLine+2),
	} {
		var f Framer
		if n, err := f.Next([]byte(r)); !errors.Is(err, ErrFrame) {
			t.Errorf("%.20q: n %d, err %v", r, n, err)
		}
	}
}

func TestCutBulkLeavesWhatIsNotPlain(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
	}{
		{"$3\r\nabc\r\nrest", 9}, {"$0\r\n\r\n", 6}, {"$-1\r\n", 0}, {"$03\r\nabc\r\n", 0}, {"$\r\n", 0}, {"$3\r\nab", 0}, {"$3", 0}, {"$3\n\nabc\r\n", 0},
		{":3\r\n", 0}, {"", 0}, {"$12345678\r\n", 0}, {"$3\r", 0},
	} {
		if got := CutBulk([]byte(c.in)); got != c.want {
			t.Errorf("%q is cut at %d, want %d", c.in, got, c.want)
		}
	}
}

func FuzzFramer(f *testing.F) {
	for _, r := range replies {
		f.Add([]byte(r), uint8(1))
	}
	f.Add([]byte("*3\r\n$1\r\na"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var whole, parts Framer
		n, err := whole.Next(b)
		var m int
		var perr error
		for have := 0; have < len(b) && m == 0 && perr == nil; {
			have = min(have+int(step)+1, len(b))
			m, perr = parts.Next(b[:have])
		}
		if n != m || (err == nil) != (perr == nil) {
			t.Fatalf("whole: %d, %v; in steps: %d, %v", n, err, m, perr)
		}
		if n > len(b) {
			t.Fatalf("frame of %d in %d bytes", n, len(b))
		}
		if cut := CutBulk(b); cut > 0 && cut != n && err == nil {
			t.Fatalf("a bulk string of %d in a frame of %d", cut, n)
		}
	})
}

func TestFramerAllocatesNothing(t *testing.T) {
	b := []byte("*2\r\n$3\r\nabc\r\n:1\r\n")
	var f Framer
	if n := testing.AllocsPerRun(100, func() {
		if n, err := f.Next(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFramerBulk(b *testing.B) {
	r := []byte("$64\r\n" + strings.Repeat("x", 64) + "\r\n")
	var f Framer
	for b.Loop() {
		f.Next(r)
	}
}
