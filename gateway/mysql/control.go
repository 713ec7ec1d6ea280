package mysql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/scan"
)

// killStatement serves KILL. Numbers are those that clients know: of sessions, not of connections to servers.
func (s *session) killStatement(sql string, e *effect, seq byte) error {
	if e.multi {
		return fault(codeNotSupported, stateSyntax, "sidewire: KILL is served alone, not among other statements")
	}
	words := strings.Fields(strings.ToLower(strings.TrimRight(strings.TrimSpace(sql), ";")))
	connection := true
	for _, w := range words[1:] {
		switch w {
		case "connection", "hard", "soft":
			continue
		case "query":
			connection = false
			continue
		}
		id, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			break
		}
		return s.killSession(uint32(id), connection, seq)
	}
	return fault(codeNotSupported, stateSyntax, "sidewire: KILL takes the number of a session: KILL [CONNECTION | QUERY] number")
}

// processKill serves COM_PROCESS_KILL.
func (s *session) processKill(body []byte, seq byte) error {
	if len(body) < 5 {
		return fmt.Errorf("reading COM_PROCESS_KILL: %w", wire.ErrMalformed)
	}
	return s.killSession(binary.LittleEndian.Uint32(body[1:]), true, seq)
}

func (s *session) killSession(id uint32, connection bool, seq byte) error {
	other := s.handler.session(id)
	if other == nil {
		return fault(codeNoSuchThread, stateGeneral, "Unknown thread id: %d", id)
	}
	if other.authenticated() != s.authenticated() {
		return fault(codeKillDenied, stateGeneral, "You are not owner of thread %d", id)
	}
	if other == s {
		// Its own statement is this one.
		if connection {
			s.end(fault(codeInterrupted, stateInterrupted, "Query execution was interrupted"))
		}
		return fault(codeInterrupted, stateInterrupted, "Query execution was interrupted")
	}
	if err := other.kill(connection); err != nil {
		return err
	}
	return s.ok(seq+1, wire.OK{})
}

// setOption serves COM_SET_OPTION, which turns several statements in one text on and off.
func (s *session) setOption(body []byte, seq byte) error {
	if len(body) != 3 {
		return fmt.Errorf("reading COM_SET_OPTION: %w", wire.ErrMalformed)
	}
	switch binary.LittleEndian.Uint16(body[1:]) {
	case 0:
		s.caps |= wire.MultiStatements
	case 1:
		s.caps &^= wire.MultiStatements
	default:
		return fault(codeUnknownCommand, stateCommunication, "Unknown command")
	}
	s.failed, s.warnings = false, 0
	s.out = wire.AppendEnd(s.out[:0], wire.OK{Status: s.status & lasting}, s.caps)
	return s.send(seq+1, s.out)
}

// forget makes the session as it was after its handshake.
func (s *session) forget() {
	s.quit()
	s.prepared, s.settings, s.insertID = nil, noSettings, 0
	s.wishes = nil
	s.unsure, s.rowCount, s.foundRows = false, 0, -1
	s.status, s.warnings, s.failed, s.last = wire.StatusAutocommit, 0, false, nil
	s.mode = s.firstMode()
}

// firstMode is the sql_mode that sessions begin with, as far as it changes how a text is read.
func (s *session) firstMode() scan.Mode {
	if u, err := s.upstream(); err == nil {
		return scan.Mode(u.mode.Load())
	}
	return 0
}

// changeUser serves COM_CHANGE_USER: another handshake on the same connection. A refusal ends the session, as servers do.
func (s *session) changeUser(body []byte, seq byte) error {
	cu, err := wire.DecodeChangeUser(body, s.caps)
	if err != nil {
		return err
	}
	s.forget()
	s.database, s.virtual = "", ""
	auth := &wire.ServerAuth{Greeting: wire.Greeting{Nonce: s.nonce, Plugin: s.terms.plugin(s.handler.serverVersion(s.terms)), Capabilities: clientCaps},
		Host: s.host, Lookup: s.accounts, Secure: s.private()}
	out, next, err := auth.BeginChangeUser(nil, cu, s.caps)
	seq++
	if err == nil && len(out) > 0 {
		if err = s.send(seq, out); err != nil {
			return errors.Join(errClientGone, err)
		}
		seq++
	}
	if err == nil && next != wire.NextDone {
		seq, err = s.authenticate(auth)
	}
	if err != nil {
		s.handler.metrics.denied.Inc()
		s.reply(seq, clientFault(err))
		return errQuit
	}
	if cu.Collation != 0 {
		s.collation = cu.Collation
	}
	s.become(cu.User)
	if err := s.openDatabase(cu.Database); err != nil {
		s.reply(seq, clientFault(err))
		return errQuit
	}
	return s.ok(seq, wire.OK{})
}

func itoa(n uint16) string { return strconv.Itoa(int(n)) }

// literal writes a variable's value as SQL text.
func literal(name, value string) string {
	if value == "" && name == "character_set_results" {
		return "NULL"
	}
	if _, err := strconv.ParseFloat(value, 64); err == nil && !strings.ContainsAny(value, "xXpPnNiI_") {
		return value
	}
	r := strings.NewReplacer("'", "''", `\`, `\\`)
	return "'" + r.Replace(value) + "'"
}

// control opens a connection of sidewire's own, which no limit refuses and no session gets.
func (u *upstream) control(ctx context.Context, e *cluster.Endpoint, as *Credentials) (*backend, error) {
	user, password := u.block().login(as)
	return dialBackend(cluster.ForItself(ctx), u.cluster, e, class{collation: wire.CollationUTF8MB4}, user, password)
}

// cancel ends the statement that a backend runs, through a connection of its own. The backend's owner still reads the
// answer, or has given the connection up.
func (u *upstream) cancel(ctx context.Context, b *backend, how string) error {
	ctx, cancel := context.WithTimeout(ctx, u.cluster.Config().ConnectTimeout.Std())
	defer cancel()
	control, err := u.control(ctx, b.pool.endpoint, b.class.as)
	if err != nil {
		return err
	}
	defer control.close()
	_, err = control.query(fmt.Sprintf("%s %d", how, b.threadID))
	return err
}
