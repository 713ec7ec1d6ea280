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
	case *kmsg.MetadataRequest:
		out := resp.(*kmsg.MetadataResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic, rt.TopicID, rt.ErrorCode = t.Topic, t.TopicID, code
			out.Topics = append(out.Topics, rt)
		}
	default:
		if !refuseGroup(req, resp, code) && !refuseConfig(req, resp, code) {
			return nil
		}
	}
	return resp
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
	case *kmsg.JoinGroupResponse:
		out.ErrorCode = code
	case *kmsg.SyncGroupResponse:
		out.ErrorCode, out.MemberAssignment = code, []byte{}
	case *kmsg.HeartbeatResponse:
		out.ErrorCode = code
	case *kmsg.LeaveGroupResponse:
		out.ErrorCode = code
	case *kmsg.ListGroupsResponse:
		out.ErrorCode = code
	case *kmsg.ListTransactionsResponse:
		out.ErrorCode = code
	case *kmsg.ConsumerGroupHeartbeatResponse:
		out.ErrorCode = code
	case *kmsg.ShareGroupHeartbeatResponse:
		out.ErrorCode = code
	case *kmsg.ShareFetchResponse:
		out.ErrorCode = code
	case *kmsg.ShareAcknowledgeResponse:
		out.ErrorCode = code
	case *kmsg.InitProducerIDResponse:
		out.ErrorCode, out.ProducerID, out.ProducerEpoch = code, -1, -1
	case *kmsg.AddOffsetsToTxnResponse:
		out.ErrorCode = code
	case *kmsg.EndTxnResponse:
		out.ErrorCode = code
	case *kmsg.OffsetDeleteResponse:
		out.ErrorCode = code
	case *kmsg.DescribeClusterResponse:
		out.ErrorCode = code
	case *kmsg.AlterPartitionAssignmentsResponse:
		out.ErrorCode = code
	case *kmsg.UnregisterBrokerResponse:
		out.ErrorCode = code
	case *kmsg.RemoveRaftVoterResponse:
		out.ErrorCode = code
	case *kmsg.UnregisterControllerResponse:
		out.ErrorCode = code
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
		out.ErrorCode = code
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

func refuseConfig(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.DescribeConfigsRequest:
		out := resp.(*kmsg.DescribeConfigsResponse)
		for _, x := range r.Resources {
			rx := kmsg.NewDescribeConfigsResponseResource()
			rx.ResourceType, rx.ResourceName, rx.ErrorCode = x.ResourceType, x.ResourceName, code
			out.Resources = append(out.Resources, rx)
		}
	case *kmsg.AlterConfigsRequest:
		out := resp.(*kmsg.AlterConfigsResponse)
		for _, x := range r.Resources {
			rx := kmsg.NewAlterConfigsResponseResource()
			rx.ResourceType, rx.ResourceName, rx.ErrorCode = x.ResourceType, x.ResourceName, code
			out.Resources = append(out.Resources, rx)
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		out := resp.(*kmsg.IncrementalAlterConfigsResponse)
		for _, x := range r.Resources {
			rx := kmsg.NewIncrementalAlterConfigsResponseResource()
			rx.ResourceType, rx.ResourceName, rx.ErrorCode = x.ResourceType, x.ResourceName, code
			out.Resources = append(out.Resources, rx)
		}
	default:
		return false
	}
	return true
}
