package plan

import (
	"github.com/pingcap/tidb/pkg/parser/ast"
)

// ddl places statements that change structure.
func (a *analysis) ddl(stmt ast.StmtNode, text string) {
	if name := a.mentioned(text); name != "" {
		a.refuse(unsupported("changing the structure of "+name, ""))
		return
	}
	a.st.targets = []int{a.Rules.Default}
}
