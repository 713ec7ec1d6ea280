package kafka

// compressed are the bits of a batch that tell the codec.
const compressed = 7

// maxHeaders bounds how many headers of a record are looked at for a trace.
const maxHeaders = 64

// Traceparent finds what an application says of its trace (W3C Trace Context) in the headers of the first record of a Produce
// request, and the topic's name where the version has one. It reads what of the body is there and waits for nothing; compressed
// records are not read. The results alias body; nil is none.
func Traceparent(body []byte, version int16) (parent, topic []byte) {
	r := Reader{Src: body}
	flexible := IsFlexible(Produce, version)
	text := r.NullableString
	if flexible {
		text = r.CompactNullableString
	}
	length := func() int64 {
		if flexible {
			return int64(r.Uvarint()) - 1
		}
		return int64(r.Int32())
	}
	if version >= 3 {
		text()
	}
	r.Skip(2 + 4)
	if length() <= 0 {
		return nil, nil
	}
	if version >= 13 {
		r.Skip(16)
	} else {
		topic = text()
	}
	if length() <= 0 {
		return nil, nil
	}
	r.Skip(4)
	length()
	h, ok := ParseBatchHeader(r.take(batchHeader))
	if !ok || h.Attributes&compressed != 0 {
		return nil, nil
	}
	r.varint() // the record's length
	r.Skip(1)
	r.varint()
	r.varint()
	for range 2 { // key and value
		if n := r.varint(); n > 0 {
			r.Skip(int(n))
		}
	}
	for n := min(r.varint(), maxHeaders); n > 0 && r.Err == nil; n-- {
		key := r.take(int(r.varint()))
		var value []byte
		if k := r.varint(); k > 0 {
			value = r.take(int(k))
		}
		if r.Err == nil && string(key) == "traceparent" {
			return value, topic
		}
	}
	return nil, nil
}

// varint reads a zigzag varint of up to 64 bits, as records have them.
func (r *Reader) varint() int64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b := r.take(1)
		if b == nil {
			return 0
		}
		v |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return int64(v>>1) ^ -int64(v&1)
		}
	}
	r.Err = errVarint
	return 0
}

// TopError is the error code of a whole response, where one stands at its beginning; 0 where there is none, and where it was not
// looked for. What is there of the body is enough.
func TopError(key, version int16, body []byte) int16 {
	at := 0
	switch key {
	case ApiVersions, SASLHandshake, SASLAuthenticate:
	case JoinGroup:
		at = since(version, 2)
	case SyncGroup, Heartbeat, LeaveGroup, ListGroups:
		at = since(version, 1)
	case FindCoordinator:
		if at = since(version, 1); version >= 4 {
			return 0
		}
	case InitProducerID, AddOffsetsToTxn, EndTxn, DescribeCluster, ConsumerGroupHeartbeat, ShareGroupHeartbeat, ShareAcknowledge:
		at = 4
	default:
		return 0
	}
	r := Reader{Src: body, Off: min(at, len(body))}
	return r.Int16()
}

// since is the place behind throttle_time_ms, which a response begins with from a version on.
func since(version, first int16) int {
	if version >= first {
		return 4
	}
	return 0
}
