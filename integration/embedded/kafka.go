package embedded

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka is a cluster of brokers.
type Kafka struct {
	Addrs []string // one a broker

	cluster *kfake.Cluster
}

// StartKafka starts a cluster with a broker at each of these ports of 127.0.0.1, 0 being any free one. It has the topics
// already, each with that many partitions.
func StartKafka(ports []int, partitions int32, topics ...string) (*Kafka, error) {
	c, err := kfake.NewCluster(kfake.Ports(ports...), kfake.SeedTopics(partitions, topics...))
	if err != nil {
		return nil, fmt.Errorf("making a Kafka cluster: %w", err)
	}
	return &Kafka{Addrs: c.ListenAddrs(), cluster: c}, nil
}

// Leader is the index in Addrs of the broker that leads a partition.
func (k *Kafka) Leader(topic string, partition int32) int {
	return int(k.cluster.LeaderFor(topic, partition))
}

// Close ends the brokers and their connections.
func (k *Kafka) Close() error {
	k.cluster.Close()
	return nil
}
