package sharding

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
)

var update = flag.Bool("update", false, "write what the code does into the expectations of testdata")

// TestGolden runs testdata/*.txt. A file is a list of cases: a command line, its input, a line of four dashes, what is
// expected, an empty line. Commands: rules (YAML, kept for what follows), tables (structure, kept), plan (a statement;
// "plan args=1,'x'" gives parameters), scan.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { runGolden(t, f) })
	}
}

type golden struct {
	planner plan.Planner
}

func runGolden(t *testing.T, file string) {
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	var out bytes.Buffer
	lines := strings.Split(string(src), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		if line == "" || strings.HasPrefix(line, "#") {
			if i < len(lines)-1 {
				fmt.Fprintln(&out, line)
			}
			i++
			continue
		}
		start := i
		var input []string
		for i++; i < len(lines) && lines[i] != "----"; i++ {
			input = append(input, lines[i])
		}
		var want []string
		for i++; i < len(lines) && lines[i] != ""; i++ {
			want = append(want, lines[i])
		}
		got := strings.TrimRight(g.run(line, strings.Join(input, "\n")), "\n")
		fmt.Fprintf(&out, "%s\n%s\n----\n%s\n", line, strings.Join(input, "\n"), got)
		if w := strings.Join(want, "\n"); got != w && !*update {
			t.Errorf("%s:%d: %s\n%s\n--- got\n%s\n--- want\n%s", file, start+1, line, strings.Join(input, "\n"), got, w)
		}
	}
	if *update && !bytes.Equal(out.Bytes(), src) {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *golden) run(command, input string) string {
	verb, rest, _ := strings.Cut(command, " ")
	switch verb {
	case "rules":
		set, problems := rule.Load([]byte(input), rule.Options{Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
		g.planner = plan.Planner{Rules: set}
		var b strings.Builder
		for _, p := range problems {
			if p.Warning {
				b.WriteString("warning: ")
			}
			fmt.Fprintln(&b, p)
		}
		if set != nil {
			b.WriteString("ok\n")
		}
		return b.String()
	case "tables":
		s, err := parseTables(input)
		if err != nil {
			return err.Error()
		}
		g.planner.Schema = s
		return "ok"
	case "plan":
		return g.plan(rest, input)
	}
	return "unknown command " + verb
}

func (g *golden) plan(options, text string) string {
	var sc scan.Result
	if err := sc.Scan(text, 0, 0); err != nil {
		return "scan: " + err.Error()
	}
	st := g.planner.Prepare(text, &sc)
	in := plan.Input{Text: text[:sc.End], Vars: sc.Vars, Keys: &countingKeys{}}
	if args, ok := strings.CutPrefix(options, "args="); ok {
		for _, a := range strings.Split(args, ",") {
			in.Args = append(in.Args, goldenValue(a))
		}
	}
	return st.Explain(&in).String()
}

func goldenValue(s string) value.Value {
	if s == "NULL" {
		return value.Value{}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return value.NewInt(n)
	}
	return value.NewString(strings.Trim(s, "'"))
}

type countingKeys struct{ n int64 }

func (k *countingKeys) NextKey(*rule.Key) (value.Value, error) {
	k.n++
	return value.NewInt(1000 + k.n), nil
}

// parseTables reads lines such as "t_order: order_id integer, name text utf8mb4_bin; unique order_id".
func parseTables(input string) (*schema.Schema, error) {
	s := &schema.Schema{Tables: map[string]*schema.Table{}}
	classes := map[string]schema.Class{"integer": schema.Integer, "decimal": schema.Decimal, "float": schema.Float, "text": schema.Text,
		"binary": schema.Binary, "date": schema.Date, "datetime": schema.Datetime, "time": schema.Time, "enum": schema.Enum, "json": schema.Other}
	for _, line := range strings.Split(input, "\n") {
		name, rest, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("no colon in %q", line)
		}
		parts := strings.Split(rest, ";")
		t := &schema.Table{Name: name}
		for _, c := range strings.Split(parts[0], ",") {
			f := strings.Fields(c)
			class, ok := classes[f[1]]
			if !ok {
				return nil, fmt.Errorf("unknown class %q", f[1])
			}
			col := schema.Column{Name: f[0], Class: class, Type: f[1]}
			for _, o := range f[2:] {
				switch o {
				case "auto":
					col.AutoIncrement = true
				case "null":
					col.Nullable = true
				default:
					col.Collation = o
				}
			}
			t.Columns = append(t.Columns, col)
		}
		for _, u := range parts[1:] {
			t.Unique = append(t.Unique, strings.Fields(strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(u), "unique"), ",", " ")))
		}
		s.Tables[strings.ToLower(name)] = t
	}
	return s, nil
}
