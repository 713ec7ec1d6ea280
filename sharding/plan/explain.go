package plan

import (
	"fmt"
	"strings"

	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/value"
)

// Explanation is what one execution of a statement would do, for people (String) and programs (JSON).
type Explanation struct {
	Class   string           `json:"class"`
	Tables  []string         `json:"tables,omitempty"`
	Why     []string         `json:"why,omitempty"`
	Routes  []ExplainedRoute `json:"routes,omitempty"`
	Merge   []string         `json:"merge,omitempty"`
	Local   [][]string       `json:"local,omitempty"` // an answer made here: names, then rows
	Refusal *ExplainedError  `json:"refusal,omitempty"`
}

// SampleKeys stands, in explanations, where a running sidecar would generate a key.
type SampleKeys struct{}

// NextKey returns what a key would be, in words.
func (SampleKeys) NextKey(k *rule.Key) (value.Value, error) {
	return value.NewString("generated " + k.Type), nil
}

// ExplainedRoute is one statement that one data source gets.
type ExplainedRoute struct {
	Target string `json:"target"`
	SQL    string `json:"sql"`
	Args   []int  `json:"args,omitempty"` // numbers of the parameters that go along, from 1; 0 is a value made here
}

// ExplainedError is a refusal.
type ExplainedError struct {
	Code   int    `json:"code"`
	State  string `json:"sqlstate"`
	Reason string `json:"reason"`
	Way    string `json:"way,omitempty"`
}

// Explain tells what Bind would decide.
func (st *Statement) Explain(in *Input) *Explanation {
	var ex Execution
	st.Bind(in, &ex)
	e := &Explanation{Class: st.Class.String(), Tables: st.Tables}
	if r := ex.Refusal; r != nil {
		e.Refusal = &ExplainedError{int(r.Code), r.State, r.Reason, r.Way}
		return e
	}
	if l := ex.Local; l != nil {
		e.Local = append([][]string{l.Names}, l.Rows...)
		return e
	}
	e.Why = st.why(&ex)
	for i := range ex.Routes {
		r := &ex.Routes[i]
		x := ExplainedRoute{Target: st.planner.Rules.Targets[r.Target].Name, SQL: r.SQL}
		for _, a := range r.Args {
			x.Args = append(x.Args, a.Index+1)
		}
		e.Routes = append(e.Routes, x)
	}
	if ex.Merge != nil {
		e.Merge = ex.Merge.Describe()
	} else if len(ex.Routes) > 1 && ex.Affected == First {
		e.Merge = []string{"every data source gets the same; the first one's affected rows are the answer"}
	} else if len(ex.Routes) > 1 {
		e.Merge = []string{"affected rows are added"}
	}
	return e
}

// why names what chose the routes.
func (st *Statement) why(ex *Execution) []string {
	switch {
	case st.insert != nil:
		return []string{fmt.Sprintf("%d rows of %s by %s", len(st.insert.rows), st.insert.table.Name, list(st.insert.table.Columns()))}
	case st.one:
		return []string{"the first shard of " + st.groups[0].table.Name + " tells the structure of all"}
	case len(st.groups) == 0 && st.first && len(st.targets) > 1:
		return []string{"broadcast tables are written everywhere"}
	case len(st.groups) == 0:
		return []string{"no sharded table"}
	}
	var out []string
	for i := range st.groups {
		g := &st.groups[i]
		columns := list(g.table.Columns())
		if g.cond == nil {
			out = append(out, fmt.Sprintf("%s: no condition on %s, %d of %d shards", g.table.Name, columns, len(ex.Routes), len(g.table.Nodes)))
		} else {
			out = append(out, fmt.Sprintf("%s: %s chooses %d of %d shards", g.table.Name, columns, len(ex.Routes), len(g.table.Nodes)))
		}
	}
	return out
}

// String writes the explanation as lines.
func (e *Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", e.Class)
	if e.Refusal != nil {
		fmt.Fprintf(&b, "refused: ERROR %d (%s): %s\n", e.Refusal.Code, e.Refusal.State, e.Refusal.Reason)
		if e.Refusal.Way != "" {
			fmt.Fprintf(&b, "instead: %s\n", e.Refusal.Way)
		}
		return b.String()
	}
	for _, r := range e.Local {
		fmt.Fprintf(&b, "answered here: %s\n", strings.Join(r, ", "))
	}
	for _, w := range e.Why {
		fmt.Fprintf(&b, "%s\n", w)
	}
	for _, r := range e.Routes {
		fmt.Fprintf(&b, "-> %s: %s", r.Target, r.SQL)
		if r.Args != nil {
			b.WriteString(" with")
			for _, n := range r.Args {
				if n == 0 {
					b.WriteString(" key")
				} else {
					fmt.Fprintf(&b, " ?%d", n)
				}
			}
		}
		b.WriteByte('\n')
	}
	for _, m := range e.Merge {
		fmt.Fprintf(&b, "merge: %s\n", m)
	}
	return b.String()
}
