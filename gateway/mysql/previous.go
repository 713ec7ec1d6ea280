package mysql

import (
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
	if a.insertID != 0 && !e.setsID() {
		if e.loadLocal || givenTo(a.asked, a.insertID) {
			s.suspect, s.unsure = a.insertID, true
		} else {
			s.insertID, b.insertID, s.unsure, s.suspect = a.insertID, a.insertID, false, 0
		}
	}
	if e.setsID() {
		s.suspect, s.unsure = 0, true
	}
}

// setsID reports whether only the server can tell what LAST_INSERT_ID() is afterwards. It has to be the session's before, then.
func (e *effect) setsID() bool {
	return e.givesID || e.verb == scan.Call || e.verb == scan.Execute || e.multi && e.class != scan.Read
}

// givenTo reports whether a number that a server calls generated may have been given to it: LAST_INSERT_ID() does not tell of those. Its digits or bytes
// are there, or something that could make them.
func givenTo(given []byte, id uint64) bool {
	var digits [20]byte
	sql := text(given)
	if strings.Contains(sql, text(strconv.AppendUint(digits[:0], id, 10))) || strings.IndexByte(sql, '@') >= 0 {
		return true
	}
	little := [8]byte{byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24), byte(id >> 32), byte(id >> 40), byte(id >> 48), byte(id >> 56)}
	n := 8
	for n > 4 && little[n-1] == 0 {
		n--
	}
	return strings.Contains(sql, text(little[:n])) || containsFold(sql, "select") || containsFold(sql, "uuid_short") || containsFold(sql, "last_insert_id")
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
