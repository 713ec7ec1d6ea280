package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/scan"
)

// routines refuses stored functions: on a shard they would read and change that shard's tables, under their physical names, and nobody
// here sees what they do.
func (a *analysis) routines(stmt ast.StmtNode) {
	v := &routines{}
	stmt.Accept(v)
	if v.name != "" {
		a.stored("function " + v.name + "()")
	}
}

// stored refuses what runs a stored program. Where there is one data source, that is what one server would run.
func (a *analysis) stored(what string) {
	if len(a.Rules.Targets) > 1 {
		a.refuse(unsupported("stored "+what+" would see the tables of one data source only",
			"send its statements, or say where it runs: /* SHARDINGSPHERE_HINT: DATA_SOURCE_NAME=... */"))
	}
}

// routines finds a function that no server brings.
type routines struct{ name string }

func (v *routines) Enter(n ast.Node) (ast.Node, bool) {
	if f, ok := n.(*ast.FuncCallExpr); ok && v.name == "" {
		switch {
		case f.Schema.O != "":
			v.name = f.Schema.O + "." + f.FnName.O
		case !scan.Builtin(f.FnName.L) && !syntax[f.FnName.L]:
			v.name = f.FnName.O
		}
	}
	return n, v.name != ""
}

// syntax is what the parser calls some expressions that are no calls in the text.
var syntax = map[string]bool{ast.CharFunc: true, ast.InsertFunc: true, ast.JSONMemberOf: true, ast.DateLiteral: true, ast.TimeLiteral: true,
	ast.TimestampLiteral: true}

func (v *routines) Leave(n ast.Node) (ast.Node, bool) { return n, true }

// perCall are functions with another value at every call, even in one statement.
var perCall = map[string]bool{
	"rand": true, "uuid": true, "uuid_short": true, "random_bytes": true, "sysdate": true, "sleep": true, "sys_guid": true,
}

// volatile finds a call of one of them in what a merge compares: columns of its own would have other values.
func volatile(s *ast.SelectStmt) string {
	free := *s
	free.Limit = nil
	if s.OrderBy == nil && rowwise(&free) {
		return ""
	}
	v := &volatiles{}
	if s.Fields != nil {
		s.Fields.Accept(v)
	}
	if s.GroupBy != nil {
		s.GroupBy.Accept(v)
	}
	if s.Having != nil {
		s.Having.Accept(v)
	}
	if s.OrderBy != nil {
		s.OrderBy.Accept(v)
	}
	return v.name
}

type volatiles struct{ name string }

func (v *volatiles) Enter(n ast.Node) (ast.Node, bool) {
	if f, ok := n.(*ast.FuncCallExpr); ok && perCall[f.FnName.L] {
		v.name = strings.ToUpper(f.FnName.O) + "() in a query that sorts or groups"
	}
	return n, v.name != ""
}

func (v *volatiles) Leave(n ast.Node) (ast.Node, bool) { return n, true }
