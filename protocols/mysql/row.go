package mysql

import (
	"fmt"
)

// SplitText cuts a row of the text protocol into its n values, appending them to
// dst; NULL is nil. The values borrow from the row.
func SplitText(dst [][]byte, row []byte, n int) ([][]byte, error) {
	r := reader{b: row}
	for range n {
		if len(r.b) > 0 && r.b[0] == 0xfb {
			r.b = r.b[1:]
			dst = append(dst, nil)
			continue
		}
		v := r.lenencBytes()
		if r.bad {
			return dst, fmt.Errorf("reading row: %w: fewer than %d values", ErrMalformed, n)
		}
		dst = append(dst, v)
	}
	if len(r.b) != 0 {
		return dst, fmt.Errorf("reading row: %w: %d bytes after %d values", ErrMalformed, len(r.b), n)
	}
	return dst, nil
}

// AppendTextValue appends one value of a text row; nil is NULL.
func AppendTextValue(dst, v []byte) []byte {
	if v == nil {
		return append(dst, 0xfb)
	}
	return AppendLenencBytes(dst, v)
}

// SplitBinary cuts a row of the binary protocol into its values, appending them
// to dst as they are encoded, length prefixes of strings, dates and times left
// out; NULL is nil. The values borrow from the row.
func SplitBinary(dst [][]byte, row []byte, types []FieldType) ([][]byte, error) {
	n := len(types)
	r := reader{b: row}
	if r.u8() != 0 {
		r.fail()
	}
	nulls := r.take((n + 7 + 2) / 8)
	if r.bad {
		return dst, fmt.Errorf("reading binary row: %w: header", ErrMalformed)
	}
	for i, t := range types {
		if bit := i + 2; nulls[bit/8]&(1<<(bit%8)) != 0 {
			dst = append(dst, nil)
			continue
		}
		v := r.binary(t)
		if r.bad {
			return dst, fmt.Errorf("reading binary row: %w: value %d of type 0x%02x", ErrMalformed, i, byte(t))
		}
		dst = append(dst, v)
	}
	if len(r.b) != 0 {
		return dst, fmt.Errorf("reading binary row: %w: %d bytes after %d values", ErrMalformed, len(r.b), n)
	}
	return dst, nil
}

// FixedLen is the length of a binary value of type t, or -1 if its length stands
// before it.
func FixedLen(t FieldType) int {
	switch t {
	case TypeNull:
		return 0
	case TypeTiny:
		return 1
	case TypeShort, TypeYear:
		return 2
	case TypeLong, TypeInt24, TypeFloat:
		return 4
	case TypeLongLong, TypeDouble:
		return 8
	default:
		return -1
	}
}

func (r *reader) binary(t FieldType) []byte {
	n := FixedLen(t)
	switch {
	case n >= 0:
		return r.take(n)
	case t == TypeDate || t == TypeDatetime || t == TypeTimestamp || t == TypeTime || t == TypeNewDate:
		return r.take(int(r.u8()))
	default:
		v := r.lenencBytes()
		if v == nil && !r.bad {
			v = []byte{}
		}
		return v
	}
}

// BinaryRow builds a row of the binary protocol of n values, to be added in order.
type BinaryRow struct {
	dst   []byte
	nulls int
	next  int
}

// BeginBinaryRow begins a row of n values at the end of dst.
func BeginBinaryRow(dst []byte, n int) BinaryRow {
	dst = append(dst, 0)
	at := len(dst)
	for range (n + 7 + 2) / 8 {
		dst = append(dst, 0)
	}
	return BinaryRow{dst: dst, nulls: at}
}

// Add appends a value encoded as SplitBinary returns it; nil is NULL.
func (b *BinaryRow) Add(t FieldType, v []byte) {
	bit := b.next + 2
	b.next++
	if v == nil {
		b.dst[b.nulls+bit/8] |= 1 << (bit % 8)
		return
	}
	if FixedLen(t) < 0 {
		b.dst = AppendLenenc(b.dst, uint64(len(v)))
	}
	b.dst = append(b.dst, v...)
}

// Bytes is what has been built so far, behind what BeginBinaryRow was given.
func (b *BinaryRow) Bytes() []byte { return b.dst }
