package merge

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// class is how a column's values are compared and added.
type class uint8

const (
	classInt class = iota
	classUint
	classDouble
	classFloat
	classDecimal
	classBytes // compared byte by byte
	classText  // needs its collation
	classTemporal
	classTime
	classOther
)

func (c Column) class() class {
	switch c.Type {
	case TypeTiny, TypeShort, TypeLong, TypeInt24, TypeLongLong, TypeYear:
		if c.Flags&FlagUnsigned != 0 || c.Type == TypeYear {
			return classUint
		}
		return classInt
	case TypeDouble:
		return classDouble
	case TypeFloat:
		return classFloat
	case TypeDecimal, TypeNewDecimal:
		return classDecimal
	case TypeDate, TypeDatetime, TypeTimestamp:
		return classTemporal
	case TypeTime:
		return classTime
	case TypeVarchar, TypeVarString, TypeString, TypeTinyBlob, TypeMediumBlob, TypeLongBlob, TypeBlob:
		if c.Flags&(FlagEnum|FlagSet) != 0 {
			return classOther
		}
		if c.Charset == 63 {
			return classBytes
		}
		return classText
	}
	return classOther
}

// cell is one decoded value. The zero cell is NULL.
type cell struct {
	class class
	valid bool
	n     int64 // classInt; classUint's bits
	f     float64
	d     decimal
	b     []byte // borrowed from the row
}

// decode reads a column's value.
func (c *cell) decode(col *Column, cl class, format Format, row []byte, s span) error {
	*c = cell{class: cl}
	if s.null() {
		return nil
	}
	c.valid = true
	v := row[s.start:s.end]
	c.b = v
	if format == Binary && cl <= classFloat {
		return c.decodeBinary(col, v)
	}
	var err error
	switch cl {
	case classInt:
		c.n, err = strconv.ParseInt(string(v), 10, 64)
	case classUint:
		var n uint64
		n, err = strconv.ParseUint(string(v), 10, 64)
		c.n = int64(n)
	case classDouble, classFloat:
		c.f, err = strconv.ParseFloat(string(v), 64)
	case classDecimal:
		var ok bool
		if c.d, ok = parseDecimal(string(v)); !ok {
			err = fmt.Errorf("%q is not a decimal", v)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: column %s: %w", ErrRow, col.Name, err)
	}
	return nil
}

func (c *cell) decodeBinary(col *Column, v []byte) error {
	unsigned := col.Flags&FlagUnsigned != 0
	switch col.Type {
	case TypeTiny:
		c.n = int64(int8(v[0]))
		if unsigned {
			c.n = int64(v[0])
		}
	case TypeShort, TypeYear:
		n := binary.LittleEndian.Uint16(v)
		c.n = int64(int16(n))
		if unsigned || col.Type == TypeYear {
			c.n = int64(n)
		}
	case TypeLong, TypeInt24:
		n := binary.LittleEndian.Uint32(v)
		c.n = int64(int32(n))
		if unsigned {
			c.n = int64(n)
		}
	case TypeLongLong:
		c.n = int64(binary.LittleEndian.Uint64(v))
	case TypeFloat:
		c.f = float64(math.Float32frombits(binary.LittleEndian.Uint32(v)))
	case TypeDouble:
		c.f = math.Float64frombits(binary.LittleEndian.Uint64(v))
	}
	return nil
}

// encode appends the value as a column of a row: in the text format with its length, in the binary format without NULLs.
func (c *cell) encode(dst []byte, col *Column, format Format) ([]byte, error) {
	if format == Binary {
		switch col.Type {
		case TypeTiny:
			return append(dst, byte(c.n)), nil
		case TypeShort, TypeYear:
			return binary.LittleEndian.AppendUint16(dst, uint16(c.n)), nil
		case TypeLong, TypeInt24:
			return binary.LittleEndian.AppendUint32(dst, uint32(c.n)), nil
		case TypeLongLong:
			return binary.LittleEndian.AppendUint64(dst, uint64(c.n)), nil
		case TypeFloat:
			return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(c.f))), nil
		case TypeDouble:
			return binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.f)), nil
		}
	}
	var buf [96]byte
	text := c.text(buf[:0], col)
	return append(appendLenenc(dst, len(text)), text...), nil
}

func (c *cell) text(dst []byte, col *Column) []byte {
	switch c.class {
	case classInt:
		return strconv.AppendInt(dst, c.n, 10)
	case classUint:
		return strconv.AppendUint(dst, uint64(c.n), 10)
	case classDouble, classFloat:
		return appendFloat(dst, c.f, col)
	case classDecimal:
		return c.d.append(dst)
	}
	return c.b
}

// appendFloat writes a number as the servers do: with the column's digits if it has any, else the shortest that reads
// back the same, with an exponent outside 1e-15 to 1e15.
func appendFloat(dst []byte, f float64, col *Column) []byte {
	bits := 64
	if col.Type == TypeFloat {
		bits = 32
	}
	if col.Decimals < 31 {
		return strconv.AppendFloat(dst, f, 'f', int(col.Decimals), bits)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-15 || a >= 1e15) {
		var buf [32]byte
		s := strconv.AppendFloat(buf[:0], f, 'e', -1, bits)
		// Go writes 1e+20 and 1e-07, MySQL 1e20 and 1e-7.
		for i := range s {
			if s[i] != 'e' {
				continue
			}
			dst = append(dst, s[:i+1]...)
			exp := s[i+1:]
			if exp[0] == '-' {
				dst = append(dst, '-')
			}
			exp = exp[1:]
			for len(exp) > 1 && exp[0] == '0' {
				exp = exp[1:]
			}
			return append(dst, exp...)
		}
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}
