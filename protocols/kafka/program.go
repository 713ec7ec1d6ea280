package kafka

// op is one instruction of a walker's program: a message's layout at one version, flattened.
type op uint8

const (
	opFixed     op = iota // arg bytes nobody looks at
	opInt16               // captured into field
	opInt32               // captured into field
	opInt64               // captured into field
	opNode                // an int32 node id, translated in place
	opString              // a nullable string nobody looks at
	opTopicName           // captured
	opTopicID             // captured, 16 bytes
	opArray               // count; arg is the index after the matching opEnd
	opEnd                 // back to arg, the index after opArray, while elements are left
	opRecords             // nullable bytes holding record batches
	opTags                // tagged fields; arg is the tag holding a CurrentLeader, or noTag
	opPartition           // no bytes: a partition is complete
	opTail                // everything that is left: node endpoints and the top-level tags
)

const noTag = -1

// field says where a captured integer goes in Partition.
type field uint8

const (
	fieldNone field = iota
	fieldIndex
	fieldError
	fieldHighWatermark
	fieldThrottle
	fieldTopError
	fieldBaseOffset
)

type instr struct {
	op    op
	field field
	arg   int32
}

// tailKind says what opTail finds.
type tailKind uint8

const (
	tailTags  tailKind = iota // tagged fields, of which tag 0 may be the node endpoints (Produce v10+, Fetch v16+)
	tailNodes                 // a plain array of node endpoints and tagged fields (ShareFetch)
)

type program struct {
	key      int16
	version  int16
	flexible bool
	response bool
	tail     tailKind
	code     []instr
}

// builder flattens a layout; array bodies are given as functions so that a layout reads like the protocol's own schema.
type builder struct{ p *program }

func (b builder) emit(op op, f field, arg int32) { b.p.code = append(b.p.code, instr{op, f, arg}) }
func (b builder) fixed(n int32)                  { b.emit(opFixed, fieldNone, n) }
func (b builder) tags() {
	if b.p.flexible {
		b.emit(opTags, fieldNone, noTag)
	}
}

func (b builder) array(body func()) {
	at := len(b.p.code)
	b.emit(opArray, fieldNone, 0)
	body()
	b.emit(opEnd, fieldNone, int32(at+1))
	b.p.code[at].arg = int32(len(b.p.code))
}

func (b builder) topic(idSince int16) {
	if b.p.version >= idSince {
		b.emit(opTopicID, fieldNone, 0)
	} else {
		b.emit(opTopicName, fieldNone, 0)
	}
}

var (
	produceRequests   [14]*program
	produceResponses  [14]*program
	fetchResponses    [19]*program
	shareFetchReplies [3]*program
)

// The programs are built once from the layouts below, which follow Kafka's ProduceRequest.json, ProduceResponse.json,
// FetchResponse.json and ShareFetchResponse.json. TestWalkerAgreesWithKmsg checks each version against kmsg.
func init() {
	for v := range produceRequests {
		produceRequests[v] = produceRequest(int16(v))
		produceResponses[v] = produceResponse(int16(v))
	}
	for v := range fetchResponses {
		fetchResponses[v] = fetchResponse(int16(v))
	}
	for v := range shareFetchReplies {
		shareFetchReplies[v] = shareFetchResponse(int16(v))
	}
}

func begin(key, v int16, response bool) (*program, builder) {
	p := &program{key: key, version: v, flexible: IsFlexible(key, v), response: response}
	return p, builder{p}
}

func produceRequest(v int16) *program {
	p, b := begin(Produce, v, false)
	if v >= 3 {
		b.emit(opString, fieldNone, 0) // transactional id
	}
	b.fixed(2 + 4) // acks, timeout
	b.array(func() {
		b.topic(13)
		b.array(func() {
			b.emit(opInt32, fieldIndex, 0)
			b.emit(opRecords, fieldNone, 0)
			b.tags()
			b.emit(opPartition, fieldNone, 0)
		})
		b.tags()
	})
	b.tags()
	return p
}

func produceResponse(v int16) *program {
	p, b := begin(Produce, v, true)
	b.array(func() {
		b.topic(13)
		b.array(func() {
			b.emit(opInt32, fieldIndex, 0)
			b.emit(opInt16, fieldError, 0)
			b.emit(opInt64, fieldBaseOffset, 0)
			if v >= 2 {
				b.fixed(8) // log append time
			}
			if v >= 5 {
				b.fixed(8) // log start offset
			}
			if v >= 8 {
				b.array(func() {
					b.fixed(4)
					b.emit(opString, fieldNone, 0)
					b.tags()
				})
				b.emit(opString, fieldNone, 0)
			}
			if p.flexible {
				b.emit(opTags, fieldNone, 0) // tag 0: current leader (KIP-951)
			}
			b.emit(opPartition, fieldNone, 0)
		})
		b.tags()
	})
	if v >= 1 {
		b.emit(opInt32, fieldThrottle, 0)
	}
	if p.flexible {
		b.emit(opTail, fieldNone, 0)
	}
	return p
}

func fetchResponse(v int16) *program {
	p, b := begin(Fetch, v, true)
	if v >= 1 {
		b.emit(opInt32, fieldThrottle, 0)
	}
	if v >= 7 {
		b.emit(opInt16, fieldTopError, 0)
		b.fixed(4) // session id
	}
	b.array(func() {
		b.topic(13)
		b.array(func() {
			b.emit(opInt32, fieldIndex, 0)
			b.emit(opInt16, fieldError, 0)
			b.emit(opInt64, fieldHighWatermark, 0)
			if v >= 4 {
				b.fixed(8) // last stable offset
			}
			if v >= 5 {
				b.fixed(8) // log start offset
			}
			if v >= 4 {
				b.array(func() { // aborted transactions
					b.fixed(16)
					b.tags()
				})
			}
			if v >= 11 {
				b.emit(opNode, fieldNone, 0) // preferred read replica
			}
			b.emit(opRecords, fieldNone, 0)
			if p.flexible {
				b.emit(opTags, fieldNone, 1) // tag 1: current leader
			}
			b.emit(opPartition, fieldNone, 0)
		})
		b.tags()
	})
	if p.flexible {
		b.emit(opTail, fieldNone, 0)
	}
	return p
}

func shareFetchResponse(v int16) *program {
	p, b := begin(ShareFetch, v, true)
	p.tail = tailNodes
	b.emit(opInt32, fieldThrottle, 0)
	b.emit(opInt16, fieldTopError, 0)
	b.emit(opString, fieldNone, 0)
	if v >= 1 {
		b.fixed(4) // acquisition lock timeout
	}
	b.array(func() {
		b.emit(opTopicID, fieldNone, 0)
		b.array(func() {
			b.emit(opInt32, fieldIndex, 0)
			b.emit(opInt16, fieldError, 0)
			b.emit(opString, fieldNone, 0)
			b.fixed(2) // acknowledge error
			b.emit(opString, fieldNone, 0)
			b.emit(opNode, fieldNone, 0) // current leader, here a plain struct
			b.fixed(4)
			b.tags()
			b.emit(opRecords, fieldNone, 0)
			b.array(func() {
				b.fixed(8 + 8 + 2)
				b.tags()
			})
			b.tags()
			b.emit(opPartition, fieldNone, 0)
		})
		b.tags()
	})
	b.emit(opTail, fieldNone, 0)
	return p
}

func lookupProgram(key, version int16, response bool) *program {
	var ps []*program
	switch {
	case key == Produce && response:
		ps = produceResponses[:]
	case key == Produce:
		ps = produceRequests[:]
	case key == Fetch && response:
		ps = fetchResponses[:]
	case key == ShareFetch && response:
		ps = shareFetchReplies[:]
	}
	if version < 0 || int(version) >= len(ps) {
		return nil
	}
	return ps[version]
}
