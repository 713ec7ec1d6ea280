package mysql

import (
	"encoding/binary"
	"fmt"
)

// Column is a column definition. Its slices borrow from the packet.
type Column struct {
	Schema, Table, OrgTable, Name, OrgName []byte

	Collation uint16
	Length    uint32
	Type      FieldType
	Flags     uint16
	Decimals  byte
}

// DecodeColumn reads the payload of a column definition.
func DecodeColumn(p []byte) (Column, error) {
	r := reader{b: p}
	r.lenencBytes() // catalog, always "def"
	c := Column{Schema: r.lenencBytes(), Table: r.lenencBytes(), OrgTable: r.lenencBytes(),
		Name: r.lenencBytes(), OrgName: r.lenencBytes()}
	if n := r.lenenc(); n < 12 {
		r.fail()
	}
	c.Collation, c.Length, c.Type = r.u16(), r.u32(), FieldType(r.u8())
	c.Flags, c.Decimals = r.u16(), r.u8()
	if r.bad {
		return Column{}, fmt.Errorf("reading column definition: %w", ErrMalformed)
	}
	return c, nil
}

// AppendColumn appends the payload of a column definition.
func AppendColumn(dst []byte, c *Column) []byte {
	dst = append(dst, "\x03def"...)
	for _, s := range [...][]byte{c.Schema, c.Table, c.OrgTable, c.Name, c.OrgName} {
		dst = AppendLenencBytes(dst, s)
	}
	dst = append(dst, 0x0c)
	dst = binary.LittleEndian.AppendUint16(dst, c.Collation)
	dst = binary.LittleEndian.AppendUint32(dst, c.Length)
	dst = append(dst, byte(c.Type))
	dst = binary.LittleEndian.AppendUint16(dst, c.Flags)
	return append(dst, c.Decimals, 0, 0)
}
