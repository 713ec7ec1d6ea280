package live

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sidewire/sidewire/integration/servers"
)

// command runs a client program and returns what it printed.
func command(t *testing.T, stdin string, argv ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.CommandContext(deadline(t, time.Minute), argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", argv[0], err, errs.String())
	}
	return strings.TrimSpace(out.String()), err
}

func must(t *testing.T, want string) func(string, error) {
	return func(got string, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("printed %q, want %q; %v", got, want, err)
		}
	}
}

// The command line clients people have work unchanged.
func TestCommandLineClients(t *testing.T) {
	w := begin(t)
	host, port, _ := strings.Cut(w.sql, ":")
	script := "CREATE DATABASE IF NOT EXISTS cli; USE cli; CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, v VARCHAR(9)); " +
		"INSERT INTO t VALUES (1,'one'),(2,'two'); SELECT COUNT(*), MAX(v) FROM t"
	login := []string{"-h", host, "-P", port, "-u", w.db.User, "-p" + w.db.Password, "-N"}

	t.Run("mariadb", func(t *testing.T) {
		must(t, "2\ttwo")(command(t, script, append([]string{"mariadb"}, login...)...))
	})
	t.Run("mariadb, wrong password", func(t *testing.T) {
		_, err := command(t, "", "mariadb", "-h", host, "-P", port, "-u", w.db.User, "-pwrong", "-e", "SELECT 1")
		if err == nil || !strings.Contains(err.Error(), "ERROR 1045 (28000)") {
			t.Errorf("%v", err)
		}
	})
	t.Run("mariadb, unknown database", func(t *testing.T) {
		_, err := command(t, "SELECT 1", append(append([]string{"mariadb"}, login...), "nowhere")...)
		if err == nil || !strings.Contains(err.Error(), "ERROR 1049 (42000)") {
			t.Errorf("%v", err)
		}
	})
	t.Run("mysql 9", func(t *testing.T) {
		must(t, "2\ttwo")(command(t, script, append(servers.MySQLClient(t), login...)...))
	})
	t.Run("redis-cli", func(t *testing.T) {
		_, port, _ := strings.Cut(w.cache, ":")
		cli := func(args ...string) (string, error) {
			return command(t, "", append([]string{"redis-cli", "-p", port}, args...)...)
		}
		must(t, "OK")(cli("MSET", "a", "1", "b", "2", "c", "3", "{a}x", "4"))
		must(t, "1\n2\n3\n4")(cli("MGET", "a", "b", "c", "{a}x"))
		must(t, "3")(cli("DEL", "a", "b", "c", "nothing"))
	})
	t.Run("kcat", func(t *testing.T) {
		topic := w.topic(t, "kcat", 6)
		list, err := command(t, "", "kcat", "-b", w.kafka, "-L", "-t", topic)
		if err != nil || !strings.Contains(list, "with 6 partitions") {
			t.Errorf("%s, %v", list, err)
		}
		for _, addr := range w.events.Addrs() {
			if strings.Contains(list, addr) {
				t.Errorf("a broker's own address reached the client: %s in\n%s", addr, list)
			}
		}
		if _, err := command(t, "one\ntwo\nthree\n", "kcat", "-b", w.kafka, "-P", "-t", topic, "-X", "acks=all"); err != nil {
			t.Fatal(err)
		}
		out, err := command(t, "", "kcat", "-b", w.kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q")
		if lines := strings.Fields(out); err != nil || len(lines) != 3 || !strings.Contains(out, "two") {
			t.Errorf("consumed %q, %v", out, err)
		}
	})
}

// go-redis and franz-go in their ordinary set-up: RESP3 greeting, pipelines, a consumer group.
func TestGoClients(t *testing.T) {
	w := begin(t)
	ctx := deadline(t, time.Minute)
	t.Run("go-redis", func(t *testing.T) {
		c := redis.NewClient(&redis.Options{Addr: w.cache, Protocol: 2})
		defer c.Close()
		pipe := c.Pipeline()
		for i := range 300 {
			pipe.Set(ctx, fmt.Sprint("pipe:", i), i, 0)
		}
		for i := range 300 {
			pipe.Get(ctx, fmt.Sprint("pipe:", i))
		}
		replies, err := pipe.Exec(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range replies[300:] {
			if got := r.(*redis.StringCmd).Val(); got != fmt.Sprint(i) {
				t.Fatalf("reply %d is %q", i, got)
			}
		}
		for _, node := range w.kv {
			own := node.Client()
			if n, err := own.DBSize(ctx).Result(); err != nil || n < 30 {
				t.Errorf("%s holds %d keys, %v", node.Name, n, err)
			}
			own.Close()
		}
	})
	t.Run("franz-go group", func(t *testing.T) {
		topic := w.topic(t, "group", 6)
		c, err := kgo.NewClient(kgo.SeedBrokers(w.kafka), kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic), kgo.ConsumerGroup("live-"+topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sent := map[string]bool{}
		for i := range 200 {
			value := fmt.Sprint("record ", i)
			sent[value] = true
			if err := c.ProduceSync(ctx, kgo.KeyStringRecord(fmt.Sprint(i), value)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		for len(sent) > 0 {
			fetches := c.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatalf("%v, %d records missing", err, len(sent))
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if !sent[string(r.Value)] {
					t.Errorf("record %q came twice or was never sent", r.Value)
				}
				delete(sent, string(r.Value))
			})
		}
		if err := c.CommitUncommittedOffsets(ctx); err != nil {
			t.Error(err)
		}
	})
}
