package mysql

import (
	"strings"
	"testing"
)

func TestParseSet(t *testing.T) {
	for _, tc := range []struct{ sql, want string }{
		{"SET autocommit=0", "autocommit=0"},
		{"set @@session.sql_mode = 'ANSI', @@local.time_zone='+00:00'", "sql_mode='ANSI' time_zone='+00:00'"},
		{"SET SESSION wait_timeout=DEFAULT", "wait_timeout="},
		{"SET NAMES utf8mb4", "names=utf8mb4"},
		{"SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'", "names=utf8mb4 COLLATE utf8mb4_bin"},
		{"SET NAMES DEFAULT", "names=default"},
		{"SET NAMES latin1, sql_mode=''", "names=latin1 sql_mode=''"},
		{"SET CHARACTER SET latin1", "pin set"},
		{"SET CHARSET latin1", "pin set"},
		{"SET @a = 5, @b := 'x'", "@a=5 @b='x'"},
		{"SET @a = @b + 1", "pin user-variable"},
		{"SET @'a b' = 1", "pin user-variable"},
		{`SET @a = 'it\'s'`, "pin user-variable"},
		{`SET @a = "x"`, "pin user-variable"},
		{"SET @a = 'é', @b = X'4D', @c = 'a''b'", "@b=X'4D' pin user-variable"},
		{"SET @a = (SELECT COUNT(*), 1 FROM t)", "pin user-variable"},
		{"SET GLOBAL max_connections=5", ""},
		{"SET @@global.max_connections=5, sql_mode='x'", "sql_mode='x'"},
		{"SET PERSIST max_connections=5", ""},
		{"SET sql_mode=CONCAT(@@sql_mode, ',ANSI')", "learn sql_mode"},
		{"SET max_join_size=-1", "max_join_size=-1"},
		{"SET insert_id=7", "pin set"},
		{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "pin next-transaction next"},
		{"SET TRANSACTION READ ONLY", "pin next-transaction next"},
		{"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE", "transaction_isolation='repeatable-read' transaction_read_only=0"},
		{"SET SESSION TRANSACTION READ ONLY", "transaction_read_only=1"},
		{"SET GLOBAL TRANSACTION READ ONLY", ""},
		{"SET tx_isolation='SERIALIZABLE'", "transaction_isolation='SERIALIZABLE'"},
		{"SET `sql_safe_updates` = 1;", "sql_safe_updates=1"},
		{"SET PASSWORD = 'x'", "pin set"},
		{"SET ROLE admin", "pin set"},
		{"SET default.key_buffer_size=1", "pin set"},
		{"SET", "pin set"},
		{"SET x", "pin set"},
		{"SET autocommit = (SELECT 1)", "pin set"},
		{"SET /*!40101 SQL_MODE='x' */", "sql_mode='x' pin set"},
		{"SET character_set_results = NULL", "character_set_results=NULL"},
		{"SET STATEMENT max_statement_time=1 FOR SELECT 1", "pin set"},
	} {
		e := parseSet(tc.sql, 0)
		var got []string
		for _, c := range e.changes {
			got = append(got, c.name+"="+c.value)
		}
		if len(e.learn) > 0 {
			got = append(got, "learn "+strings.Join(e.learn, ","))
		}
		if e.pin != "" {
			got = append(got, "pin "+e.pin)
		}
		if e.next {
			got = append(got, "next")
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s: %q, want %q", tc.sql, s, tc.want)
		}
	}
}

func TestSettings(t *testing.T) {
	a := noSettings.with([]setting{{"sql_mode", "'ANSI'"}, {"@x", "5"}, {"autocommit", "0"}})
	b := noSettings.with([]setting{{"autocommit", "0"}}).with([]setting{{"@x", "5"}, {"sql_mode", "'ANSI'"}})
	if !a.same(b) {
		t.Fatalf("%q and %q differ", a.key, b.key)
	}
	if !a.with([]setting{{"@x", ""}, {"autocommit", ""}, {"sql_mode", ""}}).same(noSettings) {
		t.Fatal("taking all back leaves something")
	}
	for _, tc := range []struct {
		have, want []setting
		sql        string
	}{
		{nil, nil, ""},
		{nil, []setting{{"autocommit", "0"}}, "SET SESSION autocommit=0"},
		{[]setting{{"autocommit", "0"}, {"@x", "5"}}, nil, "SET @x=NULL, SESSION autocommit=DEFAULT"},
		{[]setting{{"autocommit", "0"}}, []setting{{"autocommit", "1"}}, "SET SESSION autocommit=1"},
		{[]setting{{"names", "latin1"}}, nil, "SET NAMES utf8mb4"},
		{nil, []setting{{"names", "latin1"}, {"character_set_results", "NULL"}}, "SET NAMES latin1, SESSION character_set_results=NULL"},
		{[]setting{{"character_set_results", "NULL"}}, []setting{{"names", "latin1"}}, "SET NAMES utf8mb4, NAMES latin1"},
		{[]setting{{"names", "latin1"}}, []setting{{"names", "latin1"}, {"sql_mode", "''"}}, "SET SESSION sql_mode=''"},
		{nil, []setting{{"names", "latin1"}, {"@x", "'a'"}}, "SET NAMES latin1; SET @x='a'"},
		{[]setting{{"names", "latin1"}, {"@x", "'a'"}}, []setting{{"@x", "'a'"}, {"@y", "1"}}, "SET NAMES utf8mb4; SET @x='a', @y=1"},
		{[]setting{{"@x", "1"}}, []setting{{"names", "latin1"}, {"@x", "1"}}, "SET NAMES latin1"},
	} {
		have, want := noSettings.with(tc.have), noSettings.with(tc.want)
		if got := strings.Join(diff(have, want, "utf8mb4", false), "; "); got != tc.sql {
			t.Errorf("%v to %v: %q, want %q", tc.have, tc.want, got, tc.sql)
		}
	}
}

func FuzzParseSet(f *testing.F) {
	f.Add("SET @a = 1, NAMES 'x', SESSION TRANSACTION READ ONLY")
	f.Add("SET /*! x */ @@global.y := `z`")
	f.Fuzz(func(t *testing.T, sql string) {
		e := parseSet(sql, 0)
		s := noSettings.with(e.changes)
		_ = append(diff(noSettings, s, "utf8mb4", true), diff(s, noSettings, "latin1", false)...)
	})
}

func TestTableNames(t *testing.T) {
	for sql, want := range map[string]string{
		"CREATE TEMPORARY TABLE IF NOT EXISTS Shop.`Temp` (a INT)": "shop.temp",
		"create temporary table t select 1":                        "t",
		"DROP TABLE a, b.c, `d` CASCADE":                           "a b.c d",
		"DROP TEMPORARY TABLE IF EXISTS x":                         "x",
		"DROP VIEW v":                                              "",
		"DROP TABLE":                                               "",
	} {
		if got := strings.Join(tableNames(sql, 0), " "); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}

func TestPositions(t *testing.T) {
	parse := func(s string, maria bool) position {
		p, ok := parsePosition(s, maria)
		if !ok {
			t.Fatalf("%q is not a position", s)
		}
		return p
	}
	a, b := parse("0-1-57", true), parse("0-1-60", true)
	if !a.within(b) || b.within(a) || a.join(b).text(true) != "0-1-60" || b.join(a).text(true) != "0-1-60" {
		t.Error("order within a domain")
	}
	if c := a.join(parse("1-7-3", true)); c.text(true) != "0-1-57,1-7-3" || c.within(b) || !a.within(c) {
		t.Error(c)
	}
	m := parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-23", false)
	if m.text(false) != "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-23" || !(position{}).within(m) || m.within(position{}) {
		t.Error(m)
	}
	// What a replica that applies out of order, or a group whose members number from blocks of their own, may have of the newest number
	// says nothing of the ones before.
	g := parse("u:1000007", false).join(parse("u:57", false)).join(parse("u:60", false))
	if g.text(false) != "u:1000007-1000007,u:57-60" || parse("u:57", false).within(parse("u:1000007", false)) || !parse("u:58", false).within(g) {
		t.Error(g.text(false))
	}
	if p := parse("u:1-3:7:tag:5,v:2", false); p.text(false) != "u:1-7,u:tag:5-5,v:2-2" {
		t.Error(p.text(false))
	}
	many := position{}
	for i := range uint64(20) {
		many = many.join(position{[]origin{{name: "u", first: 1 + i<<20, seq: 1 + i<<20}}})
	}
	if len(many.list) != maxRuns || !parse("u:19922945", false).within(many) || !parse("u:1", false).within(many) {
		t.Error(many.text(false))
	}
	for _, bad := range []string{"", "x", "uuid:", "uuid:0", "uuid:5-3", "0-1", "0-1-x"} {
		if p, ok := parsePosition(bad, strings.HasPrefix(bad, "0")); ok {
			t.Errorf("%q became %v", bad, p)
		}
	}
}

func TestOwnNumber(t *testing.T) {
	s := &session{id: 7}
	for sql, want := range map[string]string{
		"SELECT CONNECTION_ID()":                                                              "SELECT 7 AS `CONNECTION_ID()`",
		"select 1, connection_id ( ), 2":                                                      "select 1, 7 AS `connection_id ( )`, 2",
		"SELECT CONNECTION_ID(), connection_id() FROM t":                                      "SELECT 7 AS `CONNECTION_ID()`, 7 AS `connection_id()` FROM t",
		"SELECT 1 > CONNECTION_ID() yes, -CONNECTION_ID() FROM t":                             "SELECT 1 > 7 yes, -7 AS `-CONNECTION_ID()` FROM t",
		"SELECT f(1, CONNECTION_ID()), CONNECTION_ID() IS NULL LIMIT 1":                       "SELECT f(1, 7) AS `f(1, CONNECTION_ID())`, 7 IS NULL AS `CONNECTION_ID() IS NULL` LIMIT 1",
		"SELECT (SELECT `a`, CONNECTION_ID() + `b` c), 1 FROM (SELECT CONNECTION_ID() > 0) x": "SELECT (SELECT `a`, 7 + `b` c) AS `(SELECT ``a``, CONNECTION_ID() + ``b`` c)`, 1 FROM (SELECT 7 > 0 AS `CONNECTION_ID() > 0`) x",
		"INSERT INTO t (a, b) VALUES (CONNECTION_ID(), 1)":                                    "INSERT INTO t (a, b) VALUES (7, 1)",
		"SELECT 'CONNECTION_ID()'":                                                            "",
		"KILL connection_id":                                                                  "",
		"SELECT CONNECTION_ID() AS x;":                                                        "SELECT 7 AS x;",
		"SELECT * FROM p WHERE id = CONNECTION_ID()":                                          "SELECT * FROM p WHERE id = 7",
	} {
		if got := s.ownValues(sql, true, false); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}

// What a server connection knew of a statement is lost with the connection: no other one may be asked for it.
func TestWarningsOfALostConnectionAreNotMadeUp(t *testing.T) {
	s := &session{handler: &handler{}, terms: &terms{block: &ListenerBlock{}}}
	for _, c := range []struct {
		failed   bool
		warnings uint16
		exact    bool
	}{{false, 0, false}, {true, 0, true}, {false, 1, true}} {
		s.failed, s.warnings = c.failed, c.warnings
		if n := s.requirements(&effect{diagnoses: true}); n.exact != c.exact || n.clean == c.exact {
			t.Errorf("failed %v, %d warnings: %+v", c.failed, c.warnings, n)
		}
	}
}
