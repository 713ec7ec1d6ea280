package plan

import "github.com/pingcap/tidb/pkg/parser/ast"

// Clock reports that the statement tells the time, or stamps rows with it: on several connections it has to be the same.
func (st *Statement) Clock() bool { return st.clock }

// clockFunctions say when a statement began. SYSDATE() is not among them: it says when it was called.
var clockFunctions = map[string]bool{
	"now": true, "current_timestamp": true, "localtime": true, "localtimestamp": true, "curdate": true, "current_date": true, "curtime": true,
	"current_time": true, "utc_timestamp": true, "utc_date": true, "utc_time": true, "unix_timestamp": true,
}

// tellsTime finds calls of them, and tables that a write stamps by itself.
func (a *analysis) tellsTime(stmt ast.StmtNode) {
	v := &clockCalls{}
	stmt.Accept(v)
	a.st.clock = v.found
	if a.st.Kind != Write {
		return
	}
	for _, t := range a.tables {
		if t.schema == nil {
			continue
		}
		for i := range t.schema.Columns {
			a.st.clock = a.st.clock || t.schema.Columns[i].Stamped
		}
	}
}

type clockCalls struct{ found bool }

func (v *clockCalls) Enter(n ast.Node) (ast.Node, bool) {
	f, ok := n.(*ast.FuncCallExpr)
	v.found = v.found || ok && clockFunctions[f.FnName.L] && (f.FnName.L != "unix_timestamp" || len(f.Args) == 0)
	return n, v.found
}

func (v *clockCalls) Leave(n ast.Node) (ast.Node, bool) { return n, true }
