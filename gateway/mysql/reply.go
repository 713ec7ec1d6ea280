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
	changed  bool   // the server says that its session's state changed
	schema   string // the new current database
	moved    bool   // schema is set
	learnt   []setting
	gtid     string
	sent     int64 // bytes written to the client
	prepared wire.Prepared
	// generated is the key that sidewire made for the statement: what LAST_INSERT_ID() is to say; 0: none.
	generated uint64
}

func (a *answer) begin(cmd wire.Command, caps wire.Capability, seq byte) {
	learnt := a.learnt[:0]
	reply := a.reply
	*a = answer{reply: reply, learnt: learnt}
	a.reply.Begin(cmd, caps, seq)
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
			if err := s.flush(b, done); err != nil {
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
				if err := s.replace(b, done, p); err != nil {
					return err
				}
				done = 0
			}
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

// flush writes the first n unread bytes of b to the client.
func (s *session) flush(b *backend, n int) error {
	if n == 0 {
		return nil
	}
	if _, err := s.stream.conn.Write(b.unread()[:n]); err != nil {
		b.broken = true
		return fmt.Errorf("writing answer: %w", errors.Join(errClientGone, err))
	}
	s.answer.sent += int64(n)
	b.took(n)
	return nil
}

// replace writes the first n unread bytes of b to the client with payload in the place of their last packet.
func (s *session) replace(b *backend, n int, payload []byte) error {
	r := &s.answer.reply
	start := n - len(r.Packet) - wire.HeaderLen
	seq := b.unread()[start+3]
	s.scratch = append(s.scratch[:0], b.unread()[:start]...)
	s.scratch, _ = wire.AppendPacket(s.scratch, seq, payload)
	if _, err := s.stream.conn.Write(s.scratch); err != nil {
		b.broken = true
		return fmt.Errorf("writing answer: %w", errors.Join(errClientGone, err))
	}
	s.answer.sent += int64(len(s.scratch))
	b.took(n)
	return nil
}

// interrupted says what became of an answer that stopped: the client may be told an error, or only be left.
func (s *session) interrupted(b *backend, err error) error {
	r := &s.answer.reply
	if s.answer.sent > 0 && !r.ErrorFits() {
		return errors.Join(errTorn, err)
	}
	return fmt.Errorf("reading answer of %s: %w", b.pool.endpoint.Address(), err)
}

// review reads an OK or EOF and returns what the client is to see in its place, nil if it may pass as it is.
func (s *session) review(b *backend, ev wire.Event) ([]byte, error) {
	a := &s.answer
	p := a.reply.Packet
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
	if err := a.track(&ok, s.caps.Has(wire.SessionTrack)); err != nil {
		return nil, err
	}
	s.wrote(b)
	if ev == wire.EventOK {
		s.out = wire.AppendOK(s.out[:0], ok, s.caps)
	} else {
		s.out = wire.AppendEnd(s.out[:0], ok, s.caps)
	}
	return s.out, nil
}

// track notes the changes that an OK tells of, and leaves in it those that the client expects: what a server tells of
// without being asked. The rest was asked for by sidewire.
func (a *answer) track(ok *wire.OK, keep bool) error {
	var kept []byte
	for rest := ok.Track; len(rest) > 0; {
		c, next, err := wire.TrackNext(rest)
		if err != nil {
			return err
		}
		rest = next
		shown := false
		switch c.Kind {
		case wire.TrackSchema:
			a.schema, a.moved, shown = string(c.Value), true, true
		case wire.TrackVariable:
			a.learnt = append(a.learnt, setting{string(c.Name), string(c.Value)})
			shown = trackedByDefault(text(c.Name))
			if text(c.Name) == "last_gtid" {
				a.gtid = string(c.Value)
			}
		case wire.TrackGTIDs:
			a.gtid = string(c.Value)
		case wire.TrackState:
			a.changed = true
		}
		if shown && keep {
			kept = wire.AppendTrack(kept, c)
		}
	}
	ok.Track = kept
	return nil
}

// trackedByDefault are the variables in session_track_system_variables as servers come.
func trackedByDefault(name string) bool {
	switch name {
	case "time_zone", "autocommit", "character_set_client", "character_set_results", "character_set_connection":
		return true
	}
	return false
}

// localFile passes the file that the server asked for from the client to the server: packets up to an empty one.
func (s *session) localFile(b *backend, r *wire.Reply) error {
	if !s.caps.Has(wire.LocalFiles) || !s.terms.block.LocalInfile {
		b.broken = true
		return errors.Join(errTorn, errors.New("the server asked for a file that was not offered"))
	}
	for {
		raw, body, seq, err := s.one(wire.MaxPayload)
		if err != nil {
			b.broken = true
			return fmt.Errorf("reading local file: %w", errors.Join(errClientGone, err))
		}
		if _, err := b.conn.Write(raw); err != nil {
			b.broken = true
			return s.interrupted(b, err)
		}
		if len(body) == 0 {
			r.Infile(seq + 1)
			return nil
		}
	}
}
