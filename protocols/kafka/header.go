package kafka

import (
	"encoding/binary"
	"fmt"
)

// RequestHeader is the start of a request. ClientID aliases the input.
type RequestHeader struct {
	Size          int32 // bytes after the four-byte length
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      []byte // nil when null
	Len           int    // bytes from the length prefix to the body
}

// requestFixed is the length prefix, key, version and correlation id: what can be told before a variable part begins.
const requestFixed = 12

// ParseRequestHeader reads the header at the start of b, which begins with the frame's length. It returns ErrShort
// while b is too short; Size, Key, Version and CorrelationID are already set once twelve bytes are there, so that a
// caller can judge the request before its client id arrived. Of an unknown key or version only that fixed part is read,
// and Len is 12: nobody knows what a header of the future looks like.
func ParseRequestHeader(b []byte, h *RequestHeader) error {
	*h = RequestHeader{}
	if len(b) < 4 {
		return ErrShort
	}
	h.Size = int32(binary.BigEndian.Uint32(b))
	// Judged before the rest arrived: of a frame too short for a header, nothing more will come.
	if h.Size < requestFixed-4 {
		return fmt.Errorf("malformed request: length %d is shorter than a header", h.Size)
	}
	if len(b) < requestFixed {
		return ErrShort
	}
	h.Key = int16(binary.BigEndian.Uint16(b[4:]))
	h.Version = int16(binary.BigEndian.Uint16(b[6:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(b[8:]))
	h.Len = requestFixed
	end := min(len(b), int(h.Size)+4)
	if !Known(h.Key, h.Version) {
		return nil
	}
	r := Reader{Src: b[:end], Off: requestFixed}
	// The client id stays an int16-prefixed string even in header v2: a broker must read it before it knows the version.
	if RequestHeaderVersion(h.Key, h.Version) >= 1 {
		h.ClientID = r.NullableString()
	}
	if RequestHeaderVersion(h.Key, h.Version) >= 2 {
		r.SkipTags()
	}
	if r.Err != nil {
		if end == int(h.Size)+4 {
			return fmt.Errorf("malformed %s v%d: header does not fit its frame of %d bytes", Name(h.Key), h.Version, h.Size)
		}
		return r.Err
	}
	h.Len = r.Off
	return nil
}

// ParseResponseHeader returns the correlation id and the length of the header, prefix included, of the response that
// starts b and answers a request of this key and version.
func ParseResponseHeader(b []byte, key, version int16) (correlation int32, n int, err error) {
	if len(b) < 8 {
		return 0, 0, ErrShort
	}
	size := int32(binary.BigEndian.Uint32(b))
	if size < 4 {
		return 0, 0, fmt.Errorf("malformed response: length %d is shorter than a header", size)
	}
	end := min(len(b), int(size)+4)
	r := Reader{Src: b[:end], Off: 4}
	correlation = r.Int32()
	if ResponseHeaderVersion(key, version) == 1 {
		r.SkipTags()
	}
	if r.Err != nil {
		if end == int(size)+4 {
			return 0, 0, fmt.Errorf("malformed response to %s v%d: header does not fit its frame of %d bytes", Name(key), version, size)
		}
		return 0, 0, r.Err
	}
	return correlation, r.Off, nil
}

// ProduceHead is what must be known of a Produce request before its body streams on.
type ProduceHead struct {
	TransactionalID []byte // nil when null; aliases the input
	Acks            int16
}

// ParseProduceHead reads the fixed start of a Produce body (after the header). Acks 0 decides that no response will
// ever come, so this must be right for every version and for null and present transactional ids alike.
func ParseProduceHead(body []byte, version int16, h *ProduceHead) error {
	r := Reader{Src: body}
	switch {
	case version >= 9:
		h.TransactionalID = r.CompactNullableString()
	case version >= 3:
		h.TransactionalID = r.NullableString()
	default:
		h.TransactionalID = nil
	}
	h.Acks = r.Int16()
	return r.Err
}

// Foreign names the protocol of bytes that are not Kafka's, for the log line that tells an operator which end is
// configured wrongly; it returns "" for what may be Kafka. b is what a connection sent first.
func Foreign(b []byte) string {
	switch {
	case len(b) >= 3 && (b[0] == 0x16 || b[0] == 0x15) && b[1] == 0x03 && b[2] <= 0x04:
		if b[0] == 0x15 {
			return "a TLS alert"
		}
		return "a TLS hello"
	case len(b) >= 4:
		switch string(b[:4]) {
		case "GET ", "POST", "PUT ", "HEAD", "OPTI", "DELE", "PRI ", "CONN":
			return "an HTTP request"
		case "HTTP":
			return "an HTTP response"
		case "SSH-":
			return "an SSH banner"
		case "PROX":
			return "a PROXY protocol header"
		}
	}
	return ""
}
