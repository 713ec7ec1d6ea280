package kafka_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/kafka"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// ports hands out ranges of ports that are not used twice in this package's tests. They lie below the ephemeral range.
var ports = struct {
	sync.Mutex
	next int
}{next: 21000 + os.Getpid()%50*100}

func freeRange(t *testing.T, n int) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for ports.next < 31000 {
		first := ports.next
		ports.next += n
		free := true
		for p := first; p < first+n && free; p++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return first
		}
	}
	t.Fatal("no free range of ports")
	return 0
}

// proxy is a running sidewire in front of a Kafka cluster.
type proxy struct {
	*gateway.Gateway
	addr  string
	first int // of its broker ports
	path  string
	logs  *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs sidewire. listener and cluster are the contents of their kafka blocks beyond what every test needs.
func start(t *testing.T, endpoints []string, listener, cluster, more string) *proxy {
	t.Helper()
	first := freeRange(t, 20)
	p := &proxy{addr: fmt.Sprintf("127.0.0.1:%d", first), first: first + 1}
	if listener == "" {
		listener = fmt.Sprintf("brokers: {ports: %d-%d}", first+1, first+19)
	}
	listener = strings.ReplaceAll(listener, "PORTS", fmt.Sprintf("%d-%d", first+1, first+19))
	var quoted []string
	for _, e := range endpoints {
		quoted = append(quoted, fmt.Sprintf("%q", e))
	}
	text := fmt.Sprintf(`
admin: {address: ""}
listeners:
  - name: events
    address: %s
    kafka: {cluster: events, %s}
clusters:
  - name: events
    endpoints: [%s]
    kafka: {refresh: 500ms%s}
%s`, p.addr, listener, strings.Join(quoted, ", "), cluster, more)
	started := startText(t, p.addr, text)
	started.first = p.first
	return started
}

// startText runs sidewire with a whole configuration.
func startText(t *testing.T, addr, text string) *proxy {
	t.Helper()
	p := &proxy{addr: addr, logs: &logBuffer{}}
	path := filepath.Join(t.TempDir(), "sidewire.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	logs, err := telemetry.NewLogs(p.logs, "text", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	p.path = path
	p.Gateway = gateway.New(logs, kafka.Protocol())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		p.Close(ctx)
		if t.Failed() {
			t.Logf("sidewire's log:\n%s", p.logs)
		}
	})
	if problems := p.LoadFile(path); len(problems) > 0 {
		t.Fatalf("configuration: %v\n%s", problems, text)
	}
	return p
}

// own is a name that no other proxy's test has, for a cluster that tests share.
func (p *proxy) own(name string) string {
	_, port, _ := strings.Cut(p.addr, ":")
	return name + "-" + port
}

// eventually waits until check finds nothing to complain about.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	if err := servers.Poll(within(t, 20*time.Second), func(context.Context) error { return check() }); err != nil {
		t.Fatal(err)
	}
}

// logged waits until a line of a file contains all of want.
func logged(t *testing.T, path string, want ...string) {
	t.Helper()
	eventually(t, func() error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(line, w) }) {
				return nil
			}
		}
		return fmt.Errorf("no line with %q in\n%s", want, tail(string(text)))
	})
}

func fake(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts = append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)
	if os.Getenv("KAFKA_TEST_DEBUG") != "" {
		opts = append(opts, kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelDebug, nil)))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// produce writes n records over all partitions and waits for every acknowledgement.
func produce(t *testing.T, ctx context.Context, cl *kgo.Client, topic string, n, size int) {
	t.Helper()
	for i := range n {
		v := fmt.Appendf(nil, "%d:", i)
		v = append(v, bytes.Repeat([]byte{'x'}, max(size-len(v), 0))...)
		cl.Produce(ctx, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i), Value: v}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("producing: %v", err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatalf("flushing: %v", err)
	}
}

// consume reads until it has seen n distinct records.
func consume(t *testing.T, ctx context.Context, cl *kgo.Client, n int) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("consuming after %d of %d: %v", len(got), n, err)
		}
		fs.EachError(func(topic string, p int32, err error) { t.Logf("fetching %s/%d: %v", topic, p, err) })
		fs.EachRecord(func(r *kgo.Record) {
			id, _, _ := strings.Cut(string(r.Value), ":")
			got[id] = true
		})
	}
	return got
}

func TestProduceAndConsumeWithAGroup(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(6, "orders"))
	p := start(t, c.ListenAddrs()[:1], "", "", "")
	ctx := within(t, 30*time.Second)
	prod := client(t, p.addr)
	produce(t, ctx, prod, "orders", 2000, 100)
	cons := client(t, p.addr, kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("readers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	consume(t, ctx, cons, 2000)
	if err := cons.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestBigRecordsAreSpliced(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "blobs"))
	p := start(t, c.ListenAddrs()[:1], "", "", "")
	ctx := within(t, 30*time.Second)
	prod := client(t, p.addr, kgo.ProducerBatchCompression(kgo.NoCompression()))
	produce(t, ctx, prod, "blobs", 40, 700_000)
	cons := client(t, p.addr, kgo.ConsumeTopics("blobs"), kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(8<<20))
	consume(t, ctx, cons, 40)
	prod.Close() // a session adds up what it spliced when it ends
	cons.Close()
	eventually(t, func() error {
		if got := p.figure(t, "sidewire_kafka_spliced_bytes_total"); got < 40*700_000 {
			return fmt.Errorf("%v bytes spliced of %d each way", got, 40*700_000)
		}
		return nil
	})
}

// Groups whose brokers assign (KIP-848), plain and in a virtual cluster, and share groups, whose fetches name brokers in a plain
// array (trap 32).
func TestNewKindsOfGroups(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "orders", "a.orders"))
	c.SetGroupConfigs("sharers", map[string]string{"share.auto.offset.reset": "earliest"})
	plain := start(t, c.ListenAddrs(), "", "", "")
	virtual := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, virtual: {prefix: "a."}`, "", "")
	ctx := within(t, 40*time.Second)
	for _, p := range []*proxy{plain, virtual} {
		produce(t, ctx, client(t, p.addr), "orders", 100, 10)
		cons := client(t, p.addr, kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("new"), kgo.ServerSideBalancer(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		consume(t, ctx, cons, 100)
		regex := client(t, p.addr, kgo.ConsumeTopics("^ord.*$"), kgo.ConsumeRegex(), kgo.ConsumerGroup("regex"), kgo.ServerSideBalancer(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		consume(t, ctx, regex, 100)
	}
	share := client(t, plain.addr, kgo.ConsumeTopics("orders"), kgo.ShareGroup("sharers"), kgo.FetchMaxWait(200*time.Millisecond))
	stop, done := context.WithCancel(ctx)
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		for stop.Err() == nil { // so that fetches have to tell where partitions went
			pause(stop, time.Second)
			c.ShufflePartitionLeaders()
		}
	}()
	consume(t, ctx, share, 100)
	done()
	<-moved
}
