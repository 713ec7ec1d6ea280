package kafka

import (
	"encoding/binary"
)

// padTag is a tag no Kafka message defines; readers must skip tags they do not know (KIP-482), which makes an unknown
// tagged field the way to give back bytes that a shorter address leaves over in a frame whose length is already sent.
const padTag = 0x7f

// patchTail rewrites the node endpoints in t, the end of a response, without changing its length. It returns how many
// endpoints it saw. An address that does not fit in place of the old one cannot be sent: then no endpoint is, and the
// client asks for metadata instead, as it does with brokers that never learnt KIP-951.
func (w *Walker) patchTail(t []byte) (int, error) {
	r := Reader{Src: t}
	var seen int
	var mapped []byte
	var err error
	if w.p.tail == tailNodes {
		if seen, mapped, err = w.endpoints(&r); err != nil {
			return 0, err
		}
	}
	others, otherCount, tagged, err := w.splitTags(&r)
	if err != nil {
		return 0, err
	}
	if tagged != nil {
		if seen, mapped, err = w.endpoints(&Reader{Src: tagged}); err != nil {
			return 0, err
		}
	}
	if seen == 0 || !w.PatchTail || w.Brokers == nil {
		return seen, nil
	}
	built, ok := w.buildTail(mapped, others, otherCount, len(t))
	if !ok {
		none := []byte{1} // an empty array
		if w.p.tail == tailTags {
			none = nil
		}
		if built, ok = w.buildTail(none, others, otherCount, len(t)); !ok {
			return 0, w.malformed("node endpoints that cannot be removed")
		}
	}
	copy(t, built)
	return seen, nil
}

// splitTags reads the tagged fields that end a message. Tag 0's payload is returned apart when it holds node endpoints.
func (w *Walker) splitTags(r *Reader) (others []byte, count uint32, tagged []byte, err error) {
	n := r.Uvarint()
	for ; n > 0 && r.Err == nil; n-- {
		from := r.Off
		tag := r.Uvarint()
		val := r.take(int(r.Uvarint()))
		if r.Err != nil {
			break
		}
		if tag == 0 && w.p.tail == tailTags {
			tagged = val[:len(val):len(val)]
			continue
		}
		others = append(others, r.Src[from:r.Off]...)
		count++
	}
	if r.Err != nil || r.Off != len(r.Src) || count > 100 {
		return nil, 0, nil, w.malformed("its tagged fields do not end with it")
	}
	return others, count, tagged, nil
}

// endpoints reads an array of node endpoints and returns how many it holds and, where they are to be patched, the array as
// clients may see it.
func (w *Walker) endpoints(r *Reader) (seen int, mapped []byte, err error) {
	n := int64(r.Uvarint()) - 1
	if r.Err != nil || n > int64(len(r.Src)-r.Off) {
		return 0, nil, w.malformed("its node endpoints")
	}
	n = max(n, 0)
	w.scratch = w.scratch[:0]
	kept := uint32(0)
	for range n {
		node := r.Int32()
		host := r.CompactNullableString()
		port := r.Int32()
		rack := r.CompactNullableString()
		tags := r.Off
		r.SkipTags()
		if r.Err != nil {
			return 0, nil, w.malformed("its node endpoints")
		}
		if !w.PatchTail || w.Brokers == nil {
			continue
		}
		vhost, vport, ok := w.Brokers.Endpoint(node, string(host), port)
		if !ok {
			continue
		}
		kept++
		w.scratch = binary.BigEndian.AppendUint32(w.scratch, uint32(w.Brokers.Node(node)))
		w.scratch = appendCompactString(w.scratch, vhost)
		w.scratch = binary.BigEndian.AppendUint32(w.scratch, uint32(vport))
		w.scratch = appendCompactNullable(w.scratch, rack)
		w.scratch = append(w.scratch, r.Src[tags:r.Off]...)
	}
	if kept > 0 {
		mapped = append(appendUvarint(nil, kept+1), w.scratch...)
	} else {
		mapped = []byte{1}
	}
	return int(n), mapped, nil
}

// buildTail lays out endpoints, the other tags and padding in exactly size bytes.
func (w *Walker) buildTail(endpoints, others []byte, count uint32, size int) ([]byte, bool) {
	var front, tag []byte
	if w.p.tail == tailNodes {
		front = endpoints
	} else if endpoints != nil {
		tag = appendUvarint([]byte{0}, uint32(len(endpoints)))
		tag = append(tag, endpoints...)
		count++
	}
	pad := size - len(front) - 1 - len(tag) - len(others)
	if pad < 0 {
		return nil, false
	}
	out := append(make([]byte, 0, size), front...)
	switch pad {
	case 0:
		out = appendUvarint(out, count)
	case 1:
		out = appendUvarintWidth(out, count, 2)
	default:
		out = appendUvarint(out, count+1)
	}
	out = append(append(out, tag...), others...)
	if pad < 2 {
		return out, true
	}
	for width := 1; ; width++ {
		if n := pad - 1 - width; uvarintLen(uint32(n)) <= width {
			out = append(out, padTag)
			out = appendUvarintWidth(out, uint32(n), width)
			return append(out, make([]byte, n)...), true
		}
	}
}
