package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/database"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/report"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	config, database, tables, log string
	json                          bool
}

func explainCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain -c FILE [--database NAME] [--json] (STATEMENT | --log FILE)",
		Short: "Show, without a server, what a statement does to a sharded database",
		Long: "Shows a statement's class, the shards it goes to and why, the SQL each of them gets and how their results merge, or why it is refused.\n" +
			"FILE is a sidewire configuration or a ShardingSphere database file. With --log it reads a general, slow or JSON log instead of one\n" +
			"statement and reports by digest what would be keyed, scattered and refused. --tables names a file of CREATE TABLE statements, from\n" +
			"which the planner knows columns and keys as it knows them from servers.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (f.log != "") {
				return fmt.Errorf("explain needs either a statement or --log")
			}
			return f.explain(cmd.OutOrStdout(), cmd.ErrOrStderr(), args)
		},
	}
	configFlag(c, &f.config)
	c.Flags().StringVar(&f.database, "database", "", "virtual database, where the configuration has several")
	c.Flags().StringVar(&f.tables, "tables", "", "file of CREATE TABLE statements")
	c.Flags().StringVar(&f.log, "log", "", "log to report on; - is standard input")
	c.Flags().BoolVar(&f.json, "json", false, "write JSON")
	return c
}

func (f *explainFlags) explain(out, errs io.Writer, args []string) error {
	p, err := f.planner()
	if err != nil {
		fmt.Fprintln(errs, err)
		return failure{exitFailed}
	}
	if f.log != "" {
		return f.report(out, errs, p)
	}
	var sc scan.Result
	if err := sc.Scan(args[0], 0, 0); err != nil {
		fmt.Fprintln(errs, err)
		return failure{exitFailed}
	}
	e := p.Prepare(args[0], &sc).Explain(&plan.Input{Text: args[0][:sc.End], Vars: sc.Vars, Keys: plan.SampleKeys{}})
	if f.json {
		return writeJSON(out, e)
	}
	_, err = io.WriteString(out, e.String())
	return err
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (f *explainFlags) report(out, errs io.Writer, p *plan.Planner) error {
	in := io.Reader(os.Stdin)
	if f.log != "-" {
		file, err := os.Open(f.log)
		if err != nil {
			fmt.Fprintln(errs, err)
			return failure{exitFailed}
		}
		defer file.Close()
		in = file
	}
	r := report.New(p)
	if err := report.Statements(in, func(sql string) { r.Add(sql) }); err != nil {
		fmt.Fprintln(errs, err)
		return failure{exitFailed}
	}
	if f.json {
		return writeJSON(out, r)
	}
	return r.Write(out)
}

func (f *explainFlags) planner() (*plan.Planner, error) {
	set, err := loadRules(f.config, f.database)
	if err != nil {
		return nil, err
	}
	p := &plan.Planner{Rules: set}
	if f.tables == "" {
		return p, nil
	}
	src, err := os.ReadFile(f.tables)
	if err != nil {
		return nil, err
	}
	tables, err := plan.Tables(string(src))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.tables, err)
	}
	p.Schema = &schema.Schema{Tables: tables}
	return p, nil
}

// loadRules reads the rules of one virtual database as a running sidewire does: from a configuration's databases, or from a
// ShardingSphere file as if one named it.
func loadRules(file, name string) (*rule.Set, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	n, problems := config.Parse(src)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: %w", file, config.Problems(problems))
	}
	databases := field(n, database.Name)
	if databases == nil && (field(n, "databaseName") != nil || field(n, "schemaName") != nil) {
		whole, _ := config.Parse([]byte(fmt.Sprintf("[{name: %q, file: %q}]", cmp.Or(name, "database"), filepath.Base(file))))
		databases = whole
	}
	if databases == nil || databases.Kind != yaml.SequenceNode || len(databases.Content) == 0 {
		return nil, fmt.Errorf("%s: has no virtual database", file)
	}
	var names []string
	for i, d := range databases.Content {
		if x := field(d, "name"); x != nil {
			names = append(names, x.Value)
		}
		if chosen := name == "" && len(databases.Content) == 1 || name != "" && len(names) > 0 && names[len(names)-1] == name; !chosen {
			continue
		}
		r, problems := database.Kind("mysql").Decode(d, config.Path(database.Name).Index(i), config.SystemEnv(file))
		if len(problems) > 0 {
			return nil, config.Problems(problems)
		}
		return r.Value.(*database.Database).Rules, nil
	}
	if name == "" {
		return nil, fmt.Errorf("%s: has several virtual databases (%s): choose one with --database", file, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%s: no virtual database named %q; there are %s", file, name, strings.Join(names, ", "))
}

// field is a field of a mapping, or nil.
func field(n *yaml.Node, name string) *yaml.Node {
	if n != nil && n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}
