package mysql

import (
	"errors"
	"fmt"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// answer is what the answer to a command said, kept while it passes.
type answer struct {
	reply    wire.Reply
	err      *wire.Error // the last packet was this error
	insertID uint64
	affected uint64
	rows     bool   // it ended with rows, not with a count
	asked    []byte // the packet that it answers
	changed  bool   // the server says that its session's state changed
	schema   string // the new current database
	moved    bool   // schema is set
	learnt   []setting
	gtid     string
	sent     int64 // bytes written to the client
	prepared wire.Prepared
	// generated is the key that sidewire made for the statement: what LAST_INSERT_ID() is to say; 0: none.
	generated uint64
	names     *names // of the virtual database whose tables answer; nil: names pass as they are
	columns   int    // definitions that have passed, of the result that is being read
	held      []byte // changed packets, and what stood between them, still to be written
}

func (a *answer) begin(cmd wire.Command, caps wire.Capability, seq byte) {
	learnt := a.learnt[:0]
	reply := a.reply
	*a = answer{reply: reply, learnt: learnt, held: a.held[:0]}
	a.reply.Begin(cmd, caps, seq)
}

// rename makes the answer pass in a virtual database's names.
func (a *answer) rename(n *names) { a.names, a.reply.Each = n, true }

// renamed stops looking at every packet when the last column of a result has passed.
func (a *answer) renamed() {
	if a.columns++; a.columns == a.reply.Columns {
		a.columns, a.reply.Each = 0, false
	}
}

// errTorn means that the client has seen part of a packet that will not come whole: its connection is of no use any more.
var errTorn = errors.New("the server was lost in the middle of its answer")

// forward passes the answer to cmd from b to the client, as it comes. OK packets are looked at, and changed where the
// client did not agree to all they carry; rows are not looked at. virtual is the number a prepared statement gets.
func (s *session) forward(b *backend, virtual uint32) error {
	a := &s.answer
	r := &a.reply
	done := 0 // unread bytes that have passed and are still to be written
	for {
		n, ev, err := r.Next(b.unread()[done:])
		if err != nil {
			b.broken = true
			return s.interrupted(b, err)
		}
		done += n
		switch ev {
		case wire.EventMore:
			if s.overlong(done) {
				return s.cutShort(b, done)
			}
			if s.packed != nil && r.Left() > 0 && len(a.held)+done < wholeCompressed {
				a.held = append(a.held, b.unread()[:done]...)
				b.took(done)
			} else if err := s.flush(b, done); err != nil {
				return err
			}
			done = 0
			if err := b.fill(r.Want()); err != nil {
				b.broken = true
				return s.interrupted(b, err)
			}
			if b.w == len(b.buf.Bytes()) {
				b.size = largeRead
			}
		case wire.EventOK, wire.EventRowsEnd:
			p, err := s.review(b, ev)
			if err != nil {
				b.broken = true
				return s.interrupted(b, err)
			}
			if p != nil {
				s.replace(b, done, p)
				done = 0
			}
			r.Each = a.names != nil
		case wire.EventColumn:
			s.out = a.names.appendColumn(s.out[:0], r.Packet)
			s.replace(b, done, s.out)
			done = 0
			a.renamed()
		case wire.EventErr:
			if a.err, err = wire.DecodeErr(r.Packet); err != nil {
				b.broken = true
				return s.interrupted(b, err)
			}
			if writes(a.err) && !s.status.Has(wire.StatusInTransaction) && !s.tx.open && a.sent == 0 && r.Results == 0 && b.pool.endpoint.Role() == cluster.Replica {
				a.err = nil
				b.took(done)
				return errElsewhere
			}
			if why := s.interruption(a.err, b.mariaDB); why != a.err {
				a.err, s.out = why, wire.AppendErr(s.out[:0], why)
				s.replace(b, done, s.out)
				done = 0
			} else if a.names != nil {
				a.err = a.names.fault(a.err)
				s.out = wire.AppendErr(s.out[:0], a.err)
				s.replace(b, done, s.out)
				done = 0
			}
		case wire.EventPrepared:
			if a.prepared, err = wire.DecodePrepared(r.Packet); err != nil {
				b.broken = true
				return s.interrupted(b, err)
			}
			wire.PutStatementID(r.Packet, virtual)
		case wire.EventInfile:
			if err := s.flush(b, done); err != nil {
				return err
			}
			done = 0
			if err := s.localFile(b, r); err != nil {
				return err
			}
		}
		if r.Done() && ev != wire.EventMore {
			break
		}
	}
	if err := s.flush(b, done); err != nil {
		return err
	}
	if b.w > b.r {
		b.broken = true // it goes on talking: what comes is nobody's answer
	}
	b.size = smallRead
	return nil
}

// flush writes what is held back and the first n unread bytes of b to the client.
func (s *session) flush(b *backend, n int) error {
	p := b.unread()[:n]
	if a := &s.answer; len(a.held) > 0 {
		a.held = append(a.held, p...)
		p, a.held = a.held, a.held[:0]
	}
	if len(p) == 0 {
		return nil
	}
	if _, err := s.stream.conn.Write(p); err != nil {
		b.broken = true
		return fmt.Errorf("writing answer: %w", errors.Join(errClientGone, err))
	}
	s.answer.sent += int64(len(p))
	b.took(n)
	return nil
}

// replace takes the first n unread bytes of b, with payload in the place of their last packet, for the next flush.
func (s *session) replace(b *backend, n int, payload []byte) {
	a := &s.answer
	start := n - len(a.reply.Packet) - wire.HeaderLen
	seq := b.unread()[start+3]
	a.held = append(a.held, b.unread()[:start]...)
	a.held, _ = wire.AppendPacket(a.held, seq, payload)
	b.took(n)
}

// interrupted says what became of an answer that stopped: the client may be told an error, or only be left.
func (s *session) interrupted(b *backend, err error) error {
	r := &s.answer.reply
	if s.answer.sent > 0 && !r.ErrorFits() {
		return errors.Join(errTorn, err)
	}
	if s.answer.sent > 0 { // what is held back counts in the numbers of packets; else the client has seen nothing
		if ferr := s.flush(b, 0); ferr != nil {
			return ferr
		}
	}
	return fmt.Errorf("reading answer of %s: %w", b.pool.endpoint.Address(), err)
}

// review reads an OK or EOF and returns what the client is to see in its place, nil if it may pass as it is.
func (s *session) review(b *backend, ev wire.Event) ([]byte, error) {
	a := &s.answer
	p := a.reply.Packet
	a.rows = ev == wire.EventRowsEnd
	if ev == wire.EventRowsEnd && !b.caps.Has(wire.DeprecateEOF) {
		return nil, nil // an EOF carries nothing but status and warnings
	}
	ok, err := wire.DecodeOK(p, b.caps)
	if err != nil {
		return nil, err
	}
	if ev == wire.EventOK {
		if a.generated != 0 && ok.AffectedRows > 0 {
			ok.InsertID = a.generated
		}
		a.affected, a.insertID = ok.AffectedRows, ok.InsertID
	}
	if !ok.Status.Has(wire.StatusSessionChanged) && a.generated == 0 {
		return nil, nil
	}
	if err := a.track(&ok, s.tracked(b)); err != nil {
		return nil, err
	}
	s.wrote(b, a.gtid)
	if ev == wire.EventOK {
		s.out = wire.AppendOK(s.out[:0], ok, s.caps)
	} else {
		s.out = wire.AppendEnd(s.out[:0], ok, s.caps)
	}
	return s.out, nil
}

// localFile passes the file that the server asked for from the client to the server: packets up to an empty one, in pieces.
func (s *session) localFile(b *backend, r *wire.Reply) error {
	if !s.caps.Has(wire.LocalFiles) || !s.terms.block.LocalInfile {
		b.broken = true
		return errors.Join(errTorn, errors.New("the server asked for a file that was not offered"))
	}
	s.size = longPiece
	defer func() { s.size = 0 }()
	for {
		if err := s.header(); err != nil {
			b.broken = true
			return fmt.Errorf("reading local file: %w", errors.Join(errClientGone, err))
		}
		n, seq := wire.Header(s.unread())
		for left := wire.HeaderLen + n; left > 0; {
			if s.r == s.w {
				if err := s.fill(1); err != nil {
					b.broken = true
					return fmt.Errorf("reading local file: %w", errors.Join(errClientGone, err))
				}
			}
			piece := s.unread()[:min(left, s.w-s.r)]
			if _, err := b.conn.Write(piece); err != nil {
				b.broken = true
				return s.interrupted(b, err)
			}
			s.took(len(piece))
			left -= len(piece)
		}
		if n == 0 {
			r.Infile(seq + 1)
			return nil
		}
	}
}
