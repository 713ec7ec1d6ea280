package redis_test

import (
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// A reload that changes how keys are placed takes open clients along: no command fails, and each key stands where the new placement
// says, whether its client was idle or in the middle of something.
func TestReloadChangesPlacement(t *testing.T) {
	leak.Check(t)
	var addrs []string
	var nodes []*redis.Client
	ctx := within(t, 60*time.Second)
	for _, n := range servers.RedisNodes(t, 3, servers.Private()) {
		addrs = append(addrs, n.Addr)
	}
	slices.Sort(addrs) // as twemproxy counts them
	for _, a := range addrs {
		c := redis.NewClient(&redis.Options{Addr: a})
		t.Cleanup(func() { c.Close() })
		nodes = append(nodes, c)
	}
	p := start(t, "", "", addrs...)
	idle := p.client(t, 3).Conn()
	t.Cleanup(func() { idle.Close() })
	if err := idle.Set(ctx, "idle", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	busy := p.client(t, 3)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k := fmt.Sprintf("load%d:%d", g, i)
				pipe := busy.Pipeline()
				pipe.Set(ctx, k, "v", 0)
				got := pipe.Get(ctx, k)
				pipe.MGet(ctx, k, "x", "y", "z")
				if _, err := pipe.Exec(ctx); err != nil || got.Val() != "v" {
					t.Errorf("%s is %q: %v", k, got.Val(), err)
					return
				}
			}
		})
	}
	for i, cluster := range []string{"hashing: ketama", "hashing: modula", "hash_tag: \"\"", "hashing: modula, hash: crc32a"} {
		timeout := fmt.Sprintf("%ds", 21+i)
		cluster += ", timeout: " + timeout
		config := fmt.Sprintf("listeners:\n  - {name: redis, address: %q, redis: {cluster: servers}}\nclusters:\n  - {name: servers, redis: {%s}, endpoints: [%s]}\n", p.addr, cluster, quoted(addrs))
		if err := p.Write(config); err != nil {
			t.Fatal(err)
		}
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		if err := p.Await(ctx, "/config_dump", timeout); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if err := idle.Set(ctx, fmt.Sprint("after", i), "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	for i := range 100 {
		k := fmt.Sprint("after", i)
		want := int(crc32.ChecksumIEEE([]byte(k)) % 3)
		for at, n := range nodes {
			if has := n.Exists(ctx, k).Val() == 1; has != (at == want) {
				t.Errorf("%s on server %d: %v; its place is server %d", k, at, has, want)
			}
		}
	}
}
