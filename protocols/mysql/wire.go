package mysql

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed is what every decoder returns, wrapped with what was being read,
// for bytes that are not what the protocol says they are.
var ErrMalformed = errors.New("malformed packet")

// reader walks a payload. After the first fault every further read returns zero
// values, so that decoders are straight lines and check the fault once.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

// lenenc reads a length-encoded integer; 0xfb (NULL) and 0xff are faults here.
func (r *reader) lenenc() uint64 {
	v, n := Lenenc(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) lenencBytes() []byte {
	n := r.lenenc()
	if r.bad || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	return r.take(int(n))
}

// nul reads up to a NUL byte, which must be there.
func (r *reader) nul() []byte {
	for i, c := range r.b {
		if c == 0 {
			p := r.b[:i:i]
			r.b = r.b[i+1:]
			return p
		}
	}
	r.fail()
	return nil
}

// nulOrRest reads up to a NUL byte or, as old servers and clients leave it out, the end.
func (r *reader) nulOrRest() []byte {
	for _, c := range r.b {
		if c == 0 {
			return r.nul()
		}
	}
	return r.rest()
}

func (r *reader) rest() []byte {
	p := r.b
	r.b = nil
	return p
}

// Lenenc decodes the length-encoded integer at the start of b and says how many
// bytes it took: 0 if b is too short, -1 if b starts with NULL (0xfb) or 0xff.
func Lenenc(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch c := b[0]; {
	case c < 0xfb:
		return uint64(c), 1
	case c == 0xfc:
		if len(b) < 3 {
			return 0, 0
		}
		return uint64(binary.LittleEndian.Uint16(b[1:])), 3
	case c == 0xfd:
		if len(b) < 4 {
			return 0, 0
		}
		return uint64(b[1]) | uint64(b[2])<<8 | uint64(b[3])<<16, 4
	case c == 0xfe:
		if len(b) < 9 {
			return 0, 0
		}
		return binary.LittleEndian.Uint64(b[1:]), 9
	default:
		return 0, -1
	}
}

// AppendLenenc appends v as a length-encoded integer.
func AppendLenenc(dst []byte, v uint64) []byte {
	switch {
	case v < 0xfb:
		return append(dst, byte(v))
	case v < 1<<16:
		return append(dst, 0xfc, byte(v), byte(v>>8))
	case v < 1<<24:
		return append(dst, 0xfd, byte(v), byte(v>>8), byte(v>>16))
	default:
		return binary.LittleEndian.AppendUint64(append(dst, 0xfe), v)
	}
}

// AppendLenencBytes appends p with its length before it.
func AppendLenencBytes(dst, p []byte) []byte {
	return append(AppendLenenc(dst, uint64(len(p))), p...)
}

// AppendLenencString appends s with its length before it.
func AppendLenencString(dst []byte, s string) []byte {
	return append(AppendLenenc(dst, uint64(len(s))), s...)
}
