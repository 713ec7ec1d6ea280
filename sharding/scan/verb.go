package scan

// Verb is the word a statement begins with.
type Verb uint8

// Verbs.
const (
	NoVerb Verb = iota
	Select
	Insert
	Replace
	Update
	Delete
	With
	Values
	Table
	Call
	Do
	Handler
	Load
	Set
	Use
	Begin
	Start
	Commit
	Rollback
	Savepoint
	Release
	XA
	Lock
	Unlock
	Prepare
	Execute
	Deallocate
	Show
	Describe
	Explain
	Create
	Alter
	Drop
	Truncate
	Rename
	Grant
	Revoke
	Analyze
	Optimize
	Check
	Checksum
	Repair
	Flush
	Kill
	Reset
	Change
	Stop
	Shutdown
	Purge
	Install
	Uninstall
	Help
	Signal
	Cache
	Binlog
	Sidewire
	Import
	verbCount
)

var verbs = [verbCount]struct {
	word  string
	class Class
}{
	NoVerb: {"", Unknown}, Select: {"select", Read}, Insert: {"insert", Write}, Replace: {"replace", Write},
	Update: {"update", Write}, Delete: {"delete", Write}, With: {"with", Read}, Values: {"values", Read},
	Table: {"table", Read}, Call: {"call", Write}, Do: {"do", Write}, Handler: {"handler", Session},
	Load: {"load", Write}, Set: {"set", Session}, Use: {"use", Session}, Begin: {"begin", Transaction},
	Start: {"start", Transaction}, Commit: {"commit", Transaction}, Rollback: {"rollback", Transaction},
	Savepoint: {"savepoint", Transaction}, Release: {"release", Transaction}, XA: {"xa", Transaction},
	Lock: {"lock", Session}, Unlock: {"unlock", Session}, Prepare: {"prepare", Session},
	Execute: {"execute", Write}, Deallocate: {"deallocate", Session}, Show: {"show", Read},
	Describe: {"describe", Read}, Explain: {"explain", Read}, Create: {"create", DDL}, Alter: {"alter", DDL},
	Drop: {"drop", DDL}, Truncate: {"truncate", DDL}, Rename: {"rename", DDL}, Grant: {"grant", DDL},
	Revoke: {"revoke", DDL}, Analyze: {"analyze", Admin}, Optimize: {"optimize", Admin}, Check: {"check", Admin},
	Checksum: {"checksum", Admin}, Repair: {"repair", Admin}, Flush: {"flush", Admin}, Kill: {"kill", Admin},
	Reset: {"reset", Admin}, Change: {"change", Admin}, Stop: {"stop", Admin}, Shutdown: {"shutdown", Admin},
	Purge: {"purge", Admin}, Install: {"install", Admin}, Uninstall: {"uninstall", Admin}, Help: {"help", Read},
	Signal: {"signal", Write}, Cache: {"cache", Admin}, Binlog: {"binlog", Admin}, Sidewire: {"sidewire", Admin},
	Import: {"import", Admin},
}

func (v Verb) String() string { return verbs[v].word }

// Known reports whether v is one of the verbs above.
func Known(v Verb) bool { return v < verbCount }

func verbOf(word string) Verb {
	if len(word) > 10 || len(word) < 2 {
		return NoVerb
	}
	if EqualFold(word, "desc") {
		return Describe
	}
	for v := Verb(1); v < verbCount; v++ {
		if w := verbs[v].word; w[0] == word[0]|0x20 && EqualFold(word, w) {
			return v
		}
	}
	return NoVerb
}

// keyword looks at one unquoted word: the verb, or one that sets a flag or announces a table name.
func (s *scanner) keyword(t Token) {
	word := s.lexer.Text[t.Start:t.End]
	if s.words == 0 {
		s.Verb = verbOf(word)
	}
	s.words++
	s.table(t)
	switch len(word) {
	case 3:
		if EqualFold(word, "for") && s.after("value") {
			s.Flags |= Routine // NEXT VALUE FOR
		}
	case 4:
		if EqualFold(word, "into") && (s.Verb == Select || s.Verb == With) {
			s.Flags |= IntoFile // INTO @x, OUTFILE or DUMPFILE: a SELECT has no other
		}
		if EqualFold(word, "only") && s.Verb == Start && s.after("read") {
			s.Flags |= ReadOnly
		}
		if EqualFold(word, "mode") && s.after("share") {
			s.Flags |= Locking
		}
	case 5:
		if EqualFold(word, "share") && s.after("for") {
			s.Flags |= Locking
		}
		if EqualFold(word, "local") && s.Verb == Load {
			s.Flags |= LoadLocal
		}
	case 6:
		if EqualFold(word, "update") && s.after("for") {
			s.Flags |= Locking
		}
		if s.Verb == With {
			s.withBody(word)
		}
	case 7:
		if s.Verb == With {
			s.withBody(word)
		}
	case 9:
		if s.words <= 4 && EqualFold(word, "temporary") && (s.Verb == Create || s.Verb == Drop) {
			s.Flags |= Temporary
		}
	case 19:
		if EqualFold(word, "sql_calc_found_rows") {
			s.Flags |= FoundRows
		}
	}
}

// withBody notes that a WITH ends in a statement that writes. A column cannot be named so unquoted.
func (s *scanner) withBody(word string) {
	if EqualFold(word, "update") && !s.after("for") || EqualFold(word, "delete") || EqualFold(word, "insert") || EqualFold(word, "replace") {
		s.first = Update
	}
}

// after reports whether the token before the present one is the word w (lower case).
func (s *scanner) after(w string) bool {
	return s.prev.Kind == Word && EqualFold(s.lexer.Text[s.prev.Start:s.prev.End], w)
}

// table keeps names that stand where a table's name is expected.
func (s *scanner) table(t Token) {
	if s.prev.Kind != Word {
		return
	}
	switch p := s.lexer.Text[s.prev.Start:s.prev.End]; len(p) {
	case 4:
		if !EqualFold(p, "from") && !EqualFold(p, "join") && !EqualFold(p, "into") {
			return
		}
	case 5:
		if !EqualFold(p, "table") {
			return
		}
	case 6:
		if !EqualFold(p, "update") {
			return
		}
	default:
		return
	}
	s.Tables = append(s.Tables, t)
}

// function looks at a word that an opening parenthesis follows.
func (s *scanner) function(name string) {
	if verbs[s.Verb].class == Read && !holds(called, name) {
		s.Flags |= Routine
	}
	switch len(name) {
	case 8:
		if EqualFold(name, "get_lock") {
			s.Flags |= AdvisoryLock
		}
	case 9:
		if EqualFold(name, "row_count") {
			s.Flags |= RowCount
		}
	case 10:
		if EqualFold(name, "found_rows") {
			s.Flags |= FoundRows
		}
	case 12:
		if EqualFold(name, "release_lock") || EqualFold(name, "is_free_lock") || EqualFold(name, "is_used_lock") {
			s.Flags |= AdvisoryLock
		}
	case 13:
		if EqualFold(name, "connection_id") {
			s.Flags |= ConnectionID
		}
	case 14:
		if EqualFold(name, "last_insert_id") {
			s.Flags |= LastInsertID
		}
	case 17:
		if EqualFold(name, "release_all_locks") {
			s.Flags |= AdvisoryLock
		}
	}
}

// classify decides the class once the whole text is known.
func (s *scanner) classify() {
	switch {
	case s.words == 0 && s.prev.Kind == EOF:
		s.Class = Empty
		return
	default:
		s.Class = verbs[s.Verb].class
	}
	if s.Verb == Set && s.setsTransaction() {
		s.Class = Transaction
	}
	if s.Verb == Set && s.Flags&UsesUserVar != 0 {
		s.Flags |= SetsUserVar
	}
	if s.Verb == Release && !s.releasesSavepoint() {
		s.Class = Unknown
	}
	if s.first == Update || s.Class == Read && s.Flags&(Locking|IntoFile|AdvisoryLock|SetsUserVar|Routine) != 0 {
		s.Class = Write
	}
}

// setsTransaction recognises SET [SESSION|GLOBAL|LOCAL] TRANSACTION.
func (s *scanner) setsTransaction() bool {
	l := Lexer{Text: s.lexer.Text[:s.End], Pos: s.begin, Mode: s.Mode}
	l.Next()
	for range 2 {
		t := l.Next()
		w := l.Text[t.Start:t.End]
		switch {
		case EqualFold(w, "transaction"):
			return true
		case EqualFold(w, "session"), EqualFold(w, "local"), EqualFold(w, "global"):
			continue
		}
		return false
	}
	return false
}

func (s *scanner) releasesSavepoint() bool {
	l := Lexer{Text: s.lexer.Text[:s.End], Pos: s.begin, Mode: s.Mode}
	l.Next()
	t := l.Next()
	return EqualFold(l.Text[t.Start:t.End], "savepoint")
}
