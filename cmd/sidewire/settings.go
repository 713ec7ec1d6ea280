package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// settings are what the process itself needs before it reads a configuration: flags, or SIDEWIRE_* variables.
//
// Rules and names are not settings: they are case-sensitive, and viper lower-cases keys.
type settings struct {
	config      string
	level       slog.Level
	format      string
	validate    bool // --mode validate
	concurrency int
	override    gateway.Override
}

func (s *settings) flags(c *cobra.Command) {
	c.Flags().StringP("config", "c", "", "configuration file (YAML); SIDEWIRE_CONFIG")
	c.Flags().StringP("log-level", "l", "info", "trace, debug, info, warning, error, critical or off; SIDEWIRE_LOG_LEVEL")
	c.Flags().String("log-format", "text", "text or json; SIDEWIRE_LOG_FORMAT")
	c.Flags().String("mode", "serve", "serve, or validate: check the configuration and end")
	c.Flags().Int("drain-time-s", 0, "seconds that sessions may take to end, over the configuration's drain.timeout; 0: that")
	c.Flags().String("service-node", "", "name of this process for control planes, over the configuration's node.id")
	c.Flags().String("service-cluster", "", "name of its group, over the configuration's node.cluster")
	c.Flags().Int("concurrency", 0, "processors to use; 0: all that the container may")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
}

// read resolves flags over variables over defaults.
func (s *settings) read(c *cobra.Command) error {
	v := viper.New()
	v.SetEnvPrefix("SIDEWIRE")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	if err := v.BindPFlags(c.Flags()); err != nil {
		return err
	}
	if s.config = v.GetString("config"); s.config == "" {
		return fmt.Errorf("no configuration: give -c FILE or set SIDEWIRE_CONFIG")
	}
	var err error
	if s.level, err = telemetry.ParseLevel(v.GetString("log-level")); err != nil {
		return err
	}
	s.format = v.GetString("log-format")
	if s.format != "text" && s.format != "json" {
		return fmt.Errorf("unknown log format %q; expected text or json", s.format)
	}
	switch mode := v.GetString("mode"); mode {
	case "serve":
	case "validate":
		s.validate = true
	default:
		return fmt.Errorf("unknown mode %q; expected serve or validate", mode)
	}
	drain := v.GetInt("drain-time-s")
	s.concurrency = v.GetInt("concurrency")
	if drain < 0 || s.concurrency < 0 {
		return fmt.Errorf("--drain-time-s and --concurrency must not be negative")
	}
	s.override = gateway.Override{Node: v.GetString("service-node"), Cluster: v.GetString("service-cluster"), Drain: time.Duration(drain) * time.Second}
	return nil
}
