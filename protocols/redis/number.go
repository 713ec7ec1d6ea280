package redis

import "strconv"

// ParseInt reads a decimal integer exactly as Redis's string2ll does: no sign but '-', no leading zero, nothing around it. What one
// side of a proxy reads as a number and the other does not is how requests are smuggled.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	if len(b) == 1 {
		c := b[0] - '0'
		return int64(c), c <= 9
	}
	i, neg := 0, false
	if b[0] == '-' {
		i, neg = 1, true
	}
	if b[i] < '1' || b[i] > '9' {
		return 0, false
	}
	var v uint64
	for ; i < len(b); i++ {
		c := b[i] - '0'
		if c > 9 || v > (1<<63)/10 {
			return 0, false
		}
		v = v*10 + uint64(c)
	}
	if neg {
		if v > 1<<63 {
			return 0, false
		}
		return -int64(v), true
	}
	if v > 1<<63-1 {
		return 0, false
	}
	return int64(v), true
}

// AppendInt appends ":n".
func AppendInt(dst []byte, n int64) []byte {
	dst = append(dst, TypeInt)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

// AppendHeader appends a bulk or aggregate header of the given type: "$n", "*n", "%n", ...
func AppendHeader(dst []byte, kind byte, n int) []byte {
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}

// AppendBulk appends b as a bulk string.
func AppendBulk[B ~string | ~[]byte](dst []byte, b B) []byte {
	dst = AppendHeader(dst, TypeBulk, len(b))
	dst = append(dst, b...)
	return append(dst, '\r', '\n')
}

// AppendError appends an error reply; msg begins with its code ("ERR ...") and loses its line breaks, as in Redis.
func AppendError(dst []byte, msg string) []byte {
	dst = append(dst, TypeError)
	for i := 0; i < len(msg); i++ {
		c := msg[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		dst = append(dst, c)
	}
	return append(dst, '\r', '\n')
}

// AppendSimple appends "+s".
func AppendSimple(dst []byte, s string) []byte {
	dst = append(dst, TypeSimple)
	dst = append(dst, s...)
	return append(dst, '\r', '\n')
}

// AppendNull appends the null of a protocol version: "_" in RESP3, the null bulk string in RESP2.
func AppendNull(dst []byte, resp3 bool) []byte {
	if resp3 {
		return append(dst, "_\r\n"...)
	}
	return append(dst, "$-1\r\n"...)
}

// AppendCommand appends a command as an array of bulk strings.
func AppendCommand[B ~string | ~[]byte](dst []byte, args ...B) []byte {
	dst = AppendHeader(dst, TypeArray, len(args))
	for _, a := range args {
		dst = AppendBulk(dst, a)
	}
	return dst
}
