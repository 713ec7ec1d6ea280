package rule

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one fault of a rule file. Warning problems do not stop a load: they say what is taken but has no effect.
type Problem struct {
	Path    string // rules[0].tables.t_order.tableStrategy
	Line    int    // in the file, 0 if unknown
	Message string
	Warning bool
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// reader collects the problems of one load.
type reader struct{ problems []Problem }

// at is one place in the document.
type at struct {
	r    *reader
	n    *yaml.Node
	path string
}

func (a at) fail(format string, args ...any) { a.add(false, format, args...) }
func (a at) warn(format string, args ...any) { a.add(true, format, args...) }

func (a at) add(warning bool, format string, args ...any) {
	line := 0
	if a.n != nil {
		line = a.n.Line
	}
	a.r.problems = append(a.r.problems, Problem{Path: a.path, Line: line, Message: fmt.Sprintf(format, args...), Warning: warning})
}

func (a at) field(name string, n *yaml.Node) at {
	if a.path != "" {
		name = a.path + "." + name
	}
	return at{a.r, n, name}
}

func (a at) index(i int, n *yaml.Node) at { return at{a.r, n, a.path + "[" + strconv.Itoa(i) + "]"} }

func (a at) empty() bool {
	return a.n == nil || a.n.Kind == yaml.ScalarNode && (a.n.Tag == "!!null" || a.n.Value == "" && a.n.Style == 0)
}

func deref(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// pairs calls f for each key of a mapping, in the file's order. A key that stands twice is a problem.
func (a at) pairs(f func(key string, v at)) {
	if a.empty() {
		return
	}
	if a.n.Kind != yaml.MappingNode {
		a.fail("expected a mapping")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(a.n.Content); i += 2 {
		key, v := a.n.Content[i].Value, a.field(a.n.Content[i].Value, deref(a.n.Content[i+1]))
		if seen[key] {
			v.fail("stands twice")
			continue
		}
		seen[key] = true
		f(key, v)
	}
}

// fields reads a mapping whose keys are known. An unknown key is a problem that names the nearest known one.
func (a at) fields(known map[string]func(v at)) {
	a.pairs(func(key string, v at) {
		if f, ok := known[key]; ok {
			f(v)
			return
		}
		v.fail("unknown field%s", suggest(key, known))
	})
}

func suggest[T any](key string, known map[string]T) string {
	best, score := "", 3
	names := make([]string, 0, len(known))
	for k := range known {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		if d := distance(strings.ToLower(key), strings.ToLower(k)); d < score {
			best, score = k, d
		}
	}
	if best == "" {
		return "; expected one of " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of single-character edits between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if a[i-1] != b[j-1] {
				cost++
			}
			diag = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

func (a at) list(f func(i int, v at)) {
	if a.empty() {
		return
	}
	if a.n.Kind != yaml.SequenceNode {
		a.fail("expected a list")
		return
	}
	for i, n := range a.n.Content {
		f(i, a.index(i, deref(n)))
	}
}

func (a at) text(into *string) {
	if a.empty() {
		return
	}
	if a.n.Kind != yaml.ScalarNode {
		a.fail("expected a text")
		return
	}
	*into = strings.TrimSpace(a.n.Value)
}

func (a at) strings(into *[]string) {
	a.list(func(_ int, v at) {
		var s string
		v.text(&s)
		*into = append(*into, s)
	})
}

func (a at) integer(into *int) {
	var s string
	if a.text(&s); s == "" {
		return
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		a.fail("expected a whole number, found %q", s)
		return
	}
	*into = n
}

func (a at) boolean(into *bool) {
	var s string
	switch a.text(&s); strings.ToLower(s) {
	case "":
	case "true":
		*into = true
	case "false":
		*into = false
	default:
		a.fail("expected true or false, found %q", s)
	}
}

func (a at) properties() map[string]string {
	out := map[string]string{}
	a.pairs(func(key string, v at) {
		var s string
		v.text(&s)
		out[key] = s
	})
	return out
}
