package redis

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func words(r *Request) []string {
	var w []string
	for i := range r.Len() {
		w = append(w, string(r.Arg(i)))
	}
	return w
}

func TestRequestInAnyChunks(t *testing.T) {
	for in, want := range map[string][]string{
		"*1\r\n$4\r\nPING\r\n":                           {"PING"},
		"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n": {"SET", "k", "a\r\nb"},
		"*2\r\n$3\r\nGET\r\n$0\r\n\r\n":                  {"GET", ""},
		"*0\r\n":                                         nil,
		"*-1\r\n":                                        nil,
		"\r\n":                                           nil,
		"PING\r\n":                                       {"PING"},
		"set  k \"a b\\x41\\n\" 'it\\'s'\n":              {"set", "k", "a bA\n", "it's"},
		"get \"\"\r\n":                                   {"get", ""},
	} {
		var r Request
		stream := []byte(in + "*1\r\n")
		for have := 1; ; have++ {
			n, err := r.Next(stream[:have])
			if err != nil {
				t.Fatalf("%q at %d: %v", in, have, err)
			}
			if n == 0 {
				if w := r.Want(stream[:have]); w <= have || w > len(in) {
					t.Errorf("%q at %d: wants %d", in, have, w)
				}
				continue
			}
			if n != len(in) || have != len(in) || !slices.Equal(words(&r), want) {
				t.Errorf("%q: %d bytes of %d, %q", in, n, have, words(&r))
			}
			break
		}
		if len(want) > 0 {
			var again Request
			n, err := again.Next(r.Raw())
			if err != nil || n != len(r.Raw()) || !slices.Equal(words(&again), want) {
				t.Errorf("%q: canonical form %q reads as %q, %v", in, r.Raw(), words(&again), err)
			}
			for i := range want {
				if got := AppendBulk(nil, want[i]); !bytes.Equal(r.RawArg(i), got) {
					t.Errorf("%q: raw argument %d is %q", in, i, r.RawArg(i))
				}
			}
		}
	}
}

// The texts are those of Redis 7.0's networking.c.
func TestProtocolErrors(t *testing.T) {
	for in, want := range map[string]string{
		"*x\r\n":                                     "invalid multibulk length",
		"*1048577\r\n":                               "invalid multibulk length",
		"*1\r\n+OK\r\n":                              "expected '$', got '+'",
		"*1\r\n$-1\r\n":                              "invalid bulk length",
		"*1\r\n$536870913\r\n":                       "invalid bulk length",
		"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n":     "expected '$', got 'f'",
		"get \"a\r\n":                                "unbalanced quotes in request",
		"get \"a\"b\r\n":                             "unbalanced quotes in request",
		strings.Repeat("a", MaxInline+1):             "too big inline request",
		"*" + strings.Repeat("1", MaxInline+1):       "too big mbulk count string",
		"*1\r\n$" + strings.Repeat("1", MaxInline+1): "too big bulk count string",
		"*1\r\n$1\r\nabc":                            "bulk string does not end where it said",
	} {
		var r Request
		_, err := r.Next([]byte(in))
		var p ProtocolError
		if !errors.As(err, &p) || string(p) != want {
			t.Errorf("%.30q: %v, want %s", in, err, want)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n"), uint8(3))
	f.Add([]byte("set a \"\\x00\\\"\" 'b'\r\n*0\r\n"), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var whole, parts Request
		n, err := whole.Next(b)
		m, perr := 0, error(nil)
		for have := 0; have < len(b) && m == 0 && perr == nil; {
			have = min(have+int(step)+1, len(b))
			m, perr = parts.Next(b[:have])
		}
		if n != m || (err == nil) != (perr == nil) {
			t.Fatalf("whole: %d, %v; in steps: %d, %v", n, err, m, perr)
		}
		if n == 0 {
			return
		}
		if n > len(b) || !slices.Equal(words(&whole), words(&parts)) {
			t.Fatalf("%q against %q", words(&whole), words(&parts))
		}
		if whole.Len() > 0 {
			if c := Lookup(whole.Arg(0)); c != nil {
				keys, _ := c.AppendKeys(nil, &whole)
				for _, k := range keys {
					if k < 1 || k >= whole.Len() {
						t.Fatalf("key at %d of %d", k, whole.Len())
					}
				}
			}
		}
	})
}

func TestRequestAllocatesNothing(t *testing.T) {
	b := []byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\nabcd\r\n")
	var r Request
	keys := make([]int, 0, 4)
	if n := testing.AllocsPerRun(100, func() {
		if n, err := r.Next(b); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
		c := Lookup(r.Arg(0))
		keys, _ = c.AppendKeys(keys[:0], &r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	in := []byte("*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n")
	var r Request
	for b.Loop() {
		r.Next(in)
		Lookup(r.Arg(0))
	}
}
