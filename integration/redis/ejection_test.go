package redis_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// A server is ejected after as many failures as are configured, each counted once.
func TestEjectedAfterItsFailures(t *testing.T) {
	dead := fmt.Sprintf("127.0.0.1:%d", servers.Port(t))
	addr := fmt.Sprintf("127.0.0.1:%d", servers.Port(t))
	p := &proxied{servers.StartSidewire(t, fmt.Sprintf(`
listeners:
  - {name: redis, address: %q, redis: {cluster: servers}}
clusters:
  - name: servers
    redis: {hashing: ketama}
    endpoints: [%q, %q]
    health: {unhealthy: 1000}
    ejection: {failures: 3, time: 60s, max_percent: 50}
`, addr, dead, servers.Redis(t).Addr)), addr}
	c := p.client(t, 3)
	key := 0
	ejected := regexp.MustCompile(regexp.QuoteMeta(dead) + `::health_flags::\S*failed_outlier`)
	attempts := regexp.MustCompile(regexp.QuoteMeta(dead) + `::cx_connect_fail::(\d)\b`)
	err := servers.Poll(within(t, 30*time.Second), func(ctx context.Context) error {
		for range 20 {
			key++
			c.Get(ctx, strconv.Itoa(key))
		}
		page, err := p.Get(ctx, "/clusters")
		if err == nil && !ejected.MatchString(page) {
			err = fmt.Errorf("%s is not ejected:\n%s", dead, page)
		}
		if m := attempts.FindStringSubmatch(page); err == nil && (m == nil || m[1] < "3") {
			t.Errorf("ejected after %v failed attempts to connect, want 3", m)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
