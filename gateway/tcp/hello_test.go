package tcp

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

// clientHello is what a client of that name begins with.
func clientHello(t testing.TB, name string, protocols ...string) []byte {
	t.Helper()
	s := &sent{}
	cfg := &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}
	if err := tls.Client(s, cfg).Handshake(); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return s.out.Bytes()
}

// sent keeps what is written and has nothing to read.
type sent struct {
	tape
	out bytes.Buffer
}

func (s *sent) Read([]byte) (int, error)    { return 0, io.EOF }
func (s *sent) Write(b []byte) (int, error) { return s.out.Write(b) }

func TestInspect(t *testing.T) {
	h := clientHello(t, "a.example.com", "h2", "x")
	record := func(b []byte) []byte {
		return append([]byte{recordHandshake, 3, 1, byte(len(b) >> 8), byte(len(b))}, b...)
	}
	split := append(record(h[5:25]), record(h[25:])...)
	huge := bytes.Repeat(record(append([]byte{1, 0, 0xff, 0xff}, make([]byte, 12000)...)), 20)
	for _, c := range []struct {
		what  string
		bytes []byte
		want  hello
		fails bool
	}{
		{what: "tls", bytes: h, want: hello{true, "a.example.com", []string{"h2", "x"}}},
		{what: "tls in two records", bytes: split, want: hello{true, "a.example.com", []string{"h2", "x"}}},
		{what: "tls without names", bytes: clientHello(t, ""), want: hello{tls: true}},
		{what: "something else", bytes: []byte("GET / HTTP/1.1\r\n"), want: hello{}},
		{what: "one byte", bytes: []byte("G"), want: hello{}},
		{what: "no record", bytes: []byte("\x16hello, server"), want: hello{}},
		{what: "nothing", fails: true},
		{what: "broken off", bytes: h[:len(h)-1], fails: true},
		{what: "too long", bytes: huge, fails: true},
		{what: "nonsense inside", bytes: record([]byte{1, 0, 0, 2, 3, 3}), fails: true},
	} {
		for _, r := range []io.Reader{bytes.NewReader(c.bytes), iotest.OneByteReader(bytes.NewReader(c.bytes))} {
			got, first, err := inspect(r)
			if (err != nil) != c.fails {
				t.Errorf("%s: error %v", c.what, err)
				continue
			}
			rest, _ := io.ReadAll(r)
			if !c.fails && (got.tls != c.want.tls || got.name != c.want.name || !slices.Equal(got.protocols, c.want.protocols) || !bytes.Equal(append(first, rest...), c.bytes)) {
				t.Errorf("%s: %+v, and %d bytes of %d are left", c.what, got, len(first)+len(rest), len(c.bytes))
			}
		}
	}
}

// Whatever comes, nothing is lost of it, and no more is kept than is allowed.
func FuzzInspect(f *testing.F) {
	f.Add(clientHello(f, "a.example.com", "h2"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		h, first, err := inspect(r)
		if len(first) > maxHello {
			t.Fatalf("kept %d bytes", len(first))
		}
		if err != nil {
			return
		}
		if h.tls && b[0] != recordHandshake {
			t.Fatalf("%+v", h)
		}
		rest, _ := io.ReadAll(r)
		if !bytes.Equal(append(first, rest...), b) {
			t.Fatal("bytes were lost")
		}
	})
}
