package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

// writersAtOnce is how many sessions write while their primary is lost.
const writersAtOnce = 32

// The primary is lost under writers, killed or standing still, and a script promotes the replica that has most. What was
// acknowledged is there once, what was refused is not there, what is said to be unknown may be, and every session goes on.
// Replication is semi-synchronous, as it must be for that: an asynchronous primary takes acknowledged rows with it, and no
// proxy can bring them back. FAILOVERS=n repeats it.
func TestFailoverLosesNothing(t *testing.T) {
	times, _ := strconv.Atoi(os.Getenv("FAILOVERS"))
	for n := range max(times, 1) {
		for _, stalled := range []bool{false, true} {
			name := fmt.Sprintf("%d/%s", n, map[bool]string{false: "killed", true: "stalled"}[stalled])
			t.Run(name, func(t *testing.T) {
				each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
					failover(t, start(t, servers.Private(), servers.Replicas(2)), strings.HasSuffix(t.Name(), "mariadb"), stalled)
				})
			})
		}
	}
}

// ledger is what the writers were told of each row that they tried to write.
type ledger struct {
	mu                        sync.Mutex
	written, refused, unknown map[string]error
	last                      time.Time     // of the writes that succeeded
	pause                     time.Duration // the longest time in which none did
	ends                      atomic.Int64  // transactions that one clear error ended
}

func (l *ledger) note(token string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var e *mysql.MySQLError
	switch {
	case err == nil:
		l.written[token] = nil
		now := time.Now()
		if !l.last.IsZero() {
			l.pause = max(l.pause, now.Sub(l.last))
		}
		l.last = now
	case errors.As(err, &e) && (string(e.SQLState[:]) == "40003" || string(e.SQLState[:]) == "08007"):
		l.unknown[token] = err
	default:
		l.refused[token] = err
	}
}

func failover(t *testing.T, primary *servers.MySQLServer, mariadb, stalled bool) {
	ctx := deadline(t, 200*time.Second)
	group := append([]*servers.MySQLServer{primary}, primary.Replicas...)
	root := make([]*sql.Conn, len(group))
	for i, s := range group {
		root[i] = session(t, s.AdminDSN(""))
		semiSync(t, root[i], mariadb, i == 0)
	}
	mustExec(t, root[0], "CREATE DATABASE ledger")
	mustExec(t, root[0], "CREATE TABLE ledger.t (id INT AUTO_INCREMENT PRIMARY KEY, token VARCHAR(40), KEY (token))")
	addr := "127.0.0.1:" + strconv.Itoa(servers.Port(t))
	config := fmt.Sprintf(`
listeners:
  - {name: sql, address: %q, mysql: {users: [{name: app, password: local}], cluster: sql}}
clusters:
  - name: sql
    mysql: {user: %s, password: %s, failover: {wait: 40s, waiting: 500}}
    endpoints: [%q, %q, %q]
    health: {interval: 200ms, timeout: 500ms, unhealthy: 2}
`, addr, primary.User, primary.Password, group[0].Addr, group[1].Addr, group[2].Addr)
	side := servers.StartSidewire(t, config)
	l := &ledger{written: map[string]error{}, refused: map[string]error{}, unknown: map[string]error{}}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range writersAtOnce {
		c := session(t, "app:local@tcp("+addr+")/ledger")
		writers.Go(func() { write(ctx, t, l, c, w, stop) })
	}
	after := func(n int) {
		t.Helper()
		l.mu.Lock()
		n += len(l.written)
		l.mu.Unlock()
		if err := servers.Poll(ctx, func(context.Context) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.written) < n {
				return fmt.Errorf("%d rows written, %d wanted", len(l.written), n)
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%s", err, side.LogTail())
		}
	}
	after(500)
	lost := time.Now()
	if stalled {
		primary.Stop()
		defer primary.Cont()
	} else {
		primary.Process.Kill()
	}
	promoted := promote(ctx, t, root[1:], group[1:], mariadb)
	took := time.Since(lost)
	after(500)
	close(stop)
	writers.Wait()
	check(t, l, root[1+promoted], stalled)
	t.Logf("%d rows written, %d refused, %d of unknown outcome, %d transactions ended; longest pause %v, of which the script took %v",
		len(l.written), len(l.refused), len(l.unknown), l.ends.Load(), l.pause.Round(time.Millisecond), took.Round(time.Millisecond))
	if stalled {
		if err := side.Write(strings.Replace(config, "wait: 40s", "wait: 500ms", 1)); err != nil {
			t.Fatal(err)
		}
		split(t, addr, primary, root[0], side, mariadb)
	}
}

// semiSync has a primary wait until a replica has what it commits.
func semiSync(t *testing.T, c *sql.Conn, mariadb, primary bool) {
	t.Helper()
	source, replica := "SET GLOBAL rpl_semi_sync_source_enabled=1, GLOBAL rpl_semi_sync_source_timeout=600000", "SET GLOBAL rpl_semi_sync_replica_enabled=1"
	if mariadb {
		source = "SET GLOBAL rpl_semi_sync_master_timeout=600000, GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC, GLOBAL rpl_semi_sync_master_enabled=1"
		replica = "SET GLOBAL rpl_semi_sync_slave_enabled=1"
	} else {
		mustExec(t, c, "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
		mustExec(t, c, "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'")
	}
	mustExec(t, c, replica)
	if primary {
		mustExec(t, c, source)
		return
	}
	mustExec(t, c, word(mariadb, "STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD"))
	mustExec(t, c, word(mariadb, "START SLAVE IO_THREAD", "START REPLICA IO_THREAD"))
}

func word(mariadb bool, yes, no string) string {
	if mariadb {
		return yes
	}
	return no
}

// write writes rows in both ways a session can until stop is closed: by themselves, and two in a transaction.
func write(ctx context.Context, t *testing.T, l *ledger, c *sql.Conn, w int, stop chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		token := fmt.Sprintf("%d-%d", w, n)
		insert := "INSERT INTO t (token) VALUES ('" + token + "')"
		var err error
		if w%2 == 0 {
			_, err = c.ExecContext(ctx, insert)
			l.note(token, err)
		} else {
			var committing bool
			for _, statement := range []string{"BEGIN", insert, "INSERT INTO t (token) VALUES ('" + token + "+')", "COMMIT"} {
				committing = statement == "COMMIT"
				if _, err = c.ExecContext(ctx, statement); err != nil {
					break
				}
			}
			if err != nil && !committing { // whatever became of the statement, its transaction did not commit
				l.ends.Add(1)
				l.mu.Lock()
				l.refused[token], l.refused[token+"+"] = err, err
				l.mu.Unlock()
			} else {
				l.note(token, err)
				l.note(token+"+", err)
			}
		}
		var answered *mysql.MySQLError
		if err != nil && (errors.Is(err, driver.ErrBadConn) || !errors.As(err, &answered)) {
			t.Errorf("session %d did not live on: %v", w, err)
			return
		}
	}
}

// promote is what an operator's script does: of the replicas that are left, the one that received most applies it and takes
// writes, and the other follows it. It returns its number.
func promote(ctx context.Context, t *testing.T, root []*sql.Conn, group []*servers.MySQLServer, mariadb bool) int {
	t.Helper()
	// A replica whose source stopped in the middle of a transaction takes a minute to stop: it waits for the rest.
	must := func(c *sql.Conn, statement string) {
		t.Helper()
		if _, err := c.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%.80s: %v", statement, err)
		}
	}
	received := make([]string, len(root))
	for i, c := range root {
		must(c, word(mariadb, "STOP SLAVE IO_THREAD", "STOP REPLICA IO_THREAD"))
		if mariadb {
			received[i] = status(ctx, t, c, "SHOW SLAVE STATUS", "Gtid_IO_Pos")
		} else {
			received[i] = status(ctx, t, c, "SHOW REPLICA STATUS", "Retrieved_Gtid_Set")
		}
	}
	best := 0
	if mariadb {
		if sequence(t, received[1]) > sequence(t, received[0]) {
			best = 1
		}
	} else {
		var within int
		if err := root[0].QueryRowContext(ctx, "SELECT GTID_SUBSET(?, ?)", received[1], received[0]).Scan(&within); err != nil {
			t.Fatal(err)
		}
		if within == 0 {
			best = 1
		}
	}
	c := root[best]
	var done sql.NullInt64
	wait := word(mariadb, "SELECT MASTER_GTID_WAIT(?, 30)", "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 30)")
	if err := c.QueryRowContext(ctx, wait, received[best]).Scan(&done); err != nil || done.Int64 != 0 {
		t.Fatalf("applying what was received: %v, %v", done, err)
	}
	must(c, word(mariadb, "STOP SLAVE", "STOP REPLICA"))
	must(c, word(mariadb, "RESET SLAVE ALL", "RESET REPLICA ALL"))
	host, port, _ := strings.Cut(group[best].Addr, ":")
	other := root[1-best]
	must(other, word(mariadb, "STOP SLAVE", "STOP REPLICA"))
	must(other, word(mariadb, "CHANGE MASTER TO MASTER_HOST='"+host+"', MASTER_PORT="+port+", MASTER_USE_GTID=slave_pos",
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST='"+host+"', SOURCE_PORT="+port+", SOURCE_AUTO_POSITION=1"))
	must(other, word(mariadb, "START SLAVE", "START REPLICA"))
	must(c, "SET GLOBAL read_only=0")
	return best
}

// status is one column of the only row of a statement.
func status(ctx context.Context, t *testing.T, c *sql.Conn, statement, column string) string {
	t.Helper()
	rows, err := c.QueryContext(ctx, statement)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		t.Fatalf("%s: no row, %v", statement, err)
	}
	values := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if name == column {
			return values[i].String
		}
	}
	t.Fatalf("%s has no %s", statement, column)
	return ""
}

// sequence is the number of a MariaDB GTID of one domain.
func sequence(t *testing.T, gtid string) int {
	t.Helper()
	n, err := strconv.Atoi(gtid[strings.LastIndexByte(gtid, '-')+1:])
	if err != nil {
		t.Fatalf("GTID %q: %v", gtid, err)
	}
	return n
}

// check compares what the writers were told with what is there.
func check(t *testing.T, l *ledger, c *sql.Conn, stalled bool) {
	t.Helper()
	rows, err := c.QueryContext(deadline(t, 30*time.Second), "SELECT token, COUNT(*) FROM ledger.t GROUP BY token")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	there := map[string]int{}
	for rows.Next() {
		var token string
		var n int
		if err := rows.Scan(&token, &n); err != nil {
			t.Fatal(err)
		}
		there[token] = n
		if n > 1 {
			t.Errorf("row %s was written %d times", token, n)
		}
		if err := l.refused[token]; err != nil {
			t.Errorf("row %s is there, and its writer was told: %v", token, err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for token := range l.written {
		if there[token] != 1 {
			t.Errorf("row %s was acknowledged and is lost", token)
		}
	}
	if stalled && len(l.unknown)+int(l.ends.Load()) == 0 {
		t.Error("a primary that stopped in the middle of statements left no outcome unknown")
	}
}

// split lets the old primary go on: two servers take writes now, and none gets any until one is made read-only.
func split(t *testing.T, addr string, old *servers.MySQLServer, root *sql.Conn, side *servers.Sidewire, mariadb bool) {
	t.Helper()
	ctx := deadline(t, 30*time.Second)
	used := session(t, "app:local@tcp("+addr+")/ledger")
	mustExec(t, used, "INSERT INTO t (token) VALUES ('before')")
	if err := servers.Poll(ctx, func(context.Context) error {
		if !strings.Contains(side.LogTail(), "configuration applied") {
			return errors.New("the shorter wait is not in force")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := old.Cont(); err != nil {
		t.Fatal(err)
	}
	if err := side.Await(ctx, "/clusters", "sql::"+old.Addr+"::health_flags::healthy"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*sql.Conn{"a session that wrote before": used, "a new session": session(t, "app:local@tcp("+addr+")/ledger")} {
		_, err := c.ExecContext(ctx, "INSERT INTO t (token) VALUES ('split')")
		if err == nil || !strings.Contains(err.Error(), "both accept writes") {
			t.Errorf("%s wrote while two servers took writes: %v", name, err)
		}
	}
	// What waits for a replica's word holds read_only up.
	mustExec(t, root, word(mariadb, "SET GLOBAL rpl_semi_sync_master_enabled=0", "SET GLOBAL rpl_semi_sync_source_enabled=0"))
	mustExec(t, root, "SET GLOBAL read_only=1")
	if err := servers.Poll(ctx, func(context.Context) error {
		_, err := used.ExecContext(ctx, "INSERT INTO t (token) VALUES ('healed')")
		return err
	}); err != nil {
		t.Errorf("%v\n%s", err, side.LogTail())
	}
}
