package scan

// AppendSummary appends what a text does to what, in its own words: "SELECT orders customers", "CREATE TABLE t". It is the summary
// that OpenTelemetry describes (db.query.summary): of low cardinality, at most SummaryLimit bytes long, cut between words.
func AppendSummary(dst []byte, text string, mode Mode) []byte {
	s := summary{lexer: Lexer{Text: text, Mode: mode}, dst: dst, begin: len(dst)}
	for !s.full {
		t := s.lexer.Next()
		if t.Kind == EOF || t.Kind == Invalid {
			break
		}
		s.token(t)
	}
	return s.dst
}

// summary is the state of one pass.
type summary struct {
	lexer Lexer
	dst   []byte
	begin int
	full  bool

	words   int // seen in this statement
	with    bool
	after   expectation
	depth   int
	selects uint64 // by depth: a SELECT or DELETE began there, so that a FROM there names tables
	from    uint64 // by depth: its list of tables is open
	prev    Token
	object  bool // a CREATE, ALTER or DROP: the kind of object comes, then its name, and the rest does not matter
}

// expectation is what the next token is taken for.
type expectation uint8

const (
	expectNothing expectation = iota
	expectTable               // a name, unless it is a modifier or a bracket
	expectKind                // of what a CREATE makes
	expectName                // of it
)

func (s *summary) add(word string) {
	if word == "" || s.full {
		return
	}
	space := 0
	if len(s.dst) > s.begin {
		space = 1
	}
	if len(s.dst)-s.begin+space+len(word) > SummaryLimit {
		s.full = true
		return
	}
	if space == 1 {
		s.dst = append(s.dst, ' ')
	}
	s.dst = append(s.dst, word...)
}

func (s *summary) bit() uint64 {
	if s.depth > 63 {
		return 0
	}
	return 1 << s.depth
}

func (s *summary) token(t Token) {
	text := s.lexer.Text
	word := text[t.Start:t.End]
	defer func() { s.prev = t }()
	switch t.Kind {
	case Op:
		s.operator(text[t.Start])
	case Quoted:
		s.name(t)
	case Word:
		if s.words++; s.words == 1 {
			s.first(word)
			return
		}
		s.word(word, t)
	default:
		s.after = expectNothing
	}
}

func (s *summary) operator(c byte) {
	switch c {
	case ';':
		*s = summary{lexer: s.lexer, dst: s.dst, begin: s.begin, full: s.full}
		return
	case '(':
		s.depth++
		s.selects &^= s.bit()
		s.from &^= s.bit()
	case ')':
		s.depth = max(0, s.depth-1)
	case ',':
		if s.from&s.bit() != 0 && !s.object {
			s.after = expectTable
			return
		}
	}
	s.after = expectNothing
}

// first is the word that a statement begins with.
func (s *summary) first(word string) {
	switch v := verbOf(word); v {
	case With:
		s.with = true
		return
	case Create, Alter, Drop, Truncate, Rename:
		s.object, s.after = true, expectKind
	case Insert, Replace, Update, Delete, Call, Table:
		s.begins(v)
	case Select:
		s.selects |= s.bit()
	case Explain, Describe:
		s.words = 0
	}
	s.add(word)
}

func (s *summary) begins(v Verb) {
	switch v {
	case Insert, Replace, Update, Call, Table:
		s.after = expectTable
		if v == Update {
			s.from |= s.bit()
		}
	case Delete:
		s.selects |= s.bit()
	}
}

func (s *summary) word(word string, t Token) {
	v := verbOf(word)
	switch {
	case s.object:
		s.ofObject(word, t)
	case s.after == expectTable && v != Select:
		s.table(word, t)
	case v == Select:
		s.selects |= s.bit()
		s.from &^= s.bit()
		s.after = expectNothing
		s.add(word)
	case s.with && s.depth == 0 && s.prev.Kind == Op && s.lexer.Text[s.prev.Start] == ')' && (v == Insert || v == Replace || v == Update || v == Delete):
		s.begins(v)
		s.add(word)
	case EqualFold(word, "from"):
		if s.selects&s.bit() != 0 {
			s.after = expectTable
			s.from |= s.bit()
		}
	case EqualFold(word, "join"):
		s.after = expectTable
	case EqualFold(word, "into"):
		if !EqualFold(s.lexer.Text[s.prev.Start:s.prev.End], "select") {
			s.from &^= s.bit()
		}
	case endsTables(word):
		s.from &^= s.bit()
	}
}

// table is the word where a table's name is expected.
func (s *summary) table(word string, t Token) {
	for _, m := range [...]string{"into", "low_priority", "high_priority", "delayed", "ignore", "only", "lateral", "quick", "table"} {
		if EqualFold(word, m) && s.goesOn() {
			return
		}
	}
	s.name(t)
}

// goesOn reports whether a name follows, so that the word before it was a modifier and no name: FROM table is one.
func (s *summary) goesOn() bool {
	l := s.lexer
	t := l.Next()
	if t.Kind == Quoted {
		return true
	}
	return t.Kind == Word && !endsTables(l.Text[t.Start:t.End]) && verbOf(l.Text[t.Start:t.End]) == NoVerb
}

// ofObject reads on behind CREATE and its like.
func (s *summary) ofObject(word string, t Token) {
	switch s.after {
	case expectKind:
		for _, kind := range [...]string{"table", "view", "index", "procedure", "function", "trigger", "event", "database", "schema", "user", "role", "server",
			"tablespace", "sequence"} {
			if EqualFold(word, kind) {
				s.add(word)
				s.after = expectName
				return
			}
		}
		if s.prev.Kind == Word && verbOf(s.lexer.Text[s.prev.Start:s.prev.End]) == Truncate { // TRUNCATE t
			s.after = expectName
			s.name(t)
		}
	case expectName:
		for _, m := range [...]string{"if", "not", "exists", "concurrently"} {
			if EqualFold(word, m) {
				return
			}
		}
		s.name(t)
	}
}

// name adds a name with what its dots join to it.
func (s *summary) name(t Token) {
	if s.after != expectTable && s.after != expectName {
		return
	}
	s.after = expectNothing
	text := s.lexer.Text
	whole := Unquote(text[t.Start:t.End])
	for {
		look := s.lexer
		dot := look.Raw()
		if dot.Kind != Op || text[dot.Start] != '.' || dot.Start != s.lexer.Pos {
			break
		}
		part := look.Raw()
		if part.Kind != Word && part.Kind != Quoted {
			break
		}
		whole += "." + Unquote(text[part.Start:part.End])
		s.lexer = look
	}
	s.add(whole)
	if s.object {
		s.stop()
	}
}

// stop goes to the end of a CREATE: whatever else it holds, such as the body of a trigger, it is one statement.
func (s *summary) stop() { s.lexer.Pos = len(s.lexer.Text) }

func endsTables(word string) bool {
	for _, w := range [...]string{"where", "group", "order", "having", "limit", "set", "values", "value", "union", "for", "window", "on"} {
		if EqualFold(word, w) {
			return w != "on"
		}
	}
	return false
}
