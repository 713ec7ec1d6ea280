package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// askAgain is how often wait asks.
const askAgain = 50 * time.Millisecond

func waitCommand() *cobra.Command {
	var address string
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "wait",
		Short: "Return when the sidewire beside this process is ready, for start orders",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := waitReady(ctx, "http://"+address+"/ready"); err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "sidewire at %s was not ready within %s: %v\n", address, timeout, err)
				return failure{exitFailed}
			}
			return nil
		},
	}
	c.Flags().StringVar(&address, "admin", "127.0.0.1:9901", "its admin address")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait")
	return c
}

// waitReady asks until the answer is 200, and returns the last reason when ctx ends first.
func waitReady(ctx context.Context, url string) error {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	var why error
	for {
		err := ready(ctx, url)
		if err == nil {
			return nil
		}
		if why == nil || ctx.Err() == nil { // that the time is over is no reason by itself
			why = err
		}
		select {
		case <-ctx.Done():
			return why
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}
