package kafka

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

func refused(topic string, partitions ...int32) *kmsg.FetchResponse {
	rt := kmsg.NewFetchResponseTopic()
	rt.Topic = topic
	for _, n := range partitions {
		p := kmsg.NewFetchResponseTopicPartition()
		p.Partition = n
		rt.Partitions = append(rt.Partitions, p)
	}
	return &kmsg.FetchResponse{Topics: []kmsg.FetchResponseTopic{rt}}
}

// A client that names the same denied partitions again and again, or ever others, takes no more memory than once.
func TestRefusedPartitionsAreRememberedOnce(t *testing.T) {
	s := &session{}
	count := func() (n int) {
		for _, rt := range s.unfetched.Topics {
			n += len(rt.Partitions)
		}
		return n
	}
	for range 100 {
		s.splitFetch(&kmsg.FetchRequest{SessionEpoch: 1}, refused("secret", 0, 1))
		s.splitFetch(&kmsg.FetchRequest{SessionEpoch: 1}, refused("secret", 1, 2))
	}
	if got := count(); got != 3 {
		t.Errorf("%d partitions are remembered", got)
	}
	for i := range maxUnfetched / 1000 * 3 {
		many := make([]int32, 500)
		for n := range many {
			many[n] = int32(n)
		}
		s.splitFetch(&kmsg.FetchRequest{SessionEpoch: 1}, refused(fmt.Sprint("topic-", i), many...))
	}
	if got := count(); got > maxUnfetched {
		t.Errorf("%d partitions are remembered", got)
	}
}

// Trap 13: topics that come and go for ever, each with an id of its own, are not remembered for ever.
func TestIdentitiesAreBounded(t *testing.T) {
	ids := &identities{}
	figures := newTopics(telemetry.NewRegistry(), "events", 10)
	m := kmsg.NewPtrMetadataResponse()
	mt := kmsg.NewMetadataResponseTopic()
	mt.Topic = kmsg.StringPtr("orders")
	m.Topics = append(m.Topics, mt)
	for i := range maxIdentities + 10 {
		id := [16]byte{1}
		binary.BigEndian.PutUint32(id[4:], uint32(i))
		ids.put(id, "orders")
		m.Topics[0].TopicID = id
		figures.learn(m)
	}
	if len(ids.names) > maxIdentities || len(figures.byID) > maxIdentities {
		t.Errorf("%d and %d ids are remembered", len(ids.names), len(figures.byID))
	}
	if name, ok := ids.name(m.Topics[0].TopicID); !ok || name != "orders" || figures.identified(m.Topics[0].TopicID[:]) == nil {
		t.Error("the last one is forgotten")
	}
}
