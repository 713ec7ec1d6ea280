package mysql

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// Two sidecars on one host, by the same rules, make keys under different worker ids; one whose claim was cut off claims
// another before its next key.
func TestGeneratedKeysNeverMeet(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "DROP DATABASE IF EXISTS shop_keys")
		mustExec(t, root, "CREATE DATABASE shop_keys")
		mustExec(t, root, "CREATE TABLE shop_keys.t (id BIGINT PRIMARY KEY, v INT)")
		ctx := deadline(t, 60*time.Second)
		worker := func(w *world) int64 {
			c := w.session(t, "shop")
			r, err := c.ExecContext(ctx, "INSERT INTO t (v) VALUES (1)")
			if err != nil {
				t.Fatal(err)
			}
			id, err := r.LastInsertId()
			if err != nil {
				t.Fatal(err)
			}
			return id >> 12 & 1023
		}
		seen := map[int64]bool{}
		var sidecars []*world
		for range 3 {
			w := front(t, db, layout{serves: "databases: [shop]", databases: `
databases:
  - name: shop
    rules:
      databaseName: shop
      dataSources: {ds_0: {cluster: sql, database: shop_keys}}
      rules:
      - !SHARDING
        tables:
          t: {actualDataNodes: ds_0.t, keyGenerateStrategy: {column: id, keyGeneratorName: snow}}
        keyGenerators: {snow: {type: SNOWFLAKE}}
`})
			sidecars = append(sidecars, w)
			n := worker(w)
			if seen[n] || worker(w) != n {
				t.Errorf("worker id %d is not one sidecar's own; taken: %v", n, seen)
			}
			seen[n] = true
		}
		// The first one's claim is cut off, and another takes its place before it makes its next key.
		first := worker(sidecars[0])
		h := fnv.New64a()
		h.Write([]byte("shop_keys"))
		held := fmt.Sprintf("sidewire.worker.%016x.%d", h.Sum64(), first)
		_, holder, _ := strings.Cut(show(ctx, root, "SELECT IS_USED_LOCK('"+held+"')"), "\n")
		if _, err := strconv.Atoi(holder); err != nil {
			t.Fatalf("nobody holds %s: %s", held, holder)
		}
		mustExec(t, root, "KILL "+holder)
		for {
			if got := show(ctx, root, "SELECT GET_LOCK('"+held+"', 5)"); strings.HasSuffix(got, "\n1") {
				break
			}
		}
		if n := worker(sidecars[0]); n == first || seen[n] {
			t.Errorf("worker id %d after its claim was cut off; it was %d, taken: %v", n, first, seen)
		}
	})
}
