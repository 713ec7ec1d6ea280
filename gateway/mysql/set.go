package mysql

import (
	"strings"

	"github.com/sidewire/sidewire/sharding/scan"
)

// setEffect is what a SET statement does to its session.
type setEffect struct {
	changes []setting // carried to whichever connection serves next; DEFAULT is an empty value
	learn   []string  // variables whose new value only the server knows: it tells with its answer
	pin     string    // why the session must stay on its connection; empty: it need not
	wishes  []setting // what the client is to be told of its session (session_track_*)
	next    bool      // SET TRANSACTION: the pin ends with the next transaction
}

// fixed are variables that act once, or on the connection itself, and so cannot be carried.
var fixed = map[string]bool{
	"insert_id": true, "last_insert_id": true, "identity": true, "rand_seed1": true, "rand_seed2": true,
	"pseudo_thread_id": true, "pseudo_slave_mode": true, "pseudo_replica_mode": true, "gtid_next": true, "sql_log_bin": true,
	"gtid_seq_no": true, "gtid_domain_id": true, "server_id": true, "skip_replication": true, "last_gtid": true,
	"profiling":          true,
	"resultset_metadata": true, "debug": true, "debug_sync": true, "proxy_user": true, "external_user": true,
}

// same variables under two names.
var aliases = map[string]string{"tx_isolation": "transaction_isolation", "tx_read_only": "transaction_read_only"}

// setParser walks a SET statement.
type setParser struct {
	lexer scan.Lexer
	text  string
	token scan.Token
	setEffect
}

// parseSet reads the SET statement that text is. What it does not understand pins: a SET never fails here.
func parseSet(text string, mode scan.Mode) setEffect {
	p := &setParser{lexer: scan.Lexer{Text: text, Mode: mode}, text: text}
	p.next() // SET
	p.advance()
	for {
		if !p.assignment() {
			return setEffect{pin: pinSet}
		}
		if p.token.Kind == scan.EOF {
			break
		}
		if !p.op(',') {
			return setEffect{pin: pinSet}
		}
		p.advance()
	}
	if p.lexer.Versioned {
		p.pin = pinSet // which of it runs depends on the server
	}
	return p.setEffect
}

func (p *setParser) next() string {
	t := p.lexer.Next()
	return p.text[t.Start:t.End]
}

func (p *setParser) advance() {
	p.token = p.lexer.Next()
	if p.op(';') {
		p.token = scan.Token{Kind: scan.EOF, Start: len(p.text), End: len(p.text)}
	}
}

func (p *setParser) op(c byte) bool {
	return p.token.Kind == scan.Op && p.text[p.token.Start] == c
}

func (p *setParser) word(w string) bool {
	return p.token.Kind == scan.Word && scan.EqualFold(p.text[p.token.Start:p.token.End], w)
}

func (p *setParser) current() string { return p.text[p.token.Start:p.token.End] }

// assignment reads one of the list; false means that it was not understood.
func (p *setParser) assignment() bool {
	scope := ""
	switch {
	case p.word("names"):
		p.advance()
		return p.names(nameNames)
	case p.word("charset"):
		p.advance()
		return p.names("character_set")
	case p.word("session"), p.word("local"), p.word("global"), p.word("persist"), p.word("persist_only"):
		scope = strings.ToLower(p.current())
		p.advance()
	case p.word("password"), p.word("role"), p.word("default"), p.word("resource"), p.word("statement"):
		return false
	}
	if p.word("transaction") {
		return p.transaction(scope)
	}
	switch p.token.Kind {
	case scan.UserVar:
		return scope == "" && p.userVariable()
	case scan.SysVar:
		name := strings.ToLower(p.current()[2:])
		before, after, found := strings.Cut(name, ".")
		if found {
			scope, name = before, after
		}
		p.advance()
		name = strings.Trim(name, "`")
		switch name {
		case "transaction_isolation", "tx_isolation", "transaction_read_only", "tx_read_only":
			if !found { // without a scope it is the next transaction's alone, which it is not without the @@
				p.pin, p.setEffect.next = pinNextTransaction, true
				assigned := p.assign()
				p.value()
				return assigned
			}
		}
		return p.variable(scope, name)
	case scan.Word, scan.Quoted:
		name := strings.ToLower(scan.Unquote(p.current()))
		p.advance()
		if scope == "" && name == "character" && p.word("set") {
			p.advance()
			return p.names("character_set")
		}
		if p.op('.') {
			return false // key caches and components: not of the session, but not known either
		}
		return p.variable(scope, name)
	}
	return false
}

// names reads the argument of SET NAMES or SET CHARACTER SET.
func (p *setParser) names(kind string) bool {
	charset, ok := p.bareName()
	if !ok {
		return false
	}
	value := charset
	if p.word("collate") {
		p.advance()
		collation, ok := p.bareName()
		if !ok {
			return false
		}
		value += " COLLATE " + collation
	}
	if kind == "character_set" {
		// It takes the connection's collation from the database, which a list of settings cannot say.
		p.pin = pinSet
		return true
	}
	p.change(nameNames, value)
	return true
}

func (p *setParser) bareName() (string, bool) {
	text := p.current()
	switch p.token.Kind {
	case scan.Word:
	case scan.String:
		text = text[1 : len(text)-1]
	default:
		return "", false
	}
	for i := range len(text) {
		if c := text[i] | 0x20; c != '_'|0x20 && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return "", false
		}
	}
	p.advance()
	return strings.ToLower(text), text != ""
}

// transaction reads SET TRANSACTION: of the next one alone, or of the session.
func (p *setParser) transaction(scope string) bool {
	if scope == "" {
		p.pin, p.setEffect.next = pinNextTransaction, true
	}
	for p.token.Kind != scan.EOF {
		p.advance()
		switch {
		case scope != "session" && scope != "local":
		case p.word("read"):
			// READ ONLY and READ WRITE here; READ COMMITTED is read with LEVEL.
			p.advance()
			if p.word("only") {
				p.change("transaction_read_only", "1")
			} else if p.word("write") {
				p.change("transaction_read_only", "0")
			}
		case p.word("level"):
			level, ok := p.level()
			if !ok {
				return false
			}
			p.change("transaction_isolation", level)
		}
	}
	return true
}

func (p *setParser) level() (string, bool) {
	p.advance()
	first := strings.ToLower(p.current())
	if first == "serializable" {
		return "'serializable'", true
	}
	p.advance()
	switch both := first + " " + strings.ToLower(p.current()); both {
	case "read committed", "read uncommitted", "repeatable read":
		return "'" + strings.Replace(both, " ", "-", 1) + "'", true
	}
	return "", false
}

func (p *setParser) assign() bool {
	if p.op(':') {
		p.advance()
	}
	if !p.op('=') {
		return false
	}
	p.advance()
	return true
}

func (p *setParser) userVariable() bool {
	name := p.current()
	p.advance()
	if !p.assign() {
		return false
	}
	value, simple := p.value()
	if !simple || len(value) > maxCarried || !plain(value) || len(name) < 2 || name[1] == '\'' || name[1] == '"' {
		p.pin = pinUserVariable
		return true
	}
	p.change(strings.ToLower(name), value)
	return true
}

// plain reports whether a literal means the same under every sql_mode and character set: other texts can only be read where they
// were written.
func plain(literal string) bool {
	if literal == "" {
		return true
	}
	switch c := literal[0]; {
	case c == '"', c == 'N' && strings.Contains(literal, "'"), c == 'n' && strings.Contains(literal, "'"):
		return false
	case c == '\'':
		literal = literal[1 : len(literal)-1]
	}
	for _, c := range []byte(literal) {
		if c < ' ' || c > '~' || c == '\\' || c == '\'' {
			return strings.IndexByte("xXbB", literal[0]) >= 0 && c == '\''
		}
	}
	return true
}

// maxCarried bounds a user variable's text: a longer one pins, since every change of connection would send it again.
const maxCarried = 256

func (p *setParser) variable(scope, name string) bool {
	if !p.assign() {
		return false
	}
	value, simple := p.value()
	if scope == "global" || scope == "persist" || scope == "persist_only" {
		return true // the server's, not the session's
	}
	if a, ok := aliases[name]; ok {
		name = a
	}
	switch {
	case fixed[name]:
		p.pin = pinSet
	case strings.HasPrefix(name, "session_track_") && name != "session_track_transaction_info":
		if !simple {
			return false
		}
		p.wishes = append(p.wishes, setting{strings.Clone(name), strings.Clone(value)})
	case name == "autocommit" && !simple:
		return false
	case !simple, value == "" && charsetPart(name): // DEFAULT is not what the connection was opened with
		p.learn = append(p.learn, strings.Clone(name))
	default:
		p.change(name, value)
	}
	return true
}

func (p *setParser) change(name, value string) {
	// The text is the client's packet, whose memory is used again.
	p.changes = append(p.changes, setting{strings.Clone(name), strings.Clone(value)})
}

// value reads up to the next comma or the end. simple says that the text means the same at any time on any server: one
// literal or one word (ON, utf8mb4, DEFAULT).
func (p *setParser) value() (text string, simple bool) {
	start, end, depth, tokens := p.token.Start, p.token.Start, 0, 0
	simple = true
	for p.token.Kind != scan.EOF && !(depth == 0 && p.op(',')) {
		switch p.token.Kind {
		case scan.Word, scan.String, scan.Integer, scan.Decimal, scan.Float, scan.Hex, scan.Bit:
			tokens++
		case scan.Op:
			if p.op('(') {
				depth++
			} else if p.op(')') {
				depth--
			}
			if !p.op('-') || tokens > 0 {
				simple = false
			}
		default:
			simple = false
		}
		end = p.token.End
		p.advance()
	}
	text = p.text[start:end]
	if strings.EqualFold(text, "default") {
		return "", tokens == 1
	}
	return text, simple && tokens == 1
}
