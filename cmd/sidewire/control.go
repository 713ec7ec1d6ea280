package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/gateway/xds/control"
)

// controlFlags are what `sidewire control` is told.
type controlFlags struct {
	dir, address, cert, key, clientCA, tokenFile, level, format string
	check                                                       bool
}

func controlCommand() *cobra.Command {
	var f controlFlags
	c := &cobra.Command{
		Use:   "control --dir DIR",
		Short: "Serve a folder of listeners, clusters and databases to many sidecars over xDS",
		Long: "Files in DIR are for every sidecar; those in DIR/NAME besides for sidecars whose node.cluster is NAME.\n" +
			"The folder is watched. What is wrong in it is logged and never served: the last good content stays.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	c.Flags().StringVar(&f.dir, "dir", "", "folder with configuration files")
	c.Flags().StringVar(&f.address, "address", "127.0.0.1:18000", "host:port or unix:/path to serve at")
	c.Flags().StringVar(&f.cert, "tls-cert", "", "PEM file with a certificate chain; without it streams are not encrypted")
	c.Flags().StringVar(&f.key, "tls-key", "", "PEM file with its private key")
	c.Flags().StringVar(&f.clientCA, "client-ca", "", "PEM file; sidecars must present a certificate that it signed")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "file with a token that sidecars must send")
	c.Flags().BoolVar(&f.check, "check", false, "check the folder and end")
	c.Flags().StringVarP(&f.level, "log-level", "l", "info", "trace, debug, info, warning, error, critical or off")
	c.Flags().StringVar(&f.format, "log-format", "text", "text or json")
	_ = c.MarkFlagRequired("dir")
	_ = c.MarkFlagDirname("dir")
	return c
}

func (f *controlFlags) run(ctx context.Context) error {
	level, err := telemetry.ParseLevel(f.level)
	if err != nil {
		return err
	}
	logs, err := telemetry.NewLogs(os.Stderr, f.format, level)
	if err != nil {
		return err
	}
	log := logs.Logger("control")
	o := control.Options{Dir: f.dir, Language: gateway.Language(protocols()...), Log: log}
	if o.TLS, err = f.tls(); err != nil {
		return err
	}
	if o.Token, err = f.token(); err != nil {
		return err
	}
	s, problems := control.New(o)
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		return failure{exitFailed}
	}
	if f.check {
		fmt.Printf("%s: valid\n", f.dir)
		return nil
	}
	l, err := listener.Bind(f.address, config.UnixSocket{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return failure{exitFailed}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	defer context.AfterFunc(ctx, s.Stop)()
	log.Info("serving", "dir", f.dir, "address", l.Addr().String(), "tls", o.TLS != nil, "token", o.Token != "")
	return s.Serve(ctx, l)
}

func (f *controlFlags) tls() (*tls.Config, error) {
	if f.cert == "" && f.key == "" && f.clientCA == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("reading certificate and key: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.clientCA != "" {
		pem, err := os.ReadFile(f.clientCA)
		if err != nil {
			return nil, fmt.Errorf("reading client CA: %w", err)
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading client CA: %s holds no certificate", f.clientCA)
		}
	}
	return c, nil
}

func (f *controlFlags) token() (string, error) {
	if f.tokenFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("reading token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("reading token: %s is empty", f.tokenFile)
	}
	return token, nil
}
