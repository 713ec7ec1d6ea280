package plan_test

import (
	"testing"

	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
)

// FuzzPlan plans and binds whatever a client may send. Nothing may panic, and every route must be one of the rules'.
func FuzzPlan(f *testing.F) {
	for _, s := range []string{
		"SELECT o.a, SUM(b) FROM t_order o WHERE user_id = 1 GROUP BY o.a HAVING SUM(b) > 2 ORDER BY 2 DESC LIMIT 1, 2",
		"INSERT INTO t_order (user_id, order_id) VALUES (1, 2), (?, 'x')",
		"UPDATE t_order SET a = (SELECT 1) WHERE user_id IN (1, NULL, -3) AND order_id BETWEEN 1 AND 2",
		"DELETE t_order FROM t_order, shop.t_order x WHERE t_order.user_id = x.user_id",
		"SELECT DISTINCT a, `t_order`.b FROM (SELECT * FROM t_order) t_order UNION ALL SELECT 1, 2",
		"CREATE TABLE t_order (user_id int, order_id int, t_order int)", "SHOW INDEX FROM t_order IN shop",
		"select table_name from information_schema.tables t_order where table_schema = database()",
	} {
		f.Add(s, byte(0))
	}
	p := planner(f)
	learnt := &plan.Planner{Rules: p.Rules, Schema: &schema.Schema{Tables: map[string]*schema.Table{"t_order": {Name: "t_order", Columns: []schema.Column{
		{Name: "user_id", Class: schema.Integer}, {Name: "order_id", Class: schema.Integer}, {Name: "a", Class: schema.Text, Collation: "utf8mb4_general_ci"}, {Name: "b", Class: schema.Decimal}}}}}}
	f.Fuzz(func(t *testing.T, text string, mode byte) {
		var sc scan.Result
		if sc.Scan(text, 0, scan.Mode(mode&3)) != nil {
			return
		}
		in := plan.Input{Text: text[:sc.End], Vars: sc.Vars, Args: make([]value.Value, sc.Params)}
		for _, p := range []*plan.Planner{p, learnt} {
			st := p.Prepare(text, &sc)
			var ex plan.Execution
			st.Bind(&in, &ex)
			if ex.Refusal == nil && ex.Local == nil && len(ex.Routes) == 0 {
				t.Fatal("neither routes nor a refusal")
			}
			for _, r := range ex.Routes {
				if r.Target < 0 || r.Target >= len(p.Rules.Targets) {
					t.Fatalf("target %d", r.Target)
				}
			}
		}
	})
}
