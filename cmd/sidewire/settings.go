package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/viper"
)

// settings are what the process itself needs before it reads a configuration: flags, or SIDEWIRE_* variables.
//
// Rules and names are not settings: they are case-sensitive, and viper lower-cases keys.
type settings struct {
	config string
	level  slog.Level
	format string
}

func (s *settings) flags(c *cobra.Command) {
	c.Flags().StringP("config", "c", "", "configuration file (YAML); SIDEWIRE_CONFIG")
	c.Flags().StringP("log-level", "l", "info", "debug, info, warn or error; SIDEWIRE_LOG_LEVEL")
	c.Flags().String("log-format", "text", "text or json; SIDEWIRE_LOG_FORMAT")
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
	if err := s.level.UnmarshalText([]byte(v.GetString("log-level"))); err != nil {
		return fmt.Errorf("unknown log level %q; expected debug, info, warn or error", v.GetString("log-level"))
	}
	s.format = v.GetString("log-format")
	if s.format != "text" && s.format != "json" {
		return fmt.Errorf("unknown log format %q; expected text or json", s.format)
	}
	return nil
}
