package mysql

import (
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

const (
	// compressFrom is the least that is worth compressing, as servers have it.
	compressFrom = 50
	// compressAtMost is what goes into one compressed packet.
	compressAtMost = 2 * wholeCompressed
	// wholeCompressed is up to what length a row is collected for a client, so that it lies in one compressed packet:
	// Connector/Python finds the end of a row in two at most.
	wholeCompressed = 1 << 20
)

// compressed is a connection whose bytes travel in compressed packets (CLIENT_COMPRESS). It has one owner, like the
// stream above it, and holds memory only while a packet is under way.
//
// Servers number the packets inside after the compressed ones now and then, and clients do not look at those numbers.
// Streams do, and pass them on: compressed numbers what it reads anew, in order from the last restart.
type compressed struct {
	net.Conn        // addresses and deadlines
	in       stream // the compressed side
	left     int    // bytes of the compressed packet's payload that were not taken yet
	plain    int    // bytes that are still to come out of it
	z        io.ReadCloser
	seq      byte // of the next compressed packet that is written
	read     framing
	wrote    framing
	next     byte // number of the next packet inside
}

func newCompressed(under *socket.Conn) *compressed {
	return &compressed{Conn: under, in: stream{conn: under}}
}

// pack puts compression on a stream whose connection phase is over.
func (s *stream) pack() {
	s.packed = newCompressed(s.conn)
	s.conn = socket.Wrap(s.packed)
}

// restart is told that the next packet, in either direction, begins a command.
func (s *stream) restart() {
	if s.packed != nil {
		s.packed.seq, s.packed.next = 0, 0
	}
}

// WaitReadable waits for bytes and holds no memory meanwhile.
func (c *compressed) WaitReadable() error {
	if c.left > 0 || c.z != nil || c.in.w > c.in.r {
		return nil
	}
	return c.in.conn.WaitReadable()
}

// Pending reports whether something was received that nobody has read.
func (c *compressed) Pending() (bool, error) {
	if c.left > 0 || c.z != nil || c.in.w > c.in.r {
		return true, nil
	}
	return c.in.conn.Pending()
}

// Close closes the connection; only its owner may.
func (c *compressed) Close() error {
	c.free()
	return c.Conn.Close()
}

// free gives all memory back.
func (c *compressed) free() {
	c.in.drop()
	c.z = nil // in the middle of a packet: of no use to others
}

func (c *compressed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := 0, error(nil)
		switch {
		case c.z != nil:
			n, err = c.inflate(p)
		case c.left > 0:
			n, err = (*payload)(c).Read(p)
		default:
			err = c.open()
		}
		if n == 0 && err == nil {
			continue
		}
		c.in.release()
		c.next = c.read.number(p[:n], c.next, true)
		return n, err
	}
}

// open reads the header of a compressed packet. The lengths in it are claims: they bound what is taken, and no memory is
// taken for them.
func (c *compressed) open() error {
	for c.in.w-c.in.r < wire.CompressedHeaderLen {
		if err := c.in.fill(wire.CompressedHeaderLen); err != nil {
			return c.in.cut(err)
		}
	}
	length, seq, plain := wire.CompressedHeader(c.in.unread())
	c.in.took(wire.CompressedHeaderLen)
	if length == 0 {
		return fmt.Errorf("reading compressed packet: %w: it is empty", wire.ErrMalformed)
	}
	c.left, c.plain, c.seq = length, plain, seq+1
	if plain == 0 {
		return nil
	}
	z, err := inflater((*payload)(c))
	if err != nil {
		return torn(err)
	}
	c.z = z
	return nil
}

// torn tells what is wrong with the bytes from what is wrong with the connection.
func torn(err error) error {
	if errors.Is(err, zlib.ErrHeader) || errors.Is(err, zlib.ErrChecksum) || errors.Is(err, zlib.ErrDictionary) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("reading compressed packet: %w: %w", wire.ErrMalformed, err)
	}
	return err
}

func (c *compressed) inflate(p []byte) (int, error) {
	n, err := c.z.Read(p[:min(len(p), c.plain)])
	if c.plain -= n; c.plain > 0 {
		if err != nil {
			return n, torn(err)
		}
		return n, nil
	}
	var one [1]byte
	for err == nil { // the checksum comes behind the last byte
		var more int
		if more, err = c.z.Read(one[:]); more > 0 {
			err = zlib.ErrHeader
		}
	}
	if err != io.EOF {
		return n, torn(err)
	}
	if c.left > 0 {
		return n, fmt.Errorf("reading compressed packet: %w: its length is not what its header says", wire.ErrMalformed)
	}
	inflaters.Put(c.z)
	c.z = nil
	return n, nil
}

// payload is the rest of a compressed packet's payload, byte by byte if need be, so that nothing reads past its end.
type payload compressed

func (c *payload) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if err := c.await(); err != nil {
		return 0, err
	}
	n := copy(p, c.in.unread()[:min(c.left, c.in.w-c.in.r)])
	c.in.took(n)
	c.left -= n
	return n, nil
}

func (c *payload) ReadByte() (byte, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if err := c.await(); err != nil {
		return 0, err
	}
	b := c.in.unread()[0]
	c.in.took(1)
	c.left--
	return b, nil
}

func (c *payload) await() error {
	if c.in.r < c.in.w {
		return nil
	}
	err := c.in.fill(1)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *compressed) Write(p []byte) (int, error) {
	c.next = c.wrote.number(p, c.next, false)
	o := outputs.Get().(*output)
	defer outputs.Put(o)
	for done := 0; ; {
		part := p[done:min(len(p), done+compressAtMost)]
		b, err := o.packet(part, c.seq)
		if err != nil {
			return done, err
		}
		c.seq++
		if n, err := c.Conn.Write(b); err != nil {
			return done + min(n, 1), err // one says that the other side may have seen some of it
		}
		if done += len(part); done == len(p) {
			return done, nil
		}
	}
}

// framing follows packets in a run of bytes that may end anywhere.
type framing struct {
	header [wire.HeaderLen]byte
	have   int // of the header
	left   int // of the packet
}

// number walks over p. next is the number of the packet that begins next; it returns that of the one after p. With write
// it numbers the packets, else it follows their numbers.
func (f *framing) number(p []byte, next byte, write bool) byte {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.left -= n
			p = p[n:]
			continue
		}
		f.header[f.have] = p[0]
		if f.have++; f.have == wire.HeaderLen {
			if write {
				p[0] = next
			}
			next = p[0] + 1
			f.left, _ = wire.Header(f.header[:])
			f.have = 0
		}
		p = p[1:]
	}
	return next
}

var (
	inflaters sync.Pool // io.ReadCloser, also zlib.Resetter
	deflaters = sync.Pool{New: func() any {
		z, err := zlib.NewWriterLevel(nil, zlib.BestSpeed)
		if err != nil {
			panic(err) // the level is a constant
		}
		return z
	}}
	outputs = sync.Pool{New: func() any { return &output{} }}
)

func inflater(r io.Reader) (io.ReadCloser, error) {
	z, ok := inflaters.Get().(io.ReadCloser)
	if !ok {
		return zlib.NewReader(r)
	}
	return z, z.(zlib.Resetter).Reset(r, nil)
}

// output is room for compressed packets. It is held while they are written, which may take a slow peer long; a
// compressor, which weighs far more, only while it works.
type output struct{ b []byte }

// Write is where the compressor puts its output.
func (o *output) Write(p []byte) (int, error) {
	o.b = append(o.b, p...)
	return len(p), nil
}

// packet makes a compressed packet, or one of bytes as they are where compressing does not shorten them.
func (o *output) packet(p []byte, seq byte) ([]byte, error) {
	o.b = append(o.b[:0], make([]byte, wire.CompressedHeaderLen)...)
	if len(p) >= compressFrom {
		z := deflaters.Get().(*zlib.Writer)
		defer deflaters.Put(z)
		z.Reset(o)
		_, err := z.Write(p)
		if err = errors.Join(err, z.Close()); err != nil {
			return nil, fmt.Errorf("compressing: %w", err)
		}
		if n := len(o.b) - wire.CompressedHeaderLen; n < len(p) {
			wire.PutCompressedHeader(o.b, n, seq, len(p))
			return o.b, nil
		}
		o.b = o.b[:wire.CompressedHeaderLen]
	}
	o.b = append(o.b, p...)
	wire.PutCompressedHeader(o.b, len(p), seq, 0)
	return o.b, nil
}
