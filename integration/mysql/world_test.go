package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

// world is a sidewire before one server.
type world struct {
	side *servers.Sidewire
	db   *servers.MySQLServer
	addr string
}

func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// each runs f before a MariaDB and before a MySQL.
func each(t *testing.T, f func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer)) {
	t.Run("mariadb", func(t *testing.T) {
		f(t, func(t testing.TB, o ...servers.Option) *servers.MySQLServer { return servers.MariaDB(t, o...) })
	})
	t.Run("mysql", func(t *testing.T) {
		f(t, func(t testing.TB, o ...servers.Option) *servers.MySQLServer { return servers.MySQL(t, o...) })
	})
}

// layout is what a test's sidewire has beyond one listener before one cluster, both named sql.
type layout struct {
	serves   string // what the listener serves; empty: `cluster: sql`
	listener string // more fields of the listener's block
	users    string // more users
	cluster  string // more fields of the cluster's block
	// Fields of the listener and of the cluster themselves.
	besideListener, besideCluster string
	endpoints                     []string // empty: the server and its replicas
	databases                     string   // the virtual databases
	node                          string   // who this sidewire is
	probes                        string   // how often servers are probed; empty: every 200ms
}

// front starts a sidewire before db, and shows its log if the test fails.
func front(t testing.TB, db *servers.MySQLServer, l layout) *world {
	t.Helper()
	w := &world{db: db, addr: "127.0.0.1:" + strconv.Itoa(servers.Port(t))}
	w.side = servers.StartSidewire(t, l.config(w.addr, db))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sidewire's log:\n%s", w.side.LogTail())
		}
	})
	return w
}

func (l layout) config(addr string, db *servers.MySQLServer) string {
	if l.serves == "" {
		l.serves = "cluster: sql"
	}
	if len(l.endpoints) == 0 {
		l.endpoints = []string{strconv.Quote(db.Addr)}
		for _, r := range db.Replicas {
			l.endpoints = append(l.endpoints, strconv.Quote(r.Addr))
		}
	}
	if l.probes == "" {
		l.probes = "200ms"
	}
	return fmt.Sprintf(`
node: {%s}
listeners:
  - {name: sql, address: %q, mysql: {users: [{name: app, password: local}%s], %s%s}%s}
clusters:
  - name: sql
    mysql: {user: %s, password: %s%s}
    endpoints: [%s]
    %s
    health: {interval: %s}
%s`, l.node, addr, more(l.users), l.serves, more(l.listener), more(l.besideListener), db.User, db.Password, more(l.cluster), strings.Join(l.endpoints, ", "), l.besideCluster, l.probes, l.databases)
}

func more(fields string) string {
	if fields == "" {
		return ""
	}
	return ", " + fields
}

// begin starts a sidewire with a pool of that many connections.
func begin(t testing.TB, db *servers.MySQLServer, pool int) *world {
	t.Helper()
	return front(t, db, layout{cluster: fmt.Sprintf("pool: {max: %d, wait: 20s}, failover: {wait: 20s}", pool)})
}

// session is one client connection.
func session(t testing.TB, dsn string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c, err := db.Conn(deadline(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) session(t testing.TB, database string) *sql.Conn {
	t.Helper()
	return session(t, "app:local@tcp("+w.addr+")/"+database)
}

// show runs a statement and writes down all that a client can see of its answer.
func show(ctx context.Context, c *sql.Conn, statement string, args ...any) string {
	rows, err := c.QueryContext(ctx, statement, args...)
	if err != nil {
		return "error " + err.Error()
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "error " + err.Error()
	}
	out := []string{strings.Join(columns, ",")}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "error " + err.Error()
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = "NULL"
			if v.Valid {
				line[i] = v.String
			}
		}
		out = append(out, strings.Join(line, ","))
	}
	if err := rows.Err(); err != nil {
		out = append(out, "error "+err.Error())
	}
	return strings.Join(out, "\n")
}

func mustExec(t testing.TB, c *sql.Conn, statement string, args ...any) {
	t.Helper()
	if _, err := c.ExecContext(deadline(t, 60*time.Second), statement, args...); err != nil {
		t.Fatalf("%.80s: %v", statement, err)
	}
}
