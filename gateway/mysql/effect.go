package mysql

import (
	"strings"
	"unsafe"

	"github.com/sidewire/sidewire/sharding/scan"
)

// classCount is the number of scan's classes.
const classCount = int(scan.Empty) + 1

func classLabel(c int) string { return scan.Class(c).String() }

// effect is what a text of one or several statements does, as far as sidewire has to know.
type effect struct {
	class  scan.Class // the strongest of its statements
	verb   scan.Verb  // of the first statement
	digest uint64
	params int
	multi  bool
	text   string // the whole

	set       *setEffect
	pin       string   // holds from the moment the statement was sent
	unpin     []string // no longer hold when it succeeded
	ends      bool     // COMMIT or ROLLBACK
	commits   bool     // COMMIT: if its answer is lost, its outcome is unknown
	diagnoses bool     // asks for warnings and errors of the statement before
	counts    bool     // asks for FOUND_ROWS() or ROW_COUNT() of the statement before
	finds     bool     // has the server count what FOUND_ROWS() will tell
	insertID  bool     // asks for LAST_INSERT_ID()
	givesID   bool     // may set it: LAST_INSERT_ID(expression)
	numbered  bool     // asks for CONNECTION_ID()
	loadLocal bool
	apart     bool // values of it came by SEND_LONG_DATA
	unread    bool // it could not be read to its end
	kills     bool
	accounted bool     // a change of session state that the server reports is no surprise
	created   []string // temporary tables
	dropped   []string // tables, temporary ones perhaps
	texts     []textStatement
	locks     []string // of GET_LOCK, as SQL literals
	anyLock   bool     // of a GET_LOCK whose name is no literal
	releases  bool     // calls RELEASE_LOCK
	prepares  *prepared
	tables    bool // names tables
	hinted    bool // a comment says where it goes
	readOnly  bool // begins a transaction that only reads
}

// text is b as a string that lives as long as b's bytes do.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// analyse reads a text, all its statements, into e, which says nothing yet.
func (s *session) analyse(sql string, e *effect) {
	e.text = sql
	for at, first := 0, true; ; first = false {
		if err := s.scan.Scan(sql, at, s.mode); err != nil {
			// The server says what is wrong with it; nothing is known of what stands before.
			e.class, e.pin, e.multi, e.unread = max(e.class, scan.Write), pinState, true, true
			return
		}
		r := &s.scan
		if first {
			e.class, e.verb, e.digest = r.Class, r.Verb, r.Digest
		} else {
			e.multi = true
			e.class = stronger(e.class, r.Class)
		}
		e.params += r.Params
		e.statement(sql[at:r.End], r, s.mode)
		if r.Flags&scan.Multi == 0 {
			return
		}
		at = r.Next
	}
}

// stronger is the class a text of both has to be treated as.
func stronger(a, b scan.Class) scan.Class {
	if a == scan.Read && b != scan.Empty {
		return b
	}
	return a
}

// statement adds what one statement does.
func (e *effect) statement(sql string, r *scan.Result, mode scan.Mode) {
	switch r.Verb {
	case scan.Set:
		e.setStatement(sql, r, mode)
	case scan.Use:
		e.accounted = true
	case scan.Lock:
		e.pin = pinLockTables
	case scan.Unlock:
		e.unpin = append(e.unpin, pinLockTables)
	case scan.Flush:
		if containsFold(sql, "lock") || containsFold(sql, "export") {
			e.pin = pinLockTables
		}
	case scan.Prepare:
		e.pin, e.accounted = pinTextPrepare, true
		e.texts = append(e.texts, textStatement{nameAfter(sql, mode, "prepare"), true})
	case scan.Execute:
		e.accounted = false
	case scan.Deallocate:
		e.accounted = true
		e.texts = append(e.texts, textStatement{nameAfter(sql, mode, "prepare"), false})
	case scan.Drop:
		e.accounted = e.accounted || r.Flags&scan.Temporary != 0
		e.dropped = append(e.dropped, tableNames(sql, mode)...)
		if containsFold(sql, "prepare") {
			e.accounted = true // DROP PREPARE is DEALLOCATE
			if name := nameAfter(sql, mode, "prepare"); name != "" {
				e.texts = append(e.texts, textStatement{name, false})
			}
		}
	case scan.Handler:
		e.pin = pinHandler
	case scan.XA:
		e.xa(sql)
	case scan.Create:
		if r.Flags&scan.Temporary != 0 {
			e.pin, e.accounted = pinTemporaryTable, true
			e.created = append(e.created, tableNames(sql, mode)...)
		}
	case scan.Commit, scan.Rollback:
		e.ends = true
		e.commits = e.commits || r.Verb == scan.Commit
	case scan.Start, scan.Begin:
		e.readOnly = r.Flags&scan.ReadOnly != 0
	case scan.Kill:
		e.kills = true
	case scan.Show:
		e.diagnoses = e.diagnoses || containsFold(sql, "warnings") || containsFold(sql, "errors")
	case scan.NoVerb:
		e.diagnoses = e.diagnoses || containsFold(sql, "diagnostics") // GET DIAGNOSTICS
	}
	e.hinted = e.hinted || r.Hint.Kind != scan.EOF
	e.tables = e.tables || len(r.Tables) > 0
	e.flags(sql, r)
	if r.Flags&scan.AdvisoryLock != 0 {
		e.userLocks(sql, mode)
	}
}

func (e *effect) flags(sql string, r *scan.Result) {
	f := r.Flags
	if f&scan.SetsUserVar != 0 && r.Verb != scan.Set || f&scan.IntoFile != 0 && f&scan.UsesUserVar != 0 {
		e.pin, e.accounted = pinUserVariable, true
	}
	if f&scan.AdvisoryLock != 0 {
		if containsFold(sql, "get_lock") {
			e.pin = pinUserLock
		} else if containsFold(sql, "release_all_locks") {
			e.unpin = append(e.unpin, pinUserLock)
		}
	}
	e.insertID = e.insertID || f&scan.LastInsertID != 0 || f&scan.UsesSysVar != 0 && containsFold(sql, "insert_id") || f&scan.UsesSysVar != 0 && containsFold(sql, "identity")
	e.givesID = e.givesID || f&scan.LastInsertID != 0 && setsInsertID(sql)
	e.finds = f&scan.FoundRows != 0 && containsFold(sql, "sql_calc_found_rows")
	e.loadLocal = e.loadLocal || f&scan.LoadLocal != 0
	e.counts = e.counts || f&scan.FoundRows != 0 && containsFold(strings.ReplaceAll(strings.ToLower(sql), "sql_calc_found_rows", ""), "found_rows") ||
		f&scan.RowCount != 0 && r.Verb == scan.Select
	e.numbered = e.numbered || f&scan.ConnectionID != 0
	if f&scan.UsesSysVar != 0 && (containsFold(sql, "warning_count") || containsFold(sql, "error_count")) {
		e.diagnoses = true
	}
	if r.Verb == scan.Call {
		// A procedure may leave anything behind; the server tells whether it did.
		e.accounted = false
	}
}

func (e *effect) setStatement(sql string, r *scan.Result, mode scan.Mode) {
	set := parseSet(sql, mode)
	if r.Params > 0 && set.pin == "" {
		set = setEffect{pin: pinSet} // the values come later
	}
	if e.set != nil {
		set.changes = append(e.set.changes, set.changes...)
		set.learn = append(e.set.learn, set.learn...)
		set.wishes = append(e.set.wishes, set.wishes...)
	}
	e.set, e.accounted = &set, true
	if set.pin != "" {
		e.pin = set.pin
	}
	if e.class != scan.Transaction && len(set.changes) == 0 && len(set.learn) == 0 && len(set.wishes) == 0 && set.pin == "" {
		e.class = scan.Admin // SET GLOBAL
	}
}

// xa holds the connection from XA START to the end of the branch.
func (e *effect) xa(sql string) {
	words := strings.Fields(strings.ToLower(sql))
	if len(words) < 2 {
		return
	}
	switch words[1] {
	case "start", "begin":
		e.pin = pinXA
	case "commit", "rollback":
		e.unpin = append(e.unpin, pinXA)
		e.commits = words[1] == "commit"
	}
}

// setsInsertID reports whether LAST_INSERT_ID is called with an argument.
func setsInsertID(sql string) bool {
	for _, rest, found := strings.Cut(strings.ToLower(sql), "last_insert_id"); found; _, rest, found = strings.Cut(rest, "last_insert_id") {
		const space = " \t\r\n"
		if inside, call := strings.CutPrefix(strings.TrimLeft(rest, space), "("); call && !strings.HasPrefix(strings.TrimLeft(inside, space), ")") {
			return true
		}
	}
	return false
}

// containsFold reports whether s contains the ASCII text word, which is in lower case.
func containsFold(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0]|0x20 && scan.EqualFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

// tableNames are the names that follow TABLE in a CREATE, of which there is one, or a DROP.
func tableNames(sql string, mode scan.Mode) []string {
	l := scan.Lexer{Text: sql, Mode: mode}
	next := func() (scan.Token, string) {
		t := l.Next()
		return t, strings.ToLower(scan.Unquote(sql[t.Start:t.End]))
	}
	t, w := next()
	create := w == "create"
	for t.Kind != scan.EOF && w != "table" && w != "tables" {
		t, w = next()
	}
	for t, w = next(); t.Kind == scan.Word && (w == "if" || w == "not" || w == "exists"); {
		t, w = next()
	}
	var names []string
	for t.Kind == scan.Word || t.Kind == scan.Quoted {
		name := strings.Clone(w)
		if t, w = next(); w == "." {
			_, w = next()
			name += "." + w
			t, w = next()
		}
		names = append(names, name)
		if create || w != "," {
			break
		}
		t, w = next()
	}
	return names
}
