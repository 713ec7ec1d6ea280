package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// MapResponse maps every name in a response back to what the client calls it and takes out what is not the client's: topics,
// groups and transactional ids of others in listings above all.
func MapResponse(resp kmsg.Response, n Names) error {
	m := &mapper{Names: n}
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse, *kmsg.SASLHandshakeResponse, *kmsg.SASLAuthenticateResponse,
		*kmsg.GetTelemetrySubscriptionsResponse, *kmsg.PushTelemetryResponse,
		*kmsg.HeartbeatResponse, *kmsg.LeaveGroupResponse, *kmsg.InitProducerIDResponse, *kmsg.AddOffsetsToTxnResponse, *kmsg.EndTxnResponse:
	case *kmsg.DescribeClusterResponse:
		m.message(r.ErrorMessage)
	case *kmsg.ProduceResponse:
		keep(&r.Topics, m.produced)
	case *kmsg.FetchResponse:
		keep(&r.Topics, func(t *kmsg.FetchResponseTopic) bool { return m.shown(&t.Topic) })
	case *kmsg.MetadataResponse:
		keep(&r.Topics, func(t *kmsg.MetadataResponseTopic) bool { return m.optional(t.Topic, m.topic) })
	case *kmsg.CreateTopicsResponse:
		keep(&r.Topics, func(t *kmsg.CreateTopicsResponseTopic) bool {
			m.message(t.ErrorMessage)
			return m.topic(&t.Topic)
		})
	case *kmsg.DeleteTopicsResponse:
		keep(&r.Topics, func(t *kmsg.DeleteTopicsResponseTopic) bool {
			m.message(t.ErrorMessage)
			return m.optional(t.Topic, m.topic)
		})
	case *kmsg.ListOffsetsResponse:
		keep(&r.Topics, func(t *kmsg.ListOffsetsResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DeleteRecordsResponse:
		keep(&r.Topics, func(t *kmsg.DeleteRecordsResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.OffsetForLeaderEpochResponse:
		keep(&r.Topics, func(t *kmsg.OffsetForLeaderEpochResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.OffsetDeleteResponse:
		keep(&r.Topics, func(t *kmsg.OffsetDeleteResponseTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DescribeProducersResponse:
		keep(&r.Topics, func(t *kmsg.DescribeProducersResponseTopic) bool {
			for i := range t.Partitions {
				m.message(t.Partitions[i].ErrorMessage)
			}
			return m.topic(&t.Topic)
		})
	case *kmsg.CreatePartitionsResponse:
		keep(&r.Topics, func(t *kmsg.CreatePartitionsResponseTopic) bool {
			m.message(t.ErrorMessage)
			return m.topic(&t.Topic)
		})
	case *kmsg.DescribeTopicPartitionsResponse:
		keep(&r.Topics, func(t *kmsg.DescribeTopicPartitionsResponseTopic) bool { return m.optional(t.Topic, m.topic) })
		m.cursor(r)
	default:
		return mapGroupResponse(resp, m)
	}
	return nil
}

// cursor maps where a list of topics goes on. What lies between there and the client's own names is passed over.
func (m *mapper) cursor(r *kmsg.DescribeTopicPartitionsResponse) {
	c := r.NextCursor
	if c == nil {
		return
	}
	own, exact := m.Topic(c.Topic)
	mapped, ok := m.Cursor(c.Topic)
	if !ok {
		r.NextCursor = nil
		return
	}
	if c.Topic = mapped; !exact || own != mapped {
		c.Partition = 0
	}
}

func (m *mapper) produced(t *kmsg.ProduceResponseTopic) bool {
	for i := range t.Partitions {
		p := &t.Partitions[i]
		m.message(p.ErrorMessage)
		for j := range p.ErrorRecords {
			m.message(p.ErrorRecords[j].ErrorMessage)
		}
	}
	return m.shown(&t.Topic)
}

// shown is a topic by name, or one by id, whose name is empty and whose right was settled with the request.
func (m *mapper) shown(name *string) bool { return *name == "" || m.topic(name) }

func mapGroupResponse(resp kmsg.Response, m *mapper) error {
	switch r := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		m.message(r.ErrorMessage)
		keep(&r.Coordinators, func(c *kmsg.FindCoordinatorResponseCoordinator) bool {
			m.message(c.ErrorMessage)
			return m.group(&c.Key)
		})
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
	case *kmsg.ConsumerGroupHeartbeatResponse:
		m.message(r.ErrorMessage)
	case *kmsg.ConsumerGroupDescribeResponse:
		keep(&r.Groups, func(g *kmsg.ConsumerGroupDescribeResponseGroup) bool {
			m.message(g.ErrorMessage)
			for i := range g.Members {
				mapMember(&g.Members[i], m)
			}
			return m.group(&g.Group)
		})
	default:
		if mapShareResponse(resp, m) || mapACLResponse(resp, m) || mapStreamsResponse(resp, m) {
			return nil
		}
		return mapConfigResponse(resp, m)
	}
	return nil
}

func mapMember(c *kmsg.ConsumerGroupDescribeResponseGroupMember, m *mapper) {
	keep(&c.SubscribedTopics, m.topic)
	if re := c.SubscribedTopicRegex; re != nil && *re != "" {
		if *re = m.TopicPattern(*re); *re == "" {
			c.SubscribedTopicRegex = nil // nobody's of here
		}
	}
	for _, a := range []*kmsg.Assignment{&c.Assignment, &c.TargetAssignment} {
		keep(&a.TopicPartitions, func(t *kmsg.AssignmentTopicPartition) bool { return m.topic(&t.Topic) })
	}
}

func mapConfigResponse(resp kmsg.Response, m *mapper) error {
	switch r := resp.(type) {
	case *kmsg.DescribeConfigsResponse:
		keep(&r.Resources, func(x *kmsg.DescribeConfigsResponseResource) bool {
			m.message(x.ErrorMessage)
			return m.resource(x.ResourceType, &x.ResourceName)
		})
	case *kmsg.AlterConfigsResponse:
		keep(&r.Resources, func(x *kmsg.AlterConfigsResponseResource) bool {
			m.message(x.ErrorMessage)
			return m.resource(x.ResourceType, &x.ResourceName)
		})
	case *kmsg.IncrementalAlterConfigsResponse:
		keep(&r.Resources, func(x *kmsg.IncrementalAlterConfigsResponseResource) bool {
			m.message(x.ErrorMessage)
			return m.resource(x.ResourceType, &x.ResourceName)
		})
	case *kmsg.ListConfigResourcesResponse:
		keep(&r.ConfigResources, func(x *kmsg.ListConfigResourcesResponseConfigResource) bool {
			return m.resource(kmsg.ConfigResourceType(x.Type), &x.Name)
		})
	default:
		return ErrNoNames
	}
	return nil
}
