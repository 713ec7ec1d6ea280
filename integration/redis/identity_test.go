package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// Clients' accounts stand for accounts of the server: each acts with the rights of its own, and connections are shared among those who have
// account, database and protocol version in common, and among no others.
func TestAccountsStandForAccounts(t *testing.T) {
	leak.Check(t)
	server := servers.Redis(t, servers.Private())
	ctx := within(t, 100*time.Second)
	direct := server.Client()
	defer direct.Close()
	for _, acl := range []string{"writer on >w-up ~* &* +@all", "reader on >r-up ~* &* +@read +@connection +select"} {
		args := []any{"ACL", "SETUSER"}
		for _, word := range strings.Fields(acl) {
			args = append(args, word)
		}
		if err := direct.Do(ctx, args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, ", users: [{name: app, password: a, upstream_user: writer, upstream_password: w-up}, {name: report, password: r, upstream_user: reader, upstream_password: r-up}]", "", server.Addr)
	as := func(name, password string, db, protocol int) *redis.Client {
		c := redis.NewClient(&redis.Options{Addr: p.addr, Username: name, Password: password, DB: db, Protocol: protocol, MaxRetries: -1, DisableIdentity: true, PoolSize: 1,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}}) // it would have a connection of its own for asking
		t.Cleanup(func() { c.Close() })
		return c
	}
	writers := []*redis.Client{as("app", "a", 0, 2), as("app", "a", 0, 2), as("app", "a", 0, 3), as("app", "a", 5, 2)}
	readers := []*redis.Client{as("report", "r", 0, 2), as("report", "r", 0, 2)}
	for i, c := range writers {
		if err := c.Set(ctx, fmt.Sprint("k", i), i, 0).Err(); err != nil {
			t.Fatalf("writer %d: %v", i, err)
		}
		if who, err := c.Do(ctx, "ACL", "WHOAMI").Text(); err != nil || who != "writer" {
			t.Errorf("writer %d is %q, %v", i, who, err)
		}
	}
	for i, c := range readers {
		if v, err := c.Get(ctx, "k1").Result(); err != nil || v != "1" {
			t.Errorf("reader %d reads %q, %v", i, v, err)
		}
		if err := c.Set(ctx, "k1", "x", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("reader %d writes: %v", i, err)
		}
	}
	if n, err := writers[3].DBSize(ctx).Result(); err != nil || n != 1 {
		t.Errorf("database 5 has %d keys, %v", n, err)
	}
	list, err := direct.ClientList(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	shared := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(list), "\n") {
		facts := map[string]string{}
		for _, f := range strings.Fields(line) {
			k, v, _ := strings.Cut(f, "=")
			facts[k] = v
		}
		if facts["user"] != "default" {
			shared[facts["user"]+" db="+facts["db"]]++
		}
	}
	// Redis 7.0 does not list the protocol version: writers on database 0 have a connection for each of two.
	for who, want := range map[string]int{"writer db=0": 2, "writer db=5": 1, "reader db=0": 1} {
		if shared[who] != want {
			t.Errorf("%s has %d connections, want %d; all: %v", who, shared[who], want, shared)
		}
	}
}
