package report

import (
	"strings"
	"testing"

	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/rule"
)

func TestStatements(t *testing.T) {
	for _, c := range []struct{ name, log, want string }{
		{"general log", "/usr/sbin/mariadbd, Version: 10.11.19 (Debian). started with:\nTcp port: 0  Unix socket: /s\nTime\t\t    Id Command\tArgument\n" +
			"261122 19:00:00\t    31 Connect\troot@localhost on t\n\t\t    31 Query\tselect 1\n\t\t    31 Query\tselect a,\n  b from t\n\t\t    31 Quit\t\n",
			"select 1|select a,\n  b from t"},
		{"general log of MySQL", "2026-11-22T19:00:00.000000Z\t    9 Query\tinsert into t values (1)\n2026-11-22T19:00:00.000000Z\t    9 Execute\tselect 2\n",
			"insert into t values (1)|select 2"},
		{"slow log", "# Time: 261122 19:00:00\n# User@Host: root[root] @ localhost []\n# Query_time: 1.0\nSET timestamp=1;\nselect *\nfrom t;\n", "select *\nfrom t"},
		{"JSON lines", `{"time":"x","statement":"select 3"}` + "\n" + `{"nothing":1}`, "select 3"},
		{"plain", "select 1;\nselect\n2;\n", "select 1|select\n2"},
	} {
		var got []string
		if err := Statements(strings.NewReader(c.log), func(s string) { got = append(got, s) }); err != nil {
			t.Fatal(err)
		}
		if g := strings.Join(got, "|"); g != c.want {
			t.Errorf("%s: got %q, want %q", c.name, g, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	set, problems := rule.Load([]byte(`
databaseName: shop
dataSources: {ds_0: {cluster: a, database: d}, ds_1: {cluster: b, database: d}}
rules:
- !SHARDING
  tables:
    t: {actualDataNodes: "ds_${0..1}.t", databaseStrategy: {standard: {shardingColumn: id, shardingAlgorithmName: m}}}
  shardingAlgorithms: {m: {type: MOD, props: {sharding-count: 2}}}
- !BROADCAST
  tables: [d]
`), rule.Options{})
	if set == nil {
		t.Fatal(problems)
	}
	r := New(&plan.Planner{Rules: set})
	for _, sql := range []string{"select * from t where id = 1", "select * from T where id=2 /* c */", "select * from t where id in (1,2,3)",
		"select * from t where id in (4)", "select *, row_number() over () from t", "update d set x = 1", "select 1"} {
		r.Add(sql)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `7 statements, 3 keyed, 1 scattered, 1 copied, 1 unsharded, 1 refused; 5 digests
       1  refused     0  select *, row_number() over () from t
                         a window function over several shards is not supported
                         instead: give one value of the sharding column to every sharded table, so that one shard answers
       2  scattered   2  select * from t where id in (1,2,3)
       2  keyed       1  select * from t where id = 1
       1  copied      2  update d set x = 1
       1  unsharded   1  select 1
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// No log is too broken to be read, and no statement comes out of one that is not in it.
func FuzzStatements(f *testing.F) {
	f.Add("261122 19:00:00\t    31 Connect\troot@localhost on t\n\t\t    31 Query\tselect 1\n\t\t    31 Quit\t\n")
	f.Add("2026-11-22T19:00:00.000000Z\t    9 Query\tinsert into t\nvalues (1)\n")
	f.Add("# Time: 261122 19:00:00\n# Query_time: 1.0\nSET timestamp=1;\nselect *\nfrom t;\n")
	f.Add(`{"statement":"select 3"}` + "\n" + `{"db.query.text":5}` + "\n{")
	f.Fuzz(func(t *testing.T, log string) {
		if strings.Contains(log, "{") {
			t.Skip() // JSON's escapes make texts longer than they were
		}
		n := 0
		err := Statements(strings.NewReader(log), func(sql string) {
			if n += len(sql); sql == "" {
				t.Error("an empty statement")
			}
		})
		if err == nil && n > len(log) {
			t.Errorf("%d bytes of statements out of %d", n, len(log))
		}
	})
}
