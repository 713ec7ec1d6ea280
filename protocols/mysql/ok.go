package mysql

import (
	"encoding/binary"
	"fmt"
)

// The first bytes of packets that end or change a reply.
const (
	MarkOK     = 0x00
	MarkMore   = 0x01 // AuthMoreData
	MarkInfile = 0xfb // LOCAL INFILE request; NULL inside rows
	MarkEOF    = 0xfe // EOF, AuthSwitchRequest, and OK under DeprecateEOF
	MarkErr    = 0xff
)

// OK is the answer to a statement without rows, and under DeprecateEOF the end
// of one with rows.
type OK struct {
	AffectedRows uint64
	InsertID     uint64
	Status       Status
	Warnings     uint16
	Info         []byte // borrowed
	Track        []byte // borrowed: the session state changes, see TrackNext
}

// DecodeOK reads an OK packet, whichever of its two first bytes it has. caps are
// those of the connection it came from.
func DecodeOK(p []byte, caps Capability) (OK, error) {
	r := reader{b: p}
	if m := r.u8(); m != MarkOK && m != MarkEOF {
		return OK{}, fmt.Errorf("reading OK: %w: first byte 0x%02x", ErrMalformed, m)
	}
	ok := OK{AffectedRows: r.lenenc(), InsertID: r.lenenc(), Status: Status(r.u16()), Warnings: r.u16()}
	if r.bad {
		return OK{}, fmt.Errorf("reading OK: %w: too short", ErrMalformed)
	}
	if len(r.b) == 0 {
		return ok, nil
	}
	if !caps.Has(SessionTrack) {
		// The documentation says the text runs to the end, servers send its
		// length before it, and clients read the length.
		if n, w := Lenenc(r.b); w > 0 && n == uint64(len(r.b)-w) {
			r.b = r.b[w:]
		}
		ok.Info = r.rest()
		return ok, nil
	}
	ok.Info = r.lenencBytes()
	if ok.Status.Has(StatusSessionChanged) && !r.bad {
		ok.Track = r.lenencBytes()
	}
	if r.bad {
		return OK{}, fmt.Errorf("reading OK: %w: information runs past the packet", ErrMalformed)
	}
	return ok, nil
}

// AppendOK appends the payload of an OK packet for a connection with caps.
// Session state changes are left out, and their flag cleared, where the
// connection did not agree to them.
func AppendOK(dst []byte, ok OK, caps Capability) []byte { return appendOK(dst, MarkOK, ok, caps) }

// AppendEnd appends the payload of the packet that ends a result set: EOF, or OK
// with EOF's first byte under DeprecateEOF.
func AppendEnd(dst []byte, ok OK, caps Capability) []byte {
	if caps.Has(DeprecateEOF) {
		return appendOK(dst, MarkEOF, ok, caps)
	}
	return AppendEOF(dst, ok.Status&^StatusSessionChanged, ok.Warnings)
}

func appendOK(dst []byte, mark byte, ok OK, caps Capability) []byte {
	status := ok.Status
	track := caps.Has(SessionTrack) && len(ok.Track) > 0
	if track {
		status |= StatusSessionChanged
	} else {
		status &^= StatusSessionChanged
	}
	dst = append(dst, mark)
	dst = AppendLenenc(dst, ok.AffectedRows)
	dst = AppendLenenc(dst, ok.InsertID)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(status))
	dst = binary.LittleEndian.AppendUint16(dst, ok.Warnings)
	if len(ok.Info) > 0 || track {
		dst = AppendLenencBytes(dst, ok.Info)
	}
	if track {
		dst = AppendLenencBytes(dst, ok.Track)
	}
	return dst
}

// AppendEOF appends the payload of an EOF packet.
func AppendEOF(dst []byte, status Status, warnings uint16) []byte {
	dst = append(dst, MarkEOF)
	dst = binary.LittleEndian.AppendUint16(dst, warnings)
	return binary.LittleEndian.AppendUint16(dst, uint16(status))
}

// DecodeEOF reads an EOF packet of a connection without DeprecateEOF.
func DecodeEOF(p []byte) (status Status, warnings uint16, err error) {
	r := reader{b: p}
	if r.u8() != MarkEOF {
		r.fail()
	}
	if len(r.b) == 0 && !r.bad {
		return 0, 0, nil // servers of protocol 4.0, and some proxies, send the bare byte
	}
	warnings = r.u16()
	status = Status(r.u16())
	if r.bad {
		return 0, 0, fmt.Errorf("reading EOF: %w", ErrMalformed)
	}
	return status, warnings, nil
}

// Error is an ERR packet: what a server says, or what sidewire says in its place.
type Error struct {
	Code    uint16
	State   string // SQLSTATE, five characters
	Message string
}

// Error is the text a command-line client would show.
func (e *Error) Error() string { return fmt.Sprintf("ERROR %d (%s): %s", e.Code, e.State, e.Message) }

// DecodeErr reads an ERR packet. Before the connection phase is over it may lack
// its SQLSTATE.
func DecodeErr(p []byte) (*Error, error) {
	r := reader{b: p}
	if r.u8() != MarkErr {
		r.fail()
	}
	e := &Error{Code: r.u16(), State: "HY000"}
	if r.bad {
		return nil, fmt.Errorf("reading ERR: %w", ErrMalformed)
	}
	if len(r.b) >= 6 && r.b[0] == '#' {
		e.State = string(r.b[1:6])
		r.b = r.b[6:]
	}
	e.Message = string(r.b)
	return e, nil
}

// AppendErr appends the payload of an ERR packet.
func AppendErr(dst []byte, e *Error) []byte {
	dst = append(dst, MarkErr, byte(e.Code), byte(e.Code>>8), '#')
	state := e.State
	if len(state) != 5 {
		state = "HY000"
	}
	dst = append(dst, state...)
	return append(dst, e.Message...)
}
