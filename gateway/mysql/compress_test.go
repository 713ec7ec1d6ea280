package mysql

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// tape is a connection whose other side has said all it will say, in pieces of one size.
type tape struct {
	net.Conn
	in   []byte
	step int
	out  bytes.Buffer
}

func (p *tape) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[:min(len(p.in), p.step)])
	p.in = p.in[n:]
	return n, nil
}

func (p *tape) Write(b []byte) (int, error)        { return p.out.Write(b) }
func (p *tape) SetDeadline(time.Time) error        { return nil }
func (p *tape) Close() error                       { return nil }
func (p *tape) SetReadDeadline(t time.Time) error  { return nil }
func (p *tape) SetWriteDeadline(t time.Time) error { return nil }

func playing(in []byte, step int) (*compressed, *tape) {
	p := &tape{in: in, step: step}
	return newCompressed(socket.Wrap(p)), p
}

// What one side writes the other reads, whatever its size and however it is cut; large text gets shorter, and small
// packets and noise grow by their headers alone.
func TestCompressedRoundTrip(t *testing.T) {
	noise := make([]byte, 100_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for _, tc := range []struct {
		name    string
		payload []byte
		most    int
	}{
		{"small", []byte("\x03SELECT 1"), 9 + 4 + 7},
		{"text", bytes.Repeat([]byte("select "), 100_000), 20_000},
		{"noise", noise, len(noise) + 4 + 7},
		{"beyond one packet", bytes.Repeat([]byte("0123456789abcdef"), 1<<20+7), 1 << 20},
	} {
		for _, step := range []int{1 << 20, 7} {
			if step == 7 && len(tc.payload) > 1<<20 {
				continue
			}
			plain, _ := wire.AppendPacket(nil, 0, tc.payload)
			c, p := playing(nil, 0)
			if n, err := c.Write(plain); n != len(plain) || err != nil {
				t.Fatal(tc.name, n, err)
			}
			if p.out.Len() > tc.most {
				t.Errorf("%s: %d bytes became %d", tc.name, len(plain), p.out.Len())
			}
			d, _ := playing(p.out.Bytes(), step)
			got, err := io.ReadAll(d)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%s in pieces of %d: %d bytes, %v", tc.name, step, len(got), err)
			}
			if d.in.buf != nil || d.z != nil {
				t.Errorf("%s: memory is held when all is read", tc.name)
			}
		}
	}
}

// Numbers of compressed packets begin with a command and go on from the other side's; those inside are put in order.
func TestCompressedNumbers(t *testing.T) {
	answer := append(compressedPacket(1, []byte("\x01\x00\x00\x01a\x01\x00\x00\x02b\x01"), false), compressedPacket(2, []byte("\x00\x00\x02c"), false)...)
	c, p := playing(answer, 1)
	s := &stream{conn: socket.Wrap(c), packed: c}
	s.restart()
	s.conn.Write([]byte("\x01\x00\x00\x00q"))
	s.conn.Write([]byte("\x01\x00\x00\x01r"))
	want := append(compressedPacket(0, []byte("\x01\x00\x00\x00q"), false), compressedPacket(1, []byte("\x01\x00\x00\x01r"), false)...)
	if !bytes.Equal(p.out.Bytes(), want) {
		t.Fatalf("wrote %x, want %x", p.out.Bytes(), want)
	}
	got := make([]byte, 15)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "\x01\x00\x00\x02a\x01\x00\x00\x03b\x01\x00\x00\x04c" {
		t.Fatalf("read %x, %v", got, err)
	}
	p.out.Reset()
	s.conn.Write([]byte("\x01\x00\x00\x05f"))
	s.restart()
	s.conn.Write([]byte("\x01\x00\x00\x00g"))
	want = append(compressedPacket(3, []byte("\x01\x00\x00\x05f"), false), compressedPacket(0, []byte("\x01\x00\x00\x00g"), false)...)
	if !bytes.Equal(p.out.Bytes(), want) {
		t.Fatalf("wrote %x, want %x", p.out.Bytes(), want)
	}
}

func compressedPacket(seq byte, p []byte, deflate bool) []byte {
	b := make([]byte, wire.CompressedHeaderLen)
	if !deflate {
		wire.PutCompressedHeader(b, len(p), seq, 0)
		return append(b, p...)
	}
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	z.Write(p)
	z.Close()
	wire.PutCompressedHeader(b, out.Len(), seq, len(p))
	return append(b, out.Bytes()...)
}

// Headers that lie are found out, and cost no memory.
func TestCompressedLies(t *testing.T) {
	text := bytes.Repeat([]byte("x"), 1000)
	good := compressedPacket(0, text, true)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", make([]byte, 7), wire.ErrMalformed},
		{"claims more than comes out", change(6, 0xff), wire.ErrMalformed},
		{"claims less than comes out", change(5, 1), wire.ErrMalformed},
		{"no zlib", compressedLie(text), wire.ErrMalformed},
		{"another checksum", change(len(good)-1, ^good[len(good)-1]), wire.ErrMalformed},
		{"bytes behind the checksum", func() []byte { b := append(bytes.Clone(good), 0, 0); b[0] += 2; return b }(), wire.ErrMalformed},
		{"header cut", good[:5], io.ErrUnexpectedEOF},
		{"payload cut", good[:len(good)-3], io.ErrUnexpectedEOF},
	} {
		c, _ := playing(tc.in, 11)
		if _, err := io.ReadAll(c); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
		c.free()
	}
	huge := append([]byte{0xff, 0xff, 0xff, 0, 0xff, 0xff, 0xff}, good[7:]...)
	if took := testing.AllocsPerRun(20, func() {
		c, _ := playing(bytes.Clone(huge), 1<<20)
		io.Copy(io.Discard, c)
		c.free()
	}); took > 60 {
		t.Errorf("%v allocations for a claim of 16 MB", took)
	}
}

func compressedLie(p []byte) []byte {
	b := compressedPacket(0, p, false)
	b[4] = 200
	return b
}

// FuzzCompressed: whatever the other side sends, nothing panics, and how it is cut changes nothing.
func FuzzCompressed(f *testing.F) {
	f.Add(compressedPacket(0, []byte("\x08\x00\x00\x00\x03SELECT 1"), false), byte(1))
	f.Add(compressedPacket(3, bytes.Repeat([]byte("\x08\x00\x00\x07\x03SELECT 1"), 20), true), byte(5))
	f.Add(append(compressedPacket(0, []byte("\x08\x00"), false), compressedPacket(1, []byte("\x00\x00\x03SELECT 1"), false)...), byte(2))
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		read := func(step int) ([]byte, error) {
			c, _ := playing(bytes.Clone(in), step)
			defer c.free()
			return io.ReadAll(io.LimitReader(c, 1<<20))
		}
		a, err1 := read(len(in) + 1)
		b, err2 := read(int(step)%16 + 1)
		if !bytes.Equal(a, b) || (err1 == nil) != (err2 == nil) {
			t.Fatalf("in one piece %d bytes, %v; in pieces %d bytes, %v", len(a), err1, len(b), err2)
		}
	})
}
