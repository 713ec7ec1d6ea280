package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// balanced is a sidewire before a primary (server 1) and two replicas (2 and 3), with what is said of each of the two.
func balanced(t *testing.T, db *servers.MySQLServer, beside string, second, third string) *world {
	t.Helper()
	w := front(t, db, layout{cluster: "reads: {from: replicas, consistency: eventual}", besideCluster: beside, node: "zone: here", endpoints: []string{
		fmt.Sprintf("{address: %q}", db.Addr), fmt.Sprintf("{address: %q%s}", db.Replicas[0].Addr, more(second)), fmt.Sprintf("{address: %q%s}", db.Replicas[1].Addr, more(third))}})
	if err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
		said, err := w.side.Get(ctx, "/clusters?format=json")
		if err == nil && strings.Count(said, "replica") < 2 {
			err = errors.New("the replicas are not known yet")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return w
}

// served counts which servers answer n reads.
func served(t *testing.T, c *sql.Conn, n int, sql string) map[int]int {
	t.Helper()
	by := map[int]int{}
	for range n {
		var server int
		var rest any
		if err := c.QueryRowContext(deadline(t, 30*time.Second), sql).Scan(&server, &rest); err != nil {
			t.Fatal(err)
		}
		by[server]++
	}
	return by
}

// Reads are spread over two replicas as the configuration says.
func TestReadsAreBalanced(t *testing.T) {
	db := servers.MariaDB(t, servers.Replicas(2))
	root := session(t, db.AdminDSN(""))
	mustExec(t, root, "CREATE DATABASE IF NOT EXISTS spread")
	mustExec(t, root, "CREATE OR REPLACE TABLE spread.t (id INT PRIMARY KEY)")
	mustExec(t, root, "INSERT INTO spread.t VALUES (1)")
	var far []*sql.Conn
	for _, r := range db.Replicas {
		c := session(t, r.AdminDSN(""))
		far = append(far, c)
		if err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
			return c.QueryRowContext(ctx, "SELECT id FROM spread.t").Scan(new(int))
		}); err != nil {
			t.Fatal(err)
		}
	}
	const read = "SELECT @@server_id, id FROM spread.t"

	t.Run("weights", func(t *testing.T) {
		c := balanced(t, db, "balance: round_robin", "weight: 3", "weight: 1").session(t, "")
		if by := served(t, c, 80, read); by[2] != 60 || by[3] != 20 {
			t.Errorf("weights 3 and 1 gave %v of 80", by)
		}
	})
	t.Run("hints", func(t *testing.T) {
		c := balanced(t, db, "", "", "").session(t, "")
		for _, hint := range []string{"/* SHARDINGSPHERE_HINT: WRITE_ROUTE_ONLY=true */ ", "/* sidewire: WRITE_ROUTE_ONLY=true */ "} {
			if by := served(t, c, 10, hint+read); by[1] != 10 {
				t.Errorf("%s gave %v of 10", hint, by)
			}
		}
		if by := served(t, c, 10, "/* no hint */ "+read); by[1] != 0 {
			t.Errorf("a comment that is no hint gave %v of 10", by)
		}
	})
	t.Run("zones", func(t *testing.T) {
		c := balanced(t, db, "local_zone: true", "zone: there", "zone: here").session(t, "")
		if by := served(t, c, 20, read); by[3] != 20 {
			t.Errorf("%v of 20, want all in the zone", by)
		}
		mustExec(t, far[1], "STOP SLAVE SQL_THREAD")
		defer mustExec(t, far[1], "START SLAVE SQL_THREAD")
		if err := servers.Poll(deadline(t, 20*time.Second), func(context.Context) error {
			if by := served(t, c, 10, read); by[2] != 10 {
				return fmt.Errorf("%v of 10, want the other zone's replica while this one stands", by)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	t.Run("least requests", func(t *testing.T) {
		w := balanced(t, db, "balance: least_requests", "", "")
		for range 8 { // what is open on server 2 stays
			c := w.session(t, "")
			mustExec(t, c, "START TRANSACTION READ ONLY")
			if by := served(t, c, 1, read); by[2] == 0 {
				mustExec(t, c, "COMMIT")
			}
		}
		if by := served(t, w.session(t, ""), 200, read); by[3] < 120 {
			t.Errorf("%v of 200, want most by the server without work", by)
		}
	})
	t.Run("latency", func(t *testing.T) {
		c := balanced(t, db, "balance: latency", "", "").session(t, "")
		// One look of two falls on the slow server twice, so a quarter is its share. A machine that stood still for a moment
		// makes the quick one look slow, for a while.
		if err := servers.Poll(deadline(t, 60*time.Second), func(context.Context) error {
			if by := served(t, c, 100, "SELECT @@server_id, IF(@@server_id = 2, SLEEP(0.05), 0) FROM spread.t"); by[3] < 66 {
				return fmt.Errorf("%v of 100, want most by the server that is quick", by)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// Of two servers that take writes none gets them, unless the configuration says which.
func TestRuleForTwoWritableServers(t *testing.T) {
	maria, other := servers.MariaDB(t), servers.MySQL(t)
	of := func(c *sql.Conn) string {
		got := show(deadline(t, 30*time.Second), c, "SELECT VERSION()") // asked of whom writes go to, without `reads`
		switch {
		case strings.Contains(got, "MariaDB"):
			return "maria"
		case strings.HasPrefix(got, "error"):
			return got
		}
		return "other"
	}
	for _, tc := range []struct{ rule, want, fallback string }{
		{"refuse", "both accept writes", "other"},
		{"first", "maria", "other"},
		{"role", "other", "other"},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			w := front(t, maria, layout{cluster: "failover: {wait: 100ms, writable: " + tc.rule + "}",
				endpoints: []string{fmt.Sprintf("{address: %q}", maria.Addr), fmt.Sprintf("{address: %q, role: primary}", other.Addr)}})
			c := w.session(t, "")
			becomes := func(want string) {
				t.Helper()
				if err := servers.Poll(deadline(t, 20*time.Second), func(context.Context) error {
					if got := of(c); !strings.Contains(got, want) {
						return fmt.Errorf("%s gets the write, want %s", got, want)
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
			becomes(tc.want)
			root := session(t, maria.AdminDSN(""))
			mustExec(t, root, "SET GLOBAL read_only = 1")
			defer mustExec(t, root, "SET GLOBAL read_only = 0")
			becomes(tc.fallback)
			mustExec(t, root, "SET GLOBAL read_only = 0")
			becomes(tc.want)
		})
	}
}
