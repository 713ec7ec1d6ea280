// Command sidewire is the sidecar: one process beside an application that speaks its data stores' wire protocols.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/kafka"
	"github.com/sidewire/sidewire/gateway/mysql"
	"github.com/sidewire/sidewire/gateway/redis"
	"github.com/sidewire/sidewire/gateway/tcp"
)

// protocols are what this binary serves. Adding one is a word here.
func protocols() []gateway.Protocol {
	return []gateway.Protocol{kafka.Protocol(), mysql.Protocol(), redis.Protocol(), tcp.Protocol()}
}

// Exit codes: 1 is a configuration or start that failed, 2 a command line that was not understood.
const (
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error whose message has been printed already.
type failure struct{ code int }

func (f failure) Error() string { return fmt.Sprintf("exit code %d", f.code) }

func main() {
	var s settings
	root := &cobra.Command{
		Use:           "sidewire [-c FILE]",
		Short:         "One local address for each of your data stores, however many servers stand behind it",
		Long:          "sidewire sits beside an application and speaks the wire protocols of its data stores.\nThe application keeps its ordinary client and points it at localhost.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		// With flags alone it runs, as Envoy does, so that what starts an Envoy can start it.
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().NFlag() == 0 && os.Getenv("SIDEWIRE_CONFIG") == "" {
				return cmd.Help()
			}
			return s.run(cmd)
		},
	}
	s.flags(root)
	root.AddCommand(runCommand(), validateCommand(), explainCommand(), importCommand(), controlCommand(), waitCommand(), schemaCommand(), versionCommand())
	err := root.Execute()
	if err == nil {
		return
	}
	if f, ok := err.(failure); ok {
		os.Exit(f.code)
	}
	fmt.Fprintf(os.Stderr, "sidewire: %v\nRun 'sidewire --help' for usage.\n", err)
	os.Exit(exitUsage)
}
