package kafka_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/integration/leak"
)

func tenant(t *testing.T, c *kfake.Cluster, prefix string) *proxy {
	return start(t, c.ListenAddrs(), fmt.Sprintf(`brokers: {ports: PORTS}, virtual: {prefix: %q}`, prefix), "", "")
}

// Trap 32: two tenants' share groups of one name share nothing; their offsets, descriptions and configurations are their own.
func TestShareGroupsOfTenantsAreApart(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "a.orders", "b.orders"))
	ctx := within(t, 60*time.Second)
	for _, prefix := range []string{"a.", "b."} {
		c.SetGroupConfigs(prefix+"sharers", map[string]string{"share.auto.offset.reset": "earliest"})
	}
	for _, prefix := range []string{"a.", "b."} {
		p := tenant(t, c, prefix)
		prod := client(t, p.addr)
		for i := range 40 {
			if err := prod.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: fmt.Appendf(nil, "%s%d:", prefix, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		share := client(t, p.addr, kgo.ConsumeTopics("orders"), kgo.ShareGroup("sharers"), kgo.FetchMaxWait(200*time.Millisecond))
		for id := range consume(t, ctx, share, 40) {
			if !strings.HasPrefix(id, prefix) {
				t.Fatalf("%s read %s", prefix, id)
			}
		}
		adm := kadm.NewClient(client(t, p.addr))
		groups, err := adm.DescribeShareGroups(ctx, "sharers")
		if err != nil || len(groups) != 1 || len(groups["sharers"].Members) == 0 {
			t.Fatalf("%s: %+v, %v", prefix, groups, err)
		}
		for _, m := range groups["sharers"].Members {
			if !slices.Equal(m.SubscribedTopicNames, []string{"orders"}) {
				t.Errorf("%s: member of %v", prefix, m.SubscribedTopicNames)
			}
		}
		offsets := kmsg.NewPtrDescribeShareGroupOffsetsRequest()
		og := kmsg.NewDescribeShareGroupOffsetsRequestGroup()
		og.GroupID = "sharers"
		offsets.Groups = append(offsets.Groups, og)
		described, err := offsets.RequestWith(ctx, client(t, p.addr))
		if err != nil || len(described.Groups) != 1 || described.Groups[0].GroupID != "sharers" {
			t.Fatalf("%s: %+v, %v", prefix, described, err)
		}
		for _, topic := range described.Groups[0].Topics {
			if topic.Topic != "orders" {
				t.Errorf("%s: offsets of %s", prefix, topic.Topic)
			}
		}
	}
	listed, err := kadm.NewClient(client(t, c.ListenAddrs()[0])).ListGroups(ctx)
	if err != nil || !slices.Contains(listed.Groups(), "a.sharers") || !slices.Contains(listed.Groups(), "b.sharers") {
		t.Errorf("the cluster's own groups: %v, %v", listed.Groups(), err)
	}
}

// acls are what a tenant creates, and what the cluster must make of them.
var acls = []struct {
	kind          kmsg.ACLResourceType
	pattern, real kmsg.ACLResourcePatternType
	name, mapped  string
}{
	{kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLResourcePatternTypeLiteral, "orders", "a.orders"},
	{kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypePrefixed, kmsg.ACLResourcePatternTypePrefixed, "ord", "a.ord"},
	{kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLResourcePatternTypePrefixed, "*", "a."},
	{kmsg.ACLResourceTypeGroup, kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLResourcePatternTypeLiteral, "readers", "a.readers"},
	{kmsg.ACLResourceTypeTransactionalId, kmsg.ACLResourcePatternTypePrefixed, kmsg.ACLResourcePatternTypePrefixed, "copy", "a.copy"},
}

// exchange asks something in its highest version on a connection without a client's rules.
func (r *raw) exchange(correlation int32, req kmsg.Request) kmsg.Response {
	r.t.Helper()
	req.SetVersion(req.MaxVersion())
	r.send(wire.AppendRequest(nil, correlation, "raw", req))
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	got, body := r.next()
	if err := wire.DecodeResponse(resp, body[1:]); err != nil || got != correlation { // behind the header's tags
		r.t.Fatalf("%T: response %d: %v", req, got, err)
	}
	return resp
}

// Streams groups: the coordinator learns of topics by the cluster's names, those that it makes and those that a pattern finds among them,
// and what it tells has the client's.
func TestStreamsGroupsOfTenantsAreApart(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders"))
	p := tenant(t, c, "a.")
	var asked kmsg.StreamsGroupHeartbeatRequest
	c.ControlKey(wire.StreamsGroupHeartbeat, func(r kmsg.Request) (kmsg.Response, error, bool) {
		asked = *r.(*kmsg.StreamsGroupHeartbeatRequest)
		resp := r.ResponseKind().(*kmsg.StreamsGroupHeartbeatResponse)
		resp.SetVersion(r.GetVersion())
		resp.Status = []kmsg.StreamsGroupHeartbeatResponseStatus{{StatusCode: 1, StatusDetail: "Source topics a.orders, a.later are missing."}}
		resp.PartitionsByUserEndpoint = []kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpoint{{ActivePartitions: []kmsg.StreamsGroupHeartbeatResponsePartitionsByUserEndpointActivePartition{
			{Topic: "a.orders", Partitions: []int32{0}}, {Topic: "b.orders", Partitions: []int32{0}}}}}
		return resp, nil, true
	})
	beat := kmsg.NewPtrStreamsGroupHeartbeatRequest()
	beat.Group, beat.MemberID = "app", "m"
	beat.Topology = &kmsg.StreamsGroupHeartbeatRequestTopology{Subtopologies: []kmsg.StreamsGroupHeartbeatRequestTopologySubtopology{{SubtopologyID: "0", SourceTopics: []string{"orders"},
		SourceTopicRegex: []string{"x|y"}, StateChangelogTopics: []kmsg.TopicInfo{{Topic: "app-store-changelog"}}}}}
	resp := dial(t, p.addr).exchange(1, beat).(*kmsg.StreamsGroupHeartbeatResponse)
	s := asked.Topology.Subtopologies[0]
	if asked.Group != "a.app" || s.SourceTopics[0] != "a.orders" || s.SourceTopicRegex[0] != "^a\\.(?:x|y)" || s.StateChangelogTopics[0].Topic != "a.app-store-changelog" {
		t.Errorf("the coordinator was asked of group %s, %+v", asked.Group, s)
	}
	if got := resp.Status[0].StatusDetail; got != "Source topics orders, later are missing." {
		t.Errorf("the client reads %q", got)
	}
	if parts := resp.PartitionsByUserEndpoint[0].ActivePartitions; len(parts) != 1 || parts[0].Topic != "orders" {
		t.Errorf("the client sees %+v", parts)
	}
}

func creation(kind kmsg.ACLResourceType, pattern kmsg.ACLResourcePatternType, name string) kmsg.CreateACLsRequestCreation {
	c := kmsg.NewCreateACLsRequestCreation()
	c.ResourceType, c.ResourcePatternType, c.ResourceName = kind, pattern, name
	c.Principal, c.Host, c.Operation, c.PermissionType = "User:alice", "*", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAllow
	return c
}

// describeACLs lists what there is as "kind pattern name".
func describeACLs(t *testing.T, addr string) (all []string) {
	t.Helper()
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	resp, err := req.RequestWith(within(t, 20*time.Second), client(t, addr))
	if err != nil || resp.ErrorCode != 0 {
		t.Fatalf("%+v, %v", resp, err)
	}
	for _, r := range resp.Resources {
		all = append(all, fmt.Sprint(r.ResourceType, " ", r.ResourcePatternType, " ", r.ResourceName))
	}
	slices.Sort(all)
	return all
}

// Trap 16: a tenant's ACLs are about its own names: all of them is a prefix to the cluster. It sees no others, and no filter of its
// deletes another's.
func TestACLsStayInsideTheirTenant(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders"))
	p := tenant(t, c, "a.")
	ctx := within(t, 40*time.Second)
	foreign := kmsg.NewPtrCreateACLsRequest()
	for _, name := range []string{"*", "b.orders", "a"} {
		pattern := map[bool]kmsg.ACLResourcePatternType{true: kmsg.ACLResourcePatternTypePrefixed, false: kmsg.ACLResourcePatternTypeLiteral}[name == "a"]
		foreign.Creations = append(foreign.Creations, creation(kmsg.ACLResourceTypeTopic, pattern, name))
	}
	foreign.Creations = append(foreign.Creations, creation(kmsg.ACLResourceTypeCluster, kmsg.ACLResourcePatternTypeLiteral, "kafka-cluster"))
	if _, err := foreign.RequestWith(ctx, client(t, c.ListenAddrs()[0])); err != nil {
		t.Fatal(err)
	}
	before := describeACLs(t, c.ListenAddrs()[0])
	cl := client(t, p.addr)
	create := kmsg.NewPtrCreateACLsRequest()
	var own, mapped []string
	for _, a := range acls {
		create.Creations = append(create.Creations, creation(a.kind, a.pattern, a.name))
		own = append(own, fmt.Sprint(a.kind, " ", a.pattern, " ", a.name))
		mapped = append(mapped, fmt.Sprint(a.kind, " ", a.real, " ", a.mapped))
	}
	for _, r := range ask[*kmsg.CreateACLsResponse](t, ctx, cl, create).Results {
		if r.ErrorCode != 0 {
			t.Fatalf("creating: %+v", r)
		}
	}
	slices.Sort(own)
	if got := describeACLs(t, p.addr); !slices.Equal(got, own) {
		t.Errorf("the tenant sees %q, want %q", got, own)
	}
	all := describeACLs(t, c.ListenAddrs()[0])
	for _, m := range mapped {
		if !slices.Contains(all, m) {
			t.Errorf("the cluster has %q, not %q", all, m)
		}
	}
	cluster := kmsg.NewPtrCreateACLsRequest()
	cluster.Creations = append(cluster.Creations, creation(kmsg.ACLResourceTypeCluster, kmsg.ACLResourcePatternTypeLiteral, "kafka-cluster"))
	if r := ask[*kmsg.CreateACLsResponse](t, ctx, cl, cluster).Results; len(r) != 1 || r[0].ErrorCode != kerr.ClusterAuthorizationFailed.Code {
		t.Errorf("an ACL of the cluster: %+v", r)
	}
	filter := func(kind kmsg.ACLResourceType, pattern kmsg.ACLResourcePatternType, name *string) kmsg.DeleteACLsRequestFilter {
		f := kmsg.NewDeleteACLsRequestFilter()
		f.ResourceType, f.ResourcePatternType, f.ResourceName = kind, pattern, name
		f.Operation, f.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		return f
	}
	for _, f := range []kmsg.DeleteACLsRequestFilter{
		filter(kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny, nil),
		filter(kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeAny, nil),
		filter(kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeMatch, kmsg.StringPtr("orders")),
	} {
		del := kmsg.NewPtrDeleteACLsRequest()
		del.Filters = append(del.Filters, f)
		if r := ask[*kmsg.DeleteACLsResponse](t, ctx, cl, del).Results; len(r) != 1 || r[0].ErrorCode != kerr.ClusterAuthorizationFailed.Code {
			t.Errorf("deleting by %+v: %+v", f, r)
		}
	}
	del := kmsg.NewPtrDeleteACLsRequest()
	for _, a := range acls {
		del.Filters = append(del.Filters, filter(a.kind, a.pattern, kmsg.StringPtr(a.name)))
	}
	for i, r := range ask[*kmsg.DeleteACLsResponse](t, ctx, cl, del).Results {
		if r.ErrorCode != 0 || len(r.MatchingACLs) != 1 || r.MatchingACLs[0].ResourceName != acls[i].name || r.MatchingACLs[0].ResourcePatternType != acls[i].pattern {
			t.Errorf("deleting %+v: %+v", acls[i], r)
		}
	}
	if after := describeACLs(t, c.ListenAddrs()[0]); !slices.Equal(after, before) {
		t.Errorf("the cluster has %q, it had %q", after, before)
	}
}

// Trap 15: a tenant that pages through all topics, one partition a page, sees its own, once each, and messages of errors name topics
// as it does.
func TestTenantsListsAndMessages(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "a.x", "m.orders", "m.z", "m-a", "shared", "zz"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, virtual: {prefix: "m.", aliases: {common: shared}}, rules: [{action: deny, topics: [z]}]`, "", "")
	ctx := within(t, 40*time.Second)
	cl := client(t, p.addr)
	seen := pages(t, ctx, cl, func(string) {})
	if len(seen) != 2 || seen["orders"] != 2 || seen["common"] != 2 {
		t.Errorf("partitions by topic: %v", seen)
	}
	named := kmsg.NewPtrDescribeTopicPartitionsRequest()
	named.ResponsePartitionLimit = 100
	for _, name := range []string{"z", "orders"} {
		topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
		topic.Topic = name
		named.Topics = append(named.Topics, topic)
	}
	for _, topic := range ask[*kmsg.DescribeTopicPartitionsResponse](t, ctx, cl, named).Topics {
		if want := map[string]int16{"z": kerr.TopicAuthorizationFailed.Code}[*topic.Topic]; topic.ErrorCode != want {
			t.Errorf("%s: code %d", *topic.Topic, topic.ErrorCode)
		}
	}
	c.ControlKey(wire.CreateTopics, func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := wire.Refuse(r, kerr.TopicAlreadyExists.Code).(*kmsg.CreateTopicsResponse)
		resp.Topics[0].ErrorMessage = kmsg.StringPtr("Topic '" + resp.Topics[0].Topic + "' already exists.")
		return resp, nil, true
	})
	create := kmsg.NewPtrCreateTopicsRequest()
	ct := kmsg.NewCreateTopicsRequestTopic()
	ct.Topic, ct.NumPartitions, ct.ReplicationFactor = "orders", 1, 1
	create.Topics = append(create.Topics, ct)
	got := ask[*kmsg.CreateTopicsResponse](t, ctx, cl, create).Topics[0]
	if got.ErrorMessage == nil || *got.ErrorMessage != "Topic 'orders' already exists." {
		t.Errorf("%+v", got)
	}
}

// Where topics are named by id, bodies stream; names can be in the texts of errors all the same.
func TestErrorsOfProduceHaveTheClientsNames(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders"))
	p := tenant(t, c, "a.")
	c.ControlKey(wire.Produce, func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := wire.Refuse(r, kerr.MessageTooLarge.Code).(*kmsg.ProduceResponse)
		resp.Topics[0].Partitions[0].ErrorMessage = kmsg.StringPtr("The record batch size in the append to a.orders-0 is 2000000 bytes")
		return resp, nil, true
	})
	prod := kmsg.NewPtrProduceRequest()
	prod.Acks, prod.TimeoutMillis = -1, 1000
	prod.Topics = []kmsg.ProduceRequestTopic{{TopicID: c.TopicInfo("a.orders").TopicID, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: []byte{}}}}}
	resp := dial(t, p.addr).exchange(1, prod).(*kmsg.ProduceResponse)
	part := resp.Topics[0].Partitions[0]
	if part.ErrorCode != kerr.MessageTooLarge.Code || part.ErrorMessage == nil || *part.ErrorMessage != "The record batch size in the append to orders-0 is 2000000 bytes" {
		t.Errorf("%+v", part)
	}
}

// What is everybody's is not offered to tenants; who asks all the same is refused and goes on.
func TestWhatIsEverybodysIsRefusedToTenants(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders"))
	p := tenant(t, c, "a.")
	r := dial(t, p.addr)
	requests := []kmsg.Request{kmsg.NewPtrDescribeClientQuotasRequest(), kmsg.NewPtrAlterPartitionAssignmentsRequest(), kmsg.NewPtrListPartitionReassignmentsRequest(),
		kmsg.NewPtrDescribeUserSCRAMCredentialsRequest(), kmsg.NewPtrElectLeadersRequest(), kmsg.NewPtrUpdateFeaturesRequest(), kmsg.NewPtrDescribeLogDirsRequest()}
	for i, req := range requests {
		resp := r.exchange(int32(i), req)
		if want := wire.Refuse(req, kerr.ClusterAuthorizationFailed.Code); string(resp.AppendTo(nil)) != string(want.AppendTo(nil)) {
			t.Errorf("%T: %+v", req, resp)
		}
	}
	r.send(metadata(99))
	if correlation, _ := r.next(); correlation != 99 {
		t.Errorf("response %d after refusals", correlation)
	}
}
