package redis

import (
	"bytes"
	"errors"
	"fmt"
)

// Limits of the protocol. The first three are Redis's own (networking.c, proto-max-bulk-len's default); the fourth bounds a
// reply's element counts, which Redis does not bound, so that a hostile server cannot overflow our arithmetic.
const (
	MaxInline   = 64 << 10
	MaxArgs     = 1 << 20
	MaxBulk     = 512 << 20
	maxElements = 1 << 31
	maxLine     = 1 << 20
)

// Types of RESP frames, by their first byte.
const (
	TypeSimple    = '+'
	TypeError     = '-'
	TypeInt       = ':'
	TypeBulk      = '$'
	TypeArray     = '*'
	TypeNull      = '_'
	TypeBool      = '#'
	TypeDouble    = ','
	TypeBigNumber = '('
	TypeBlobError = '!'
	TypeVerbatim  = '='
	TypeMap       = '%'
	TypeSet       = '~'
	TypePush      = '>'
	TypeAttribute = '|'
)

// ErrFrame is wrapped by every error of a Framer: the peer does not speak RESP and its connection cannot be used further.
var ErrFrame = errors.New("malformed reply")

// Framer finds where one reply ends in a buffer that grows, without decoding it and without looking at a byte twice. No nesting
// stack is needed: all that matters is how many elements are still owed. The zero value is ready for a reply.
type Framer struct {
	pos  int   // everything before pos is accounted for; may lie beyond the buffer, inside a bulk string
	owed int64 // elements still to come
	busy bool  // a reply has begun
	bulk bool  // pos is the end of a bulk string whose terminator has not been looked at
}

// Next returns the length of the reply that b starts with, or 0 when b does not hold all of it yet. After a reply the Framer is
// ready for the next one. b must begin where it began in the previous call, unless Skip was called in between.
func (f *Framer) Next(b []byte) (int, error) {
	if !f.busy {
		f.pos, f.owed, f.busy, f.bulk = 0, 1, true, false
	}
	pos, owed := f.pos, f.owed
	for {
		if f.bulk {
			if pos > len(b) {
				break
			}
			if pos >= 2 && (b[pos-1] != '\n' || b[pos-2] != '\r') {
				return 0, fmt.Errorf("%w: bulk string does not end where it said", ErrFrame)
			}
			f.bulk = false
		}
		if owed == 0 {
			f.busy = false
			return pos, nil
		}
		if pos >= len(b) {
			break
		}
		if n, body := shortBulk(b, pos); body > 0 {
			owed--
			pos = body + n + 2
			f.bulk = true
			continue
		}
		end := bytes.IndexByte(b[pos:], '\n')
		if end < 0 {
			if len(b)-pos > maxLine {
				return 0, fmt.Errorf("%w: line of more than %d bytes", ErrFrame, maxLine)
			}
			break
		}
		line := b[pos : pos+end]
		if end < 2 || line[end-1] != '\r' {
			return 0, fmt.Errorf("%w: %q", ErrFrame, clip(line))
		}
		pos += end + 1
		switch line[0] {
		case TypeSimple, TypeError, TypeInt, TypeNull, TypeBool, TypeDouble, TypeBigNumber:
			owed--
		case TypeBulk, TypeVerbatim, TypeBlobError:
			n, ok := ParseInt(line[1 : end-1])
			if !ok || n < -1 || n > maxElements {
				return 0, fmt.Errorf("%w: bulk length %q", ErrFrame, clip(line))
			}
			owed--
			if n >= 0 {
				pos += int(n) + 2
				f.bulk = true
			}
		case TypeArray, TypeSet, TypePush, TypeMap, TypeAttribute:
			n, ok := ParseInt(line[1 : end-1])
			if !ok || n < -1 || n > maxElements {
				return 0, fmt.Errorf("%w: element count %q", ErrFrame, clip(line))
			}
			if line[0] == TypeMap || line[0] == TypeAttribute {
				n *= 2
			}
			if line[0] != TypeAttribute { // an attribute precedes the element it describes and is none itself
				owed--
			}
			owed += max(n, 0)
			if owed > maxElements {
				return 0, fmt.Errorf("%w: more than %d elements", ErrFrame, int64(maxElements))
			}
		default:
			return 0, fmt.Errorf("%w: unknown type %q", ErrFrame, line[0])
		}
	}
	f.pos, f.owed = pos, owed
	return 0, nil
}

// shortBulk reads the header of a bulk string at pos, which nearly every line is, without looking for the line's end first: an MGET's keys
// and values are a hundred of them. body is where the string begins; 0 if this is anything else (another type, a null, a header of which a
// part is missing, a number of more than seven digits or no proper one), which is for the long way to judge.
func shortBulk(b []byte, pos int) (n, body int) {
	if b[pos] != TypeBulk {
		return 0, 0
	}
	i := pos + 1
	for ; i < len(b) && i < pos+8; i++ {
		c := b[i] - '0'
		if c > 9 {
			break
		}
		n = n*10 + int(c)
	}
	if digits := i - pos - 1; digits == 0 || digits > 1 && b[pos+1] == '0' || i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
		return 0, 0
	}
	return n, i + 2
}

// CutBulk returns where the bulk string that b starts with ends, its terminator included; 0 if b does not start with a whole one of
// ordinary length. It is the quick way past the values of an array that a Framer has walked before.
func CutBulk(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	n, body := shortBulk(b, 0)
	if body == 0 || body+n+2 > len(b) {
		return 0
	}
	return body + n + 2
}

// Accounted returns how many bytes of a buffer of n bytes belong, for certain, to the reply in progress; they may be passed on and
// dropped with Skip before the reply is complete.
func (f *Framer) Accounted(n int) int {
	if !f.busy {
		return 0
	}
	return min(f.pos, n)
}

// Skip tells that the next buffer begins n bytes later. n must not exceed Accounted.
func (f *Framer) Skip(n int) { f.pos -= n }

// Want returns the least length of the buffer for which calling Next again is of use.
func (f *Framer) Want(have int) int { return max(f.pos, have+1) }

// Busy tells whether a reply has begun and not ended.
func (f *Framer) Busy() bool { return f.busy }

func clip(b []byte) []byte {
	if len(b) > 32 {
		return b[:32]
	}
	return b
}
