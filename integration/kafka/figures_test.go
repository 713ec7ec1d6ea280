package kafka_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/integration/leak"
)

// figure reads one metric the way a scrape does.
func (p *proxy) figure(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(p.Metrics()); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := 0
			for _, l := range m.GetLabel() {
				for i := 0; i < len(labels); i += 2 {
					if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
						match++
					}
				}
			}
			if match == len(labels)/2 {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// Records are counted by topic from batch headers, compressed or not, by name and by id; a group's lag is what it has not
// committed; figures by API and the access log tell of each request.
func TestFiguresByTopicAndGroup(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "orders", "blobs"))
	access := filepath.Join(t.TempDir(), "access.log")
	p := start(t, c.ListenAddrs(), "brokers: {ports: PORTS}, topics: {}", "", fmt.Sprintf("access_log: {path: %s}\n", access))
	ctx := within(t, 30*time.Second)
	produce(t, ctx, client(t, p.addr, kgo.ProducerBatchCompression(kgo.ZstdCompression())), "orders", 1000, 100)
	produce(t, ctx, client(t, p.addr, kgo.ProducerBatchCompression(kgo.NoCompression())), "blobs", 20, 500_000)
	cons := client(t, p.addr, kgo.ConsumeTopics("orders", "blobs"), kgo.ConsumerGroup("readers"), kgo.DisableAutoCommit())
	consume(t, ctx, cons, 1000)
	for _, w := range []struct {
		topic, direction string
		records, bytes   float64
	}{{"orders", "produce", 1000, 2000}, {"orders", "fetch", 1000, 2000}, {"blobs", "produce", 20, 10_000_000}} {
		labels := []string{"topic", w.topic, "direction", w.direction}
		if got := p.figure(t, "sidewire_kafka_topic_records_total", labels...); got != w.records {
			t.Errorf("%s %s: %v records, want %v", w.topic, w.direction, got, w.records)
		}
		if got := p.figure(t, "sidewire_kafka_topic_bytes_total", labels...); got < w.bytes {
			t.Errorf("%s %s: %v bytes, want at least %v", w.topic, w.direction, got, w.bytes)
		}
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = "watched"
	for part, offset := range []int64{100, 200} {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = "orders", c.TopicInfo("orders").TopicID
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = int32(part), offset
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, client(t, p.addr))
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range resp.Topics {
		for _, rp := range rt.Partitions {
			if rp.ErrorCode != 0 {
				t.Fatalf("committing: error %d", rp.ErrorCode)
			}
		}
	}
	if got := p.figure(t, "sidewire_kafka_group_lag_records", "group", "watched", "topic", "orders"); got != 700 {
		t.Errorf("lag %v, want 700", got)
	}
	if got := p.figure(t, "sidewire_kafka_requests_total", "api", "Produce"); got < 2 {
		t.Errorf("%v Produce requests", got)
	}
	if got := p.figure(t, "sidewire_kafka_request_duration_seconds", "api", "Fetch"); got < 1 {
		t.Errorf("%v Fetch latencies", got)
	}
	logged(t, access, `"OffsetCommit"`)
}
