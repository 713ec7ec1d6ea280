package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

// sleepers counts the statements that sleep on the server.
func sleepers(ctx context.Context, root *sql.Conn, mark string) (n int, err error) {
	err = root.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE ? AND INFO NOT LIKE '%PROCESSLIST%'", "%"+mark+"%").Scan(&n)
	return n, err
}

func waitSleepers(t *testing.T, root *sql.Conn, mark string, want int) {
	t.Helper()
	err := servers.Poll(deadline(t, 15*time.Second), func(ctx context.Context) error {
		n, err := sleepers(ctx, root, mark)
		if err == nil && n != want {
			err = fmt.Errorf("%d statements run, want %d", n, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A client that leaves while its statement runs takes the statement with it.
func TestHangUpCancelsTheStatement(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := begin(t, db, 2)
		root := session(t, db.AdminDSN(""))
		c := w.session(t, "")
		ctx, cancel := context.WithCancel(deadline(t, 60*time.Second))
		done := make(chan error, 1)
		go func() {
			_, err := c.ExecContext(ctx, "SELECT SLEEP(50) /* hang up */")
			done <- err
		}()
		waitSleepers(t, root, "hang up", 1)
		cancel()
		if err := <-done; err == nil {
			t.Fatal("no error")
		}
		waitSleepers(t, root, "hang up", 0)
	})
}

// KILL takes the number that the handshake gave, from another session.
func TestKill(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := begin(t, db, 4)
		root := session(t, db.AdminDSN(""))
		victim, killer := w.session(t, ""), w.session(t, "")
		for _, how := range []string{"QUERY", "CONNECTION"} {
			done := make(chan error, 1)
			go func() {
				_, err := victim.ExecContext(deadline(t, 60*time.Second), "SELECT SLEEP(50) /* kill */ FROM no_such.thing")
				if err == nil || !strings.Contains(err.Error(), "1146") && !strings.Contains(err.Error(), "1049") && !strings.Contains(err.Error(), "1142") {
					done <- fmt.Errorf("warming up: %v", err)
					return
				}
				var slept int
				err = victim.QueryRowContext(deadline(t, 60*time.Second), "SELECT SLEEP(50) + (SELECT COUNT(*) /* kill */ FROM information_schema.ENGINES) - 8").Scan(&slept)
				if err == nil && slept == 50 {
					err = errors.New("slept to the end")
				}
				done <- err
			}()
			waitSleepers(t, root, "kill", 1)
			// The victim's session is the only one but the killer's: numbers count up from 1.
			killed := false
			for id := 1; id < 60 && !killed; id++ {
				if id == w.idOf(t, killer) {
					continue
				}
				_, err := killer.ExecContext(deadline(t, 20*time.Second), fmt.Sprintf("KILL %s %d", how, id))
				var refused *driver.MySQLError
				if err != nil && !(errors.As(err, &refused) && refused.Number == 1094) {
					t.Fatal(err)
				}
				killed = err == nil
			}
			err := <-done
			if how == "CONNECTION" && err == nil {
				t.Fatal("the connection is still there")
			}
			waitSleepers(t, root, "kill", 0)
			if how == "QUERY" {
				if got := show(deadline(t, 10*time.Second), victim, "SELECT 7"); got != "7\n7" {
					t.Fatal(got)
				}
			}
		}
	})
}

// idOf finds a session's number: its own KILL QUERY is refused in its own words.
func (w *world) idOf(t *testing.T, c *sql.Conn) int {
	t.Helper()
	for id := 1; id < 60; id++ {
		_, err := c.ExecContext(deadline(t, 20*time.Second), fmt.Sprintf("KILL QUERY %d", id))
		var refused *driver.MySQLError
		if errors.As(err, &refused) && refused.Number == 1317 {
			return id
		}
	}
	t.Fatal("no number")
	return 0
}

// Packets beyond 16 MB pass in both directions, in text and prepared.
func TestHugePackets(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := begin(t, db, 2)
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "SET GLOBAL max_allowed_packet = 67108864")
		c := session(t, "app:local@tcp("+w.addr+")/?maxAllowedPacket=67108864")
		for _, size := range []int{1<<24 - 20, 1<<24 - 5, 1 << 24, 20 << 20} {
			big := strings.Repeat("x", size)
			var n int
			if err := c.QueryRowContext(deadline(t, 60*time.Second), "SELECT LENGTH('"+big+"')").Scan(&n); err != nil || n != size {
				t.Fatalf("text of %d: %d %v", size, n, err)
			}
			if err := c.QueryRowContext(deadline(t, 60*time.Second), "SELECT LENGTH(?)", big).Scan(&n); err != nil || n != size {
				t.Fatalf("prepared with %d: %d %v", size, n, err)
			}
			var back string
			if err := c.QueryRowContext(deadline(t, 60*time.Second), "SELECT REPEAT('x', ?)", size).Scan(&back); err != nil || back != big {
				t.Fatalf("result of %d: %d bytes, %v", size, len(back), err)
			}
		}
	})
}

// A transaction whose server is lost ends with one clear error; the session lives on when a server is back.
func TestLostServer(t *testing.T) {
	db := servers.MariaDB(t, servers.Private())
	w := begin(t, db, 4)
	root := session(t, db.AdminDSN(""))
	mustExec(t, root, "CREATE DATABASE lost")
	mustExec(t, root, "CREATE TABLE lost.t (id INT PRIMARY KEY)")
	inside, outside := w.session(t, "lost"), w.session(t, "lost")
	mustExec(t, inside, "BEGIN")
	mustExec(t, inside, "INSERT INTO t VALUES (1)")
	mustExec(t, outside, "SELECT 1")
	if err := db.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := inside.ExecContext(deadline(t, 20*time.Second), "INSERT INTO t VALUES (2)")
	var refused *driver.MySQLError
	if !errors.As(err, &refused) || refused.Number != 3101 || string(refused.SQLState[:]) != "40000" {
		t.Fatalf("the transaction ended with %v", err)
	}
	var waiting sync.WaitGroup
	for _, c := range []*sql.Conn{inside, outside} {
		waiting.Go(func() { // they wait for the server and then succeed
			if got := show(deadline(t, 30*time.Second), c, "SELECT COUNT(*) FROM lost.t"); got != "COUNT(*)\n0" {
				t.Error(got)
			}
		})
	}
	if err := db.Restart(); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	mustExec(t, inside, "INSERT INTO t VALUES (3)")
}
