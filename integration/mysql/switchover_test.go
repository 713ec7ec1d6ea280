package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// post asks the admin interface to have something done.
func post(t *testing.T, side *servers.Sidewire, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(deadline(t, 40*time.Second), http.MethodPost, "http://"+side.Admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// A planned switch-over passes as a pause: transactions end on the old primary, statements wait for the new one, and
// nobody sees an error. One that open transactions stand in the way of changes nothing.
func TestPlannedSwitchOver(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t, servers.Replicas(1), servers.Private())
		mariadb := strings.Contains(t.Name(), "mariadb")
		next := db.Replicas[0]
		w := front(t, db, layout{cluster: "pool: {max: 6}, failover: {wait: 30s}"})
		w.settle(t)
		before, after := session(t, db.AdminDSN("")), session(t, next.AdminDSN(""))
		mustExec(t, before, "CREATE DATABASE moved")
		mustExec(t, before, "CREATE TABLE moved.t (writer INT, n INT, PRIMARY KEY (writer, n))")
		const action = "/actions/mysql/sql/switchover"

		holder := w.session(t, "moved")
		mustExec(t, holder, "BEGIN")
		mustExec(t, holder, "INSERT INTO t VALUES (100, 1)")
		if code, said := post(t, w.side, action+"?drain=300ms"); code != http.StatusConflict || !strings.Contains(said, "1 sessions still hold") {
			t.Fatalf("with an open transaction: %d %s", code, said)
		}
		mustExec(t, holder, "COMMIT")
		mustExec(t, holder, "INSERT INTO t VALUES (100, 2)")

		var written [8]atomic.Int64
		stop := make(chan struct{})
		var writers sync.WaitGroup
		defer writers.Wait()
		for i := range written {
			c := w.session(t, "moved")
			writers.Go(func() {
				for n := int64(1); ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
					var err error
					if i%2 == 0 {
						_, err = c.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", i, n)
					} else if _, err = c.ExecContext(ctx, "BEGIN"); err == nil {
						if _, err = c.ExecContext(ctx, fmt.Sprintf("INSERT INTO t VALUES (%d, %d)", i, n)); err == nil {
							_, err = c.ExecContext(ctx, "COMMIT")
						}
					}
					cancel()
					if err != nil {
						t.Errorf("writer %d, row %d: %v", i, n, err)
						return
					}
					written[i].Store(n)
				}
			})
		}
		some := func(of string) {
			t.Helper()
			var from [len(written)]int64
			for i := range from {
				from[i] = written[i].Load()
			}
			if err := servers.Poll(deadline(t, 40*time.Second), func(context.Context) error {
				for i := range from {
					if written[i].Load() < from[i]+3 {
						return fmt.Errorf("%s, writer %d stands at row %d", of, i, written[i].Load())
					}
				}
				return nil
			}); err != nil {
				close(stop)
				t.Fatal(err)
			}
		}
		some("before")
		code, said := post(t, w.side, action+"?drain=20s&wait=30s")
		if code != http.StatusOK || !strings.Contains(said, db.Addr) {
			close(stop)
			t.Fatalf("%d %s", code, said)
		}
		began := time.Now()
		if code, said := post(t, w.side, action); code != http.StatusConflict || !strings.Contains(said, "under way already") {
			t.Errorf("a second one: %d %s", code, said)
		}
		takeOver(t, before, after, mariadb)
		some("after")
		t.Logf("%s; moved within %s", strings.TrimSpace(said), time.Since(began).Round(time.Millisecond))
		close(stop)
		writers.Wait()
		for i := range written {
			want := fmt.Sprintf("n\n%d", written[i].Load())
			if got := show(deadline(t, 10*time.Second), after, "SELECT COUNT(*) AS n FROM moved.t WHERE writer = ?", i); got != want {
				t.Errorf("writer %d was told of %s rows and the new primary has %s", i, want, got)
			}
		}
		if got := show(deadline(t, 10*time.Second), holder, "SELECT COUNT(*) AS n FROM t WHERE writer = 100"); got != "n\n2" {
			t.Errorf("the old transaction: %s", got)
		}
		metrics, err := w.side.Get(deadline(t, 10*time.Second), "/metrics")
		if err != nil || !strings.Contains(metrics, `sidewire_mysql_switchovers_total{cluster="sql",outcome="done"} 1`) ||
			!strings.Contains(metrics, `sidewire_mysql_switchovers_total{cluster="sql",outcome="refused"} 1`) {
			t.Errorf("it is not counted: %v", err)
		}
	})
}

// takeOver is what an operator does when a primary is drained.
func takeOver(t *testing.T, before, after *sql.Conn, mariadb bool) {
	t.Helper()
	ctx := deadline(t, 60*time.Second)
	position, wait, halt, forget := "SELECT @@gtid_executed", "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 30)", "STOP REPLICA", "RESET REPLICA ALL"
	if mariadb {
		position, wait, halt, forget = "SELECT @@gtid_binlog_pos", "SELECT MASTER_GTID_WAIT(?, 30)", "STOP SLAVE", "RESET SLAVE ALL"
	}
	mustExec(t, before, "SET GLOBAL read_only = 1")
	var at string
	if err := before.QueryRowContext(ctx, position).Scan(&at); err != nil {
		t.Fatal(err)
	}
	var behind int
	if err := after.QueryRowContext(ctx, wait, at).Scan(&behind); err != nil || behind != 0 {
		t.Fatal(behind, err)
	}
	mustExec(t, after, halt)
	mustExec(t, after, forget)
	mustExec(t, after, "SET GLOBAL read_only = 0")
}
