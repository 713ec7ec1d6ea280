package kafka

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Error codes that sidewire answers itself.
const (
	ErrCodeNone                   int16 = 0
	ErrCodeUnknownTopic           int16 = 3
	ErrCodeCoordinatorUnavailable int16 = 15
	ErrCodeTopicAuthorization     int16 = 29
	ErrCodeGroupAuthorization     int16 = 30
	ErrCodeClusterAuthorization   int16 = 31
	ErrCodeUnsupportedMechanism   int16 = 33
	ErrCodeIllegalSASLState       int16 = 34
	ErrCodeUnsupportedVersion     int16 = 35
	ErrCodeInvalidRequest         int16 = 42
	ErrCodeTxnAuthorization       int16 = 53
	ErrCodeNotAttempted           int16 = 55
	ErrCodeSASLFailed             int16 = 58
	ErrCodeFetchSessionNotFound   int16 = 70
	ErrCodeUnknownTopicID         int16 = 100
	ErrCodeShareSessionNotFound   int16 = 122
)

// Rewritten says whether a response of this key and version can carry broker addresses and is small enough by nature to
// be decoded whole. Produce, Fetch and ShareFetch responses stream through a Walker instead.
func Rewritten(key, version int16) bool {
	switch key {
	case Metadata, FindCoordinator, DescribeCluster, ShareAcknowledge, DescribeConfigs, ApiVersions:
		return true
	case DescribeQuorum:
		return version >= 2
	}
	return false
}

// Walked says whether a response must be followed by a Walker because its tail can carry node endpoints. KIP-951 defines
// them from Produce v10 and Fetch v16 on, but nothing in the format stops a broker from sending the tag in any flexible
// version.
func Walked(key, version int16) bool {
	return key == Produce && version >= 9 || key == Fetch && version >= 12 || key == ShareFetch
}

// RewriteResponse appends to dst the body as a client may see it: every broker address is replaced by what brokers
// maps it to. The body must be one Rewritten, CarriesNodes or Walked names.
func RewriteResponse(dst []byte, key, version int16, body []byte, brokers Brokers) ([]byte, error) {
	resp := kmsg.ResponseForKey(key)
	if resp == nil || !Known(key, version) {
		return dst, fmt.Errorf("rewriting response: no layout for key %d v%d", key, version)
	}
	resp.SetVersion(version)
	if err := DecodeResponse(resp, body); err != nil {
		return dst, err
	}
	rewriteBrokers(resp, brokers)
	return resp.AppendTo(dst), nil
}

// HideBrokers replaces every broker address in a decoded response.
func HideBrokers(resp kmsg.Response, brokers Brokers) { rewriteBrokers(resp, brokers) }

func node(b Brokers, id int32) int32 {
	if id < 0 {
		return id
	}
	return b.Node(id)
}

func nodes(b Brokers, ids []int32) {
	for i := range ids {
		ids[i] = node(b, ids[i])
	}
}

// endpointFields points at what every message's own broker type has in common.
type endpointFields struct {
	node *int32
	host *string
	port *int32
}

// reachable rewrites the brokers of a list in place and drops those that clients cannot be sent to.
func reachable[T any](b Brokers, list []T, fields func(*T) endpointFields) []T {
	kept := list[:0]
	for i := range list {
		f := fields(&list[i])
		host, port, ok := b.Endpoint(*f.node, *f.host, *f.port)
		if !ok {
			continue
		}
		*f.node, *f.host, *f.port = node(b, *f.node), host, port
		kept = append(kept, list[i])
	}
	return kept
}

func rewriteBrokers(resp kmsg.Response, b Brokers) {
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		rewriteMetadata(r, b)
	case *kmsg.FindCoordinatorResponse:
		rewriteCoordinators(r, b)
	case *kmsg.DescribeClusterResponse:
		rewriteDescribeCluster(r, b)
	case *kmsg.ProduceResponse:
		r.Brokers = reachable(b, r.Brokers, func(e *kmsg.ProduceResponseBroker) endpointFields {
			return endpointFields{&e.NodeID, &e.Host, &e.Port}
		})
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				l := &r.Topics[i].Partitions[j].CurrentLeader
				l.LeaderID = node(b, l.LeaderID)
			}
		}
	case *kmsg.FetchResponse:
		r.Brokers = reachable(b, r.Brokers, func(e *kmsg.FetchResponseBroker) endpointFields {
			return endpointFields{&e.NodeID, &e.Host, &e.Port}
		})
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[j]
				p.CurrentLeader.LeaderID = node(b, p.CurrentLeader.LeaderID)
				p.PreferredReadReplica = node(b, p.PreferredReadReplica)
			}
		}
	case *kmsg.ShareFetchResponse:
		r.NodeEndpoints = reachable(b, r.NodeEndpoints, func(e *kmsg.ShareFetchResponseNodeEndpoint) endpointFields {
			return endpointFields{&e.NodeID, &e.Host, &e.Port}
		})
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				l := &r.Topics[i].Partitions[j].CurrentLeader
				l.LeaderID = node(b, l.LeaderID)
			}
		}
	case *kmsg.ShareAcknowledgeResponse:
		r.NodeEndpoints = reachable(b, r.NodeEndpoints, func(e *kmsg.ShareAcknowledgeResponseNodeEndpoint) endpointFields {
			return endpointFields{&e.NodeID, &e.Host, &e.Port}
		})
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				l := &r.Topics[i].Partitions[j].CurrentLeader
				l.LeaderID = node(b, l.LeaderID)
			}
		}
	default:
		rewriteAdmin(resp, b)
	}
}

func rewriteMetadata(r *kmsg.MetadataResponse, b Brokers) {
	r.Brokers = reachable(b, r.Brokers, func(e *kmsg.MetadataResponseBroker) endpointFields {
		return endpointFields{&e.NodeID, &e.Host, &e.Port}
	})
	r.ControllerID = node(b, r.ControllerID)
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			p.Leader = node(b, p.Leader)
			nodes(b, p.Replicas)
			nodes(b, p.ISR)
			nodes(b, p.OfflineReplicas)
		}
	}
}

// rewriteCoordinators handles the single form (v0 to v3) and the batched one (v4 on). A coordinator that cannot be
// reached through sidewire is reported as not available, which clients retry.
func rewriteCoordinators(r *kmsg.FindCoordinatorResponse, b Brokers) {
	one := func(id *int32, host *string, port *int32, code *int16) {
		if *id < 0 {
			*host, *port = "", -1
			return
		}
		h, p, ok := b.Endpoint(*id, *host, *port)
		if !ok {
			*id, *host, *port, *code = -1, "", -1, ErrCodeCoordinatorUnavailable
			return
		}
		*id, *host, *port = b.Node(*id), h, p
	}
	if r.Version < 4 {
		// A refusal leaves the node id at -1, or, from some brokers, at 0 with no host.
		if r.Host == "" {
			r.NodeID = -1
		}
		one(&r.NodeID, &r.Host, &r.Port, &r.ErrorCode)
		return
	}
	for i := range r.Coordinators {
		c := &r.Coordinators[i]
		if c.Host == "" {
			c.NodeID = -1
		}
		one(&c.NodeID, &c.Host, &c.Port, &c.ErrorCode)
	}
}

// endpointControllers is DescribeCluster's endpoint_type for controllers.
const endpointControllers = 2

func rewriteDescribeCluster(r *kmsg.DescribeClusterResponse, b Brokers) {
	if r.EndpointType == endpointControllers {
		// Controllers are not reachable through sidewire: their addresses would be a way round it.
		r.Brokers = nil
		return
	}
	r.Brokers = reachable(b, r.Brokers, func(e *kmsg.DescribeClusterResponseBroker) endpointFields {
		return endpointFields{&e.NodeID, &e.Host, &e.Port}
	})
	r.ControllerID = node(b, r.ControllerID)
}

func rewriteAdmin(resp kmsg.Response, b Brokers) {
	switch r := resp.(type) {
	case *kmsg.DescribeQuorumResponse:
		rewriteQuorum(r, b)
	case *kmsg.DescribeConfigsResponse:
		hideAddresses(r)
		rewriteResources(r, b)
	case *kmsg.DescribeTopicPartitionsResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[j]
				p.LeaderID = node(b, p.LeaderID)
				nodes(b, p.Replicas)
				nodes(b, p.ISR)
				nodes(b, p.EligibleLeaderReplicas)
				nodes(b, p.LastKnownELR)
				nodes(b, p.OfflineReplicas)
			}
		}
	case *kmsg.ListPartitionReassignmentsResponse:
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				p := &r.Topics[i].Partitions[j]
				nodes(b, p.Replicas)
				nodes(b, p.AddingReplicas)
				nodes(b, p.RemovingReplicas)
			}
		}
	default:
		rewriteResources(resp, b)
	}
}

// hideAddresses treats the broker settings that name upstream addresses as brokers treat passwords: present, sensitive
// and without a value.
func hideAddresses(r *kmsg.DescribeConfigsResponse) {
	for i := range r.Resources {
		res := &r.Resources[i]
		if res.ResourceType != kmsg.ConfigResourceTypeBroker {
			continue
		}
		for j := range res.Configs {
			c := &res.Configs[j]
			if !addressConfig(c.Name) {
				continue
			}
			c.Value, c.IsSensitive = nil, true
			for k := range c.ConfigSynonyms {
				c.ConfigSynonyms[k].Value = nil
			}
		}
	}
}

func addressConfig(name string) bool {
	switch name {
	case "listeners", "advertised.listeners", "controller.quorum.voters", "controller.quorum.bootstrap.servers",
		"zookeeper.connect", "host.name", "advertised.host.name", "port", "advertised.port":
		return true
	}
	return strings.HasSuffix(name, ".bootstrap.servers")
}
