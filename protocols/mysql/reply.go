package mysql

import (
	"encoding/binary"
	"fmt"
)

// Event is what Reply.Next stopped at.
type Event int

// The events. For all but EventMore and EventEnd, Reply.Packet is the payload
// they are about.
const (
	EventMore     Event = iota // everything so far may pass; more bytes are needed
	EventOK                    // a statement without rows is over
	EventRowsEnd               // a result set is over
	EventErr                   // the reply is over, with an error
	EventInfile                // the server asks for a local file and answers after it
	EventPrepared              // the first packet of the answer to a prepare
	EventEnd                   // the reply is over, and its last packet says nothing
	EventColumns               // Each only: the number of columns is in Columns
	EventColumn                // Each only: one column definition
	EventRow                   // Each only: one row
)

// MaxControl bounds the packets that are looked at whole (OK, EOF, ERR, a file
// name): one longer than this is not the protocol.
const MaxControl = 1 << 20

type replyState uint8

const (
	replyFirst   replyState = iota
	replyControl            // OK, EOF or ERR and nothing else
	replyText               // one packet of any content
	replyPrepare
	replyParams
	replyParamsEOF
	replyPrepColumns
	replyPrepColumnsEOF
	replyColumns
	replyColumnsEOF
	replyRows
	replyDone
)

// Reply finds where the answer to a command ends in the bytes a server sends,
// without decoding columns or rows and without holding bytes: whoever drives it
// forwards what Next says has passed. The zero value is no use; call Begin.
type Reply struct {
	// Each makes Next stop at every column definition and row too. It is set by
	// whoever merges results, after Begin.
	Each bool

	Packet   []byte // payload of the last event's packet; borrows from Next's argument
	Status   Status // of the last OK or EOF
	Warnings uint16
	Columns  int // of the result set being read
	Params   int // of a prepared statement
	Results  int // result sets and OKs that are over
	Rows     int64

	caps      Capability
	state     replyState
	seq       byte
	out       bool   // the result set is OUT parameters: an OK follows, although MySQL does not say so behind their row
	continued bool   // the packet in flight is followed by more of the same
	left      int    // bytes of the packet in flight that have not passed
	count     int    // definitions still to come
	want      int    // bytes Next needs at once to go on
	big       []byte // Each only: a row of several packets
}

// Begin prepares for the answer to cmd on a connection with caps. seq is the
// sequence number of the first packet of the answer.
func (r *Reply) Begin(cmd Command, caps Capability, seq byte) {
	*r = Reply{caps: caps, seq: seq, big: r.big[:0]}
	switch cmd {
	case ComQuery, ComStmtExecute, ComProcessInfo, ComStmtBulkExecute:
		r.state = replyFirst
	case ComStmtPrepare:
		r.state = replyPrepare
	case ComFieldList, ComStmtFetch:
		r.state = replyRows
	case ComStatistics:
		r.state = replyText
	case ComStmtClose, ComStmtLongData, ComQuit:
		r.state = replyDone
	default:
		r.state = replyControl
	}
}

// Done reports whether the reply is over.
func (r *Reply) Done() bool { return r.state == replyDone }

// ErrorFits reports whether the bytes that have passed are whole packets and an ERR packet may come next, with Seq as
// its sequence number: whoever forwards the reply can end it so if the server is lost.
func (r *Reply) ErrorFits() bool {
	if r.left > 0 || r.continued {
		return false
	}
	switch r.state {
	case replyFirst, replyControl, replyPrepare, replyText, replyRows:
		return true
	}
	return false
}

// InRows reports whether rows are being read.
func (r *Reply) InRows() bool { return r.state == replyRows }

// Left is how many bytes of the packet in flight have not passed yet.
func (r *Reply) Left() int { return r.left }

// Want is how many bytes Next must be given at once, beginning with those it
// left, to go on after EventMore; 0 says that any will do.
func (r *Reply) Want() int { return r.want }

// Infile tells the reply that the client's file went to the server and that the
// server's next packet has sequence number seq.
func (r *Reply) Infile(seq byte) { r.seq = seq }

// Next looks at b, the server's next bytes, and returns how many of them have
// passed and what it stopped at. The bytes that have passed include the packet of
// the event, whose header begins HeaderLen before Packet. After EventMore the
// bytes that have not passed are given again, with more behind them. Bytes after
// the end of the reply do not pass.
func (r *Reply) Next(b []byte) (n int, ev Event, err error) {
	r.want = 0
	for {
		if r.left > 0 {
			t := min(r.left, len(b)-n)
			r.left -= t
			n += t
			if r.left > 0 {
				return n, EventMore, nil
			}
			if !r.continued && r.state == replyDone {
				return n, EventEnd, nil
			}
		}
		if r.state == replyDone && !r.continued {
			return n, EventEnd, nil
		}
		if r.state == replyRows && !r.Each && !r.continued {
			n = r.skipRows(b, n)
		}
		if len(b)-n < HeaderLen {
			r.want = HeaderLen
			return n, EventMore, nil
		}
		length, seq := Header(b[n:])
		if seq != r.seq {
			return n, EventMore, fmt.Errorf("reading reply: %w: sequence number %d, want %d", ErrMalformed, seq, r.seq)
		}
		if r.continued && !r.Each {
			r.seq++
			r.continued = length == MaxPayload
			r.left = HeaderLen + length
			continue
		}
		t, ev, err := r.packet(b[n:], length)
		if err != nil {
			return n, EventMore, err
		}
		n += t
		if ev != eventPassed {
			return n, ev, nil
		}
	}
}

// skipRows passes the whole rows at b[n:]. It is the loop that a large result
// spends its time in, and leaves everything but a plain complete row to packet.
func (r *Reply) skipRows(b []byte, n int) int {
	seq, rows := r.seq, r.Rows
	for len(b)-n > HeaderLen {
		h := b[n : n+HeaderLen+1]
		length := int(h[0]) | int(h[1])<<8 | int(h[2])<<16
		if h[4] >= MarkEOF || h[3] != seq || length == 0 || length == MaxPayload || length > len(b)-n-HeaderLen {
			break
		}
		n += HeaderLen + length
		seq++
		rows++
	}
	r.seq, r.Rows = seq, rows
	return n
}

// eventPassed is packet's way to say that Next goes on.
const eventPassed Event = -1

// packet handles the packet at the start of b, whose header is complete.
func (r *Reply) packet(b []byte, length int) (int, Event, error) {
	if r.continued {
		return r.continueRow(b, length)
	}
	switch r.state {
	case replyRows:
		if length == 0 {
			return 0, 0, fmt.Errorf("reading rows: %w: empty packet", ErrMalformed)
		}
		if len(b) < HeaderLen+1 {
			r.want = HeaderLen + 1
			return 0, EventMore, nil
		}
		mark := b[HeaderLen]
		if mark == MarkErr || mark == MarkEOF && length < r.endBelow() {
			return r.control(b, length)
		}
		return r.pass(b, length, EventRow)
	case replyColumns, replyParams, replyPrepColumns:
		return r.definition(b, length)
	case replyText:
		return r.text(b, length)
	default:
		return r.control(b, length)
	}
}

// endBelow is the length from which a packet that begins with 0xfe is a row whose
// first value is 16 MB or longer.
func (r *Reply) endBelow() int {
	if r.caps.Has(DeprecateEOF) {
		return MaxPayload
	}
	return 9
}

// pass lets a packet through, whole as an event where Each is set, else as it comes.
func (r *Reply) pass(b []byte, length int, ev Event) (int, Event, error) {
	if r.Each {
		if len(b) < HeaderLen+length {
			r.want = HeaderLen + length
			return 0, EventMore, nil
		}
		r.seq++
		if length == MaxPayload {
			if ev != EventRow {
				return 0, 0, fmt.Errorf("reading reply: %w: definition of 16 MB", ErrMalformed)
			}
			r.continued = true
			r.big = append(r.big[:0], b[HeaderLen:HeaderLen+length]...)
			return HeaderLen + length, eventPassed, nil
		}
		r.Packet = b[HeaderLen : HeaderLen+length]
		r.passed(ev)
		return HeaderLen + length, ev, nil
	}
	r.seq++
	r.continued = length == MaxPayload
	r.left = HeaderLen + length
	r.passed(ev)
	return 0, eventPassed, nil
}

func (r *Reply) passed(ev Event) {
	if ev == EventRow {
		r.Rows++
		return
	}
	r.count--
	if r.count == 0 {
		r.defined()
	}
}

func (r *Reply) continueRow(b []byte, length int) (int, Event, error) {
	if len(b) < HeaderLen+length {
		r.want = HeaderLen + length
		return 0, EventMore, nil
	}
	r.seq++
	r.big = append(r.big, b[HeaderLen:HeaderLen+length]...)
	if length == MaxPayload {
		return HeaderLen + length, eventPassed, nil
	}
	r.continued = false
	r.Packet = r.big
	r.Rows++
	return HeaderLen + length, EventRow, nil
}

// definition passes one column or parameter definition. An error may come in its
// place.
func (r *Reply) definition(b []byte, length int) (int, Event, error) {
	if length == 0 {
		return 0, 0, fmt.Errorf("reading definitions: %w: empty packet", ErrMalformed)
	}
	if len(b) < HeaderLen+1 {
		r.want = HeaderLen + 1
		return 0, EventMore, nil
	}
	if b[HeaderLen] == MarkErr {
		return r.control(b, length)
	}
	return r.pass(b, length, EventColumn)
}

// defined moves on after the last definition of a kind.
func (r *Reply) defined() {
	eof := !r.caps.Has(DeprecateEOF)
	switch {
	case r.state == replyParams && eof:
		r.state = replyParamsEOF
	case r.state == replyParams:
		r.afterParams()
	case r.state == replyPrepColumns && eof:
		r.state = replyPrepColumnsEOF
	case r.state == replyPrepColumns:
		r.state = replyDone
	case eof:
		r.state = replyColumnsEOF
	default:
		r.state = replyRows
	}
}

func (r *Reply) afterParams() {
	r.state = replyDone
	if r.Columns > 0 {
		r.state, r.count = replyPrepColumns, r.Columns
	}
}

func (r *Reply) text(b []byte, length int) (int, Event, error) {
	if length > 0 && len(b) > HeaderLen && b[HeaderLen] == MarkErr {
		return r.control(b, length)
	}
	if length > 0 && len(b) == HeaderLen {
		r.want = HeaderLen + 1
		return 0, EventMore, nil
	}
	r.seq++
	r.state, r.left = replyDone, HeaderLen+length
	r.continued = length == MaxPayload
	return 0, eventPassed, nil
}

// control handles a packet that is looked at whole.
func (r *Reply) control(b []byte, length int) (int, Event, error) {
	if length == 0 || length > MaxControl {
		return 0, 0, fmt.Errorf("reading reply: %w: control packet of %d bytes", ErrMalformed, length)
	}
	if len(b) < HeaderLen+length {
		r.want = HeaderLen + length
		return 0, EventMore, nil
	}
	p := b[HeaderLen : HeaderLen+length]
	r.Packet = p
	r.seq++
	ev, err := r.decide(p)
	return HeaderLen + length, ev, err
}

func (r *Reply) decide(p []byte) (Event, error) {
	if p[0] == MarkErr {
		r.state = replyDone
		return EventErr, nil
	}
	switch r.state {
	case replyPrepare:
		return r.prepared(p)
	case replyParamsEOF, replyPrepColumnsEOF, replyColumnsEOF:
		return r.definitionsEOF(p)
	case replyRows:
		return EventRowsEnd, r.end(p)
	}
	switch {
	case p[0] == MarkOK:
		return EventOK, r.end(p)
	case p[0] == MarkEOF:
		return EventRowsEnd, r.end(p)
	case r.state == replyControl:
		return 0, fmt.Errorf("reading reply: %w: first byte 0x%02x", ErrMalformed, p[0])
	case p[0] == MarkInfile:
		return EventInfile, nil
	}
	n, w := Lenenc(p)
	if w != len(p) || n == 0 || n > 1<<16 {
		return 0, fmt.Errorf("reading reply: %w: column count", ErrMalformed)
	}
	r.Columns, r.count, r.state = int(n), int(n), replyColumns
	if r.Each {
		return EventColumns, nil
	}
	return eventPassed, nil
}

// end handles an OK or EOF that ends one result: another follows if it says so.
func (r *Reply) end(p []byte) error {
	status, warnings, err := endStatus(p, r.caps)
	if err != nil {
		return err
	}
	r.Status, r.Warnings = status, warnings
	r.Results++
	r.state = replyDone
	if status.Has(StatusMoreResults) || r.out {
		r.state, r.out = replyFirst, false
	}
	return nil
}

// endStatus reads status and warnings of an OK or EOF packet, and no more.
func endStatus(p []byte, caps Capability) (Status, uint16, error) {
	if p[0] == MarkEOF && !caps.Has(DeprecateEOF) {
		return DecodeEOF(p)
	}
	d := reader{b: p[1:]}
	d.lenenc()
	d.lenenc()
	status, warnings := Status(d.u16()), d.u16()
	if d.bad {
		return 0, 0, fmt.Errorf("reading OK: %w: too short", ErrMalformed)
	}
	return status, warnings, nil
}

func (r *Reply) prepared(p []byte) (Event, error) {
	if p[0] != MarkOK || len(p) < 9 {
		return 0, fmt.Errorf("reading answer to prepare: %w", ErrMalformed)
	}
	r.Columns, r.Params = int(binary.LittleEndian.Uint16(p[5:])), int(binary.LittleEndian.Uint16(p[7:]))
	if r.Params > 0 {
		r.state, r.count = replyParams, r.Params
	} else {
		r.afterParams()
	}
	return EventPrepared, nil
}

// definitionsEOF handles the EOF between definitions and what follows them. After
// the columns of a cursor nothing follows: rows are fetched on their own.
func (r *Reply) definitionsEOF(p []byte) (Event, error) {
	status, warnings, err := DecodeEOF(p)
	if err != nil {
		return 0, err
	}
	switch r.state {
	case replyParamsEOF:
		r.afterParams()
	case replyPrepColumnsEOF:
		r.state = replyDone
	case replyColumnsEOF:
		r.state, r.out = replyRows, status.Has(StatusOutParams)
		if status.Has(StatusCursorExists) {
			r.Status, r.Warnings = status, warnings
			r.Results++
			r.state = replyDone
			return EventRowsEnd, nil
		}
	}
	if r.state == replyDone {
		return EventEnd, nil
	}
	return eventPassed, nil
}

// Seq is the sequence number of the packet that is awaited.
func (r *Reply) Seq() byte { return r.seq }
