package kafka_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// Trap 19: a cluster's brokers have node ids of its own block, in all that clients read and say, on the streaming path as where
// names are mapped, while leaders move.
func TestVirtualNodeIDsEndToEnd(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(6, "a.orders"))
	for name, listener := range map[string]string{"orders": `brokers: {ports: PORTS}, virtual: {prefix: "a."}`, "a.orders": ""} {
		t.Run(name, func(t *testing.T) {
			p := start(t, c.ListenAddrs(), listener, ", first_node: 300000", "")
			ctx := within(t, 40*time.Second)
			cl := client(t, p.addr, kgo.ConsumeTopics(name), kgo.ConsumerGroup("g-"+name), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(200*time.Millisecond))
			cl.PollRecords(within(t, 2*time.Second), 1)
			for i := range 4 {
				if i > 0 {
					c.ShufflePartitionLeaders()
				}
				produce(t, ctx, cl, name, 100, 100)
				produce(t, ctx, cl, name, 3, 300_000) // these stream
			}
			adm := kadm.NewClient(cl)
			meta, err := adm.Metadata(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range meta.Brokers {
				if b.NodeID < 300000 || b.NodeID > 300002 {
					t.Errorf("broker %d", b.NodeID)
				}
			}
			for _, part := range meta.Topics[name].Partitions {
				for _, id := range append([]int32{part.Leader}, append(part.Replicas, part.ISR...)...) {
					if id < 300000 {
						t.Errorf("partition %d: node %d", part.Partition, id)
					}
				}
			}
			made := kmsg.NewPtrCreateTopicsRequest()
			made.TimeoutMillis = 5000
			for topic, node := range map[string]int32{"placed-" + name: 300001, "misplaced-" + name: 1} {
				ct := kmsg.NewCreateTopicsRequestTopic()
				ct.Topic, ct.NumPartitions, ct.ReplicationFactor = topic, -1, -1
				a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
				a.Replicas = []int32{node}
				ct.ReplicaAssignment = append(ct.ReplicaAssignment, a)
				made.Topics = []kmsg.CreateTopicsRequestTopic{ct}
				resp, err := made.RequestWith(ctx, cl)
				if err != nil {
					t.Fatal(err)
				}
				want := int16(0)
				if node == 1 { // the cluster's own id is not one that clients may say
					want = 42
				}
				if got := resp.Topics[0].ErrorCode; got != want {
					t.Errorf("creating with node %d: code %d, want %d", node, got, want)
				}
			}
		})
	}
	p := start(t, c.ListenAddrs(), "", ", first_node: 300000", "")
	resp, err := kadm.NewClient(client(t, p.addr)).DescribeBrokerConfigs(within(t, 10*time.Second), 300001)
	if err != nil || len(resp) != 1 || resp[0].Name != "300001" || resp[0].Err != nil {
		t.Errorf("configuration of broker 300001: %+v, %v", resp, err)
	}
}

// The same on Apache Kafka: Java's tools work with virtual node ids as with the cluster's own.
func TestApacheKafkaWithVirtualNodeIDs(t *testing.T) {
	c := servers.Kafka(t, servers.Nodes(3))
	p := start(t, c.Addrs(), "", ", first_node: 300000", "")
	topic := verifiable(t, c, p, true)
	ctx := within(t, 60*time.Second)
	if out := tool(t, ctx, c, "TopicCommand", "--bootstrap-server", p.addr, "--describe", "--topic", topic); !strings.Contains(out, "Leader: 30000") {
		t.Errorf("describing a topic: %s", tail(out))
	}
	argv, err := c.Java("kafka.admin.ConfigCommand", "--bootstrap-server", p.addr, "--describe", "--all", "--entity-type", "brokers", "--entity-name", "300002")
	if err != nil {
		t.Fatal(err)
	}
	if out := run(t, ctx, "", argv...); !strings.Contains(out, "num.io.threads") {
		t.Errorf("describing a broker: %s", tail(out))
	}
}
