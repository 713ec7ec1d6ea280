package redis_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sidewire/sidewire/gateway/certify"
	"github.com/sidewire/sidewire/integration/servers"
)

// One sidewire speaks TLS to its clients, another to that one: both directions of the loop's transform carry everything.
func TestTLSOnBothSides(t *testing.T) {
	cert, key, pool := certify.Own(t)
	one := servers.Redis(t, servers.Private())
	inner := fmt.Sprintf("127.0.0.1:%d", servers.Port(t))
	servers.StartSidewire(t, fmt.Sprintf("listeners:\n  - {name: redis, address: %q, tls: {cert: %q, key: {file: %q}}, redis: {cluster: servers}}\nclusters:\n  - {name: servers, redis: {}, endpoints: [%q]}\n",
		inner, cert, key, one.Addr))
	outer := fmt.Sprintf("127.0.0.1:%d", servers.Port(t))
	servers.StartSidewire(t, fmt.Sprintf("listeners:\n  - {name: redis, address: %q, redis: {cluster: servers}}\nclusters:\n  - {name: servers, redis: {}, tls: {ca: %q}, endpoints: [%q]}\n",
		outer, cert, inner))
	ctx := within(t, 30*time.Second)
	direct := redis.NewClient(&redis.Options{Addr: inner, TLSConfig: &tls.Config{RootCAs: pool}})
	defer direct.Close()
	plain := redis.NewClient(&redis.Options{Addr: outer})
	defer plain.Close()
	for name, c := range map[string]*redis.Client{"TLS to the client": direct, "TLS to the server": plain} {
		t.Run(name, func(t *testing.T) {
			if err := servers.Poll(ctx, func(ctx context.Context) error { return c.Ping(ctx).Err() }); err != nil {
				t.Fatal(err)
			}
			big := strings.Repeat("0123456789", 200000)
			if err := c.Set(ctx, "big", big, 0).Err(); err != nil {
				t.Fatal(err)
			}
			pipe := c.Pipeline()
			for range 20 {
				pipe.Get(ctx, "big")
				pipe.Set(ctx, "small", "x", 0)
			}
			cmds, err := pipe.Exec(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(cmds); i += 2 {
				if v := cmds[i].(*redis.StringCmd).Val(); v != big {
					t.Fatalf("reply %d has %d bytes", i, len(v))
				}
			}
			channels(ctx, t, c)
		})
	}
	if c, err := tls.Dial("tcp", inner, &tls.Config{}); err == nil {
		c.Close()
		t.Error("a client that trusts nobody was not refused by itself")
	}
}
