// Package sidewire_test holds the rules of the house that the compiler does not know: who may import whom, and how
// files look. DESIGN.md tells why.
package sidewire_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sidewire/sidewire"

// protocolRooms are the rooms of gateway that serve one protocol each; every other room is core.
var protocolRooms = []string{"mysql", "postgres", "redis", "kafka", "tcp", "http"}

// room splits a folder of gateway: "gateway/mysql/internal/x" is in room "mysql".
func room(dir string) string {
	rest, inside := strings.CutPrefix(dir, "gateway/")
	if !inside {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func within(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

// forbidden tells why a package in folder from may not import the package path, or nothing if it may.
func forbidden(from, imported string) string {
	if strings.HasPrefix(imported, "github.com/envoyproxy/") && !within(from, "gateway/xds") && !within(from, "integration") {
		return "Envoy's messages appear only in gateway/xds"
	}
	to, ours := strings.CutPrefix(imported, module+"/")
	if !ours {
		return ""
	}
	switch {
	case within(to, "cmd"):
		return "nothing imports cmd"
	case within(to, "integration") && !within(from, "integration"):
		return "only integration imports integration"
	case to == "gateway" && !within(from, "cmd") && !within(from, "integration") && from != "gateway":
		return "only cmd and integration import gateway itself"
	case (within(from, "protocols") || within(from, "sharding")) && within(to, "gateway"):
		return "protocols and sharding import nothing of gateway"
	}
	own, other := room(from), room(to)
	if own == "" || other == "" || own == other || !slices.Contains(protocolRooms, other) {
		return ""
	}
	if slices.Contains(protocolRooms, own) {
		return "protocol rooms do not import each other"
	}
	return "core rooms import no protocol room"
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		bad      bool
	}{
		{"protocols/mysql", "gateway/config", true},
		{"sharding/plan", "gateway", true},
		{"sharding/plan", "sharding/rule", false},
		{"gateway/config", "gateway/mysql", true},
		{"gateway/listener", "gateway/redis/internal/ring", true},
		{"gateway/admin", "gateway/config", false},
		{"gateway/mysql", "gateway/redis", true},
		{"gateway/mysql", "gateway/mysql/internal/x", false},
		{"gateway/mysql", "protocols/mysql", false},
		{"gateway/mysql", "gateway/cluster", false},
		{"gateway/mysql", "gateway", true},
		{"gateway/mysqlx", "gateway", true},
		{"gateway", "gateway/config", false},
		{"cmd/sidewire", "gateway", false},
		{"cmd/sidewire", "gateway/mysql", false},
		{"integration/demo", "gateway", false},
		{"gateway/cluster", "integration/servers", true},
		{"integration/demo", "cmd/sidewire", true},
	} {
		if why := forbidden(c.from, module+"/"+c.to); (why != "") != c.bad {
			t.Errorf("%s importing %s: %q", c.from, c.to, why)
		}
	}
	if forbidden("gateway/config", "github.com/envoyproxy/go-control-plane/envoy") == "" {
		t.Error("Envoy's messages are allowed in gateway/config")
	}
}

const maxLines = 600

var (
	leftOpen  = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)
	generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
)

// TestHouse reads every Go file of the project, the modules beside the main one included.
func TestHouse(t *testing.T) {
	documented := map[string]bool{} // by package folder
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") && base != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, problems := checkFile(name, text)
		for _, p := range problems {
			t.Errorf("%s", p)
		}
		if file == nil || strings.HasSuffix(file.Name.Name, "_test") {
			return nil
		}
		if dir := path.Dir(name); file.Doc != nil {
			documented[dir] = true
		} else if _, seen := documented[dir]; !seen && !strings.HasSuffix(name, "_test.go") {
			documented[dir] = false
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(documented) < 3 {
		t.Errorf("only %d packages found", len(documented))
	}
	for dir, is := range documented {
		if !is {
			t.Errorf("%s: no doc comment says what the package is for", dir)
		}
	}
}

// checkFile lists what one file breaks; the file is nil when it does not parse.
func checkFile(name string, text []byte) (*ast.File, []string) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		return nil, []string{err.Error()}
	}
	var problems []string
	report := func(at token.Pos, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s: %s", set.Position(at), fmt.Sprintf(format, args...)))
	}
	test := strings.HasSuffix(name, "_test.go")
	if lines := bytes.Count(text, []byte("\n")); lines > maxLines && !generated.Match(text) {
		report(file.Pos(), "%d lines, at most %d", lines, maxLines)
	}
	if formatted, err := format.Source(text); err == nil && !bytes.Equal(formatted, text) {
		report(file.Pos(), "not gofmt-ed")
	}
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if why := forbidden(path.Dir(filepath.ToSlash(name)), imported); why != "" && !test {
			report(spec.Pos(), "imports %s: %s", imported, why)
		}
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if leftOpen.MatchString(comment.Text) {
				report(comment.Pos(), "work left open: %s", comment.Text)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Sleep" && !test {
				report(n.Pos(), "time.Sleep: wait for what is awaited, with a timer and a context")
			}
		case *ast.InterfaceType:
			if len(n.Methods.List) == 0 && int(n.End()-n.Pos()) > len("any") && !generated.Match(text) {
				report(n.Pos(), "write any")
			}
		}
		return true
	})
	return file, problems
}

func TestCheckFile(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"gateway/x/a.go", "package x\n", ""},
		{"gateway/x/a.go", "package  x\n", "not gofmt-ed"},
		{"gateway/x/a.go", "package x\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", "time.Sleep"},
		{"gateway/x/a_test.go", "package x\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", ""},
		{"gateway/x/a.go", "package x\n\nvar v interface{}\n", "write any"},
		{"gateway/x/a.go", "package x\n\nvar v any\n", ""},
		{"gateway/x/a.go", "package x\n\n// TO" + "DO: later\n", "work left open"},
		{"gateway/x/a.go", "package x\n" + strings.Repeat("\n// line\n", maxLines), "at most 600"},
		{"gateway/x/a.go", "// Code generated by y. DO NOT EDIT.\n\npackage x\n" + strings.Repeat("\n// line\n", maxLines), ""},
		{"protocols/x/a.go", "package x\n\nimport _ \"" + module + "/gateway/config\"\n", "import nothing of gateway"},
		{"gateway/x/a.go", "pakage x\n", "expected 'package'"},
	} {
		_, problems := checkFile(c.name, []byte(c.text))
		got := strings.Join(problems, "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s %.60q: %q, want %q", c.name, c.text, got, c.want)
		}
	}
}
