package merge

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Column is what a MySQL column definition says about a column's values.
type Column struct {
	Name     string
	Type     byte // protocol type, such as 3 for LONG
	Flags    uint16
	Charset  uint16 // collation id
	Decimals byte
	Length   uint32
}

// Protocol column types that merging decodes.
const (
	TypeDecimal    = 0x00
	TypeTiny       = 0x01
	TypeShort      = 0x02
	TypeLong       = 0x03
	TypeFloat      = 0x04
	TypeDouble     = 0x05
	TypeNull       = 0x06
	TypeTimestamp  = 0x07
	TypeLongLong   = 0x08
	TypeInt24      = 0x09
	TypeDate       = 0x0a
	TypeTime       = 0x0b
	TypeDatetime   = 0x0c
	TypeYear       = 0x0d
	TypeVarchar    = 0x0f
	TypeBit        = 0x10
	TypeJSON       = 0xf5
	TypeNewDecimal = 0xf6
	TypeEnum       = 0xf7
	TypeSet        = 0xf8
	TypeTinyBlob   = 0xf9
	TypeMediumBlob = 0xfa
	TypeLongBlob   = 0xfb
	TypeBlob       = 0xfc
	TypeVarString  = 0xfd
	TypeString     = 0xfe
	TypeGeometry   = 0xff
)

// Column flags.
const (
	FlagUnsigned = 0x20
	FlagBinary   = 0x80
	FlagEnum     = 0x100
	FlagSet      = 0x800
)

// Format says how the rows' bytes are laid out.
type Format uint8

// Formats.
const (
	Text   Format = iota // COM_QUERY: length-encoded strings, 0xfb for NULL
	Binary               // COM_STMT_EXECUTE: 0x00, NULL bitmap, values
)

// ErrRow means a row's bytes do not fit its columns.
var ErrRow = errors.New("malformed row")

// span is one column's value inside a row's bytes: the value alone, without its length. start < 0: NULL. begin is where
// the column's bytes begin, length included.
type span struct{ begin, start, end int }

func (s span) null() bool { return s.start < 0 }

// spans finds the columns of a row.
func spans(dst []span, row []byte, format Format, columns []Column) ([]span, error) {
	if format == Binary {
		return binarySpans(dst, row, columns)
	}
	pos := 0
	for range columns {
		if pos >= len(row) {
			return dst, fmt.Errorf("%w: %d columns in %d bytes", ErrRow, len(columns), len(row))
		}
		if row[pos] == 0xfb {
			dst = append(dst, span{pos, -1, -1})
			pos++
			continue
		}
		n, size := lenenc(row[pos:])
		if size == 0 || n > uint64(len(row)-pos-size) {
			return dst, fmt.Errorf("%w: a value longer than its row", ErrRow)
		}
		start := pos + size
		dst = append(dst, span{pos, start, start + int(n)})
		pos = start + int(n)
	}
	if pos != len(row) {
		return dst, fmt.Errorf("%w: %d bytes after its columns", ErrRow, len(row)-pos)
	}
	return dst, nil
}

// lenenc reads a length-encoded integer; size 0 means it is cut short or none.
func lenenc(b []byte) (n uint64, size int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch b[0] {
	case 0xfc:
		if len(b) >= 3 {
			return uint64(binary.LittleEndian.Uint16(b[1:])), 3
		}
		return 0, 0
	case 0xfd:
		if len(b) >= 4 {
			return uint64(b[1]) | uint64(b[2])<<8 | uint64(b[3])<<16, 4
		}
		return 0, 0
	case 0xfe:
		if len(b) >= 9 {
			return binary.LittleEndian.Uint64(b[1:]), 9
		}
		return 0, 0
	case 0xfb, 0xff:
		return 0, 0
	}
	return uint64(b[0]), 1
}

func appendLenenc(dst []byte, n int) []byte {
	switch {
	case n < 0xfb:
		return append(dst, byte(n))
	case n < 1<<16:
		return append(dst, 0xfc, byte(n), byte(n>>8))
	case n < 1<<24:
		return append(dst, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(dst, 0xfe), uint64(n))
}

const binaryOffset = 2 // the first two bits of a result row's NULL bitmap are not used

func binarySpans(dst []span, row []byte, columns []Column) ([]span, error) {
	bitmap := (len(columns) + 7 + binaryOffset) / 8
	if len(row) < 1+bitmap || row[0] != 0 {
		return dst, fmt.Errorf("%w: no room for its NULL bitmap", ErrRow)
	}
	pos := 1 + bitmap
	for i := range columns {
		bit := i + binaryOffset
		if row[1+bit/8]&(1<<(bit%8)) != 0 {
			dst = append(dst, span{pos, -1, -1})
			continue
		}
		size, head := fixed(columns[i].Type), 0
		if size < 0 {
			n, h := lenenc(row[pos:])
			if h == 0 || n > uint64(len(row)-pos-h) {
				return dst, fmt.Errorf("%w: a value longer than its row", ErrRow)
			}
			size, head = int(n), h
		}
		if size > len(row)-pos-head {
			return dst, fmt.Errorf("%w: a value longer than its row", ErrRow)
		}
		dst = append(dst, span{pos, pos + head, pos + head + size})
		pos += head + size
	}
	if pos != len(row) {
		return dst, fmt.Errorf("%w: %d bytes after its columns", ErrRow, len(row)-pos)
	}
	return dst, nil
}

// fixed returns the size of a binary value, or -1 when a length stands before it.
func fixed(typ byte) int {
	switch typ {
	case TypeTiny:
		return 1
	case TypeShort, TypeYear:
		return 2
	case TypeLong, TypeInt24, TypeFloat:
		return 4
	case TypeLongLong, TypeDouble:
		return 8
	case TypeNull:
		return 0
	}
	return -1
}
