package scan

// Mode holds the parts of sql_mode and of the client character set that change where tokens begin and end, or what they
// mean, and of the session what a plan depends on.
type Mode uint8

// Modes.
const (
	ANSIQuotes         Mode = 1 << iota // "x" is an identifier
	NoBackslashEscapes                  // a backslash in a string is itself
	PipesAsConcat                       // || joins texts
	OwnTimeZone                         // the session has set a time zone: a TIMESTAMP's text is not what other sessions see
)

// Kind is the kind of a token.
type Kind uint8

// Token kinds.
const (
	EOF     Kind = iota
	Word         // an unquoted identifier or keyword
	Quoted       // `x`, or "x" under ANSI_QUOTES
	String       // 'x' or "x", without its introducer
	Integer      // 12
	Decimal      // 12.5
	Float        // 1e3
	Hex          // 0x1F, x'1F'
	Bit          // 0b1, b'1'
	Param        // ?
	UserVar      // @x, @'x'
	SysVar       // @@x, @@session.x
	Op           // one operator or punctuation character
	Comment      // a plain comment, reported only by Raw
	Invalid      // an unterminated string, identifier or comment, or a byte no token begins with
)

// Token is one token of a text by its byte offsets.
type Token struct {
	Kind       Kind
	Start, End int
}

// Lexer cuts a MySQL text into tokens. It allocates nothing and never looks beyond the text.
// Executable comments (/*! ... */ and MariaDB's /*M! ... */) are entered: their content comes as tokens and
// Versioned is set, because which of it runs depends on the server.
type Lexer struct {
	Text      string
	Pos       int
	Mode      Mode
	Versioned bool
	inVersion bool
}

// Next returns the next token, comments skipped.
func (l *Lexer) Next() Token {
	for {
		if t := l.Raw(); t.Kind != Comment {
			return t
		}
	}
}

// Raw returns the next token, plain comments included.
func (l *Lexer) Raw() Token {
	s := l.Text
	for l.Pos < len(s) && isSpace(s[l.Pos]) {
		l.Pos++
	}
	start := l.Pos
	if start >= len(s) {
		return Token{EOF, start, start}
	}
	c := s[start]
	switch {
	case c == '\'':
		return l.quoted(start, '\'', String)
	case c == '"':
		if l.Mode&ANSIQuotes != 0 {
			return l.quoted(start, '"', Quoted)
		}
		return l.quoted(start, '"', String)
	case c == '`':
		return l.quoted(start, '`', Quoted)
	case c >= '0' && c <= '9', c == '.' && l.digitAt(start+1) && !l.afterName(start):
		return l.number(start)
	case wordByte[c]:
		return l.word(start)
	case c == '@':
		return l.variable(start)
	case c == '?':
		l.Pos++
		return Token{Param, start, l.Pos}
	case c == '#', c == '-' && l.dashComment(start):
		return l.lineComment(start)
	case c == '/' && start+1 < len(s) && s[start+1] == '*':
		return l.blockComment(start)
	case c == '*' && l.inVersion && start+1 < len(s) && s[start+1] == '/':
		l.inVersion = false
		l.Pos += 2
		return l.Raw()
	case c < ' ' || c == 0x7f:
		l.Pos++
		return Token{Invalid, start, l.Pos}
	}
	l.Pos++
	return Token{Op, start, l.Pos}
}

func (l *Lexer) digitAt(i int) bool {
	return i < len(l.Text) && l.Text[i] >= '0' && l.Text[i] <= '9'
}

// afterName reports that a dot follows a name directly, as in t.1a, where it separates and begins no number.
func (l *Lexer) afterName(dot int) bool {
	return dot > 0 && (wordByte[l.Text[dot-1]] || l.Text[dot-1] == '`')
}

// dashComment follows MySQL: "--" begins a comment only before a space, a control character or the end.
func (l *Lexer) dashComment(i int) bool {
	s := l.Text
	return i+1 < len(s) && s[i+1] == '-' && (i+2 == len(s) || s[i+2] <= ' ')
}

func (l *Lexer) lineComment(start int) Token {
	for l.Pos < len(l.Text) && l.Text[l.Pos] != '\n' {
		l.Pos++
	}
	return Token{Comment, start, l.Pos}
}

func (l *Lexer) blockComment(start int) Token {
	s := l.Text
	body := start + 2
	if body < len(s) && s[body] == 'M' && body+1 < len(s) && s[body+1] == '!' {
		body++
	}
	if body < len(s) && s[body] == '!' && !l.inVersion {
		body++
		for body < len(s) && s[body] >= '0' && s[body] <= '9' {
			body++
		}
		l.Versioned, l.inVersion, l.Pos = true, true, body
		return l.Raw()
	}
	for i := start + 2; i+1 < len(s); i++ {
		if s[i] == '*' && s[i+1] == '/' {
			l.Pos = i + 2
			return Token{Comment, start, l.Pos}
		}
	}
	l.Pos = len(s)
	return Token{Invalid, start, l.Pos}
}

func (l *Lexer) quoted(start int, quote byte, kind Kind) Token {
	s := l.Text
	escapes := kind == String && l.Mode&NoBackslashEscapes == 0
	for i := start + 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && escapes:
			i++
		case s[i] == quote:
			if i+1 < len(s) && s[i+1] == quote {
				i++
				continue
			}
			l.Pos = i + 1
			return Token{kind, start, l.Pos}
		}
	}
	l.Pos = len(s)
	return Token{Invalid, start, l.Pos}
}

func (l *Lexer) word(start int) Token {
	s := l.Text
	i := start + 1
	for i < len(s) && wordByte[s[i]] {
		i++
	}
	if i == start+1 && i < len(s) && s[i] == '\'' {
		switch s[start] {
		case 'x', 'X':
			t := l.quoted(i, '\'', Hex)
			t.Start = start
			return t
		case 'b', 'B':
			t := l.quoted(i, '\'', Bit)
			t.Start = start
			return t
		case 'n', 'N':
			t := l.quoted(i, '\'', String)
			t.Start = start
			return t
		}
	}
	l.Pos = i
	return Token{Word, start, i}
}

// number reads digits; a run of digits that goes on with letters is an identifier in MySQL (1abc), except
// for 0x, 0b and exponents. After a dot that follows a name (t.1a) digits always belong to a name.
func (l *Lexer) number(start int) Token {
	s := l.Text
	i := start
	if start > 0 && s[start-1] == '.' && l.afterName(start-1) {
		return l.word(start)
	}
	if s[i] == '0' && i+1 < len(s) && (s[i+1] == 'x' || s[i+1] == 'b') {
		kind, ok := Hex, isHex
		if s[i+1] == 'b' {
			kind, ok = Bit, isBinary
		}
		j := i + 2
		for j < len(s) && ok(s[j]) {
			j++
		}
		if j > i+2 && (j == len(s) || !wordByte[s[j]]) {
			l.Pos = j
			return Token{kind, start, j}
		}
		return l.word(start)
	}
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	kind := Integer
	if i < len(s) && s[i] == '.' {
		kind = Decimal
		for i++; i < len(s) && isDigit(s[i]); i++ {
			continue
		}
	}
	if j := exponent(s, i); j > 0 {
		l.Pos = j
		return Token{Float, start, j}
	}
	if kind == Integer && i < len(s) && wordByte[s[i]] {
		return l.word(start)
	}
	l.Pos = i
	return Token{kind, start, i}
}

// exponent returns the end of an exponent at i, or 0.
func exponent(s string, i int) int {
	if i >= len(s) || s[i] != 'e' && s[i] != 'E' {
		return 0
	}
	i++
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	j := i
	for j < len(s) && isDigit(s[j]) {
		j++
	}
	if j == i {
		return 0
	}
	return j
}

func (l *Lexer) variable(start int) Token {
	s := l.Text
	i := start + 1
	kind := UserVar
	if i < len(s) && s[i] == '@' {
		kind = SysVar
		i++
	}
	if i < len(s) && (s[i] == '`' || s[i] == '\'' || s[i] == '"') {
		t := l.quoted(i, s[i], Quoted)
		if t.Kind == Invalid {
			return Token{Invalid, start, t.End}
		}
		return Token{kind, start, t.End}
	}
	for i < len(s) && (wordByte[s[i]] || s[i] == '.') {
		i++
	}
	l.Pos = i
	return Token{kind, start, i}
}

func isSpace(c byte) bool  { return c == ' ' || c >= '\t' && c <= '\r' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isBinary(c byte) bool { return c == '0' || c == '1' }
func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// wordByte marks the bytes of unquoted identifiers: letters, digits, $, _ and every byte from 0x80 on.
var wordByte = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= 0x80 || c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	return t
}()

// Unquote returns the name a Word or Quoted token stands for. It allocates only when a quote is doubled inside.
func Unquote(s string) string {
	if len(s) < 2 || s[0] != '`' && s[0] != '"' {
		return s
	}
	q, body := s[0], s[1:len(s)-1]
	for i := range len(body) {
		if body[i] == q {
			return undouble(body, q)
		}
	}
	return body
}

func undouble(s string, q byte) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		b = append(b, s[i])
		if s[i] == q {
			i++
		}
	}
	return string(b)
}

// EqualFold compares ASCII text without case, w in lower case.
func EqualFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
