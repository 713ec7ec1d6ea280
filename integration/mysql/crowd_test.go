package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// crowdPool is how many connections to the server a crowd shares.
const crowdPool = 20

// A crowd of clients shares few connections: every answer is right, each session sees its own state, nothing is refused, and
// the server itself would refuse one connection more. CROWD=5000 is the number that was promised; less by default.
func TestCrowdOnFewConnections(t *testing.T) {
	clients, err := strconv.Atoi(os.Getenv("CROWD"))
	if err != nil {
		clients = 400
	}
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		root := session(t, db.AdminDSN(""))
		for _, sql := range []string{"DROP DATABASE IF EXISTS crowd", "CREATE DATABASE crowd", "DROP USER IF EXISTS crowd",
			"CREATE TABLE crowd.t (id INT PRIMARY KEY, n INT)", "INSERT INTO crowd.t VALUES " + numbered(50),
			// The probes' account is another one.
			fmt.Sprintf("CREATE USER crowd IDENTIFIED BY 'few' WITH MAX_USER_CONNECTIONS %d", crowdPool), "GRANT ALL ON crowd.* TO crowd"} {
			mustExec(t, root, sql)
		}
		w := front(t, db, layout{users: "{name: many, password: local, backend: {user: crowd, password: few}}",
			cluster: fmt.Sprintf("pool: {max: %d, waiting: %d, wait: 60s}", crowdPool, clients)})
		w.settle(t)
		empty, err := w.side.RSS()
		if err != nil {
			t.Fatal(err)
		}
		sessions := gather(t, w, clients)
		idle, err := w.side.RSS()
		if err != nil {
			t.Fatal(err)
		}
		// The first eight megabytes are buffers and tables that one client needs as well as a crowd.
		each := float64(idle-empty) / float64(clients) / 1e3
		if idle-empty > 8<<20+int64(clients)*24<<10 {
			t.Errorf("an idle client costs %.1f KB", each)
		}
		begun := time.Now()
		const rounds = 3
		var all sync.WaitGroup
		for i, c := range sessions {
			all.Go(func() {
				for round := range rounds {
					if err := visit(deadline(t, 100*time.Second), c, i, round); err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
				}
			})
		}
		all.Wait()
		took := time.Since(begun)
		if got, want := show(deadline(t, 20*time.Second), root, "SELECT SUM(n) AS n FROM crowd.t"), fmt.Sprintf("n\n%d", clients*rounds); got != want {
			t.Errorf("%s transactions left their mark, want %s", got, want)
		}
		opened, waits := w.metric(t, "sidewire_mysql_backend_connections_total"), w.metric(t, "sidewire_mysql_pool_waits_total")
		if opened > crowdPool || waits == 0 {
			t.Errorf("%v connections were opened, %v statements waited", opened, waits)
		}
		t.Logf("%d clients, %.1f KB each at rest; %d statements in %v over %v connections, %v waited", clients, each, 5*clients*rounds, took.Round(time.Millisecond), opened, waits)
	})
}

// numbered is rows of (id, 0).
func numbered(n int) string {
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf("(%d, 0)", i))
	}
	return strings.Join(rows, ", ")
}

// gather opens sessions that each know their number.
func gather(t *testing.T, w *world, n int) []*sql.Conn {
	t.Helper()
	db, err := sql.Open("mysql", "many:local@tcp("+w.addr+")/crowd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	sessions := make([]*sql.Conn, n)
	var opening sync.WaitGroup
	for lane := range 16 {
		opening.Go(func() {
			for i := lane; i < n; i += 16 {
				c, err := db.Conn(deadline(t, 100*time.Second))
				if err == nil {
					_, err = c.ExecContext(deadline(t, 100*time.Second), fmt.Sprintf("SET @me = %d", i))
				}
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				sessions[i] = c
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return sessions
}

// visit does what an application does: a read, a prepared one, and a transaction.
func visit(ctx context.Context, c *sql.Conn, me, round int) error {
	if got, want := show(ctx, c, "SELECT @me AS me"), fmt.Sprintf("me\n%d", me); got != want {
		return fmt.Errorf("it reads %q, want %q", got, want)
	}
	if got, want := show(ctx, c, "SELECT @me + ? AS sum", round), fmt.Sprintf("sum\n%d", me+round); got != want {
		return fmt.Errorf("it reads %q, want %q", got, want)
	}
	for _, sql := range []string{"BEGIN", fmt.Sprintf("UPDATE t SET n = n + 1 WHERE id = %d", (me+round)%50), "COMMIT"} {
		if _, err := c.ExecContext(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
