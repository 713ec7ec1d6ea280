package kafka_test

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/kafka"
	"github.com/sidewire/sidewire/gateway/telemetry"
	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/integration/leak"
)

// advertise makes a cluster's brokers name these addresses as their own.
func advertise(c *kfake.Cluster, host string, port int) {
	c.ControlKey(wire.Metadata, func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		resp.ControllerID, resp.ClusterID = 0, kmsg.StringPtr("loop")
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 0, host, int32(port)
		resp.Brokers = append(resp.Brokers, b)
		info := c.TopicInfo("orders")
		for _, t := range r.(*kmsg.MetadataRequest).Topics {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, info.TopicID
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Replicas, p.ISR = []int32{0}, []int32{0}
			rt.Partitions = append(rt.Partitions, p)
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

// Trap 25: a broker that advertises sidewire's own address, whatever it calls it, makes no loop of connections but a clear line in
// the log; with `addresses` it is reached where it really is.
func TestAdvertisedLoopIsRefused(t *testing.T) {
	leak.Check(t)
	cluster := func() *kfake.Cluster {
		return fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.ClusterID("loop"))
	}
	for _, name := range []string{"127.0.0.1", "localhost"} {
		for kind, offset := range map[string]int{"the listener's": 0, "a broker's": 1} {
			t.Run(kind+" as "+name, func(t *testing.T) {
				c := cluster()
				p := start(t, c.ListenAddrs(), "", "", "")
				p.logged(t, "Kafka broker found")
				port := p.first - 1 + offset
				advertise(c, name, port)
				p.logged(t, fmt.Sprintf("to=%s:%d", name, port))
				r := dial(t, fmt.Sprintf("127.0.0.1:%d", p.first))
				r.send(metadata(1))
				r.closed()
				p.logged(t, "is an address of sidewire's own listener")
				if n := p.figure(t, "sidewire_kafka_requests_total"); n > 5 {
					t.Errorf("%v requests: they went round", n)
				}
			})
		}
	}
	first := freeRange(t, 20)
	c := cluster()
	advertise(c, "kafka.example", 9092)
	p := startText(t, fmt.Sprintf("127.0.0.1:%d", first), fmt.Sprintf(`
admin: {address: ""}
listeners: [{name: events, address: "127.0.0.1:%d", kafka: {cluster: events, brokers: {ports: %d-%d}}}]
clusters: [{name: events, endpoints: [%q], kafka: {refresh: 500ms, addresses: {"kafka.example:9092": %q}}}]
`, first, first+1, first+19, c.ListenAddrs()[0], c.ListenAddrs()[0]))
	roundTrip(t, p.addr)
}

// Trap 25: an endpoint that is sidewire's own listener serves nobody, and does not connect to itself without end.
func TestEndpointThatIsTheListenerIsRefused(t *testing.T) {
	leak.Check(t)
	first := freeRange(t, 20)
	addr := fmt.Sprintf("127.0.0.1:%d", first)
	p := startText(t, addr, fmt.Sprintf(`
admin: {address: ""}
listeners: [{name: events, address: "0.0.0.0:%d", kafka: {cluster: events, brokers: {ports: %d-%d}}}]
clusters: [{name: events, endpoints: ["localhost:%d"], kafka: {refresh: 500ms}}]
`, first, first+1, first+19, first))
	r := dial(t, addr)
	r.send(metadata(1))
	r.closed()
	p.logged(t, "is an address of sidewire's own listener")
	if n := strings.Count(p.logs.String(), "Kafka connection ended"); n > 10 {
		t.Errorf("%d connections: they went round", n)
	}
}

// Trap 2: a client that waits for nothing learns at once that its broker is gone.
func TestIdleClientLearnsOfItsBrokersEnd(t *testing.T) {
	leak.Check(t)
	var mu sync.Mutex // guards conns
	var conns []net.Conn
	c := fake(t, kfake.NumBrokers(1), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return acceptHook{l, func(conn net.Conn) { mu.Lock(); defer mu.Unlock(); conns = append(conns, conn) }}, err
	}))
	p := start(t, c.ListenAddrs(), "", "", "")
	r := dial(t, p.addr)
	r.send(metadata(1))
	r.next()
	mu.Lock()
	for _, conn := range conns {
		conn.Close()
	}
	mu.Unlock()
	r.closed()
}

type acceptHook struct {
	net.Listener
	accepted func(net.Conn)
}

func (l acceptHook) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted(conn)
	}
	return conn, err
}

// Trap 30: a client that has said everything and closed its side still gets every answer.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1))
	p := start(t, c.ListenAddrs(), "", "", "")
	r := dial(t, p.addr)
	for i := range int32(20) { // before the broker's side is connected
		r.send(metadata(i))
	}
	if err := r.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for i := range int32(20) {
		if correlation, _ := r.next(); correlation != i {
			t.Fatalf("answer %d where %d was due", correlation, i)
		}
	}
	r.closed()
}

// fetchRequest asks for one partition, or for the next of a session.
func fetchRequest(c *kfake.Cluster, topic string, session, epoch int32, wait int32, offset int64) *kmsg.FetchRequest {
	f := kmsg.NewPtrFetchRequest()
	f.MaxWaitMillis, f.MinBytes, f.MaxBytes, f.SessionID, f.SessionEpoch = wait, 1, 1<<20, session, epoch
	if epoch <= 0 {
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic, ft.TopicID = topic, c.TopicInfo(topic).TopicID
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.FetchOffset, fp.PartitionMaxBytes = offset, 1<<20
		ft.Partitions = append(ft.Partitions, fp)
		f.Topics = append(f.Topics, ft)
	}
	return f
}

// Traps 17 and 18: one broker is one broker to clients, so that a fetch session begun through sidewire goes on without naming its
// partitions again, and a long poll is one: it is answered when a record comes, not before and not at its end. Where names
// are looked at as well.
func TestFetchSessionsAndLongPolls(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders"))
	for _, listener := range []string{"", `brokers: {ports: PORTS}, virtual: {prefix: "a."}, topics: {}`, `brokers: {ports: PORTS}, rack: r1`} {
		t.Run(listener, func(t *testing.T) {
			p := start(t, c.ListenAddrs(), listener, "", "")
			ctx := within(t, 20*time.Second)
			prod := client(t, c.ListenAddrs()[0])
			cl := client(t, p.addr)
			if err := prod.ProduceSync(ctx, &kgo.Record{Topic: "a.orders", Value: []byte("first")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			end := c.PartitionInfo("a.orders", 0).HighWatermark
			first, err := fetchRequest(c, "a.orders", 0, 0, 1000, end-1).RequestWith(ctx, cl)
			if err != nil || first.ErrorCode != 0 || first.SessionID == 0 || len(first.Topics) != 1 {
				t.Fatalf("beginning a session: %+v, %v", first, err)
			}
			second, err := fetchRequest(c, "a.orders", first.SessionID, 1, 100, 0).RequestWith(ctx, cl)
			if err != nil || second.ErrorCode != 0 {
				t.Fatalf("going on with it: %+v, %v", second, err)
			}
			began := time.Now()
			done := make(chan error, 1)
			go func() {
				resp, err := fetchRequest(c, "a.orders", 0, -1, 15_000, end).RequestWith(ctx, cl)
				if err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions[0].RecordBatches) == 0) {
					err = fmt.Errorf("answered after %v with nothing", time.Since(began))
				}
				done <- err
			}()
			pause(ctx, 500*time.Millisecond)
			if len(done) > 0 {
				t.Error("the poll was not held")
			}
			if err := prod.ProduceSync(ctx, &kgo.Record{Topic: "a.orders", Value: []byte("second")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("answered after %v", took)
			}
		})
	}
}

// Trap 29: what one tenant's requests taught sidewire about topics gives another tenant nothing.
func TestWhatOneTenantTaughtServesNoOther(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "a.orders", "b.orders"))
	first := freeRange(t, 40)
	p := startText(t, fmt.Sprintf("127.0.0.1:%d", first), fmt.Sprintf(`
admin: {address: ""}
listeners:
  - {name: a, address: "127.0.0.1:%d", kafka: {cluster: events, brokers: {ports: %d-%d}, virtual: {prefix: a.}}}
  - {name: b, address: "127.0.0.1:%d", kafka: {cluster: events, brokers: {ports: %d-%d}, virtual: {prefix: b.}, rules: [{action: deny, topics: [secret]}]}}
clusters: [{name: events, endpoints: [%q], kafka: {refresh: 500ms}}]
`, first, first+1, first+18, first+20, first+21, first+39, c.ListenAddrs()[0]))
	ctx := within(t, 20*time.Second)
	for range 2 { // the second time everything is known
		for listener, want := range map[int]int16{first: 0, first + 20: 100} {
			cl := client(t, fmt.Sprintf("127.0.0.1:%d", listener))
			resp, err := fetchRequest(c, "a.orders", 0, -1, 100, 0).RequestWith(ctx, cl)
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Topics[0].Partitions[0].ErrorCode; got != want {
				t.Errorf("port %d: code %d, want %d", listener, got, want)
			}
		}
	}
	_ = p
}

// Trap 33: clients' telemetry (KIP-714) passes like any request.
func TestClientTelemetryPasses(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1))
	asked := make(chan struct{}, 10)
	c.ControlKey(71, func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked <- struct{}{}
		return nil, nil, false
	})
	p := start(t, c.ListenAddrs(), "", "", "")
	resp, err := kmsg.NewPtrGetTelemetrySubscriptionsRequest().RequestWith(within(t, 10*time.Second), client(t, p.addr))
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) == 0 {
		t.Errorf("the broker was not asked: %+v", resp)
	}
}

// Traps 20 to 24: what goes wrong over several clusters cannot, because a listener stands for one.
func TestSeveralClustersAreRefused(t *testing.T) {
	p := &proxy{logs: &logBuffer{}}
	logs, err := telemetry.NewLogs(p.logs, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	p.Gateway = gateway.New(logs, kafka.Protocol())
	problems := p.LoadFile("../../conf/bad/kafka-several-clusters.yaml")
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "expected a string, found a list") {
		t.Errorf("problems: %v", problems)
	}
}
