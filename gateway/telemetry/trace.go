package telemetry

import "strings"

// Parent is the span that an application says its statement belongs to (W3C Trace Context, 3.2: traceparent).
type Parent struct {
	Trace   [16]byte
	Span    [8]byte
	Sampled bool
}

// Valid reports whether there is one: ids of zeros alone are none.
func (p Parent) Valid() bool { return p.Trace != [16]byte{} && p.Span != [8]byte{} }

// TraceID is the trace in hexadecimal.
func (p Parent) TraceID() string {
	b := make([]byte, 0, 32)
	for _, c := range p.Trace {
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return string(b)
}

// traceparentLen is the length of version 00: 2-32-16-2 digits and three dashes.
const traceparentLen = 55

// ParseTraceparent reads the value of a traceparent. Later versions may be longer, behind another dash.
func ParseTraceparent(s string) (p Parent, ok bool) {
	if len(s) < traceparentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Parent{}, false
	}
	var version, flags [1]byte
	if !unhex(version[:], s[:2]) || !unhex(p.Trace[:], s[3:35]) || !unhex(p.Span[:], s[36:52]) || !unhex(flags[:], s[53:55]) {
		return Parent{}, false
	}
	if version[0] == 0xff || version[0] == 0 && len(s) > traceparentLen || len(s) > traceparentLen && s[traceparentLen] != '-' {
		return Parent{}, false
	}
	p.Sampled = flags[0]&1 != 0
	return p, p.Valid()
}

func unhex(dst []byte, s string) bool {
	for i := range dst {
		hi, lo := nibble(s[2*i]), nibble(s[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

// nibble is a digit's value; above 15 for what is none. Capitals are none: the specification wants lower case.
func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// ParentOf finds the traceparent that an application wrote into a comment at the end or at the beginning of a SQL text, as
// sqlcommenter does: /*...,traceparent='00-...'*/. What stands elsewhere may be part of a string, and is not looked at.
func ParentOf(sql string) Parent {
	s := strings.TrimRight(sql, " \t\r\n;")
	if strings.HasSuffix(s, "*/") {
		if at := strings.LastIndex(s, "/*"); at >= 0 {
			if p, ok := inComment(s[at:]); ok {
				return p
			}
		}
	}
	if s = strings.TrimLeft(sql, " \t\r\n"); strings.HasPrefix(s, "/*") {
		if end := strings.Index(s, "*/"); end >= 0 {
			if p, ok := inComment(s[:end]); ok {
				return p
			}
		}
	}
	return Parent{}
}

func inComment(comment string) (Parent, bool) {
	const key = "traceparent='"
	at := strings.Index(comment, key)
	if at < 0 {
		return Parent{}, false
	}
	value := comment[at+len(key):]
	end := strings.IndexByte(value, '\'')
	if end < 0 {
		return Parent{}, false
	}
	return ParseTraceparent(value[:end])
}
