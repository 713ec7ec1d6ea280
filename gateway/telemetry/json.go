package telemetry

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends the entry as one line. Durations are in milliseconds.
func (e *Entry) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, '"')
	dst = appendField(dst, "listener", e.Listener)
	dst = appendField(dst, "protocol", e.Protocol)
	dst = appendNumber(dst, "session", int64(e.Session))
	dst = appendField(dst, "client", e.Client)
	dst = appendField(dst, "user", e.User)
	dst = appendField(dst, "database", e.Database)
	dst = appendField(dst, "operation", e.Operation)
	dst = appendField(dst, "digest", e.Digest)
	dst = appendField(dst, "text", e.Text)
	dst = appendField(dst, "target", e.Target)
	dst = appendField(dst, "endpoint", e.Endpoint)
	dst = appendField(dst, "code", e.Code)
	dst = appendField(dst, "error", e.Error)
	dst = appendField(dst, "trace_id", e.TraceID)
	dst = appendMillis(dst, "duration_ms", e.Duration)
	if e.Upstream != 0 {
		dst = appendMillis(dst, "upstream_ms", e.Upstream)
	}
	dst = appendNumber(dst, "bytes_in", e.BytesIn)
	dst = appendNumber(dst, "bytes_out", e.BytesOut)
	dst = appendNumber(dst, "rows", e.Rows)
	return append(dst, '}', '\n')
}

func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, ',', '"'), name...), '"', ':')
	return appendString(dst, value)
}

func appendNumber(dst []byte, name string, n int64) []byte {
	if n == 0 {
		return dst
	}
	dst = append(append(append(dst, ',', '"'), name...), '"', ':')
	return strconv.AppendInt(dst, n, 10)
}

func appendMillis(dst []byte, name string, d time.Duration) []byte {
	dst = append(append(append(dst, ',', '"'), name...), '"', ':')
	return strconv.AppendFloat(dst, float64(d)/1e6, 'f', 3, 64)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259, 7). Bytes that are no UTF-8 become U+FFFD: statements may hold binary.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
