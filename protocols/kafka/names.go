package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Names decides over the names in a message. In requests it turns what a client says into what the cluster calls it, in
// responses the reverse; ok false refuses the name (requests) or hides what bears it (responses).
type Names interface {
	Topic(name string) (mapped string, ok bool)
	TopicID(id [16]byte) (ok bool)
	// AllTopics says whether a request that names no topic may mean all of them.
	AllTopics() bool
	// TopicPattern maps a regular expression over topic names, TxnPattern one over transactional ids; an empty one cannot be mapped.
	TopicPattern(re string) string
	TxnPattern(re string) string
	Group(name string) (mapped string, ok bool)
	Txn(name string) (mapped string, ok bool)
	// Beginning maps what several names begin with.
	Beginning(kind NameKind, name string) (mapped string, ok bool)
	// Cursor maps the topic at which a list of topics goes on: in requests the client's, where an empty one is the first there may
	// be; in responses to the first of the client's own from there on, ok false when there can be none.
	Cursor(name string) (mapped string, ok bool)
	// Message is the text of an error, with names in it.
	Message(text string) string
	// Shared says whether what is everybody's may be named: brokers, loggers.
	Shared() bool
}

// ErrNoNames says that nobody wrote down where a message holds names, so that it cannot be let through where names matter.
var ErrNoNames = errors.New("kafka: no map of the names in this message")

// mapper carries Names through a message. refused is set when a name was.
type mapper struct {
	Names
	refused bool
}

func (m *mapper) settle(s *string, mapped string, ok bool) bool {
	if !ok {
		m.refused = true
		return false
	}
	*s = mapped
	return true
}

func (m *mapper) topic(s *string) bool {
	mapped, ok := m.Topic(*s)
	return m.settle(s, mapped, ok)
}

func (m *mapper) group(s *string) bool {
	mapped, ok := m.Group(*s)
	return m.settle(s, mapped, ok)
}

func (m *mapper) txn(s *string) bool {
	mapped, ok := m.Txn(*s)
	return m.settle(s, mapped, ok)
}

func (m *mapper) message(s *string) {
	if s != nil {
		*s = m.Message(*s)
	}
}

func (m *mapper) optional(s *string, f func(*string) bool) bool { return s == nil || f(s) }

// either is a topic told by name in old versions and by id in new ones.
func (m *mapper) either(name *string, id [16]byte) bool {
	if *name == "" && id != ([16]byte{}) {
		if !m.TopicID(id) {
			m.refused = true
			return false
		}
		return true
	}
	return m.topic(name)
}

func (m *mapper) id(id [16]byte) bool {
	ok := m.TopicID(id)
	m.refused = m.refused || !ok
	return ok
}

// keep maps every element of a list and drops those that are refused.
func keep[T any](list *[]T, f func(*T) bool) {
	if *list == nil { // null and empty differ on the wire
		return
	}
	kept := (*list)[:0]
	for i := range *list {
		if f(&(*list)[i]) {
			kept = append(kept, (*list)[i])
		}
	}
	*list = kept
}

// MapRequest maps every name in a request. It reports false when one was refused; the request is then of no use. Messages
// that hold no names pass as they are.
func MapRequest(req kmsg.Request, n Names) (ok bool, err error) {
	m := &mapper{Names: n}
	switch r := req.(type) {
	case *kmsg.ApiVersionsRequest, *kmsg.SASLHandshakeRequest, *kmsg.SASLAuthenticateRequest, *kmsg.DescribeClusterRequest,
		*kmsg.ListGroupsRequest, *kmsg.ListConfigResourcesRequest, *kmsg.GetTelemetrySubscriptionsRequest, *kmsg.PushTelemetryRequest:
	case *kmsg.ProduceRequest:
		m.optional(r.TransactionID, m.txn)
		keep(&r.Topics, func(t *kmsg.ProduceRequestTopic) bool { return m.either(&t.Topic, t.TopicID) })
	case *kmsg.FetchRequest:
		keep(&r.Topics, func(t *kmsg.FetchRequestTopic) bool { return m.either(&t.Topic, t.TopicID) })
		keep(&r.ForgottenTopics, func(t *kmsg.FetchRequestForgottenTopic) bool { return m.either(&t.Topic, t.TopicID) })
	case *kmsg.ListOffsetsRequest:
		keep(&r.Topics, func(t *kmsg.ListOffsetsRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.MetadataRequest:
		keep(&r.Topics, func(t *kmsg.MetadataRequestTopic) bool {
			if t.Topic == nil {
				return m.id(t.TopicID)
			}
			return m.topic(t.Topic)
		})
	case *kmsg.OffsetForLeaderEpochRequest:
		keep(&r.Topics, func(t *kmsg.OffsetForLeaderEpochRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DeleteRecordsRequest:
		keep(&r.Topics, func(t *kmsg.DeleteRecordsRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.CreateTopicsRequest:
		keep(&r.Topics, func(t *kmsg.CreateTopicsRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.CreatePartitionsRequest:
		keep(&r.Topics, func(t *kmsg.CreatePartitionsRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DeleteTopicsRequest:
		keep(&r.TopicNames, m.topic)
		keep(&r.Topics, func(t *kmsg.DeleteTopicsRequestTopic) bool {
			if t.Topic == nil {
				return m.id(t.TopicID)
			}
			return m.topic(t.Topic)
		})
	case *kmsg.DescribeProducersRequest:
		keep(&r.Topics, func(t *kmsg.DescribeProducersRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.DescribeTopicPartitionsRequest:
		if r.Cursor == nil && len(r.Topics) == 0 && !m.Shared() {
			r.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{} // everything there is begins with what is the client's
		}
		keep(&r.Topics, func(t *kmsg.DescribeTopicPartitionsRequestTopic) bool { return m.topic(&t.Topic) })
		if c := r.Cursor; c != nil {
			mapped, ok := m.Cursor(c.Topic)
			m.settle(&c.Topic, mapped, ok)
		}
	default:
		if known, err := mapGroupRequest(req, m); !known || err != nil {
			if err != nil {
				return false, err
			}
			if mapShareRequest(req, m) || mapACLRequest(req, m) || mapStreamsRequest(req, m) || mapClusterRequest(req, m) {
				break
			}
			return mapConfigRequest(req, m)
		}
	}
	return !m.refused, nil
}

// FindCoordinator's key types beside groups (0). Brokers alone ask for the coordinators of share partitions.
const (
	coordinatorTxn   = 1
	coordinatorShare = 2
)

func mapGroupRequest(req kmsg.Request, m *mapper) (known bool, err error) {
	switch r := req.(type) {
	case *kmsg.FindCoordinatorRequest:
		if r.CoordinatorType == coordinatorShare {
			return true, ErrNoNames
		}
		f := m.group
		if r.CoordinatorType == coordinatorTxn {
			f = m.txn
		}
		if r.Version < 4 {
			f(&r.CoordinatorKey)
		}
		keep(&r.CoordinatorKeys, f)
	case *kmsg.JoinGroupRequest:
		m.joinRequest(r)
	case *kmsg.SyncGroupRequest:
		m.syncRequest(r)
	case *kmsg.HeartbeatRequest:
		m.group(&r.Group)
	case *kmsg.LeaveGroupRequest:
		m.group(&r.Group)
	case *kmsg.DescribeGroupsRequest:
		keep(&r.Groups, m.group)
	case *kmsg.DeleteGroupsRequest:
		keep(&r.Groups, m.group)
	case *kmsg.OffsetCommitRequest:
		m.group(&r.Group)
		keep(&r.Topics, func(t *kmsg.OffsetCommitRequestTopic) bool { return m.either(&t.Topic, t.TopicID) })
	case *kmsg.OffsetFetchRequest:
		if r.Version < 8 {
			m.group(&r.Group)
		}
		keep(&r.Topics, func(t *kmsg.OffsetFetchRequestTopic) bool { return m.topic(&t.Topic) })
		keep(&r.Groups, func(g *kmsg.OffsetFetchRequestGroup) bool {
			keep(&g.Topics, func(t *kmsg.OffsetFetchRequestGroupTopic) bool { return m.either(&t.Topic, t.TopicID) })
			return m.group(&g.Group)
		})
	case *kmsg.OffsetDeleteRequest:
		m.group(&r.Group)
		keep(&r.Topics, func(t *kmsg.OffsetDeleteRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.InitProducerIDRequest:
		m.optional(r.TransactionalID, m.txn)
	case *kmsg.AddPartitionsToTxnRequest:
		if r.Version >= 4 {
			return true, ErrNoNames // between brokers
		}
		m.txn(&r.TransactionalID)
		keep(&r.Topics, func(t *kmsg.AddPartitionsToTxnRequestTopic) bool { return m.topic(&t.Topic) })
	case *kmsg.AddOffsetsToTxnRequest:
		m.txn(&r.TransactionalID)
		m.group(&r.Group)
	case *kmsg.EndTxnRequest:
		m.txn(&r.TransactionalID)
	case *kmsg.TxnOffsetCommitRequest:
		m.txn(&r.TransactionalID)
		m.group(&r.Group)
		keep(&r.Topics, func(t *kmsg.TxnOffsetCommitRequestTopic) bool { return m.either(&t.Topic, t.TopicID) })
	case *kmsg.DescribeTransactionsRequest:
		keep(&r.TransactionalIDs, m.txn)
	case *kmsg.ListTransactionsRequest:
		if r.TransactionalIDPattern != nil && *r.TransactionalIDPattern != "" {
			*r.TransactionalIDPattern = m.TxnPattern(*r.TransactionalIDPattern)
		}
	case *kmsg.ConsumerGroupHeartbeatRequest:
		m.group(&r.Group)
		keep(&r.SubscribedTopicNames, m.topic)
		if r.SubscribedTopicRegex != nil && *r.SubscribedTopicRegex != "" {
			*r.SubscribedTopicRegex = m.TopicPattern(*r.SubscribedTopicRegex)
		}
		keep(&r.Topics, func(t *kmsg.ConsumerGroupHeartbeatRequestTopic) bool { return m.id(t.TopicID) })
	case *kmsg.ConsumerGroupDescribeRequest:
		keep(&r.Groups, m.group)
	default:
		return false, nil
	}
	return true, nil
}

// resource is what a configuration belongs to.
func (m *mapper) resource(kind kmsg.ConfigResourceType, name *string) bool {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		return m.topic(name)
	case kmsg.ConfigResourceTypeGroupConfig:
		return m.group(name)
	}
	m.refused = m.refused || !m.Shared() // brokers, loggers and metrics are everybody's
	return m.Shared()
}

func mapConfigRequest(req kmsg.Request, m *mapper) (bool, error) {
	switch r := req.(type) {
	case *kmsg.DescribeConfigsRequest:
		keep(&r.Resources, func(x *kmsg.DescribeConfigsRequestResource) bool { return m.resource(x.ResourceType, &x.ResourceName) })
	case *kmsg.AlterConfigsRequest:
		keep(&r.Resources, func(x *kmsg.AlterConfigsRequestResource) bool { return m.resource(x.ResourceType, &x.ResourceName) })
	case *kmsg.IncrementalAlterConfigsRequest:
		keep(&r.Resources, func(x *kmsg.IncrementalAlterConfigsRequestResource) bool {
			return m.resource(x.ResourceType, &x.ResourceName)
		})
	default:
		return false, ErrNoNames
	}
	return !m.refused, nil
}

// HasNames says whether MapRequest and MapResponse know an API: where names matter, no other may be offered.
func HasNames(key int16) bool {
	switch key {
	case Produce, Fetch, ListOffsets, Metadata, OffsetCommit, OffsetFetch, FindCoordinator, JoinGroup, Heartbeat, LeaveGroup, SyncGroup,
		DescribeGroups, ListGroups, SASLHandshake, ApiVersions, CreateTopics, DeleteTopics, DeleteRecords, InitProducerID,
		OffsetForLeaderEpoch, AddPartitionsToTxn,
		AddOffsetsToTxn, EndTxn, TxnOffsetCommit, DescribeConfigs, AlterConfigs, SASLAuthenticate, CreatePartitions, DeleteGroups,
		IncrementalAlterConfigs, OffsetDelete, DescribeCluster, DescribeProducers, DescribeTransactions, ListTransactions,
		ConsumerGroupHeartbeat, ConsumerGroupDescribe, 71, 72, DescribeTopicParts, DescribeACLs, CreateACLs, DeleteACLs, ListConfigResources,
		ShareGroupHeartbeat, ShareGroupDescribe, ShareFetch, ShareAcknowledge, DescribeShareGroupOffsets, AlterShareGroupOffsets, DeleteShareGroupOffsets,
		StreamsGroupHeartbeat, StreamsGroupDescribe, StreamsGroupTopology:
		return true
	}
	return false
}
