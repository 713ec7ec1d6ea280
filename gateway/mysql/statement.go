package mysql

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/scan"
)

// Bounds of prepared statements: of a session, as max_prepared_stmt_count is a server's, and of those that one backend
// connection keeps for whoever comes next.
const (
	maxPrepared   = 16382
	keptCount     = 256
	keptBytes     = 1 << 20
	statementCost = 512 // what the server's part weighs beside the text, roughly
)

// prepared is a statement that a client prepared: a number and a text, not bound to any connection. It is prepared on a
// connection when it is first executed there.
type prepared struct {
	id       uint32
	sql      string
	key      string // names it on backend connections: the text, and what its meaning depends on
	params   int
	columns  int
	effect   effect
	database string
	settings *settings
	types    []byte       // of the parameters, as last given
	names    []byte       // the same on a session with query attributes: types and names, the attributes' too
	count    int          // of names
	sent     map[int]bool // parameters that came by SEND_LONG_DATA
	lost     bool         // some that came are gone: to execute without them would be another statement
	cursor   bool
	sharded  *shardedStatement // nil: not on a virtual database
}

// kept is a statement that is prepared on a backend connection.
type kept struct {
	id     uint32
	params int
	key    string
	typed  *prepared // whose parameter types the server has seen last
	used   uint64
}

// statements are those of one backend connection.
type statements struct {
	list  map[string]*kept
	bytes int
	clock uint64
	close []byte // COM_STMT_CLOSE packets that go out before the next command: nothing answers them
}

func (t *statements) clear() { *t = statements{} }

func (t *statements) get(key string) *kept {
	k := t.list[key]
	if k != nil {
		t.clock++
		k.used = t.clock
	}
	return k
}

// put keeps a statement. One of the same text makes room for it, and the one that was not used for longest when there
// are too many.
func (t *statements) put(key string, id uint32, params int) *kept {
	if t.list == nil {
		t.list = map[string]*kept{}
	}
	if old := t.list[key]; old != nil {
		t.drop(old)
	}
	for len(t.list) >= keptCount || len(t.list) > 0 && t.bytes+len(key) > keptBytes {
		var oldest *kept
		for _, k := range t.list {
			if oldest == nil || k.used < oldest.used {
				oldest = k
			}
		}
		t.drop(oldest)
	}
	t.clock++
	k := &kept{id: id, params: params, key: key, used: t.clock}
	t.list[key] = k
	t.bytes += len(key) + statementCost
	return k
}

func (t *statements) drop(k *kept) {
	delete(t.list, k.key)
	t.bytes -= len(k.key) + statementCost
	t.close = appendClose(t.close, k.id)
}

// closeLen is the length of a COM_STMT_CLOSE packet.
const closeLen = 9

func appendClose(dst []byte, id uint32) []byte {
	dst = append(dst, 5, 0, 0, 0, byte(wire.ComStmtClose))
	return binary.LittleEndian.AppendUint32(dst, id)
}

// write sends a command, one payload of any length behind room for its header (see frame), behind the closing of statements that are no longer kept.
func (b *backend) write(p []byte) (int, error) {
	if len(p) >= wire.HeaderLen+wire.MaxPayload {
		return b.writeParts(p)
	}
	b.restart()
	if len(b.statement.close) > 0 && b.packed != nil {
		if err := b.writeClose(); err != nil {
			return 0, err
		}
	}
	return b.conn.Write(b.outgoing(p))
}

// ask sends a command like write and waits for the beginning of its answer. sent tells whether the server may have seen it.
func (b *backend) ask(p []byte) (sent bool, err error) {
	if b.packed != nil || len(p) >= wire.HeaderLen+wire.MaxPayload {
		n, err := b.write(p)
		return n > 0, err // forward waits
	}
	n, waited, err := b.stream.ask(b.outgoing(p))
	b.spent += waited
	return n > 0, err
}

func (b *backend) outgoing(p []byte) []byte {
	if len(b.statement.close) == 0 {
		return p
	}
	all := append(b.statement.close, p...)
	b.statement.close = b.statement.close[:0]
	return all
}

// writeClose sends what closes statements by itself: compressed packets of their own, whose numbers begin with the command, or ahead of
// what is too long to be joined.
func (b *backend) writeClose() error {
	for c := b.statement.close; len(c) > 0; c = c[closeLen:] {
		b.restart()
		if _, err := b.conn.Write(c[:closeLen]); err != nil {
			return err
		}
	}
	b.statement.close = b.statement.close[:0]
	b.restart()
	return nil
}

// prepare serves COM_STMT_PREPARE: the server prepares it and says what columns and parameters there are; the number is
// the session's own.
func (s *session) prepare(raw, body []byte, seq byte) error {
	if len(s.prepared) >= maxPrepared {
		return fault(codeTooManyPrepared, stateSyntax, "Can't create more than max_prepared_stmt_count statements (current value: %d)", maxPrepared)
	}
	sql := string(body[1:])
	var e effect
	if own := s.analyseOwn(sql, &e, false); own != "" {
		sql, raw, body = own, nil, append([]byte{body[0]}, own...)
	}
	v, err := s.sharding()
	if err != nil {
		return err
	}
	if v != nil {
		return s.prepareSharded(v, sql, e, seq)
	}
	p := &prepared{id: s.nextStmt + 1, sql: sql, effect: e, database: s.database, settings: s.settings}
	p.key = sql + "\x00" + s.database + "\x00" + s.settings.key
	quiet := effect{class: scan.Read, accounted: true, prepares: p}
	err = s.exchange(seq, s.present(), &quiet, p.id, func(b *backend) ([]byte, error) {
		if raw != nil {
			return raw, nil
		}
		return frame(append(make([]byte, wire.HeaderLen, wire.HeaderLen+len(body)), body...)), nil
	}, wire.ComStmtPrepare)
	a := &s.answer
	if err != nil || a.err != nil {
		return err
	}
	if s.prepared == nil {
		s.prepared = map[uint32]*prepared{}
	}
	s.nextStmt = p.id
	s.prepared[p.id] = p
	return nil
}

func (s *session) statementOf(body []byte) (*prepared, error) {
	id, err := wire.StatementID(body)
	if err != nil {
		return nil, err
	}
	if id == wire.LastStatement {
		id = s.lastStmt
	}
	p := s.prepared[id]
	if p == nil {
		name, _, _ := strings.Cut(strings.ToLower(wire.Command(body[0]).String()), " ")
		return nil, fault(codeUnknownStatement, stateGeneral, "Unknown prepared statement handler (%d) given to mysqld_stmt_%s", id, name)
	}
	return p, nil
}

// onBackend makes sure that b has p prepared.
func (s *session) onBackend(b *backend, p *prepared) (*kept, error) {
	if k := b.statement.get(p.key); k != nil {
		return k, nil
	}
	// It is prepared as its client prepared it: under the database and the settings of then.
	if err := s.apply(b, needs{database: p.database, settings: p.settings}); err != nil {
		return nil, err
	}
	k, err := b.prepared(p.key, p.sql, p.params)
	if err != nil {
		return nil, err
	}
	return k, s.apply(b, s.present())
}

// prepared prepares a text on b unless it is, under a key that names it there.
func (b *backend) prepared(key, sql string, params int) (*kept, error) {
	if k := b.statement.get(key); k != nil {
		return k, nil
	}
	made, _, err := b.prepare(sql, false)
	if err != nil {
		return nil, err
	}
	if int(made.Params) != params {
		b.statement.close = appendClose(b.statement.close, made.ID)
		return nil, fault(codeReprepare, stateGeneral, "Prepared statement needs to be re-prepared")
	}
	return b.statement.put(key, made.ID, params), nil
}

// prepare prepares a text on the connection. With definitions it also returns the packets that describe the parameters and
// then the columns, copied. An error of the server is *wire.Error.
func (b *backend) prepare(sql string, definitions bool) (made wire.Prepared, defs [][]byte, err error) {
	cmd := append([]byte{0, 0, 0, 0, byte(wire.ComStmtPrepare)}, sql...)
	if _, err := b.write(frame(cmd)); err != nil {
		b.broken = true
		return made, nil, fmt.Errorf("preparing: %w", err)
	}
	var r wire.Reply
	r.Begin(wire.ComStmtPrepare, b.caps, 1)
	r.Each = definitions
	var failed *wire.Error
	for !r.Done() {
		ev, err := b.next(&r)
		if err == nil {
			switch ev {
			case wire.EventPrepared:
				made, err = wire.DecodePrepared(r.Packet)
			case wire.EventColumn:
				defs = append(defs, bytes.Clone(r.Packet))
			case wire.EventErr:
				failed, err = wire.DecodeErr(r.Packet)
			}
		}
		if err != nil {
			b.broken = true
			return made, nil, err
		}
	}
	b.finish()
	if failed != nil {
		return made, nil, failed
	}
	return made, defs, nil
}

// execute serves COM_STMT_EXECUTE.
func (s *session) execute(raw, body []byte, seq byte) error {
	p, err := s.statementOf(body)
	if err != nil {
		return err
	}
	if p.lost {
		p.sent, p.lost = nil, false
		s.unpinUnless(pinLongData, func(q *prepared) bool { return len(q.sent) > 0 })
		return fault(codeLostConnection, stateGeneral, "sidewire: the long data of the statement was lost with its server connection; send it again")
	}
	var x wire.Execute
	var named *wire.NamedExecute
	if s.caps.Has(wire.QueryAttributes) {
		if named, err = p.named(body); err == nil && p.sharded != nil {
			x, err = named.Plain(p.params, p.isSent)
		}
	} else {
		x, err = wire.DecodeExecute(body, p.params)
	}
	switch {
	case err != nil:
		return err
	case x.NewTypes:
		p.types = append(p.types[:0], x.Types...)
	case named == nil && p.params > 0 && len(p.types) != 2*p.params:
		return fault(codeWrongArguments, stateGeneral, "Incorrect arguments to mysqld_stmt_execute")
	}
	e := p.effect
	e.apart = len(p.sent) > 0
	s.note(&e, p.sql, true)
	if p.sharded != nil {
		if p.sharded.size > maxLongData {
			p.sharded.long, p.sharded.size = nil, 0
			return fault(codePacketTooLarge, stateCommunication, "sidewire: the long data of a statement is at most %d bytes on a sharded database", maxLongData)
		}
		return s.executeSharded(p, x, seq)
	}
	if s.terms.block.Shadow != nil {
		s.shadowExecution(p, x, named)
	}
	cursor := x.Flags&wire.CursorFlags != 0
	if named != nil {
		cursor = named.Flags&wire.CursorFlags != 0
	}
	if cursor {
		e.pin = pinCursor
	}
	n := s.requirements(&e)
	err = s.exchange(seq, n, &e, 0, func(b *backend) ([]byte, error) {
		k, err := s.onBackend(b, p)
		if err != nil {
			return nil, err
		}
		switch {
		case len(body) > socket.MaxBuffer && s.alike(b, k, p, x, named):
			wire.PutStatementID(body, k.id)
			k.typed = p
			return raw, nil
		case named == nil:
			return s.execution(k, p, x), nil
		case b.caps.Has(wire.QueryAttributes):
			return s.namedExecution(k, p, *named), nil
		}
		plain, err := named.Plain(p.params, p.isSent)
		return s.execution(k, p, plain), err
	}, wire.ComStmtExecute)
	p.lost = false // it lost them itself
	if len(p.sent) > 0 {
		p.sent = nil
		s.unpinUnless(pinLongData, func(q *prepared) bool { return len(q.sent) > 0 })
	}
	if cursor {
		st := s.answer.reply.Status
		p.cursor = err == nil && s.answer.err == nil && st.Has(wire.StatusCursorExists) && !st.Has(wire.StatusLastRowSent)
		s.unpinUnless(pinCursor, func(q *prepared) bool { return q.cursor })
	}
	return err
}

// alike reports whether the packet of an execution can pass as it is but for its number. It is asked of large ones, to spare a copy.
func (s *session) alike(b *backend, k *kept, p *prepared, x wire.Execute, named *wire.NamedExecute) bool {
	if named != nil {
		return b.caps.Has(wire.QueryAttributes) && named.NewTypes
	}
	return x.NewTypes || k.typed == p
}

// execution is the packet that executes p as k. Clients give the parameters' types with the first execution only; a
// connection that did not see them last gets them again.
func (s *session) execution(k *kept, p *prepared, x wire.Execute) []byte {
	x.ID = k.id
	if p.params > 0 && !x.NewTypes && k.typed != p {
		x.NewTypes, x.Types = true, p.types
	}
	k.typed = p
	s.scratch = append(s.scratch[:0], 0, 0, 0, 0)
	s.scratch = wire.AppendExecute(s.scratch, &x)
	return frame(s.scratch)
}

// unpinUnless takes a reason back when no statement of the session has it any more.
func (s *session) unpinUnless(reason string, has func(*prepared) bool) {
	if !s.pins.has(reason) {
		return
	}
	for _, q := range s.prepared {
		if has(q) {
			return
		}
	}
	s.unpin(reason)
	if s.lease != nil {
		s.settle(s.lease)
	}
}

// resetStatement serves COM_STMT_RESET: it takes back long data and closes a cursor, which only a pinned connection has.
func (s *session) resetStatement(body []byte, seq byte) error {
	p, err := s.statementOf(body)
	if err != nil {
		return err
	}
	if s.lease != nil {
		if k := s.lease.statement.list[p.key]; k != nil && (p.cursor || len(p.sent) > 0) {
			if err := s.lease.simple(wire.ComStmtReset, k.id); err != nil && s.lease.broken {
				s.lost(s.lease)
			}
		}
	}
	p.sent, p.lost, p.cursor = nil, false, false
	if p.sharded != nil {
		p.sharded.long, p.sharded.size = nil, 0
	}
	s.unpinUnless(pinLongData, func(q *prepared) bool { return len(q.sent) > 0 })
	s.unpinUnless(pinCursor, func(q *prepared) bool { return q.cursor })
	return s.ok(seq+1, wire.OK{})
}

// closeStatement serves COM_STMT_CLOSE, which nothing answers. Backend connections keep their copies for others, but
// not one with a cursor or long data.
func (s *session) closeStatement(body []byte) {
	p, err := s.statementOf(body)
	if err != nil {
		return
	}
	delete(s.prepared, p.id)
	if s.lease != nil && (p.cursor || len(p.sent) > 0) {
		if k := s.lease.statement.list[p.key]; k != nil {
			s.lease.statement.drop(k)
		}
	}
	s.unpinUnless(pinLongData, func(q *prepared) bool { return len(q.sent) > 0 })
	s.unpinUnless(pinCursor, func(q *prepared) bool { return q.cursor })
}

// fetch serves COM_STMT_FETCH, on the connection that has the cursor.
func (s *session) fetch(raw, body []byte, seq byte) error {
	p, err := s.statementOf(body)
	if err != nil {
		return err
	}
	if s.lease == nil || !p.cursor || s.lease.statement.list[p.key] == nil {
		return fault(codeNoCursor, stateGeneral, "The statement (%d) has no open cursor.", p.id)
	}
	k := s.lease.statement.list[p.key]
	e := effect{class: scan.Read, accounted: true}
	err = s.exchange(seq, s.present(), &e, 0, func(*backend) ([]byte, error) {
		wire.PutStatementID(body, k.id)
		return raw, nil
	}, wire.ComStmtFetch)
	if st := s.answer.reply.Status; err != nil || s.answer.err != nil || st.Has(wire.StatusLastRowSent) {
		p.cursor = false
		s.unpinUnless(pinCursor, func(q *prepared) bool { return q.cursor })
	}
	return err
}
