package redis

import (
	"bytes"
	"fmt"
)

// ProtocolError is what a client is told before it is disconnected, in Redis's words.
type ProtocolError string

func (e ProtocolError) Error() string { return "Protocol error: " + string(e) }

type span struct{ at, n int }

// Request is one command framed in place, and the parser that frames it. Its arguments borrow the buffer last given to Next: they
// are valid until the caller reuses that buffer or calls Next again.
type Request struct {
	buf    []byte
	args   []span
	pos    int
	owed   int // arguments still to come
	line   int // where the line being looked for begins searching, so that a slow client costs no rescans
	busy   bool
	inline []byte // canonical form of an inline command
	raw    []byte
}

// Next frames the command that b starts with and returns its length, or 0 when b does not hold all of it yet. Empty commands (an
// empty line, "*0") are returned with no arguments: callers skip them. b must begin where it began in the previous call when
// that returned 0.
func (r *Request) Next(b []byte) (int, error) {
	if !r.busy {
		if len(b) == 0 {
			return 0, nil
		}
		r.args = r.args[:0]
		r.pos, r.owed, r.line = 0, 0, 0
		if b[0] != TypeArray {
			return r.nextInline(b)
		}
		line, next, err := r.readLine(b, 0, "too big mbulk count string")
		if next == 0 {
			return 0, err
		}
		n, ok := ParseInt(line[1:])
		if !ok || n > MaxArgs {
			return 0, ProtocolError("invalid multibulk length")
		}
		r.pos = next
		if n <= 0 {
			r.buf, r.raw = b, b[:next]
			return next, nil
		}
		r.owed, r.busy, r.line = int(n), true, next
	}
	for r.owed > 0 {
		pos := r.pos
		if pos >= len(b) {
			return 0, nil
		}
		if b[pos] != TypeBulk {
			return 0, ProtocolError(fmt.Sprintf("expected '$', got '%c'", printable(b[pos])))
		}
		n, next := shortBulk(b, pos)
		if next == 0 {
			line, after, err := r.readLine(b, pos, "too big bulk count string")
			if after == 0 {
				return 0, err
			}
			long, ok := ParseInt(line[1:])
			if !ok || long < 0 || long > MaxBulk {
				return 0, ProtocolError("invalid bulk length")
			}
			n, next = int(long), after
		}
		if len(b)-next < n+2 {
			// The header is read again next time: a few bytes, against a state more.
			r.line = next - 1
			return 0, nil
		}
		end := next + n
		if b[end] != '\r' || b[end+1] != '\n' {
			// Redis skips these two bytes unseen. Forwarded raw, they are where two parsers may part ways.
			return 0, ProtocolError("bulk string does not end where it said")
		}
		r.args = append(r.args, span{next, n})
		r.pos = end + 2
		r.line = r.pos
		r.owed--
	}
	r.busy = false
	r.buf, r.raw = b, b[:r.pos]
	return r.pos, nil
}

// readLine returns the line at pos without its end, and where the next begins; 0 when it is not all there.
func (r *Request) readLine(b []byte, pos int, tooBig string) (line []byte, next int, err error) {
	from := max(pos, min(r.line, len(b)))
	i := bytes.IndexByte(b[from:], '\n')
	if i < 0 {
		if len(b)-pos > MaxInline {
			return nil, 0, ProtocolError(tooBig)
		}
		r.line = len(b)
		return nil, 0, nil
	}
	i += from
	if i == pos || b[i-1] != '\r' {
		return nil, 0, ProtocolError("line ends without CR")
	}
	return b[pos : i-1], i + 1, nil
}

// nextInline frames a command typed as a line (networking.c processInlineBuffer) and puts it into the canonical form.
func (r *Request) nextInline(b []byte) (int, error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if len(b) > MaxInline {
			return 0, ProtocolError("too big inline request")
		}
		return 0, nil
	}
	if i > MaxInline {
		return 0, ProtocolError("too big inline request")
	}
	words, ok := splitInline(bytes.TrimSuffix(b[:i], []byte{'\r'}))
	if !ok {
		return 0, ProtocolError("unbalanced quotes in request")
	}
	r.inline = r.inline[:0]
	if len(words) > 0 {
		r.inline = AppendHeader(r.inline, TypeArray, len(words))
		for _, w := range words {
			r.inline = AppendHeader(r.inline, TypeBulk, len(w))
			r.args = append(r.args, span{len(r.inline), len(w)})
			r.inline = append(append(r.inline, w...), '\r', '\n')
		}
	}
	r.buf, r.raw = r.inline, r.inline
	return i + 1, nil
}

// Len returns the number of arguments, the command's name included.
func (r *Request) Len() int { return len(r.args) }

// Arg returns the i-th argument; 0 is the command's name.
func (r *Request) Arg(i int) []byte {
	s := r.args[i]
	return r.buf[s.at : s.at+s.n : s.at+s.n]
}

// Raw returns the command in its canonical form: the bytes as they came, unless they came as a line.
func (r *Request) Raw() []byte { return r.raw }

// RawArg returns the i-th argument with its header and terminator, as it can be copied into another command.
func (r *Request) RawArg(i int) []byte {
	s := r.args[i]
	at := s.at - 3
	for r.buf[at] != TypeBulk {
		at--
	}
	return r.buf[at : s.at+s.n+2]
}

// Begun returns what is known of a command whose end has not arrived: its arguments so far, how many it will have, and how long
// the argument that is arriving will be. Len is 0 while not even its count is known.
func (r *Request) Begun(b []byte) (args, total int, pending int64) {
	if !r.busy {
		return 0, 0, 0
	}
	r.buf = b
	if r.pos < len(b) && b[r.pos] == TypeBulk {
		if i := bytes.IndexByte(b[r.pos:], '\n'); i > 1 {
			pending, _ = ParseInt(b[r.pos+1 : r.pos+i-1])
		}
	}
	return len(r.args), len(r.args) + r.owed, pending
}

// Want returns the least length of the buffer for which calling Next again is of use, given that it was called with b.
func (r *Request) Want(b []byte) int {
	if r.busy && r.pos < len(b) {
		if i := bytes.IndexByte(b[r.pos:], '\n'); i > 1 {
			if n, ok := ParseInt(b[r.pos+1 : r.pos+i-1]); ok && n >= 0 && n <= MaxBulk {
				return r.pos + i + 1 + int(n) + 2
			}
		}
	}
	return len(b) + 1
}

// Reset forgets a command that has begun.
func (r *Request) Reset() { r.busy = false; r.args = r.args[:0]; r.buf, r.raw = nil, nil }

func printable(c byte) byte {
	if c < ' ' || c > '~' {
		return '?'
	}
	return c
}

// splitInline splits a line into words with Redis's quoting (sds.c sdssplitargs): double quotes with escapes, single quotes with \'.
func splitInline(b []byte) (words [][]byte, ok bool) {
	for i := 0; ; {
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		if i >= len(b) {
			return words, true
		}
		word := []byte{}
		for i < len(b) && !isSpace(b[i]) {
			switch b[i] {
			case '"', '\'':
				var closed bool
				word, i, closed = quoted(word, b, i)
				if !closed || i < len(b) && !isSpace(b[i]) {
					return nil, false
				}
			default:
				word = append(word, b[i])
				i++
			}
		}
		words = append(words, word)
	}
}

// quoted appends the quoted text that begins at b[i] and returns where it ended.
func quoted(word, b []byte, i int) (out []byte, next int, closed bool) {
	quote := b[i]
	for i++; i < len(b); i++ {
		c := b[i]
		switch {
		case c == quote:
			return word, i + 1, true
		case c != '\\' || i+1 >= len(b):
			word = append(word, c)
		case quote == '\'':
			if b[i+1] == '\'' {
				i++
			}
			word = append(word, b[i])
		case b[i+1] == 'x' && i+3 < len(b) && isHex(b[i+2]) && isHex(b[i+3]):
			word = append(word, unhex(b[i+2])<<4|unhex(b[i+3]))
			i += 3
		default:
			i++
			word = append(word, escape(b[i]))
		}
	}
	return word, i, false
}

func escape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}
