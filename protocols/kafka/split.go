package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Judge gives error codes to what a request names, as the client names it; 0 lets it through.
type Judge interface {
	// Topic is asked for a topic by name or, where the name is empty, by id.
	Topic(name string, id [16]byte) int16
	Group(name string) int16
	Txn(name string) int16
	// Shared decides over what is everybody's: brokers, loggers.
	Shared() int16
}

// Splits says whether items of a request are refused one by one. Metadata of version 0 is not split, because naming nothing
// asks it for everything.
func Splits(key, version int16) bool {
	switch key {
	case Produce, Fetch, ListOffsets, OffsetCommit, OffsetFetch, OffsetForLeaderEpoch, DeleteRecords, CreateTopics, CreatePartitions,
		DeleteTopics, DescribeProducers, DescribeTopicParts, TxnOffsetCommit, OffsetDelete, AddPartitionsToTxn, DescribeGroups,
		DeleteGroups, ConsumerGroupDescribe, DescribeTransactions, DescribeConfigs, AlterConfigs, IncrementalAlterConfigs,
		ElectLeaders, AlterPartitionAssignments, AlterReplicaLogDirs:
		return true
	case FindCoordinator:
		return version >= 4
	case Metadata:
		return version >= 1
	}
	return false
}

// splitter collects the refusals of single items.
type splitter struct {
	Judge
	refusal kmsg.Response
	denied  int
}

// Split takes what j gives an error code out of a request, and returns a response that refuses it; nil when there is none.
// What is left goes on, and Merge puts the two answers together, as a broker answers for each item apart. left is how many
// items the request still names.
func Split(req kmsg.Request, j Judge) (refusal kmsg.Response, left int) {
	s := &splitter{Judge: j, refusal: req.ResponseKind()}
	s.refusal.SetVersion(req.GetVersion())
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		left = part(s, &r.Topics, func(t *kmsg.ProduceRequestTopic) int16 { return j.Topic(t.Topic, t.TopicID) },
			func(ts []kmsg.ProduceRequestTopic) kmsg.Request {
				return &kmsg.ProduceRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.FetchRequest:
		forgotten := &splitter{Judge: j} // nothing is answered for them
		part(forgotten, &r.ForgottenTopics, func(t *kmsg.FetchRequestForgottenTopic) int16 { return j.Topic(t.Topic, t.TopicID) }, nil)
		left = part(s, &r.Topics, func(t *kmsg.FetchRequestTopic) int16 { return j.Topic(t.Topic, t.TopicID) },
			func(ts []kmsg.FetchRequestTopic) kmsg.Request {
				return &kmsg.FetchRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.ListOffsetsRequest:
		left = part(s, &r.Topics, func(t *kmsg.ListOffsetsRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.ListOffsetsRequestTopic) kmsg.Request {
				return &kmsg.ListOffsetsRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.OffsetForLeaderEpochRequest:
		left = part(s, &r.Topics, func(t *kmsg.OffsetForLeaderEpochRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.OffsetForLeaderEpochRequestTopic) kmsg.Request {
				return &kmsg.OffsetForLeaderEpochRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.MetadataRequest:
		part(s, &r.Topics, func(t *kmsg.MetadataRequestTopic) int16 { return s.optional(t.Topic, t.TopicID) },
			func(ts []kmsg.MetadataRequestTopic) kmsg.Request {
				return &kmsg.MetadataRequest{Version: r.Version, Topics: ts}
			})
		left = 1 // the brokers, which are asked for in any case
	default:
		left = s.splitGroups(req)
	}
	if s.denied == 0 {
		return nil, left
	}
	return s.refusal, left
}

func (s *splitter) named(topic string) int16 { return s.Topic(topic, [16]byte{}) }

func (s *splitter) optional(topic *string, id [16]byte) int16 {
	if topic == nil {
		return s.Topic("", id)
	}
	return s.named(*topic)
}

func (s *splitter) splitGroups(req kmsg.Request) (left int) {
	switch r := req.(type) {
	case *kmsg.OffsetCommitRequest:
		return part(s, &r.Topics, func(t *kmsg.OffsetCommitRequestTopic) int16 { return s.Topic(t.Topic, t.TopicID) },
			func(ts []kmsg.OffsetCommitRequestTopic) kmsg.Request {
				return &kmsg.OffsetCommitRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.TxnOffsetCommitRequest:
		return part(s, &r.Topics, func(t *kmsg.TxnOffsetCommitRequestTopic) int16 { return s.Topic(t.Topic, t.TopicID) },
			func(ts []kmsg.TxnOffsetCommitRequestTopic) kmsg.Request {
				return &kmsg.TxnOffsetCommitRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.OffsetFetchRequest:
		return s.splitOffsets(r)
	case *kmsg.OffsetDeleteRequest:
		return part(s, &r.Topics, func(t *kmsg.OffsetDeleteRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.OffsetDeleteRequestTopic) kmsg.Request {
				return &kmsg.OffsetDeleteRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.AddPartitionsToTxnRequest:
		return s.splitTxn(r)
	case *kmsg.FindCoordinatorRequest:
		decide := s.Group
		if r.CoordinatorType == coordinatorTxn {
			decide = s.Txn
		}
		return part(s, &r.CoordinatorKeys, func(key *string) int16 { return decide(*key) },
			func(keys []string) kmsg.Request {
				return &kmsg.FindCoordinatorRequest{Version: r.Version, CoordinatorKeys: keys}
			})
	case *kmsg.DescribeGroupsRequest:
		return part(s, &r.Groups, s.group, func(gs []string) kmsg.Request {
			return &kmsg.DescribeGroupsRequest{Version: r.Version, Groups: gs}
		})
	case *kmsg.DeleteGroupsRequest:
		return part(s, &r.Groups, s.group, func(gs []string) kmsg.Request {
			return &kmsg.DeleteGroupsRequest{Version: r.Version, Groups: gs}
		})
	case *kmsg.ConsumerGroupDescribeRequest:
		return part(s, &r.Groups, s.group, func(gs []string) kmsg.Request {
			return &kmsg.ConsumerGroupDescribeRequest{Version: r.Version, Groups: gs}
		})
	case *kmsg.DescribeTransactionsRequest:
		return part(s, &r.TransactionalIDs, func(id *string) int16 { return s.Txn(*id) }, func(ids []string) kmsg.Request {
			return &kmsg.DescribeTransactionsRequest{Version: r.Version, TransactionalIDs: ids}
		})
	}
	return s.splitAdmin(req)
}

func (s *splitter) group(name *string) int16 { return s.Group(*name) }

func (s *splitter) splitAdmin(req kmsg.Request) (left int) {
	switch r := req.(type) {
	case *kmsg.CreateTopicsRequest:
		return part(s, &r.Topics, func(t *kmsg.CreateTopicsRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.CreateTopicsRequestTopic) kmsg.Request {
				return &kmsg.CreateTopicsRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.CreatePartitionsRequest:
		return part(s, &r.Topics, func(t *kmsg.CreatePartitionsRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.CreatePartitionsRequestTopic) kmsg.Request {
				return &kmsg.CreatePartitionsRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.DeleteTopicsRequest:
		left = part(s, &r.TopicNames, func(name *string) int16 { return s.named(*name) }, func(names []string) kmsg.Request {
			return &kmsg.DeleteTopicsRequest{Version: r.Version, TopicNames: names}
		})
		return left + part(s, &r.Topics, func(t *kmsg.DeleteTopicsRequestTopic) int16 { return s.optional(t.Topic, t.TopicID) },
			func(ts []kmsg.DeleteTopicsRequestTopic) kmsg.Request {
				return &kmsg.DeleteTopicsRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.DeleteRecordsRequest:
		return part(s, &r.Topics, func(t *kmsg.DeleteRecordsRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.DeleteRecordsRequestTopic) kmsg.Request {
				return &kmsg.DeleteRecordsRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.DescribeProducersRequest:
		return part(s, &r.Topics, func(t *kmsg.DescribeProducersRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.DescribeProducersRequestTopic) kmsg.Request {
				return &kmsg.DescribeProducersRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.DescribeTopicPartitionsRequest:
		return part(s, &r.Topics, func(t *kmsg.DescribeTopicPartitionsRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.DescribeTopicPartitionsRequestTopic) kmsg.Request {
				return &kmsg.DescribeTopicPartitionsRequest{Version: r.Version, Topics: ts}
			})
	case *kmsg.DescribeConfigsRequest:
		return part(s, &r.Resources, func(x *kmsg.DescribeConfigsRequestResource) int16 { return s.resource(x.ResourceType, x.ResourceName) },
			func(xs []kmsg.DescribeConfigsRequestResource) kmsg.Request {
				return &kmsg.DescribeConfigsRequest{Version: r.Version, Resources: xs}
			})
	case *kmsg.AlterConfigsRequest:
		return part(s, &r.Resources, func(x *kmsg.AlterConfigsRequestResource) int16 { return s.resource(x.ResourceType, x.ResourceName) },
			func(xs []kmsg.AlterConfigsRequestResource) kmsg.Request {
				return &kmsg.AlterConfigsRequest{Version: r.Version, Resources: xs}
			})
	case *kmsg.IncrementalAlterConfigsRequest:
		return part(s, &r.Resources, func(x *kmsg.IncrementalAlterConfigsRequestResource) int16 {
			return s.resource(x.ResourceType, x.ResourceName)
		}, func(xs []kmsg.IncrementalAlterConfigsRequestResource) kmsg.Request {
			return &kmsg.IncrementalAlterConfigsRequest{Version: r.Version, Resources: xs}
		})
	}
	return s.splitCluster(req)
}

func (s *splitter) resource(kind kmsg.ConfigResourceType, name string) int16 {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		return s.named(name)
	case kmsg.ConfigResourceTypeGroupConfig:
		return s.Group(name)
	}
	return s.Shared()
}

// splitOffsets takes out whole groups, and single topics of the groups that stay.
func (s *splitter) splitOffsets(r *kmsg.OffsetFetchRequest) (left int) {
	if r.Version < 8 {
		return part(s, &r.Topics, func(t *kmsg.OffsetFetchRequestTopic) int16 { return s.named(t.Topic) },
			func(ts []kmsg.OffsetFetchRequestTopic) kmsg.Request {
				return &kmsg.OffsetFetchRequest{Version: min(r.Version, 1), Topics: ts} // errors by partition
			}) + 1 // the group
	}
	left = part(s, &r.Groups, func(g *kmsg.OffsetFetchRequestGroup) int16 { return s.Group(g.Group) },
		func(gs []kmsg.OffsetFetchRequestGroup) kmsg.Request {
			return &kmsg.OffsetFetchRequest{Version: r.Version, Groups: gs}
		})
	for i := range r.Groups {
		g := &r.Groups[i]
		topics := splitter{Judge: s.Judge}
		var refused []kmsg.OffsetFetchResponseGroupTopic
		part(&topics, &g.Topics, func(t *kmsg.OffsetFetchRequestGroupTopic) int16 {
			code := s.Topic(t.Topic, t.TopicID)
			if code != 0 {
				refused = append(refused, refuseGroupTopic(t, code))
			}
			return code
		}, nil)
		if topics.denied > 0 {
			rg := kmsg.NewOffsetFetchResponseGroup()
			rg.Group, rg.Topics = g.Group, refused
			out := s.refusal.(*kmsg.OffsetFetchResponse)
			out.Groups = append(out.Groups, rg)
			s.denied += topics.denied
		}
	}
	return left
}

// splitTxn refuses all partitions when one is: brokers add all of them or none, and say of the rest that it was not tried.
func (s *splitter) splitTxn(r *kmsg.AddPartitionsToTxnRequest) (left int) {
	all := r.Topics
	again := func(ts []kmsg.AddPartitionsToTxnRequestTopic) kmsg.Request {
		return &kmsg.AddPartitionsToTxnRequest{Version: r.Version, Topics: ts}
	}
	left = part(s, &r.Topics, func(t *kmsg.AddPartitionsToTxnRequestTopic) int16 { return s.named(t.Topic) }, again)
	if s.denied == 0 {
		return left
	}
	Merge(s.refusal, Refuse(again(r.Topics), ErrCodeNotAttempted))
	r.Topics = all[:0:0]
	return 0
}

// part takes out the elements that have a code, adds the refusal of a request for each to the splitter's, and returns how many
// are left. Without again nothing is answered for them.
func part[T any](s *splitter, list *[]T, code func(*T) int16, again func([]T) kmsg.Request) (left int) {
	kept := (*list)[:0:0]
	denied := 0
	for i := range *list {
		t := &(*list)[i]
		c := code(t)
		if c == 0 {
			kept = append(kept, *t)
			continue
		}
		denied++
		if again != nil {
			Merge(s.refusal, Refuse(again([]T{*t}), c))
		}
	}
	if denied > 0 {
		*list = kept
	}
	s.denied += denied
	return len(*list)
}
