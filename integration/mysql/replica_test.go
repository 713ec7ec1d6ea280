package mysql

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// Replication is held back on purpose, again and again; what one connection wrote is read by another at once, from a
// replica only when it has it. READS=n goes on until so many reads were checked.
func TestReadsSeeWhatWasWritten(t *testing.T) {
	wanted, _ := strconv.Atoi(os.Getenv("READS"))
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t, servers.Replicas(1))
		replica := db.Replicas[0]
		w := front(t, db, layout{cluster: "reads: {from: replicas, wait: 20ms}"})
		root, far := session(t, db.AdminDSN("")), session(t, replica.AdminDSN(""))
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS ryw")
		mustExec(t, root, "DROP TABLE IF EXISTS ryw.t")
		mustExec(t, root, "CREATE TABLE ryw.t (id INT PRIMARY KEY, n INT)")
		if err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
			_, err := far.ExecContext(ctx, "SELECT 1 FROM ryw.t")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		// Held only in the middle of the test, so that both ways are taken.
		patience := 6 * time.Second
		if wanted > 0 {
			patience = 2 * time.Minute
		}
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		var holding sync.WaitGroup
		holding.Go(func() {
			for ctx.Err() == nil {
				if _, err := far.ExecContext(t.Context(), "LOCK TABLES ryw.t READ"); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(40 * time.Millisecond):
				}
				far.ExecContext(t.Context(), "UNLOCK TABLES")
				select {
				case <-ctx.Done():
				case <-time.After(60 * time.Millisecond):
				}
			}
		})
		var workers sync.WaitGroup
		var mu sync.Mutex
		served := map[string]int{}
		checks := 0
		for i := range 4 {
			writer, reader := w.session(t, ""), w.session(t, "")
			workers.Go(func() {
				for n := 1; ctx.Err() == nil; n++ {
					if _, err := writer.ExecContext(t.Context(), fmt.Sprintf("REPLACE INTO ryw.t VALUES (%d, %d)", i, n)); err != nil {
						t.Error(err)
						return
					}
					for range 4 {
						var got int
						var server string
						if err := reader.QueryRowContext(t.Context(), fmt.Sprintf("SELECT n, @@server_id FROM ryw.t WHERE id = %d", i)).Scan(&got, &server); err != nil || got != n {
							t.Errorf("wrote %d, read %d from %s, %v", n, got, server, err)
							return
						}
						mu.Lock()
						served[server]++
						if checks++; checks == wanted {
							stop()
						}
						mu.Unlock()
					}
				}
			})
		}
		workers.Wait()
		holding.Wait()
		t.Logf("%d reads, none stale; by server: %v", checks, served)
		if checks < wanted {
			t.Errorf("%d reads in %v, %d wanted", checks, patience, wanted)
		}
		if len(served) != 2 {
			t.Errorf("only one server served: %v\n%s", served, w.side.LogTail())
		}
	})
}

// A database that a replica has not applied yet is there for whoever connects: the primary has the last word.
func TestDatabaseThatAReplicaDoesNotHaveYet(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t, servers.Replicas(1))
		mariadb := strings.HasSuffix(t.Name(), "mariadb")
		w := front(t, db, layout{cluster: "reads: {from: replicas}"})
		old := w.session(t, "")
		root, far := session(t, db.AdminDSN("")), session(t, db.Replicas[0].AdminDSN(""))
		mustExec(t, far, word(mariadb, "STOP SLAVE SQL_THREAD", "STOP REPLICA SQL_THREAD"))
		t.Cleanup(func() {
			far.ExecContext(context.Background(), word(mariadb, "START SLAVE SQL_THREAD", "START REPLICA SQL_THREAD"))
		})
		mustExec(t, root, "CREATE DATABASE fresh") // not by sidewire: it does not know that it must be waited for
		t.Cleanup(func() { root.ExecContext(context.Background(), "DROP DATABASE fresh") })
		for range 8 {
			c := w.session(t, "fresh")
			mustExec(t, c, "SELECT 1")
			mustExec(t, old, "USE fresh")
			mustExec(t, old, "SELECT 1")
		}
	})
}

// The same over shards, written in every way that a transaction can end: a statement on one shard, one on both, an explicit transaction
// over both, and one under autocommit=0.
func TestShardedReadsSeeWhatWasWritten(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t, servers.Replicas(1))
		replica := db.Replicas[0]
		w := front(t, db, layout{serves: "databases: [shop]", cluster: "reads: {from: replicas, wait: 20ms}", databases: `
databases:
  - name: shop
    rules:
      databaseName: shop
      dataSources:
        ds_0: {cluster: sql, database: ryw_0}
        ds_1: {cluster: sql, database: ryw_1}
      rules:
        - !SHARDING
          tables:
            t:
              actualDataNodes: "ds_${0..1}.t"
              databaseStrategy: {standard: {shardingColumn: id, shardingAlgorithmName: m}}
          shardingAlgorithms:
            m: {type: MOD, props: {sharding-count: 2}}
`})
		root, far := session(t, db.AdminDSN("")), session(t, replica.AdminDSN(""))
		for _, d := range []string{"ryw_0", "ryw_1"} {
			mustExec(t, root, "DROP DATABASE IF EXISTS "+d)
			mustExec(t, root, "CREATE DATABASE "+d)
			mustExec(t, root, "CREATE TABLE "+d+".t (id INT PRIMARY KEY, n INT)")
		}
		writer, reader := w.session(t, "shop"), w.session(t, "shop")
		mustExec(t, writer, "INSERT INTO t (id, n) VALUES (0, 0), (1, 0)")
		if err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
			var n int
			return far.QueryRowContext(ctx, "SELECT a.n + b.n FROM ryw_0.t a, ryw_1.t b").Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
		ways := [][]string{
			{"UPDATE t SET n = %d WHERE id = 1"},
			{"UPDATE t SET n = %d"},
			{"BEGIN", "UPDATE t SET n = %d WHERE id = 0", "UPDATE t SET n = %[1]d WHERE id = 1", "COMMIT"},
			{"SET autocommit = 0", "UPDATE t SET n = %d", "COMMIT", "SET autocommit = 1"},
			{"SET autocommit = 0", "UPDATE t SET n = %d", "SET autocommit = 1"},
		}
		served := map[string]int{}
		for n := 1; n <= 60; n++ {
			way := ways[n%len(ways)]
			held := n%4 != 0
			if held {
				mustExec(t, far, "FLUSH TABLES WITH READ LOCK") // what is read below must not come from here
			}
			for _, sql := range way {
				if i := strings.Index(sql, "%"); i >= 0 {
					sql = fmt.Sprintf(sql, n)
				}
				mustExec(t, writer, sql)
			}
			read := func() {
				var got int
				var server string
				if err := reader.QueryRowContext(t.Context(), "SELECT n, @@server_id FROM t WHERE id = 1").Scan(&got, &server); err != nil || got != n {
					t.Fatalf("after %q: wrote %d, read %d from %s, %v", way, n, got, server, err)
				}
				served[server]++
			}
			read()
			if held {
				read()
				mustExec(t, far, "UNLOCK TABLES")
			}
			if n%20 == 0 { // the replica serves again, in the end for certain
				patience := time.Second
				if n == 60 {
					patience = 30 * time.Second
				}
				for stop := time.Now().Add(patience); len(served) < 2 && time.Now().Before(stop); {
					read()
				}
			}
		}
		t.Logf("none stale; by server: %v", served)
		if len(served) != 2 {
			t.Errorf("only one server served: %v\n%s", served, w.side.LogTail())
		}
	})
}
