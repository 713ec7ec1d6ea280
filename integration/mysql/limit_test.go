package mysql

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

// refusal is the server's error number and SQLSTATE of err.
func refusal(err error) string {
	var e *driver.MySQLError
	if !errors.As(err, &e) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%d %s", e.Number, e.SQLState[:])
}

// metric is the sum of a metric's samples.
func (w *world) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	text, err := w.side.Get(deadline(t, 10*time.Second), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(text, -1) {
		var v float64
		fmt.Sscan(m[1], &v)
		sum += v
	}
	return sum
}

// A statement that takes too long ends on its server too, with the server's own error; its transaction and its session
// live on. One whose server stands still ends all the same.
func TestStatementTimeout(t *testing.T) {
	for _, tc := range []struct {
		start func(testing.TB, ...servers.Option) *servers.MySQLServer
		want  string
	}{
		{func(t testing.TB, o ...servers.Option) *servers.MySQLServer { return servers.MariaDB(t, o...) }, "1969 70100"},
		{func(t testing.TB, o ...servers.Option) *servers.MySQLServer { return servers.MySQL(t, o...) }, "3024 HY000"},
	} {
		db := tc.start(t, servers.Private())
		w := front(t, db, layout{listener: "statement_timeout: 1s", cluster: "pool: {max: 4}, failover: {wait: 20s}"})
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "CREATE DATABASE slow")
		mustExec(t, root, "CREATE TABLE slow.t (id INT PRIMARY KEY)")
		mustExec(t, root, "INSERT INTO slow.t VALUES (1), (2), (3)")
		c := w.session(t, "slow")
		mustExec(t, c, "BEGIN")
		mustExec(t, c, "INSERT INTO t VALUES (4)")
		const long = "SELECT /* overdue */ id FROM slow.t WHERE SLEEP(30) = 0"
		for _, args := range [][]any{nil, {30}} {
			begun := time.Now()
			statement := long
			if args != nil {
				statement = strings.Replace(long, "30", "?", 1)
			}
			if rows, err := c.QueryContext(deadline(t, 20*time.Second), statement, args...); err == nil {
				for rows.Next() {
				}
				if got := refusal(rows.Err()); got != tc.want {
					t.Fatalf("after rows: %s, want %s", got, tc.want)
				}
			} else if got := refusal(err); got != tc.want {
				t.Fatalf("%s, want %s", got, tc.want)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			waitSleepers(t, root, "overdue", 0)
		}
		if got := show(deadline(t, 10*time.Second), c, "SELECT COUNT(*) AS n FROM t"); got != "n\n4" {
			t.Fatalf("inside the transaction: %s", got)
		}
		mustExec(t, c, "COMMIT")
		if n := w.metric(t, "sidewire_mysql_statement_timeouts_total"); n != 2 {
			t.Errorf("%v timeouts are counted", n)
		}
		other := w.session(t, "slow")
		mustExec(t, other, "SELECT id FROM t")
		if err := db.Stop(); err != nil {
			t.Fatal(err)
		}
		_, err := other.ExecContext(deadline(t, 30*time.Second), "DELETE FROM t WHERE id = 4")
		if got := refusal(err); got != "1158 40003" {
			t.Errorf("a write to a server that stands still: %v", err)
		}
		if err := db.Cont(); err != nil {
			t.Fatal(err)
		}
		if got := show(deadline(t, 30*time.Second), other, "SELECT 7"); got != "7\n7" {
			t.Errorf("the session did not live on: %s", got)
		}
	}
}

// A result that is too long ends behind a whole row, with an error; the session and its transaction live on.
func TestMaxResult(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := front(t, db, layout{listener: "max_result: 1MB", cluster: "pool: {max: 2}"})
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "SET GLOBAL max_allowed_packet = 67108864")
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS wide")
		mustExec(t, root, "DROP TABLE IF EXISTS wide.t")
		mustExec(t, root, "CREATE TABLE wide.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(1000))")
		mustExec(t, root, "INSERT INTO wide.t (v) VALUES "+strings.TrimSuffix(strings.Repeat("(REPEAT('x', 1000)),", 1000), ","))
		c := session(t, "app:local@tcp("+w.addr+")/wide?maxAllowedPacket=67108864")
		mustExec(t, c, "BEGIN")
		mustExec(t, c, "INSERT INTO t (v) VALUES ('new')")
		for i, statement := range []string{"SELECT a.v FROM t a, t b", "SELECT a.v FROM t a, t b WHERE ? = 1", "SELECT REPEAT('x', 20000000) FROM t"} {
			var args []any
			if strings.Contains(statement, "?") {
				args = []any{1}
			}
			rows, err := c.QueryContext(deadline(t, 30*time.Second), statement, args...)
			if err != nil {
				t.Fatal(err)
			}
			n, size := 0, 0
			var v string
			for rows.Next() {
				if err := rows.Scan(&v); err != nil {
					t.Fatal(err)
				}
				n, size = n+1, size+len(v)
			}
			if got := refusal(rows.Err()); got != "1317 70100" || n == 0 {
				t.Fatalf("%s: %d rows, %s", statement, n, got)
			}
			if most := 1200 << 10; i < 2 && (size > most || size < 900<<10) {
				t.Errorf("%s: %d bytes of rows", statement, size)
			}
			if got := show(deadline(t, 10*time.Second), c, "SELECT COUNT(*) AS n FROM t"); got != "n\n1001" {
				t.Fatalf("inside the transaction: %s", got)
			}
		}
		mustExec(t, c, "ROLLBACK")
		mustExec(t, c, "SELECT v FROM t LIMIT 900")
		if n := w.metric(t, "sidewire_mysql_results_cut_total"); n != 3 {
			t.Errorf("%v results are counted", n)
		}
	})
}

// What waits for a connection waits as long as it may, in a queue as long as it may be, and is then refused.
func TestPoolLimits(t *testing.T) {
	db := servers.MariaDB(t)
	w := front(t, db, layout{cluster: "pool: {max: 1, waiting: 1, wait: 1s, idle_timeout: 1s, lifetime: 2s}"})
	holder, first, second := w.session(t, ""), w.session(t, ""), w.session(t, "")
	mustExec(t, holder, "BEGIN")
	mustExec(t, holder, "SELECT 1")
	waited := make(chan error, 1)
	go func() {
		_, err := first.ExecContext(deadline(t, 20*time.Second), "SELECT 2")
		waited <- err
	}()
	err := servers.Poll(deadline(t, 10*time.Second), func(context.Context) error {
		if w.metric(t, "sidewire_mysql_pool_waiting") != 1 {
			return errors.New("nobody waits")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.ExecContext(deadline(t, 20*time.Second), "SELECT 3"); refusal(err) != "1040 08004" || !strings.Contains(err.Error(), "1 statements wait already") {
		t.Errorf("beyond the queue: %v", err)
	}
	if err := <-waited; refusal(err) != "1040 08004" || !strings.Contains(err.Error(), "stayed in use for 1s") {
		t.Errorf("beyond the wait: %v", err)
	}
	if n := w.metric(t, "sidewire_mysql_pool_refused_total"); n != 2 {
		t.Errorf("%v refusals are counted", n)
	}
	mustExec(t, holder, "COMMIT")
	mustExec(t, first, "SELECT 2")
	mustExec(t, second, "SELECT 3")
	err = servers.Poll(deadline(t, 20*time.Second), func(context.Context) error { // idle_timeout
		if n := w.metric(t, "sidewire_mysql_backend_connections"); n != 0 {
			return fmt.Errorf("%v connections are open", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// stat waits until /stats shows a value.
func (w *world) stat(t *testing.T, name string, want int) {
	t.Helper()
	line := fmt.Sprintf("%s: %d\n", name, want)
	err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
		text, err := w.side.Get(ctx, "/stats?filter="+regexp.QuoteMeta(name)+"$")
		if err == nil && text != line {
			err = fmt.Errorf("%q, want %q", text, line)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A cluster that carries all the requests it may takes no more; what a transaction still needs passes, and is over sooner for it.
func TestRequestLimit(t *testing.T) {
	db := servers.MariaDB(t)
	w := front(t, db, layout{cluster: "pool: {max: 4}", besideCluster: "limits: {requests: 1}"})
	within, sleeper, other := w.session(t, ""), w.session(t, ""), w.session(t, "")
	mustExec(t, within, "BEGIN")
	mustExec(t, within, "SELECT 1")
	ctx, wake := context.WithCancel(t.Context())
	defer wake()
	slept := make(chan error, 1)
	go func() {
		_, err := sleeper.ExecContext(ctx, "SELECT /* one request */ SLEEP(60)")
		slept <- err
	}()
	w.stat(t, "cluster.sql.circuit_breakers.default.rq_open", 1)
	if _, err := other.ExecContext(deadline(t, 20*time.Second), "SELECT 2"); refusal(err) != "1040 08004" || !strings.Contains(err.Error(), "(limits.requests)") {
		t.Errorf("beyond the limit: %v", err)
	}
	mustExec(t, within, "SELECT 3")
	mustExec(t, within, "COMMIT")
	w.stat(t, "cluster.sql.upstream_rq_overflow", 1)
	wake()
	if err := <-slept; err == nil {
		t.Error("the sleeper was not woken")
	}
	w.stat(t, "cluster.sql.circuit_breakers.default.rq_open", 0)
	mustExec(t, other, "SELECT 2")
}

// Statements beyond the connections of a cluster wait, as many as may; and a statement can be ended however many there are.
func TestConnectionAndPendingLimit(t *testing.T) {
	db := servers.MariaDB(t)
	w := front(t, db, layout{cluster: "pool: {max: 4, wait: 60s}", besideCluster: "limits: {total_connections: 1, pending: 1}"})
	sleeper, first, second := w.session(t, ""), w.session(t, ""), w.session(t, "")
	ctx, wake := context.WithCancel(t.Context())
	defer wake()
	slept, waited := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := sleeper.ExecContext(ctx, "SELECT /* the one connection */ SLEEP(60)")
		slept <- err
	}()
	w.stat(t, "cluster.sql.circuit_breakers.default.cx_open", 1)
	go func() {
		_, err := first.ExecContext(deadline(t, 60*time.Second), "SELECT 2")
		waited <- err
	}()
	w.stat(t, "cluster.sql.upstream_rq_pending_active", 1)
	if _, err := second.ExecContext(deadline(t, 20*time.Second), "SELECT 3"); refusal(err) != "1040 08004" || !strings.Contains(err.Error(), "(limits.pending)") {
		t.Errorf("beyond the limit: %v", err)
	}
	w.stat(t, "cluster.sql.upstream_rq_pending_overflow", 1)
	wake()
	if err := <-slept; err == nil {
		t.Error("the sleeper was not woken")
	}
	waitSleepers(t, session(t, db.AdminDSN("")), "the one connection", 0) // KILL has a connection of its own
	if err := <-waited; err != nil {
		t.Errorf("what waited: %v", err)
	}
}
