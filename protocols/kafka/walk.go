package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Partition is what a walker learnt of one partition of a body.
type Partition struct {
	Index         int32
	Error         int16
	HighWatermark int64 // Fetch responses
	BaseOffset    int64 // Produce responses
	RecordBytes   int64
	Batches       int64 // counted only when CountRecords is set
	Records       int64
}

// Visitor hears of the topics and partitions of a body as it streams by. It must not keep what it is handed.
type Visitor interface {
	// Topic is called before the topic's partitions with its name, or with nil and its id in versions that carry ids.
	// The id lies in the body itself: writing to it changes what is sent on.
	Topic(name []byte, id []byte) error
	Partition(p *Partition)
}

// Brokers maps what the upstream cluster calls its brokers to what clients of sidewire must see.
type Brokers interface {
	// Endpoint returns where clients reach a broker; ok false withholds it.
	Endpoint(node int32, host string, port int32) (vhost string, vport int32, ok bool)
	// Node translates a node id; ids below zero mean "none" and are not asked about.
	Node(real int32) int32
}

// Walker follows the body of a Produce request or of a Produce, Fetch or ShareFetch response while it streams past in
// windows of any size. It finds what must be seen or changed and tells which bytes nobody needs to look at, so that
// their owner may splice them. It edits in place and never changes a length.
type Walker struct {
	// Visitor may be nil.
	Visitor Visitor
	// CountRecords makes it stop at every batch header and count records; otherwise a partition's records are one
	// opaque run.
	CountRecords bool
	// Brokers, when set, translates node ids in place.
	Brokers Brokers
	// PatchTail makes it overwrite node endpoints in place as well (Brokers must be set). Without it they are only
	// counted in Endpoints: a caller that holds the whole body rewrites it properly instead.
	PatchTail bool
	// MinThrottle, when above zero, is written over a lower throttle_time_ms.
	MinThrottle int32

	Endpoints int   // node endpoints seen
	Throttle  int32 // throttle_time_ms
	TopError  int16 // error code of the whole response
	AnyError  int16 // the first error code of a partition

	p        *program
	pc       int
	loops    [maxDepth]int32 // elements left in each open array
	depth    int
	left     int64 // bytes of the body not yet consumed
	skip     int64 // of these, bytes at the front nobody looks at
	records  int64 // bytes left in the records field under way
	tagsLeft uint32
	inTags   bool
	part     Partition
	need     int
	scratch  []byte
}

const (
	maxDepth = 4
	// batchHeader is the length of a record batch's fixed header (magic 2), up to and including the record count.
	batchHeader = 61
)

// ErrNoLayout says that a walker does not know a message.
var ErrNoLayout = errors.New("kafka: no layout for this message")

// Reset begins a body of size bytes (the frame without its header). It keeps the exported settings.
func (w *Walker) Reset(key, version int16, response bool, size int64) error {
	p := lookupProgram(key, version, response)
	if p == nil {
		return ErrNoLayout
	}
	w.p, w.pc, w.depth, w.left = p, 0, 0, size
	w.skip, w.records, w.tagsLeft, w.inTags, w.need = 0, 0, 0, false, 0
	w.Endpoints, w.Throttle, w.TopError, w.AnyError, w.part = 0, 0, 0, 0, Partition{}
	return nil
}

// Done says that the whole body was consumed.
func (w *Walker) Done() bool { return w.left == 0 && w.pc == len(w.p.code) }

// Need is how many bytes Step wants to see at once to go on, when it consumed less than it was given.
func (w *Walker) Need() int { return w.need }

// Skipped tells that n bytes of the opaque run that Step announced were moved without being shown.
func (w *Walker) Skipped(n int64) {
	w.skip -= n
	w.left -= n
}

// Step consumes what it can of b, the next bytes of the body (b may reach beyond its end). It returns how many bytes
// of b are consumed and may be sent on, and how many opaque bytes follow directly after b. When n is short of the body's end and
// skip is 0, call again with the unconsumed bytes and more, at least Need in all.
func (w *Walker) Step(b []byte) (n int, skip int64, err error) {
	if int64(len(b)) > w.left {
		b = b[:w.left]
	}
	off := 0
	for {
		if w.skip > 0 {
			k := int(min(w.skip, int64(len(b)-off)))
			off += k
			w.Skipped(int64(k))
			if w.skip > 0 {
				return off, w.skip, nil
			}
		}
		if w.pc == len(w.p.code) && w.records == 0 {
			if w.left > 0 {
				return off, 0, w.malformed("%d bytes after its end", w.left)
			}
			return off, 0, nil
		}
		k, err := w.exec(b[off:])
		if err == ErrShort {
			if int64(len(b)-off) == w.left {
				return off, 0, w.malformed("ends inside a field")
			}
			return off, 0, nil
		}
		if err != nil {
			return off, 0, err
		}
		off += k
		w.left -= int64(k)
	}
}

func (w *Walker) malformed(format string, args ...any) error {
	kind := "request"
	if w.p.response {
		kind = "response"
	}
	return fmt.Errorf("malformed %s %s v%d: %s", Name(w.p.key), kind, w.p.version, fmt.Sprintf(format, args...))
}

// short notes how much must be seen at once.
func (w *Walker) short(need int) (int, error) {
	w.need = need
	return 0, ErrShort
}

// exec runs one instruction over b and returns the bytes it consumed; it changes nothing when it returns ErrShort.
func (w *Walker) exec(b []byte) (int, error) {
	if w.records > 0 {
		return w.batch(b)
	}
	in := w.p.code[w.pc]
	switch in.op {
	case opFixed:
		w.pc++
		return 0, w.setSkip(int64(in.arg))
	case opInt16, opInt32, opInt64, opNode:
		return w.integer(in, b)
	case opString:
		size, k, err := w.length(b, 2)
		if err != nil {
			return 0, err
		}
		w.pc++
		return k, w.setSkipAfter(size, k)
	case opTopicName:
		size, k, err := w.length(b, 2)
		if err != nil {
			return 0, err
		}
		if size > w.left-int64(k) {
			return 0, w.malformed("a topic name of %d bytes in %d", size, w.left)
		}
		end := k + int(max(size, 0))
		if len(b) < end {
			return w.short(end)
		}
		w.pc++
		return end, w.topic(b[k:end:end], nil)
	case opTopicID:
		if len(b) < 16 {
			return w.short(16)
		}
		w.pc++
		return 16, w.topic(nil, b[:16:16])
	case opArray:
		return w.array(in, b)
	case opEnd:
		w.loops[w.depth-1]--
		if w.loops[w.depth-1] > 0 {
			w.pc = int(in.arg)
		} else {
			w.depth--
			w.pc++
		}
		return 0, nil
	case opRecords:
		return w.recordsField(b)
	case opTags:
		return w.tags(in, b)
	case opPartition:
		if w.AnyError == 0 {
			w.AnyError = w.part.Error
		}
		if w.Visitor != nil {
			w.Visitor.Partition(&w.part)
		}
		w.part = Partition{}
		w.pc++
		return 0, nil
	}
	return w.tail(b)
}

func (w *Walker) topic(name, id []byte) error {
	if w.Visitor == nil {
		return nil
	}
	return w.Visitor.Topic(name, id)
}

func (w *Walker) integer(in instr, b []byte) (int, error) {
	width := 4
	switch in.op {
	case opInt16:
		width = 2
	case opInt64:
		width = 8
	}
	if len(b) < width {
		return w.short(width)
	}
	w.pc++
	switch in.op {
	case opNode:
		w.node(b[:4])
		return 4, nil
	case opInt16:
		v := int16(binary.BigEndian.Uint16(b))
		if in.field == fieldTopError {
			w.TopError = v
		} else {
			w.part.Error = v
		}
	case opInt32:
		v := int32(binary.BigEndian.Uint32(b))
		if in.field == fieldThrottle {
			if v < w.MinThrottle {
				v = w.MinThrottle
				binary.BigEndian.PutUint32(b, uint32(v))
			}
			w.Throttle = v
		} else {
			w.part.Index = v
		}
	case opInt64:
		v := int64(binary.BigEndian.Uint64(b))
		if in.field == fieldHighWatermark {
			w.part.HighWatermark = v
		} else {
			w.part.BaseOffset = v
		}
	}
	return width, nil
}

func (w *Walker) node(b []byte) {
	if w.Brokers == nil {
		return
	}
	if real := int32(binary.BigEndian.Uint32(b)); real >= 0 {
		binary.BigEndian.PutUint32(b, uint32(w.Brokers.Node(real)))
	}
}

func (w *Walker) array(in instr, b []byte) (int, error) {
	count, k, err := w.length(b, 4)
	if err != nil {
		return 0, err
	}
	// Every element is at least one byte, so a count beyond the bytes left is a lie.
	if count > w.left-int64(k) {
		return 0, w.malformed("an array of %d elements in %d bytes", count, w.left-int64(k))
	}
	if count <= 0 {
		w.pc = int(in.arg)
		return k, nil
	}
	w.loops[w.depth] = int32(count)
	w.depth++
	w.pc++
	return k, nil
}

// length reads a length or a count: compact (plus one, 0 is null) in flexible versions, else a signed integer of
// fixed bytes. Null is -1.
func (w *Walker) length(b []byte, fixed int) (int64, int, error) {
	if w.p.flexible {
		v, k := uvarint(b)
		if k == 0 {
			_, err := w.short(min(len(b)+1, 5))
			return 0, 0, err
		}
		if k < 0 {
			return 0, 0, w.malformed("a length is not a varint")
		}
		return int64(v) - 1, k, nil
	}
	if len(b) < fixed {
		_, err := w.short(fixed)
		return 0, 0, err
	}
	if fixed == 2 {
		return int64(int16(binary.BigEndian.Uint16(b))), 2, nil
	}
	return int64(int32(binary.BigEndian.Uint32(b))), 4, nil
}

func (w *Walker) setSkip(n int64) error { return w.setSkipAfter(n, 0) }

// setSkipAfter announces n opaque bytes that follow the k bytes this instruction consumes.
func (w *Walker) setSkipAfter(n int64, k int) error {
	if n > w.left-int64(k) {
		return w.malformed("a field of %d bytes in %d", n, w.left-int64(k))
	}
	w.skip = max(n, 0)
	return nil
}

func (w *Walker) recordsField(b []byte) (int, error) {
	size, k, err := w.length(b, 4)
	if err != nil {
		return 0, err
	}
	if size > w.left-int64(k) {
		return 0, w.malformed("records of %d bytes in %d", size, w.left-int64(k))
	}
	w.pc++
	size = max(size, 0)
	w.part.RecordBytes = size
	if w.CountRecords {
		w.records = size
		return k, nil
	}
	return k, w.setSkipAfter(size, k)
}

// batch looks at the header of the next record batch and skips its records. What is not a whole batch of format 2
// (the cut-off last batch of a Fetch response, the message sets of before 0.11) is passed over uncounted: whether
// records are valid is for brokers and clients to say.
func (w *Walker) batch(b []byte) (int, error) {
	if w.records < batchHeader {
		w.skip, w.records = w.records, 0
		return 0, nil
	}
	if len(b) < batchHeader {
		return w.short(batchHeader)
	}
	h, ok := ParseBatchHeader(b)
	size := h.Size
	if !ok || size > w.records {
		w.skip, w.records = w.records, 0
		return 0, nil
	}
	w.part.Batches++
	w.part.Records += int64(max(h.Records, 0))
	w.skip = size
	w.records -= size
	return 0, nil
}

// BatchHeader is the part of a record batch's header that telemetry needs.
type BatchHeader struct {
	Size       int64 // of the whole batch
	Attributes int16
	ProducerID int64
	Records    int32
}

// ParseBatchHeader reads the 61-byte header of a record batch of format 2; ok is false for anything else.
func ParseBatchHeader(b []byte) (h BatchHeader, ok bool) {
	if len(b) < batchHeader || b[16] != 2 {
		return h, false
	}
	h.Size = 12 + int64(int32(binary.BigEndian.Uint32(b[8:])))
	h.Attributes = int16(binary.BigEndian.Uint16(b[21:]))
	h.ProducerID = int64(binary.BigEndian.Uint64(b[43:]))
	h.Records = int32(binary.BigEndian.Uint32(b[57:]))
	return h, h.Size >= batchHeader
}

// tags consumes a tagged-field section one field at a time.
func (w *Walker) tags(in instr, b []byte) (int, error) {
	if !w.inTags {
		v, k := uvarint(b)
		if k == 0 {
			return w.short(min(len(b)+1, 5))
		}
		if k < 0 || int64(v)*2 > w.left-int64(k) {
			return 0, w.malformed("a count of tagged fields")
		}
		w.tagsLeft, w.inTags = v, true
		return k, nil
	}
	if w.tagsLeft == 0 {
		w.inTags = false
		w.pc++
		return 0, nil
	}
	tag, k1 := uvarint(b)
	if k1 == 0 {
		return w.short(len(b) + 1)
	}
	if k1 < 0 {
		return 0, w.malformed("a tag is not a varint")
	}
	size, k2 := uvarint(b[k1:])
	if k2 == 0 {
		return w.short(len(b) + 1)
	}
	if k2 < 0 {
		return 0, w.malformed("a tagged field's size is not a varint")
	}
	k := k1 + k2
	if in.arg >= 0 && tag == uint32(in.arg) && size >= 4 {
		if len(b) < k+4 {
			return w.short(k + 4)
		}
		w.node(b[k : k+4])
	}
	if err := w.setSkipAfter(int64(size), k); err != nil {
		return 0, err
	}
	w.tagsLeft--
	return k, nil
}

// tail waits until all that is left is in view; it holds node endpoints and tagged fields only.
func (w *Walker) tail(b []byte) (int, error) {
	if int64(len(b)) < w.left {
		if w.left > maxTail {
			return 0, w.malformed("%d bytes of node endpoints", w.left)
		}
		return w.short(int(w.left))
	}
	t := b[:w.left]
	nodes, err := w.patchTail(t)
	if err != nil {
		return 0, err
	}
	w.Endpoints = nodes
	w.pc++
	return len(t), nil
}

// maxTail bounds the node endpoints of one response: 16,000 brokers with names of 60 bytes.
const maxTail = 1 << 20
