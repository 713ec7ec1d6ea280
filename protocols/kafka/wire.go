package kafka

import (
	"encoding/binary"
	"errors"
)

// ErrShort says that the input ends inside the thing being read; more bytes may complete it.
var ErrShort = errors.New("kafka: input ends early")

// MaxRequestSize is the broker's own default limit (socket.request.max.bytes) and sidewire's.
const MaxRequestSize = 100 << 20

// Reader reads Kafka's primitive types. After the first failure it returns zero values and Err tells why, so decoders
// are straight lines. Byte slices it returns alias the input.
type Reader struct {
	Src []byte
	Off int
	Err error
}

func (r *Reader) take(n int) []byte {
	if r.Err != nil {
		return nil
	}
	if n < 0 || n > len(r.Src)-r.Off {
		r.Err = ErrShort
		return nil
	}
	b := r.Src[r.Off : r.Off+n]
	r.Off += n
	return b
}

// Skip passes over n bytes.
func (r *Reader) Skip(n int) { r.take(n) }

// Int8 reads one signed byte.
func (r *Reader) Int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

// Int16 reads a big-endian 16-bit integer.
func (r *Reader) Int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

// Int32 reads a big-endian 32-bit integer.
func (r *Reader) Int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// Int64 reads a big-endian 64-bit integer.
func (r *Reader) Int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Uvarint reads an unsigned varint of at most five bytes, the widest Kafka writes.
func (r *Reader) Uvarint() uint32 {
	if r.Err != nil {
		return 0
	}
	v, n := uvarint(r.Src[r.Off:])
	switch {
	case n == 0:
		r.Err = ErrShort
		return 0
	case n < 0:
		r.Err = errVarint
		return 0
	}
	r.Off += n
	return v
}

// NullableString reads an int16-prefixed string; nil for null.
func (r *Reader) NullableString() []byte {
	n := r.Int16()
	if r.Err != nil || n < 0 {
		return nil
	}
	return r.take(int(n))
}

// CompactNullableString reads a uvarint-prefixed (length+1) string; nil for null.
func (r *Reader) CompactNullableString() []byte {
	n := r.Uvarint()
	if r.Err != nil || n == 0 {
		return nil
	}
	return r.take(int(n - 1))
}

// SkipTags passes over a tagged-field section.
func (r *Reader) SkipTags() {
	for n := r.Uvarint(); n > 0 && r.Err == nil; n-- {
		r.Uvarint()
		r.take(int(r.Uvarint()))
	}
}

var errVarint = errors.New("kafka: varint is longer than five bytes")

// uvarint returns the value and its width; width 0 when b ends inside it, -1 when it is too long for 32 bits.
func uvarint(b []byte) (uint32, int) {
	var v uint64
	for i := 0; i < 5; i++ {
		if i >= len(b) {
			return 0, 0
		}
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			if v > 1<<32-1 {
				return 0, -1
			}
			return uint32(v), i + 1
		}
	}
	return 0, -1
}

func uvarintLen(v uint32) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

func appendUvarint(dst []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// appendUvarintWidth writes v in exactly width bytes: Kafka's readers accept continuation bytes that add nothing.
func appendUvarintWidth(dst []byte, v uint32, width int) []byte {
	for ; width > 1; width-- {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v&0x7f))
}

func appendCompactString(dst []byte, s string) []byte {
	return append(appendUvarint(dst, uint32(len(s)+1)), s...)
}

func appendCompactNullable(dst, s []byte) []byte {
	if s == nil {
		return append(dst, 0)
	}
	return append(appendUvarint(dst, uint32(len(s)+1)), s...)
}
