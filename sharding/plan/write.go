package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/rule"
)

func (a *analysis) updateStatement(s *ast.UpdateStmt) {
	b := &block{}
	a.blocks = append(a.blocks, b)
	if s.With != nil {
		a.refuseShards("WITH")
		a.with(s.With, b)
	}
	a.from(s.TableRefs.TableRefs, b, false, false, true)
	b.filters = conjuncts(s.Where, b.filters)
	a.subqueries(b, s.Where)
	var changed []*tableRef
	for _, x := range s.List {
		a.subqueries(b, x.Expr)
		changed = append(changed, a.assignment(x, b))
	}
	a.modify(s, changed, s.Limit != nil, true)
}

// assignment returns the table that an assignment changes, and refuses to move rows between shards.
func (a *analysis) assignment(x *ast.Assignment, b *block) *tableRef {
	t, _ := resolve(x.Column, b)
	if t == nil || t.rule == nil {
		for _, t := range b.tables {
			if t.rule != nil && t.rule.Kind != rule.Single && (len(b.tables) > 1) {
				a.refuse(unsupported("cannot tell which table column "+x.Column.Name.O+" belongs to", "write table."+x.Column.Name.O))
			}
		}
		return t
	}
	if t.sharded() && t.rule.Sharding(x.Column.Name.L) {
		a.refuse(unsupported("changing sharding column "+x.Column.Name.O+" of "+t.rule.Name+" would move the row to another shard",
			"delete the row and insert it again"))
	}
	return t
}

func (a *analysis) anySharded() bool {
	for _, t := range a.tables {
		if t.sharded() {
			return true
		}
	}
	return false
}

func (a *analysis) deleteStatement(s *ast.DeleteStmt) {
	b := &block{}
	a.blocks = append(a.blocks, b)
	if s.With != nil {
		a.refuseShards("WITH")
		a.with(s.With, b)
	}
	a.from(s.TableRefs.TableRefs, b, false, false, true)
	b.filters = conjuncts(s.Where, b.filters)
	a.subqueries(b, s.Where)
	changed := b.tables
	if s.IsMultiTable {
		changed = nil
		for _, n := range s.Tables.Tables {
			for _, t := range b.tables {
				if strings.EqualFold(t.name, n.Name.O) {
					changed = append(changed, t)
				}
			}
		}
	}
	a.modify(s, changed, s.Limit != nil, s.IsMultiTable)
}

// modify places an UPDATE or DELETE of some tables.
func (a *analysis) modify(stmt ast.StmtNode, changed []*tableRef, limit, aliases bool) {
	if limit {
		a.refuseShards("LIMIT in an UPDATE or DELETE")
	}
	for _, t := range changed {
		if t != nil && t.rule != nil && t.rule.Kind == rule.Broadcast && !a.onlyBroadcast() {
			a.refuse(unsupported("changing broadcast table "+t.rule.Name+" by tables that are not broadcast would change each copy differently",
				"select the values first"))
		}
	}
	a.place()
	a.nameEdits(stmt, aliases)
	if a.err != nil || len(a.st.groups) > 0 {
		return
	}
	if a.onlyBroadcast() {
		a.copies(stmt)
	}
}

// onlyBroadcast reports that the statement's tables are all broadcast.
func (a *analysis) onlyBroadcast() bool {
	any := false
	for _, t := range a.tables {
		if t.rule == nil {
			continue
		}
		if t.rule.Kind != rule.Broadcast {
			return false
		}
		any = true
	}
	return any
}

// copies runs a write on every target, if it does the same everywhere.
func (a *analysis) copies(stmt ast.StmtNode) {
	for _, t := range a.tables {
		if t.rule == nil && t.node != nil {
			a.refuse(unsupported("writing a broadcast table from tables outside the virtual database", ""))
			return
		}
	}
	v := &varying{}
	stmt.Accept(v)
	if v.name != "" {
		a.refuse(unsupported(v.name+" in a write to a broadcast table would give each copy another value", "compute it in the application"))
		return
	}
	a.st.targets = a.st.targets[:0]
	for i := range a.Rules.Targets {
		a.st.targets = append(a.st.targets, i)
	}
	a.st.first = true
}

// varying finds what has another value on every server or at every call.
type varying struct{ name string }

var varyingFunctions = map[string]bool{
	"rand": true, "uuid": true, "uuid_short": true, "sysdate": true, "connection_id": true, "last_insert_id": true, "row_count": true,
	"found_rows": true, "get_lock": true, "release_lock": true, "random_bytes": true, "sleep": true, "user": true, "current_user": true,
	"session_user": true, "system_user": true, "version": true, "sys_guid": true,
}

func (v *varying) Enter(n ast.Node) (ast.Node, bool) {
	switch x := n.(type) {
	case *ast.FuncCallExpr:
		if varyingFunctions[x.FnName.L] {
			v.name = strings.ToUpper(x.FnName.O) + "()"
		}
	case *ast.VariableExpr:
		v.name = "@" + x.Name
	}
	return n, v.name != ""
}

func (v *varying) Leave(n ast.Node) (ast.Node, bool) { return n, true }
