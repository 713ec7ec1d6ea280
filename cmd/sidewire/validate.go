package main

import (
	"fmt"

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
			language := gateway.Language(protocols()...)
			m, problems := language.Load(file, config.SystemEnv(file))
			var s *config.Snapshot
			if len(problems) == 0 {
				s, problems = language.Compile(m, nil)
			}
			for _, p := range problems {
				fmt.Fprintln(cmd.OutOrStdout(), p)
			}
			if len(problems) > 0 {
				return failure{exitFailed}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: valid: %d listeners, %d clusters, version %s\n", file, len(s.Listeners()), len(s.Clusters()), s.Version)
			return nil
		},
	}
	configFlag(c, &file)
	return c
}

func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "", "configuration file (YAML)")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	_ = c.MarkFlagRequired("config")
}
