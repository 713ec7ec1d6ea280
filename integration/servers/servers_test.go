package servers_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/sidewire/sidewire/integration/servers"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(deadline(t), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// A write on the primary arrives at the replica, which takes no write of an application's account.
func TestReplication(t *testing.T) {
	for name, start := range map[string]func(servers.TB, ...servers.Option) *servers.MySQLServer{
		"mariadb": servers.MariaDB, "mysql": servers.MySQL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, servers.Replicas(1))
			primary, replica := open(t, s.DSN("")), open(t, s.Replicas[0].DSN(""))
			mustExec(t, primary, "CREATE DATABASE one", "CREATE TABLE one.t (id INT PRIMARY KEY)", "INSERT INTO one.t VALUES (7)")
			err := servers.Poll(deadline(t), func(ctx context.Context) error {
				var id int
				if err := replica.QueryRowContext(ctx, "SELECT id FROM one.t").Scan(&id); err != nil {
					return err
				}
				if id != 7 {
					return fmt.Errorf("id %d", id)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			const readOnly = 1290
			_, err = replica.ExecContext(deadline(t), "INSERT INTO one.t VALUES (8)")
			if e := (*mysql.MySQLError)(nil); !errors.As(err, &e) || e.Number != readOnly {
				t.Fatalf("writing to the replica: %v, want error %d", err, readOnly)
			}
		})
	}
}

// A crash loses nothing that was acknowledged, and the server comes back at its address.
func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	s := servers.MariaDB(t, servers.Private())
	mustExec(t, open(t, s.DSN("")), "CREATE DATABASE one", "CREATE TABLE one.t (id INT PRIMARY KEY)", "INSERT INTO one.t VALUES (7)")
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if s.Alive() {
		t.Fatal("alive after Kill")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	var id int
	if err := open(t, s.DSN("one")).QueryRowContext(deadline(t), "SELECT id FROM t").Scan(&id); err != nil || id != 7 {
		t.Fatalf("id %d, %v", id, err)
	}
}

func TestStopAndCont(t *testing.T) {
	t.Parallel()
	s := servers.Redis(t, servers.Private())
	c := s.Client()
	defer c.Close()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(deadline(t), 100*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Fatal("a stopped server answered")
	}
	if err := s.Cont(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(deadline(t)).Err(); err != nil {
		t.Fatal(err)
	}
}

// Equal options share a server, others and Private do not.
func TestSharing(t *testing.T) {
	t.Parallel()
	a, b, own, locked := servers.Redis(t), servers.Redis(t), servers.Redis(t, servers.Private()), servers.Redis(t, servers.Password("x"))
	if a != b {
		t.Error("two servers for the same options")
	}
	if own == a || locked == a {
		t.Error("one server for different options")
	}
	c := redis.NewClient(&redis.Options{Addr: locked.Addr, DisableIdentity: true})
	defer c.Close()
	if err := c.Ping(deadline(t)).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	g := servers.RedisCluster(t, servers.Nodes(6))
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: g.Addrs()[:1]})
	defer c.Close()
	for i := range 100 {
		if err := c.Set(deadline(t), fmt.Sprint("key", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var held int64
	for _, n := range g.Nodes[:3] {
		one := n.Client()
		size, err := one.DBSize(deadline(t)).Result()
		one.Close()
		if err != nil || size == 0 {
			t.Errorf("%s holds %d keys, %v", n.Name, size, err)
		}
		held += size
	}
	if held != 100 {
		t.Errorf("the primaries hold %d keys, want 100", held)
	}
}

// Sentinels fail over after the primary is killed.
func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	g := servers.RedisSentinel(t, servers.Private())
	if err := g.Nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	s := redis.NewSentinelClient(&redis.Options{Addr: g.Sentinels[0].Addr})
	defer s.Close()
	err := servers.Poll(deadline(t), func(ctx context.Context) error {
		at, err := s.GetMasterAddrByName(ctx, g.Primary).Result()
		if err != nil {
			return err
		}
		if strings.Join(at, ":") == g.Nodes[0].Addr {
			return errors.New("still the old primary")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPostgresAndPgBouncer(t *testing.T) {
	t.Parallel()
	s := servers.Postgres(t)
	for _, dsn := range []string{s.DSN("postgres"), servers.PgBouncer(t, s).DSN("postgres")} {
		conn, err := pgx.Connect(deadline(t), dsn)
		if err != nil {
			t.Fatal(err)
		}
		var port string
		err = conn.QueryRow(deadline(t), "SHOW port").Scan(&port)
		conn.Close(deadline(t))
		if err != nil || !strings.HasSuffix(s.Addr, ":"+port) {
			t.Errorf("%s: port %s, %v", dsn, port, err)
		}
	}
}

// HAProxy and twemproxy pass commands on; twemproxy spreads keys, and closes connections that greet with HELLO, so this
// speaks RESP itself.
func TestProxiesOfRedis(t *testing.T) {
	t.Parallel()
	nodes := servers.RedisNodes(t, 3)
	for _, addr := range []string{servers.Twemproxy(t, nodes...).Addrs[0], servers.HAProxy(t, []string{nodes[0].Addr}).Addrs[0]} {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(conn, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
		const want = "+OK\r\n$1\r\nv\r\n"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
}

// What is produced is consumed, on both lines, on one and three brokers, with and without SASL.
func TestKafka(t *testing.T) {
	for name, opts := range map[string][]servers.Option{
		"4":         nil,
		"3.9":       {servers.Line("3.9")},
		"4, 3 SASL": {servers.Nodes(3), servers.SASL()},
	} {
		t.Run(name, func(t *testing.T) {
			c := servers.Kafka(t, append(opts, servers.Private())...)
			seeds := kgo.SeedBrokers(c.Addrs()...)
			common := []kgo.Opt{seeds, kgo.DefaultProduceTopic("topic"), kgo.ConsumeTopics("topic")}
			if len(c.Brokers) == 3 {
				common[0] = kgo.SeedBrokers(c.SASLAddrs()...)
				common = append(common, kgo.SASL(scram.Auth{User: c.User, Pass: c.Password}.AsSha256Mechanism()))
			}
			client, err := kgo.NewClient(common...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := kadm.NewClient(client).CreateTopic(deadline(t), 3, -1, nil, "topic"); err != nil {
				t.Fatal(err)
			}
			if err := client.ProduceSync(deadline(t), kgo.StringRecord("hello")).FirstErr(); err != nil {
				t.Fatal(err)
			}
			fetches := client.PollFetches(deadline(t))
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			if got := string(fetches.Records()[0].Value); got != "hello" {
				t.Errorf("consumed %q", got)
			}
		})
	}
}

// A server that does not come up is reported with what it printed.
func TestStartFailureTellsWhy(t *testing.T) {
	t.Parallel()
	fleet, err := servers.Shared()
	if err != nil {
		t.Fatal(err)
	}
	_, err = fleet.Redis(deadline(t), servers.Args("--no-such-option", "1"))
	if err == nil || !strings.Contains(err.Error(), "exit code 1") || !strings.Contains(err.Error(), "no-such-option") {
		t.Fatalf("%v", err)
	}
}
