package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// Reads of a ShardingSphere read/write group are served by its reader, which has what was written; writes and
// transactions by its writer.
func TestReadGroupReadsFromReplica(t *testing.T) {
	db := servers.MariaDB(t, servers.Replicas(1))
	replica := db.Replicas[0]
	root := session(t, db.AdminDSN(""))
	mustExec(t, root, "CREATE DATABASE IF NOT EXISTS grouped")
	mustExec(t, root, "CREATE OR REPLACE TABLE grouped.t_order_0 (id INT PRIMARY KEY, v INT)")
	mustExec(t, root, "CREATE OR REPLACE TABLE grouped.t_order_1 LIKE grouped.t_order_0")
	file := filepath.Join(t.TempDir(), "grouped.yaml")
	rules := fmt.Sprintf(`
databaseName: grouped
dataSources:
  w: {url: "jdbc:mysql://%s/grouped", username: %s, password: %s}
  r: {url: "jdbc:mysql://%s/grouped", username: %s, password: %s}
rules:
- !READWRITE_SPLITTING
  dataSourceGroups:
    ds: {writeDataSourceName: w, readDataSourceNames: [r], loadBalancerName: turns}
  loadBalancers: {turns: {type: ROUND_ROBIN}}
- !SHARDING
  tables:
    t_order:
      actualDataNodes: ds.t_order_${0..1}
      tableStrategy: {standard: {shardingColumn: id, shardingAlgorithmName: by_id}}
  shardingAlgorithms:
    by_id: {type: MOD, props: {sharding-count: 2}}
`, db.Addr, db.User, db.Password, replica.Addr, db.User, db.Password)
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{db: db, addr: fmt.Sprintf("127.0.0.1:%d", servers.Port(t))}
	w.side = servers.StartSidewire(t, fmt.Sprintf(`
listeners:
  - {name: sql, address: %q, mysql: {users: [{name: app, password: local}], databases: [grouped]}}
databases:
  - {name: grouped, file: %q}
`, w.addr, file))
	w.settle(t)
	here, there := show(deadline(t, 10*time.Second), root, "SELECT @@server_id"), show(deadline(t, 10*time.Second), session(t, replica.AdminDSN("")), "SELECT @@server_id")
	if here == there {
		t.Fatal("both servers have one number")
	}
	id := func(answer string) string { return answer[strings.LastIndexAny(answer, "\n,")+1:] }
	c := w.session(t, "grouped")
	served, i := 0, 0
	for over := time.Now().Add(30 * time.Second); i < 50 || served == 0 && time.Now().Before(over); i++ { // a probe must have seen the reader
		mustExec(t, c, fmt.Sprintf("INSERT INTO t_order VALUES (%d, %d)", i, i))
		got := show(deadline(t, 10*time.Second), c, fmt.Sprintf("SELECT v, @@server_id FROM t_order WHERE id = %d", i))
		if !strings.Contains(got, fmt.Sprintf("\n%d,", i)) {
			t.Fatalf("row %d: %q", i, got)
		}
		if id(got) == id(there) {
			served++
		}
	}
	if served == 0 {
		t.Error("the reader served nothing")
	}
	mustExec(t, c, "BEGIN")
	if got := show(deadline(t, 10*time.Second), c, "SELECT v, @@server_id FROM t_order WHERE id = 1"); id(got) != id(here) {
		t.Errorf("inside a transaction: %q, the writer is %s", got, id(here))
	}
	mustExec(t, c, "COMMIT")
	if got := show(deadline(t, 10*time.Second), c, "SELECT COUNT(*) AS n FROM t_order"); got != fmt.Sprintf("n\n%d", i) {
		t.Errorf("over both shards: %s", got)
	}
	t.Logf("the reader served %d of %d reads right after a write", served, i)
}
