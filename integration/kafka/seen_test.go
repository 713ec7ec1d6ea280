package kafka_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/integration/leak"
)

// spans collects what would become spans.
type spans struct {
	mu  sync.Mutex
	all []string
}

func (s *spans) Wants(p telemetry.Parent) bool { return p.Sampled }
func (s *spans) Span(e *telemetry.Entry, st *telemetry.Statement, _ string, p telemetry.Parent) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, st.System+" "+st.Operation+" "+p.TraceID()+" "+st.Code)
	return p.TraceID()
}

func (s *spans) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.all...)
}

// A traceparent among the headers of a record joins the Produce request to its application's trace, whether the body is passed,
// counted or looked at; one that is not sampled, and a record without, make no span.
func TestProducersTracesAreJoined(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, listener := range []string{"", "brokers: {ports: PORTS}, topics: {}", "brokers: {ports: PORTS}, rules: [{action: deny, topics: [x]}]"} {
		p := start(t, c.ListenAddrs(), listener, "", "")
		seen := &spans{}
		p.Statements().Trace(seen)
		ctx := within(t, 20*time.Second)
		cl := client(t, p.addr, kgo.ProducerBatchCompression(kgo.NoCompression()))
		for _, parent := range []string{"", "00-" + trace + "-" + span + "-00", "00-" + trace + "-" + span + "-01", "nonsense"} {
			r := &kgo.Record{Topic: "orders", Value: []byte("1:")}
			if parent != "" {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: "a", Value: []byte("b")}, kgo.RecordHeader{Key: "traceparent", Value: []byte(parent)})
			}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		cl.Close()
		eventually(t, func() error {
			if len(seen.list()) == 0 {
				return errors.New("no span")
			}
			return nil
		})
		if got := seen.list(); len(got) != 1 || got[0] != "kafka send "+trace+" " {
			t.Errorf("%s: spans %q", listener, got)
		}
	}
}

// The access log tells of each request how many bytes it and its answer had, and the error code that the answer holds.
func TestAccessLogTellsBytesAndCodes(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	access := filepath.Join(t.TempDir(), "access.log")
	p := start(t, c.ListenAddrs(), "", "", fmt.Sprintf("access_log: {path: %s}\n", access))
	c.ControlKey(wire.Produce, func(req kmsg.Request) (kmsg.Response, error, bool) { // once
		resp := wire.Refuse(req, 19).(*kmsg.ProduceResponse)
		resp.ThrottleMillis = 700
		return resp, nil, true
	})
	cl := client(t, p.addr, kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx := within(t, 30*time.Second)
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: make([]byte, 5000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	logged(t, access, `"operation":"Produce"`, `"code":"19"`, `"bytes_in":5`)
	if got := p.figure(t, "sidewire_kafka_broker_throttle_seconds"); got != 1 {
		t.Errorf("%v throttles of brokers", got)
	}
}

// Bytes fetched from brokers in another rack are counted, those of the clients' own are not; kfake's brokers are all in one. A
// client enters the cluster in its rack.
func TestOutOfRackBytesAreCounted(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "orders"))
	produce(t, within(t, 20*time.Second), client(t, c.ListenAddrs()[0]), "orders", 50, 1000)
	for rack, far := range map[string]bool{"krack": false, "elsewhere": true} {
		p := start(t, c.ListenAddrs(), "brokers: {ports: PORTS}, rack: "+rack, "", "")
		consume(t, within(t, 20*time.Second), client(t, p.addr, kgo.ConsumeTopics("orders")), 50)
		if got := p.figure(t, "sidewire_kafka_out_of_rack_bytes_total"); (got > 2000) != far || !far && got != 0 {
			t.Errorf("clients in %s: %v bytes", rack, got)
		}
	}
	first := freeRange(t, 20)
	p := startText(t, fmt.Sprintf("127.0.0.1:%d", first), fmt.Sprintf(`
admin: {address: ""}
listeners: [{name: events, address: "127.0.0.1:%d", kafka: {cluster: events, rack: b, brokers: {ports: %d-%d}}}]
clusters: [{name: events, endpoints: [{address: %q, zone: a}, {address: %q, zone: b}], kafka: {}}]
`, first, first+1, first+19, c.ListenAddrs()[0], c.ListenAddrs()[1]))
	p.logged(t, "Kafka broker found")
	entered := make(chan int32, 100)
	c.ControlKey(wire.DescribeCluster, func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		entered <- c.CurrentNode()
		return nil, nil, false
	})
	for range 6 {
		r := dial(t, p.addr)
		req := kmsg.NewPtrDescribeClusterRequest()
		r.send(wire.AppendRequest(nil, 1, "raw", req))
		r.next()
		if node := <-entered; node != 1 {
			t.Errorf("entered at broker %d", node)
		}
	}
}
