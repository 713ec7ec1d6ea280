package kafka_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/integration/leak"
)

// reload puts a changed configuration in force.
func (p *proxy) reload(t *testing.T, old, new string) {
	t.Helper()
	text, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("no %q in\n%s", old, text)
	}
	p.path = filepath.Join(t.TempDir(), "next.yaml")
	if err := os.WriteFile(p.path, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if problems := p.LoadFile(p.path); len(problems) > 0 {
		t.Fatal(problems)
	}
}

// ask sends a request as it is to a broker, not split or repeated by the client.
func ask[T kmsg.Response](t *testing.T, ctx context.Context, cl *kgo.Client, req kmsg.Request) T {
	t.Helper()
	resp, err := cl.Broker(0).Request(ctx, req)
	if err != nil {
		t.Fatalf("%T: %v", req, err)
	}
	return resp.(T)
}

// Trap 17: a fetch session names its topics once, so a rule that comes later would never see them. The session ends with the rules it
// began under, and the client names its topics again: what is denied now is refused, what is allowed again is served.
func TestRulesReachOpenFetchSessions(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, rules: []`, "", "")
	ctx := within(t, 40*time.Second)
	cl := client(t, p.addr)
	produce(t, ctx, cl, "orders", 1, 10)
	begin := func(want int16, what string) *kmsg.FetchResponse {
		t.Helper()
		resp := ask[*kmsg.FetchResponse](t, ctx, cl, fetchRequest(c, "orders", 0, 0, 100, 0))
		if resp.ErrorCode != 0 || len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].ErrorCode != want {
			t.Fatalf("%s: %+v", what, resp)
		}
		return resp
	}
	gone := func(session, epoch int32, what string) {
		t.Helper()
		resp := ask[*kmsg.FetchResponse](t, ctx, cl, fetchRequest(c, "orders", session, epoch, 100, 0))
		if resp.ErrorCode != kerr.FetchSessionIDNotFound.Code || len(resp.Topics) > 0 {
			t.Fatalf("%s: %+v", what, resp)
		}
	}
	first := begin(0, "without rules")
	p.reload(t, "rules: []", "rules: [{action: deny, topics: [orders]}]")
	gone(first.SessionID, 1, "a session of before the rules")
	begin(kerr.TopicAuthorizationFailed.Code, "a denied topic")
	p.reload(t, "rules: [{action: deny, topics: [orders]}]", "rules: []")
	gone(first.SessionID, 1, "a session that was refused a topic")
	begin(0, "without rules again")
}

// What a request names beside something that is denied is served, with Kafka's own codes for the rest, by name and by id; nothing
// ends the connection.
func TestDeniedItemsAreRefusedAlone(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "secret"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, rules: [{action: deny, topics: [secret*]}, {action: deny, groups: ["team/*"]}]`, "", "")
	ctx := within(t, 40*time.Second)
	cl := client(t, p.addr)

	epochs := kmsg.NewPtrOffsetForLeaderEpochRequest()
	epochs.ReplicaID = -1
	meta := kmsg.NewPtrMetadataRequest()
	meta.AllowAutoTopicCreation = true
	create := kmsg.NewPtrCreateTopicsRequest()
	for _, name := range []string{"orders", "secret-2"} {
		et := kmsg.NewOffsetForLeaderEpochRequestTopic()
		et.Topic, et.Partitions = name, append(et.Partitions, kmsg.NewOffsetForLeaderEpochRequestTopicPartition())
		epochs.Topics = append(epochs.Topics, et)
		mt := kmsg.NewMetadataRequestTopic()
		mt.Topic = kmsg.StringPtr(name)
		meta.Topics = append(meta.Topics, mt)
		ct := kmsg.NewCreateTopicsRequestTopic()
		ct.Topic, ct.NumPartitions, ct.ReplicationFactor = name+"-new", 1, 1
		create.Topics = append(create.Topics, ct)
	}
	want := func(what string, got map[string]int16, denied string, code int16) {
		t.Helper()
		for name, c := range got {
			if expected := map[bool]int16{true: code}[name == denied]; c != expected {
				t.Errorf("%s: code %d for %s", what, c, name)
			}
		}
		if len(got) != 2 {
			t.Errorf("%s: answered %v", what, got)
		}
	}
	codes := map[string]int16{}
	for _, rt := range ask[*kmsg.OffsetForLeaderEpochResponse](t, ctx, cl, epochs).Topics {
		codes[rt.Topic] = rt.Partitions[0].ErrorCode
	}
	want("offsets of epochs", codes, "secret-2", kerr.TopicAuthorizationFailed.Code)
	codes = map[string]int16{}
	for _, rt := range ask[*kmsg.MetadataResponse](t, ctx, cl, meta).Topics {
		codes[*rt.Topic] = rt.ErrorCode
	}
	want("metadata", codes, "secret-2", kerr.TopicAuthorizationFailed.Code)
	if c.TopicInfo("secret-2") != nil {
		t.Error("asking for a denied topic created it")
	}
	codes = map[string]int16{}
	for _, rt := range ask[*kmsg.CreateTopicsResponse](t, ctx, cl, create).Topics {
		codes[rt.Topic] = rt.ErrorCode
	}
	want("creating", codes, "secret-2-new", kerr.TopicAuthorizationFailed.Code)
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Groups = []string{"readers", "team/a/b"}
	codes = map[string]int16{}
	for _, g := range ask[*kmsg.DescribeGroupsResponse](t, ctx, cl, groups).Groups {
		codes[g.Group] = g.ErrorCode
	}
	if codes["team/a/b"] != kerr.GroupAuthorizationFailed.Code || codes["readers"] == kerr.GroupAuthorizationFailed.Code || len(codes) != 2 {
		t.Errorf("describing groups: %v", codes)
	}
}

// What moves replicas and leaders names topics too, and what tells of them lists topics.
func TestDeniedTopicsAreNotMoved(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "secret"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, rules: [{action: deny, topics: [secret*]}]`, "", "")
	ctx := within(t, 40*time.Second)
	cl := client(t, p.addr)
	denied := kerr.TopicAuthorizationFailed.Code

	elect := kmsg.NewPtrElectLeadersRequest()
	elect.TimeoutMillis = 1000
	if resp := ask[*kmsg.ElectLeadersResponse](t, ctx, cl, elect); resp.ErrorCode != denied {
		t.Errorf("electing the leaders of all topics: code %d", resp.ErrorCode)
	}
	var reached []string
	c.ControlKey(wire.ElectLeaders, func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		for _, et := range r.(*kmsg.ElectLeadersRequest).Topics {
			reached = append(reached, et.Topic)
		}
		return wire.Refuse(r, 0), nil, true
	})
	for _, name := range []string{"secret", "orders"} {
		et := kmsg.NewElectLeadersRequestTopic()
		et.Topic, et.Partitions = name, []int32{0}
		elect.Topics = append(elect.Topics, et)
	}
	for _, et := range ask[*kmsg.ElectLeadersResponse](t, ctx, cl, elect).Topics {
		if want := map[string]int16{"secret": denied}[et.Topic]; et.Partitions[0].ErrorCode != want {
			t.Errorf("electing the leader of %s: code %d", et.Topic, et.Partitions[0].ErrorCode)
		}
	}
	if !slices.Equal(reached, []string{"orders"}) {
		t.Errorf("leaders of %v were to be elected", reached)
	}

	dirs := kmsg.NewPtrDescribeLogDirsRequest()
	for _, named := range []bool{false, true} {
		if named {
			dirs.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "secret", Partitions: []int32{0}}, {Topic: "orders", Partitions: []int32{0}}}
		}
		var seen []string
		for _, d := range ask[*kmsg.DescribeLogDirsResponse](t, ctx, cl, dirs).Dirs {
			for _, dt := range d.Topics {
				seen = append(seen, dt.Topic)
			}
		}
		if !slices.Equal(seen, []string{"orders"}) {
			t.Errorf("log directories hold %v (asked by name: %v)", seen, named)
		}
	}
}

// pages lists all topics, one partition a page, and counts their partitions. cursor is told where each page but the last ends.
func pages(t *testing.T, ctx context.Context, cl *kgo.Client, cursor func(topic string)) map[string]int {
	t.Helper()
	seen := map[string]int{}
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 1
	for range 20 {
		resp := ask[*kmsg.DescribeTopicPartitionsResponse](t, ctx, cl, req)
		for _, topic := range resp.Topics {
			seen[*topic.Topic] += len(topic.Partitions)
		}
		next := resp.NextCursor
		if next == nil {
			return seen
		}
		cursor(next.Topic)
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: next.Topic, Partition: next.Partition}
	}
	t.Fatalf("no end after %v", seen)
	return nil
}

// A list of topics that goes on at one that is denied does not tell its name, and is whole all the same.
func TestCursorsDoNotNameDeniedTopics(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(2, "a", "secret-1", "secret-2", "z"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, rules: [{action: deny, topics: [secret*]}]`, "", "")
	ctx := within(t, 40*time.Second)
	cl := client(t, p.addr)
	seen := pages(t, ctx, cl, func(cursor string) {
		if strings.Contains(cursor, "secret") {
			t.Errorf("a page ends before %q", cursor)
		}
	})
	if !maps.Equal(seen, map[string]int{"a": 2, "z": 2}) {
		t.Errorf("partitions by topic: %v", seen)
	}
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 1
	req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "?somebody else's"}
	if resp := ask[*kmsg.DescribeTopicPartitionsResponse](t, ctx, cl, req); len(resp.Topics) != 1 || *resp.Topics[0].Topic != "a" {
		t.Errorf("with a cursor of somebody else's: %+v", resp)
	}
}

// Brokers' settings are everybody's: a virtual cluster's client is refused them, not left without an answer, and served the rest.
func TestSettingsOfBrokersAreNoTenants(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, virtual: {prefix: "a."}`, "", "")
	ctx := within(t, 20*time.Second)
	req := kmsg.NewPtrDescribeConfigsRequest()
	for kind, name := range map[kmsg.ConfigResourceType]string{kmsg.ConfigResourceTypeBroker: "0", kmsg.ConfigResourceTypeTopic: "orders"} {
		x := kmsg.NewDescribeConfigsRequestResource()
		x.ResourceType, x.ResourceName = kind, name
		req.Resources = append(req.Resources, x)
	}
	codes := map[kmsg.ConfigResourceType]int16{}
	for _, x := range ask[*kmsg.DescribeConfigsResponse](t, ctx, client(t, p.addr), req).Resources {
		codes[x.ResourceType] = x.ErrorCode
		if x.ResourceType == kmsg.ConfigResourceTypeTopic && (x.ResourceName != "orders" || len(x.Configs) == 0) {
			t.Errorf("the topic's settings: %+v", x)
		}
	}
	if len(codes) != 2 || codes[kmsg.ConfigResourceTypeTopic] != 0 || codes[kmsg.ConfigResourceTypeBroker] != kerr.ClusterAuthorizationFailed.Code {
		t.Errorf("answered with codes %v", codes)
	}
}

// Trap 28: quotas and figures by topic hold where responses are decoded for the names in them as well, under the clients' names.
func TestQuotasAndFiguresWhereNamesAreMapped(t *testing.T) {
	leak.Check(t)
	for kind, opts := range versions {
		t.Run(kind, func(t *testing.T) {
			c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders"))
			p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, virtual: {prefix: "a."}, topics: {}, quotas: [{fetch_rate: 100kB}]`, "", "")
			ctx := within(t, 40*time.Second)
			produce(t, ctx, client(t, c.ListenAddrs()[0], kgo.ProducerBatchCompression(kgo.NoCompression())), "a.orders", 20, 20_000)
			told := make(chan time.Duration, 1000)
			cl := client(t, p.addr, append(opts, kgo.ConsumeTopics("orders"), kgo.WithHooks(throttleHook(told)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			consume(t, ctx, cl, 20)
			for len(told) == 0 {
				if ctx.Err() != nil {
					t.Fatal("a consumer over its quota was not told")
				}
				cl.PollFetches(ctx)
			}
			if got := p.figure(t, "sidewire_kafka_topic_records_total", "topic", "orders", "direction", "fetch"); got < 20 {
				t.Errorf("%v records of orders were counted", got)
			}
			if got := p.figure(t, "sidewire_kafka_topic_records_total", "topic", "a.orders"); got != 0 {
				t.Errorf("%v records were counted under the cluster's name", got)
			}
		})
	}
}

// The same for share sessions.
func TestRulesReachOpenShareSessions(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	c.ControlKey(wire.ShareFetch, func(r kmsg.Request) (kmsg.Response, error, bool) { // whoever asks is a member
		c.KeepControl()
		return r.ResponseKind(), nil, true
	})
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, rules: []`, "", "")
	ctx := within(t, 40*time.Second)
	cl := client(t, p.addr)
	fetch := func(epoch int32, topics ...string) int16 {
		t.Helper()
		req := kmsg.NewPtrShareFetchRequest()
		req.GroupID, req.MemberID, req.ShareSessionEpoch = kmsg.StringPtr("sharers"), kmsg.StringPtr("m"), epoch
		for _, name := range topics {
			topic := kmsg.NewShareFetchRequestTopic()
			topic.TopicID = c.TopicInfo(name).TopicID
			req.Topics = append(req.Topics, topic)
		}
		return ask[*kmsg.ShareFetchResponse](t, ctx, cl, req).ErrorCode
	}
	if first, next := fetch(0, "orders"), fetch(1); first != 0 || next != 0 {
		t.Fatalf("without rules: codes %d and %d", first, next)
	}
	p.reload(t, "rules: []", "rules: [{action: deny, topics: [orders]}]")
	if code := fetch(2); code != kerr.ShareSessionNotFound.Code {
		t.Errorf("a session of before the rules: code %d", code)
	}
	if code := fetch(0, "orders"); code != kerr.TopicAuthorizationFailed.Code {
		t.Errorf("a denied topic: code %d", code)
	}
}

// Quotas that change reach connections that are open: a lower one throttles, one that is gone does not.
func TestQuotasReachOpenConnections(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	const strict = "quotas: [{produce_rate: 5kB}]"
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, quotas: [{produce_rate: 1GB}]`, "", "")
	ctx := within(t, 60*time.Second)
	cl := client(t, p.addr)
	throttled := func() int32 {
		t.Helper()
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 5000
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic, topic.TopicID = "orders", c.TopicInfo("orders").TopicID
		part := kmsg.NewProduceRequestTopicPartition()
		part.Records = make([]byte, 30_000) // refused by the broker, and counted
		topic.Partitions = append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
		return ask[*kmsg.ProduceResponse](t, ctx, cl, req).ThrottleMillis
	}
	if got := throttled(); got != 0 {
		t.Errorf("under a wide quota told to wait %d ms", got)
	}
	p.reload(t, "quotas: [{produce_rate: 1GB}]", strict)
	if got := throttled(); got == 0 {
		t.Error("a narrow quota did not reach the connection")
	}
	p.reload(t, strict, "quotas: []")
	if got := throttled(); got != 0 {
		t.Errorf("without a quota told to wait %d ms", got)
	}
}
