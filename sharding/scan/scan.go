// Package scan reads a MySQL statement's text once, without parsing or allocating: what class it is, where its
// literals stand, its digest, its hints, and where the next statement of the same text begins.
package scan

import "errors"

// Class says what a statement does to the server.
type Class uint8

// Classes.
const (
	Unknown     Class = iota
	Read              // SELECT, SHOW, EXPLAIN and the like, without locks or side effects
	Write             // INSERT, UPDATE, DELETE, locking reads, CALL, reads with side effects
	Transaction       // BEGIN, COMMIT, SAVEPOINT, XA, SET TRANSACTION
	Session           // SET, USE, PREPARE, LOCK TABLES: changes the session
	DDL               // CREATE, ALTER, DROP, TRUNCATE, RENAME, GRANT
	Admin             // KILL, FLUSH, ANALYZE and the like
	Empty             // nothing but comments
)

var classNames = [...]string{"unknown", "read", "write", "transaction", "session", "ddl", "admin", "empty"}

func (c Class) String() string { return classNames[c] }

// Flag is a fact about a statement that decides where it may run or what it leaves behind.
type Flag uint32

// Flags.
const (
	Locking       Flag = 1 << iota // FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE
	IntoFile                       // INTO OUTFILE, DUMPFILE or @variable
	UsesUserVar                    // @x occurs
	SetsUserVar                    // SET @x or :=
	UsesSysVar                     // @@x occurs
	FoundRows                      // FOUND_ROWS() or SQL_CALC_FOUND_ROWS
	LastInsertID                   // LAST_INSERT_ID()
	RowCount                       // ROW_COUNT()
	ConnectionID                   // CONNECTION_ID()
	AdvisoryLock                   // GET_LOCK and its family
	Temporary                      // CREATE or DROP TEMPORARY
	Versioned                      // an executable comment /*! ... */ occurs
	Multi                          // another statement follows; Result.End is where
	ReadOnly                       // START TRANSACTION READ ONLY
	LoadLocal                      // LOAD DATA LOCAL
	OptimizerHint                  // /*+ ... */ occurs
	Routine                        // a query calls a function that may be a stored one, or draws from a sequence
)

// Var is a part of the text that may differ between texts of one shape: a literal, or a plain comment.
type Var struct {
	Start, End int
	Kind       Kind // String, Integer, Decimal, Float, Hex, Bit or Comment
}

// Result is what one pass over a text found. It is reused: its slices are valid until the next Scan.
type Result struct {
	Class  Class
	Verb   Verb
	Flags  Flag
	Digest uint64 // equal for texts that differ in literals, white space, comments, letter case of words, length of lists
	Shape  uint64 // equal for texts that differ in literals and plain comments only
	End    int    // where this statement's text ends, before its semicolon; the next begins after it
	Next   int    // where the following statement begins, or len(text)
	Params int    // number of ? markers
	Vars   []Var
	Tables []Token // names right after FROM, JOIN, INTO, UPDATE, TABLE: a good guess for telemetry, not for routing
	Hint   Token   // the first comment that holds a SHARDINGSPHERE_HINT or sidewire hint; Kind EOF if none
	Mode   Mode
}

// ErrSyntax means a token that never ends or a byte that begins none.
var ErrSyntax = errors.New("unterminated string, identifier or comment, or a stray control character")

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// scanner is the state of one pass.
type scanner struct {
	*Result
	lexer Lexer
	from  int // text before this offset is already in the shape
	words int
	first Verb
	prev  Token
	list  listState
	begin int
}

// listState collapses (?, ?, ?) and (...), (...) in the digest.
type listState struct {
	lastLiteral, comma bool
}

// Scan reads the statement of text that begins at offset start.
func (r *Result) Scan(text string, start int, mode Mode) error {
	*r = Result{Vars: r.Vars[:0], Tables: r.Tables[:0], Digest: fnvOffset, Shape: fnvOffset, Mode: mode}
	s := scanner{Result: r, lexer: Lexer{Text: text, Pos: start, Mode: mode}, from: start, begin: start}
	for {
		t := s.lexer.Raw()
		switch t.Kind {
		case EOF:
			s.finish(t.Start, t.Start)
			return nil
		case Invalid:
			s.finish(len(text), len(text))
			return ErrSyntax
		case Op:
			if text[t.Start] == ';' {
				s.finish(t.Start, t.End)
				return nil
			}
		}
		s.token(t)
		if t.Kind != Comment {
			s.prev = t
		}
	}
}

func (s *scanner) finish(end, next int) {
	s.hashShape(end)
	s.End, s.Next = end, len(s.lexer.Text)
	if s.lexer.Versioned {
		s.Flags |= Versioned
	}
	rest := Lexer{Text: s.lexer.Text, Pos: next, Mode: s.Mode}
	for {
		t := rest.Next()
		if t.Kind == EOF {
			break
		}
		if t.Kind == Op && s.lexer.Text[t.Start] == ';' {
			continue
		}
		s.Flags |= Multi
		s.Next = next
		break
	}
	s.classify()
}

// hashShape adds the text up to end to the shape.
func (s *scanner) hashShape(end int) {
	h, text := s.Shape, s.lexer.Text
	for i := s.from; i < end; i++ {
		h = (h ^ uint64(text[i])) * fnvPrime
	}
	s.Shape, s.from = h, end
}

func (s *scanner) variable(t Token) {
	s.hashShape(t.Start)
	s.Shape = (s.Shape ^ uint64(0x100+int(t.Kind))) * fnvPrime
	s.from = t.End
	s.Vars = append(s.Vars, Var{t.Start, t.End, t.Kind})
}

func (s *scanner) digest(b uint64) { s.Digest = (s.Digest ^ b) * fnvPrime }

func (s *scanner) token(t Token) {
	text := s.lexer.Text
	switch t.Kind {
	case Comment:
		s.comment(t)
		return
	case String, Integer, Decimal, Float, Hex, Bit, Param:
		s.literal(t)
		return
	case Op:
		if text[t.Start] == ',' && s.list.lastLiteral {
			s.list = listState{lastLiteral: true, comma: true}
			return
		}
		s.operator(t)
	case Word:
		s.keyword(t)
	case Quoted:
		s.table(t)
	case UserVar:
		s.Flags |= UsesUserVar
	case SysVar:
		s.Flags |= UsesSysVar
	}
	s.flushComma()
	s.digest(uint64(0x100 + int(t.Kind)))
	for i := t.Start; i < t.End; i++ {
		c := text[i]
		if t.Kind == Word && c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		s.digest(uint64(c))
	}
}

// flushComma puts a comma that followed a literal into the digest once it is known that no literal follows it.
func (s *scanner) flushComma() {
	if s.list.comma {
		s.digest(',')
	}
	s.list = listState{}
}

func (s *scanner) literal(t Token) {
	if t.Kind == Param {
		s.Params++
	} else {
		s.variable(t)
	}
	if s.list.lastLiteral && s.list.comma {
		s.list.comma = false
		return // one more element of a list: the digest has it already
	}
	s.flushComma()
	s.list.lastLiteral = true
	s.digest('?')
}

// comment keeps optimizer hints in the shape, because they change what a server does, and takes plain comments out.
func (s *scanner) comment(t Token) {
	body := s.lexer.Text[t.Start:t.End]
	if len(body) > 2 && body[2] == '+' && body[1] == '*' {
		s.Flags |= OptimizerHint
		return
	}
	if s.Hint.Kind == EOF && isHint(body) {
		s.Hint = t
		return // a hint routes, so it stays in the shape
	}
	s.variable(t)
}

// isHint finds SHARDINGSPHERE_HINT: or sidewire: at the start of a block comment's body.
func isHint(comment string) bool {
	i := 2
	for i < len(comment) && isSpace(comment[i]) {
		i++
	}
	for _, name := range [...]string{"shardingsphere_hint:", "shardingsphere hint:", "sidewire:"} {
		if len(comment) >= i+len(name) && EqualFold(comment[i:i+len(name)], name) {
			return true
		}
	}
	return false
}

func (s *scanner) operator(t Token) {
	text := s.lexer.Text
	switch text[t.Start] {
	case ':':
		if t.End < len(text) && text[t.End] == '=' {
			s.Flags |= SetsUserVar
		}
	case '(':
		if s.prev.Kind == Word {
			s.function(text[s.prev.Start:s.prev.End])
		} else if s.prev.Kind == Quoted && verbs[s.Verb].class == Read {
			s.Flags |= Routine
		}
	}
}

// Statement returns the text of the scanned statement.
func (r *Result) Statement(text string) string { return text[:r.End] }
