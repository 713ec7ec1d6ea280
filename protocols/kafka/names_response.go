package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// MapResponse maps every name in a response back to what the client calls it and takes out what is not the client's: topics,
// groups and transactional ids of others in listings above all.
func MapResponse(resp kmsg.Response, n Names) error {
	m := &mapper{Names: n}
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse, *kmsg.SASLHandshakeResponse, *kmsg.SASLAuthenticateResponse, *kmsg.DescribeClusterResponse,
		*kmsg.GetTelemetrySubscriptionsResponse, *kmsg.PushTelemetryResponse,
		*kmsg.HeartbeatResponse, *kmsg.LeaveGroupResponse, *kmsg.InitProducerIDResponse, *kmsg.AddOffsetsToTxnResponse, *kmsg.EndTxnResponse,
		*kmsg.ConsumerGroupHeartbeatResponse:
	case *kmsg.ProduceResponse:
		keep(&r.Topics, func(t *kmsg.ProduceResponseTopic) bool { return m.shown(&t.Topic) })
	case *kmsg.FetchResponse:
		keep(&r.Topics, func(t *kmsg.FetchResponseTopic) bool { return m.shown(&t.Topic) })
	case *kmsg.MetadataResponse:
		keep(&r.Topics, func(t *kmsg.MetadataResponseTopic) bool { return m.optional(t.Topic, m.topic) })
	case *kmsg.CreateTopicsResponse:
		keep(&r.Topics, func(t *kmsg.CreateTopicsResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DeleteTopicsResponse:
		keep(&r.Topics, func(t *kmsg.DeleteTopicsResponseTopic) bool { return m.optional(t.Topic, m.topic) })
	case *kmsg.ListOffsetsResponse:
		keep(&r.Topics, func(t *kmsg.ListOffsetsResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DeleteRecordsResponse:
		keep(&r.Topics, func(t *kmsg.DeleteRecordsResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.OffsetForLeaderEpochResponse:
		keep(&r.Topics, func(t *kmsg.OffsetForLeaderEpochResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.OffsetDeleteResponse:
		keep(&r.Topics, func(t *kmsg.OffsetDeleteResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DescribeProducersResponse:
		keep(&r.Topics, func(t *kmsg.DescribeProducersResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.CreatePartitionsResponse:
		keep(&r.Topics, func(t *kmsg.CreatePartitionsResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DescribeTopicPartitionsResponse:
		keep(&r.Topics, func(t *kmsg.DescribeTopicPartitionsResponseTopic) bool { return m.optional(t.Topic, m.topic) })
		if r.NextCursor != nil && !m.topic(&r.NextCursor.Topic) {
			r.NextCursor = nil // what would follow is not this client's: names are listed in order
		}
	default:
		return mapGroupResponse(resp, m)
	}
	return nil
}

// shown is a topic by name, or one by id, whose name is empty and whose right was settled with the request.
func (m *mapper) shown(name *string) bool { return *name == "" || m.topic(name) }

func mapGroupResponse(resp kmsg.Response, m *mapper) error {
	switch r := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		keep(&r.Coordinators, func(c *kmsg.FindCoordinatorResponseCoordinator) bool { return m.group(&c.Key) })
	case *kmsg.DescribeGroupsResponse:
		keep(&r.Groups, m.describedGroup)
	case *kmsg.JoinGroupResponse:
		m.joinResponse(r)
	case *kmsg.SyncGroupResponse:
		m.assignment(typeOr(r.ProtocolType), &r.MemberAssignment)
	case *kmsg.ListGroupsResponse:
		keep(&r.Groups, func(g *kmsg.ListGroupsResponseGroup) bool { return m.group(&g.Group) })
	case *kmsg.DeleteGroupsResponse:
		keep(&r.Groups, func(g *kmsg.DeleteGroupsResponseGroup) bool { return m.group(&g.Group) })
	case *kmsg.OffsetCommitResponse:
		keep(&r.Topics, func(t *kmsg.OffsetCommitResponseTopic) bool { return m.shown(&t.Topic) })
	case *kmsg.TxnOffsetCommitResponse:
		keep(&r.Topics, func(t *kmsg.TxnOffsetCommitResponseTopic) bool { return m.shown(&t.Topic) })
	case *kmsg.OffsetFetchResponse:
		keep(&r.Topics, func(t *kmsg.OffsetFetchResponseTopic) bool { return m.topic(&t.Topic) })
		keep(&r.Groups, func(g *kmsg.OffsetFetchResponseGroup) bool {
			keep(&g.Topics, func(t *kmsg.OffsetFetchResponseGroupTopic) bool {
				if t.Topic == "" {
					return m.TopicID(t.TopicID)
				}
				return m.topic(&t.Topic)
			})
			return m.group(&g.Group)
		})
	case *kmsg.AddPartitionsToTxnResponse:
		keep(&r.Topics, func(t *kmsg.AddPartitionsToTxnResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DescribeTransactionsResponse:
		keep(&r.TransactionStates, func(s *kmsg.DescribeTransactionsResponseTransactionState) bool {
			keep(&s.Topics, func(t *kmsg.DescribeTransactionsResponseTransactionStateTopic) bool { return m.topic(&t.Topic) })
			return m.txn(&s.TransactionalID)
		})
	case *kmsg.ListTransactionsResponse:
		keep(&r.TransactionStates, func(s *kmsg.ListTransactionsResponseTransactionState) bool { return m.txn(&s.TransactionalID) })
	case *kmsg.ConsumerGroupDescribeResponse:
		keep(&r.Groups, func(g *kmsg.ConsumerGroupDescribeResponseGroup) bool {
			for i := range g.Members {
				mapMember(&g.Members[i], m)
			}
			return m.group(&g.Group)
		})
	default:
		return mapConfigResponse(resp, m)
	}
	return nil
}

func mapMember(c *kmsg.ConsumerGroupDescribeResponseGroupMember, m *mapper) {
	keep(&c.SubscribedTopics, m.topic)
	c.SubscribedTopicRegex = nil // as the cluster has it, it names the prefix
	for _, a := range []*kmsg.Assignment{&c.Assignment, &c.TargetAssignment} {
		keep(&a.TopicPartitions, func(t *kmsg.AssignmentTopicPartition) bool { return m.topic(&t.Topic) })
	}
}

func mapConfigResponse(resp kmsg.Response, m *mapper) error {
	switch r := resp.(type) {
	case *kmsg.DescribeConfigsResponse:
		keep(&r.Resources, func(x *kmsg.DescribeConfigsResponseResource) bool { return m.resource(x.ResourceType, &x.ResourceName) })
	case *kmsg.AlterConfigsResponse:
		keep(&r.Resources, func(x *kmsg.AlterConfigsResponseResource) bool { return m.resource(x.ResourceType, &x.ResourceName) })
	case *kmsg.IncrementalAlterConfigsResponse:
		keep(&r.Resources, func(x *kmsg.IncrementalAlterConfigsResponseResource) bool {
			return m.resource(x.ResourceType, &x.ResourceName)
		})
	default:
		return ErrNoNames
	}
	return nil
}
