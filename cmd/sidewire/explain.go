package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/report"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
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
	p, err := f.planner(errs)
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
	e := p.Prepare(args[0], &sc).Explain(&plan.Input{Text: args[0][:sc.End], Vars: sc.Vars, Keys: sampleKeys{}})
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

// sampleKeys stands where a running sidecar would generate a key.
type sampleKeys struct{}

func (sampleKeys) NextKey(k *rule.Key) (value.Value, error) {
	return value.NewString("generated " + k.Type), nil
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
	if err := report.Statements(in, r.Add); err != nil {
		fmt.Fprintln(errs, err)
		return failure{exitFailed}
	}
	if f.json {
		return writeJSON(out, r)
	}
	return r.Write(out)
}

func (f *explainFlags) planner(errs io.Writer) (*plan.Planner, error) {
	set, problems, err := loadRules(f.config, f.database)
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		fmt.Fprintf(errs, "%s: %s\n", f.config, p)
	}
	if set == nil {
		return nil, fmt.Errorf("%s: the rules are not usable", f.config)
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

// loadRules reads the rules of one virtual database: from a ShardingSphere file, or from a configuration's databases.
func loadRules(file, database string) (*rule.Set, []rule.Problem, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	var doc struct {
		DatabaseName string `yaml:"databaseName"`
		SchemaName   string `yaml:"schemaName"`
		Databases    []struct {
			Name  string    `yaml:"name"`
			File  string    `yaml:"file"`
			Rules yaml.Node `yaml:"rules"`
		} `yaml:"databases"`
	}
	if err := yaml.Unmarshal(src, &doc); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	opts := rule.Options{Now: time.Now()}
	if doc.DatabaseName != "" || doc.SchemaName != "" {
		set, problems := rule.Load(src, opts)
		return set, problems, nil
	}
	var names []string
	for i, d := range doc.Databases {
		names = append(names, d.Name)
		if d.Name != database && (database != "" || len(doc.Databases) > 1) {
			continue
		}
		opts.Path = fmt.Sprintf("databases[%d]", i)
		if d.File == "" {
			opts.Path += ".rules"
			set, problems := rule.Decode(&d.Rules, opts)
			return set, problems, nil
		}
		if src, err = os.ReadFile(filepath.Join(filepath.Dir(file), d.File)); err != nil {
			return nil, nil, err
		}
		set, problems := rule.Load(src, opts)
		return set, problems, nil
	}
	switch {
	case len(names) == 0:
		return nil, nil, fmt.Errorf("%s: has no virtual database", file)
	case database == "":
		return nil, nil, fmt.Errorf("%s: has several virtual databases (%s): choose one with --database", file, strings.Join(names, ", "))
	}
	return nil, nil, fmt.Errorf("%s: no virtual database named %q; there are %s", file, database, strings.Join(names, ", "))
}
