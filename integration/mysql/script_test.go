package mysql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// scripts are what sessions do to their state, one way each. A line is a text, or a command behind a backslash; DB stands for the session's
// database. What only one kind of server knows the other refuses, and that answer is compared too.
var scripts = map[string][]string{
	"reset": {"SET NAMES latin1", "SET @a = 1, sql_mode = 'ANSI_QUOTES', time_zone = '+05:00', autocommit = 0", "SELECT 1/0", `\reset`, "SHOW WARNINGS", state},
	"reset ends what is open": {"CREATE TEMPORARY TABLE tmp (a INT)", "BEGIN", "INSERT INTO t (v) VALUES ('open')", "SELECT GET_LOCK('DB', 1)", "PREPARE p FROM 'SELECT 1'", `\prepare SELECT 2`,
		`\reset`, "SELECT COUNT(*) FROM t", "SELECT * FROM tmp", "SELECT IS_FREE_LOCK('DB')", "EXECUTE p", `\execute 0`, "SELECT LAST_INSERT_ID()", state},
	"reset keeps the database": {`\db DB`, `\reset`, "SELECT DATABASE()"},
	"change of user":           {"SET NAMES latin1", "SET @a = 1", "CREATE TEMPORARY TABLE tmp (a INT)", `\user`, "SELECT DATABASE()", state, "SELECT * FROM DB.tmp"},
	"names":                    {"SET NAMES utf8mb4 COLLATE utf8mb4_bin", state, "SET NAMES DEFAULT", state, "SET NAMES 'latin1' COLLATE 'latin1_german1_ci'", state, "SET NAMES nothing", state},
	"charset":                  {"SET CHARACTER SET latin1", state, "SET CHARACTER SET DEFAULT", state, "SET CHARSET utf8mb4", state},
	"character_set_results":    {"SET character_set_results = NULL", state, "SELECT 'ä', _latin1'x'", "SET character_set_results = latin1", state, "SELECT 'ä'", "SET character_set_results = DEFAULT", state},
	"collation_connection":     {"SET collation_connection = utf8mb4_bin", state, "SELECT 'a' = 'A', COLLATION('a')", "SET character_set_connection = latin1", state, "SET character_set_client = latin1", state},
	"sql_mode":                 {"SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", `SELECT "v", '\' FROM t`, state, "SET SESSION sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')", "SELECT 'a' || 'b'", state, "SET @@session.sql_mode = DEFAULT", state},
	"time_zone":                {"SET time_zone = '+05:30'", "SELECT FROM_UNIXTIME(0)", "SET @@time_zone = 'SYSTEM'", "SELECT FROM_UNIXTIME(0)", "SET time_zone = 'Nowhere'", state},
	"timestamp":                {"SET timestamp = 1700000000", "SELECT UNIX_TIMESTAMP(), NOW() > 0", "SELECT UNIX_TIMESTAMP()", "SET timestamp = DEFAULT", "SELECT UNIX_TIMESTAMP() > 1700000001"},
	"autocommit":               {"SET autocommit = 0", "INSERT INTO t (v) VALUES ('a')", "SELECT COUNT(*) FROM t", "ROLLBACK", "SELECT COUNT(*) FROM t", "SET autocommit = 1", "SELECT COUNT(*) FROM t", "SET autocommit = OFF", "SELECT @@autocommit", "SET autocommit = ON"},
	"isolation":                {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN", "SELECT * FROM t", "COMMIT", "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", "SHOW VARIABLES LIKE 't%_isolation'", "SET SESSION TRANSACTION READ ONLY", "INSERT INTO t (v) VALUES ('ro')", "SHOW VARIABLES LIKE 't%_read_only'", "SET SESSION TRANSACTION READ WRITE", "INSERT INTO t (v) VALUES ('rw')"},
	"next transaction":         {"SET TRANSACTION READ ONLY", "SELECT 1", "INSERT INTO t (v) VALUES ('a')", "BEGIN", "INSERT INTO t (v) VALUES ('b')", "ROLLBACK", "INSERT INTO t (v) VALUES ('c')", "SET TRANSACTION READ ONLY", `\reset`, "INSERT INTO t (v) VALUES ('d')"},
	"next transaction by @@":   {"SET @@transaction_read_only = 1", "INSERT INTO t (v) VALUES ('a')", "INSERT INTO t (v) VALUES ('b')", "SET @@tx_read_only = 1", "INSERT INTO t (v) VALUES ('c')", "INSERT INTO t (v) VALUES ('d')", "SET @@transaction_isolation = 'SERIALIZABLE'", "SHOW VARIABLES LIKE 't%_isolation'"},
	"times":                    {"SET max_execution_time = 5000, max_statement_time = 5", "SET max_execution_time = 5000", "SELECT @@max_execution_time", "SET max_statement_time = 5", "SELECT @@max_statement_time", "SET lock_wait_timeout = 7, innodb_lock_wait_timeout = 8", "SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout"},
	"sql_select_limit":         {"INSERT INTO t (v) VALUES ('a'), ('b'), ('c')", "SET sql_select_limit = 1", "SELECT v FROM t ORDER BY id", "SET sql_select_limit = DEFAULT", "SELECT v FROM t ORDER BY id"},
	"user variables":           {"SET @a = 1, @b = 'text', @C = NULL, @d = 1.50, @e = 0x41, @f = -2, @g = 1e3", "SELECT @a, @b, @c, @d, @e, @f, @g", "SELECT @a := @a + 1, @n := 5", "SELECT @a, @n", "SET @a = NULL", "SELECT @a", "SET @`odd name` = 4", "SELECT @`odd name`", "SELECT v INTO @v FROM t LIMIT 1", "SELECT @v"},
	"user variables by others": {"SET @a := 5", "SET @B := @a + 1", "SELECT @b", "INSERT INTO t (v) VALUES ('x')", "UPDATE t SET v = (@u := 'u')", "SELECT @u", "DO @z := 3", "SELECT @z"},
	"last_insert_id":           {"INSERT INTO t (v) VALUES ('a'), ('b')", "SELECT LAST_INSERT_ID(), @@last_insert_id, @@identity", "INSERT INTO t (id, v) VALUES (50, 'c')", "SELECT LAST_INSERT_ID()", "UPDATE t SET id = LAST_INSERT_ID(60) WHERE id = 50", "SELECT LAST_INSERT_ID()", "SELECT LAST_INSERT_ID(77)", "SELECT LAST_INSERT_ID()", "SET insert_id = 90", "INSERT INTO t (v) VALUES ('d')", "SELECT LAST_INSERT_ID()", "SET last_insert_id = 3", "INSERT INTO t (v) VALUES (LAST_INSERT_ID())", "SELECT v FROM t ORDER BY id DESC LIMIT 1"},
	"last_insert_id prepared": {`\prepare INSERT INTO t (v) VALUES ('p')`, `\execute 0`, "SELECT LAST_INSERT_ID()", `\prepare SELECT LAST_INSERT_ID()`, `\execute 1`, "DELETE FROM t", "SELECT LAST_INSERT_ID()", "INSERT INTO t (id) VALUES ('wrong')", "SELECT LAST_INSERT_ID()",
		`\prepare INSERT INTO t (id, v) SELECT 700 + 30, 'p'`, `\execute 2`, "SELECT LAST_INSERT_ID()"},
	"last_insert_id of numbers given": {"INSERT INTO t (v) VALUES ('a')", "INSERT INTO t (id, v) VALUES (40 + 2, 'b')", "SELECT LAST_INSERT_ID()", "INSERT INTO t (id, v) VALUES (1e2, 'c')", "SELECT LAST_INSERT_ID()",
		"INSERT INTO t SET id = 6 * 50", "SELECT LAST_INSERT_ID()", "INSERT INTO t (id, v) VALUES (0x190, NOW())", "SELECT LAST_INSERT_ID()", "INSERT INTO t (id, v) VALUES (499.6, UUID())", "SELECT LAST_INSERT_ID()",
		"INSERT INTO t (id, v) VALUES ('59e1', 'd')", "SELECT LAST_INSERT_ID()", "INSERT INTO t (id, v) VALUES (ABS(-600 - 1), 'e')", "SELECT LAST_INSERT_ID()", "INSERT INTO t (v) VALUES (NOW()), (-5)", "SELECT LAST_INSERT_ID()",
		"INSERT INTO t (id, v) VALUES (1, 'x') ON DUPLICATE KEY UPDATE v = v + 1, id = id + 900", "SELECT LAST_INSERT_ID()"},
	"counts":                    {"INSERT INTO t (v) VALUES ('a'), ('b'), ('c')", "SELECT ROW_COUNT()", "SELECT SQL_CALC_FOUND_ROWS v FROM t LIMIT 1", "SELECT FOUND_ROWS()", "SELECT v FROM t", "SELECT FOUND_ROWS(), ROW_COUNT()", "UPDATE t SET v = 'x'", "SELECT ROW_COUNT()", "DELETE FROM t WHERE 0", "SELECT ROW_COUNT()", "SELEKT", "SELECT ROW_COUNT()"},
	"warnings":                  {"SELECT CAST('1x' AS SIGNED), 1/0", "SHOW WARNINGS", "SHOW COUNT(*) WARNINGS", "SHOW WARNINGS LIMIT 1", "SELECT @@warning_count", "INSERT IGNORE INTO t (id, v) VALUES ('7x', 'w')", "SHOW WARNINGS", "DROP TABLE IF EXISTS nothing", "SHOW WARNINGS", "SELECT COUNT(*) FROM t", "SHOW WARNINGS"},
	"errors":                    {"SELECT * FROM nothing", "SHOW ERRORS", "SHOW COUNT(*) ERRORS", "SHOW WARNINGS", "SELECT @@error_count", "BEGIN", "SELECT * FROM nothing", "GET DIAGNOSTICS CONDITION 1 @no = MYSQL_ERRNO, @text = MESSAGE_TEXT", "SELECT @no, @text", "GET DIAGNOSTICS @n = NUMBER", "SELECT @n", "ROLLBACK"},
	"warnings of prepared":      {`\prepare SELECT CAST('1x' AS SIGNED)`, `\execute 0`, "SHOW WARNINGS", `\prepare SELECT * FROM nothing`, "SHOW WARNINGS"},
	"temporary tables":          {"CREATE TEMPORARY TABLE tmp (a INT) SELECT 1 AS a", "SELECT * FROM tmp", "CREATE TEMPORARY TABLE t (b INT)", "SELECT * FROM t", "DROP TEMPORARY TABLE t", "SELECT COUNT(*) FROM t", "ALTER TABLE tmp ADD c INT", "SELECT * FROM DB.tmp", "DROP TABLE tmp", "SELECT * FROM tmp"},
	"a renamed temporary table": {"CREATE TEMPORARY TABLE tmp (a INT)", "ALTER TABLE tmp RENAME TO other", "CREATE TEMPORARY TABLE IF NOT EXISTS other (a INT)", "DROP TABLE other", "SELECT * FROM other", "SELECT * FROM tmp"},
	"lock tables":               {"LOCK TABLES t WRITE", "INSERT INTO t (v) VALUES ('l')", "SELECT * FROM information_schema.engines WHERE 0", "SELECT 1 FROM mysql.user LIMIT 0", "UNLOCK TABLES", "SELECT 1 FROM mysql.user LIMIT 0", "FLUSH TABLES t WITH READ LOCK", "INSERT INTO t (v) VALUES ('l')", "UNLOCK TABLES", "LOCK TABLES t READ", "BEGIN", "INSERT INTO t (v) VALUES ('l')", "ROLLBACK"},
	"user locks":                {"SELECT GET_LOCK('DB', 1)", "SELECT IS_USED_LOCK('DB') = CONNECTION_ID()", "SELECT GET_LOCK('DB2', 1)", "SELECT RELEASE_LOCK('DB')", "SELECT IS_FREE_LOCK('DB'), IS_FREE_LOCK('DB2')", "SELECT RELEASE_ALL_LOCKS()", "SELECT IS_FREE_LOCK('DB2')", "DO GET_LOCK('DB', 1)", `\reset`, "SELECT IS_FREE_LOCK('DB')"},
	"prepared by text":          {"PREPARE p FROM 'SELECT ? + 1'", "SET @x = 4", "EXECUTE p USING @x", "EXECUTE p USING 5", "EXECUTE IMMEDIATE 'SELECT 9'", "SET @s = 'SELECT 8'", "PREPARE q FROM @s", "EXECUTE q", "DEALLOCATE PREPARE p", "EXECUTE p", "EXECUTE q", "DROP PREPARE q", "PREPARE w FROM 'SET @made = 3'", "EXECUTE w", "SELECT @made"},
	"prepared sets":             {"PREPARE w FROM 'SET SESSION sql_mode = ''ANSI_QUOTES'''", "EXECUTE w", "DEALLOCATE PREPARE w", state, `\prepare SET time_zone = '+03:00'`, `\execute 0`, state},
	"handler":                   {"INSERT INTO t (v) VALUES ('h')", "HANDLER t OPEN", "HANDLER t READ FIRST", "HANDLER t READ NEXT", "HANDLER t CLOSE", "HANDLER t READ FIRST"},
	"xa":                        {"XA START 'DB'", "INSERT INTO t (v) VALUES ('xa')", "XA END 'DB'", "XA PREPARE 'DB'", "XA COMMIT 'DB'", "SELECT COUNT(*) FROM t", "XA START 'DBr'", "INSERT INTO t (v) VALUES ('no')", "XA END 'DBr'", "XA ROLLBACK 'DBr'", "SELECT COUNT(*) FROM t", "XA START 'DBp'", "INSERT INTO t (v) VALUES ('p')", "XA END 'DBp'", "XA COMMIT 'DBp' ONE PHASE", "SELECT COUNT(*) FROM t"},
	"profiling":                 {"SET profiling = 1", "SELECT 42", "SELECT COUNT(*) FROM information_schema.profiling WHERE query_id = 1 AND seq = 2", "SET profiling = 0", "SELECT @@profiling"},
	"sql_log_bin":               {"SET sql_log_bin = 0", "SELECT @@sql_log_bin", "SET SESSION sql_log_bin = 1", "SELECT @@sql_log_bin"},
	"roles":                     {"SET ROLE NONE", "SELECT CURRENT_ROLE()", "SET ROLE nobody", "SELECT CURRENT_ROLE()", "SET DEFAULT ROLE NONE", "SELECT CURRENT_ROLE()"},
	"session tracking":          {"SET session_track_state_change = 1", "SET @a = 1", "SET session_track_schema = 0", "USE mysql", "USE DB", "SET session_track_system_variables = 'sql_mode'", "SET sql_mode = ''", "SET time_zone = '+01:00'"},
	"tracked as ever":           {"USE mysql", "USE DB", "SET time_zone = '+01:00'", "SET NAMES latin1", "SET autocommit = 0", "SET autocommit = 1", "SET sql_mode = ''"},
	"several":                   {"SELECT 1; SELECT 2", "SET @a = 1; SET sql_mode = 'ANSI_QUOTES'; SELECT @a", state, "BEGIN; INSERT INTO t (v) VALUES ('m'); COMMIT", "SELECT COUNT(*) FROM t", "SELECT 1; SELEKT; SELECT 3", "USE mysql; SELECT DATABASE()", "SELECT DATABASE()", "USE DB; SET NAMES latin1; SELECT CAST(v AS SIGNED) FROM t; SHOW WARNINGS", state, "CREATE TEMPORARY TABLE tm (a INT); INSERT INTO tm VALUES (3)", "SELECT * FROM tm", `\option 0`, "SELECT 5; SELECT 6", "SELECT 7", `\option 1`, "SELECT 5; SELECT 6"},
	"procedures":                {"CREATE PROCEDURE p (IN a INT, OUT b INT) BEGIN SELECT a; SELECT a + 1 UNION SELECT a + 2; SET b = a * 2; END", "CALL p(4, @out)", "SELECT @out", `\prepare CALL p(?, ?)`, `\execute 0`, "CREATE PROCEDURE q () BEGIN SET sql_mode = 'ANSI_QUOTES'; SET @q = 7; CREATE TEMPORARY TABLE left_behind (a INT); END", "CALL q()", "SELECT @q", state, "SELECT * FROM left_behind", "CREATE PROCEDURE e () BEGIN SELECT 1; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'told'; END", "CALL e()", "SHOW ERRORS", "CREATE PROCEDURE l () INSERT INTO t (v) VALUES ('l')", "CALL l()", "SELECT LAST_INSERT_ID(), ROW_COUNT()", "CREATE PROCEDURE tx () BEGIN START TRANSACTION; INSERT INTO t (v) VALUES ('o'); END", "CALL tx()", "ROLLBACK", "SELECT COUNT(*) FROM t"},
	"functions":                 {"CREATE FUNCTION f () RETURNS INT NO SQL BEGIN SET @f = 8; RETURN 1; END", "SELECT f()", "SELECT @f"},
	"cursors":                   {"INSERT INTO t (v) VALUES ('a'), ('b'), ('c'), ('d')", `\prepare SELECT id, v FROM t ORDER BY id`, `\cursor 0`, `\fetch 0 1`, "SELECT 7", `\fetch 0 2`, `\fetch 0 5`, `\fetch 0 1`, `\cursor 0`, `\renew 0`, `\fetch 0 1`, `\cursor 0`, `\close 0`, `\fetch 0 1`, "SELECT 8"},
	"long data":                 {`\prepare SELECT CONCAT(?, '!')`, `\long 0 abc`, `\long 0 def`, "SELECT 5", `\bound 0`, `\long 0 gone`, `\renew 0`, `\long 0 new`, `\bound 0`, `\close 0`, `\bound 0`},
	"prepared elsewhere":        {`\prepare SELECT v, DATABASE(), @@sql_mode FROM t`, "USE mysql", "SET sql_mode = 'ANSI_QUOTES'", `\execute 0`, "USE DB", "DROP TABLE t", `\execute 0`, "CREATE TABLE t (v INT, w INT)", "INSERT INTO t VALUES (4, 5)", `\execute 0`, `\prepare SELECT * FROM t`, `\execute 1`, "ALTER TABLE t ADD x INT", `\execute 1`},
	"transactions":              {"START TRANSACTION READ ONLY", "INSERT INTO t (v) VALUES ('r')", "COMMIT AND CHAIN", "SELECT 1", "COMMIT", "START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT COUNT(*) FROM t", "ROLLBACK", "BEGIN", "INSERT INTO t (v) VALUES ('s')", "SAVEPOINT a", "DELETE FROM t", "ROLLBACK TO a", "RELEASE SAVEPOINT a", "SELECT COUNT(*) FROM t", "CREATE TABLE implied (a INT)", "ROLLBACK", "SELECT COUNT(*) FROM t", "SET completion_type = 1", "BEGIN", "COMMIT", "ROLLBACK AND NO CHAIN", "SET completion_type = 0", "ROLLBACK"},
	"errors in transactions":    {"BEGIN", "INSERT INTO t (v) VALUES ('s')", "SELEKT", "INSERT INTO t (id, v) VALUES ('x', 'y')", "SELECT COUNT(*) FROM t", "ROLLBACK", "SELECT COUNT(*) FROM t"},
	"other commands":            {`\ping`, `\db mysql`, "SELECT DATABASE()", `\db nothing`, "SELECT DATABASE()", `\db DB`, `\fields t`, `\option 7`, "", ";", "-- nothing", "/* nothing */"},
	"one statement alone":       {"SET STATEMENT max_statement_time = 3 FOR SELECT @@max_statement_time", "SELECT @@max_statement_time", "SELECT /*+ SET_VAR(sort_buffer_size = 16777216) */ @@sort_buffer_size = 16777216", "SELECT @@sort_buffer_size = 16777216"},
	"defaults":                  {"SET sql_mode = 'ANSI_QUOTES', time_zone = '+01:00', sql_safe_updates = 1, group_concat_max_len = 99, net_write_timeout = 33, wait_timeout = 99", "SELECT @@sql_mode, @@time_zone, @@sql_safe_updates, @@group_concat_max_len, @@net_write_timeout, @@wait_timeout", "SET sql_mode = DEFAULT, time_zone = DEFAULT, sql_safe_updates = DEFAULT, group_concat_max_len = DEFAULT, net_write_timeout = DEFAULT, wait_timeout = DEFAULT", "SELECT @@sql_mode, @@time_zone, @@sql_safe_updates, @@group_concat_max_len, @@net_write_timeout, @@wait_timeout"},
	"sets that fail":            {"SET sql_mode = 'ANSI_QUOTES', nothing = 1", state, "SET time_zone = '+02:00', sql_mode = 'nothing'", state, "SET @q = 1, nothing = 2", "SELECT @q", "SET sort_buffer_size = 1", "SHOW WARNINGS", "SELECT @@sort_buffer_size", "SET autocommit = 2", "SELECT @@autocommit", "SET GLOBAL nothing = 1", "SET @@global.nothing = 1"},
	"sets of odd values":        {"SET lc_time_names = de_DE", "SELECT DAYNAME('2026-11-23')", "SET sql_mode = 4", state, "SET time_zone = (SELECT '+07:00')", state, "SET SESSION lock_wait_timeout = 5 + 5", "SELECT @@lock_wait_timeout", "SET @@local.lock_wait_timeout := 12", "SELECT @@lock_wait_timeout", "SET lock_wait_timeout = @@global.lock_wait_timeout", "SELECT @@lock_wait_timeout = @@global.lock_wait_timeout", "/*!40101 SET sql_mode = 'ANSI_QUOTES' */", state, "SET /*!40101 time_zone = '+08:00' */", state, "SET `time_zone` = '+09:00'", state},
	"dump":                      {"/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */", "/*!40101 SET NAMES latin1 */", "/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */", "/*!40103 SET TIME_ZONE='+00:00' */", "/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */", state, "/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */", "/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */", "/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */", state},
}

// state is the question what a session is like.
const state = "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection, @@sql_mode, @@time_zone, @@autocommit, DATABASE()"

// Each script is run on a connection of its own to the server and through sidewire, where another session uses and changes every connection that comes
// free in between: every packet of every answer must be the same.
func TestScriptsAnswerAlike(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		w := front(t, db, layout{cluster: "pool: {max: 1, wait: 5ms}"})
		w.settle(t)
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS script_c")
		mustExec(t, root, "CREATE TABLE IF NOT EXISTS script_c.t (id BIGINT AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 1000000")
		fresh := true
		names := make([]string, 0, len(scripts))
		for name := range scripts {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, caps := range []wire.Capability{0, wire.DeprecateEOF | wire.SessionTrack} {
			for i, name := range names {
				if i%2 == 0 == (caps == 0) && os.Getenv("SCRIPTS") == "" {
					continue // half of them each way; SCRIPTS=all runs all
				}
				t.Run(fmt.Sprintf("%s/%x", name, uint32(caps)), func(t *testing.T) {
					for _, database := range []string{"script_a", "script_b"} {
						if fresh {
							mustExec(t, root, "DROP DATABASE IF EXISTS "+database)
							mustExec(t, root, "CREATE DATABASE "+database)
							mustExec(t, root, "CREATE TABLE "+database+".t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60))")
						} else {
							mustExec(t, root, "TRUNCATE "+database+".t")
						}
					}
					fresh = regexp.MustCompile("CREATE|DROP|ALTER").MatchString(strings.Join(scripts[name], ";")) // what it leaves is gone before the next
					caps |= wire.MultiStatements
					through := player{raw: rawClient(t, w.addr, "app", "local", caps), database: "script_a"}
					direct := player{raw: rawClient(t, db.Addr, db.User, db.Password, caps), database: "script_b"}
					other := player{raw: rawClient(t, w.addr, "app", "local", caps)}
					if err := servers.Poll(deadline(t, 20*time.Second), func(context.Context) error { // until the script before has left
						_, err := other.query(nil, "DO 0")
						return err
					}); err != nil {
						t.Fatal(err)
					}
					for _, line := range append([]string{"USE DB"}, scripts[name]...) {
						got, want := through.play(t, line), direct.play(t, line)
						if got != want {
							t.Errorf("%s\nthrough sidewire:\n%s\ndirect:\n%s", line, got, want)
						}
						// It gets no connection while the script holds the one that is there.
						other.query(nil, "SET sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '-11:00', @a = 99, @x = 98; SET NAMES cp1251; USE mysql; INSERT INTO script_c.t VALUES (NULL)")
						other.query(nil, "SELECT CAST('y' AS SIGNED)")
						other.play(t, `\ping`) // by then it has given the connection back
					}
				})
			}
		}
	})
}

// player runs the lines of a script.
type player struct {
	*raw
	database string
	prepared []wire.Prepared
}

func (p *player) play(t *testing.T, line string) string {
	t.Helper()
	line = strings.ReplaceAll(line, "DB", p.database)
	if line == `\user` {
		return fmt.Sprint(p.changeUser())
	}
	cmd, payload := p.command(line)
	if err := p.send(append([]byte{byte(cmd)}, payload...)); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if cmd == wire.ComStmtLongData || cmd == wire.ComStmtClose {
		return p.play(t, `\ping`) // nothing answers it: then it is done
	}
	said, err := p.transcript(cmd)
	if err != nil {
		t.Fatalf("%s: %v after %q", line, err, said)
	}
	return strings.ReplaceAll(statementNumber.ReplaceAllString(strings.Join(said, "\n"), "statement"), p.database, "DB")
}

// command is what a line asks for.
func (p *player) command(line string) (wire.Command, []byte) {
	word, rest, _ := strings.Cut(line, " ")
	number, text, _ := strings.Cut(rest, " ")
	id := make([]byte, 4)
	if n, err := strconv.Atoi(number); err == nil && n < len(p.prepared) {
		binary.LittleEndian.PutUint32(id, p.prepared[n].ID)
	}
	switch word {
	case `\reset`:
		return wire.ComResetConnection, nil
	case `\ping`:
		return wire.ComPing, nil
	case `\db`:
		return wire.ComInitDB, []byte(rest)
	case `\fields`:
		return wire.ComFieldList, append([]byte(rest), 0)
	case `\option`:
		n, _ := strconv.Atoi(rest)
		return wire.ComSetOption, []byte{byte(1 - n), 0}
	case `\prepare`:
		return wire.ComStmtPrepare, []byte(rest)
	case `\execute`, `\bound`, `\cursor`:
		x := append(id, 0, 1, 0, 0, 0)
		if word == `\cursor` {
			x[4] = 1
		}
		if word == `\bound` {
			x = append(x, 0, 1, byte(wire.TypeVarString), 0)
		} else if word == `\execute` && len(p.prepared) > 0 && p.prepared[0].Params == 2 {
			x = append(x, 2, 1, byte(wire.TypeLong), 0, byte(wire.TypeNull), 0, 4, 0, 0, 0)
		}
		return wire.ComStmtExecute, x
	case `\fetch`:
		n, _ := strconv.Atoi(text)
		return wire.ComStmtFetch, binary.LittleEndian.AppendUint32(id, uint32(n))
	case `\renew`:
		return wire.ComStmtReset, id
	case `\close`:
		return wire.ComStmtClose, id
	case `\long`:
		return wire.ComStmtLongData, append(append(id, 0, 0), text...)
	}
	return wire.ComQuery, []byte(line)
}

// statementNumber is how servers name a statement, and where they miss it.
var statementNumber = regexp.MustCompile(`statement \(\d+\) has no open cursor\.?|handler \(\d+\) given to \w+`)

// notNull is what a server says of a number that stands in the text, as one of sidewire's does.
const notNull = wire.FlagNotNull

// transcript is all that an answer says.
func (p *player) transcript(cmd wire.Command) (said []string, err error) {
	var r wire.Reply
	r.Begin(cmd, p.caps, p.next)
	r.Each = true
	for !r.Done() {
		n, ev, err := r.Next(p.in)
		if err != nil {
			return said, err
		}
		line := ""
		switch ev {
		case wire.EventMore:
		case wire.EventPrepared:
			made, err := wire.DecodePrepared(r.Packet)
			if err != nil {
				return said, err
			}
			p.prepared = append(p.prepared, made)
			made.ID = 0
			line = fmt.Sprintf("prepared %+v", made)
		case wire.EventOK, wire.EventRowsEnd:
			line = fmt.Sprintf("end, status %04x, %d warnings", r.Status&^(wire.StatusSessionChanged|wire.StatusMetadataChanged), r.Warnings)
			if ok, err := wire.DecodeOK(r.Packet, p.caps); err == nil && (ev == wire.EventOK || p.caps.Has(wire.DeprecateEOF)) {
				line = fmt.Sprintf("ok %d rows, id %d, status %04x, %d warnings, %q%s", ok.AffectedRows, ok.InsertID, ok.Status&^(wire.StatusSessionChanged|wire.StatusMetadataChanged), ok.Warnings, ok.Info, tracked(ok.Track))
			}
		case wire.EventErr:
			refused, err := wire.DecodeErr(r.Packet)
			if err != nil {
				return said, err
			}
			line = refused.Error()
		case wire.EventColumn:
			c, err := wire.DecodeColumn(r.Packet)
			if err != nil {
				return said, err
			}
			line = fmt.Sprintf("column %s of %d %x in %d", c.Name, c.Type, c.Flags&^notNull, c.Collation)
		default:
			line = fmt.Sprintf("%d %q", ev, r.Packet)
		}
		if line != "" {
			said = append(said, line)
		}
		p.in = p.in[n:]
		if ev == wire.EventMore {
			if err := p.more(); err != nil {
				return said, errors.Join(io.ErrUnexpectedEOF, err)
			}
		}
	}
	return said, nil
}

// tracked is the changes of state that an OK tells of, whose order means nothing.
func tracked(track []byte) string {
	var said []string
	for len(track) > 0 {
		c, rest, err := wire.TrackNext(track)
		if err != nil {
			return ", torn"
		}
		if c.Kind == wire.TrackGTIDs {
			c.Value = nil // each transaction has one of its own
		}
		said, track = append(said, fmt.Sprintf(", %d %s=%s", c.Kind, c.Name, c.Value)), rest
	}
	slices.Sort(said)
	return strings.Join(said, "")
}
