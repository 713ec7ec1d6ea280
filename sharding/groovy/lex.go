// Package groovy compiles the part of Groovy that sharding expressions are written in to Go closures, with Java's
// integer overflow, remainder, hash and string rules. Whatever lies outside the part is an error when compiled.
package groovy

import (
	"fmt"
	"strings"
)

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokName
	tokInt
	tokString
	tokOp
)

type token struct {
	kind tokenKind
	text string
	pos  int
}

// operators in the order they are tried: longest first.
var operators = []string{">>>", "...", "**", "<=>", "==", "!=", "<=", ">=", "&&", "||", "<<", ">>", "?:", "?.", "..", "->"}

func lex(src string) ([]token, error) {
	var out []token
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case isLetter(c):
			j := i + 1
			for j < len(src) && (isLetter(src[j]) || isDigit(src[j])) {
				j++
			}
			out = append(out, token{tokName, src[i:j], i})
			i = j
		case isDigit(c):
			j := i + 1
			for j < len(src) && (isDigit(src[j]) || isLetter(src[j])) {
				j++
			}
			if j+1 < len(src) && src[j] == '.' && isDigit(src[j+1]) {
				return nil, fmt.Errorf("at offset %d: decimal numbers are not supported", i)
			}
			out = append(out, token{tokInt, src[i:j], i})
			i = j
		case c == '\'' || c == '"':
			s, n, err := lexString(src[i:])
			if err != nil {
				return nil, fmt.Errorf("at offset %d: %w", i, err)
			}
			out = append(out, token{tokString, s, i})
			i += n
		default:
			op := string(c)
			for _, o := range operators {
				if strings.HasPrefix(src[i:], o) {
					op = o
					break
				}
			}
			out = append(out, token{tokOp, op, i})
			i += len(op)
		}
	}
	return append(out, token{tokEOF, "", len(src)}), nil
}

func lexString(s string) (string, int, error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case s[0]:
			return b.String(), i + 1, nil
		case '\\':
			i++
			if i == len(s) || !strings.ContainsRune(`\'"$`, rune(s[i])) {
				return "", 0, fmt.Errorf("escape sequences other than \\\\ \\' \\\" \\$ are not supported in strings")
			}
			b.WriteByte(s[i])
		case '$':
			if s[0] == '"' {
				return "", 0, fmt.Errorf("expressions inside strings are not supported; join strings with +")
			}
			b.WriteByte('$')
		default:
			b.WriteByte(s[i])
		}
	}
	return "", 0, fmt.Errorf("a string is not closed")
}

func isLetter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
