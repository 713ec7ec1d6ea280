package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Refuse makes the response that a broker would give had it refused the whole request with this error code, for every topic,
// group and partition that the request names. It is nil where a response has no room for an error.
func Refuse(req kmsg.Request, code int16) kmsg.Response {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		refuseProduce(r, resp.(*kmsg.ProduceResponse), code)
	case *kmsg.FetchRequest:
		refuseFetch(r, resp.(*kmsg.FetchResponse), code)
	case *kmsg.ListOffsetsRequest:
		out := resp.(*kmsg.ListOffsetsResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.OffsetForLeaderEpochRequest:
		out := resp.(*kmsg.OffsetForLeaderEpochResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.MetadataRequest:
		out := resp.(*kmsg.MetadataResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic, rt.TopicID, rt.ErrorCode = t.Topic, t.TopicID, code
			out.Topics = append(out.Topics, rt)
		}
	default:
		if whole := topCode(resp); whole != nil {
			*whole = code
		} else if !refuseTopics(req, resp, code) && !refuseGroup(req, resp, code) && !refuseAdmin(req, resp, code) {
			return nil
		}
	}
	return resp
}

// topCode is the error code of a whole response, where it is all that a refusal has to say.
func topCode(resp kmsg.Response) *int16 {
	switch out := resp.(type) {
	case *kmsg.JoinGroupResponse:
		return &out.ErrorCode
	case *kmsg.HeartbeatResponse:
		return &out.ErrorCode
	case *kmsg.LeaveGroupResponse:
		return &out.ErrorCode
	case *kmsg.ListGroupsResponse:
		return &out.ErrorCode
	case *kmsg.ListTransactionsResponse:
		return &out.ErrorCode
	case *kmsg.ConsumerGroupHeartbeatResponse:
		return &out.ErrorCode
	case *kmsg.ShareGroupHeartbeatResponse:
		return &out.ErrorCode
	case *kmsg.ShareFetchResponse:
		return &out.ErrorCode
	case *kmsg.ShareAcknowledgeResponse:
		return &out.ErrorCode
	case *kmsg.AddOffsetsToTxnResponse:
		return &out.ErrorCode
	case *kmsg.EndTxnResponse:
		return &out.ErrorCode
	case *kmsg.DescribeClusterResponse:
		return &out.ErrorCode
	case *kmsg.DescribeACLsResponse:
		return &out.ErrorCode
	case *kmsg.ListPartitionReassignmentsResponse:
		return &out.ErrorCode
	case *kmsg.UnregisterBrokerResponse:
		return &out.ErrorCode
	case *kmsg.RemoveRaftVoterResponse:
		return &out.ErrorCode
	case *kmsg.UnregisterControllerResponse:
		return &out.ErrorCode
	case *kmsg.DescribeQuorumResponse:
		return &out.ErrorCode
	case *kmsg.UpdateFeaturesResponse:
		return &out.ErrorCode
	case *kmsg.ListConfigResourcesResponse:
		return &out.ErrorCode
	case *kmsg.DescribeClientQuotasResponse:
		return &out.ErrorCode
	case *kmsg.GetTelemetrySubscriptionsResponse:
		return &out.ErrorCode
	case *kmsg.PushTelemetryResponse:
		return &out.ErrorCode
	case *kmsg.StreamsGroupHeartbeatResponse:
		return &out.ErrorCode
	case *kmsg.StreamsGroupTopologyDescriptionUpdateResponse:
		return &out.ErrorCode
	case *kmsg.AlterShareGroupOffsetsResponse:
		return &out.ErrorCode
	case *kmsg.DeleteShareGroupOffsetsResponse:
		return &out.ErrorCode
	case *kmsg.CreateDelegationTokenResponse:
		return &out.ErrorCode
	case *kmsg.RenewDelegationTokenResponse:
		return &out.ErrorCode
	case *kmsg.ExpireDelegationTokenResponse:
		return &out.ErrorCode
	case *kmsg.DescribeDelegationTokenResponse:
		return &out.ErrorCode
	case *kmsg.DescribeUserSCRAMCredentialsResponse:
		return &out.ErrorCode
	}
	return nil
}

// refuseTopics is about topics that are administered.
func refuseTopics(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.CreateTopicsRequest:
		out := resp.(*kmsg.CreateTopicsResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic, rt.ErrorCode = t.Topic, code
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.DeleteTopicsRequest:
		out := resp.(*kmsg.DeleteTopicsResponse)
		for _, name := range r.TopicNames {
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.Topic, rt.ErrorCode = &name, code
			out.Topics = append(out.Topics, rt)
		}
		for _, t := range r.Topics {
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.Topic, rt.TopicID, rt.ErrorCode = t.Topic, t.TopicID, code
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.CreatePartitionsRequest:
		out := resp.(*kmsg.CreatePartitionsResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewCreatePartitionsResponseTopic()
			rt.Topic, rt.ErrorCode = t.Topic, code
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.DeleteRecordsRequest:
		out := resp.(*kmsg.DeleteRecordsResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewDeleteRecordsResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.DescribeProducersRequest:
		out := resp.(*kmsg.DescribeProducersResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewDescribeProducersResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewDescribeProducersResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.DescribeTopicPartitionsRequest:
		out := resp.(*kmsg.DescribeTopicPartitionsResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
			rt.Topic, rt.ErrorCode = &t.Topic, code
			out.Topics = append(out.Topics, rt)
		}
	default:
		return false
	}
	return true
}

func refuseProduce(r *kmsg.ProduceRequest, out *kmsg.ProduceResponse, code int16) {
	for _, t := range r.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, code, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		out.Topics = append(out.Topics, rt)
	}
}

func refuseFetch(r *kmsg.FetchRequest, out *kmsg.FetchResponse, code int16) {
	if r.Version >= 7 && len(r.Topics) == 0 {
		out.ErrorCode = ErrCodeFetchSessionNotFound // the client names its partitions again
		return
	}
	for _, t := range r.Topics {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.HighWatermark = p.Partition, code, -1
			rp.RecordBatches = []byte{}
			rt.Partitions = append(rt.Partitions, rp)
		}
		out.Topics = append(out.Topics, rt)
	}
}

func refuseGroup(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch out := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		r := req.(*kmsg.FindCoordinatorRequest)
		out.ErrorCode, out.NodeID, out.Port = code, -1, -1
		for _, key := range r.CoordinatorKeys {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key, c.NodeID, c.Port, c.ErrorCode = key, -1, -1, code
			out.Coordinators = append(out.Coordinators, c)
		}
	case *kmsg.SyncGroupResponse:
		out.ErrorCode, out.MemberAssignment = code, []byte{}
	case *kmsg.InitProducerIDResponse:
		out.ErrorCode, out.ProducerID, out.ProducerEpoch = code, -1, -1
	case *kmsg.OffsetDeleteResponse:
		refuseOffsetDelete(req.(*kmsg.OffsetDeleteRequest), out, code)
	case *kmsg.DescribeGroupsResponse:
		for _, g := range req.(*kmsg.DescribeGroupsRequest).Groups {
			rg := kmsg.NewDescribeGroupsResponseGroup()
			rg.Group, rg.ErrorCode = g, code
			out.Groups = append(out.Groups, rg)
		}
	case *kmsg.DeleteGroupsResponse:
		for _, g := range req.(*kmsg.DeleteGroupsRequest).Groups {
			rg := kmsg.NewDeleteGroupsResponseGroup()
			rg.Group, rg.ErrorCode = g, code
			out.Groups = append(out.Groups, rg)
		}
	case *kmsg.ConsumerGroupDescribeResponse:
		for _, g := range req.(*kmsg.ConsumerGroupDescribeRequest).Groups {
			rg := kmsg.NewConsumerGroupDescribeResponseGroup()
			rg.Group, rg.ErrorCode = g, code
			out.Groups = append(out.Groups, rg)
		}
	case *kmsg.DescribeTransactionsResponse:
		for _, id := range req.(*kmsg.DescribeTransactionsRequest).TransactionalIDs {
			rs := kmsg.NewDescribeTransactionsResponseTransactionState()
			rs.TransactionalID, rs.ErrorCode = id, code
			out.TransactionStates = append(out.TransactionStates, rs)
		}
	default:
		return refuseOffsets(req, resp, code)
	}
	return true
}

func refuseOffsets(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.OffsetCommitRequest:
		out := resp.(*kmsg.OffsetCommitResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.TxnOffsetCommitRequest:
		out := resp.(*kmsg.TxnOffsetCommitResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	case *kmsg.OffsetFetchRequest:
		out := resp.(*kmsg.OffsetFetchResponse)
		if out.ErrorCode = code; r.Version < 2 { // it has no error of the whole
			out.Topics = refuseOffsetFetch(r.Topics, code)
		}
		for _, g := range r.Groups {
			rg := kmsg.NewOffsetFetchResponseGroup()
			rg.Group, rg.ErrorCode = g.Group, code
			out.Groups = append(out.Groups, rg)
		}
	case *kmsg.AddPartitionsToTxnRequest:
		out := resp.(*kmsg.AddPartitionsToTxnResponse)
		out.ErrorCode = code
		for _, t := range r.Topics {
			rt := kmsg.NewAddPartitionsToTxnResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			out.Topics = append(out.Topics, rt)
		}
	default:
		return false
	}
	return true
}

func refuseOffsetFetch(topics []kmsg.OffsetFetchRequestTopic, code int16) (refused []kmsg.OffsetFetchResponseTopic) {
	for _, t := range topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.ErrorCode = p, -1, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		refused = append(refused, rt)
	}
	return refused
}

// refuseGroupTopic is one topic of one group in the versions that ask for several groups.
func refuseGroupTopic(t *kmsg.OffsetFetchRequestGroupTopic, code int16) kmsg.OffsetFetchResponseGroupTopic {
	rt := kmsg.NewOffsetFetchResponseGroupTopic()
	rt.Topic, rt.TopicID = t.Topic, t.TopicID
	for _, p := range t.Partitions {
		rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		rp.Partition, rp.Offset, rp.ErrorCode = p, -1, code
		rt.Partitions = append(rt.Partitions, rp)
	}
	return rt
}

// refuseOffsetDelete refuses a group as a whole, its topics one by one.
func refuseOffsetDelete(r *kmsg.OffsetDeleteRequest, out *kmsg.OffsetDeleteResponse, code int16) {
	if code == ErrCodeGroupAuthorization {
		out.ErrorCode = code
		return
	}
	for _, t := range r.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, code
			rt.Partitions = append(rt.Partitions, rp)
		}
		out.Topics = append(out.Topics, rt)
	}
}
