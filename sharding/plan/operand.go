package plan

import (
	"encoding/hex"
	"strconv"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"
	"github.com/pingcap/tidb/pkg/parser/test_driver"

	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

// operand is a value that a condition or a row names: a constant, a literal of the text, or a parameter. Literals are
// kept by number, not by value, so that one plan serves every text of its shape.
type operand struct {
	kind   operandKind
	negate bool
	index  int
	value  value.Value
}

type operandKind uint8

const (
	constant operandKind = iota
	literal
	parameter
	generated // a key still to be made
)

// operand returns what a value expression stands for. It reports false for everything that has to be computed.
func (a *analysis) operand(n ast.ExprNode) (operand, bool) {
	switch x := n.(type) {
	case *ast.ParenthesesExpr:
		return a.operand(x.Expr)
	case *ast.UnaryOperationExpr:
		o, ok := a.operand(x.V)
		switch {
		case !ok || x.Op != opcode.Minus && x.Op != opcode.Plus:
			return o, false
		case x.Op == opcode.Minus:
			o.negate = !o.negate
		}
		return o, o.kind != constant && a.isNumber(o)
	case *test_driver.ParamMarkerExpr:
		return operand{kind: parameter, index: a.paramAt(x.Offset)}, true
	case *test_driver.ValueExpr:
		if x.Kind() == test_driver.KindNull {
			return operand{}, true
		}
		i := a.varAt(x.OriginTextPosition())
		if i < 0 {
			return operand{}, false
		}
		switch a.st.vars[i].Kind {
		case scan.Integer, scan.Decimal, scan.Float:
			return operand{kind: literal, index: i}, true
		case scan.String:
			return operand{kind: literal, index: i}, a.plainString(i)
		}
	}
	return operand{}, false
}

func (a *analysis) isNumber(o operand) bool {
	if o.kind != literal {
		return true
	}
	k := a.st.vars[o.index].Kind
	return k == scan.Integer || k == scan.Decimal || k == scan.Float
}

// plainString reports that a string literal is whole: no introducer or N before it, no neighbour that MySQL would join
// to it, and no bytes beyond ASCII whose meaning depends on the client's character set.
func (a *analysis) plainString(i int) bool {
	v, text := a.st.vars[i], a.st.source
	if c := text[v.Start]; c != '\'' && c != '"' {
		return false
	}
	l := scan.Lexer{Text: text, Pos: v.End, Mode: a.mode}
	if next := l.Next(); next.Kind == scan.String || next.Kind == scan.Word && scan.EqualFold(text[next.Start:next.End], "collate") {
		return false
	}
	return true
}

func (a *analysis) varAt(offset int) int {
	for i, v := range a.st.vars {
		if v.Start == offset && v.Kind != scan.Comment {
			return i
		}
	}
	return -1
}

// paramAt returns which parameter stands at an offset.
func (a *analysis) paramAt(offset int) int {
	for i, p := range a.params {
		if p == offset {
			return i
		}
	}
	return len(a.params)
}

// get returns the operand's value in an execution. False means a value that cannot be known here.
func (o *operand) get(in *Input, mode scan.Mode) (value.Value, bool) {
	v, ok := o.value, true
	switch o.kind {
	case parameter:
		if o.index >= len(in.Args) {
			return v, false
		}
		v = in.Args[o.index]
	case literal:
		v, ok = literalValue(in.Text, in.Vars[o.index], mode)
	}
	if o.negate && ok {
		return negated(v)
	}
	return v, ok
}

func negated(v value.Value) (value.Value, bool) {
	switch v.Kind {
	case value.Null:
		return v, true
	case value.Int:
		return value.NewInt(-v.Int64()), v.Int64() != -1<<63
	case value.Uint:
		if v.Num == 1<<63 {
			return value.NewInt(-1 << 63), true
		}
	case value.Decimal:
		if v.Str != "" && v.Str[0] == '-' {
			return value.NewDecimal(v.Str[1:]), true
		}
		return value.NewDecimal("-" + v.Str), true
	case value.Float:
		return value.NewFloat(-v.Float64()), true
	}
	return v, false
}

// literalValue decodes a literal. Its string borrows text unless it holds an escape.
func literalValue(text string, v scan.Var, mode scan.Mode) (value.Value, bool) {
	s := text[v.Start:v.End]
	switch v.Kind {
	case scan.Integer:
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return value.NewUint(n), true
		}
		return value.NewDecimal(s), true
	case scan.Decimal:
		return value.NewDecimal(s), true
	case scan.Float:
		f, err := strconv.ParseFloat(s, 64)
		return value.NewFloat(f), err == nil
	case scan.String:
		return value.NewString(unescape(s, mode)), s[0] == '\'' || s[0] == '"'
	case scan.Hex:
		return hexadecimal(s)
	}
	return value.Value{}, false
}

func hexadecimal(s string) (value.Value, bool) {
	digits := s[2:]
	if s[0] != '0' {
		digits = s[2 : len(s)-1]
	} else if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	b, err := hex.DecodeString(digits)
	return value.NewBytes(string(b)), err == nil
}

// unescape returns the characters of a quoted literal.
func unescape(s string, mode scan.Mode) string {
	quote, body := s[0], s[1:len(s)-1]
	escapes := mode&scan.NoBackslashEscapes == 0
	plain := true
	for i := range len(body) {
		if body[i] == quote || body[i] == '\\' && escapes {
			plain = false
			break
		}
	}
	if plain {
		return body
	}
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch {
		case c == quote:
			i++ // doubled
		case c == '\\' && escapes && i+1 < len(body):
			i++
			if c = escaped(body[i]); body[i] == '%' || body[i] == '_' {
				out = append(out, '\\') // these two keep their backslash, for LIKE
			}
		}
		out = append(out, c)
	}
	return string(out)
}

func escaped(c byte) byte {
	switch c {
	case '0':
		return 0
	case 'b':
		return '\b'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'Z':
		return 0x1a
	}
	return c
}
