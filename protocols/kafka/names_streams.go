package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// mapStreamsRequest is about streams groups (KIP-1071): the coordinator resolves a topology's topics and makes those inside it, all by
// the names in the heartbeat.
func mapStreamsRequest(req kmsg.Request, m *mapper) (known bool) {
	switch r := req.(type) {
	case *kmsg.StreamsGroupHeartbeatRequest:
		m.group(&r.Group)
		if r.Topology == nil {
			return true
		}
		for i := range r.Topology.Subtopologies {
			s := &r.Topology.Subtopologies[i]
			m.subtopology(&s.SourceTopics, &s.RepartitionSinkTopics, &s.StateChangelogTopics, &s.RepartitionSourceTopics)
			for j := range s.SourceTopicRegex {
				s.SourceTopicRegex[j] = m.TopicPattern(s.SourceTopicRegex[j])
			}
		}
	case *kmsg.StreamsGroupDescribeRequest:
		keep(&r.Groups, m.group)
	case *kmsg.StreamsGroupTopologyDescriptionUpdateRequest:
		m.group(&r.Group)
		m.topology(r.TopologyDescription.Subtopologies, r.TopologyDescription.GlobalStores)
	default:
		return false
	}
	return true
}

// subtopology is about the topics that a part of a topology reads, writes and keeps its state in.
func (m *mapper) subtopology(sources, sinks *[]string, changelogs, repartitions *[]kmsg.TopicInfo) {
	keep(sources, m.topic)
	keep(sinks, m.topic)
	keep(changelogs, m.topicInfo)
	keep(repartitions, m.topicInfo)
}

func (m *mapper) topicInfo(t *kmsg.TopicInfo) bool { return m.topic(&t.Topic) }

// topology is about a description for people, whose nodes read from topics and write to them.
func (m *mapper) topology(subtopologies []kmsg.TopologyDescriptionSubtopology, stores []kmsg.TopologyDescriptionGlobalStore) {
	for i := range subtopologies {
		for j := range subtopologies[i].Nodes {
			m.node(&subtopologies[i].Nodes[j])
		}
	}
	for i := range stores {
		m.node(&stores[i].Source)
		m.node(&stores[i].Processor)
	}
}

func (m *mapper) node(n *kmsg.TopologyDescriptionNode) {
	keep(&n.SourceTopics, m.topic)
	if !m.optional(n.SinkTopic, m.topic) {
		n.SinkTopic = nil
	}
}

func mapStreamsResponse(resp kmsg.Response, m *mapper) (known bool) {
	switch r := resp.(type) {
	case *kmsg.StreamsGroupHeartbeatResponse:
		m.message(r.ErrorMessage)
		for i := range r.Status {
			m.message(&r.Status[i].StatusDetail)
		}
		for i := range r.PartitionsByUserEndpoint {
			p := &r.PartitionsByUserEndpoint[i]
			keep(&p.ActivePartitions, func(t *kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition) bool {
				return m.topic(&t.Topic)
			})
			keep(&p.StandbyPartitions, func(t *kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointStandbyPartition) bool {
				return m.topic(&t.Topic)
			})
		}
	case *kmsg.StreamsGroupDescribeResponse:
		keep(&r.Groups, m.describedStreamsGroup)
	case *kmsg.StreamsGroupTopologyDescriptionUpdateResponse:
		m.message(r.ErrorMessage)
	default:
		return false
	}
	return true
}

func (m *mapper) describedStreamsGroup(g *kmsg.StreamsGroupDescribeResponseGroup) bool {
	m.message(g.ErrorMessage)
	if g.Topology != nil {
		for i := range g.Topology.Subtopologies {
			s := &g.Topology.Subtopologies[i]
			m.subtopology(&s.SourceTopics, &s.RepartitionSinkTopics, &s.StateChangelogTopics, &s.RepartitionSourceTopics)
		}
	}
	if d := g.TopologyDescription; d != nil {
		m.topology(d.Subtopologies, d.GlobalStores)
	}
	return m.group(&g.Group)
}
