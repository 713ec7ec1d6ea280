package rule

import (
	"strings"
	"testing"
	"time"
)

func FuzzLoad(f *testing.F) {
	f.Add([]byte("databaseName: a\ndataSources: {d: {url: 'jdbc:mysql://h:1/d'}}\nrules:\n- !SHARDING\n  tables: {t: {actualDataNodes: 'd.t_${0..1}'}}\n"))
	f.Add([]byte("rules: [!BROADCAST {tables: [a]}, !SINGLE {tables: ['*.*']}]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		set, problems := Load(src, Options{Now: time.Unix(0, 0)})
		if set == nil && len(problems) == 0 {
			t.Error("neither rules nor problems")
		}
	})
}

func TestProblems(t *testing.T) {
	const head = "databaseName: d\ndataSources: {ds_0: {cluster: c, database: x}}\n"
	for _, c := range []struct{ src, want string }{
		{"databaseName: d\n", "dataSources: at least one data source is required"},
		{head + "rule: []", `rule: unknown field; did you mean "rules"?`},
		{head + "rules:\n- !ENCRYPT\n  tables: {}", "rules[0]: rule !ENCRYPT is not supported"},
		{head + "rules:\n- !SHARDING\n  tables:\n    t: {actualDataNodes: 'ds_9.t'}", `rules[0].tables.t.actualDataNodes: no data source named "ds_9"; did you mean "ds_0"?`},
		{head + "rules:\n- !SHARDING\n  tables:\n    t: {actualDataNodes: 'ds_0.t_${0..1}'}", "rules[0].tables.t: has 2 physical tables, but no tableStrategy"},
		{head + "rules:\n- !SHARDING\n  tables:\n    t: {actualDataNodes: 'ds_0.t_${0..1}', tableStrategy: {standard: {shardingColumn: a, shardingAlgorithmName: x}}}",
			`rules[0].tables.t.tableStrategy: no sharding algorithm named "x"`},
		{head + "rules:\n- !SHARDING\n  shardingAlgorithms: {x: {type: CLASS_BASED, props: {strategy: STANDARD}}}", "rules[0].shardingAlgorithms.x: CLASS_BASED runs a Java class"},
		{head + "rules:\n- !SHARDING\n  shardingAlgorithms: {x: {type: MOD, props: {sharding-count: 0}}}", "rules[0].shardingAlgorithms.x.props.sharding-count: must be between 1"},
		{head + "rules:\n- !SHARDING\n  keyGenerators: {x: {type: SNOWFLAKE, props: {worker-id: 5000}}}", "rules[0].keyGenerators.x.props.worker-id: expected a whole number from 0 to 1023"},
		{"databaseName: d\ndataSources: {a: {url: 'jdbc:oracle:thin:@h'}}", "dataSources.a.url: "},
		{"databaseName: d\ndataSources: {a: {url: 'jdbc:mysql://h/d?frob=1'}}", `dataSources.a.url: parameter "frob" is not understood`},
		{head + "rules:\n- !SHARDING\n  tables:\n    t:\n      actualDataNodes: ds_0.t_${0..3}\n      tableStrategy: {standard: {shardingColumn: a, shardingAlgorithmName: m}}\n  shardingAlgorithms: {m: {type: MOD, props: {sharding-count: 8}}}",
			`the algorithm makes 8 partitions, but there is no target "t_4"`},
		{head + "rules:\n- !SHARDING\n  tables:\n    t:\n      actualDataNodes: ds_0.t_${0..1}\n      tableStrategy: {standard: {shardingColumn: a, shardingAlgorithmName: m}}\n  shardingAlgorithms: {m: {type: INLINE, props: {algorithm-expression: 't_${b % 2}'}}}",
			`unknown name "b"; known here: a`},
		{"databaseName: d\nx: [", "reading YAML"},
	} {
		set, problems := Load([]byte(c.src), Options{})
		found := false
		for _, p := range problems {
			found = found || strings.Contains(p.String(), c.want)
		}
		if set != nil || !found {
			t.Errorf("%s\ngot %v, want %s", c.src, problems, c.want)
		}
	}
}

// TestLayouts takes the same rules in ShardingSphere's old and new words.
func TestLayouts(t *testing.T) {
	for name, src := range map[string]string{
		"new": `
databaseName: d
dataSources: {w: {url: "jdbc:mysql://h:1/d"}, r: {url: "jdbc:mysql://h:2/d?useSSL=true&serverTimezone=UTC", username: u, maxPoolSize: 5}}
rules:
- !READWRITE_SPLITTING
  dataSourceGroups: {g: {writeDataSourceName: w, readDataSourceNames: [r], transactionalReadQueryStrategy: PRIMARY, loadBalancerName: b}}
  loadBalancers: {b: {type: RANDOM}}
- !SHARDING
  tables: {t: {actualDataNodes: g.t}}
  keyGenerateStrategies: {k: {keyGenerateType: column, logicTable: t, keyGenerateColumn: id, keyGeneratorName: s}}
  keyGenerators: {s: {type: SNOWFLAKE}}
- !BROADCAST
  tables: [c]
`, "old": `
schemaName: d
dataSources: {w: {url: "jdbc:mysql://h:1/d"}, r: {jdbcUrl: "jdbc:mysql://h:2/d?sslMode=REQUIRED", username: u, maximumPoolSize: 5}}
rules:
- !READWRITE_SPLITTING
  dataSources: {g: {staticStrategy: {writeDataSourceName: w, readDataSourceNames: [r]}, transactionalReadQueryStrategy: primary, loadBalancerName: b}}
  loadBalancers: {b: {type: RANDOM}}
- !SHARDING
  tables: {t: {actualDataNodes: g.t, keyGenerateStrategy: {column: id, keyGeneratorName: s}}}
  keyGenerators: {s: {type: SNOWFLAKE}}
  broadcastTables: [c]
`} {
		set, problems := Load([]byte(src), Options{})
		if set == nil {
			t.Errorf("%s: %v", name, problems)
			continue
		}
		g := set.Targets[0]
		if len(set.Targets) != 1 || g.Name != "g" || g.Write.Name != "w" || len(g.Reads) != 1 || g.Balancer != "RANDOM" || g.TxReads != "PRIMARY" {
			t.Errorf("%s: targets %+v", name, g)
		}
		if r := g.Reads[0]; r.Host != "h" || r.Port != 2 || r.Database != "d" || r.User != "u" || r.TLS != "required" || r.MaxPoolSize != 5 {
			t.Errorf("%s: reader %+v", name, r)
		}
		if k := set.Lookup("T").Key; k == nil || k.Column != "id" || k.Type != "SNOWFLAKE" {
			t.Errorf("%s: key %+v", name, k)
		}
		if c := set.Lookup("c"); c == nil || c.Kind != Broadcast {
			t.Errorf("%s: broadcast %+v", name, c)
		}
	}
}

// A URL is understood or a problem, and what is understood is one host, a port and a database.
func FuzzURL(f *testing.F) {
	f.Add("jdbc:mysql://h:3306/d?useSSL=true&connectTimeout=5")
	f.Add("jdbc:mariadb://[::1]/d?sslMode=x&&=;")
	f.Add("jdbc:mysql:///?a=%zz")
	f.Fuzz(func(t *testing.T, url string) {
		var r reader
		s := sourceConfig{url: url}
		s.parseURL(at{r: &r})
		if len(r.problems) == 0 && (s.Host == "" || strings.Contains(s.Host, ",") || s.Database == "") {
			t.Errorf("%q gave %+v", url, s)
		}
	})
}
