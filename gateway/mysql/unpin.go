package mysql

import (
	"strings"

	"github.com/sidewire/sidewire/sharding/scan"
)

// What binds a session to its connection is followed one by one, so that the last that goes takes its pin along.

// textStatement is a statement of PREPARE that a text makes or drops.
type textStatement struct {
	name string
	made bool
}

// nameAfter is the name that follows a word at the beginning of a statement, in lower case; empty when there is none.
func nameAfter(sql string, mode scan.Mode, word string) string {
	l := scan.Lexer{Text: sql, Mode: mode}
	for range 3 {
		if t := l.Next(); t.Kind == scan.Word && scan.EqualFold(sql[t.Start:t.End], word) {
			if t = l.Next(); t.Kind == scan.Word || t.Kind == scan.Quoted {
				return strings.ToLower(strings.Clone(scan.Unquote(sql[t.Start:t.End])))
			}
			return ""
		}
	}
	return ""
}

// textStatements follows what the session prepared by PREPARE.
func (s *session) textStatements(e *effect) {
	for _, t := range e.texts {
		if t.made {
			if s.texts == nil {
				s.texts = map[string]bool{}
			}
			s.texts[t.name] = true
		} else {
			delete(s.texts, t.name)
		}
	}
	if len(e.texts) > 0 && len(s.texts) == 0 {
		s.unpin(pinTextPrepare)
	}
}

// unprepared notes that a PREPARE failed.
func (s *session) unprepared(e *effect) {
	for _, t := range e.texts {
		delete(s.texts, t.name)
	}
	if len(s.texts) == 0 {
		s.unpin(pinTextPrepare)
	}
}

// userLocks are the names, as SQL literals, of locks that the session may hold.
type userLocks struct {
	names   map[string]bool
	unknown bool // others as well
}

// userLocks finds the locks that a text takes and whether it gives any back.
func (e *effect) userLocks(sql string, mode scan.Mode) {
	l := scan.Lexer{Text: sql, Mode: mode}
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; {
		word := sql[t.Start:t.End]
		if t.Kind != scan.Word || !scan.EqualFold(word, "get_lock") && !scan.EqualFold(word, "release_lock") {
			t = l.Next()
			continue
		}
		e.releases = e.releases || scan.EqualFold(word, "release_lock")
		taken := scan.EqualFold(word, "get_lock")
		if t = l.Next(); t.Kind != scan.Op || sql[t.Start] != '(' || !taken {
			continue
		}
		name := l.Next()
		t = l.Next()
		if name.Kind == scan.String && t.Kind == scan.Op && sql[t.Start] == ',' {
			e.locks = append(e.locks, strings.Clone(sql[name.Start:name.End]))
		} else {
			e.anyLock = true
		}
	}
}

// userLocks follows the session's locks. A lock may have been taken twice, or not at all: after RELEASE_LOCK the server is
// asked which the session still holds.
func (s *session) userLocks(b *backend, e *effect) {
	for _, reason := range e.unpin {
		if reason == pinUserLock {
			s.locks = userLocks{}
		}
	}
	for _, name := range e.locks {
		if s.locks.names == nil {
			s.locks.names = map[string]bool{}
		}
		s.locks.names[name] = true
	}
	s.locks.unknown = s.locks.unknown || e.anyLock
	if !e.releases || s.locks.unknown || len(s.locks.names) == 0 || !s.pins.has(pinUserLock) {
		return
	}
	var held []string
	for name := range s.locks.names {
		held = append(held, "IFNULL(IS_USED_LOCK("+name+") = CONNECTION_ID(), 0)")
	}
	rows, err := b.query("SELECT " + strings.Join(held, " OR "))
	if err == nil && len(rows) == 1 && rows[0][0] == "0" {
		s.locks = userLocks{}
		s.unpin(pinUserLock)
	}
}
