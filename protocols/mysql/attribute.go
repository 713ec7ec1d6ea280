package mysql

import (
	"encoding/binary"
	"fmt"
)

// NoAttributes is what stands before a statement without attributes on a connection with QueryAttributes: none of them,
// in one set.
var NoAttributes = []byte{0, 1}

// SplitAttributes cuts the body of COM_QUERY on a connection with QueryAttributes, behind its command byte, into the
// attributes as they are encoded and the statement's text. n is how many attributes there are. Both parts borrow from p.
func SplitAttributes(p []byte) (attributes, text []byte, n int, err error) {
	r := reader{b: p}
	count, sets := r.lenenc(), r.lenenc()
	if sets != 1 || count > MaxParams {
		r.fail()
	}
	if count > 0 && !r.bad {
		nulls := r.take((int(count) + 7) / 8)
		if r.u8() != 1 { // there is no execution before whose types could hold
			r.fail()
		}
		named := r.named(int(count))
		r.values(named, nulls, int(count), nil)
	}
	if r.bad {
		return nil, nil, 0, fmt.Errorf("reading query attributes: %w", ErrMalformed)
	}
	cut := len(p) - len(r.b)
	return p[:cut:cut], r.b, int(count), nil
}

// named passes n types, each with a name.
func (r *reader) named(n int) []byte {
	from := r.b
	for range n {
		r.u16()
		r.lenencBytes()
		if r.bad {
			return nil
		}
	}
	return from[:len(from)-len(r.b)]
}

// values passes n values of which named gives the types. Those that were sent before, and NULLs, have none.
func (r *reader) values(named, nulls []byte, n int, sent func(i int) bool) {
	types := reader{b: named}
	for i := range n {
		t := FieldType(types.u16())
		types.lenencBytes()
		if sent != nil && sent(i) || r.bad || nulls[i/8]&(1<<(i%8)) != 0 {
			continue
		}
		r.binary(t)
	}
}

// NamedExecute is the body of COM_STMT_EXECUTE on a connection with QueryAttributes: the statement's parameters, and
// behind them its attributes. Its slices borrow from the packet.
type NamedExecute struct {
	ID       uint32
	Flags    byte // cursor type
	Count    int  // parameters and attributes
	Nulls    []byte
	NewTypes bool   // Named is given; else that of the execution before holds
	Named    []byte // two bytes of type and a length-encoded name for each of Count
	Values   []byte
}

// countAvailable is the flag that says that the number of parameters follows even where the statement has none.
const countAvailable = 0x08

// DecodeNamedExecute reads COM_STMT_EXECUTE of a statement with params parameters, its command byte included, on a
// connection with QueryAttributes.
func DecodeNamedExecute(p []byte, params int) (NamedExecute, error) {
	r := reader{b: p}
	r.u8()
	e := NamedExecute{ID: r.u32(), Flags: r.u8()}
	r.u32() // iterations, always 1
	if params > 0 || e.Flags&countAvailable != 0 {
		count := r.lenenc()
		if count < uint64(params) || count > MaxParams {
			r.fail()
		}
		e.Count = int(count)
	}
	e.Flags &^= countAvailable
	if e.Count > 0 && !r.bad {
		e.Nulls = r.take((e.Count + 7) / 8)
		e.NewTypes = r.u8() == 1
		if e.NewTypes {
			e.Named = r.named(e.Count)
		}
		e.Values = r.rest()
	}
	if r.bad {
		return NamedExecute{}, fmt.Errorf("reading COM_STMT_EXECUTE: %w", ErrMalformed)
	}
	return e, nil
}

// AppendNamedExecute appends the payload of COM_STMT_EXECUTE for a connection with QueryAttributes.
func AppendNamedExecute(dst []byte, e *NamedExecute) []byte {
	dst = append(dst, byte(ComStmtExecute))
	dst = binary.LittleEndian.AppendUint32(dst, e.ID)
	dst = append(dst, e.Flags|countAvailable, 1, 0, 0, 0)
	dst = AppendLenenc(dst, uint64(e.Count))
	if e.Count == 0 {
		return dst
	}
	dst = append(dst, e.Nulls...)
	if e.NewTypes {
		dst = append(dst, 1)
		dst = append(dst, e.Named...)
	} else {
		dst = append(dst, 0)
	}
	return append(dst, e.Values...)
}

// Plain is e without its attributes, for a connection without QueryAttributes; params and sent are those of
// Execute.Params. Named must be set, whether it came with this execution or holds from the one before.
func (e *NamedExecute) Plain(params int, sent func(i int) bool) (Execute, error) {
	x := Execute{ID: e.ID, Flags: e.Flags}
	if params == 0 {
		return x, nil
	}
	x.NewTypes, x.Nulls, x.Values = true, e.Nulls[:(params+7)/8], e.Values
	types := reader{b: e.Named}
	x.Types = make([]byte, 0, 2*params)
	for range params {
		x.Types = append(x.Types, types.take(2)...)
		types.lenencBytes()
	}
	if types.bad || len(x.Types) != 2*params {
		return Execute{}, fmt.Errorf("reading COM_STMT_EXECUTE: %w: types", ErrMalformed)
	}
	if e.Count > params {
		r := reader{b: e.Values}
		r.values(e.Named, e.Nulls, params, sent)
		if r.bad {
			return Execute{}, fmt.Errorf("reading COM_STMT_EXECUTE: %w: values", ErrMalformed)
		}
		x.Values = e.Values[:len(e.Values)-len(r.b)]
		if over := params % 8; over != 0 { // the attributes' part of the last byte
			x.Nulls = append([]byte(nil), x.Nulls...)
			x.Nulls[len(x.Nulls)-1] &= 1<<over - 1
		}
	}
	return x, nil
}
