package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/sidewire/sidewire/integration/embedded"
)

const (
	topic      = "orders"
	partitions = 6
)

// stores are what stands behind sidewire.
type stores struct {
	shards []*embedded.MySQL
	nodes  []*embedded.Redis
	events *embedded.Kafka
}

func startStores(p *place) (*stores, error) {
	s := &stores{}
	for i, cluster := range []string{"shop-0", "shop-1"} {
		m, err := embedded.StartMySQL(p.clusters[cluster][0], fmt.Sprintf("shop_%d", i), p.user, p.store)
		if err != nil {
			s.close()
			return nil, err
		}
		s.shards = append(s.shards, m)
	}
	for _, addr := range p.clusters["cache"] {
		r, err := embedded.StartRedis(addr)
		if err != nil {
			s.close()
			return nil, err
		}
		s.nodes = append(s.nodes, r)
	}
	var brokers []int
	for _, addr := range p.clusters["events"] {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			s.close()
			return nil, err
		}
		n, _ := strconv.Atoi(port)
		brokers = append(brokers, n)
	}
	var err error
	if s.events, err = embedded.StartKafka(brokers, partitions, topic); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stores) close() {
	for _, m := range s.shards {
		m.Close()
	}
	for _, r := range s.nodes {
		r.Close()
	}
	if s.events != nil {
		s.events.Close()
	}
}
