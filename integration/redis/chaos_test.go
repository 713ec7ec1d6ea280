package redis_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
	"github.com/sidewire/sidewire/sharding/hash"
)

// audit is load whose every answer can be checked: a value carries a checksum of its key, and every increment is counted.
type audit struct {
	t        *testing.T
	clients  []*redis.Client
	ok       atomic.Int64
	failed   atomic.Int64
	lastFail atomic.Value
	counters []counter
}

// counter is what clients were told of a counter's increments, beside what it was at before.
type counter struct {
	base           int64
	acked, unknown atomic.Int64
}

const auditedKeys = 400

func checksummed(key string, n int) string {
	return fmt.Sprintf("%08x:%d:%s", crc32.ChecksumIEEE([]byte(key)), n, strings.Repeat("v", n%200))
}

func (a *audit) check(key, value string) {
	sum, _, _ := strings.Cut(value, ":")
	if want := fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(key))); sum != want {
		a.t.Errorf("%s was answered with another key's value %.60q", key, value)
	}
}

// run puts load on the proxy until ctx ends.
func (a *audit) run(ctx context.Context, wg *sync.WaitGroup) {
	a.counters = make([]counter, 40)
	for n := range a.counters {
		a.counters[n].base = a.value(ctx, a.clients[0], n)
	}
	for g, c := range a.clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 9))
			for i := 0; ctx.Err() == nil; i++ {
				a.step(ctx, c, rnd, i)
			}
		})
	}
}

func countKey(n int) string { return fmt.Sprint("count:", n) }

// value is what a counter is at, as soon as its server answers.
func (a *audit) value(ctx context.Context, c *redis.Client, n int) (v int64) {
	a.t.Helper()
	if err := servers.Poll(ctx, func(ctx context.Context) (err error) {
		if v, err = c.Get(ctx, countKey(n)).Int64(); errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	}); err != nil {
		a.t.Fatal(err)
	}
	return v
}

// counted notes what became of an increment.
func (a *audit) counted(n int, err error) error {
	switch {
	case err == nil:
		a.counters[n].acked.Add(1)
	case refused(err):
	default:
		a.counters[n].unknown.Add(1)
	}
	return err
}

func (a *audit) step(ctx context.Context, c *redis.Client, rnd *rand.Rand, i int) {
	key := func() string { return fmt.Sprint("audit:", rnd.IntN(auditedKeys)) }
	var err error
	switch rnd.IntN(5) {
	case 0:
		k := key()
		err = c.Set(ctx, k, checksummed(k, i), 0).Err()
	case 1:
		k := key()
		var v string
		if v, err = c.Get(ctx, k).Result(); err == nil {
			a.check(k, v)
		}
	case 2:
		n := rnd.IntN(len(a.counters))
		err = a.counted(n, c.Incr(ctx, countKey(n)).Err())
	case 3: // a transaction is executed once or not at all, too
		n := rnd.IntN(len(a.counters))
		_, err = c.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.Incr(ctx, countKey(n))
			return tx.Exists(ctx, countKey(n)).Err()
		})
		a.counted(n, err)
	case 4:
		ks := make([]string, 10)
		for j := range ks {
			ks[j] = key()
		}
		pipe := c.Pipeline()
		many := pipe.MGet(ctx, ks...)
		one := pipe.Get(ctx, ks[0])
		_, err = pipe.Exec(ctx)
		if vs, merr := many.Result(); merr == nil {
			for j, v := range vs {
				if text, ok := v.(string); ok {
					a.check(ks[j], text)
				}
			}
		}
		if v, gerr := one.Result(); gerr == nil {
			a.check(ks[0], v)
		}
	}
	if err == nil || errors.Is(err, redis.Nil) {
		a.ok.Add(1)
	} else if ctx.Err() == nil {
		a.failed.Add(1)
		a.lastFail.Store(err.Error())
	}
}

// refused tells whether an error proves that nothing was executed.
func refused(err error) bool {
	text := err.Error()
	if strings.Contains(text, "unknown outcome") {
		return false
	}
	for _, proof := range []string{"no upstream host", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "LOADING", "MOVED", "connection refused", "EXECABORT"} {
		if strings.Contains(text, proof) {
			return true
		}
	}
	return false
}

// settle compares the counters: nothing counted twice, and nothing lost that was acknowledged but on a server that died.
func (a *audit) settle(ctx context.Context, c *redis.Client, died func(key string) bool) {
	for n := range a.counters {
		got := a.value(ctx, c, n) - a.counters[n].base
		acked, unknown := a.counters[n].acked.Load(), a.counters[n].unknown.Load()
		if got > acked+unknown {
			a.t.Errorf("counter %d has gone up by %d: %d increments were acknowledged and %d unknown", n, got, acked, unknown)
		}
		if got < acked && !died(countKey(n)) {
			a.t.Errorf("counter %d has gone up by %d: %d increments were acknowledged", n, got, acked)
		}
	}
	last, _ := a.lastFail.Load().(string)
	a.t.Logf("%d operations answered, %d failed, last with %q", a.ok.Load(), a.failed.Load(), last)
	if a.ok.Load() < 1000 {
		a.t.Errorf("%d operations are too few to mean anything", a.ok.Load())
	}
}

// nobody and everybody are what died for all keys alike.
func nobody(string) bool    { return false }
func everybody(string) bool { return true }

// heldBy tells which keys a node of a Redis Cluster holds now.
func heldBy(ctx context.Context, t *testing.T, node *servers.RedisServer) func(key string) bool {
	t.Helper()
	c := node.Client()
	defer c.Close()
	id, err := c.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		t.Fatal(err)
	}
	shards, err := c.ClusterShards(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	var mine []redis.SlotRange
	for _, shard := range shards {
		for _, n := range shard.Nodes {
			if n.ID == id && n.Role == "master" {
				mine = append(mine, shard.Slots...)
			}
		}
	}
	if len(mine) == 0 {
		t.Fatalf("%s holds no slots", node.Addr)
	}
	return func(key string) bool {
		slot := int64(hash.Slot([]byte(key)))
		return slices.ContainsFunc(mine, func(r redis.SlotRange) bool { return r.Start <= slot && slot <= r.End })
	}
}

// until waits for so many answers.
func (a *audit) until(ctx context.Context, n int64) {
	err := servers.Poll(ctx, func(context.Context) error {
		if got := a.ok.Load(); got < n {
			return fmt.Errorf("%d operations answered", got)
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

func begin(t *testing.T, p *proxied) (a *audit, stop func()) {
	a = &audit{t: t}
	for range 8 {
		a.clients = append(a.clients, p.client(t, 2+len(a.clients)%2))
	}
	ctx, cancel := context.WithCancel(within(t, 90*time.Second))
	var wg sync.WaitGroup
	a.run(ctx, &wg)
	return a, func() { cancel(); wg.Wait() }
}

// Slots move between nodes under load, key by key, and nobody notices but by time.
func TestReshardingUnderLoad(t *testing.T) {
	leak.Check(t)
	g := servers.RedisCluster(t, servers.Private())
	p := start(t, "", "hashing: slots", g.Addrs()...)
	ctx := within(t, 80*time.Second)
	a, stop := begin(t, p)
	for round := range 3 {
		from, to := g.Nodes[round%3], g.Nodes[(round+1)%3]
		if err := reshard(ctx, from, to, 250); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if n := a.failed.Load(); n > 0 {
		t.Errorf("%d operations failed, the last with %q", n, a.lastFail.Load())
	}
	a.settle(ctx, p.client(t, 2), nobody)
}

// reshard moves slots as redis-cli does: importing, migrating, keys, then the word to everybody.
func reshard(ctx context.Context, from, to *servers.RedisServer, slots int) error {
	src, dst := from.Client(), to.Client()
	defer src.Close()
	defer dst.Close()
	srcID, err := src.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return err
	}
	dstID, err := dst.Do(ctx, "CLUSTER", "MYID").Text()
	if err != nil {
		return err
	}
	shards, err := src.ClusterShards(ctx).Result()
	if err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(to.Addr)
	var list []int
	for _, shard := range shards {
		if len(shard.Nodes) == 0 || shard.Nodes[0].ID != srcID {
			continue
		}
		for _, r := range shard.Slots {
			for s := r.Start; s <= r.End; s++ {
				list = append(list, int(s))
			}
		}
	}
	step := max(len(list)/slots, 1)
	for i := 0; i < len(list); i += step {
		slot := list[i]
		if err := dst.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", srcID).Err(); err != nil {
			return err
		}
		if err := src.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", dstID).Err(); err != nil {
			return err
		}
		for {
			ks, err := src.ClusterGetKeysInSlot(ctx, slot, 10).Result()
			if err != nil {
				return err
			}
			if len(ks) == 0 {
				break
			}
			args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
			for _, k := range ks {
				args = append(args, k)
			}
			if err := src.Do(ctx, args...).Err(); err != nil {
				return err
			}
		}
		for _, c := range []*redis.Client{dst, src} {
			if err := c.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", dstID).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// A primary is asked to step down under load; then one is killed. Errors are for its keys only, and end.
func TestFailoverUnderLoad(t *testing.T) {
	leak.Check(t)
	g := servers.RedisCluster(t, servers.Private(), servers.Nodes(6))
	p := start(t, "", "hashing: slots, timeout: 1s", g.Nodes[0].Addr, g.Nodes[1].Addr, g.Nodes[2].Addr)
	ctx := within(t, 80*time.Second)
	a, stop := begin(t, p)
	replica := g.Nodes[3].Client()
	defer replica.Close()
	a.until(ctx, 1000)
	if err := replica.Do(ctx, "CLUSTER", "FAILOVER").Err(); err != nil {
		t.Fatal(err)
	}
	if err := servers.Poll(ctx, func(ctx context.Context) error {
		role, err := replica.Do(ctx, "ROLE").Slice()
		if err != nil || role[0] != "master" {
			return fmt.Errorf("the replica is %v, %v", role, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	a.until(ctx, a.ok.Load()+1000)
	stop()
	a.settle(ctx, p.client(t, 2), nobody) // a failover by agreement loses nothing

	dead := heldBy(ctx, t, g.Nodes[1])
	a, stop = begin(t, p)
	if err := g.Nodes[1].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c := p.client(t, 3)
	began := time.Now()
	if err := servers.Poll(ctx, func(ctx context.Context) error {
		for i := range 200 {
			if err := c.Set(ctx, "probe"+strconv.Itoa(i), "x", 0).Err(); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	t.Logf("every slot is written to again %v after the kill", time.Since(began))
	stop()
	a.settle(ctx, c, dead)
}

// Servers of a hashed pool are stopped, stalled and started again: their keys have errors, others none.
func TestPoolServersComeAndGo(t *testing.T) {
	leak.Check(t)
	nodes := servers.RedisNodes(t, 3, servers.Private())
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr)
	}
	p := start(t, "", "hashing: ketama, timeout: 500ms", addrs...)
	ctx := within(t, 60*time.Second)
	c := p.client(t, 2)
	var there, here string // a key of the first server, and one of another
	direct := nodes[0].Client()
	defer direct.Close()
	for i := 0; there == "" || here == ""; i++ {
		k := fmt.Sprint("place", i*7919)
		if err := c.Set(ctx, k, "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := direct.Exists(ctx, k).Result(); err != nil {
			t.Fatal(err)
		} else if n == 1 {
			there = k
		} else {
			here = k
		}
	}
	a, stop := begin(t, p)
	a.until(ctx, 1000) // the load is there before its server is not
	if err := nodes[0].Stop(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.Get(ctx, there).Err(); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a stalled server's key was answered %v", err)
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("the error took %v", d)
	}
	for range 50 {
		if v, err := c.Get(ctx, here).Result(); err != nil || v != "v" {
			t.Fatalf("another server's key was answered %q, %v", v, err)
		}
	}
	if err := nodes[0].Cont(); err != nil {
		t.Fatal(err)
	}
	if err := servers.Poll(ctx, func(ctx context.Context) error { return c.Get(ctx, there).Err() }); err != nil {
		t.Fatal(err)
	}
	stop()
	a.settle(ctx, c, nobody)

	if err := nodes[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := servers.Poll(ctx, func(ctx context.Context) error {
		if err := c.Get(ctx, there).Err(); err == nil || !strings.Contains(err.Error(), "no upstream host") {
			return fmt.Errorf("a dead server's key was answered %v", err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := nodes[0].Restart(); err != nil {
		t.Fatal(err)
	}
	if err := servers.Poll(ctx, func(ctx context.Context) error { return c.Set(ctx, there, "again", 0).Err() }); err != nil {
		t.Fatal(err)
	}
}

// The sentinels move the primary under load: clients see errors for a moment at most, and nothing is counted twice.
func TestSentinelSwitchUnderLoad(t *testing.T) {
	leak.Check(t)
	g := servers.RedisSentinel(t, servers.Private())
	var sentinels []string
	for _, s := range g.Sentinels {
		sentinels = append(sentinels, s.Addr)
	}
	p := start(t, "", "hashing: sentinel, group: "+g.Primary, sentinels...)
	ctx := within(t, 60*time.Second)
	a, stop := begin(t, p)
	a.until(ctx, 1000)
	s := redis.NewClient(&redis.Options{Addr: sentinels[0], DisableIdentity: true, Protocol: 2})
	defer s.Close()
	if err := servers.Poll(ctx, func(ctx context.Context) error { // other sentinels subscribe too, but not to this channel alone
		list, err := s.Do(ctx, "CLIENT", "LIST").Text()
		if err == nil && !strings.Contains(list, " sub=1 ") {
			err = fmt.Errorf("nobody listens to the sentinel:\n%s", list)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Do(ctx, "SENTINEL", "FAILOVER", g.Primary).Err(); err != nil {
		t.Fatal(err)
	}
	c := p.client(t, 2)
	if err := servers.Poll(ctx, func(ctx context.Context) error {
		now, err := s.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", g.Primary).StringSlice()
		if err != nil || net.JoinHostPort(now[0], now[1]) == g.Nodes[0].Addr {
			return fmt.Errorf("the primary is still %v, %v", now, err)
		}
		return c.Set(ctx, "after", "the switch", 0).Err()
	}); err != nil {
		t.Fatal(err)
	}
	a.until(ctx, a.ok.Load()+500)
	stop()
	a.settle(ctx, c, everybody) // what the old primary took after its last word to the new one is lost, as with any client
}
