package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/config"
)

func validateCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "validate -c FILE",
		Short: "Check a configuration and print every problem with its place",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return validate(cmd.OutOrStdout(), file, gateway.Override{})
		},
	}
	configFlag(c, &file)
	return c
}

func validate(out io.Writer, file string, over gateway.Override) error {
	s, problems := gateway.Validate(file, over, protocols()...)
	if len(problems) > 0 {
		printProblems(out, file, problems)
		return failure{exitFailed}
	}
	fmt.Fprintf(out, "%s: valid: %d listeners, %d clusters, version %s\n", file, len(s.Listeners()), len(s.Clusters()), s.Version)
	return nil
}

// printProblems prints what is wrong with a configuration, and what to do with a file that is none but could have been taken
// for one: the rules that people bring.
func printProblems(out io.Writer, file string, problems []config.Problem) {
	rules := false
	for _, p := range problems {
		fmt.Fprintln(out, p)
		rules = rules || p.Path == "dataSources"
	}
	if rules {
		fmt.Fprintf(out, "this is a ShardingSphere database file: a configuration names it, `databases: [{name: NAME, file: %s}]` "+
			"(conf/mysql-sharded.yaml is one), and `sidewire import shardingsphere DIR` makes one of a whole conf folder\n", filepath.Base(file))
	}
}

func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "", "configuration file (YAML)")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	_ = c.MarkFlagRequired("config")
}
