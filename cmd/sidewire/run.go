package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

func runCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Serve a configuration until SIGTERM; SIGHUP or a change of the file reloads it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd)
		},
	}
	s.flags(c)
	return c
}

func (s *settings) run(cmd *cobra.Command) error {
	if err := s.read(cmd); err != nil {
		return err
	}
	if s.validate {
		return validate(cmd.OutOrStdout(), s.config, s.override)
	}
	return run(cmd.Context(), s)
}

func run(ctx context.Context, s *settings) error {
	logs, err := telemetry.NewLogs(os.Stderr, s.format, s.level)
	if err != nil {
		return err
	}
	log := logs.Logger("main")
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	if s.concurrency > 0 {
		runtime.GOMAXPROCS(s.concurrency)
	}
	g := gateway.New(logs, protocols()...)
	g.ServeAdmin(gateway.Identity{Version: version, CommandLine: map[string]any{"config_path": s.config}}, stop)
	g.Override(s.override)
	if problems := g.LoadFile(s.config); len(problems) > 0 {
		printProblems(os.Stderr, s.config, problems)
		g.Close(expired())
		return failure{exitFailed}
	}
	watching := make(chan struct{})
	watch, stopWatching := context.WithCancel(ctx)
	go func() {
		defer close(watching)
		if err := g.WatchFile(watch, s.config, reload); err != nil {
			log.Error("watching configuration; only SIGHUP and restarts change it now", "error", err)
		}
	}()
	state := "ready"
	if g.Synced() != nil {
		state = "started, waiting for control plane"
	}
	log.Info(state, "version", version, "config", g.Snapshot().Version, "after", time.Since(g.Started()).Round(time.Millisecond).String())
	<-ctx.Done()
	stopWatching()
	<-watching
	drain(g, log)
	return nil
}

// drain ends the gateway within the configured time; a second signal ends it at once.
func drain(g *gateway.Gateway, log *slog.Logger) {
	limit := g.Snapshot().Drain.Timeout.Std()
	log.Info("draining", "limit", limit.String())
	again, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(again, limit)
	defer cancel()
	g.Close(ctx)
	log.Info("stopped")
}

func expired() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
