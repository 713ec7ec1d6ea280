package mysql

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// What a session says of its transactions goes with it from one server connection to the next.
func TestIsolationIsCarried(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := begin(t, db, 1)
		level := "@@tx_isolation, @@tx_read_only"
		if strings.HasSuffix(t.Name(), "/mysql") {
			level = "@@transaction_isolation, @@transaction_read_only"
		}
		a, b := w.session(t, ""), w.session(t, "")
		mustExec(t, a, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY")
		for range 2 {
			if got := show(deadline(t, 10*time.Second), b, "SELECT "+level); !strings.HasSuffix(got, "\nREPEATABLE-READ,0") {
				t.Fatalf("the other session: %s", got)
			}
			if got := show(deadline(t, 10*time.Second), a, "SELECT "+level); !strings.HasSuffix(got, "\nREAD-COMMITTED,1") {
				t.Fatalf("the session: %s", got)
			}
		}
	})
}

// Pins end with their reason: with one server connection, another session can work as soon as nothing is held any more.
func TestPinsEnd(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := front(t, db, layout{cluster: "pool: {max: 1, wait: 300ms}"})
		a, b := w.session(t, ""), w.session(t, "")
		free := func(want bool, after string) {
			t.Helper()
			got := show(deadline(t, 10*time.Second), b, "SELECT 5")
			if free := got == "5\n5"; free != want {
				t.Fatalf("after %s the connection is free: %t (%s)", after, free, got)
			}
		}
		for _, step := range []struct {
			statement string
			free      bool
		}{
			{"PREPARE p FROM 'SELECT 1'", false},
			{"PREPARE `Q` FROM 'SELECT 2'", false},
			{"EXECUTE p", false},
			{"DEALLOCATE PREPARE p", false},
			{"PREPARE q FROM 'SELECT 3'", false},
			{"DROP PREPARE q", true},
			{"PREPARE p FROM 'SELECT 1'", false},
			{"PREPARE p FROM 'SELEKT'", true}, // the old one is gone with it
			{"SELECT GET_LOCK('one', 1)", false},
			{"SELECT GET_LOCK('two', 1), GET_LOCK('one', 1)", false},
			{"SELECT RELEASE_LOCK('one')", false},
			{"DO RELEASE_LOCK('two')", false},
			{"SELECT RELEASE_LOCK('one')", true},
			{"SELECT GET_LOCK(CONCAT('th', 'ree'), 1)", false},
			{"SELECT RELEASE_LOCK('three')", false}, // not known by name
			{"SELECT RELEASE_ALL_LOCKS()", true},
			{"SET @v = 5", true},
			{"SELECT @v := 6", false},
		} {
			show(deadline(t, 10*time.Second), a, step.statement)
			free(step.free, step.statement)
		}
	})
}

// MariaDB's clients send an execution along with the preparation, under the number of whatever is prepared last.
func TestExecuteWhatWasPreparedLast(t *testing.T) {
	w := begin(t, servers.MariaDB(t), 1)
	c := rawClient(t, w.addr, "app", "local", 0)
	execute := wire.AppendExecute(nil, &wire.Execute{ID: wire.LastStatement})
	for _, tc := range []struct{ prepare, want string }{{"SELECT 'first'", "first"}, {"SELECT 'second'", "second"}, {"SELEKT", ""}} {
		both, _ := wire.AppendPacket(nil, 0, append([]byte{byte(wire.ComStmtPrepare)}, tc.prepare...))
		both, _ = wire.AppendPacket(both, 0, execute)
		if _, err := c.Write(both); err != nil {
			t.Fatal(err)
		}
		c.next = 1 // each answer is to one packet
		_, _, failed := c.answer(wire.ComStmtPrepare)
		rows, _, err := c.answer(wire.ComStmtExecute)
		if tc.want == "" {
			var refused *wire.Error
			if failed == nil || !errors.As(err, &refused) || refused.Code != 1243 {
				t.Errorf("after a failed preparation: %v, %v", failed, err)
			}
		} else if failed != nil || err != nil || len(rows) != 1 || !strings.Contains(rows[0], tc.want) {
			t.Errorf("%s: %v, %q, %v", tc.prepare, failed, rows, err)
		}
	}
}

// A user variable goes from connection to connection with the text and the collation it was given under, whatever character set and
// mode the next connection was left with; what cannot be written down for that stays where it is.
func TestUserVariablesKeepTheirMeaning(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := front(t, db, layout{cluster: "pool: {max: 1, wait: 20ms}"})
		for _, statements := range [][]string{
			{"SET @v = 'x', @w = -5, @x = NULL"},
			{"SET NAMES latin1", "SET @v = 'x'"},
			{"SET NAMES latin1", "SET @v = '\xe9'"},
			{"SET @v = 'x'", "SET NAMES latin1"},
			{"SET NAMES latin1, @v = 'x'"},
			{"SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET @v = 'x'", "SET collation_connection = latin1_bin"},
			{"SET collation_connection = latin1_bin", "SET @v = 'x'"},
			{"SET sql_mode = 'NO_BACKSLASH_ESCAPES'", `SET @v = 'a\'`},
			{`SET @v = 'it\'s'`, "SET sql_mode = 'NO_BACKSLASH_ESCAPES'"},
			{`SET @v = "x"`, "SET sql_mode = 'ANSI_QUOTES'"},
			{"SET @v = '/*'", "SET @w = ';'"},
		} {
			t.Run(strings.Join(statements, "; "), func(t *testing.T) {
				a, b, own := w.session(t, ""), w.session(t, ""), session(t, db.DSN(""))
				if err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error { // until the one before has left
					_, err := a.ExecContext(ctx, "DO 0")
					return err
				}); err != nil {
					t.Fatal(err)
				}
				for _, sql := range statements {
					mustExec(t, a, sql)
					mustExec(t, own, sql)
				}
				const question = "SELECT COLLATION(@v), HEX(@v), @w, @x, @@sql_mode, @@collation_connection"
				for range 2 {
					show(deadline(t, 10*time.Second), b, "SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'") // it may not come to it
					show(deadline(t, 10*time.Second), b, "SET NAMES cp1251")
					if got, want := show(deadline(t, 10*time.Second), a, question), show(deadline(t, 10*time.Second), own, question); got != want {
						t.Errorf("%q, want %q", got, want)
					}
				}
			})
		}
	})
}
