// Package redis_test drives real Redis clients through sidewire against real servers.
package redis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// proxied is a sidewire before a Redis cluster.
type proxied struct {
	*servers.Sidewire
	addr string
}

// start runs sidewire with one listener and one cluster.
func start(t *testing.T, listener, cluster string, endpoints ...string) *proxied {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", servers.Port(t))
	config := fmt.Sprintf("listeners:\n  - {name: redis, address: %q, redis: {cluster: servers%s}}\nclusters:\n  - {name: servers, redis: {%s}, endpoints: [%s]}\n",
		addr, listener, cluster, quoted(endpoints))
	return &proxied{servers.StartSidewire(t, config), addr}
}

func quoted(list []string) string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(q, ", ")
}

func (p *proxied) client(t *testing.T, protocol int) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: p.addr, Protocol: protocol, MaxRetries: -1, ReadTimeout: 10 * time.Second})
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// shapes are the three ways of standing before servers.
func shapes(t *testing.T) map[string]*proxied {
	t.Helper()
	one := servers.Redis(t, servers.Private())
	var three []string
	for _, n := range servers.RedisNodes(t, 3, servers.Private()) {
		three = append(three, n.Addr)
	}
	cluster := servers.RedisCluster(t, servers.Private())
	return map[string]*proxied{
		"one server":  start(t, "", "", one.Addr),
		"hashed pool": start(t, "", "hashing: ketama", three...),
		"cluster":     start(t, "", "hashing: slots", cluster.Nodes[0].Addr),
	}
}

func TestGoRedis(t *testing.T) {
	leak.Check(t)
	for name, p := range shapes(t) {
		for _, protocol := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s, RESP%d", name, protocol), func(t *testing.T) {
				c := p.client(t, protocol)
				ctx := within(t, 30*time.Second)
				if err := c.FlushAll(ctx).Err(); err != nil {
					t.Fatal(err)
				}
				t.Run("keys", func(t *testing.T) { keys(ctx, t, c) })
				t.Run("transactions", func(t *testing.T) { transactions(ctx, t, c) })
				t.Run("blocking", func(t *testing.T) { blocking(ctx, t, c) })
				t.Run("channels", func(t *testing.T) { channels(ctx, t, c) })
				t.Run("scripts", func(t *testing.T) { scripts(ctx, t, c) })
			})
		}
	}
}

func keys(ctx context.Context, t *testing.T, c *redis.Client) {
	const n = 500
	pipe := c.Pipeline()
	for i := range n {
		pipe.Set(ctx, fmt.Sprint("key", i), fmt.Sprint("value", i), 0)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	var names, want []string
	for i := range n {
		names, want = append(names, fmt.Sprint("key", i)), append(want, fmt.Sprint("value", i))
	}
	got, err := c.MGet(ctx, names...).Result()
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s is %v", names[i], got[i])
		}
	}
	if size, err := c.DBSize(ctx).Result(); err != nil || size != n {
		t.Errorf("DBSIZE %d, %v", size, err)
	}
	var seen []string
	iter := c.Scan(ctx, 0, "key*", 50).Iterator()
	for iter.Next(ctx) {
		seen = append(seen, iter.Val())
	}
	slices.Sort(seen)
	if seen = slices.Compact(seen); iter.Err() != nil || len(seen) != n {
		t.Errorf("SCAN found %d keys, %v", len(seen), iter.Err())
	}
	all, err := c.Keys(ctx, "key*").Result()
	if err != nil || len(all) != n {
		t.Errorf("KEYS found %d, %v", len(all), err)
	}
	if d, err := c.Del(ctx, names...).Result(); err != nil || d != n {
		t.Errorf("DEL %d, %v", d, err)
	}
	if err := c.HSet(ctx, "h", "a", "1", "b", "2").Err(); err != nil {
		t.Error(err)
	}
	if m, err := c.HGetAll(ctx, "h").Result(); err != nil || m["b"] != "2" {
		t.Errorf("HGETALL %v, %v", m, err)
	}
	if err := c.Do(ctx, "NOSUCHCOMMAND", "x").Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command") {
		t.Errorf("an unknown command was answered %v", err)
	}
	big := strings.Repeat("0123456789", 300000)
	if err := c.Set(ctx, "big", big, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if v, err := c.Get(ctx, "big").Result(); err != nil || v != big {
		t.Errorf("%d bytes came back, %v", len(v), err)
	}
}

func transactions(ctx context.Context, t *testing.T, c *redis.Client) {
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "{tx}a", "1", 0)
		p.Incr(ctx, "{tx}a")
		return nil
	})
	if v, _ := c.Get(ctx, "{tx}a").Result(); err != nil || v != "2" {
		t.Errorf("after MULTI: %q, %v", v, err)
	}
	// Many at once move a counter by compare and set: none may be lost.
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			for done := 0; done < 10; {
				err := c.Watch(ctx, func(tx *redis.Tx) error {
					n, err := tx.Get(ctx, "{tx}n").Int()
					if err != nil && !errors.Is(err, redis.Nil) {
						return err
					}
					_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
						p.Set(ctx, "{tx}n", n+1, 0)
						return nil
					})
					return err
				}, "{tx}n")
				if err == nil {
					done++
				} else if !errors.Is(err, redis.TxFailedErr) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n, err := c.Get(ctx, "{tx}n").Int(); n != 50 {
		t.Errorf("the counter is at %d, %v", n, err)
	}
}

func blocking(ctx context.Context, t *testing.T, c *redis.Client) {
	got := make(chan []string, 1)
	go func() {
		v, err := c.BLPop(ctx, 5*time.Second, "queue").Result()
		if err != nil {
			t.Error(err)
		}
		got <- v
	}()
	for i := range 50 {
		if err := c.Set(ctx, fmt.Sprint("while", i), "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RPush(ctx, "queue", "job").Err(); err != nil {
		t.Fatal(err)
	}
	if v := <-got; len(v) != 2 || v[1] != "job" {
		t.Errorf("popped %v", v)
	}
	if err := c.BLPop(ctx, time.Second, "queue").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("an empty queue was answered %v", err)
	}
}

func channels(ctx context.Context, t *testing.T, c *redis.Client) {
	sub := c.Subscribe(ctx, "news", "weather")
	defer sub.Close()
	patterns := c.PSubscribe(ctx, "n*")
	defer patterns.Close()
	for range 2 {
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := patterns.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := c.Publish(ctx, "news", fmt.Sprint("m", i)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		for _, s := range []*redis.PubSub{sub, patterns} {
			m, err := s.ReceiveMessage(ctx)
			if err != nil || m.Payload != fmt.Sprint("m", i) {
				t.Fatalf("message %d is %v, %v", i, m, err)
			}
		}
	}
}

func scripts(ctx context.Context, t *testing.T, c *redis.Client) {
	s := redis.NewScript("return redis.call('SET', KEYS[1], ARGV[1])")
	for i := range 20 {
		if err := s.Run(ctx, c, []string{fmt.Sprint("script", i)}, "v").Err(); err != nil {
			t.Fatal(err)
		}
	}
	sha, err := c.ScriptLoad(ctx, "return 7").Result()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.ScriptExists(ctx, sha).Result(); err != nil || !ok[0] {
		t.Errorf("SCRIPT EXISTS %v, %v", ok, err)
	}
	for i := range 10 {
		if n, err := c.EvalSha(ctx, sha, []string{fmt.Sprint("k", i)}).Int(); err != nil || n != 7 {
			t.Errorf("EVALSHA %d, %v", n, err)
		}
	}
}

// What twemproxy placed, sidewire finds: a pool can change hands.
func TestKetamaIsTwemproxys(t *testing.T) {
	nodes := servers.RedisNodes(t, 3, servers.Private())
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr)
	}
	// go-redis greets with HELLO, upon which twemproxy hangs up: it is spoken to by hand.
	old, err := net.Dial("tcp", servers.Twemproxy(t, nodes...).Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	old.SetDeadline(time.Now().Add(20 * time.Second))
	ctx := within(t, 30*time.Second)
	const n = 3000
	name := func(i int) string { return fmt.Sprintf("user:%d:%x\xff", i, i*7919) }
	var text []byte
	for i := range n {
		text = fmt.Appendf(text, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%d\r\n", len(name(i)), name(i), len(fmt.Sprint(i)), i)
	}
	go old.Write(text)
	if got, err := io.ReadAll(io.LimitReader(old, 5*n)); err != nil || string(got) != strings.Repeat("+OK\r\n", n) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	c := start(t, "", "hashing: ketama, hash_tag: ''", addrs...).client(t, 2)
	var names []string
	for i := range n {
		names = append(names, name(i))
	}
	got, err := c.MGet(ctx, names...).Result()
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != fmt.Sprint(i) {
			t.Fatalf("%q is %v", names[i], got[i])
		}
	}
}

func TestUsersAndReload(t *testing.T) {
	server := servers.Redis(t, servers.Private(), servers.Password("upstream-secret"))
	p := start(t, ", users: [{name: app, password: local-secret}]", "password: upstream-secret", server.Addr)
	ctx := within(t, 20*time.Second)
	open := p.client(t, 3)
	if err := open.Get(ctx, "k").Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
	wrong := redis.NewClient(&redis.Options{Addr: p.addr, Username: "app", Password: "nonsense", MaxRetries: -1})
	defer wrong.Close()
	if err := wrong.Get(ctx, "k").Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("with a wrong password: %v", err)
	}
	right := redis.NewClient(&redis.Options{Addr: p.addr, Username: "app", Password: "local-secret", MaxRetries: -1})
	defer right.Close()
	if err := right.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}

// A hundred changes of the configuration under load fail no command and close no connection.
func TestReloadsDisturbNobody(t *testing.T) {
	var addrs []string
	for _, n := range servers.RedisNodes(t, 3, servers.Private()) {
		addrs = append(addrs, n.Addr)
	}
	p := start(t, "", "hashing: ketama", addrs...)
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	c := p.client(t, 3)
	ctx := within(t, 60*time.Second)
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k, v := fmt.Sprintf("g%d:%d", g, i), fmt.Sprint(i)
				if err := c.Set(ctx, k, v, 0).Err(); err != nil {
					t.Errorf("setting: %v", err)
					return
				}
				if got, err := c.Get(ctx, k).Result(); err != nil || got != v {
					t.Errorf("%s is %q, %v", k, got, err)
					return
				}
			}
		})
	}
	for i := range 100 {
		config := fmt.Sprintf("listeners:\n  - {name: redis, address: %q, redis: {cluster: servers, output_limit: %dMB}}\nclusters:\n  - {name: servers, redis: {hashing: ketama, timeout: %ds}, endpoints: [%s]}\n",
			p.addr, 100+i, 5+i%5, quoted(addrs))
		if err := p.Write(config); err != nil {
			t.Fatal(err)
		}
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Get(ctx, "/ready"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // paces the reloads; nothing is waited for
	}
	close(stop)
	wg.Wait()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Errorf("the idle connection was closed: %v", err)
	}
}
