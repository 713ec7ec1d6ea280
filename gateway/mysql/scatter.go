package mysql

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/plan"
)

const (
	// mergeBudget bounds what one query over several shards may hold in memory.
	mergeBudget = merge.DefaultBudget
	// rowsChunk is how many bytes of merged rows are written at once.
	rowsChunk = 32 << 10
)

// scattered is a query that reads from several shards at once.
type scattered struct {
	s       *session
	job     *job
	sources []*shardSource
	held    int // bytes that wait in memory
	over    bool
}

// shardSource is the rows of one route. Routes to one connection follow each other on it: the rows of the one that is
// being read are taken into memory when the next has to begin.
type shardSource struct {
	q        *scattered
	h        *hold
	route    *plan.Route
	sent     bool
	ended    bool
	reply    wire.Reply
	defs     [][]byte
	columns  []merge.Column
	buffered [][]byte
}

// merged serves a query over several shards: all are asked, then their rows are merged as they come.
func (s *session) merged(j *job) error {
	if err := s.unlimited(); err != nil {
		return err
	}
	q := &scattered{s: s, job: j}
	x := &s.exec
	if err := s.gather(); err != nil {
		return err
	}
	opened := false
	defer func() {
		if !opened {
			s.ungather()
		}
	}()
	for i := range x.Routes {
		h, err := s.join(j.v, x.Routes[i].Target, j.needs)
		if err != nil {
			if h != nil {
				err = lastTry(s.broke(h, err, j, false))
			}
			return err
		}
		if err := s.stopClock(j, h); err != nil {
			return lastTry(s.broke(h, err, j, false))
		}
		q.sources = append(q.sources, &shardSource{q: q, h: h, route: &x.Routes[i]})
	}
	s.ungather()
	opened = true
	err := q.run()
	if err == nil {
		return nil
	}
	q.waited()
	return q.failed(err)
}

// waited says that no shard is waited for any more. It must be said while the connections are the session's still: whoever
// ends a session's statement interrupts what the session waits for, and they may serve others by then.
func (q *scattered) waited() {
	if q.over {
		return
	}
	q.over = true
	for _, src := range q.sources {
		q.s.waited(src.h.b)
	}
}

// run asks every shard and writes the merged result to the client.
func (q *scattered) run() error {
	s := q.s
	s.answer.begin(q.job.cmd, 0, q.job.seq+1)
	sources := make([]merge.Source, len(q.sources))
	for i, src := range q.sources {
		sources[i] = src
		if src.h.source == nil {
			if err := src.send(); err != nil {
				return src.error(err)
			}
		}
	}
	m, err := merge.New(s.exec.Merge, sources, merge.Options{Format: q.job.format, Budget: mergeBudget})
	if err != nil {
		return err
	}
	w := &resultWriter{s: s, seq: q.job.seq + 1}
	if err := w.begin(q.sources[0].defs[:len(m.Columns())]); err != nil {
		return err
	}
	for {
		row, err := m.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return w.failed(err)
		}
		if err := w.row(row); err != nil {
			return err
		}
	}
	for _, src := range q.sources {
		if err := src.rest(); err != nil {
			return w.failed(err)
		}
	}
	s.failed, s.warnings = false, s.warned.packets()
	q.waited()
	s.finish()
	return w.end()
}

// failed ends a query that did not come to its end: connections that still talk are given up, but for those of a
// transaction where no shard is at fault.
func (q *scattered) failed(err error) error {
	s := q.s
	var lost *sourceError
	open := s.inTransaction()
	for _, src := range q.sources {
		switch {
		case !src.sent || src.ended:
		case open && !errors.Is(err, errClientGone) && !errors.As(err, &lost) && !s.over() && src.cutShort():
		default:
			src.h.b.broken = true
			_ = src.h.b.pool.up.cancel(s.handler.life, src.h.b, "KILL") // its rows are of no use any more
		}
	}
	for _, h := range s.holds {
		h.source = nil
	}
	var answered *wire.Error
	if open {
		for _, h := range s.holds {
			if h.b.broken {
				s.doom()
				if !errors.As(err, &answered) {
					return fault(codeRolledBack, stateRolledBack, "sidewire: a shard was lost, and with it the open transaction; run it again: %s", err)
				}
				break
			}
		}
	}
	switch {
	case errors.Is(err, errClientGone), errors.As(err, &answered):
		return err
	case errors.As(err, &lost):
		return fault(codeLostConnection, stateGeneral, "sidewire: %s", lost)
	default:
		return fault(codeNotSupported, stateGeneral, "sidewire: %s", err)
	}
}

// sourceError is a shard that was lost while its rows were awaited.
type sourceError struct {
	where string
	err   error
}

func (e *sourceError) Error() string { return fmt.Sprintf("reading from %s: %s", e.where, e.err) }
func (e *sourceError) Unwrap() error { return e.err }

func (c *shardSource) error(err error) error {
	var answered *wire.Error
	if errors.As(err, &answered) {
		return err
	}
	c.h.b.broken = true
	return &sourceError{c.h.b.pool.endpoint.Address(), err}
}

// send asks the shard.
func (c *shardSource) send() error {
	s := c.q.s
	if prev := c.h.source; prev != nil && prev != c {
		if err := prev.buffer(); err != nil {
			return err
		}
	}
	if err := s.wait(c.h.b); err != nil {
		return err
	}
	p, err := c.q.job.request(c.h.b, c.route)
	if err != nil {
		return err
	}
	c.h.source, c.sent = c, true
	if _, err := c.h.b.write(p); err != nil {
		return err
	}
	c.reply.Begin(c.q.job.cmd, c.h.b.caps, 1)
	c.reply.Each = true
	return nil
}

// Columns reads the column definitions.
func (c *shardSource) Columns() ([]merge.Column, error) {
	if !c.sent {
		if err := c.send(); err != nil {
			return nil, c.error(err)
		}
	}
	for {
		ev, err := c.next()
		if err != nil {
			return nil, err
		}
		switch ev {
		case wire.EventColumns:
		case wire.EventColumn:
			d, err := wire.DecodeColumn(c.reply.Packet)
			if err != nil {
				return nil, c.error(err)
			}
			if c == c.q.sources[0] { // the client gets those of one shard
				c.defs = append(c.defs, c.q.job.v.names.appendColumn(nil, c.reply.Packet))
			}
			c.columns = append(c.columns, merge.Column{Name: string(d.Name), Type: byte(d.Type), Flags: d.Flags, Charset: d.Collation, Decimals: d.Decimals, Length: d.Length})
			if len(c.columns) == c.reply.Columns {
				return c.columns, nil
			}
		default:
			return nil, c.error(errors.New("the shard answered without rows"))
		}
	}
}

// Next returns the next row.
func (c *shardSource) Next() ([]byte, error) {
	if len(c.buffered) > 0 {
		row := c.buffered[0]
		c.buffered = c.buffered[1:]
		c.q.held -= len(row)
		return row, nil
	}
	if c.ended {
		return nil, io.EOF
	}
	ev, err := c.next()
	if err != nil {
		return nil, err
	}
	if ev == wire.EventRow {
		return c.reply.Packet, nil
	}
	return nil, io.EOF
}

// next reads up to the next row, definition or end.
func (c *shardSource) next() (wire.Event, error) {
	ev, err := c.h.b.next(&c.reply)
	if err != nil {
		return ev, c.error(err)
	}
	switch ev {
	case wire.EventErr:
		c.end()
		e, err := wire.DecodeErr(c.reply.Packet)
		if err != nil {
			return ev, c.error(err)
		}
		return ev, e
	case wire.EventRowsEnd, wire.EventOK:
		if c.reply.Status.Has(wire.StatusMoreResults) {
			return ev, c.error(errors.New("the shard answered with several results"))
		}
		c.end()
		if err := c.q.s.collect(c.h.b, c.reply.Warnings, c.q.job.v.names, true); err != nil {
			return ev, c.error(err)
		}
	}
	return ev, nil
}

func (c *shardSource) end() {
	c.ended = true
	c.h.open = c.reply.Status.Has(wire.StatusInTransaction)
	c.h.b.finish()
	if c.h.source == c {
		c.h.source = nil
	}
}

// buffer takes what is left of the rows into memory, so that the connection can serve the next route.
func (c *shardSource) buffer() error {
	for !c.ended {
		ev, err := c.next()
		if err != nil {
			return err
		}
		if ev != wire.EventRow {
			continue
		}
		c.q.held += len(c.reply.Packet)
		if c.q.held > mergeBudget {
			return merge.ErrBudget
		}
		c.buffered = append(c.buffered, bytes.Clone(c.reply.Packet))
	}
	return nil
}

// rest reads what the merge did not want, so that the connection can serve again.
func (c *shardSource) rest() error {
	c.buffered = nil
	for c.sent && !c.ended {
		if _, err := c.next(); err != nil {
			return err
		}
	}
	return nil
}

// cutShort ends the query on the shard and reads what was on its way, so that the connection can go on with its
// transaction. False means that it cannot.
func (c *shardSource) cutShort() bool {
	b := c.h.b
	if b.broken || b.pool.up.cancel(c.q.s.handler.life, b, "KILL QUERY") != nil {
		return false
	}
	var answered *wire.Error
	if err := c.rest(); err != nil && !errors.As(err, &answered) {
		return false
	}
	for range 2 { // a KILL that came after the query's end meets the next statement
		_, err := b.query("DO 0")
		if err == nil {
			return b.status.Has(wire.StatusInTransaction)
		}
		if !errors.As(err, &answered) {
			return false
		}
	}
	return false
}

// resultWriter writes a result set of sidewire's own making to the client.
type resultWriter struct {
	diagnoses bool // it tells of the statement before
	s         *session
	seq       byte
	out       []byte
	rows      int64
	size      int64
}

func (w *resultWriter) packet(p []byte) {
	w.out, w.seq = wire.AppendPacket(w.out, w.seq, p)
}

// begin writes the column definitions as a server made them.
func (w *resultWriter) begin(defs [][]byte) error {
	w.packet(wire.AppendLenenc(nil, uint64(len(defs))))
	for _, d := range defs {
		w.packet(d)
	}
	if !w.s.caps.Has(wire.DeprecateEOF) {
		w.packet(wire.AppendEOF(nil, w.s.status, 0))
	}
	return nil
}

func (w *resultWriter) row(p []byte) error {
	w.packet(p)
	w.rows++
	if len(w.out) < rowsChunk {
		return nil
	}
	return w.flush()
}

func (w *resultWriter) flush() error {
	if limit := int64(w.s.terms.block.MaxResult); limit > 0 && w.size+int64(len(w.out)) > limit && w.rows > 0 {
		w.s.handler.metrics.cut.Inc()
		return w.s.tooLong()
	}
	if _, err := w.s.stream.conn.Write(w.out); err != nil {
		return fmt.Errorf("writing result: %w", errors.Join(errClientGone, err))
	}
	w.size += int64(len(w.out))
	w.s.answer.sent = w.size
	w.out = w.out[:0]
	return nil
}

// failed ends a result that has begun. What was not written yet need not be.
func (w *resultWriter) failed(err error) error {
	if w.size == 0 {
		return err
	}
	if ferr := w.flush(); ferr != nil {
		return ferr
	}
	w.s.answer.reply.Begin(wire.ComStmtFetch, 0, w.seq) // where the error goes
	return err
}

func (w *resultWriter) end() error {
	ok := wire.OK{Status: w.s.status & lasting, Warnings: w.s.warnings}
	if w.diagnoses {
		ok.Warnings = 0 // it has none of its own, and leaves those that it tells of
	}
	w.packet(wire.AppendEnd(nil, ok, w.s.caps))
	w.s.answer.reply.Rows = w.rows
	return w.flush()
}

// gather lets one session at a time take several connections of its own: two that each hold one and wait for the
// other's would wait for ever.
func (s *session) gather() error {
	if s.inTransaction() {
		return nil
	}
	select {
	case s.handler.gathering <- struct{}{}:
		s.gathers = true
		return nil
	case <-s.ctx.Done():
		return errClientGone
	}
}

func (s *session) ungather() {
	if s.gathers {
		s.gathers = false
		<-s.handler.gathering
	}
}
