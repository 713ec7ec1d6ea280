package plan

import (
	"fmt"
	"sync"

	"github.com/pingcap/tidb/pkg/parser"
	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"
	_ "github.com/pingcap/tidb/pkg/parser/test_driver" // the small value driver; the other one pulls in TiDB

	"github.com/sidewire/sidewire/sharding/scan"
)

// maxText bounds what is parsed: the parser recurses on nested parentheses.
const maxText = 16 << 20

// maxNesting bounds parentheses and CASEs within each other, so that no statement exhausts the parser's stack.
const maxNesting = 400

// parsers are costly to make and cheap to reuse.
var parsers = sync.Pool{New: func() any { return parser.New() }}

// parse parses exactly one statement.
func parse(text string, mode scan.Mode) (stmt ast.StmtNode, err error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("the statement is longer than %d bytes", maxText)
	}
	if nesting(text, mode) > maxNesting {
		return nil, fmt.Errorf("the statement nests deeper than %d", maxNesting)
	}
	knowCollations()
	p := parsers.Get().(*parser.Parser)
	defer func() {
		// A fault of the parser is that statement's fault alone; a parser that panicked is not reused.
		if r := recover(); r != nil {
			stmt, err = nil, fmt.Errorf("the parser failed: %v", r)
			return
		}
		parsers.Put(p)
	}()
	var m mysql.SQLMode
	if mode&scan.ANSIQuotes != 0 {
		m |= mysql.ModeANSIQuotes
	}
	if mode&scan.NoBackslashEscapes != 0 {
		m |= mysql.ModeNoBackslashEscapes
	}
	if mode&scan.PipesAsConcat != 0 {
		m |= mysql.ModePipesAsConcat
	}
	p.SetSQLMode(m)
	stmts, _, err := p.ParseSQL(text)
	if err != nil {
		return nil, err
	}
	if len(stmts) != 1 {
		return nil, fmt.Errorf("expected one statement, found %d", len(stmts))
	}
	return stmts[0], nil
}

func nesting(text string, mode scan.Mode) (deepest int) {
	l := scan.Lexer{Text: text, Mode: mode}
	depth := 0
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		switch {
		case t.Kind == scan.Op && text[t.Start] == '(':
			depth++
		case t.Kind == scan.Op && text[t.Start] == ')':
			depth--
		case t.Kind == scan.Word && scan.EqualFold(text[t.Start:t.End], "case"):
			depth++
		case t.Kind == scan.Word && scan.EqualFold(text[t.Start:t.End], "end"):
			depth--
		}
		deepest = max(deepest, depth)
	}
	return deepest
}
