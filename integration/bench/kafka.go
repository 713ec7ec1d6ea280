package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sidewire/sidewire/integration/servers"
)

const (
	kafkaPartitions = 6
	recordSize      = 1024
	kafkaStock      = 150000 // records that consumers find
)

// What sidewire does with bodies: it splices them, walks over their batch headers for figures by topic, and where clients see a part of the
// cluster looks at the topics in them as well.
const (
	walking = subject + ", walking"
	tenancy = subject + ", tenancy"
)

// ways are promised the same.
func ways(all ...budget) (list []budget) {
	for _, of := range []string{"", walking, tenancy} {
		for _, b := range all {
			b.of = of
			list = append(list, b)
		}
	}
	return list
}

func kafkaSuite(ctx context.Context, fleet *servers.Fleet, p plan, r *report) error {
	loads := []load{
		{title: "Kafka produce, records of 1 KiB", unit: "MB", run: produce, budgets: ways(budget{peer: haproxy, limit: 1.2}, budget{peer: direct, limit: 0.98, least: true})},
		{title: "Kafka consume, records of 1 KiB", unit: "MB", run: consume, budgets: ways(budget{peer: haproxy, limit: 1.2}, budget{peer: direct, limit: 0.95, least: true})},
		{title: "Kafka produce at 50 MB/s", unit: "MB", run: producePaced, budgets: ways(budget{peer: direct, limit: 0.1, p50: true}, budget{peer: direct, limit: 0.5, p99: true})},
	}
	if !wanted(p, loads) {
		return nil
	}
	// A layer-4 proxy before Kafka works only where the broker names the proxy's address as its own.
	port, err := fleet.Port()
	if err != nil {
		return err
	}
	via := fmt.Sprintf("127.0.0.1:%d", port)
	cluster, err := fleet.Kafka(ctx, servers.Peak(), servers.Via(via), servers.Args("log.retention.bytes=300000000", "log.segment.bytes=50000000"))
	if err != nil {
		return err
	}
	defer cluster.Kill()
	broker := cluster.Brokers[0]
	if err := fillKafka(ctx, broker.Addr); err != nil {
		return fmt.Errorf("filling the topic: %w", err)
	}
	h, err := fleet.HAProxyAt(ctx, []string{via}, [][]string{{broker.ViaAddr}})
	if err != nil {
		return err
	}
	contenders := []contender{{name: direct, addr: broker.Addr}, {name: haproxy, addr: via, proxy: h.Process}}
	defer func() { stop(contenders) }()
	for _, way := range []struct{ name, with string }{
		{subject, ""},
		{walking, ", topics: {}"},
		{tenancy, ", topics: {}, virtual: {prefix: tenant-, aliases: {produce: produce, consume: consume}}"},
	} {
		first, err := fleet.PortRange(16)
		if err != nil {
			return err
		}
		contenders, err = appendSidewire(ctx, fleet, r, contenders, way.name, fmt.Sprintf(`
listeners: [{name: l, address: "LISTEN", kafka: {cluster: c, brokers: {ports: %d-%d}%s}}]
clusters: [{name: c, kafka: {}, endpoints: [%q]}]
`, first, first+15, way.with, broker.Addr))
		if err != nil {
			return err
		}
	}
	return measureAll(ctx, p, r, loads, contenders)
}

var payload = bytes.Repeat([]byte("sidewire"), recordSize/8)

func fillKafka(ctx context.Context, addr string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	for _, topic := range []string{"produce", "consume"} {
		if _, err := kadm.NewClient(client).CreateTopic(ctx, kafkaPartitions, 1, nil, topic); err != nil {
			return err
		}
	}
	var failed atomic.Pointer[error]
	for i := range kafkaStock {
		record := &kgo.Record{Topic: "consume", Value: payload, Partition: int32(i % kafkaPartitions)}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// produce sends as fast as records are acknowledged by the broker; latency is from handing over to acknowledgement.
func produce(ctx context.Context, addr string, d time.Duration) (outcome, error) {
	return produceAt(ctx, addr, d, func(time.Duration) int { return 1 << 30 })
}

// paced is how many bytes a second producePaced sends.
const paced = 50e6

// producePaced sends at a rate that leaves everybody idle for some of the time.
func producePaced(ctx context.Context, addr string, d time.Duration) (outcome, error) {
	return produceAt(ctx, addr, d, func(since time.Duration) int { return int(since.Seconds() * paced / recordSize) })
}

// produceAt sends for so long and no more records than are due.
func produceAt(ctx context.Context, addr string, d time.Duration, due func(since time.Duration) int) (outcome, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("produce"), kgo.MaxBufferedRecords(20000),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return outcome{}, err
	}
	defer client.Close()
	var done atomic.Int64
	var failed atomic.Pointer[error]
	start := time.Now()
	// Every hundredth record is timed: all of them would cost more than sending them.
	times := make(chan time.Duration, 1<<16)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; time.Since(start) < d && failed.Load() == nil; n++ {
		for n >= due(time.Since(start)) {
			<-tick.C
		}
		record := &kgo.Record{Value: payload, Key: strconv.AppendInt(nil, int64(n), 10)}
		began := time.Now()
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
				return
			}
			if done.Add(1)%100 == 0 {
				select {
				case times <- time.Since(began):
				default:
				}
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return outcome{}, err
	}
	o := outcome{ops: megabytes(int(done.Load())), elapsed: time.Since(start)}
	if err := failed.Load(); err != nil {
		return o, *err
	}
	close(times)
	var list []time.Duration
	for t := range times {
		list = append(list, t)
	}
	o.p50, o.p99 = percentiles(list)
	return o, nil
}

// consume reads the stock from its beginning, again and again.
func consume(ctx context.Context, addr string, d time.Duration) (outcome, error) {
	start, records := time.Now(), 0
	for time.Since(start) < d {
		n, err := consumeOnce(ctx, addr, start.Add(d))
		if err != nil {
			return outcome{}, err
		}
		records += n
	}
	return outcome{ops: megabytes(records), elapsed: time.Since(start)}, nil
}

// megabytes is what so many records hold.
func megabytes(records int) int { return records * recordSize / 1e6 }

func consumeOnce(ctx context.Context, addr string, end time.Time) (int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("consume"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	n := 0
	for n < kafkaStock && time.Now().Before(end) {
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		fetches := client.PollFetches(limited)
		cancel()
		if errs := fetches.Errors(); len(errs) > 0 {
			return n, fmt.Errorf("fetching: %w", errs[0].Err)
		}
		var wrong error
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			if len(r.Value) != recordSize {
				wrong = errors.New("a record of another size came back")
			}
		})
		if wrong != nil {
			return n, wrong
		}
	}
	return n, nil
}
