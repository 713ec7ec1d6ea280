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

// Trap 9 on Apache Kafka: every byte that reaches clients is searched for the address of a broker or a controller, while leaders
// move, brokers die and come back and one is added. The same search on a direct connection finds many, so it can find.
func TestNoAddressOfApacheKafkaReachesClients(t *testing.T) {
	c := servers.Kafka(t, servers.Nodes(3), servers.Private())
	p := start(t, c.Addrs(), "", "", "")
	ctx := within(t, 150*time.Second)
	createTopic(t, ctx, p.addr, "moving", 6)
	var mu sync.Mutex // guards known: a broker is added
	known := append(c.Addrs(), c.Controllers()...)
	needles := func() (all [][]byte) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range known {
			all = append(all, secrets(a)...)
		}
		return all
	}
	var told, leaked, sent, received, moves atomic.Int64
	curious(ctx, client(t, c.Brokers[0].Addr, scannedDialer(needles, &told)), "moving")
	if told.Load() < 10 {
		t.Fatalf("%d addresses found on a direct connection: the search finds nothing", told.Load())
	}

	opts := []kgo.Opt{scannedDialer(needles, &leaked), kgo.RequestTimeoutOverhead(5 * time.Second), kgo.FetchMaxWait(200 * time.Millisecond)}
	prod := client(t, p.addr, append(opts, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
	cons := client(t, p.addr, append(opts, kgo.ConsumeTopics("moving"), kgo.ConsumerGroup("readers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	asker := client(t, p.addr, opts...)
	admin := kadm.NewClient(client(t, c.Addrs()[0], kgo.SeedBrokers(c.Addrs()...)))
	stop, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	var all sync.WaitGroup
	all.Go(func() {
		for stop.Err() == nil {
			prod.Produce(ctx, &kgo.Record{Topic: "moving", Value: make([]byte, 2000)}, func(_ *kgo.Record, err error) {
				if err == nil {
					sent.Add(1)
				}
			})
			pause(stop, time.Millisecond)
		}
	})
	all.Go(func() {
		for stop.Err() == nil {
			cons.PollFetches(stop).EachRecord(func(*kgo.Record) { received.Add(1) })
		}
	})
	all.Go(func() {
		for stop.Err() == nil {
			curious(stop, asker, "moving")
		}
	})
	all.Go(func() { // the first replica is the preferred leader, so a new order and an election move it
		for i := int32(0); stop.Err() == nil; i++ {
			var req kadm.AlterPartitionAssignmentsReq
			for part := range int32(6) {
				n := part + i
				req.Assign("moving", part, []int32{n%3 + 1, (n+1)%3 + 1, (n+2)%3 + 1})
			}
			limited, cancel := context.WithTimeout(stop, 3*time.Second)
			_, err := admin.AlterPartitionAssignments(limited, req)
			if err == nil {
				if _, err = admin.ElectLeaders(limited, kadm.ElectPreferredReplica, nil); err == nil {
					moves.Add(1)
				}
			}
			cancel()
			pause(stop, 700*time.Millisecond)
		}
	})
	all.Go(func() {
		b, err := c.Add(ctx)
		if err != nil {
			t.Errorf("adding a broker: %v", err)
			return
		}
		mu.Lock()
		known = append(known, b.Addr)
		mu.Unlock()
		for i := 0; stop.Err() == nil; i++ {
			victim := c.Brokers[i%3]
			if err := victim.Process.Kill(); err != nil {
				t.Errorf("killing: %v", err)
			}
			pause(stop, time.Second)
			if err := victim.Process.Restart(); err != nil {
				t.Errorf("restarting broker %d: %v", victim.ID, err)
				return
			}
			pause(stop, 2*time.Second)
		}
	})
	all.Wait()
	t.Logf("%d records sent, %d received, leaders moved %d times; a direct connection told %d addresses", sent.Load(), received.Load(), moves.Load(), told.Load())
	if sent.Load() < 1000 || received.Load() < 1000 || moves.Load() < 3 {
		t.Error("too little happened to mean anything")
	}
	p.logged(t, "node=4")
	if n := leaked.Load(); n > 0 {
		t.Errorf("%d upstream addresses reached clients", n)
	}
}
