package kafka_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sidewire/sidewire/integration/servers"
)

// run runs a command to its end and returns what it printed.
func run(t *testing.T, ctx context.Context, stdin string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(argv, " "), err, tail(out.String()), tail(errs.String()))
	}
	return out.String()
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func tool(t *testing.T, ctx context.Context, c *servers.KafkaCluster, class string, args ...string) string {
	t.Helper()
	argv, err := c.Java("org.apache.kafka.tools."+class, args...)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, ctx, "", argv...)
}

func kcat(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("kcat is not installed")
		}
		t.Skip("kcat is not installed")
	}
	return path
}

func createTopic(t *testing.T, ctx context.Context, addr, topic string, partitions int32) {
	t.Helper()
	// The client asks again when an answer is late: then the topic is there, and it is this one, because names are a proxy's own.
	if _, err := kadm.NewClient(client(t, addr)).CreateTopic(ctx, partitions, -1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}
	// A moment later every broker knows of it; tools that do not wait would fail.
	cl := kadm.NewClient(client(t, addr))
	if err := servers.Poll(ctx, func(ctx context.Context) error {
		d, err := cl.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		if ps := d[topic].Partitions; len(ps) != int(partitions) {
			return fmt.Errorf("%d partitions known", len(ps))
		}
		return d.Error()
	}); err != nil {
		t.Fatal(err)
	}
}

// Kafka's own tools, kcat, kafka-go and franz-go through sidewire to Apache Kafka of both lines.
func TestApacheKafka(t *testing.T) {
	for _, line := range []struct {
		name     string
		opts     []servers.Option
		versions string // the tool that prints what a client is told
	}{
		{"4", []servers.Option{servers.Nodes(3)}, "org.apache.kafka.tools.BrokerApiVersionsCommand"},
		{"3.9", []servers.Option{servers.Line("3.9")}, "kafka.admin.BrokerApiVersionsCommand"},
	} {
		t.Run(line.name, func(t *testing.T) {
			c := servers.Kafka(t, line.opts...)
			p := start(t, c.Addrs()[:1], "", "", "")
			t.Run("advertised versions", func(t *testing.T) { advertisedVersions(t, c, p, line.versions) })
			t.Run("compression", func(t *testing.T) { compressionOfEveryKind(t, p) })
			t.Run("verifiable", func(t *testing.T) { verifiable(t, c, p, line.name == "4") })
			if line.name != "4" {
				return // what follows does not depend on the broker's line, and takes a minute
			}
			t.Run("performance tools", func(t *testing.T) { performanceTools(t, c, p) })
			t.Run("exactly once", func(t *testing.T) { exactlyOnceCopy(t, c, p) })
			t.Run("kafka-go", func(t *testing.T) { kafkaGo(t, p) })
			t.Run("admin", func(t *testing.T) { adminTools(t, c, p) })
		})
	}
}

// brokersOnly are the APIs a broker's listener offers that clients have no use for.
var brokersOnly = []string{"WriteTxnMarkers", "AddRaftVoter", "InitializeShareGroupState", "ReadShareGroupState", "WriteShareGroupState",
	"DeleteShareGroupState", "ReadShareGroupStateSummary", "LeaderAndIsr", "StopReplica", "UpdateMetadata", "ControlledShutdown", "AlterPartition", "Envelope", "AllocateProducerIds"}

var versionLine = regexp.MustCompile(`(?m)^\s*(\w+)\((\d+)\): (?:(\d+) to )?(\d+)`)

// Trap 7 and KIP-511: what a Java client is told is what the broker tells it, less what is for brokers only.
func advertisedVersions(t *testing.T, c *servers.KafkaCluster, p *proxy, class string) {
	ctx := within(t, 60*time.Second)
	argv := func(addr string) []string {
		out, err := c.Java(class, "--bootstrap-server", addr)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	read := func(addr string) map[string]string {
		out := map[string]string{}
		for _, m := range versionLine.FindAllStringSubmatch(run(t, ctx, "", argv(addr)...), -1) {
			out[m[1]] = m[3] + "-" + m[4]
		}
		return out
	}
	direct, through := read(c.Brokers[0].Addr), read(p.addr)
	if len(through) < 40 {
		t.Fatalf("only %d APIs", len(through))
	}
	for api, v := range through {
		if direct[api] != v {
			t.Errorf("%s: %s through sidewire, %s directly", api, v, direct[api])
		}
	}
	var hidden []string
	for api := range direct {
		if through[api] == "" {
			hidden = append(hidden, api)
		}
	}
	sort.Strings(hidden)
	t.Logf("%d APIs, hidden: %v", len(through), hidden)
	for _, api := range hidden {
		if !slices.Contains(brokersOnly, api) {
			t.Errorf("%s is hidden", api)
		}
	}
}

func compressionOfEveryKind(t *testing.T, p *proxy) {
	exe, kinds := kcat(t), p.own("kinds")
	ctx := within(t, 60*time.Second)
	createTopic(t, ctx, p.addr, kinds, 3)
	want := 0
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"-1", "1", "0"} {
			var in strings.Builder
			for i := range 100 {
				fmt.Fprintf(&in, "%s-%s-%d %s\n", codec, acks, i, strings.Repeat("z", 200))
			}
			run(t, ctx, in.String(), exe, "-P", "-b", p.addr, "-t", kinds, "-X", "compression.codec="+codec, "-X", "acks="+acks)
			want += 100
		}
	}
	got := map[string]bool{}
	if err := servers.Poll(ctx, func(context.Context) error { // acks 0 promises nothing about when, and kcat takes its time
		for line := range strings.Lines(run(t, ctx, "", exe, "-C", "-b", p.addr, "-t", kinds, "-o", "beginning", "-e", "-q")) {
			got[line] = true
		}
		if len(got) < want {
			return fmt.Errorf("%d of %d records", len(got), want)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// jsonLines counts the lines of a tool's output by their "name".
func jsonLines(t *testing.T, out string) map[string][]map[string]any {
	byName := map[string][]map[string]any{}
	for sc := bufio.NewScanner(strings.NewReader(out)); sc.Scan(); {
		var m map[string]any
		if json.Unmarshal(sc.Bytes(), &m) == nil {
			name, _ := m["name"].(string)
			byName[name] = append(byName[name], m)
		}
	}
	return byName
}

// verifiable produces and consumes by the verifiable tools, and returns the topic it made.
func verifiable(t *testing.T, c *servers.KafkaCluster, p *proxy, newGroups bool) (topic string) {
	ctx := within(t, 120*time.Second)
	topic = p.own("verified")
	createTopic(t, ctx, p.addr, topic, 3)
	const n = 3000
	sent := jsonLines(t, tool(t, ctx, c, "VerifiableProducer", "--bootstrap-server", p.addr, "--topic", topic, "--max-messages", fmt.Sprint(n)))
	if acked := len(sent["producer_send_success"]); acked != n {
		t.Errorf("%d of %d acknowledged", acked, n)
	}
	protocols := []string{"classic"}
	if newGroups {
		protocols = append(protocols, "consumer")
	}
	for _, protocol := range protocols {
		args := []string{"--bootstrap-server", p.addr, "--topic", topic, "--group-id", p.own("group-" + protocol), "--max-messages", fmt.Sprint(n), "--reset-policy", "earliest"}
		if newGroups {
			args = append(args, "--group-protocol", protocol)
		}
		got := jsonLines(t, tool(t, ctx, c, "VerifiableConsumer", args...))
		count := 0.0
		for _, m := range got["records_consumed"] {
			k, _ := m["count"].(float64)
			count += k
		}
		if int(count) != n {
			t.Errorf("%s group: %v of %d records", protocol, count, n)
		}
	}
	return topic
}

func performanceTools(t *testing.T, c *servers.KafkaCluster, p *proxy) {
	ctx := within(t, 120*time.Second)
	perf := p.own("perf")
	createTopic(t, ctx, p.addr, perf, 3)
	out := tool(t, ctx, c, "ProducerPerformance", "--topic", perf, "--num-records", "20000", "--record-size", "1000", "--throughput", "-1",
		"--producer-props", "bootstrap.servers="+p.addr, "batch.size=200000", "linger.ms=5")
	if !strings.Contains(out, "20000 records sent") {
		t.Errorf("producer: %s", tail(out))
	}
	out = tool(t, ctx, c, "ConsumerPerformance", "--topic", perf, "--messages", "20000", "--bootstrap-server", p.addr, "--timeout", "60000", "--group", perf)
	if !strings.Contains(out, ", 20000,") {
		t.Errorf("consumer: %s", tail(out))
	}
}

// Transactions through sidewire: a copy with commits of offsets inside the transactions, aborted ones among them, has
// every record exactly once.
func exactlyOnceCopy(t *testing.T, c *servers.KafkaCluster, p *proxy) {
	ctx := within(t, 120*time.Second)
	input, output := p.own("input"), p.own("output")
	createTopic(t, ctx, p.addr, input, 1)
	createTopic(t, ctx, p.addr, output, 1)
	const n = 1500
	produce(t, ctx, client(t, p.addr), input, n, 100)
	out := tool(t, ctx, c, "TransactionalMessageCopier", "--broker-list", p.addr, "--input-topic", input, "--input-partition", "0", "--output-topic", output,
		"--max-messages", fmt.Sprint(n), "--consumer-group", p.own("copiers"), "--transaction-size", "100", "--transactional-id", p.own("copier"), "--enable-random-aborts", "--use-group-metadata")
	if !strings.Contains(out, "shutdown") {
		t.Logf("copier: %s", tail(out))
	}
	cl := client(t, p.addr, kgo.ConsumeTopics(output), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	seen := map[string]int{}
	for total := 0; total < n; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("after %d: %v", total, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			id, _, _ := strings.Cut(string(r.Value), ":")
			seen[id]++
			total++
		})
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("record %s is there %d times", id, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d records", len(seen), n)
	}
}

func kafkaGo(t *testing.T, p *proxy) {
	ctx := within(t, 60*time.Second)
	name := p.own("segmentio")
	createTopic(t, ctx, p.addr, name, 3)
	w := &segmentio.Writer{Addr: segmentio.TCP(p.addr), Topic: name, RequiredAcks: segmentio.RequireAll, BatchTimeout: 10 * time.Millisecond, Compression: segmentio.Zstd}
	defer w.Close()
	var ms []segmentio.Message
	for i := range 500 {
		ms = append(ms, segmentio.Message{Key: fmt.Appendf(nil, "%d", i), Value: fmt.Appendf(nil, "%d:", i)})
	}
	if err := w.WriteMessages(ctx, ms...); err != nil {
		t.Fatal(err)
	}
	r := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{p.addr}, GroupID: name, Topic: name, StartOffset: segmentio.FirstOffset, MaxWait: 200 * time.Millisecond})
	defer r.Close()
	seen := map[string]bool{}
	for len(seen) < 500 {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("after %d: %v", len(seen), err)
		}
		seen[string(m.Value)] = true
	}
}

func adminTools(t *testing.T, c *servers.KafkaCluster, p *proxy) {
	ctx := within(t, 120*time.Second)
	out := tool(t, ctx, c, "TopicCommand", "--bootstrap-server", p.addr, "--describe")
	if !strings.Contains(out, p.own("verified")) {
		t.Errorf("describing topics: %s", tail(out))
	}
	out = tool(t, ctx, c, "consumer.group.ConsumerGroupCommand", "--bootstrap-server", p.addr, "--list")
	if !strings.Contains(out, p.own("group-classic")) {
		t.Errorf("listing groups: %s", tail(out))
	}
	out = tool(t, ctx, c, "GetOffsetShell", "--bootstrap-server", p.addr, "--topic", p.own("input"))
	if !strings.Contains(out, p.own("input")+":0:") {
		t.Errorf("offsets: %s", tail(out))
	}
	out = tool(t, ctx, c, "ClusterTool", "cluster-id", "--bootstrap-server", p.addr)
	if !strings.Contains(out, "Cluster ID") {
		t.Errorf("cluster id: %s", tail(out))
	}
}
