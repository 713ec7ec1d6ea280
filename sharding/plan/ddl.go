package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/rule"
)

// ddl places statements that change structure: a sharded table changes on every node, a broadcast table on every target.
func (a *analysis) ddl(stmt ast.StmtNode, text string) {
	a.st.Kind = DDL
	switch x := stmt.(type) {
	case *ast.CreateTableStmt:
		if x.TemporaryKeyword != ast.TemporaryNone {
			a.temporary(text)
			return
		}
		a.structure(stmt, x.Table)
		if a.anySharded() {
			a.createSharded(x)
		}
	case *ast.DropTableStmt:
		if x.IsView || x.TemporaryKeyword != ast.TemporaryNone {
			a.temporary(text)
			return
		}
		a.structure(stmt, x.Tables...)
	case *ast.AlterTableStmt:
		a.structure(stmt, x.Table)
		a.alter(x)
	case *ast.TruncateTableStmt:
		a.structure(stmt, x.Table)
	case *ast.CreateIndexStmt:
		a.structure(stmt, x.Table)
	case *ast.DropIndexStmt:
		a.structure(stmt, x.Table)
	case *ast.CreateDatabaseStmt, *ast.DropDatabaseStmt, *ast.AlterDatabaseStmt:
		a.refuse(unsupported("databases are declared in the configuration, not by statements", "create the physical databases on their servers"))
	default:
		a.verbatim(text)
	}
}

// temporary tables live in one backend's session, so only names outside the rules are possible.
func (a *analysis) temporary(text string) { a.verbatim(text) }

// structure places a DDL statement by its tables. main are those it changes; others are only referred to.
func (a *analysis) structure(stmt ast.StmtNode, main ...*ast.TableName) {
	b := &block{}
	a.blocks = append(a.blocks, b)
	v := &tableNames{}
	stmt.Accept(v)
	for _, n := range v.list {
		a.table(n, "", b, false, false)
	}
	if a.err != nil || len(a.tables) == 0 {
		return
	}
	first := a.tables[0].rule
	for _, t := range a.tables {
		if t.rule == nil {
			a.refuse(unsupported("changing structure outside the virtual database "+a.Rules.Database, ""))
			return
		}
		if why := a.beside(first, t); why != "" {
			a.refuse(unsupported(why, "name one table in each statement"))
			return
		}
	}
	switch first.Kind {
	case rule.Sharded:
		a.st.groups = []group{{refs: a.tables, table: first}}
		for _, t := range a.tables {
			if t.sharded() {
				t.group = 0
			}
		}
		a.st.all = true
	case rule.Broadcast:
		for i := range a.Rules.Targets {
			a.st.targets = append(a.st.targets, i)
		}
	default:
		a.st.targets = []int{first.Nodes[0].Target}
	}
	a.st.first = true
	a.nameEdits(stmt, false)
}

// beside says why a table cannot stand in one DDL statement with the first.
func (a *analysis) beside(first *rule.Table, t *tableRef) string {
	switch {
	case t.rule == first, t.rule.Kind == rule.Broadcast && first.Kind == rule.Sharded:
	case t.rule.Kind == first.Kind && first.Kind == rule.Broadcast:
	case t.rule.Kind == rule.Single && first.Kind == rule.Single && t.rule.Nodes[0].Target == first.Nodes[0].Target:
	case t.sharded() && first.Kind == rule.Sharded && t.rule.Binding != 0 && t.rule.Binding == first.Binding:
	default:
		return "tables " + first.Name + " and " + t.rule.Name + " stand on different data sources"
	}
	return ""
}

type tableNames struct{ list []*ast.TableName }

func (v *tableNames) Enter(n ast.Node) (ast.Node, bool) {
	if t, ok := n.(*ast.TableName); ok {
		v.list = append(v.list, t)
	}
	return n, false
}

func (v *tableNames) Leave(n ast.Node) (ast.Node, bool) { return n, true }

func (a *analysis) createSharded(s *ast.CreateTableStmt) {
	if s.Select != nil {
		a.refuse(unsupported("CREATE TABLE ... SELECT for sharded table "+s.Table.Name.O, "create the table, then insert"))
	}
	perTarget := map[int]int{}
	shared := false
	for _, n := range a.tables[0].rule.Nodes {
		perTarget[n.Target]++
		shared = shared || perTarget[n.Target] > 1
	}
	for _, c := range s.Constraints {
		if shared && c.Name != "" && (c.Tp == ast.ConstraintForeignKey || c.Tp == ast.ConstraintCheck) {
			a.refuse(unsupported("constraint "+c.Name+" would be named twice in one database, which holds several shards of "+s.Table.Name.O, "leave its name out"))
		}
	}
	if s.Partition != nil {
		return
	}
	if len(s.Cols) == 0 {
		return
	}
	for _, column := range a.tables[0].rule.Columns() {
		found := false
		for _, c := range s.Cols {
			found = found || c.Name.Name.L == column
		}
		if !found {
			a.refuse(unsupported("table "+s.Table.Name.O+" needs its sharding column "+column, "add the column"))
		}
	}
}

// alter refuses changes that would separate a table from its rule.
func (a *analysis) alter(s *ast.AlterTableStmt) {
	if !a.anySharded() {
		for _, spec := range s.Specs {
			if spec.Tp == ast.AlterTableRenameTable && a.tables[0].rule.Kind != rule.Single {
				a.refuse(unsupported("renaming "+s.Table.Name.O, "rename it in the rules too"))
			}
		}
		return
	}
	for _, spec := range s.Specs {
		switch {
		case spec.Tp == ast.AlterTableRenameTable:
			a.refuse(unsupported("renaming sharded table "+s.Table.Name.O, "rename it in the rules, and its physical tables on their servers"))
		case spec.OldColumnName != nil && a.tables[0].rule.Sharding(spec.OldColumnName.Name.L):
			changed := len(spec.NewColumns) == 0 || !strings.EqualFold(spec.NewColumns[0].Name.Name.O, spec.OldColumnName.Name.O)
			if changed || spec.Tp == ast.AlterTableDropColumn {
				a.refuse(unsupported("dropping or renaming sharding column "+spec.OldColumnName.Name.O, ""))
			}
		case spec.Tp == ast.AlterTableExchangePartition:
			a.refuse(unsupported("EXCHANGE PARTITION of a sharded table", ""))
		}
	}
}
