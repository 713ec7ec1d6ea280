package scan

import "strings"

// Normalize returns the text of a statement's digest: literals as ?, lists of them as ?, words in lower case, white
// space and comments as one space. What Result.Digest hashes, readable.
func Normalize(text string, mode Mode) string {
	l := Lexer{Text: text, Mode: mode}
	var b strings.Builder
	var prev string
	more := false // another element of a list was left out
	for t := l.Next(); t.Kind != EOF && t.Kind != Invalid; t = l.Next() {
		s := text[t.Start:t.End]
		switch t.Kind {
		case String, Integer, Decimal, Float, Hex, Bit, Param:
			s = "?"
		case Word:
			s = strings.ToLower(s)
		}
		if s == "?" && strings.HasSuffix(b.String(), "?, ") {
			more = true
			continue
		}
		if s == "," && more {
			more = false
			continue
		}
		more = false
		if s == "," {
			b.WriteString(", ")
			prev = ""
			continue
		}
		if prev != "" && s != ")" && prev != "(" && s != "." && prev != "." && s != "(" && s != ";" {
			b.WriteByte(' ')
		}
		b.WriteString(s)
		prev = s
	}
	return strings.TrimSuffix(strings.ReplaceAll(b.String(), "?, )", "?)"), ", ")
}
