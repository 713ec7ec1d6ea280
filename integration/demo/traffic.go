package main

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	driver "github.com/go-sql-driver/mysql"
	client "github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	orders  = 1000
	keys    = 600
	records = 600
)

func open(addr, user, password, database string) (*sql.DB, error) {
	c := driver.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName, c.InterpolateParams = "tcp", addr, user, password, database, true
	return sql.Open("mysql", c.FormatDSN())
}

// driveMySQL creates a sharded table, fills it row by row and in bulk, reads every row back by its key and counts.
func driveMySQL(ctx context.Context, p *place, s *stores, a *account) error {
	db, err := open(p.listeners["shop"], p.user, p.password, "shop")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, cents BIGINT NOT NULL)"); err != nil {
		return fmt.Errorf("creating the sharded table: %w", err)
	}
	sum := 0
	for id := 0; id < orders; {
		var rows []string
		// Every tenth statement carries ten rows, which sidewire splits by shard.
		for range 1 + 9*(id/10%2) {
			rows = append(rows, fmt.Sprintf("(%d, %d, %d)", id, id*7%101, id*3))
			sum += id * 3
			id++
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO orders (id, user_id, cents) VALUES "+strings.Join(rows, ", ")); err != nil {
			return fmt.Errorf("inserting orders: %w", err)
		}
	}
	found := 0
	for id := range orders {
		var cents int
		err := db.QueryRowContext(ctx, "SELECT cents FROM orders WHERE user_id = ? AND id = ?", id*7%101, id).Scan(&cents)
		if err != nil {
			return fmt.Errorf("reading order %d: %w", id, err)
		}
		if cents == id*3 {
			found++
		}
	}
	a.check(found == orders, "MySQL: %d of %d orders read back by user and id", found, orders)
	// The embedded data sources add integers up in floating point, as no MySQL does.
	var count int
	var total float64
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*), SUM(cents) FROM orders").Scan(&count, &total); err != nil {
		return fmt.Errorf("counting over the shards: %w", err)
	}
	a.check(count == orders && total == float64(sum), "MySQL: COUNT and SUM over both shards are those of what was written")
	held := 0
	for i, shard := range s.shards {
		own, err := open(shard.Addr, shard.User, shard.Password, shard.Database)
		if err != nil {
			return err
		}
		defer own.Close()
		var n, astray int
		if err := own.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders").Scan(&n); err != nil {
			return fmt.Errorf("counting on %s: %w", shard.Database, err)
		}
		if err := own.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders WHERE user_id % 2 <> ?", i).Scan(&astray); err != nil {
			return fmt.Errorf("counting on %s: %w", shard.Database, err)
		}
		a.check(n > 0 && astray == 0, "MySQL: %s holds %d orders, none of another shard's", shard.Database, n)
		a.row("orders, rows", shard.Database, n)
		held += n
	}
	a.check(held == orders, "MySQL: the shards hold %d orders together", held)
	return nil
}

// driveRedis writes keys in a pipeline, reads them back in one MGET that spans the nodes, and counts them on the nodes.
func driveRedis(ctx context.Context, p *place, s *stores, a *account) error {
	c := client.NewClient(&client.Options{Addr: p.listeners["cache"], Protocol: 2, DisableIdentity: true})
	defer c.Close()
	names := make([]string, keys)
	pipe := c.Pipeline()
	for i := range names {
		names[i] = fmt.Sprint("session:", i)
		pipe.Set(ctx, names[i], i, time.Hour)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("writing keys: %w", err)
	}
	values, err := c.MGet(ctx, names...).Result()
	if err != nil {
		return fmt.Errorf("reading keys: %w", err)
	}
	found := 0
	for i, v := range values {
		if v == fmt.Sprint(i) {
			found++
		}
	}
	a.check(found == keys, "Redis: %d of %d keys in the right places of one MGET over three nodes", found, keys)
	held := 0
	for i, node := range s.nodes {
		own := client.NewClient(&client.Options{Addr: node.Addr, DisableIdentity: true})
		defer own.Close()
		n, err := own.DBSize(ctx).Result()
		if err != nil {
			return fmt.Errorf("counting keys of node %d: %w", i+1, err)
		}
		a.check(n > 0, "Redis: node %d holds %d keys", i+1, n)
		a.row("session keys", fmt.Sprint("node ", i+1), int(n))
		held += int(n)
	}
	a.check(held == keys, "Redis: the nodes hold %d keys together", held)
	return nil
}

// driveKafka produces records, consumes them in a group and looks at who leads what. Clients must have seen sidewire's
// addresses only.
func driveKafka(ctx context.Context, p *place, s *stores, a *account) error {
	var mu sync.Mutex
	dialled := map[string]bool{}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		dialled[addr] = true
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(p.listeners["events"]), kgo.Dialer(dial), kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic), kgo.ConsumerGroup("demo"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer c.Close()
	sent := map[string]bool{}
	var batch []*kgo.Record
	for i := range records {
		value := fmt.Sprint("order ", i)
		sent[value] = true
		batch = append(batch, kgo.KeyStringRecord(fmt.Sprint("user ", i%100), value))
	}
	if err := c.ProduceSync(ctx, batch...).FirstErr(); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	twice := 0
	for len(sent) > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("consuming, %d records missing: %w", len(sent), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !sent[string(r.Value)] {
				twice++
			}
			delete(sent, string(r.Value))
		})
	}
	a.check(twice == 0, "Kafka: a group consumed %d records, each once", records)
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		return fmt.Errorf("committing offsets: %w", err)
	}
	leads := make([]int, len(s.events.Addrs))
	for partition := range int32(partitions) {
		if leader := s.events.Leader(topic, partition); leader >= 0 && leader < len(leads) {
			leads[leader]++
		}
	}
	for i, n := range leads {
		a.row("topic "+topic+", partitions led", fmt.Sprint("broker ", i), n)
	}
	mu.Lock()
	defer mu.Unlock()
	own := 0
	for addr := range dialled {
		if slices.Contains(s.events.Addrs, addr) {
			own++
		}
	}
	a.check(own == 0, "Kafka: the client saw addresses of sidewire only: %s", strings.Join(slices.Sorted(maps.Keys(dialled)), " "))
	return nil
}
