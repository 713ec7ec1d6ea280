package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch builds a record batch of format 2 whose records are opaque bytes.
func batch(records int, payload int) []byte {
	b := make([]byte, batchHeader+payload)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	binary.BigEndian.PutUint32(b[57:], uint32(records))
	return b
}

type seen struct {
	topic string
	part  Partition
}

type recorder struct {
	topic string
	list  []seen
}

func (r *recorder) Topic(name, id []byte) error {
	r.topic = string(name)
	if id != nil {
		r.topic = fmt.Sprintf("%x", id)
	}
	return nil
}
func (r *recorder) Partition(p *Partition) { r.list = append(r.list, seen{r.topic, *p}) }

// upstream is the only address text a broker of these tests ever names.
const upstream = "broker-7.kafka.upstream.example"

type fixedBrokers struct {
	host string
	base int32
}

func (f fixedBrokers) Endpoint(node int32, host string, port int32) (string, int32, bool) {
	return f.host, 20000 + node, f.host != ""
}
func (f fixedBrokers) Node(n int32) int32 { return n + f.base }

// sample builds a message with everything a version can hold and the partitions a walker must report.
func sample(rng *rand.Rand, key, v int16, response bool) (msg interface{ AppendTo([]byte) []byte }, want []seen) {
	records := func() (b []byte, n, batches int64) {
		for range rng.Intn(3) {
			k := rng.Intn(50)
			b = append(b, batch(k, rng.Intn(3000))...)
			n, batches = n+int64(k), batches+1
		}
		return b, n, batches
	}
	id := [16]byte{1, 2, 3, byte(v)}
	name := "orders"
	topic := name
	if v >= 13 && key != ShareFetch || key == ShareFetch {
		topic = fmt.Sprintf("%x", id[:])
	}
	switch {
	case key == Produce && !response:
		m := kmsg.NewPtrProduceRequest()
		m.Version, m.TransactionID, m.Acks = v, kmsg.StringPtr("txn"), -1
		for range 2 {
			t := kmsg.NewProduceRequestTopic()
			t.Topic, t.TopicID = name, id
			for p := range int32(3) {
				part := kmsg.NewProduceRequestTopicPartition()
				rec, n, batches := records()
				part.Partition, part.Records = p, rec
				t.Partitions = append(t.Partitions, part)
				want = append(want, seen{topic, Partition{Index: p, RecordBytes: int64(len(rec)), Records: n, Batches: batches}})
			}
			m.Topics = append(m.Topics, t)
		}
		return m, want
	case key == Produce:
		m := kmsg.NewPtrProduceResponse()
		m.Version, m.ThrottleMillis = v, 12
		t := kmsg.NewProduceResponseTopic()
		t.Topic, t.TopicID = name, id
		for p := range int32(3) {
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode, part.BaseOffset = p, 6, 99
			part.ErrorMessage = kmsg.StringPtr("not the leader")
			part.ErrorRecords = append(part.ErrorRecords, kmsg.NewProduceResponseTopicPartitionErrorRecord())
			if v >= 10 {
				part.CurrentLeader.LeaderID, part.CurrentLeader.LeaderEpoch = 7, 3
			}
			t.Partitions = append(t.Partitions, part)
			want = append(want, seen{topic, Partition{Index: p, Error: 6, BaseOffset: 99}})
		}
		m.Topics = append(m.Topics, t)
		if v >= 9 {
			e := kmsg.NewProduceResponseBroker()
			e.NodeID, e.Host, e.Port, e.Rack = 7, upstream, 9092, kmsg.StringPtr("rack-a")
			m.Brokers = append(m.Brokers, e)
		}
		return m, want
	case key == Fetch:
		m := kmsg.NewPtrFetchResponse()
		m.Version, m.ThrottleMillis = v, 12
		for range 2 {
			t := kmsg.NewFetchResponseTopic()
			t.Topic, t.TopicID = name, id
			for p := range int32(3) {
				part := kmsg.NewFetchResponseTopicPartition()
				rec, n, batches := records()
				if rng.Intn(2) == 0 {
					rec = append(rec, batch(9, 500)[:200]...) // a last batch that is cut off
				}
				part.Partition, part.ErrorCode, part.HighWatermark, part.RecordBatches = p, 6, 1000, rec
				part.AbortedTransactions = append(part.AbortedTransactions, kmsg.NewFetchResponseTopicPartitionAbortedTransaction())
				if v >= 11 {
					part.PreferredReadReplica = 7
				}
				if v >= 12 {
					part.CurrentLeader.LeaderID, part.CurrentLeader.LeaderEpoch = 7, 3
					part.DivergingEpoch.Epoch = 5
				}
				t.Partitions = append(t.Partitions, part)
				want = append(want, seen{topic, Partition{Index: p, Error: 6, HighWatermark: 1000, RecordBytes: int64(len(rec)), Records: n, Batches: batches}})
			}
			m.Topics = append(m.Topics, t)
		}
		if v >= 12 {
			for range 3 {
				e := kmsg.NewFetchResponseBroker()
				e.NodeID, e.Host, e.Port, e.Rack = 7, upstream, 9092, kmsg.StringPtr("rack-a")
				m.Brokers = append(m.Brokers, e)
			}
		}
		return m, want
	}
	m := kmsg.NewPtrShareFetchResponse()
	m.Version = v
	t := kmsg.NewShareFetchResponseTopic()
	t.TopicID = id
	for p := range int32(2) {
		part := kmsg.NewShareFetchResponseTopicPartition()
		rec, n, batches := records()
		part.Partition, part.ErrorCode, part.Records = p, 6, rec
		part.CurrentLeader.LeaderID = 7
		part.AcquiredRecords = append(part.AcquiredRecords, kmsg.NewShareFetchResponseTopicPartitionAcquiredRecord())
		t.Partitions = append(t.Partitions, part)
		want = append(want, seen{topic, Partition{Index: p, Error: 6, RecordBytes: int64(len(rec)), Records: n, Batches: batches}})
	}
	m.Topics = append(m.Topics, t)
	for range 2 {
		e := kmsg.NewShareFetchResponseNodeEndpoint()
		e.NodeID, e.Host, e.Port, e.Rack = 7, upstream, 9092, kmsg.StringPtr("rack-a")
		m.NodeEndpoints = append(m.NodeEndpoints, e)
	}
	return m, want
}

// walk drives a body through a walker in windows of random size, moving opaque runs unseen, as a relay does.
func walk(w *Walker, body []byte, rng *rand.Rand) ([]byte, error) {
	var out []byte
	src := append([]byte(nil), body...)
	window := 1
	for !w.Done() {
		b := src[:min(window, len(src))]
		n, skip, err := w.Step(b)
		if err != nil {
			return out, err
		}
		out, src = append(out, src[:n]...), src[n:]
		if skip > 0 {
			k := int64(rng.Intn(int(min(skip, 4096)))) + 1
			out = append(out, src[:k]...)
			src = src[k:]
			w.Skipped(k)
		}
		if n == 0 && skip == 0 {
			if window >= len(src) && !w.Done() {
				return out, fmt.Errorf("stuck with %d bytes in view", len(src))
			}
			window = max(window+1, w.Need())
			continue
		}
		window = 1 + rng.Intn(300)
	}
	return append(out, src...), nil
}

func layouts(f func(key, v int16, response bool)) {
	for v := range int16(14) {
		f(Produce, v, false)
		f(Produce, v, true)
	}
	for v := range int16(19) {
		f(Fetch, v, true)
	}
	for v := range int16(3) {
		f(ShareFetch, v, true)
	}
}

func TestWalkerAgreesWithKmsg(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	layouts(func(key, v int16, response bool) {
		for range 20 {
			msg, want := sample(rng, key, v, response)
			body := msg.AppendTo(nil)
			rec := &recorder{}
			w := &Walker{Visitor: rec, CountRecords: true}
			if err := w.Reset(key, v, response, int64(len(body))); err != nil {
				t.Fatalf("%s v%d: %v", Name(key), v, err)
			}
			out, err := walk(w, body, rng)
			if err != nil {
				t.Fatalf("%s v%d response %v: %v", Name(key), v, response, err)
			}
			if !bytes.Equal(out, body) {
				t.Fatalf("%s v%d response %v: bytes changed", Name(key), v, response)
			}
			if !reflect.DeepEqual(rec.list, want) {
				t.Fatalf("%s v%d response %v:\n got %+v\nwant %+v", Name(key), v, response, rec.list, want)
			}
		}
	})
}

// Trap 9 (KIP-951): node endpoints at the end of a frame whose length is already sent are overwritten in place; the
// message still decodes, whatever the length of the new address, and the old one is gone.
func TestNodeEndpointsPatchedInPlace(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	layouts(func(key, v int16, response bool) {
		if !response || !Walked(key, v) {
			return
		}
		for length := range 60 {
			brokers := fixedBrokers{strings.Repeat("h", length), 100}
			msg, _ := sample(rng, key, v, response)
			body := msg.AppendTo(nil)
			w := &Walker{Brokers: brokers, PatchTail: true}
			_ = w.Reset(key, v, response, int64(len(body)))
			out, err := walk(w, body, rng)
			if err != nil {
				t.Fatalf("%s v%d host of %d: %v", Name(key), v, length, err)
			}
			if len(out) != len(body) || bytes.Contains(out, []byte(upstream)) {
				t.Fatalf("%s v%d host of %d: %d bytes became %d, leak %v", Name(key), v, length, len(body), len(out), bytes.Contains(out, []byte(upstream)))
			}
			back := kmsg.ResponseForKey(key)
			back.SetVersion(v)
			if err := back.ReadFrom(out); err != nil {
				t.Fatalf("%s v%d host of %d: %v", Name(key), v, length, err)
			}
			hosts, leader := endpointsOf(back)
			if leader != 107 && !(key == Produce && v < 10) && !(key == Fetch && v < 12) {
				t.Fatalf("%s v%d: leader %d, want 107", Name(key), v, leader)
			}
			fits := length > 0 && length <= len(upstream)
			if fits && (len(hosts) == 0 || hosts[0] != fmt.Sprintf("107@%s:20007", brokers.host)) {
				t.Fatalf("%s v%d host of %d: endpoints %v", Name(key), v, length, hosts)
			}
			if !fits && len(hosts) > 0 {
				t.Fatalf("%s v%d host of %d: endpoints %v, want none", Name(key), v, length, hosts)
			}
		}
	})
}

func endpointsOf(r kmsg.Response) (hosts []string, leader int32) {
	switch m := r.(type) {
	case *kmsg.ProduceResponse:
		for _, e := range m.Brokers {
			hosts = append(hosts, fmt.Sprintf("%d@%s:%d", e.NodeID, e.Host, e.Port))
		}
		leader = m.Topics[0].Partitions[0].CurrentLeader.LeaderID
	case *kmsg.FetchResponse:
		for _, e := range m.Brokers {
			hosts = append(hosts, fmt.Sprintf("%d@%s:%d", e.NodeID, e.Host, e.Port))
		}
		leader = m.Topics[0].Partitions[0].CurrentLeader.LeaderID
		if p := m.Topics[0].Partitions[0].PreferredReadReplica; p != leader {
			leader = p
		}
	case *kmsg.ShareFetchResponse:
		for _, e := range m.NodeEndpoints {
			hosts = append(hosts, fmt.Sprintf("%d@%s:%d", e.NodeID, e.Host, e.Port))
		}
		leader = m.Topics[0].Partitions[0].CurrentLeader.LeaderID
	}
	return hosts, leader
}

func TestWalkerRefusesMalformedBodies(t *testing.T) {
	rng := rand.New(rand.NewSource(3))
	layouts(func(key, v int16, response bool) {
		msg, _ := sample(rng, key, v, response)
		body := msg.AppendTo(nil)
		for _, size := range []int{len(body) - 1, len(body) / 2, 3} {
			w := &Walker{}
			_ = w.Reset(key, v, response, int64(size))
			if _, err := walk(w, body[:size], rng); err == nil {
				t.Errorf("%s v%d cut to %d of %d bytes: accepted", Name(key), v, size, len(body))
			}
		}
		w := &Walker{}
		_ = w.Reset(key, v, response, int64(len(body)+5))
		if _, err := walk(w, append(body, 9, 9, 9, 9, 9), rng); err == nil {
			t.Errorf("%s v%d with five bytes too many: accepted", Name(key), v)
		}
	})
}

func TestWalkingAllocatesNothing(t *testing.T) {
	msg, _ := sample(rand.New(rand.NewSource(4)), Fetch, 17, true)
	msg.(*kmsg.FetchResponse).Brokers = nil // the ordinary response names none
	body := msg.AppendTo(nil)
	rec := &counting{}
	w := &Walker{Visitor: rec, CountRecords: true}
	if n := testing.AllocsPerRun(100, func() {
		_ = w.Reset(Fetch, 17, true, int64(len(body)))
		if _, _, err := w.Step(body); err != nil || !w.Done() {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a body", n)
	}
}

type counting struct{ parts int }

func (c *counting) Topic(_, _ []byte) error { return nil }
func (c *counting) Partition(*Partition)    { c.parts++ }

func FuzzWalker(f *testing.F) {
	rng := rand.New(rand.NewSource(5))
	layouts(func(key, v int16, response bool) {
		msg, _ := sample(rng, key, v, response)
		if b := msg.AppendTo(nil); len(b) < 4000 {
			f.Add(uint8(key), uint8(v), response, b)
		}
	})
	f.Fuzz(func(t *testing.T, key, version uint8, response bool, body []byte) {
		k, v := int16(key), int16(version)
		w := &Walker{Visitor: &counting{}, CountRecords: true, Brokers: fixedBrokers{"127.0.0.1", 0}, PatchTail: true}
		if w.Reset(k, v, response, int64(len(body))) != nil {
			return
		}
		out, err := walk(w, body, rand.New(rand.NewSource(int64(len(body)))))
		if err != nil {
			return
		}
		if len(out) != len(body) {
			t.Fatalf("length %d became %d", len(body), len(out))
		}
	})
}

// Trap 34: message sets of before Kafka 0.11 have no header to count by; they pass as they are.
func TestOldMessageSetsPassUncounted(t *testing.T) {
	for magic := range byte(2) {
		set := append(make([]byte, 8), 0, 0, 0, 90)
		set = append(set, 1, 2, 3, 4, magic)
		set = append(set, bytes.Repeat([]byte{7}, 85)...)
		for v := range int16(3) {
			req := kmsg.NewPtrProduceRequest()
			req.Version = v
			pt := kmsg.NewProduceRequestTopic()
			pt.Topic = "old"
			pp := kmsg.NewProduceRequestTopicPartition()
			pp.Records = set
			pt.Partitions = append(pt.Partitions, pp)
			req.Topics = append(req.Topics, pt)
			body := req.AppendTo(nil)
			rec := &recorder{}
			w := &Walker{Visitor: rec, CountRecords: true}
			if err := w.Reset(Produce, v, false, int64(len(body))); err != nil {
				t.Fatal(err)
			}
			out, err := walk(w, append([]byte(nil), body...), rand.New(rand.NewSource(1)))
			if err != nil || !bytes.Equal(out, body) {
				t.Fatalf("v%d, magic %d: %v", v, magic, err)
			}
			if p := rec.list[0].part; p.Records != 0 || p.RecordBytes != int64(len(set)) {
				t.Errorf("v%d, magic %d: %+v", v, magic, p)
			}
		}
	}
}
