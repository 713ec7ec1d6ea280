package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// mapShareRequest is about share groups (KIP-932).
func mapShareRequest(req kmsg.Request, m *mapper) (known bool) {
	switch r := req.(type) {
	case *kmsg.ShareGroupHeartbeatRequest:
		m.group(&r.GroupID)
		keep(&r.SubscribedTopicNames, m.topic)
	case *kmsg.ShareFetchRequest:
		m.optional(r.GroupID, m.group)
		keep(&r.Topics, func(t *kmsg.ShareFetchRequestTopic) bool { return m.id(t.TopicID) })
		keep(&r.ForgottenTopicsData, func(t *kmsg.ShareFetchRequestForgottenTopicsData) bool { return m.id(t.TopicID) })
	case *kmsg.ShareAcknowledgeRequest:
		m.optional(r.GroupID, m.group)
		keep(&r.Topics, func(t *kmsg.ShareAcknowledgeRequestTopic) bool { return m.id(t.TopicID) })
	case *kmsg.ShareGroupDescribeRequest:
		keep(&r.GroupIDs, m.group)
	case *kmsg.DescribeShareGroupOffsetsRequest:
		keep(&r.Groups, func(g *kmsg.DescribeShareGroupOffsetsRequestGroup) bool {
			keep(&g.Topics, func(t *kmsg.DescribeShareGroupOffsetsRequestGroupTopic) bool { return m.topic(&t.Topic) })
			return m.group(&g.GroupID)
		})
	case *kmsg.AlterShareGroupOffsetsRequest:
		m.group(&r.GroupID)
		keep(&r.Topics, func(t *kmsg.AlterShareGroupOffsetsRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DeleteShareGroupOffsetsRequest:
		m.group(&r.GroupID)
		keep(&r.Topics, func(t *kmsg.DeleteShareGroupOffsetsRequestTopic) bool { return m.topic(&t.Topic) })
	default:
		return false
	}
	return true
}

func mapShareResponse(resp kmsg.Response, m *mapper) (known bool) {
	switch r := resp.(type) {
	case *kmsg.ShareGroupHeartbeatResponse:
		m.message(r.ErrorMessage)
	case *kmsg.ShareFetchResponse: // its topics are named by id, whose right was settled with the request
		m.message(r.ErrorMessage)
	case *kmsg.ShareAcknowledgeResponse:
		m.message(r.ErrorMessage)
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				m.message(r.Topics[i].Partitions[j].ErrorMessage)
			}
		}
	case *kmsg.ShareGroupDescribeResponse:
		keep(&r.Groups, m.describedShareGroup)
	case *kmsg.DescribeShareGroupOffsetsResponse:
		keep(&r.Groups, func(g *kmsg.DescribeShareGroupOffsetsResponseGroup) bool {
			m.message(g.ErrorMessage)
			keep(&g.Topics, func(t *kmsg.DescribeShareGroupOffsetsResponseGroupTopic) bool {
				for i := range t.Partitions {
					m.message(t.Partitions[i].ErrorMessage)
				}
				return m.topic(&t.Topic)
			})
			return m.group(&g.GroupID)
		})
	case *kmsg.AlterShareGroupOffsetsResponse:
		m.message(r.ErrorMessage)
		keep(&r.Topics, func(t *kmsg.AlterShareGroupOffsetsResponseTopic) bool {
			for i := range t.Partitions {
				m.message(t.Partitions[i].ErrorMessage)
			}
			return m.topic(&t.Topic)
		})
	case *kmsg.DeleteShareGroupOffsetsResponse:
		m.message(r.ErrorMessage)
		keep(&r.Topics, func(t *kmsg.DeleteShareGroupOffsetsResponseTopic) bool {
			m.message(t.ErrorMessage)
			return m.topic(&t.Topic)
		})
	default:
		return false
	}
	return true
}

func (m *mapper) describedShareGroup(g *kmsg.ShareGroupDescribeResponseGroup) bool {
	m.message(g.ErrorMessage)
	for i := range g.Members {
		c := &g.Members[i]
		keep(&c.SubscribedTopicNames, m.topic)
		keep(&c.Assignment.TopicPartitions, func(t *kmsg.ShareGroupDescribeResponseGroupMemberAssignmentTopicPartition) bool {
			return m.topic(&t.Topic)
		})
	}
	return m.group(&g.GroupID)
}
