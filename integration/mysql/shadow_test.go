package mysql

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// A shadow plans what passes, text and prepared, by the tables as they are, and changes nothing about it.
func TestShadowReportsWhatShardingWouldDo(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "DROP DATABASE IF EXISTS shop_now")
		mustExec(t, root, "CREATE DATABASE shop_now")
		mustExec(t, root, "CREATE TABLE shop_now.t_order (order_id BIGINT PRIMARY KEY, user_id INT, v VARCHAR(50))")
		w := front(t, db, layout{listener: "shadow: {database: sharded, replaces: shop_now}", databases: `
databases:
  - name: sharded
    rules:
      databaseName: sharded
      dataSources: {ds_0: {cluster: sql, database: none_0}, ds_1: {cluster: sql, database: none_1}}
      rules:
      - !SHARDING
        autoTables:
          t_order: {actualDataSources: "ds_${0..1}", shardingStrategy: {standard: {shardingColumn: user_id, shardingAlgorithmName: by_user}}}
        shardingAlgorithms: {by_user: {type: MOD, props: {sharding-count: 2}}}
`})
		ctx := deadline(t, 20*time.Second)
		c := w.session(t, "shop_now")
		mustExec(t, c, "INSERT INTO t_order VALUES (1, 1, 'secret'), (2, 2, 'b')") // no column list: only the structure tells the key
		for i := range 3 {
			if got := show(ctx, c, "SELECT v FROM t_order WHERE user_id = ?", i); strings.HasPrefix(got, "error") {
				t.Error(got)
			}
		}
		show(ctx, c, "SELECT v FROM t_order WHERE v = 'secret' ORDER BY v")
		show(ctx, c, "SELECT ROW_NUMBER() OVER (ORDER BY v) FROM t_order")
		if got := show(ctx, c, "SIDEWIRE EXPLAIN SELECT v FROM t_order WHERE user_id = 3"); !strings.Contains(got, "-> ds_1: SELECT v FROM `t_order_1` AS `t_order` WHERE user_id = 3") {
			t.Errorf("explained as %s", got)
		}
		if got := show(ctx, c, "SIDEWIRE EXPLAIN FORMAT=JSON SELECT v FROM t_order"); !strings.Contains(got, `"target":"ds_0"`) {
			t.Errorf("explained as %s", got)
		}
		var report struct {
			Total   int
			Fates   map[string]int
			Entries []struct {
				Count                int
				Fate, Sample, Reason string
			}
		}
		for report.Total < 6 {
			select {
			case <-ctx.Done():
				t.Fatalf("%d statements were planned: %+v", report.Total, report)
			case <-time.After(50 * time.Millisecond):
			}
			text, err := w.side.Get(ctx, "/views/shadow/sql")
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(text), &report); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if strings.Contains(text, "secret") {
				t.Fatalf("a literal is shown: %s", text)
			}
		}
		want := map[string]int{"keyed": 3, "scattered": 2, "refused": 1}
		if fmt.Sprint(report.Fates) != fmt.Sprint(want) {
			t.Errorf("fates %v, want %v: %+v", report.Fates, want, report.Entries)
		}
		metrics, err := w.side.Get(ctx, "/metrics")
		if err != nil || !strings.Contains(metrics, `sidewire_mysql_shadow_statements_total{fate="keyed",listener="sql"} 3`) {
			t.Errorf("metrics lack what was keyed (%v)", err)
		}
	})
}
