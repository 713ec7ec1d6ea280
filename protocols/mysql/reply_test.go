package mysql

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// answer builds the bytes of a server's answer.
type answer struct {
	b    []byte
	seq  byte
	caps Capability
}

func (a *answer) packet(p []byte) *answer {
	a.b, a.seq = AppendPacket(a.b, a.seq, p)
	return a
}

func (a *answer) ok(s Status) *answer { return a.packet(AppendOK(nil, OK{Status: s}, a.caps)) }

func (a *answer) err() *answer {
	return a.packet(AppendErr(nil, &Error{Code: 1146, State: "42S02", Message: "Table 'shop.x' doesn't exist"}))
}

func (a *answer) eof(s Status) *answer { return a.packet(AppendEOF(nil, s, 0)) }

func (a *answer) columns(n int) *answer {
	a.packet(AppendLenenc(nil, uint64(n)))
	a.definitions(n)
	if !a.caps.Has(DeprecateEOF) {
		a.eof(0)
	}
	return a
}

func (a *answer) definitions(n int) *answer {
	for i := range n {
		a.packet(AppendColumn(nil, &Column{Name: fmt.Appendf(nil, "c%d", i), Type: TypeVarString, Collation: 45}))
	}
	return a
}

func (a *answer) row(values ...string) *answer {
	var p []byte
	for _, v := range values {
		p = AppendLenencString(p, v)
	}
	return a.packet(p)
}

func (a *answer) end(s Status) *answer {
	return a.packet(AppendEnd(nil, OK{Status: s}, a.caps))
}

func (a *answer) prepared(params, columns int) *answer {
	a.packet(AppendPrepared(nil, Prepared{ID: 9, Params: uint16(params), Columns: uint16(columns)}))
	for _, n := range []int{params, columns} {
		if n > 0 {
			a.definitions(n)
			if !a.caps.Has(DeprecateEOF) {
				a.eof(0)
			}
		}
	}
	return a
}

func eventName(ev Event) string {
	return [...]string{"more", "ok", "rows-end", "err", "infile", "prepared", "end", "columns", "column", "row"}[ev]
}

// drive feeds b in pieces of at most step bytes and returns the events, and how
// many bytes had passed at the end.
func drive(r *Reply, b []byte, step int) (events []string, passed int, err error) {
	have := 0
	for !r.Done() || r.left > 0 || r.continued {
		n, ev, err := r.Next(b[passed:have])
		passed += n
		if err != nil {
			return events, passed, err
		}
		switch ev {
		case EventMore:
			if have == len(b) {
				return events, passed, errors.New("starved")
			}
			have = min(have+step, len(b))
			continue
		case EventInfile:
			r.Infile(4) // one packet with data, one empty one
		}
		events = append(events, eventName(ev))
	}
	return events, passed, nil
}

type replyCase struct {
	name   string
	cmd    Command
	build  func(a *answer)
	events string // without Each
	each   string
	rows   int64
}

var replyCases = []replyCase{
	{"ok", ComQuery, func(a *answer) { a.ok(StatusAutocommit) }, "ok", "ok", 0},
	{"err", ComQuery, func(a *answer) { a.err() }, "err", "err", 0},
	{"rows", ComQuery, func(a *answer) { a.columns(2).row("a", "b").row("", "c").end(0) },
		"rows-end", "columns column column row row rows-end", 2},
	{"no rows", ComQuery, func(a *answer) { a.columns(1).end(0) }, "rows-end", "columns column rows-end", 0},
	{"error between rows", ComQuery, func(a *answer) { a.columns(1).row("a").err() }, "err", "columns column row err", 1},
	{"error after columns", ComQuery, func(a *answer) { a.columns(1).err() }, "err", "columns column err", 0},
	{"two results", ComQuery, func(a *answer) { a.columns(1).row("a").end(StatusMoreResults).ok(0) },
		"rows-end ok", "columns column row rows-end ok", 1},
	{"ok, rows, error", ComQuery, func(a *answer) {
		a.ok(StatusMoreResults).columns(1).row("x").end(StatusMoreResults).err()
	}, "ok rows-end err", "ok columns column row rows-end err", 1},
	{"out parameters", ComStmtExecute, func(a *answer) {
		a.columns(1).packet([]byte{0, 0, 1, 'x'}).end(StatusMoreResults | StatusOutParams).ok(0)
	}, "rows-end ok", "columns column row rows-end ok", 1},
	{"row that looks like an old EOF", ComStmtExecute, func(a *answer) {
		a.columns(1).packet(append([]byte{0, 0}, make([]byte, 8)...)).end(0)
	}, "rows-end", "columns column row rows-end", 1},
	{"ping", ComPing, func(a *answer) { a.ok(0) }, "ok", "ok", 0},
	{"set option answers EOF", ComSetOption, func(a *answer) { a.end(0) }, "rows-end", "rows-end", 0},
	{"statistics", ComStatistics, func(a *answer) { a.packet([]byte("Uptime: 5")) }, "end", "end", 0},
	{"statistics that begin with NUL", ComStatistics, func(a *answer) { a.packet([]byte{0}) }, "end", "end", 0},
	{"field list", ComFieldList, func(a *answer) { a.definitions(2).end(0) }, "rows-end", "row row rows-end", 2},
	{"fetch", ComStmtFetch, func(a *answer) { a.packet([]byte{0, 0, 1, 'x'}).end(StatusCursorExists) },
		"rows-end", "row rows-end", 1},
	{"prepare", ComStmtPrepare, func(a *answer) { a.prepared(2, 1) }, "prepared end", "prepared column column column end", 0},
	{"prepare, parameters only", ComStmtPrepare, func(a *answer) { a.prepared(1, 0) }, "prepared end", "prepared column end", 0},
	{"prepare, columns only", ComStmtPrepare, func(a *answer) { a.prepared(0, 1) }, "prepared end", "prepared column end", 0},
	{"prepare, neither", ComStmtPrepare, func(a *answer) { a.prepared(0, 0) }, "prepared", "prepared", 0},
	{"prepare fails", ComStmtPrepare, func(a *answer) { a.err() }, "err", "err", 0},
	{"local file", ComQuery, func(a *answer) {
		a.packet(append([]byte{MarkInfile}, "/tmp/x"...))
		a.seq = 4
		a.ok(0)
	}, "infile ok", "infile ok", 0},
	{"close", ComStmtClose, func(*answer) {}, "", "", 0},
}

func TestReply(t *testing.T) {
	for _, caps := range []Capability{Protocol41, Protocol41 | DeprecateEOF, Protocol41 | DeprecateEOF | SessionTrack, Protocol41 | SessionTrack} {
		for _, tc := range replyCases {
			for _, each := range []bool{false, true} {
				a := &answer{seq: 1, caps: caps}
				tc.build(a)
				whole := len(a.b)
				// The next reply's bytes must not be taken for this one's.
				stream := append(append([]byte(nil), a.b...), 1, 0, 0, 1, 0xff)
				for step := 1; step <= len(stream); step++ {
					var r Reply
					r.Begin(tc.cmd, caps, 1)
					r.Each = each
					events, passed, err := drive(&r, stream, step)
					name := fmt.Sprintf("%s, caps %x, each %v, in steps of %d", tc.name, uint32(caps), each, step)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					want := tc.events
					if each {
						want = tc.each
					}
					// Without the old EOF the last definition ends a prepare, and
					// nothing needs to be looked at.
					got := strings.Join(events, " ")
					if strings.TrimSuffix(got, " end") != strings.TrimSuffix(want, " end") {
						t.Fatalf("%s: got %q, want %q", name, got, want)
					}
					if passed != whole {
						t.Fatalf("%s: passed %d of %d bytes", name, passed, whole)
					}
					if r.Rows != tc.rows {
						t.Fatalf("%s: %d rows, want %d", name, r.Rows, tc.rows)
					}
				}
			}
		}
	}
}

// A cursor's columns are followed by one end packet and no rows: without
// DeprecateEOF it is the one after the columns.
func TestReplyCursor(t *testing.T) {
	for _, caps := range []Capability{Protocol41, Protocol41 | DeprecateEOF} {
		a := &answer{seq: 1, caps: caps}
		a.packet([]byte{1}).definitions(1).end(StatusCursorExists)
		var r Reply
		r.Begin(ComStmtExecute, caps, 1)
		events, passed, err := drive(&r, a.b, 3)
		if err != nil || strings.Join(events, " ") != "rows-end" || passed != len(a.b) {
			t.Fatalf("%v %d of %d %v", events, passed, len(a.b), err)
		}
	}
}

// A row of 16 MB begins with 0xfe, and its continuation may begin with anything.
func TestReplyHugeRow(t *testing.T) {
	huge := bytes.Repeat([]byte{0xff}, MaxPayload+100)
	for _, size := range []int{MaxPayload - 9, MaxPayload - 4, MaxPayload, MaxPayload + 100} {
		for _, caps := range []Capability{Protocol41, Protocol41 | DeprecateEOF} {
			for _, each := range []bool{false, true} {
				a := &answer{seq: 1, caps: caps}
				a.columns(1)
				before := len(a.b)
				a.packet(AppendLenencBytes(nil, huge[:size])).row("after").end(0)
				var r Reply
				r.Begin(ComQuery, caps, 1)
				r.Each = each
				var got [][]byte
				passed, have := 0, before
				for !r.Done() {
					n, ev, err := r.Next(a.b[passed:have])
					if err != nil {
						t.Fatal(err)
					}
					passed += n
					if ev == EventMore {
						have = min(have+1<<20, len(a.b))
					}
					if ev == EventRow {
						v, err := SplitText(nil, r.Packet, 1)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, bytes.Clone(v[0]))
					}
				}
				if passed != len(a.b) || r.Rows != 2 {
					t.Fatalf("size %d caps %x: passed %d of %d, %d rows", size, uint32(caps), passed, len(a.b), r.Rows)
				}
				if each && (len(got) != 2 || !bytes.Equal(got[0], huge[:size]) || string(got[1]) != "after") {
					t.Fatalf("size %d: rows came back different", size)
				}
			}
		}
	}
}

func TestReplyFaults(t *testing.T) {
	long := binary.LittleEndian.AppendUint32(nil, MaxControl+1)
	for _, tc := range []struct {
		name string
		cmd  Command
		b    []byte
		want string
	}{
		{"wrong sequence", ComPing, []byte{1, 0, 0, 5, 0}, "sequence number 5, want 1"},
		{"empty packet", ComQuery, []byte{0, 0, 0, 1}, "control packet of 0 bytes"},
		{"giant control packet", ComPing, []byte{long[0], long[1], long[2], 1, 0}, "control packet of 1048577 bytes"},
		{"giant column count", ComQuery, []byte{4, 0, 0, 1, 0xfd, 0xff, 0xff, 0xff}, "column count"},
		{"no columns", ComQuery, []byte{2, 0, 0, 1, 1, 1}, "column count"},
		{"short OK", ComPing, []byte{2, 0, 0, 1, 0, 0}, "reading OK"},
		{"rows where OK is due", ComPing, []byte{1, 0, 0, 1, 3}, "first byte 0x03"},
		{"empty row", ComStmtFetch, []byte{0, 0, 0, 1}, "empty packet"},
		{"short prepare", ComStmtPrepare, []byte{2, 0, 0, 1, 0, 1}, "answer to prepare"},
	} {
		var r Reply
		r.Begin(tc.cmd, Protocol41|DeprecateEOF, 1)
		_, _, err := r.Next(tc.b)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestReplyAllocatesNothing(t *testing.T) {
	caps := Protocol41 | DeprecateEOF
	a := &answer{seq: 1, caps: caps}
	a.columns(3)
	for range 1000 {
		a.row("one", "two", "three")
	}
	a.end(0)
	var r Reply
	if n := testing.AllocsPerRun(10, func() {
		r.Begin(ComQuery, caps, 1)
		if n, ev, err := r.Next(a.b); n != len(a.b) || ev != EventRowsEnd || err != nil {
			t.Fatal(n, ev, err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations for a result", n)
	}
}

func BenchmarkReplyRows(b *testing.B) {
	caps := Protocol41 | DeprecateEOF
	a := &answer{seq: 1, caps: caps}
	a.columns(3)
	for range 10000 {
		a.row("one", "two", "three")
	}
	a.end(0)
	b.SetBytes(int64(len(a.b)))
	var r Reply
	for b.Loop() {
		r.Begin(ComQuery, caps, 1)
		r.Next(a.b)
	}
}

// MySQL's OUT parameters end without a word of the OK that follows, for clients that want an EOF: only the one behind their columns tells.
func TestOutParametersAreFollowedByAnOK(t *testing.T) {
	var in []byte
	seq := byte(1)
	for _, p := range [][]byte{{1}, AppendColumn(nil, &Column{Name: []byte("b"), Type: TypeLong}),
		AppendEOF(nil, StatusOutParams|StatusMoreResults, 0), {0, 0, 8, 0, 0, 0}, AppendEOF(nil, StatusAutocommit, 0), AppendOK(nil, OK{Status: StatusAutocommit}, Protocol41)} {
		in, seq = AppendPacket(in, seq, p)
	}
	var r Reply
	r.Begin(ComStmtExecute, Protocol41, 1)
	events := []Event{}
	for !r.Done() {
		n, ev, err := r.Next(in)
		if err != nil {
			t.Fatal(err)
		}
		in, events = in[n:], append(events, ev)
	}
	if len(in) > 0 || !slices.Equal(events, []Event{EventRowsEnd, EventOK}) {
		t.Errorf("events %v, %d bytes left", events, len(in))
	}
}
