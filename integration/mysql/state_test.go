package mysql

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// Many sessions share few server connections and change what a session can change. Each does the same on a connection of
// its own to the server, and must see the same.
func TestSessionsSeeTheirOwnState(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := begin(t, db, 4)
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS churn")
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS churn2")
		var all sync.WaitGroup
		defer all.Wait()
		for n := range 12 {
			through, direct := w.session(t, "churn"), session(t, db.DSN("churn"))
			random := rand.New(rand.NewPCG(1, uint64(n)))
			all.Go(func() { churn(t, n, through, direct, random) })
		}
	})
}

func churn(t *testing.T, n int, through, direct *sql.Conn, random *rand.Rand) {
	ctx := deadline(t, 100*time.Second)
	defer through.Raw(func(any) error { return driver.ErrBadConn }) // its connection is free for others
	both := func(statement string, args ...any) bool {
		a := show(ctx, through, fmt.Sprintf(statement, "a"), args...)
		b := show(ctx, direct, fmt.Sprintf(statement, "b"), args...)
		if a != b && !strings.HasPrefix(a, "error Error 1235 (42000): sidewire: what this asks for was known to a server connection") {
			// A connection that served others since does not know the warnings any more, and sidewire says so.
			t.Errorf("session %d: %s %v\nthrough sidewire: %s\ndirect: %s", n, statement, args, a, b)
			return false
		}
		return true
	}
	table := fmt.Sprintf("churn.t%d%%[1]s", n)
	both("DROP TABLE IF EXISTS " + table)
	both("CREATE TABLE " + table + " (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60))")
	modes := []string{"''", "'ANSI_QUOTES'", "'STRICT_ALL_TABLES'", "'NO_BACKSLASH_ESCAPES'", "DEFAULT", "CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')"}
	const none = "/* %[1]s */ "
	for step := range 150 {
		ok := true
		switch random.IntN(18) {
		case 0:
			ok = both(none + "SET sql_mode = " + modes[random.IntN(len(modes))])
		case 1:
			ok = both(none + fmt.Sprintf("SET time_zone = '+0%d:00'", random.IntN(9)))
		case 2:
			ok = both(none + fmt.Sprintf("SET @x = %d", random.IntN(100)))
		case 3:
			ok = both(none + "SELECT @x, @@sql_mode, @@time_zone, @@autocommit, DATABASE(), @@character_set_client, @@collation_connection, @@lock_wait_timeout")
		case 4:
			ok = both(none + []string{"USE churn", "USE churn2"}[random.IntN(2)])
		case 5:
			ok = both("INSERT INTO "+table+" (v) VALUES (?)", fmt.Sprint("v", step))
			ok = ok && both(none+"SELECT LAST_INSERT_ID()")
		case 6:
			ok = both(none + "BEGIN")
		case 7:
			ok = both(none + "COMMIT")
		case 8:
			ok = both(none + "ROLLBACK")
		case 9:
			ok = both("SELECT id, v FROM "+table+" WHERE id > ? ORDER BY id DESC LIMIT 3", random.IntN(20))
		case 10:
			ok = both("SELECT COUNT(*) FROM " + table)
		case 11:
			ok = both(none + []string{"SET NAMES latin1", "SET NAMES utf8mb4", "SET NAMES utf8mb4 COLLATE utf8mb4_bin"}[random.IntN(3)])
		case 12:
			ok = both(none + "CREATE TEMPORARY TABLE IF NOT EXISTS churn.temp (a INT)")
		case 13:
			ok = both(none + "SELECT COUNT(*) FROM churn.temp")
		case 14:
			ok = both(none + "DROP TEMPORARY TABLE IF EXISTS churn.temp")
		case 15:
			ok = both(none + fmt.Sprintf("SET autocommit = %d, lock_wait_timeout = %d", random.IntN(2), 10+random.IntN(20)))
		case 16:
			ok = both(none + "SELECT 1/0, no_such_column")
			ok = ok && both("UPDATE "+table+" SET v = CONCAT('u', v) WHERE id = ?", random.IntN(10))
		case 17:
			ok = both(none + "SELECT CAST('x' AS SIGNED), \"a\\\\\"")
			ok = ok && both(none+"SHOW WARNINGS")
		}
		if !ok || t.Failed() {
			return
		}
	}
}
