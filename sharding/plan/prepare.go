package plan

import (
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"

	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
)

// Prepare plans one statement. text is the statement alone, scanned from offset 0; sc is not kept.
func (p *Planner) Prepare(text string, sc *scan.Result) *Statement {
	text = strings.Clone(text[:sc.End])
	st := &Statement{planner: p, Class: sc.Class, mode: sc.Mode, source: text, vars: append([]scan.Var(nil), sc.Vars...)}
	a := &analysis{Planner: p, st: st, mode: sc.Mode, params: paramOffsets(text, sc.Mode)}
	if sc.Hint.Kind == scan.Comment {
		var r *Refusal
		if st.Hint, r = ParseHint(text[sc.Hint.Start:sc.Hint.End]); r != nil {
			a.refuse(r)
		}
	}
	a.statement(text, sc)
	if a.err != nil {
		st.Refusal = a.err
	}
	a.sortEdits()
	return st
}

func paramOffsets(text string, mode scan.Mode) (out []int) {
	l := scan.Lexer{Text: text, Mode: mode}
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		if t.Kind == scan.Param {
			out = append(out, t.Start)
		}
	}
	return out
}

func (a *analysis) statement(text string, sc *scan.Result) {
	switch sc.Verb {
	case scan.Select, scan.With, scan.Values, scan.Table, scan.Insert, scan.Replace, scan.Update, scan.Delete, scan.Do:
	case scan.Create, scan.Alter, scan.Drop, scan.Truncate, scan.Rename:
	case scan.Show, scan.Describe, scan.Explain:
		a.show(text)
		return
	case scan.Call:
		a.stored("procedures")
		a.verbatim(text)
		return
	default:
		a.verbatim(text)
		return
	}
	stmt, err := parse(text, sc.Mode)
	if err != nil {
		a.unparsed(text, err)
		return
	}
	a.routines(stmt)
	switch x := stmt.(type) {
	case *ast.SelectStmt:
		a.st.Kind = Select
		a.selectStatement(x)
	case *ast.SetOprStmt:
		a.st.Kind = Select
		a.unionStatement(x)
	case *ast.InsertStmt:
		a.st.Kind = Write
		a.insertStatement(x)
	case *ast.UpdateStmt:
		a.st.Kind = Write
		a.updateStatement(x)
	case *ast.DeleteStmt:
		a.st.Kind = Write
		a.deleteStatement(x)
	default:
		a.ddl(stmt, text)
	}
	a.tellsTime(stmt)
	if sc.Flags&scan.Versioned != 0 && len(a.st.groups) > 0 {
		a.refuseShards("an executable comment /*! ... */ in a statement")
	}
}

// unparsed decides about a text the parser does not know: without any table of a rule it goes to the default target as it
// is, whose server answers, with its own error if there is one.
func (a *analysis) unparsed(text string, err error) {
	if name := a.mentioned(text); name != "" {
		a.refuse(&Refusal{CodeSyntax, "42000", "cannot understand a statement on table " + name + ": " + firstLine(err.Error()), ""})
		return
	}
	a.verbatim(text)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSpace(s)
}

// mentioned returns the first name in the text that a rule spreads over targets.
func (a *analysis) mentioned(text string) string {
	l := scan.Lexer{Text: text, Mode: a.mode}
	for t := l.Next(); t.Kind != scan.EOF; t = l.Next() {
		if t.Kind != scan.Word && t.Kind != scan.Quoted {
			continue
		}
		if r := a.Rules.Lookup(scan.Unquote(text[t.Start:t.End])); r != nil && r.Kind != rule.Single {
			return r.Name
		}
	}
	return ""
}

// verbatim sends the text to the default target as it is, if no spread table is in it.
func (a *analysis) verbatim(text string) {
	if name := a.mentioned(text); name != "" {
		verb, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		a.refuse(unsupported(strings.ToUpper(verb)+" on table "+name+", which stands on several data sources, is not supported", ""))
		return
	}
	a.st.targets = []int{a.Rules.Default}
}

// place settles where the statement may run once its tables are known.
func (a *analysis) place() {
	a.link()
	if a.err != nil {
		return
	}
	a.conditions()
	a.checkScatter()
	if len(a.st.groups) > 0 {
		for _, t := range a.tables {
			if t.rule != nil && t.rule.Kind == rule.Single {
				a.st.singles = append(a.st.singles, *t.rule)
			}
		}
		return
	}
	target := -1
	var holder string
	for _, t := range a.tables {
		if t.rule == nil || t.rule.Kind != rule.Single {
			continue
		}
		n := t.rule.Nodes[0].Target
		if target >= 0 && n != target {
			a.refuse(unsupported("tables "+holder+" and "+t.rule.Name+" are on different data sources", "make one of them a broadcast table"))
			return
		}
		target, holder = n, t.rule.Name
	}
	if target < 0 {
		target = a.Rules.Default
	}
	a.st.targets = []int{target}
}
