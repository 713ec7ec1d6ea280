package mysql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

const orderRules = `
databaseName: shop
dataSources:
  ds_0: {cluster: maria, database: shop_0}
  ds_1: {cluster: other, database: shop_1}
rules:
- !SHARDING
  tables:
    t_order:
      actualDataNodes: ds_${0..1}.t_order_${0..1}
      databaseStrategy:
        standard: {shardingColumn: user_id, shardingAlgorithmName: by_user}
      tableStrategy:
        standard: {shardingColumn: order_id, shardingAlgorithmName: by_order}
    t_note:
      actualDataNodes: ds_${0..1}.t_note
      databaseStrategy:
        standard: {shardingColumn: user_id, shardingAlgorithmName: by_user}
      keyGenerateStrategy: {column: id, keyGeneratorName: snow}
  shardingAlgorithms:
    by_user: {type: INLINE, props: {algorithm-expression: "ds_${user_id % 2}"}}
    by_order: {type: MOD, props: {sharding-count: 2}}
  keyGenerators:
    snow: {type: SNOWFLAKE}
`

// lines is an answer without the order that nobody asked for.
func lines(answer string) string {
	l := strings.Split(answer, "\n")
	if len(l) > 1 && !strings.HasPrefix(answer, "error") {
		sort.Strings(l[1:])
	}
	return strings.Join(l, "\n")
}

// shop starts a sidewire that serves orderRules.
func shop(t *testing.T, rules string, maria, other *servers.MySQLServer, pool int) (*servers.Sidewire, string) {
	addr := "127.0.0.1:" + strconv.Itoa(servers.Port(t))
	side := servers.StartSidewire(t, fmt.Sprintf(`
listeners:
  - {name: sql, address: %q, mysql: {users: [{name: app, password: local}], databases: [shop]}}
databases:
  - {name: shop, file: %q}
clusters:
  - {name: maria, mysql: {user: %s, password: %s, pool: {max: %d}}, endpoints: [%q]}
  - {name: other, mysql: {user: %s, password: %s, pool: {max: %d}}, endpoints: [%q]}
`, addr, rules, maria.User, maria.Password, pool, maria.Addr, other.User, other.Password, pool, other.Addr))
	return side, addr
}

// A virtual database over a MariaDB and a MySQL answers as one database does, in text and prepared, inside transactions
// and outside.
func TestShardedAnswersAsOne(t *testing.T) {
	maria, other := servers.MariaDB(t), servers.MySQL(t)
	for i, db := range []*servers.MySQLServer{maria, other} {
		root := session(t, db.AdminDSN(""))
		for _, name := range []string{fmt.Sprintf("shop_%d", i), "shop_whole"} {
			mustExec(t, root, "DROP DATABASE IF EXISTS "+name)
			mustExec(t, root, "CREATE DATABASE "+name)
		}
	}
	rules := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(rules, []byte(orderRules), 0o600); err != nil {
		t.Fatal(err)
	}
	side, addr := shop(t, rules, maria, other, 4)
	through, whole := session(t, "app:local@tcp("+addr+")/shop"), session(t, maria.DSN("shop_whole"))
	ctx := deadline(t, 90*time.Second)
	both := func(statement string, args ...any) {
		t.Helper()
		a, b := lines(show(ctx, through, statement, args...)), lines(show(ctx, whole, statement, args...))
		if a != b {
			t.Errorf("%s %v\nthrough sidewire: %s\none database: %s", statement, args, a, b)
		}
	}
	both("CREATE TABLE t_order (order_id BIGINT PRIMARY KEY, user_id INT, v VARCHAR(50), amount DECIMAL(10,2))")
	both("INSERT INTO t_order (order_id, user_id, v, amount) VALUES (1,1,'a',1.5),(2,2,'b',2.5),(3,1,'c',3),(4,2,'d',NULL),(5,5,'e',5)")
	for i := 10; i < 40; i++ {
		both("INSERT INTO t_order (order_id, user_id, v, amount) VALUES (?, ?, ?, ?)", i, i%7, fmt.Sprint("v", i), fmt.Sprintf("%d.25", i))
	}
	reads := func() {
		both("SELECT * FROM t_order WHERE user_id = 1 AND order_id = 3")
		both("SELECT v, amount FROM t_order WHERE user_id = ? AND order_id = ?", 2, 4)
		both("SELECT order_id, v FROM t_order")
		both("SELECT COUNT(*), SUM(amount), MAX(order_id), MIN(user_id) FROM t_order")
		both("SELECT COUNT(*), SUM(amount) FROM t_order WHERE order_id > ?", 12)
		both("SELECT order_id FROM t_order WHERE user_id IN (1, 2, 3)")
		both("SELECT order_id FROM t_order WHERE user_id IN (?, ?)", 1, 4)
		both("SELECT order_id FROM t_order ORDER BY order_id DESC LIMIT 3")
		both("SELECT user_id, COUNT(*) FROM t_order GROUP BY user_id ORDER BY user_id")
	}
	reads()
	both("UPDATE t_order SET v = 'all' WHERE order_id < ?", 20)
	both("DELETE FROM t_order WHERE user_id = 5")
	reads()
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		both("BEGIN")
		both("UPDATE t_order SET amount = 100 WHERE user_id = 1")
		both("SAVEPOINT s")
		both("INSERT INTO t_order (order_id, user_id, v) VALUES (100, 1, 'x'), (101, 2, 'y')")
		both("ROLLBACK TO s")
		reads()
		both(end)
		reads()
	}
	// What a session is said to wait for is what others interrupt to end it: nothing may be left of a query that is over.
	err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
		view, err := side.Get(ctx, "/views/mysql/sql")
		if err == nil && strings.Contains(view, `"backends"`) {
			err = fmt.Errorf("idle, and waiting for servers: %s", view)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	duplicate := func() {
		_, err := through.ExecContext(ctx, "INSERT INTO t_order (order_id, user_id, v) VALUES (200, 2, 'new'), (3, 1, 'there already')")
		var e *driver.MySQLError
		if !errors.As(err, &e) || e.Number != 1062 {
			t.Errorf("a duplicate key ended with %v", err)
		}
		both("SELECT COUNT(*) FROM t_order") // the shard that took its row gave it back
	}
	duplicate()
	mustExec(t, through, "BEGIN")
	duplicate()
	mustExec(t, through, "COMMIT")

	mustExec(t, through, "CREATE TABLE t_note (id BIGINT PRIMARY KEY, user_id INT, v VARCHAR(50))")
	r, err := through.ExecContext(ctx, "INSERT INTO t_note (user_id, v) VALUES (?, ?)", 3, "made")
	if err != nil {
		t.Fatal(err)
	}
	id, _ := r.LastInsertId()
	if got := show(ctx, through, "SELECT id = LAST_INSERT_ID(), id FROM t_note WHERE user_id = 3"); got != fmt.Sprintf("id = LAST_INSERT_ID(),id\n1,%d", id) || id < 1<<40 {
		t.Errorf("key %d, then %q", id, got)
	}
	if t.Failed() {
		t.Logf("sidewire's log:\n%s", side.LogTail())
	}
	unevenZones(t, rules, maria, other)
}

// unevenZones: servers that take the same time for different instants cannot answer as one, but for a session that says
// which zone is its own.
func unevenZones(t *testing.T, rules string, maria, other *servers.MySQLServer) {
	root := session(t, maria.AdminDSN(""))
	before := strings.TrimPrefix(show(deadline(t, 20*time.Second), root, "SELECT @@GLOBAL.time_zone AS z"), "z\n")
	mustExec(t, root, "SET GLOBAL time_zone = '+07:45'")
	defer mustExec(t, root, "SET GLOBAL time_zone = '"+before+"'")
	_, addr := shop(t, rules, maria, other, 4)
	c := session(t, "app:local@tcp("+addr+")/shop")
	for _, statement := range []string{"SELECT COUNT(*) FROM t_note", "SELECT NOW(), v FROM t_note WHERE user_id = 3"} {
		if got := show(deadline(t, 20*time.Second), c, statement); !strings.Contains(got, "begin with different time_zone") {
			t.Errorf("%s over servers of different zones: %q", statement, got)
		}
	}
	mustExec(t, c, "SET time_zone = '+00:00'")
	if got := show(deadline(t, 20*time.Second), c, "SELECT COUNT(*) AS n FROM t_note"); got != "n\n1" {
		t.Errorf("in a zone of the session's own: %q", got)
	}
}

// A query takes one connection for each data source it reads, and many queries never take more than the pool has. What needs more
// than that is told so, and does not wait for itself.
func TestScatterWithinItsConnections(t *testing.T) {
	db := servers.MariaDB(t)
	root := session(t, db.AdminDSN(""))
	for _, name := range []string{"shop_0", "shop_1"} {
		mustExec(t, root, "DROP DATABASE IF EXISTS "+name)
		mustExec(t, root, "CREATE DATABASE "+name)
	}
	rules := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(rules, []byte(strings.Replace(orderRules, "cluster: other", "cluster: maria", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	side, addr := shop(t, rules, db, db, 2)
	ctx := deadline(t, 60*time.Second)
	c := session(t, "app:local@tcp("+addr+")/shop")
	mustExec(t, c, "CREATE TABLE t_order (order_id BIGINT PRIMARY KEY, user_id INT)")
	mustExec(t, c, "INSERT INTO t_order VALUES (1, 1), (2, 2), (3, 3)")
	var asking sync.WaitGroup
	for range 8 {
		c := session(t, "app:local@tcp("+addr+")/shop")
		asking.Go(func() {
			for range 20 {
				if got := show(ctx, c, "SELECT COUNT(*) AS n FROM t_order"); got != "n\n3" {
					t.Errorf("beside others: %q", got)
					return
				}
			}
		})
	}
	asking.Wait()
	two := func(side *servers.Sidewire, after string) {
		t.Helper()
		metrics, err := side.Get(ctx, "/metrics")
		if err != nil || !strings.Contains(metrics, `sidewire_mysql_backend_connections{cluster="maria"} 2`) {
			t.Errorf("%v, not two connections after %s", err, after)
		}
	}
	two(side, "queries over two data sources")

	side, addr = shop(t, rules, db, db, 4)
	c = session(t, "app:local@tcp("+addr+")/shop")
	for range 3 { // one data source after the other, each by a connection that is in its database
		for id := 1; id < 3; id++ {
			if got := show(ctx, c, fmt.Sprintf("SELECT user_id FROM t_order WHERE user_id = %d AND order_id = %[1]d", id)); got != fmt.Sprint("user_id\n", id) {
				t.Errorf("row %d: %q", id, got)
			}
		}
	}
	two(side, "statements on one data source each")

	_, addr = shop(t, rules, db, db, 1)
	c = session(t, "app:local@tcp("+addr+")/shop")
	if got := show(ctx, c, "SELECT COUNT(*) AS n FROM t_order"); !strings.Contains(got, "more than the 1 connections") {
		t.Errorf("two data sources through one connection: %q", got)
	}
	if got := show(ctx, c, "SELECT user_id FROM t_order WHERE user_id = 3 AND order_id = 3"); got != "user_id\n3" {
		t.Errorf("one data source after that: %q", got)
	}
}
