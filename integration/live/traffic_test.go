package live

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// traffic is well-behaved clients of every protocol that stay connected and must not notice anything.
type traffic struct {
	stop context.CancelFunc
	all  sync.WaitGroup
	ops  map[string]*atomic.Int64

	mu     sync.Mutex
	failed []error
}

func (tr *traffic) fail(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failed = append(tr.failed, fmt.Errorf(format, args...))
}

// steady starts the clients; the test ends them and fails when one of them saw an error or none did any work.
func (w *world) steady(t *testing.T) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	tr := &traffic{stop: stop, ops: map[string]*atomic.Int64{}}
	for name, client := range map[string]func(context.Context, *traffic, *atomic.Int64){
		"mysql": w.mysqlClient, "redis": w.redisClient(w.cache), "tcp": w.redisClient(w.relay), "kafka": w.kafkaClient(t),
	} {
		count := &atomic.Int64{}
		tr.ops[name] = count
		tr.all.Go(func() { client(ctx, tr, count) })
	}
	t.Cleanup(func() { tr.end(t) })
	return tr
}

// end stops the clients and reports what they saw. A second call finds nothing left to do.
func (tr *traffic) end(t *testing.T) {
	t.Helper()
	tr.stop()
	tr.all.Wait()
	for name, count := range tr.ops {
		if count.Load() == 0 {
			t.Errorf("%s: no operation at all", name)
		}
	}
	for _, err := range tr.failed {
		t.Errorf("undisturbed client: %v", err)
	}
	tr.failed, tr.ops = nil, nil
}

// await returns when every client did n more operations.
func (tr *traffic) await(t *testing.T, n int64) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for name, count := range tr.ops {
		for goal := count.Load() + n; count.Load() < goal; {
			select {
			case <-tick.C:
			case <-limit.C:
				t.Fatalf("%s stands still at %d operations; %v", name, count.Load(), tr.failed)
			}
		}
	}
}

// mysqlClient holds one connection: text, prepared and a transaction in turn.
func (w *world) mysqlClient(ctx context.Context, tr *traffic, count *atomic.Int64) {
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/?interpolateParams=true", w.db.User, w.db.Password, w.sql))
	if err != nil {
		tr.fail("mysql: %w", err)
		return
	}
	defer db.Close()
	conn, err := db.Conn(ctx) // a sql.Conn is never dialled again behind our back
	if err != nil {
		tr.fail("mysql: connecting: %w", err)
		return
	}
	defer conn.Close()
	prepared, err := conn.PrepareContext(ctx, "SELECT ? + 1")
	if err != nil {
		tr.fail("mysql: preparing: %w", err)
		return
	}
	defer prepared.Close()
	for n := 0; ctx.Err() == nil; n++ {
		var a, b int
		if err := conn.QueryRowContext(ctx, "SELECT ? * 2", n).Scan(&a); err != nil && ctx.Err() == nil {
			tr.fail("mysql: text: %w", err)
			return
		}
		if err := prepared.QueryRowContext(ctx, n).Scan(&b); err != nil && ctx.Err() == nil {
			tr.fail("mysql: prepared: %w", err)
			return
		}
		tx, err := conn.BeginTx(ctx, nil)
		if err == nil {
			err = tx.Commit()
		}
		if err != nil && ctx.Err() == nil {
			tr.fail("mysql: transaction: %w", err)
			return
		}
		if ctx.Err() == nil && (a != 2*n || b != n+1) {
			tr.fail("mysql: somebody else's answer: %d, %d for %d", a, b, n)
			return
		}
		count.Add(1)
	}
}

// redisClient speaks RESP by itself over one connection, so that no library reconnects unseen.
func (w *world) redisClient(addr string) func(context.Context, *traffic, *atomic.Int64) {
	return func(ctx context.Context, tr *traffic, count *atomic.Int64) {
		conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			tr.fail("redis at %s: %w", addr, err)
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		for n := 0; ctx.Err() == nil; n++ {
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			value := fmt.Sprintf("%08d", n)
			key := fmt.Sprintf("steady:%s:%02d", addr[len(addr)-5:], n%50)
			fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$8\r\n%s\r\n*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key, value, len(key), key)
			want := "+OK\r\n$8\r\n" + value + "\r\n"
			got := make([]byte, len(want))
			if _, err := io.ReadFull(in, got); err != nil {
				tr.fail("redis at %s: %w", addr, err)
				return
			}
			if string(got) != want {
				rest, _ := in.Peek(in.Buffered())
				tr.fail("redis at %s: %q, want %q", addr, string(got)+string(rest), want)
				return
			}
			count.Add(1)
		}
	}
}

// drops counts connections that ended under a client that did not ask for it.
type drops struct{ n atomic.Int64 }

func (d *drops) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { d.n.Add(1) }

// kafkaClient produces one record after the other to a topic of its own.
func (w *world) kafkaClient(t *testing.T) func(context.Context, *traffic, *atomic.Int64) {
	topic := w.topic(t, "steady", 3)
	return func(ctx context.Context, tr *traffic, count *atomic.Int64) {
		d := &drops{}
		client, err := kgo.NewClient(kgo.SeedBrokers(w.kafka), kgo.DefaultProduceTopic(topic), kgo.WithHooks(d), kgo.ProducerLinger(0),
			kgo.ConnIdleTimeout(10*time.Minute), kgo.RecordDeliveryTimeout(20*time.Second))
		if err != nil {
			tr.fail("kafka: %w", err)
			return
		}
		defer client.Close()
		for n := 0; ctx.Err() == nil; n++ {
			err := client.ProduceSync(ctx, kgo.KeyStringRecord(fmt.Sprint(n), "steady")).FirstErr()
			if err != nil && ctx.Err() == nil {
				tr.fail("kafka: %w", err)
				return
			}
			if d.n.Load() > 0 && ctx.Err() == nil {
				tr.fail("kafka: a connection was dropped")
				return
			}
			count.Add(1)
		}
	}
}

// topic makes a topic of this test, on the servers themselves.
func (w *world) topic(t testing.TB, name string, partitions int32) string {
	t.Helper()
	name = fmt.Sprintf("%s-%d", name, time.Now().UnixNano())
	client, err := kgo.NewClient(kgo.SeedBrokers(w.events.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(deadline(t, 30*time.Second), partitions, -1, nil, name); err != nil {
		t.Fatal(err)
	}
	return name
}
