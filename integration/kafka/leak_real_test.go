package kafka_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/integration/servers"
)

// secrets are the forms in which messages can hold an address: a host with a port of four bytes or of two behind it, and text.
func secrets(address string) [][]byte {
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return [][]byte{
		binary.BigEndian.AppendUint32([]byte(host), uint32(n)),
		binary.BigEndian.AppendUint16([]byte(host), uint16(n)),
		[]byte(address),
	}
}

// curious asks for everything that tells of brokers.
func curious(ctx context.Context, cl *kgo.Client, topic string) {
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.IncludeSynonyms = true
	for node := range 4 {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeBroker, fmt.Sprint(node+1)
		configs.Resources = append(configs.Resources, r)
	}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	qt := kmsg.NewDescribeQuorumRequestTopic()
	qt.Topic = "__cluster_metadata"
	qt.Partitions = append(qt.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	quorum.Topics = append(quorum.Topics, qt)
	partitions := kmsg.NewPtrDescribeTopicPartitionsRequest()
	pt := kmsg.NewDescribeTopicPartitionsRequestTopic()
	pt.Topic = topic
	partitions.Topics, partitions.ResponsePartitionLimit = append(partitions.Topics, pt), 100
	controllers := kmsg.NewPtrDescribeClusterRequest()
	controllers.EndpointType = 2
	coordinator := kmsg.NewPtrFindCoordinatorRequest()
	coordinator.CoordinatorKey, coordinator.CoordinatorKeys = "readers", []string{"readers", "others"}
	for _, r := range []kmsg.Request{configs, quorum, partitions, controllers, coordinator, kmsg.NewPtrDescribeClusterRequest(), kmsg.NewPtrMetadataRequest(),
		kmsg.NewPtrListPartitionReassignmentsRequest(), kmsg.NewPtrDescribeLogDirsRequest(), kmsg.NewPtrListGroupsRequest()} {
		limited, cancel := context.WithTimeout(ctx, 3*time.Second)
		if _, ok := r.(*kmsg.DescribeConfigsRequest); ok {
			cl.RequestSharded(limited, r)
		} else {
			_, _ = cl.Request(limited, r)
		}
		cancel()
	}
}

// search looks for addresses of brokers and controllers in every byte that reaches its clients, which write, consume and ask, while leaders
// move (trap 9 on Apache Kafka).
type search struct {
	proxy                  *proxy
	prod, cons, asker      *kgo.Client
	admin                  *kadm.Client // directly
	told, leaked           atomic.Int64
	sent, received, orders atomic.Int64
	mu                     sync.Mutex // guards what follows
	known                  []string
	nodes                  int32
}

// newSearch searches on a direct connection first: it must find many there, so that it can find.
func newSearch(t *testing.T, ctx context.Context, c *servers.KafkaCluster, p *proxy) *search {
	s := &search{proxy: p, known: append(c.Addrs(), c.Controllers()...), nodes: int32(len(c.Brokers))}
	createTopic(t, ctx, p.addr, "moving", 6)
	curious(ctx, client(t, c.Brokers[0].Addr, scannedDialer(s.needles, &s.told)), "moving")
	if s.told.Load() < 10 {
		t.Fatalf("%d addresses found on a direct connection: the search finds nothing", s.told.Load())
	}
	opts := []kgo.Opt{scannedDialer(s.needles, &s.leaked), kgo.RequestTimeoutOverhead(5 * time.Second), kgo.FetchMaxWait(200 * time.Millisecond)}
	s.prod = client(t, p.addr, append(opts, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
	s.cons = client(t, p.addr, append(opts, kgo.ConsumeTopics("moving"), kgo.ConsumerGroup("readers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	s.asker = client(t, p.addr, opts...)
	s.admin = kadm.NewClient(client(t, c.Addrs()[0], kgo.SeedBrokers(c.Addrs()...)))
	return s
}

func (s *search) needles() (all [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.known {
		all = append(all, secrets(a)...)
	}
	return all
}

// added makes a broker's address one to be found; from now on it leads like the others.
func (s *search) added(b *servers.KafkaBroker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = append(s.known, b.Addr)
	s.nodes++
}

func (s *search) begin(t *testing.T, ctx, stop context.Context, all *sync.WaitGroup) {
	all.Go(func() {
		for stop.Err() == nil {
			s.prod.Produce(ctx, &kgo.Record{Topic: "moving", Value: make([]byte, 2000)}, func(_ *kgo.Record, err error) {
				if err == nil {
					s.sent.Add(1)
				}
			})
			pause(stop, time.Millisecond)
		}
	})
	all.Go(func() {
		for stop.Err() == nil {
			s.cons.PollFetches(stop).EachRecord(func(*kgo.Record) { s.received.Add(1) })
		}
	})
	all.Go(func() {
		for stop.Err() == nil {
			curious(stop, s.asker, "moving")
			pause(stop, 100*time.Millisecond)
		}
	})
	all.Go(func() {
		for i := int32(0); stop.Err() == nil; i++ {
			s.mu.Lock()
			n := s.nodes
			s.mu.Unlock()
			s.lead(stop, func(part int32) []int32 {
				return []int32{(part+i)%n + 1, (part+i+1)%n + 1, (part+i+2)%n + 1}
			})
			pause(stop, 700*time.Millisecond)
		}
	})
}

// lead gives partitions other replicas: the first is the preferred leader, so that an election moves it there.
func (s *search) lead(ctx context.Context, replicas func(part int32) []int32) {
	var req kadm.AlterPartitionAssignmentsReq
	for part := range int32(6) {
		req.Assign("moving", part, replicas(part))
	}
	limited, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := s.admin.AlterPartitionAssignments(limited, req)
	if err == nil {
		if _, err = s.admin.ElectLeaders(limited, kadm.ElectPreferredReplica, nil); err == nil {
			s.orders.Add(1)
		}
	}
}

// check ends with the added broker at the head of all partitions: what it says of itself is searched too.
func (s *search) check(t *testing.T, ctx context.Context) {
	if err := servers.Poll(ctx, func(ctx context.Context) error {
		s.lead(ctx, func(int32) []int32 { return []int32{4} })
		topics, err := s.admin.ListTopics(ctx, "moving")
		if err != nil {
			return err
		}
		for _, part := range topics["moving"].Partitions {
			if part.Leader != 4 {
				return fmt.Errorf("partition %d is led by %d", part.Partition, part.Leader)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	before := s.received.Load()
	if err := s.prod.ProduceSync(ctx, &kgo.Record{Topic: "moving", Value: []byte("last")}).FirstErr(); err != nil {
		t.Error(err)
	}
	for last := false; !last; {
		fs := s.cons.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("consuming from the added broker: %v", err)
		}
		fs.EachRecord(func(r *kgo.Record) { last = last || string(r.Value) == "last" })
	}
	curious(ctx, s.asker, "moving")
	t.Logf("%d records sent, %d received, leaders moved %d times; a direct connection told %d addresses", s.sent.Load(), before, s.orders.Load(), s.told.Load())
	if s.sent.Load() < 1000 || before < 1000 || s.orders.Load() < 3 {
		t.Error("too little happened to mean anything")
	}
	s.proxy.logged(t, "node=4")
	if n := s.leaked.Load(); n > 0 {
		t.Errorf("%d upstream addresses reached clients", n)
	}
}
