package mysql

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

// maxLongData bounds what SEND_LONG_DATA may collect for one statement on a virtual database, where it waits in memory
// for the execution that says which shard it goes to.
const maxLongData = 64 << 20

// guesses is how many numbers are tried to find one that a statement could run with.
const guesses = 32

// shardedStatement is the part of a prepared statement that a virtual database needs.
type shardedStatement struct {
	v       *virtual
	planner *plan.Planner
	mode    scan.Mode
	plan    *plan.Statement // nil: SET, transactions and the like, served as text
	vars    []scan.Var
	text    string
	long    map[int][]byte
	size    int // of long
}

// prepareSharded serves COM_STMT_PREPARE on a virtual database: it is planned once, and prepared on a shard when it is
// executed there.
func (s *session) prepareSharded(v *virtual, sql string, e effect, seq byte) error {
	if e.multi {
		return fault(codeNotSupported, stateSyntax, "sidewire: several statements in one text cannot be prepared")
	}
	p := &prepared{id: s.nextStmt + 1, sql: sql, effect: e, params: e.params, sharded: &shardedStatement{v: v}}
	var defs [][]byte
	switch {
	case e.class == scan.Transaction, e.verb == scan.Set, e.verb == scan.Use:
		if e.params > 0 {
			return fault(codeNotSupported, stateSyntax, "sidewire: parameters are not served in this statement on a sharded database")
		}
	default:
		if _, _, err := s.planned(v, sql, &e); err != nil {
			return err
		}
		p.sharded.text, p.sharded.vars = sql[:s.scan.End], slices.Clone(s.scan.Vars)
		var err error
		if defs, err = s.describe(p); err != nil {
			return err
		}
	}
	p.columns = len(defs)
	if s.prepared == nil {
		s.prepared = map[uint32]*prepared{}
	}
	s.nextStmt = p.id
	s.prepared[p.id] = p
	return s.answerPrepared(p, defs, seq+1)
}

// replan makes the plan of a prepared statement anew when the rules or the tables changed.
func (p *prepared) replan(s *session) error {
	now := p.sharded.v.plans(s.ctx)
	if p.sharded.planner == now && p.sharded.mode == s.planMode() {
		return nil
	}
	if err := s.scan.Scan(p.sharded.text, 0, s.mode); err != nil {
		return err
	}
	s.scan.Mode = s.planMode()
	p.sharded.planner, p.sharded.mode, p.sharded.plan, p.sharded.vars = now, s.scan.Mode, now.Prepare(p.sharded.text, &s.scan), slices.Clone(s.scan.Vars)
	return nil
}

// describe finds the columns of a statement's result: a shard prepares what it would be sent. Which shard is all the
// same, so any values do that lead to one.
func (s *session) describe(p *prepared) ([][]byte, error) {
	if err := p.replan(s); err != nil {
		return nil, err
	}
	st := p.sharded.plan
	if st.Refusal != nil {
		return nil, fault(st.Refusal.Code, st.Refusal.State, "sidewire: %s", st.Refusal.Error())
	}
	if st.Kind == plan.Write || st.Kind == plan.DDL {
		return nil, nil
	}
	x := &s.exec
	for i := range guesses + 2 {
		guess := value.NewInt(int64(i))
		switch i {
		case guesses:
			guess = value.NewString("1")
		case guesses + 1:
			guess = value.NewString("2026-01-01 00:00:00")
		}
		args := slices.Repeat([]value.Value{guess}, p.params)
		st.Bind(&plan.Input{Text: p.sharded.text, Vars: p.sharded.vars, Args: args, Keys: p.sharded.v.keys}, x)
		if x.Refusal == nil {
			break
		}
	}
	if r := x.Refusal; r != nil {
		return nil, fault(r.Code, r.State, "sidewire: %s", r.Error())
	}
	if x.Local != nil {
		return localColumns(x.Local), nil
	}
	defer s.finish()
	r := &x.Routes[0]
	h, err := s.join(p.sharded.v, r.Target, needs{role: cluster.Primary})
	if err != nil {
		return nil, err
	}
	defs, err := h.b.describe(r.SQL)
	if err != nil {
		h.b.broken = h.b.broken || !refused(err)
		return nil, err
	}
	if x.Merge != nil {
		defs = defs[:max(0, len(defs)-x.Merge.Strip)]
	}
	for i, d := range defs {
		defs[i] = p.sharded.v.names.appendColumn(nil, d)
	}
	return defs, nil
}

// describe prepares a text and returns the definitions of its result's columns.
func (b *backend) describe(sql string) ([][]byte, error) {
	made, defs, err := b.prepare(sql, true)
	if err != nil {
		return nil, err
	}
	b.statement.close = appendClose(b.statement.close, made.ID)
	return defs[min(len(defs), int(made.Params)):], nil
}

// answerPrepared writes the answer to COM_STMT_PREPARE.
func (s *session) answerPrepared(p *prepared, defs [][]byte, seq byte) error {
	w := &resultWriter{s: s, seq: seq}
	w.packet(wire.AppendPrepared(nil, wire.Prepared{ID: p.id, Columns: uint16(len(defs)), Params: uint16(p.params)}))
	eof := func(n int) {
		if n > 0 && !s.caps.Has(wire.DeprecateEOF) {
			w.packet(wire.AppendEOF(nil, s.status, 0))
		}
	}
	param := wire.AppendColumn(nil, &wire.Column{Name: []byte("?"), Type: wire.TypeVarString, Collation: wire.CollationBinary, Flags: wire.FlagBinary})
	for range p.params {
		w.packet(param)
	}
	eof(p.params)
	for _, d := range defs {
		w.packet(d)
	}
	eof(len(defs))
	s.failed, s.warnings = false, 0
	return w.flush()
}

// executeSharded serves COM_STMT_EXECUTE on a virtual database. Cursors are not opened: the rows come at once, which
// clients that asked for a cursor accept.
func (s *session) executeSharded(p *prepared, x wire.Execute, seq byte) error {
	v := p.sharded.v
	if s.handler.virtual(s.terms, v.db.Name) != v && !s.inTransaction() {
		if v = s.handler.virtual(s.terms, v.db.Name); v == nil {
			return fault(codeUnknownDatabase, stateSyntax, "Unknown database '%s'", p.sharded.v.db.Name)
		}
		p.sharded.v, p.sharded.planner = v, nil
	}
	e := p.effect
	if p.sharded.text == "" {
		s.analyse(p.sql, &effect{}) // for what the scanner leaves in the session
		return s.shardedQuery(v, p.sql, &e, seq)
	}
	s.warned.clear()
	if err := p.replan(s); err != nil {
		return err
	}
	params, err := x.Params(nil, p.types, func(i int) bool { return p.sharded.long[i] != nil })
	if err != nil {
		return err
	}
	args := make([]value.Value, len(params))
	for i := range params {
		if long := p.sharded.long[i]; long != nil {
			params[i].Data = long
		}
		args[i] = argument(&params[i])
	}
	p.sharded.long, p.sharded.size = nil, 0
	if err := s.legible(p.sharded.text, params); err != nil {
		return err
	}
	p.sharded.plan.Bind(&plan.Input{Text: p.sharded.text, Vars: p.sharded.vars, Args: args, Keys: v.keys}, &s.exec)
	j := &job{v: v, seq: seq, effect: &e, needs: needs{role: s.roleOf(&e), insertID: e.insertID}, cmd: wire.ComStmtExecute, format: merge.Binary,
		request: func(b *backend, r *plan.Route) ([]byte, error) { return s.executionOf(b, r, params) }}
	return s.perform(j, p.sharded.plan)
}

// executionOf prepares a route's text on its connection, if it is not, and makes the packet that executes it.
func (s *session) executionOf(b *backend, r *plan.Route, params []wire.Param) ([]byte, error) {
	given := params
	if r.Args != nil {
		given = make([]wire.Param, len(r.Args))
		for i, a := range r.Args {
			if a.Index >= 0 {
				given[i] = params[a.Index]
			} else {
				given[i] = parameter(a.Value)
			}
		}
	}
	k, err := b.prepared(r.SQL+"\x00"+b.database+"\x00"+b.settings.key, r.SQL, len(given))
	if err != nil {
		return nil, err
	}
	k.typed = nil
	x := wire.Execute{ID: k.id}
	x.SetParams(given)
	s.scratch = append(s.scratch[:0], 0, 0, 0, 0)
	s.scratch = wire.AppendExecute(s.scratch, &x)
	return frame(s.scratch), nil
}

// argument is a parameter as rules see it. Text borrows from the packet.
func argument(p *wire.Param) value.Value {
	d := p.Data
	if d == nil {
		return value.Value{}
	}
	switch p.Type {
	case wire.TypeTiny, wire.TypeShort, wire.TypeYear, wire.TypeLong, wire.TypeInt24, wire.TypeLongLong:
		return integer(d, p.Unsigned)
	case wire.TypeFloat:
		return value.NewFloat(float64(math.Float32frombits(binary.LittleEndian.Uint32(d))))
	case wire.TypeDouble:
		return value.NewFloat(math.Float64frombits(binary.LittleEndian.Uint64(d)))
	case wire.TypeDecimal, wire.TypeNewDecimal:
		return value.NewDecimal(text(d))
	case wire.TypeDate, wire.TypeNewDate, wire.TypeDatetime, wire.TypeTimestamp:
		return moment(d, p.Type)
	case wire.TypeTime:
		return value.Value{Kind: value.Time, Str: clock(d)}
	case wire.TypeBit, wire.TypeGeometry, wire.TypeTinyBlob, wire.TypeMediumBlob, wire.TypeLongBlob, wire.TypeBlob:
		return value.NewBytes(text(d))
	default:
		return value.NewString(text(d))
	}
}

func integer(d []byte, unsigned bool) value.Value {
	var u uint64
	for i := len(d) - 1; i >= 0; i-- {
		u = u<<8 | uint64(d[i])
	}
	if unsigned {
		return value.NewUint(u)
	}
	shift := 64 - 8*len(d)
	return value.NewInt(int64(u<<shift) >> shift)
}

// moment reads a binary date or date and time: year, month, day, then hour, minute, second, then microseconds, as far as
// they are given.
func moment(d []byte, t wire.FieldType) value.Value {
	var full [11]byte
	copy(full[:], d)
	date := fmt.Sprintf("%04d-%02d-%02d", binary.LittleEndian.Uint16(full[:]), full[2], full[3])
	if t == wire.TypeDate || t == wire.TypeNewDate {
		return value.Value{Kind: value.Date, Str: date}
	}
	date += fmt.Sprintf(" %02d:%02d:%02d", full[4], full[5], full[6])
	if us := binary.LittleEndian.Uint32(full[7:]); us > 0 {
		date += fmt.Sprintf(".%06d", us)
	}
	return value.Value{Kind: value.Datetime, Str: date}
}

// clock reads a binary time: sign, days, hours, minutes, seconds, then microseconds.
func clock(d []byte) string {
	var full [12]byte
	copy(full[:], d)
	sign := ""
	if full[0] != 0 {
		sign = "-"
	}
	out := fmt.Sprintf("%s%02d:%02d:%02d", sign, uint64(binary.LittleEndian.Uint32(full[1:]))*24+uint64(full[5]), full[6], full[7])
	if us := binary.LittleEndian.Uint32(full[8:]); us > 0 {
		out += fmt.Sprintf(".%06d", us)
	}
	return out
}

// parameter is a value of sidewire's making as a parameter.
func parameter(v value.Value) wire.Param {
	switch v.Kind {
	case value.Null:
		return wire.Param{ParamType: wire.ParamType{Type: wire.TypeNull}}
	case value.Int, value.Uint:
		return wire.Param{ParamType: wire.ParamType{Type: wire.TypeLongLong, Unsigned: v.Kind == value.Uint}, Data: binary.LittleEndian.AppendUint64(nil, v.Num)}
	case value.Float:
		return wire.Param{ParamType: wire.ParamType{Type: wire.TypeDouble}, Data: binary.LittleEndian.AppendUint64(nil, v.Num)}
	case value.Bytes:
		return wire.Param{ParamType: wire.ParamType{Type: wire.TypeBlob}, Data: []byte(v.Str)}
	default:
		return wire.Param{ParamType: wire.ParamType{Type: wire.TypeVarString}, Data: append([]byte{}, v.Text()...)}
	}
}

// collect keeps long data for the execution that will say where it goes.
func (p *prepared) collect(body []byte) {
	sh := p.sharded
	if sh.long == nil {
		sh.long = map[int][]byte{}
	}
	i := int(binary.LittleEndian.Uint16(body[5:]))
	if sh.size += len(body) - 7; sh.size > maxLongData {
		return // the execution is refused
	}
	sh.long[i] = append(sh.long[i], body[7:]...)
	if sh.long[i] == nil {
		sh.long[i] = []byte{}
	}
}
