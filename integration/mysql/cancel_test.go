package mysql

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// A query over shards ends on every shard when its client goes or somebody kills it; a transaction lives on after
// KILL QUERY, as it does on one server.
func TestScatterIsCancelled(t *testing.T) {
	db := servers.MariaDB(t)
	root := session(t, db.AdminDSN(""))
	for _, name := range []string{"cancel_0", "cancel_1"} {
		mustExec(t, root, "DROP DATABASE IF EXISTS "+name)
		mustExec(t, root, "CREATE DATABASE "+name)
	}
	w := front(t, db, layout{serves: "databases: [shop]", databases: `
databases:
  - name: shop
    rules:
      databaseName: shop
      dataSources: {ds_0: {cluster: sql, database: cancel_0}, ds_1: {cluster: sql, database: cancel_1}}
      rules:
      - !SHARDING
        autoTables:
          t: {actualDataSources: "ds_${0..1}", shardingStrategy: {standard: {shardingColumn: id, shardingAlgorithmName: m}}}
        shardingAlgorithms: {m: {type: MOD, props: {sharding-count: 2}}}
`})
	ctx := deadline(t, 60*time.Second)
	c, other := w.session(t, "shop"), w.session(t, "shop")
	mustExec(t, c, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))")
	mustExec(t, c, "INSERT INTO t (id, v) VALUES (1, 'a'), (2, 'b')")
	sleeping := func(want int) {
		t.Helper()
		for {
			got := show(ctx, root, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'")
			if strings.HasSuffix(got, "\n"+strconv.Itoa(want)) {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s sleep, want %d", got, want)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	const sleep = "SELECT SLEEP(40), id FROM t"
	_, number, _ := strings.Cut(show(ctx, c, "SELECT CONNECTION_ID()"), "\n")
	mustExec(t, c, "BEGIN")
	mustExec(t, c, "UPDATE t SET v = 'tx' WHERE id = 1")
	answer := make(chan string, 1)
	go func() { answer <- show(ctx, c, sleep) }()
	sleeping(2)
	mustExec(t, other, "KILL QUERY "+number)
	if got := <-answer; !strings.Contains(got, "1317") {
		t.Errorf("a killed query answered %s", got)
	}
	sleeping(0)
	if got := show(ctx, c, "SELECT v FROM t WHERE id = 1"); got != "v\ntx" {
		t.Errorf("after KILL QUERY the transaction sees %s", got)
	}
	mustExec(t, c, "ROLLBACK")
	if got := show(ctx, c, "SELECT v FROM t WHERE id = 1"); got != "v\na" {
		t.Errorf("after ROLLBACK: %s", got)
	}
	leaving, leave := context.WithCancel(ctx)
	go func() { answer <- show(leaving, other, sleep) }()
	sleeping(2)
	leave() // the driver closes its connection
	<-answer
	sleeping(0)
}
