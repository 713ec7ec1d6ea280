package kafka

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Clients may be shown node ids of sidewire's own (virtual ones), so that the brokers of several clusters have different ones. These
// are the places where messages hold them beside those that hold addresses; TestEveryNodeIDIsMapped knows them by their
// fields' names.

// CarriesNodes says whether a response holds node ids without addresses, so that it is decoded only where node ids are
// virtual.
func CarriesNodes(key int16) bool {
	switch key {
	case DescribeTopicParts, ListPartitionReassignments, DescribeQuorum, DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources:
		return true
	}
	return false
}

// RequestCarriesNodes says whether MapNodes has something to do. The ids of replicas in Fetch, ListOffsets and
// OffsetForLeaderEpoch are left: brokers alone have them, and brokers do not come this way. ApiVersions carries one from
// version 5 on, which is not offered where node ids are virtual.
func RequestCarriesNodes(key int16) bool {
	switch key {
	case CreateTopics, CreatePartitions, 45, 64, 81, 94, DescribeConfigs, AlterConfigs, IncrementalAlterConfigs:
		return true
	}
	return false
}

// MapNodes turns the virtual node ids in a request into the cluster's. It reports false when there is one that real does not
// know; the request is then of no use.
func MapNodes(req kmsg.Request, real func(virtual int32) (int32, bool)) bool {
	m := nodeMap{real: real, ok: true}
	switch r := req.(type) {
	case *kmsg.CreateTopicsRequest:
		for i := range r.Topics {
			for j := range r.Topics[i].ReplicaAssignment {
				m.all(r.Topics[i].ReplicaAssignment[j].Replicas)
			}
		}
	case *kmsg.CreatePartitionsRequest:
		for i := range r.Topics {
			for j := range r.Topics[i].Assignment {
				m.all(r.Topics[i].Assignment[j].Replicas)
			}
		}
	case *kmsg.AlterPartitionAssignmentsRequest:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				m.all(r.Topics[i].Partitions[j].Replicas)
			}
		}
	case *kmsg.UnregisterBrokerRequest:
		m.one(&r.BrokerID)
	case *kmsg.RemoveRaftVoterRequest:
		m.one(&r.VoterID)
	case *kmsg.UnregisterControllerRequest:
		m.one(&r.ControllerID)
	case *kmsg.DescribeConfigsRequest:
		for i := range r.Resources {
			m.resource(r.Resources[i].ResourceType, &r.Resources[i].ResourceName)
		}
	case *kmsg.AlterConfigsRequest:
		for i := range r.Resources {
			m.resource(r.Resources[i].ResourceType, &r.Resources[i].ResourceName)
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for i := range r.Resources {
			m.resource(r.Resources[i].ResourceType, &r.Resources[i].ResourceName)
		}
	}
	return m.ok
}

type nodeMap struct {
	real func(int32) (int32, bool)
	ok   bool
}

func (m *nodeMap) one(id *int32) {
	if *id < 0 {
		return
	}
	real, ok := m.real(*id)
	m.ok = m.ok && ok
	*id = real
}

func (m *nodeMap) all(ids []int32) {
	for i := range ids {
		m.one(&ids[i])
	}
}

func (m *nodeMap) resource(kind kmsg.ConfigResourceType, name *string) {
	mapBrokerName(kind, name, func(id int32) int32 { m.one(&id); return id })
}

// mapBrokerName maps the name of a configuration that is a broker's: its node id. The empty name is all brokers' default.
func mapBrokerName(kind kmsg.ConfigResourceType, name *string, f func(int32) int32) {
	if kind != kmsg.ConfigResourceTypeBroker && kind != kmsg.ConfigResourceTypeBrokerLogger {
		return
	}
	if id, err := strconv.ParseInt(*name, 10, 32); err == nil && id >= 0 {
		*name = strconv.Itoa(int(f(int32(id))))
	}
}

// rewriteResources maps the broker names in answers about configurations.
func rewriteResources(resp kmsg.Response, b Brokers) {
	switch r := resp.(type) {
	case *kmsg.DescribeConfigsResponse:
		for i := range r.Resources {
			mapBrokerName(r.Resources[i].ResourceType, &r.Resources[i].ResourceName, b.Node)
		}
	case *kmsg.AlterConfigsResponse:
		for i := range r.Resources {
			mapBrokerName(r.Resources[i].ResourceType, &r.Resources[i].ResourceName, b.Node)
		}
	case *kmsg.IncrementalAlterConfigsResponse:
		for i := range r.Resources {
			mapBrokerName(r.Resources[i].ResourceType, &r.Resources[i].ResourceName, b.Node)
		}
	case *kmsg.ListConfigResourcesResponse:
		for i := range r.ConfigResources {
			mapBrokerName(kmsg.ConfigResourceType(r.ConfigResources[i].Type), &r.ConfigResources[i].Name, b.Node)
		}
	}
}

func rewriteQuorum(r *kmsg.DescribeQuorumResponse, b Brokers) {
	for i := range r.Nodes {
		r.Nodes[i].NodeID = node(b, r.Nodes[i].NodeID)
		r.Nodes[i].Listeners = nil
	}
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			p.LeaderID = node(b, p.LeaderID)
			for _, states := range [][]kmsg.DescribeQuorumResponseTopicPartitionReplicaState{p.CurrentVoters, p.Observers} {
				for k := range states {
					states[k].ReplicaID = node(b, states[k].ReplicaID)
				}
			}
		}
	}
}
