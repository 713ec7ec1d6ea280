package kafka

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Classic groups carry what their members want and what they were given as bytes that a broker mostly passes on unread. But it
// reads them for those who administer groups, and when a group is moved to brokers' assignment (KIP-848): the names in them
// must be the cluster's there as anywhere.

// consumerProtocol is the protocol type of consumers; Connect and others put other things there.
const consumerProtocol = "consumer"

// memberFormat is the highest version of a consumer's metadata and assignment whose layout is known; both are made so that
// later versions only append.
const memberFormat = 3

// subscription maps the names in a consumer's metadata (ConsumerProtocolSubscription). What is not one passes as it is.
func (m *mapper) subscription(protocol string, b *[]byte) {
	if protocol != consumerProtocol {
		return
	}
	r := Reader{Src: *b}
	version := r.Int16()
	out := binary.BigEndian.AppendUint16(nil, uint16(version))
	var names []string
	for range r.count() {
		if name := string(r.NullableString()); m.topic(&name) {
			names = append(names, name)
		}
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(names)))
	for _, name := range names {
		out = appendString(out, name)
	}
	from := r.Off
	if n := r.Int32(); n > 0 { // of the assignor, for itself
		r.Skip(int(n))
	}
	out = append(out, r.Src[from:r.Off]...)
	if version >= 1 {
		out = m.owned(&r, out)
	}
	m.replaced(&r, version, out, b)
}

// assignment maps the names in what a consumer is given (ConsumerProtocolAssignment).
func (m *mapper) assignment(protocol string, b *[]byte) {
	if protocol != consumerProtocol {
		return
	}
	r := Reader{Src: *b}
	version := r.Int16()
	out := m.owned(&r, binary.BigEndian.AppendUint16(nil, uint16(version)))
	m.replaced(&r, version, out, b)
}

// owned maps a list of topics with their partitions.
func (m *mapper) owned(r *Reader, out []byte) []byte {
	at, kept := len(out), uint32(0)
	out = append(out, 0, 0, 0, 0)
	for range r.count() {
		name := string(r.NullableString())
		from := r.Off
		if n := r.count(); n > 0 {
			r.Skip(4 * n)
		}
		if r.Err != nil || !m.topic(&name) {
			continue
		}
		kept++
		out = append(appendString(out, name), r.Src[from:r.Off]...)
	}
	binary.BigEndian.PutUint32(out[at:], kept)
	return out
}

// replaced takes out for b when everything was read, and leaves what follows as it is.
func (m *mapper) replaced(r *Reader, version int16, out []byte, b *[]byte) {
	if r.Err == nil && version >= 0 && version <= memberFormat {
		*b = append(out, r.Src[r.Off:]...)
	}
}

// count reads the number of a classic list's elements, each of which is at least two bytes.
func (r *Reader) count() int {
	n := r.Int32()
	if r.Err == nil && int64(n)*2 > int64(len(r.Src)-r.Off) {
		r.Err = ErrShort
	}
	if r.Err != nil || n < 0 {
		return 0
	}
	return int(n)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func (m *mapper) joinRequest(r *kmsg.JoinGroupRequest) {
	m.group(&r.Group)
	for i := range r.Protocols {
		m.subscription(r.ProtocolType, &r.Protocols[i].Metadata)
	}
}

// Old versions do not say the protocol's type in the answer, and in SyncGroup not at all; what reads as a consumer's is one.
func typeOr(t *string) string {
	if t == nil {
		return consumerProtocol
	}
	return *t
}

func (m *mapper) joinResponse(r *kmsg.JoinGroupResponse) {
	for i := range r.Members {
		m.subscription(typeOr(r.ProtocolType), &r.Members[i].ProtocolMetadata)
	}
}

func (m *mapper) syncRequest(r *kmsg.SyncGroupRequest) {
	m.group(&r.Group)
	for i := range r.GroupAssignment {
		m.assignment(typeOr(r.ProtocolType), &r.GroupAssignment[i].MemberAssignment)
	}
}

func (m *mapper) describedGroup(g *kmsg.DescribeGroupsResponseGroup) bool {
	m.message(g.ErrorMessage)
	for i := range g.Members {
		m.subscription(g.ProtocolType, &g.Members[i].ProtocolMetadata)
		m.assignment(g.ProtocolType, &g.Members[i].MemberAssignment)
	}
	return m.group(&g.Group)
}
