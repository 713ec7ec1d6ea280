package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Merge adds a refusal of Split to the response to the rest.
func Merge(resp, refusal kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.ProduceResponse).Topics...)
	case *kmsg.FetchResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.FetchResponse).Topics...)
	case *kmsg.ListOffsetsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.ListOffsetsResponse).Topics...)
	case *kmsg.OffsetForLeaderEpochResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.OffsetForLeaderEpochResponse).Topics...)
	case *kmsg.MetadataResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.MetadataResponse).Topics...)
	case *kmsg.CreateTopicsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.CreateTopicsResponse).Topics...)
	case *kmsg.CreatePartitionsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.CreatePartitionsResponse).Topics...)
	case *kmsg.DeleteTopicsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.DeleteTopicsResponse).Topics...)
	case *kmsg.DeleteRecordsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.DeleteRecordsResponse).Topics...)
	case *kmsg.DescribeProducersResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.DescribeProducersResponse).Topics...)
	case *kmsg.DescribeTopicPartitionsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.DescribeTopicPartitionsResponse).Topics...)
	case *kmsg.DescribeConfigsResponse:
		r.Resources = append(r.Resources, refusal.(*kmsg.DescribeConfigsResponse).Resources...)
	case *kmsg.AlterConfigsResponse:
		r.Resources = append(r.Resources, refusal.(*kmsg.AlterConfigsResponse).Resources...)
	case *kmsg.IncrementalAlterConfigsResponse:
		r.Resources = append(r.Resources, refusal.(*kmsg.IncrementalAlterConfigsResponse).Resources...)
	case *kmsg.ElectLeadersResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.ElectLeadersResponse).Topics...)
	case *kmsg.AlterPartitionAssignmentsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.AlterPartitionAssignmentsResponse).Topics...)
	case *kmsg.AlterReplicaLogDirsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.AlterReplicaLogDirsResponse).Topics...)
	default:
		mergeGroups(resp, refusal)
	}
}

func mergeGroups(resp, refusal kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.OffsetCommitResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.OffsetCommitResponse).Topics...)
	case *kmsg.TxnOffsetCommitResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.TxnOffsetCommitResponse).Topics...)
	case *kmsg.OffsetDeleteResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.OffsetDeleteResponse).Topics...)
	case *kmsg.AddPartitionsToTxnResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.AddPartitionsToTxnResponse).Topics...)
	case *kmsg.FindCoordinatorResponse:
		r.Coordinators = append(r.Coordinators, refusal.(*kmsg.FindCoordinatorResponse).Coordinators...)
	case *kmsg.DescribeGroupsResponse:
		r.Groups = append(r.Groups, refusal.(*kmsg.DescribeGroupsResponse).Groups...)
	case *kmsg.DeleteGroupsResponse:
		r.Groups = append(r.Groups, refusal.(*kmsg.DeleteGroupsResponse).Groups...)
	case *kmsg.ConsumerGroupDescribeResponse:
		r.Groups = append(r.Groups, refusal.(*kmsg.ConsumerGroupDescribeResponse).Groups...)
	case *kmsg.DescribeTransactionsResponse:
		r.TransactionStates = append(r.TransactionStates, refusal.(*kmsg.DescribeTransactionsResponse).TransactionStates...)
	case *kmsg.OffsetFetchResponse:
		out := refusal.(*kmsg.OffsetFetchResponse)
		r.Topics = append(r.Topics, out.Topics...)
		for _, g := range out.Groups {
			mergeOffsets(r, g)
		}
	}
}

// mergeOffsets adds refused topics to the group's own answer. A group that failed as a whole has nothing to say of topics.
func mergeOffsets(r *kmsg.OffsetFetchResponse, g kmsg.OffsetFetchResponseGroup) {
	for i := range r.Groups {
		if known := &r.Groups[i]; known.Group == g.Group {
			if known.ErrorCode == 0 {
				known.Topics = append(known.Topics, g.Topics...)
			}
			return
		}
	}
	r.Groups = append(r.Groups, g)
}
