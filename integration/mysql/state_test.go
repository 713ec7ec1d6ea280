package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// Many sessions share few server connections and change what a session can change. Each does the same on a connection of
// its own to the server, and must see the same. CHURN=3m goes on for that long, CHURN_SEED=n takes another course.
func TestSessionsSeeTheirOwnState(t *testing.T) {
	length, _ := time.ParseDuration(os.Getenv("CHURN"))
	seed, _ := strconv.ParseUint(os.Getenv("CHURN_SEED"), 10, 64)
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := begin(t, db, 4)
		var steps, kills atomic.Int64
		defer func() {
			t.Logf("%d steps of 12 sessions over 4 connections, %d statements killed", steps.Load(), kills.Load())
		}()
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS churn")
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS churn2")
		var all sync.WaitGroup
		defer all.Wait()
		for n := range 12 {
			through, direct := w.session(t, "churn"), session(t, db.DSN("churn"))
			c := &churner{n: n, through: through, direct: direct, random: rand.New(rand.NewPCG(1+seed, uint64(n))), steps: &steps, kills: &kills,
				killer: w.session(t, ""), root: session(t, db.AdminDSN("")), end: time.Now().Add(length)}
			all.Go(func() { c.run(t, deadline(t, length+100*time.Second)) })
		}
	})
}

// churner is one session and its twin.
type churner struct {
	n               int
	through, direct *sql.Conn
	killer, root    *sql.Conn // who kills a statement of each
	random          *rand.Rand
	end             time.Time
	steps, kills    *atomic.Int64
}

// kill runs a statement that lasts on one side, kills it when the server is at it, and tells how it ended.
func (c *churner) kill(ctx context.Context, victim, killer *sql.Conn, token string) string {
	var id uint64
	if err := victim.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		return "error " + err.Error()
	}
	ended := make(chan string, 1)
	go func() { ended <- show(ctx, victim, "SELECT SLEEP(20) /* "+token+" */, 1") }()
	err := servers.Poll(ctx, func(context.Context) error {
		var n int
		err := c.root.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(20) /* "+token+"%'").Scan(&n)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d such statements", n)
		}
		return err
	})
	if err == nil {
		_, err = killer.ExecContext(ctx, fmt.Sprintf("KILL QUERY %d", id))
	}
	if err != nil {
		return "killing: " + err.Error()
	}
	c.kills.Add(1)
	out := <-ended
	_, rest, _ := strings.Cut(out, "\n") // the column is named after the token
	if rest == "1,1" || strings.Contains(out, "error Error 1317 ") {
		return "killed" // a server says it by the value, by an error or by an error behind the columns, as the moment has it
	}
	return out
}

func (c *churner) run(t *testing.T, ctx context.Context) {
	n, through, direct, random := c.n, c.through, c.direct, c.random
	defer through.Raw(func(any) error { return driver.ErrBadConn }) // its connection is free for others
	both := func(statement string, args ...any) bool {
		a := show(ctx, through, fmt.Sprintf(statement, "a"), args...)
		b := show(ctx, direct, fmt.Sprintf(statement, "b"), args...)
		if a != b {
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
	for step := 0; step < 150 || time.Now().Before(c.end); step++ {
		c.steps.Add(1)
		ok := true
		if random.IntN(60) == 0 {
			a := c.kill(ctx, through, c.killer, fmt.Sprintf("through %d.%d", n, step))
			if b := c.kill(ctx, direct, c.root, fmt.Sprintf("direct %d.%d", n, step)); a != b {
				t.Errorf("session %d: killed through sidewire: %s\ndirect: %s", n, a, b)
				return
			}
		}
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
