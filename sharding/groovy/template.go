package groovy

import (
	"fmt"
	"strings"
)

// MaxExpansion bounds how many names one inline expression may stand for.
const MaxExpansion = 100_000

// segment is literal text, or the source of one ${...}.
type segment struct {
	text string
	expr bool
}

// split cuts a template into its segments. $->{...} is the same as ${...}.
func split(s string) ([]segment, error) {
	var out []segment
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return append(out, segment{text: s}), nil
		}
		open := 0
		switch {
		case strings.HasPrefix(s[i:], "${"):
			open = i + 2
		case strings.HasPrefix(s[i:], "$->{"):
			open = i + 4
		default:
			return nil, fmt.Errorf("%q: a $ must begin ${...} or $->{...}", s[i:])
		}
		n := closing(s[open:])
		if n < 0 {
			return nil, fmt.Errorf("%q: no closing }", s[i:])
		}
		if i > 0 {
			out = append(out, segment{text: s[:i]})
		}
		out = append(out, segment{text: s[open : open+n], expr: true})
		s = s[open+n+1:]
	}
	return out, nil
}

// closing returns the offset of the } that ends the expression s begins with, or -1.
func closing(s string) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '}':
			return i
		}
	}
	return -1
}

// Template is a compiled text with expressions, such as ds_${user_id % 2}.
type Template struct {
	parts []part
}

type part struct {
	text string
	eval Func
}

// CompileTemplate compiles text, whose expressions may use vars.
func CompileTemplate(text string, vars []string) (*Template, error) {
	segs, err := split(strings.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	t := &Template{}
	for _, s := range segs {
		if !s.expr {
			t.parts = append(t.parts, part{text: s.text})
			continue
		}
		f, err := Compile(s.text, vars)
		if err != nil {
			return nil, fmt.Errorf("${%s}: %w", s.text, err)
		}
		t.parts = append(t.parts, part{eval: f})
	}
	return t, nil
}

// Append appends the template's text for vars.
func (t *Template) Append(dst []byte, vars []Value) ([]byte, error) {
	for i := range t.parts {
		p := &t.parts[i]
		if p.eval == nil {
			dst = append(dst, p.text...)
			continue
		}
		v, err := p.eval(vars)
		if err != nil {
			return dst, err
		}
		dst = v.Append(dst)
	}
	return dst, nil
}

// Expand lists the names an inline expression stands for: ds_${0..1}.t_${['a','b']}, several expressions multiplied
// in order, several items separated by commas. `<LITERAL>` and `<GROOVY>` before it choose how it is read.
func Expand(text string) ([]string, error) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "<LITERAL>"); ok {
		return items(rest), nil
	}
	if strings.HasPrefix(text, "<") && !strings.HasPrefix(text, "<GROOVY>") {
		engine, _, _ := strings.Cut(text[1:], ">")
		if engine == "INTERVAL" {
			return expandInterval(strings.TrimPrefix(text, "<INTERVAL>"))
		}
		return nil, fmt.Errorf("expression engine <%s> is not supported; use <GROOVY>, <LITERAL> or <INTERVAL>", engine)
	}
	var out []string
	for _, item := range items(strings.TrimPrefix(text, "<GROOVY>")) {
		names, err := expandItem(item)
		if err != nil {
			return nil, err
		}
		if out = append(out, names...); len(out) > MaxExpansion {
			return nil, fmt.Errorf("%q stands for more than %d names", item, MaxExpansion)
		}
	}
	return out, nil
}

// items splits at commas outside ${...}.
func items(s string) []string {
	var out []string
	depth, from := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, strings.TrimSpace(s[from:i]))
				from = i + 1
			}
		}
	}
	if last := strings.TrimSpace(s[from:]); last != "" || from > 0 {
		out = append(out, last)
	}
	return out
}

func expandItem(item string) ([]string, error) {
	segs, err := split(item)
	if err != nil {
		return nil, err
	}
	names := []string{""}
	for _, s := range segs {
		choices := []string{s.text}
		if s.expr {
			if choices, err = list(s.text); err != nil {
				return nil, fmt.Errorf("${%s}: %w", s.text, err)
			}
		}
		if len(names)*len(choices) > MaxExpansion {
			return nil, fmt.Errorf("%q stands for more than %d names", item, MaxExpansion)
		}
		next := make([]string, 0, len(names)*len(choices))
		for _, n := range names {
			for _, c := range choices {
				next = append(next, n+c)
			}
		}
		names = next
	}
	return names, nil
}

// list evaluates an expression that stands for several names: a range, a list in brackets, or one value.
func list(src string) ([]string, error) {
	src = strings.TrimSpace(src)
	if strings.HasPrefix(src, "[") && strings.HasSuffix(src, "]") {
		var out []string
		for _, item := range items(src[1 : len(src)-1]) {
			names, err := list(item)
			if err != nil {
				return nil, err
			}
			out = append(out, names...)
		}
		return out, nil
	}
	f, err := Compile(src, nil)
	if err != nil {
		return nil, err
	}
	v, err := f(nil)
	if err != nil {
		return nil, err
	}
	if v.kind != kindRange {
		return []string{v.Text()}, nil
	}
	step, n := int64(1), v.end-v.n
	if n < 0 {
		step, n = -1, -n
	}
	if n < 0 || n >= MaxExpansion {
		return nil, fmt.Errorf("stands for more than %d names", MaxExpansion)
	}
	out := make([]string, 0, n+1)
	for i := range n + 1 {
		out = append(out, Number(v.n+i*step).Text())
	}
	return out, nil
}
