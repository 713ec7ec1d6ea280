package embedded_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sidewire/sidewire/integration/embedded"
	"github.com/sidewire/sidewire/integration/leak"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// end closes what must close without an error at the end of the test.
func end(t *testing.T, c io.Closer) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestMySQL(t *testing.T) {
	leak.Check(t)
	m, err := embedded.StartMySQL("127.0.0.1:0", "shop_0", "app", "secret")
	if err != nil {
		t.Fatal(err)
	}
	end(t, m)
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/%s", m.User, m.Password, m.Addr, m.Database))
	if err != nil {
		t.Fatal(err)
	}
	end(t, db)
	if _, err := db.ExecContext(deadline(t), "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(20))"); err != nil {
		t.Fatal(err)
	}
	for id := range 10 {
		if _, err := db.ExecContext(deadline(t), "INSERT INTO t VALUES (?, ?)", id, "x"); err != nil {
			t.Fatal(err)
		}
	}
	var rows int
	if err := db.QueryRowContext(deadline(t), "SELECT COUNT(*) FROM t WHERE id >= 5").Scan(&rows); err != nil || rows != 5 {
		t.Errorf("%d rows, %v", rows, err)
	}
	const denied = 1045
	other, err := sql.Open("mysql", fmt.Sprintf("app:wrong@tcp(%s)/%s", m.Addr, m.Database))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if e := (*mysql.MySQLError)(nil); !errors.As(other.PingContext(deadline(t)), &e) || e.Number != denied {
		t.Errorf("with a wrong password: %v", e)
	}
}

// A connection that is open, even in the middle of a handshake, does not outlive its server.
func TestMySQLEndsConnections(t *testing.T) {
	leak.Check(t)
	m, err := embedded.StartMySQL("127.0.0.1:0", "shop_0", "app", "secret")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(new(bytes.Buffer), conn); errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("still open")
	}
}

func TestRedis(t *testing.T) {
	leak.Check(t)
	r, err := embedded.StartRedis("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	end(t, r)
	c := redis.NewClient(&redis.Options{Addr: r.Addr})
	end(t, c)
	if err := c.Set(deadline(t), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if size, err := c.DBSize(deadline(t)).Result(); size != 1 || err != nil {
		t.Errorf("%d keys, %v", size, err)
	}
}

func TestKafka(t *testing.T) {
	leak.Check(t)
	k, err := embedded.StartKafka([]int{0, 0, 0}, 6, "orders")
	if err != nil {
		t.Fatal(err)
	}
	end(t, k)
	if len(k.Addrs) != 3 {
		t.Fatalf("brokers at %v", k.Addrs)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs...), kgo.DefaultProduceTopic("orders"), kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("g"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.ProduceSync(deadline(t), kgo.StringRecord("one")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetches := c.PollFetches(deadline(t))
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
		t.Fatalf("%d records, %v", fetches.NumRecords(), err)
	}
	for partition := range int32(6) {
		if leader := k.Leader("orders", partition); leader < 0 || leader > 2 {
			t.Errorf("partition %d is led by %d", partition, leader)
		}
	}
}
