package mysql

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/sharding/scan"
)

// What a statement may ask about its session and about the statement before it. Most of it sidewire knows from the answers that passed, so
// that it need not be asked on the connection that served last.

// counted notes what ROW_COUNT(), FOUND_ROWS() and LAST_INSERT_ID() say after a statement that succeeded.
func (s *session) counted(b *backend, e *effect) {
	a := &s.answer
	if s.rowCount = int64(a.affected); a.rows {
		s.rowCount = -1
	}
	s.foundRows = -1
	if e.verb == scan.Select && !e.multi && !e.finds && a.rows {
		s.foundRows = int64(a.reply.Rows)
	}
	if e.finds {
		s.pin(pinFoundRows)
	} else {
		s.unpin(pinFoundRows)
	}
	switch id := a.insertID; {
	case e.setsID():
		s.suspect, s.unsure = 0, true
	case id == 0:
	case e.loadLocal || e.apart || givenIn(a.asked, id) || computes(e.text, id, s.mode):
		s.suspect, s.unsure = id, true
	default:
		s.insertID, b.insertID, s.unsure, s.suspect = id, id, false, 0
	}
}

// setsID reports whether only the server can tell what LAST_INSERT_ID() is afterwards. It has to be the session's before, then.
func (e *effect) setsID() bool {
	return e.givesID || e.verb == scan.Call || e.verb == scan.Execute || e.multi && e.class != scan.Read
}

// givenIn reports whether a number that a server calls generated may have been given to it: LAST_INSERT_ID() does not tell of those. Its digits are in
// the packet, or what a parameter of that value has.
func givenIn(packet []byte, id uint64) bool {
	var room [20]byte
	var whole, double, single [8]byte
	binary.LittleEndian.PutUint64(whole[:], id)
	n := 8
	for n > 4 && whole[n-1] == 0 {
		n--
	}
	binary.LittleEndian.PutUint64(double[:], math.Float64bits(float64(id)))
	binary.LittleEndian.PutUint32(single[:], math.Float32bits(float32(id)))
	return bytes.Contains(packet, strconv.AppendUint(room[:0], id, 10)) || bytes.Contains(packet, whole[:n]) ||
		bytes.Contains(packet, double[:]) || bytes.Contains(packet, single[:4])
}

// timeless are functions that rows are often inserted with and that no number of a row comes from.
var timeless = map[string]bool{"values": true, "value": true, "row": true, "now": true, "current_timestamp": true, "sysdate": true, "utc_timestamp": true,
	"curdate": true, "current_date": true, "curtime": true, "current_time": true, "uuid": true}

// computes reports whether an inserting text may make id out of something else: a query, a function, a variable, arithmetic, or a number written otherwise. What
// stands behind ON DUPLICATE KEY gives no row its number.
func computes(sql string, id uint64, mode scan.Mode) bool {
	l := scan.Lexer{Text: sql, Mode: mode}
	values, before := false, scan.Token{} // whether the rows have begun
	for t := l.Next(); t.Kind != scan.EOF; t = l.Next() {
		said := sql[t.Start:t.End]
		switch t.Kind {
		case scan.UserVar, scan.SysVar, scan.Hex, scan.Bit, scan.Invalid:
			return true
		case scan.Decimal, scan.Float, scan.String:
			if f, err := strconv.ParseFloat(strings.Trim(said, `'"`), 64); err == nil && math.Round(f) == float64(id) {
				return true
			}
		case scan.Word:
			switch {
			case scan.EqualFold(said, "duplicate"):
				return false
			case scan.EqualFold(said, "select") || scan.EqualFold(said, "table") || scan.EqualFold(said, "case"):
				return true
			}
			values = values || scan.EqualFold(said, "values") || scan.EqualFold(said, "value") || scan.EqualFold(said, "set")
		case scan.Op:
			if values && makes(sql, before, said[0]) {
				return true
			}
		}
		before = t
	}
	return false
}

// makes reports whether an operator makes a value of others, by what stands before it.
func makes(sql string, before scan.Token, op byte) bool {
	word := sql[before.Start:before.End]
	switch op {
	case '(': // a call
		return before.Kind == scan.Word && !timeless[strings.ToLower(word)]
	case ')', ',', ';', '=', '.':
		return false
	case '-', '+': // of one number
		return before.Kind != scan.Op || word == ")"
	}
	return true
}

// learnInsertID asks the server for what only it knows, before the connection goes to others. After an INSERT it generated the number that it told of if it is
// that of LAST_INSERT_ID(); a number that was given leaves that as it was, which may have been of another session.
func (s *session) learnInsertID(b *backend) {
	suspect := s.suspect
	s.unsure, s.suspect = false, 0
	if s.warnings > 0 {
		s.keepWarnings(b)
	}
	rows, err := b.query("SELECT LAST_INSERT_ID()")
	if err != nil || len(rows) != 1 {
		return
	}
	id, err := strconv.ParseUint(rows[0][0], 10, 64)
	if err != nil {
		return
	}
	if b.insertID = id; suspect == 0 || suspect == id {
		s.insertID = id
	}
}

// analyseOwn is analyse for a text that may ask for what sidewire knows. It returns the text to run in its place, if any, and e is about that.
// With counts it answers for the statement before, too; a text that is prepared must ask for that each time.
func (s *session) analyseOwn(sql string, e *effect, counts bool) string {
	s.analyse(sql, e)
	if counts = counts && e.counts && !e.multi && s.terms.block.Cluster != ""; !e.numbered && !counts {
		return ""
	}
	own := s.ownValues(sql, e.numbered && !asksServer(sql), counts)
	if own != "" {
		*e = effect{}
		s.analyse(own, e)
		e.counts = e.counts && !(counts && (s.foundRows >= 0 || !containsFold(sql, "found_rows")))
	}
	return own
}

// asksServer reports whether a text compares CONNECTION_ID() with what the server knows of its own connections.
func asksServer(sql string) bool {
	for _, word := range []string{"is_used_lock", "processlist", "performance_schema", "innodb_trx", "metadata_lock_info"} {
		if containsFold(sql, word) {
			return true
		}
	}
	return false
}
