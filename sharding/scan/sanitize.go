package scan

// SummaryLimit is the length that OpenTelemetry allows a query summary (semantic conventions, db.query.summary).
const SummaryLimit = 255

// AppendSanitized appends a text without what may be private in it: every literal becomes ?, with the sign before it, comments
// are left out, and the lists of IN become (?). Names and everything else stay as written. A text that cannot be read to its end is
// cut where it becomes unreadable, with a ?. It stops, with "...", once it wrote more than limit bytes; 0: no limit.
//
// The form is that of OpenTelemetry's published cases (docs/non-normative/database-test-cases).
func AppendSanitized(dst []byte, text string, mode Mode, limit int) []byte {
	lexer := Lexer{Text: text, Mode: mode}
	begin := len(dst)
	copied := 0 // text before this offset has been dealt with
	var prev Token
	list := listOutside
	for {
		t := lexer.Raw()
		if t.Kind == EOF {
			return append(dst, text[copied:]...)
		}
		if limit > 0 && len(dst)-begin+t.Start-copied > limit {
			return append(append(dst, text[copied:min(t.Start, copied+limit)]...), "..."...)
		}
		literal := isLiteral(t, text)
		switch {
		case t.Kind == Comment:
			dst = append(dst, text[copied:t.Start]...)
			copied = t.End
			continue
		case literal && list == listComma:
			copied = t.End // one more element: the first stands for all
			list = listElement
		case literal:
			dst = append(dst, text[copied:t.Start]...)
			if signs(prev, t, text) {
				dst = dst[:len(dst)-1]
			}
			dst = append(dst, '?')
			copied = t.End
		case list == listComma: // something else than a literal: the list is written as it is from here on
			list = listOutside
		}
		list = list.next(t, prev, text, literal)
		if list == listComma && copied <= t.Start {
			dst = append(dst, text[copied:t.Start]...)
			dst = trimTail(dst, begin)
			copied = t.End
			if !restIsLiteral(lexer, text) {
				dst = append(dst, ',')
				list = listOutside
			}
		}
		prev = t
		if t.Kind == Invalid {
			return dst
		}
	}
}

// isLiteral tells what has to be hidden: 0XFF is no number to MySQL, but may be meant as one, and a text that does not end may be
// an unterminated string.
func isLiteral(t Token, text string) bool {
	switch t.Kind {
	case String, Integer, Decimal, Float, Hex, Bit, Param, Invalid:
		return true
	case Word:
		return t.End-t.Start > 2 && text[t.Start:t.Start+2] == "0X"
	}
	return false
}

// signs reports whether prev is the sign of the number t.
func signs(prev, t Token, text string) bool {
	return prev.Kind == Op && prev.End == t.Start && (text[prev.Start] == '-' || text[prev.Start] == '+') && t.Kind != String && t.Kind != Invalid && t.Kind != Param
}

// listPlace is where a token stands with regard to the list of an IN.
type listPlace uint8

const (
	listOutside listPlace = iota
	listIn                // after IN
	listOpen              // after IN (
	listElement           // after a literal in it
	listComma             // after a comma behind a literal in it
)

func (l listPlace) next(t, prev Token, text string, literal bool) listPlace {
	switch {
	case t.Kind == Word && EqualFold(text[t.Start:t.End], "in"):
		return listIn
	case l == listIn && t.Kind == Op && text[t.Start] == '(':
		return listOpen
	case l == listOpen && literal, l == listElement && literal:
		return listElement
	case l == listOpen && t.Kind == Op && (text[t.Start] == '-' || text[t.Start] == '+'):
		return listOpen
	case l == listElement && t.Kind == Op && text[t.Start] == ',':
		return listComma
	}
	return listOutside
}

// restIsLiteral looks one token ahead: whether the next element of a list is a literal without a sign.
func restIsLiteral(l Lexer, text string) bool { return isLiteral(l.Next(), text) }

func trimTail(dst []byte, begin int) []byte {
	for len(dst) > begin && isSpace(dst[len(dst)-1]) {
		dst = dst[:len(dst)-1]
	}
	return dst
}
