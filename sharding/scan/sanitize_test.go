package scan

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestPublishedCases runs the cases that OpenTelemetry publishes for sanitised texts and summaries. They are not part of this
// project; OTEL_SQL_CASES names the file: docs/non-normative/database-test-cases/db-sql-test-cases.json of
// open-telemetry/semantic-conventions. TestSanitized has our own for each of the things they are about.
func TestPublishedCases(t *testing.T) {
	path := os.Getenv("OTEL_SQL_CASES")
	if path == "" {
		t.Skip("OTEL_SQL_CASES does not name OpenTelemetry's db-sql-test-cases.json")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name  string
		Input struct {
			System string `json:"db.system.name"`
			Query  string
		}
		Expected struct {
			Text    []string `json:"db.query.text"`
			Summary string   `json:"db.query.summary"`
		}
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 24 {
		t.Errorf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if got := string(AppendSanitized(nil, c.Input.Query, 0, 0)); !slices.Contains(c.Expected.Text, got) {
				t.Errorf("text of %q\n got %q\nwant %q", c.Input.Query, got, c.Expected.Text)
			}
			if got := string(AppendSummary(nil, c.Input.Query, 0)); got != c.Expected.Summary {
				t.Errorf("summary of %q\n got %q\nwant %q", c.Input.Query, got, c.Expected.Summary)
			}
		})
	}
}

// TestSanitized are our own cases: what MySQL adds to the published ones.
func TestSanitized(t *testing.T) {
	for _, c := range []struct{ in, text, summary string }{
		{"select /* traceparent='00-a' */ 1", "select  ?", "select"},
		{"select * from t where a in (1, 2 ,3) and b in (-1, -2)", "select * from t where a in (?) and b in (?, ?)", "select t"},
		{"select * from t where a in (1, x, 3)", "select * from t where a in (?, x, ?)", "select t"},
		{"select * from t where a in (select b from u where c = 'x')", "select * from t where a in (select b from u where c = ?)", "select t select u"},
		{"select 'it''s \\' private', \"so is this\", `not \"this\"`", "select ?, ?, `not \"this\"`", "select"},
		{"select 'never ends, password=x", "select ?", "select"},
		{"select x'00ff', b'01', N'y', _utf8'z', 1e5", "select ?, ?, ?, _utf8?, ?", "select"},
		{"insert ignore into `my shop`.`t` (a) values (1, 'x'), (2, 'y') on duplicate key update a = 1", "insert ignore into `my shop`.`t` (a) values (?, ?), (?, ?) on duplicate key update a = ?", "insert my shop.t"},
		{"update low_priority t, u set t.a = 1 where t.b = u.b", "update low_priority t, u set t.a = ? where t.b = u.b", "update t u"},
		{"delete from t where a = 1", "delete from t where a = ?", "delete t"},
		{"select extract(year from d), trim(leading 'x' from y) from t for update", "select extract(year from d), trim(leading ? from y) from t for update", "select t"},
		{"with c as (select a from t) select * from c", "with c as (select a from t) select * from c", "select t select c"},
		{"with c as (select 1) update t set a = 2", "with c as (select ?) update t set a = ?", "select update t"},
		{"explain select * from t", "explain select * from t", "explain select t"},
		{"create trigger g before insert on t for each row begin insert into u values (1); end", "create trigger g before insert on t for each row begin insert into u values (?); end", "create trigger g"},
		{"create or replace view v as select 1", "create or replace view v as select ?", "create view v"},
		{"create temporary table if not exists t (a int)", "create temporary table if not exists t (a int)", "create table t"},
		{"truncate t", "truncate t", "truncate t"},
		{"set password = 'x'", "set password = ?", "set"},
		{"call p(1)", "call p(?)", "call p"},
		{"select a from t; update u set a = 1", "select a from t; update u set a = ?", "select t update u"},
		{"select a into @x from t", "select a into @x from t", "select t"},
		{"begin", "begin", "begin"},
		{"select 7, -7, +7, 1.5, -.5, 2.5e7, -2.5e-7, 0xCAFE, 0Xcafe", "select ?, ?, ?, ?, ?, ?, ?, ?, ?", "select"},
		{"select 7+8, a-8, (1)-2", "select ??, a?, (?)?", "select"},
		{"select 'two\nlines', { guid 'x-1' }", "select ?, { guid ? }", "select"},
		{"Select a1b2, c FROM t2x where z9=99 -- why\nand y = 1", "Select a1b2, c FROM t2x where z9=? \nand y = ?", "Select t2x"},
		{"select * from shop.a x join shop.b y cross join c, d e", "select * from shop.a x join shop.b y cross join c, d e", "select shop.a shop.b c d"},
		{"insert into t (a)\nselect a from u where a = 1", "insert into t (a)\nselect a from u where a = ?", "insert t select u"},
		{"select a from (Select b from u join v on u.x = v.x) w", "select a from (Select b from u join v on u.x = v.x) w", "select Select u v"},
		{"create  table t (a decimal(9,2))", "create  table t (a decimal(?,?))", "create table t"},
		{"alter  table t add a char(9)", "alter  table t add a char(?)", "alter table t"},
		{"drop  table t", "drop  table t", "drop table t"},
		{"/*!40001 SQL_NO_CACHE */ select 1", "/*!40001 SQL_NO_CACHE */ select ?", "SQL_NO_CACHE select"},
		{"", "", ""},
	} {
		if got := string(AppendSanitized(nil, c.in, 0, 0)); got != c.text {
			t.Errorf("%q\n is %q\nwant %q", c.in, got, c.text)
		}
		if got := string(AppendSummary(nil, c.in, 0)); got != c.summary {
			t.Errorf("summary of %q\n is %q\nwant %q", c.in, got, c.summary)
		}
	}
	if got := string(AppendSanitized(nil, "select "+strings.Repeat("a, ", 100)+"1", 0, 50)); len(got) > 60 || !strings.HasSuffix(got, "...") {
		t.Errorf("a limit of 50 leaves %q", got)
	}
}

// FuzzSanitize checks that nothing of a literal survives, wherever it stands.
func FuzzSanitize(f *testing.F) {
	for _, s := range []string{"select 1", "select * from t where a in (1,-2,'x')", "insert into t values ('a'), (\"b\")", "in(1,,2)", "/*!1*/ in (1,", "a in (1, /* */ 2 . 3)", "select '"} {
		f.Add(s, uint8(0))
	}
	f.Fuzz(func(t *testing.T, text string, mode uint8) {
		m := Mode(mode & 3)
		got := string(AppendSanitized(nil, text, m, 0))
		const secret = "'\x01hidden\x02'"
		if again := string(AppendSanitized(nil, secret+" "+text, m, 0)); strings.Contains(again, "hidden") {
			t.Fatalf("%q shows a literal", again)
		}
		l := Lexer{Text: got, Mode: m}
		for {
			tok := l.Raw()
			if tok.Kind == EOF {
				break
			}
			switch tok.Kind {
			case String:
				t.Fatalf("%q became %q, which holds the string %q", text, got, got[tok.Start:tok.End])
			}
		}
		if n := len(AppendSummary(nil, text, m)); n > SummaryLimit {
			t.Fatalf("a summary of %d bytes", n)
		}
	})
}
