package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sidewire/sidewire/gateway"
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
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if len(problems) > 0 {
		return failure{exitFailed}
	}
	fmt.Fprintf(out, "%s: valid: %d listeners, %d clusters, version %s\n", file, len(s.Listeners()), len(s.Clusters()), s.Version)
	return nil
}

func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "", "configuration file (YAML)")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	_ = c.MarkFlagRequired("config")
}
