package kafka_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sidewire/sidewire/integration/leak"
)

// versions are clients that name topics by id on the data path, and those that name them.
var versions = map[string][]kgo.Opt{
	"by id":   nil,
	"by name": {kgo.MaxVersions(kversion.V3_0_0())},
	"old":     {kgo.MaxVersions(kversion.V2_1_0())},
}

// Traps 13 and 16: two tenants use the same names for topics, groups and transactional ids in one cluster; each sees its
// own only, on every path, and what the cluster holds has the prefixes.
func TestVirtualClustersAreApart(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "shared.orders.v2", "a.orders", "b.orders", "else"))
	tenants := map[string]*proxy{}
	for _, name := range []string{"a", "b"} {
		tenants[name] = start(t, c.ListenAddrs(), fmt.Sprintf(`brokers: {ports: PORTS}, virtual: {prefix: "%s.", aliases: {common: shared.orders.v2}}`, name), "", "")
	}
	for kind, opts := range versions {
		t.Run(kind, func(t *testing.T) {
			ctx := within(t, 40*time.Second)
			topic := "t-" + strings.ReplaceAll(kind, " ", "-")
			for name, p := range tenants {
				adm := kadm.NewClient(client(t, p.addr, opts...))
				if _, err := adm.CreateTopic(ctx, 2, -1, nil, topic); err != nil {
					t.Fatalf("creating in %s: %v", name, err)
				}
			}
			for name, p := range tenants {
				cl := client(t, p.addr, opts...)
				for i := range 50 {
					if err := cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%s%d:", name, i)}).FirstErr(); err != nil {
						t.Fatalf("producing in %s: %v", name, err)
					}
				}
			}
			for name, p := range tenants {
				group := "readers-" + topic
				cl := client(t, p.addr, append(opts, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())...)
				for id := range consume(t, ctx, cl, 50) {
					if !strings.HasPrefix(id, name) {
						t.Fatalf("%s read %s", name, id)
					}
				}
				if err := cl.CommitUncommittedOffsets(ctx); err != nil {
					t.Fatal(err)
				}
				adm := kadm.NewClient(client(t, p.addr, opts...))
				list, err := adm.ListTopics(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, seen := range list.Names() {
					if strings.Contains(seen, ".") || seen == "else" {
						t.Errorf("%s sees topic %s", name, seen)
					}
				}
				if !slices.Contains(list.Names(), "common") || !slices.Contains(list.Names(), "orders") {
					t.Errorf("%s sees %v", name, list.Names())
				}
				groups, err := adm.ListGroups(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if gs := groups.Groups(); !slices.Contains(gs, group) || slices.ContainsFunc(gs, func(g string) bool { return strings.Contains(g, ".") }) {
					t.Errorf("%s sees groups %v", name, gs)
				}
				offsets, err := adm.FetchOffsets(ctx, group)
				if err != nil || len(offsets[topic]) == 0 {
					t.Errorf("%s: offsets %v, %v", name, offsets, err)
				}
			}
			direct := kadm.NewClient(client(t, c.ListenAddrs()[0]))
			list, err := direct.ListTopics(ctx, "a."+topic, "b."+topic)
			if err != nil || list.Error() != nil {
				t.Errorf("the cluster's own names: %v %v", err, list.Error())
			}
		})
	}
}

// Trap 13: the id of another tenant's topic opens nothing.
func TestForeignTopicIDsAreUnknown(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders", "b.orders"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, virtual: {prefix: "a."}`, "", "")
	ctx := within(t, 20*time.Second)
	direct := client(t, c.ListenAddrs()[0])
	if err := direct.ProduceSync(ctx, &kgo.Record{Topic: "b.orders", Value: []byte("secret")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl := client(t, p.addr)
	for _, want := range []struct {
		topic string
		code  int16
	}{{"a.orders", 0}, {"b.orders", kerr.UnknownTopicID.Code}} {
		id := c.TopicInfo(want.topic).TopicID
		fetch := kmsg.NewPtrFetchRequest()
		fetch.MaxWaitMillis, fetch.MaxBytes, fetch.SessionEpoch = 100, 1<<20, -1
		ft := kmsg.NewFetchRequestTopic()
		ft.TopicID = id
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.PartitionMaxBytes = 1 << 20
		ft.Partitions = append(ft.Partitions, fp)
		fetch.Topics = append(fetch.Topics, ft)
		resp, err := fetch.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Topics[0].Partitions[0]; got.ErrorCode != want.code || want.code != 0 && len(got.RecordBatches) > 0 {
			t.Errorf("fetching %s: code %d, %d bytes", want.topic, got.ErrorCode, len(got.RecordBatches))
		}
		before := c.PartitionInfo(want.topic, 0).HighWatermark
		prod := kmsg.NewPtrProduceRequest()
		prod.Acks, prod.TimeoutMillis = -1, 1000
		pt := kmsg.NewProduceRequestTopic()
		pt.TopicID = id
		pp := kmsg.NewProduceRequestTopicPartition()
		pt.Partitions = append(pt.Partitions, pp)
		prod.Topics = append(prod.Topics, pt)
		presp, err := prod.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		if want.code != 0 {
			if got := presp.Topics[0].Partitions[0].ErrorCode; got != want.code {
				t.Errorf("producing to %s: code %d", want.topic, got)
			}
			if after := c.PartitionInfo(want.topic, 0).HighWatermark; after != before {
				t.Errorf("%s grew from %d to %d", want.topic, before, after)
			}
		}
	}
}

func TestTransactionsInAVirtualCluster(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "a.orders"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, virtual: {prefix: "a."}`, "", "")
	ctx := within(t, 30*time.Second)
	cl := client(t, p.addr, kgo.TransactionalID("copier"))
	for _, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, ctx, cl, "orders", 20, 10)
		if err := cl.EndTransaction(ctx, commit); err != nil {
			t.Fatal(err)
		}
	}
	listed, err := kadm.NewClient(client(t, c.ListenAddrs()[0])).ListTransactions(ctx, nil, nil)
	if err != nil || listed.TransactionalIDs()[0] != "a.copier" {
		t.Errorf("the cluster's transactional ids: %v, %v", listed.TransactionalIDs(), err)
	}
	seen, err := kadm.NewClient(client(t, p.addr)).ListTransactions(ctx, nil, nil)
	if err != nil || len(seen.TransactionalIDs()) != 1 || seen.TransactionalIDs()[0] != "copier" {
		t.Errorf("the client's: %v, %v", seen.TransactionalIDs(), err)
	}
}

// Rules decide by API, topic, group and transactional id, with Kafka's own error codes.
func TestRules(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "orders-secret", "other"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, rules: [
      {action: deny, apis: [DeleteTopics, CreateTopics]},
      {action: deny, topics: ["*secret*"]},
      {action: allow, topics: ["orders*"]},
      {action: deny, apis: [Produce], topics: ["*"]},
      {action: deny, groups: ["forbidden*"]},
      {action: deny, transactional_ids: ["bad"]}]`, "", "")
	ctx := within(t, 30*time.Second)
	cl := client(t, p.addr, kgo.RecordDeliveryTimeout(3*time.Second), kgo.UnknownTopicRetries(1))
	sync := func(cl *kgo.Client, topic string) error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("1:")}).FirstErr()
	}
	if err := sync(cl, "orders"); err != nil {
		t.Error(err)
	}
	for _, topic := range []string{"orders-secret", "other"} {
		if err := sync(cl, topic); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("producing to %s: %v", topic, err)
		}
	}
	list, err := kadm.NewClient(cl).ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	names := list.Names()
	sort.Strings(names)
	if !slices.Equal(names, []string{"orders", "other"}) {
		t.Errorf("listed %v", names)
	}
	created := kmsg.NewPtrCreateTopicsRequest()
	created.Version = 7
	ct := kmsg.NewCreateTopicsRequestTopic()
	ct.Topic, ct.NumPartitions, ct.ReplicationFactor = "new", 1, 1
	created.Topics = append(created.Topics, ct)
	if _, err := created.RequestWith(ctx, cl); err == nil {
		t.Error("CreateTopics is offered") // a denied API is not advertised, so clients do not even ask
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKey, find.CoordinatorKeys = 4, "forbidden-1", []string{"forbidden-1"}
	resp, err := find.RequestWith(ctx, cl)
	if err != nil || resp.Coordinators[0].ErrorCode != kerr.GroupAuthorizationFailed.Code {
		t.Errorf("coordinator of a forbidden group: %+v, %v", resp, err)
	}
	bad := client(t, p.addr, kgo.TransactionalID("bad"))
	if _, _, err := bad.ProducerID(ctx); !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
		t.Errorf("forbidden transactional id: %v", err)
	}
}

// A request that names allowed and denied topics goes on for the allowed ones; the denied ones alone have the error, in every
// answer of a fetch session that knows them, by name and by id.
func TestDeniedTopicsAreRefusedAlone(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "secret"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, rules: [{action: deny, topics: [secret]}]`, "", "")
	ctx := within(t, 30*time.Second)
	topics := []string{"orders", "secret"}
	want := map[string]int16{"orders": 0, "secret": kerr.TopicAuthorizationFailed.Code}
	byID := map[[16]byte]string{c.TopicInfo("orders").TopicID: "orders", c.TopicInfo("secret").TopicID: "secret"}
	for kind, opts := range versions {
		cl := client(t, p.addr, opts...)
		told := func(what string, got map[string]int16) {
			t.Helper()
			if !maps.Equal(got, want) {
				t.Errorf("%s %s: %v, want %v", what, kind, got, want)
			}
		}
		name := func(topic string, id [16]byte) string {
			if topic == "" {
				return byID[id]
			}
			return topic
		}
		prod := kmsg.NewPtrProduceRequest()
		prod.Acks, prod.TimeoutMillis = -1, 1000
		list := kmsg.NewPtrListOffsetsRequest()
		for _, topic := range topics {
			pt := kmsg.NewProduceRequestTopic()
			pt.Topic, pt.TopicID = topic, c.TopicInfo(topic).TopicID
			pp := kmsg.NewProduceRequestTopicPartition()
			pp.Records = batch()
			pt.Partitions = append(pt.Partitions, pp)
			prod.Topics = append(prod.Topics, pt)
			lt := kmsg.NewListOffsetsRequestTopic()
			lt.Topic, lt.Partitions = topic, append(lt.Partitions, kmsg.NewListOffsetsRequestTopicPartition())
			list.Topics = append(list.Topics, lt)
		}
		before := c.PartitionInfo("secret", 0).HighWatermark
		presp, err := prod.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int16{}
		for _, rt := range presp.Topics {
			got[name(rt.Topic, rt.TopicID)] = rt.Partitions[0].ErrorCode
		}
		told("producing", got)
		if after := c.PartitionInfo("secret", 0).HighWatermark; after != before {
			t.Errorf("producing %s: the denied topic grew", kind)
		}
		lresp, err := cl.Broker(0).Request(ctx, list) // as it is, not split by the client
		if err != nil {
			t.Fatal(err)
		}
		got = map[string]int16{}
		for _, rt := range lresp.(*kmsg.ListOffsetsResponse).Topics {
			got[rt.Topic] = rt.Partitions[0].ErrorCode
		}
		told("listing offsets", got)
		fetch := fetchRequest(c, "orders", 0, 0, 100, 0)
		fetch.Topics = append(fetch.Topics, fetchRequest(c, "secret", 0, 0, 100, 0).Topics...)
		for round := range 3 {
			answer, err := cl.Broker(0).Request(ctx, fetch) // on one connection, as consumers do
			if err != nil {
				t.Fatal(err)
			}
			resp := answer.(*kmsg.FetchResponse)
			got, records := map[string]int16{}, 0
			for _, rt := range resp.Topics {
				got[name(rt.Topic, rt.TopicID)] = rt.Partitions[0].ErrorCode
				if records += len(rt.Partitions[0].RecordBatches); got["secret"] == 0 && name(rt.Topic, rt.TopicID) == "secret" {
					t.Errorf("fetching %s: %d bytes of the denied topic", kind, len(rt.Partitions[0].RecordBatches))
				}
			}
			if round == 0 {
				told("fetching", got)
				if records == 0 {
					t.Errorf("fetching %s: nothing of the allowed topic", kind)
				}
			} else if got["secret"] != want["secret"] && resp.SessionID != 0 {
				t.Errorf("fetching %s again: %v", kind, got)
			}
			if resp.SessionID == 0 {
				break
			}
			fetch = fetchRequest(c, "orders", resp.SessionID, int32(round+1), 100, 0)
		}
	}
}

// batch is a valid record batch of one record.
func batch() []byte {
	r := kmsg.NewRecord()
	r.Value = []byte("1:")
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch, b.Magic, b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.NumRecords = -1, 2, -1, -1, -1, 1
	b.Records = r.AppendTo(nil)
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}

func TestFaultsAreMadeOnPurpose(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "other"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, faults: [{apis: [Produce], topics: [orders], code: 19}, {apis: [ListOffsets], delay: 300ms}]`, "", "")
	ctx := within(t, 30*time.Second)
	cl := client(t, p.addr, kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.RequestRetries(0))
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.NotEnoughReplicas) {
		t.Errorf("producing: %v", err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "other", Value: []byte("x")}).FirstErr(); err != nil {
		t.Errorf("producing to another topic: %v", err)
	}
	before := time.Now()
	if _, err := kadm.NewClient(cl).ListEndOffsets(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(before); took < 300*time.Millisecond {
		t.Errorf("an answer after %v", took)
	}
	if got := p.figure(t, "sidewire_kafka_faults_total"); got < 2 {
		t.Errorf("%v faults counted", got)
	}
}

// The clients' rack is filled into fetches that name none.
func TestRackIsFilledIn(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	racks := make(chan string, 100)
	c.ControlKey(1, func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		select {
		case racks <- r.(*kmsg.FetchRequest).Rack:
		default:
		}
		return nil, nil, false
	})
	p := start(t, c.ListenAddrs(), "brokers: {ports: PORTS}, rack: r1", "", "")
	ctx := within(t, 20*time.Second)
	produce(t, ctx, client(t, p.addr), "orders", 5, 10)
	consume(t, ctx, client(t, p.addr, kgo.ConsumeTopics("orders")), 5)
	if rack := <-racks; rack != "r1" {
		t.Errorf("fetched for rack %q", rack)
	}
}

// Trap 28: a client over its quota is told to wait by throttle_time_ms and is held; others are not.
func TestQuotasThrottle(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, quotas: [{client_ids: ["slow*"], produce_rate: 200kB, fetch_rate: 200kB}]`, "", "")
	ctx := within(t, 40*time.Second)
	told := make(chan time.Duration, 1000)
	send := func(id string) time.Duration {
		cl := client(t, p.addr, kgo.ClientID(id), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.WithHooks(throttleHook(told)))
		before := time.Now()
		for range 10 {
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: make([]byte, 60_000)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(before)
	}
	if send("fast"); len(told) > 0 {
		t.Error("a client without a quota was throttled")
	}
	if took := send("slow-1"); took < 1500*time.Millisecond { // 200 kB at once, 400 kB at 200 kB/s, of which the last wait is not seen
		t.Errorf("600 kB at 200 kB/s took %v", took)
	}
	if len(told) == 0 {
		t.Error("nobody was told to wait")
	}
	for len(told) > 0 {
		<-told
	}
	cl := client(t, p.addr, kgo.ClientID("slow-2"), kgo.ConsumeTopics("orders"), kgo.WithHooks(throttleHook(told)))
	for n := 0; n < 20; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatal(err)
		}
		n += fs.NumRecords()
	}
	for len(told) == 0 {
		if ctx.Err() != nil {
			t.Fatal("a consumer over its quota was not told")
		}
		cl.PollFetches(ctx)
	}
	if p.figure(t, "sidewire_kafka_throttle_seconds") == 0 {
		t.Error("no throttle was counted")
	}
}

type throttleHook chan time.Duration

func (h throttleHook) OnBrokerThrottle(_ kgo.BrokerMetadata, d time.Duration, _ bool) {
	select {
	case h <- d:
	default:
	}
}
