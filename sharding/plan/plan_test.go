package plan_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

const rules = `
databaseName: shop
dataSources:
  ds_0: {cluster: a, database: d0}
  ds_1: {cluster: b, database: d1}
rules:
- !SHARDING
  tables:
    t_order:
      actualDataNodes: ds_${0..1}.t_order_${0..1}
      databaseStrategy: {standard: {shardingColumn: user_id, shardingAlgorithmName: by_user}}
      tableStrategy: {standard: {shardingColumn: order_id, shardingAlgorithmName: by_order}}
  shardingAlgorithms:
    by_user: {type: INLINE, props: {algorithm-expression: "ds_${user_id % 2}"}}
    by_order: {type: MOD, props: {sharding-count: 2}}
`

func planner(t testing.TB) *plan.Planner {
	set, problems := rule.Load([]byte(rules), rule.Options{Now: time.Unix(0, 0)})
	if set == nil {
		t.Fatal(problems)
	}
	return &plan.Planner{Rules: set}
}

func TestPlanServesItsShape(t *testing.T) {
	p, c := planner(t), plan.NewCache(1<<20)
	first := ""
	for _, x := range []struct{ text, want string }{
		{"SELECT a FROM t_order WHERE user_id = 1 AND order_id = 2", "ds_1: SELECT a FROM `t_order_0` AS `t_order` WHERE user_id = 1 AND order_id = 2"},
		{"SELECT a FROM t_order WHERE user_id = 123456 AND order_id = 7", "ds_0: SELECT a FROM `t_order_1` AS `t_order` WHERE user_id = 123456 AND order_id = 7"},
	} {
		var sc scan.Result
		if err := sc.Scan(x.text, 0, 0); err != nil {
			t.Fatal(err)
		}
		st := c.Plan(p, x.text, &sc)
		if first != "" && c.Plan(p, x.text, &sc) != st {
			t.Error("the plan was made twice")
		}
		first = x.text
		var ex plan.Execution
		st.Bind(&plan.Input{Text: x.text, Vars: sc.Vars}, &ex)
		if ex.Refusal != nil || len(ex.Routes) != 1 {
			t.Fatalf("%s: %+v", x.text, ex)
		}
		if got := p.Rules.Targets[ex.Routes[0].Target].Name + ": " + ex.Routes[0].SQL; got != x.want {
			t.Errorf("got  %s\nwant %s", got, x.want)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	p, c := planner(t), plan.NewCache(1<<20)
	for i := range 3000 {
		text := "SELECT a" + strings.Repeat("x", i) + " FROM t_order WHERE user_id = 1 AND order_id = 2"
		var sc scan.Result
		if err := sc.Scan(text, 0, 0); err != nil {
			t.Fatal(err)
		}
		c.Plan(p, text, &sc)
	}
	if n := c.Bytes(); n > 1<<20 {
		t.Errorf("holds %d bytes", n)
	}
}

// A hit is a scan, a look-up and a bind.
func TestHitAllocates(t *testing.T) {
	p, c := planner(t), plan.NewCache(1<<20)
	text := "SELECT a, b, c FROM t_order WHERE user_id = 12 AND order_id = 77"
	var sc scan.Result
	var ex plan.Execution
	in := plan.Input{Text: text}
	n := testing.AllocsPerRun(100, func() {
		if err := sc.Scan(text, 0, 0); err != nil {
			t.Fatal(err)
		}
		in.Vars = sc.Vars
		c.Plan(p, text, &sc).Bind(&in, &ex)
	})
	if n > 5 {
		t.Errorf("%v allocations, at most 5 promised", n)
	}
	t.Logf("%v allocations", n)
}

func BenchmarkHit(b *testing.B) {
	p, c := planner(b), plan.NewCache(1<<20)
	text := "SELECT a, b, c FROM t_order WHERE user_id = 12 AND order_id = 77"
	var sc scan.Result
	var ex plan.Execution
	in := plan.Input{Text: text}
	b.ReportAllocs()
	for b.Loop() {
		_ = sc.Scan(text, 0, 0)
		in.Vars = sc.Vars
		c.Plan(p, text, &sc).Bind(&in, &ex)
	}
}

func BenchmarkHitPrepared(b *testing.B) {
	p := planner(b)
	text := "SELECT a, b, c FROM t_order WHERE user_id = ? AND order_id = ?"
	var sc scan.Result
	_ = sc.Scan(text, 0, 0)
	st := p.Prepare(text, &sc)
	var ex plan.Execution
	in := plan.Input{Text: text, Args: []value.Value{value.NewInt(12), value.NewInt(77)}}
	b.ReportAllocs()
	for b.Loop() {
		st.Bind(&in, &ex)
	}
}

func BenchmarkMiss(b *testing.B) {
	p := planner(b)
	text := "SELECT a, b, c FROM t_order WHERE user_id = 12 AND order_id = 77"
	var sc scan.Result
	_ = sc.Scan(text, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		p.Prepare(text, &sc)
	}
}
