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
	classDatetime
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
		return classDatetime
	case TypeTime:
		return classTime
	case TypeNull:
		return classBytes
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
	n     int64 // classInt; classUint's bits; classDatetime and classTime packed
	f     float64
	d     decimal
	b     []byte // the value's own bytes
	w     []byte // classText: what it is compared by
	// fine is a quotient before it was rounded to its column's digits: servers go on computing with it. Nil for all else.
	fine *decimal
}

// decode reads a column's value. Its bytes are borrowed from the row.
func (c *cell) decode(col *Column, cl class, format Format, row []byte, s span) error {
	c.class, c.valid = cl, false
	if s.null() {
		return nil
	}
	c.valid = true
	v := row[s.start:s.end]
	c.b = v
	ok, err := true, error(nil)
	switch {
	case cl == classDatetime:
		c.n, ok = packDatetime(format, v)
	case cl == classTime:
		c.n, ok = packTime(format, v)
	case format == Binary && cl <= classFloat:
		c.decodeBinary(col, v)
	case cl == classInt:
		c.n, err = strconv.ParseInt(string(v), 10, 64)
	case cl == classUint:
		var n uint64
		n, err = strconv.ParseUint(string(v), 10, 64)
		c.n = int64(n)
	case cl == classDouble || cl == classFloat:
		c.f, err = strconv.ParseFloat(string(v), 64)
	case cl == classDecimal:
		ok = c.d.parse(string(v))
	}
	if err != nil || !ok {
		return fmt.Errorf("%w: column %s: cannot read %q", ErrRow, col.Name, v)
	}
	return nil
}

// decodeBinary reads a number; spans has checked its size.
func (c *cell) decodeBinary(col *Column, v []byte) {
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
}

// copy makes c an own copy of o, reusing c's memory.
func (c *cell) copy(o *cell) {
	c.class, c.valid, c.n, c.f = o.class, o.valid, o.n, o.f
	if o.class == classDecimal && o.valid {
		c.d.unscaled.Set(&o.d.unscaled)
		c.d.scale = o.d.scale
	}
	c.b = append(c.b[:0], o.b...)
	c.w = append(c.w[:0], o.w...)
	if !o.valid {
		c.b, c.w = c.b[:0], c.w[:0]
	}
}

// compare orders two values of one column: NULL first. pad is the weight of a space, for text.
func (c *cell) compare(o *cell, pad []byte) int {
	if !c.valid || !o.valid {
		switch {
		case c.valid == o.valid:
			return 0
		case o.valid:
			return -1
		}
		return 1
	}
	switch c.class {
	case classInt, classDatetime, classTime:
		return cmp(c.n, o.n)
	case classUint:
		return cmp(uint64(c.n), uint64(o.n))
	case classDouble, classFloat:
		return cmp(c.f, o.f)
	case classDecimal:
		return c.d.cmp(&o.d)
	case classText:
		return compareWeights(c.w, o.w, pad)
	}
	return cmp(string(c.b), string(o.b))
}

func cmp[T int64 | uint64 | float64 | string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// encode appends the value as a column of a row: in the text format with its length, in the binary format as it is.
func (c *cell) encode(dst []byte, col *Column, format Format) []byte {
	if format == Binary {
		switch col.Type {
		case TypeTiny:
			return append(dst, byte(c.n))
		case TypeShort, TypeYear:
			return binary.LittleEndian.AppendUint16(dst, uint16(c.n))
		case TypeLong, TypeInt24:
			return binary.LittleEndian.AppendUint32(dst, uint32(c.n))
		case TypeLongLong:
			return binary.LittleEndian.AppendUint64(dst, uint64(c.n))
		case TypeFloat:
			return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(c.f)))
		case TypeDouble:
			return binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.f))
		}
	}
	var buf [96]byte
	text := c.text(buf[:0], col)
	return append(appendLenenc(dst, len(text)), text...)
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
	if a := math.Abs(f); a == 0 || a >= 1e-15 && a < 1e15 {
		return strconv.AppendFloat(dst, f, 'f', -1, bits)
	}
	var buf [32]byte
	s := strconv.AppendFloat(buf[:0], f, 'e', -1, bits)
	for i := range s {
		if s[i] != 'e' {
			continue
		}
		// Go writes 1e+20 and 1e-07, the servers 1e20 and 1e-7.
		dst = append(dst, s[:i+1]...)
		exp := s[i+2:]
		if s[i+1] == '-' {
			dst = append(dst, '-')
		}
		for len(exp) > 1 && exp[0] == '0' {
			exp = exp[1:]
		}
		return append(dst, exp...)
	}
	return append(dst, s...) // Inf and NaN, which no server sends
}
