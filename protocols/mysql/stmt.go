package mysql

import (
	"encoding/binary"
	"fmt"
)

// MaxParams is the most parameters a prepared statement can have.
const MaxParams = 1<<16 - 1

// LastStatement is MariaDB's number for the statement that was prepared last: its clients send the execution along with
// the preparation.
const LastStatement = 1<<32 - 1

// ParamType is the type of a parameter as COM_STMT_EXECUTE states it.
type ParamType struct {
	Type     FieldType
	Unsigned bool
}

// Execute is the body of COM_STMT_EXECUTE. Its slices borrow from the packet.
type Execute struct {
	ID       uint32
	Flags    byte // cursor type
	Nulls    []byte
	NewTypes bool   // Types is given; else those of the execution before hold
	Types    []byte // two bytes a parameter
	Values   []byte
}

// CursorFlags are the flags that ask for a cursor.
const CursorFlags = 0x01 | 0x02 | 0x04

// DecodeExecute reads COM_STMT_EXECUTE of a statement with params parameters, its
// command byte included, on a connection without QueryAttributes.
func DecodeExecute(p []byte, params int) (Execute, error) {
	r := reader{b: p}
	r.u8()
	e := Execute{ID: r.u32(), Flags: r.u8()}
	r.u32() // iterations, always 1
	if params > 0 && !r.bad {
		e.Nulls = r.take((params + 7) / 8)
		e.NewTypes = r.u8() == 1
		if e.NewTypes {
			e.Types = r.take(2 * params)
		}
		e.Values = r.rest()
	}
	if r.bad {
		return Execute{}, fmt.Errorf("reading COM_STMT_EXECUTE: %w", ErrMalformed)
	}
	return e, nil
}

// AppendExecute appends the payload of COM_STMT_EXECUTE.
func AppendExecute(dst []byte, e *Execute) []byte {
	dst = append(dst, byte(ComStmtExecute))
	dst = binary.LittleEndian.AppendUint32(dst, e.ID)
	dst = append(dst, e.Flags, 1, 0, 0, 0)
	if e.Nulls == nil {
		return dst
	}
	dst = append(dst, e.Nulls...)
	if e.NewTypes {
		dst = append(dst, 1)
		dst = append(dst, e.Types...)
	} else {
		dst = append(dst, 0)
	}
	return append(dst, e.Values...)
}

// StatementID reads the id that COM_STMT_EXECUTE, SEND_LONG_DATA, RESET, CLOSE
// and FETCH begin with, behind the command byte.
func StatementID(p []byte) (uint32, error) {
	if len(p) < 5 {
		return 0, fmt.Errorf("reading statement id: %w", ErrMalformed)
	}
	return binary.LittleEndian.Uint32(p[1:]), nil
}

// PutStatementID replaces that id. p is known to hold one.
func PutStatementID(p []byte, id uint32) { binary.LittleEndian.PutUint32(p[1:], id) }

// Param is one parameter of an execution; Data is encoded as SplitBinary returns
// values, nil for NULL, and borrows from the packet.
type Param struct {
	ParamType
	Data []byte
}

// SetParams makes params the parameters of e, with their types.
func (e *Execute) SetParams(params []Param) {
	e.NewTypes, e.Nulls, e.Types, e.Values = len(params) > 0, nil, e.Types[:0], e.Values[:0]
	if len(params) > 0 {
		e.Nulls = make([]byte, (len(params)+7)/8)
	}
	for i, p := range params {
		sign := byte(0)
		if p.Unsigned {
			sign = 0x80
		}
		e.Types = append(e.Types, byte(p.Type), sign)
		if p.Data == nil {
			e.Nulls[i/8] |= 1 << (i % 8)
			continue
		}
		if FixedLen(p.Type) < 0 {
			e.Values = AppendLenenc(e.Values, uint64(len(p.Data)))
		}
		e.Values = append(e.Values, p.Data...)
	}
}

// Params appends the parameters of e to dst. types are those in force (two bytes
// each, as Execute.Types has them); sent says which parameters came by
// SEND_LONG_DATA and so have no value here, nil for none.
func (e *Execute) Params(dst []Param, types []byte, sent func(i int) bool) ([]Param, error) {
	r := reader{b: e.Values}
	n := len(types) / 2
	if len(e.Nulls) < (n+7)/8 {
		return dst, fmt.Errorf("reading parameters: %w: NULL bitmap", ErrMalformed)
	}
	for i := range n {
		p := Param{ParamType: ParamType{Type: FieldType(types[2*i]), Unsigned: types[2*i+1]&0x80 != 0}}
		switch {
		case sent != nil && sent(i):
		case e.Nulls[i/8]&(1<<(i%8)) != 0:
		default:
			p.Data = r.binary(p.Type)
		}
		if r.bad {
			return dst, fmt.Errorf("reading parameters: %w: value %d of type 0x%02x", ErrMalformed, i, byte(p.Type))
		}
		dst = append(dst, p)
	}
	return dst, nil
}

// Prepared is the first packet of the answer to COM_STMT_PREPARE.
type Prepared struct {
	ID       uint32
	Columns  uint16
	Params   uint16
	Warnings uint16
}

// DecodePrepared reads the first packet of the answer to COM_STMT_PREPARE.
func DecodePrepared(p []byte) (Prepared, error) {
	r := reader{b: p}
	if r.u8() != MarkOK {
		r.fail()
	}
	s := Prepared{ID: r.u32(), Columns: r.u16(), Params: r.u16()}
	if r.bad {
		return Prepared{}, fmt.Errorf("reading answer to prepare: %w", ErrMalformed)
	}
	r.u8()
	if len(r.b) >= 2 {
		s.Warnings = r.u16()
	}
	return s, nil
}

// AppendPrepared appends the payload of the first packet of the answer to
// COM_STMT_PREPARE.
func AppendPrepared(dst []byte, s Prepared) []byte {
	dst = append(dst, MarkOK)
	dst = binary.LittleEndian.AppendUint32(dst, s.ID)
	dst = binary.LittleEndian.AppendUint16(dst, s.Columns)
	dst = binary.LittleEndian.AppendUint16(dst, s.Params)
	dst = append(dst, 0)
	return binary.LittleEndian.AppendUint16(dst, s.Warnings)
}
