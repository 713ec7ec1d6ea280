package mysql

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/gateway/telemetry"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
)

// Packets beyond the pooled buffers. A statement is read whole, once, because its routing may depend on its last word; long
// data and local files pass in pieces.

const (
	// largeAtOnce is how many statements of 16 MB and more the sessions of a listener hold at a time; the others leave theirs
	// with their clients, for largeWait at most.
	largeAtOnce = 4
	largeWait   = 20 * time.Second
	// largeStall is how long a client may say nothing in the middle of one.
	largeStall = 30 * time.Second
	// longPiece is how much of a parameter that comes by SEND_LONG_DATA is held.
	longPiece = 128 << 10
	// longHead is what each such packet begins with: command, statement, parameter.
	longHead = 7
)

// errLargeBusy means that other sessions held statements of 16 MB and more for too long.
var errLargeBusy = errors.New("too many large statements")

// large reads a packet beyond the pooled buffers, or the packets of one payload, of which the header is there already. Memory is taken for
// four times what has come, not for what a header claims; from 16 MB on for 64 MB more at once, so that little is copied.
// raw has room for a header before body; a body of 16 MB and more is not framed in it (see frame).
func (s *stream) large(limit int) (raw, body []byte, seq byte, err error) {
	whole := make([]byte, wire.HeaderLen, wire.HeaderLen+largeRead)
	for {
		n, next := wire.Header(s.unread())
		if n > limit+wire.HeaderLen-len(whole) {
			return nil, nil, next, fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
		}
		if len(whole) > wire.HeaderLen && next != seq+1 {
			return nil, nil, seq, fmt.Errorf("reading packet: %w: sequence number %d, want %d", wire.ErrMalformed, next, seq+1)
		}
		if len(whole) > wire.HeaderLen && cap(whole)-len(whole) < n {
			whole = slices.Grow(whole, min(limit+wire.HeaderLen-len(whole), max(len(whole), 4*wire.MaxPayload)))
		}
		seq = next
		s.took(wire.HeaderLen)
		if whole, err = s.gather(whole, n); err != nil {
			return nil, nil, seq, err
		}
		if n < wire.MaxPayload {
			wire.PutHeader(whole, n, seq)
			return whole, whole[wire.HeaderLen:], seq, nil
		}
		if err := s.header(); err != nil {
			return nil, nil, seq, err
		}
	}
}

// gather appends the next n bytes to dst.
func (s *stream) gather(dst []byte, n int) ([]byte, error) {
	for n > 0 {
		if b := s.unread(); len(b) > 0 {
			b = b[:min(n, len(b))]
			dst = append(dst, b...)
			s.took(len(b))
			n -= len(b)
			continue
		}
		s.drop()
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, min(n, 3*len(dst)))
		}
		if s.stall > 0 {
			s.conn.SetReadDeadline(time.Now().Add(s.stall))
		}
		k, err := s.conn.Read(dst[len(dst):min(cap(dst), len(dst)+n)])
		dst = dst[:len(dst)+k]
		if n -= k; err != nil && n > 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return dst, nil
}

// header waits for a packet's header.
func (s *stream) header() error {
	for s.w-s.r < wire.HeaderLen {
		if err := s.fill(wire.HeaderLen); err != nil {
			return s.cut(err)
		}
	}
	return nil
}

// frame writes the header of the one packet that p is, in the room before its payload. One of 16 MB and more is left to ask, which
// sends it in parts.
func frame(p []byte) []byte {
	if n := len(p) - wire.HeaderLen; n < wire.MaxPayload {
		wire.PutHeader(p, n, 0)
	}
	return p
}

// writeParts sends a payload of 16 MB and more, behind room for a header, as packets. The header of each takes the place of what
// has gone out just before it, for as long as that takes: nothing is copied, and p can be sent again.
func (b *backend) writeParts(p []byte) (sent int, err error) {
	if len(b.statement.close) > 0 {
		if err := b.writeClose(); err != nil {
			return 0, err
		}
	}
	b.restart()
	for seq := byte(0); ; seq++ {
		n := min(len(p)-wire.HeaderLen, wire.MaxPayload)
		under := [wire.HeaderLen]byte(p)
		wire.PutHeader(p, n, seq)
		k, err := b.conn.Write(p[:wire.HeaderLen+n])
		copy(p, under[:])
		if sent += k; err != nil || n < wire.MaxPayload {
			return sent, err
		}
		p = p[n:]
	}
}

// receive reads the next command. Of long data it passes on what comes as it comes, and goes on to the command behind it.
func (s *session) receive() (raw, body []byte, seq byte, err error) {
	limit := int(s.handler.current.Load().block.MaxStatement)
	for {
		if err := s.header(); err != nil {
			return nil, nil, 0, err
		}
		n, seq := wire.Header(s.unread())
		if n <= socket.MaxBuffer {
			return s.packet(limit)
		}
		for s.w-s.r < wire.HeaderLen+longHead {
			if err := s.fill(wire.HeaderLen + longHead); err != nil {
				return nil, nil, 0, s.cut(err)
			}
		}
		if seq != 0 || wire.Command(s.unread()[wire.HeaderLen]) != wire.ComStmtLongData {
			return s.receiveLarge(limit, n)
		}
		if err := s.passLongData(); err != nil {
			return nil, nil, 0, err
		}
		s.restart()
	}
}

// receiveLarge reads a statement beyond the pooled buffers; from 16 MB on when it is its turn.
func (s *session) receiveLarge(limit, n int) (raw, body []byte, seq byte, err error) {
	if n == wire.MaxPayload && limit > n {
		over := time.NewTimer(largeWait)
		defer over.Stop()
		select {
		case s.handler.large <- struct{}{}:
			s.holdsLarge = true
		case <-over.C:
			return nil, nil, 0, errLargeBusy
		case <-s.ctx.Done():
			return nil, nil, 0, errClientGone
		}
	}
	s.stall = largeStall
	defer func() {
		s.stall = 0
		s.conn.SetReadDeadline(time.Time{})
	}()
	return s.packet(limit)
}

// largeDone gives back the memory of a large statement and lets the next session read its own. The collector would leave such a piece
// until as much again was asked for.
func (s *session) largeDone() {
	s.scan, s.told, s.exec, s.scratch = scan.Result{}, telemetry.Statement{}, plan.Execution{}, nil // they point into its text
	debug.FreeOSMemory()
	s.holdsLarge = false
	<-s.handler.large
}

// refuse skips a packet that was too large, or not to be held now, and tells its client, whose session goes on. Other errors it returns.
func (s *session) refuse(err error) error {
	var why *wire.Error
	switch {
	case errors.Is(err, errTooLarge):
		why = fault(codePacketTooLarge, stateCommunication, "Got a packet bigger than 'max_allowed_packet' bytes (max_statement of the listener: %d bytes)", s.handler.current.Load().block.MaxStatement)
	case errors.Is(err, errLargeBusy):
		why = fault(codeOutOfResources, stateGeneral, "sidewire: %d statements of 16 MB and more are under way and none ended within %s; try again", largeAtOnce, largeWait)
	default:
		return err
	}
	s.handler.metrics.tooLarge.Inc()
	if s.holdsLarge {
		s.largeDone()
	}
	defer s.conn.SetReadDeadline(time.Time{})
	for {
		if err := s.header(); err != nil {
			return err
		}
		n, seq := wire.Header(s.unread())
		for left := wire.HeaderLen + n; left > 0; {
			if s.r == s.w {
				s.conn.SetReadDeadline(time.Now().Add(largeStall))
				if err := s.fill(1); err != nil {
					return err
				}
			}
			k := min(left, s.w-s.r)
			s.took(k)
			left -= k
		}
		if n < wire.MaxPayload {
			s.release()
			return s.reply(seq+1, why)
		}
	}
}

// passLongData passes COM_STMT_SEND_LONG_DATA of any length, of which the beginning is there. A server adds what comes in several
// commands, so that each piece can go as a command of its own. Nothing answers it.
func (s *session) passLongData() error {
	s.terms = s.handler.current.Load()
	defer s.ended(s.began(wire.ComStmtLongData))
	s.record = false
	var head [longHead]byte
	copy(head[:], s.unread()[wire.HeaderLen:])
	for began, next := false, byte(0); ; next++ {
		if err := s.header(); err != nil {
			return err
		}
		n, seq := wire.Header(s.unread())
		if seq != next {
			return fmt.Errorf("reading long data: %w: sequence number %d, want %d", wire.ErrMalformed, seq, next)
		}
		last := n < wire.MaxPayload
		s.took(wire.HeaderLen)
		if !began {
			s.took(longHead)
			n, began = n-longHead, true
		}
		for n > 0 {
			if s.w == s.r {
				s.size = longPiece
				err := s.fill(1)
				s.size = 0
				if err != nil {
					return err
				}
			}
			piece := s.unread()[:min(n, s.w-s.r)]
			s.scratch = append(append(append(s.scratch[:0], 0, 0, 0, 0), head[:]...), piece...)
			s.took(len(piece))
			n -= len(piece)
			s.longData(frame(s.scratch), s.scratch[wire.HeaderLen:])
		}
		if last {
			s.release()
			return nil
		}
	}
}

// longData serves COM_STMT_SEND_LONG_DATA, which nothing answers: what goes wrong shows when the statement is executed.
func (s *session) longData(raw, body []byte) {
	p, err := s.statementOf(body)
	if err != nil || len(body) < longHead {
		return
	}
	if p.sharded != nil {
		p.collect(body)
		return
	}
	if p.lost {
		return
	}
	b, err := s.acquire(s.present())
	if err != nil {
		p.lost = true
		return
	}
	s.pin(pinLongData)
	if p.sent == nil {
		p.sent = map[int]bool{}
	}
	p.sent[int(binary.LittleEndian.Uint16(body[5:]))] = true
	k, err := s.onBackend(b, p)
	if err == nil {
		wire.PutStatementID(body, k.id)
		_, err = b.write(raw)
		b.broken = b.broken || err != nil
	}
	if err != nil {
		b.broken = b.broken || retryable(err)
		p.lost = true
		s.settle(b)
	}
}
