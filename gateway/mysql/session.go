package mysql

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/gateway/telemetry"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
)

// session is the life of one client connection. One goroutine runs it, straight through: read a command, lease a
// connection, pass it on, pass the answer back.
type session struct {
	// Fixed at creation.
	handler *handler
	conn    *listener.Conn
	id      uint32
	ctx     context.Context // ends when the client is gone or the session is to end
	cancel  context.CancelCauseFunc

	// Owned by the session's goroutine.
	stream
	terms     *terms
	caps      wire.Capability
	collation uint16
	host      string
	as        *Credentials
	database  string
	settings  *settings
	wishes    []setting // of session_track_*
	mode      scan.Mode
	status    wire.Status // as the last answer said
	warnings  uint16      // of the last answer
	failed    bool        // the last answer was an error
	insertID  uint64      // LAST_INSERT_ID()
	unsure    bool        // only the connection that is held knows it
	suspect   uint64      // what the statement before was told to have generated, or had been given; 0: neither
	rowCount  int64       // ROW_COUNT()
	behind    *leftover   // on the connection of the last statement; nil: nothing
	foundRows int64       // FOUND_ROWS(); negative: only the connection of the statement before knows it
	lease     *backend    // held: a transaction is open, a pin holds it, or a statement runs
	last      *backend    // the one held last, and its uses then
	lastUses  uint64
	read      lastUse                // the same of the last replica
	temporary map[string]bool        // temporary tables that may exist
	written   map[*upstream]position // what the session wrote
	changed   bool                   // rows changed in the transaction that is open
	texts     map[string]bool        // what PREPARE prepared
	locks     userLocks
	pins      pins
	prepared  map[uint32]*prepared
	nextStmt  uint32
	lastStmt  uint32 // prepared by the last COM_STMT_PREPARE; 0: it failed
	scan      scan.Result
	out       []byte // scratch for packets of our own
	scratch   []byte // scratch for packets that pass changed
	nonce     []byte // of the greeting: COM_CHANGE_USER proves itself with it
	answer    answer // of the command that runs
	effect    effect // of the query that runs; its texts lie in its packet
	// attributes are those of the query that runs, encoded; they lie in its packet.
	attributes []byte
	virtual    string // the virtual database that is current; empty: none
	sharded    *virtual
	holds      []*hold // connections to its shards
	lastOf     map[int]lastUse
	tx         transaction
	nextTx     []string // SET TRANSACTION, for the next one
	exec       plan.Execution
	gathers    bool
	warned     diagnostics // of the last statement on a virtual database
	newPin     string      // the pin that the command that runs added
	record     bool        // the command is a statement
	told       telemetry.Statement
	several    bool      // servers worked on it at once
	now        time.Time // when the command that runs began
	stepping   bool      // inside step: the client's connection must not be read
	straight   bool      // the command that step began is left to serve
	finished   bool      // step ended the session
	holdsLarge bool      // one of the handler's places for large statements is this session's

	active atomic.Int64 // when the last command began or ended, in nanoseconds; negative while one runs

	mu       sync.Mutex // guards what follows; others reach the session only through it
	user     string     // empty until authenticated
	busy     []*backend // their answers are being waited for
	pinned   string     // the pins, for the admin interface
	begun    time.Time  // of the command that runs
	doing    string
	ending   *wire.Error // why the session ends; nil: it does not
	left     bool        // the client hung up
	timer    *time.Timer // of statement_timeout; nil: none was needed yet
	expires  time.Time   // when the command that runs must be over; zero: it need not
	expired  bool        // it was not
	canceled int         // cancels of busy that are under way
	settled  sync.Cond   // canceled went down
}

func newSession(m *handler, c *listener.Conn, ctx context.Context, cancel context.CancelCauseFunc) *session {
	s := &session{handler: m, conn: c, id: uint32(c.ID), ctx: ctx, cancel: cancel, stream: stream{conn: socket.Wrap(c.Conn)},
		settings: noSettings, status: wire.StatusAutocommit, host: hostOf(c), foundRows: -1}
	s.settled.L = &s.mu
	return s
}

func hostOf(c *listener.Conn) string {
	h, _, err := net.SplitHostPort(c.Client())
	if err != nil {
		return "localhost"
	}
	return h
}

// errClientGone ends a session whose client hung up.
var errClientGone = errors.New("client hung up")

// serve runs the session to its end.
func (s *session) serve() {
	defer s.leave()
	s.active.Store(s.handler.host.Now().UnixNano())
	if !s.handshake() {
		return
	}
	for {
		s.restart()
		raw, body, seq, err := s.receive()
		if err != nil {
			if err = s.refuse(err); err == nil {
				continue
			}
			s.farewell(err)
			return
		}
		if on := s.turn(raw, body, seq); !on {
			return
		}
		if raw, body = nil, nil; s.holdsLarge {
			s.largeDone()
		}
		if s.buf != nil || !s.stream.conn.Raw() {
			continue
		}
		if err := s.stream.conn.Each(&socket.Shared, smallRead, s.step); err != nil {
			s.farewell(err)
			return
		}
		if s.finished {
			return
		}
	}
}

// turn serves one packet of the client and reports whether the session goes on.
func (s *session) turn(raw, body []byte, seq byte) bool {
	if int(seq) != len(body)/wire.MaxPayload || len(body) == 0 {
		s.reply(seq+1, fault(codeMalformed, stateGeneral, "Malformed communication packet"))
		return false
	}
	if !s.command(raw, body, seq) {
		return false
	}
	if s.straight {
		return true
	}
	s.release()
	if cap(s.answer.held) > largeRead {
		s.answer.held = nil
	}
	if cap(s.scratch) > largeRead {
		s.scratch = nil // a large statement's: the session may idle for hours
	}
	if s.atBoundary() && (s.handler.draining.Load() || s.over()) {
		s.farewell(nil)
		return false
	}
	return true
}

// step serves the commands that one read brought, as serve does, with fewer system calls: it runs inside the read that waits
// for the next ones. What is not whole or may ask more of the client it leaves in the stream, and returns false.
func (s *session) step(buf *socket.Buffer, n int) bool {
	s.buf, s.r, s.w = buf, 0, n
	limit := min(int(s.handler.current.Load().block.MaxStatement), wire.MaxPayload-1)
	s.stepping, s.straight = true, false
	for s.w > s.r {
		raw, seq := s.whole(limit)
		if raw == nil || !s.turn(raw, raw[wire.HeaderLen:], seq) {
			s.finished = raw != nil
			break
		}
		if s.straight {
			s.r -= len(raw)
			break
		}
	}
	s.stepping, s.straight = false, false
	return s.buf == nil && !s.finished
}

// whole takes the next packet if it is there whole and its command asks nothing more of the client.
func (s *session) whole(limit int) (raw []byte, seq byte) {
	b := s.unread()
	if len(b) <= wire.HeaderLen {
		return nil, 0
	}
	n, seq := wire.Header(b)
	if n == 0 || n > limit || n > len(b)-wire.HeaderLen {
		return nil, 0
	}
	switch wire.Command(b[wire.HeaderLen]) {
	case wire.ComQuery, wire.ComStmtExecute, wire.ComStmtPrepare, wire.ComStmtClose, wire.ComStmtReset, wire.ComStmtFetch, wire.ComPing,
		wire.ComInitDB, wire.ComQuit:
		s.took(wire.HeaderLen + n)
		return b[: wire.HeaderLen+n : wire.HeaderLen+n], seq
	}
	return nil, 0
}

// farewell tells a client why its session ends, if there is a reason beyond its own leaving.
func (s *session) farewell(err error) {
	s.mu.Lock()
	why := s.ending
	s.mu.Unlock()
	switch {
	case errors.Is(err, wire.ErrMalformed):
		why = fault(codeMalformed, stateGeneral, "Malformed communication packet")
	case why == nil || err == io.EOF:
		return
	}
	s.conn.Raw().Resume() // it may have been interrupted to get here
	s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	s.reply(0, why)
}

// leave gives back whatever the session holds.
func (s *session) leave() {
	s.cancel(errClientGone)
	if s.holdsLarge {
		s.largeDone()
	}
	s.mu.Lock()
	s.unlimit()
	s.mu.Unlock()
	s.quit()
	if s.pins.any() {
		s.handler.metrics.pinned.Dec()
	}
	s.drop()
	if s.packed != nil {
		s.packed.free()
	}
}

// atBoundary reports whether the session could end here without breaking anything.
func (s *session) atBoundary() bool { return s.lease == nil && len(s.holds) == 0 && !s.tx.open }

func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending != nil || s.left
}

// hungUp is told by the watcher, on its goroutine, that the client is gone.
func (s *session) hungUp() {
	s.mu.Lock()
	s.left = true
	s.interruptBusy()
	s.mu.Unlock()
	s.cancel(errClientGone)
	s.conn.Raw().Interrupt() // an end behind a command's bytes does not end a step's wait
}

// end asks the session to end with a reason, at once: its statement is cut.
func (s *session) end(why *wire.Error) {
	s.mu.Lock()
	if s.ending == nil {
		s.ending = why
	}
	s.interruptBusy()
	s.mu.Unlock()
	s.cancel(why)
	s.conn.Raw().Interrupt()
}

// interruptBusy wakes the session from waiting for servers. s.mu is held.
func (s *session) interruptBusy() {
	for _, b := range s.busy {
		b.conn.Interrupt()
	}
}

// drain asks the session to end at its next boundary; one that waits for its client's next command is there already,
// unless it holds a connection.
func (s *session) drain() {
	s.mu.Lock()
	idle := s.begun.IsZero() && s.doing == ""
	if idle && s.ending == nil {
		s.ending = fault(codeServerShutdown, stateCommunication, "Server shutdown in progress")
	}
	s.mu.Unlock()
	if idle {
		s.conn.Raw().Interrupt()
	}
}

func (s *session) authenticated() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user
}

// idleFor is how long the session waits for its client; 0 while a statement runs.
func (s *session) idleFor(now time.Time) time.Duration {
	at := s.active.Load()
	if at < 0 {
		return 0
	}
	return now.Sub(time.Unix(0, at))
}

// wait marks b as the backend whose answer is awaited, so that others may cancel it. It fails if the session is to end.
func (s *session) wait(b *backend) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return errClientGone
	}
	if s.ending != nil {
		return s.ending
	}
	if s.expired {
		return s.timedOut(b.mariaDB)
	}
	b.spent = 0
	if !slices.Contains(s.busy, b) {
		if err := s.burden(b.pool.up.cluster); err != nil {
			return err
		}
		s.busy = append(s.busy, b)
	}
	return nil
}

// burden counts a request. What belongs to a transaction or to a connection that is held is not refused: it would keep
// its locks for longer.
func (s *session) burden(c *cluster.Cluster) error {
	if s.status.Has(wire.StatusInTransaction) || s.tx.open || s.pins.any() {
		c.Shoulder(cluster.Requests)
		return nil
	}
	if err := c.Take(cluster.Requests); err != nil {
		return clientFault(err)
	}
	return nil
}

// waited takes wait back. A cancel that is under way is waited for: it must not reach the connection after the next
// session has it.
func (s *session) waited(b *backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.busy, b); i >= 0 {
		s.busy = slices.Delete(s.busy, i, i+1)
		b.pool.up.cluster.Release(cluster.Requests)
	}
	s.spent(b)
	if s.expired && b.conn.Interrupted() {
		b.broken = true
	}
	for s.canceled > 0 {
		s.settled.Wait()
		b.cancelled = true
	}
}

// kill cancels the statement that runs, and with connection ends the session too. Others call it.
func (s *session) kill(connection bool) error {
	if connection {
		s.end(fault(codeInterrupted, stateInterrupted, "Query execution was interrupted"))
		return nil
	}
	s.mu.Lock()
	busy := slices.Clone(s.busy)
	if len(busy) > 0 {
		s.canceled++
	}
	s.mu.Unlock()
	if len(busy) == 0 {
		return nil
	}
	var failed error
	for _, b := range busy {
		failed = errors.Join(failed, b.pool.up.cancel(s.handler.life, b, "KILL QUERY"))
	}
	s.mu.Lock()
	s.canceled--
	s.settled.Broadcast()
	s.mu.Unlock()
	return failed
}

// reply sends an ERR or OK of our own.
func (s *session) reply(seq byte, e *wire.Error) error {
	s.failed = true
	s.handler.metrics.errors.Inc()
	s.out = wire.AppendErr(s.out[:0], e)
	return s.send(seq, s.out)
}

// lasting is what a status says of the session; the rest is about the statement before.
const lasting = wire.StatusInTransaction | wire.StatusReadOnlyTrans | wire.StatusAutocommit | wire.StatusNoBackslashEscape | wire.StatusANSIQuotes

func (s *session) ok(seq byte, ok wire.OK) error {
	ok.Status |= s.status & lasting
	s.failed, s.warnings = false, 0
	s.out = wire.AppendOK(s.out[:0], ok, s.caps)
	return s.send(seq, s.out)
}

// sessionView is a session as the admin interface shows it.
type sessionView struct {
	ID       uint32   `json:"id"`
	User     string   `json:"user"`
	Client   string   `json:"client"`
	Command  string   `json:"command,omitempty"`
	Since    string   `json:"since,omitempty"`
	Backends []string `json:"backends,omitempty"`
	PinnedBy string   `json:"pinned_by,omitempty"`
}

func (s *session) view() sessionView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := sessionView{ID: s.id, User: s.user, Client: s.conn.Client(), Command: s.doing, PinnedBy: s.pinned}
	if !s.begun.IsZero() {
		v.Since = s.begun.Format(time.RFC3339Nano)
	}
	for _, b := range s.busy {
		v.Backends = append(v.Backends, b.pool.endpoint.Address())
	}
	return v
}
