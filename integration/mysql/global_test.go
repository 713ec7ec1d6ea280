package mysql

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// With consistency: global a replica serves only what the primary has, written by whomever: here by clients that do not
// go through sidewire, while replication runs and while it stands.
func TestGlobalConsistency(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t, servers.Replicas(1))
		replica := db.Replicas[0]
		w := front(t, db, layout{cluster: "reads: {from: replicas, consistency: global, wait: 50ms}"})
		w.settle(t)
		root, far := session(t, db.AdminDSN("")), session(t, replica.AdminDSN(""))
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS everywhere")
		mustExec(t, root, "DROP TABLE IF EXISTS everywhere.t")
		mustExec(t, root, "CREATE TABLE everywhere.t (id INT PRIMARY KEY)")
		away := strings.TrimPrefix(show(deadline(t, 10*time.Second), far, "SELECT @@server_id"), "@@server_id\n")
		c := w.session(t, "")
		id, stale := 0, 0
		read := func() (fromReplica bool) {
			t.Helper()
			id++
			mustExec(t, root, fmt.Sprintf("INSERT INTO everywhere.t VALUES (%d)", id))
			got := show(deadline(t, 10*time.Second), c, "SELECT COUNT(*), @@server_id FROM everywhere.t")
			if !strings.Contains(got, fmt.Sprintf("\n%d,", id)) {
				t.Fatalf("row %d is missing: %q", id, got)
			}
			return strings.HasSuffix(got, ","+away)
		}
		served := 0
		for over := time.Now().Add(30 * time.Second); id < 200 || served == 0 && time.Now().Before(over); {
			if read() {
				served++
			}
		}
		if served == 0 {
			t.Error("the replica served nothing")
		}
		halt, resume := "STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"
		if strings.HasSuffix(t.Name(), "/mysql") {
			halt, resume = "STOP REPLICA SQL_THREAD", "START REPLICA SQL_THREAD"
		}
		mustExec(t, far, halt)
		for range 20 {
			if read() {
				stale++
			}
		}
		mustExec(t, far, resume)
		if stale > 0 {
			t.Errorf("the replica served %d reads while its replication stood", stale)
		}
		t.Logf("the replica served %d of %d reads", served, id-20)
	})
}
