package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
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
	etcd                                                        etcdFlags
}

// etcdFlags are what it is told about etcd.
type etcdFlags struct {
	endpoints                                 []string
	prefix, ca, cert, key, user, passwordFile string
}

func controlCommand() *cobra.Command {
	var f controlFlags
	c := &cobra.Command{
		Use:   "control {--dir DIR | --etcd ENDPOINT,...}",
		Short: "Serve listeners, clusters and databases from a folder or from etcd to many sidecars over xDS",
		Long: "Files in DIR are for every sidecar; those in DIR/NAME besides for sidecars whose node.cluster is NAME.\n" +
			"In etcd keys are the same files: PREFIX/FILE.yaml and PREFIX/NAME/FILE.yaml. Folder and keys are watched.\n" +
			"What is wrong in them is logged and never served: the last good content stays.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	c.Flags().StringVar(&f.dir, "dir", "", "folder with configuration files")
	c.Flags().StringVar(&f.address, "address", "127.0.0.1:18000", "host:port or unix:/path to serve at")
	c.Flags().StringVar(&f.cert, "tls-cert", "", "PEM file with a certificate chain; without it streams are not encrypted")
	c.Flags().StringVar(&f.key, "tls-key", "", "PEM file with its private key")
	c.Flags().StringVar(&f.clientCA, "client-ca", "", "PEM file; sidecars must present a certificate that it signed")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "file with a token that sidecars must send")
	c.Flags().StringSliceVar(&f.etcd.endpoints, "etcd", nil, "etcd servers, host:port or https://host:port")
	c.Flags().StringVar(&f.etcd.prefix, "prefix", "/sidewire", "prefix of the keys in etcd")
	c.Flags().StringVar(&f.etcd.ca, "etcd-ca", "", "PEM file with the CA of etcd's certificates (default the system's), speaks TLS")
	c.Flags().StringVar(&f.etcd.cert, "etcd-cert", "", "PEM file with a certificate chain to show to etcd, speaks TLS")
	c.Flags().StringVar(&f.etcd.key, "etcd-key", "", "PEM file with its private key")
	c.Flags().StringVar(&f.etcd.user, "etcd-user", "", "user to authenticate as")
	c.Flags().StringVar(&f.etcd.passwordFile, "etcd-password-file", "", "file with its password")
	c.Flags().BoolVar(&f.check, "check", false, "check the content and end")
	c.Flags().StringVarP(&f.level, "log-level", "l", "info", "trace, debug, info, warning, error, critical or off")
	c.Flags().StringVar(&f.format, "log-format", "text", "text or json")
	c.MarkFlagsOneRequired("dir", "etcd")
	c.MarkFlagsMutuallyExclusive("dir", "etcd")
	c.MarkFlagsRequiredTogether("etcd-cert", "etcd-key")
	c.MarkFlagsRequiredTogether("etcd-user", "etcd-password-file")
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
	o := control.Options{Language: gateway.Language(protocols()...), Log: log}
	if o.Source, err = f.source(log); err != nil {
		return err
	}
	if o.TLS, err = f.tls(); err != nil {
		return err
	}
	if f.tokenFile != "" {
		if o.Token, err = secret(f.tokenFile); err != nil {
			return fmt.Errorf("reading token: %w", err)
		}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	s, problems := control.New(ctx, o)
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
	if len(problems) > 0 {
		return failure{exitFailed}
	}
	if f.check {
		fmt.Printf("%s: valid\n", f.from())
		return nil
	}
	l, err := listener.Bind(f.address, config.UnixSocket{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return failure{exitFailed}
	}
	defer context.AfterFunc(ctx, s.Stop)()
	log.Info("serving", "source", f.from(), "address", l.Addr().String(), "tls", o.TLS != nil, "token", o.Token != "")
	return s.Serve(ctx, l)
}

// from is where the content comes from, for people.
func (f *controlFlags) from() string {
	if f.dir != "" {
		return f.dir
	}
	return strings.Join(f.etcd.endpoints, ",") + " " + f.etcd.prefix
}

func (f *controlFlags) source(log *slog.Logger) (control.Source, error) {
	if f.dir != "" {
		return control.Folder(f.dir, log), nil
	}
	return f.etcd.source(log)
}

func (f *etcdFlags) source(log *slog.Logger) (control.Source, error) {
	o := control.EtcdOptions{Prefix: f.prefix, User: f.user, Log: log}
	flags := f.ca != "" || f.cert != ""
	plain, secure := false, flags
	for _, e := range f.endpoints {
		scheme, address, ok := strings.Cut(e, "://")
		if !ok {
			scheme, address = "", e
		}
		if _, _, err := net.SplitHostPort(address); err != nil || scheme != "" && scheme != "http" && scheme != "https" {
			return nil, fmt.Errorf("etcd: %q is no endpoint; expected host:port, http://host:port or https://host:port", e)
		}
		plain = plain || scheme == "http" || scheme == "" && !flags
		secure = secure || scheme == "https"
		o.Endpoints = append(o.Endpoints, address)
	}
	if plain && secure {
		return nil, errors.New("etcd: TLS is asked for by one endpoint or flag and not by another")
	}
	if strings.Trim(f.prefix, "/") == "" {
		return nil, errors.New("prefix: is empty")
	}
	var err error
	if secure {
		if o.TLS, err = f.tls(); err != nil {
			return nil, err
		}
	}
	if f.passwordFile != "" {
		if o.Password, err = secret(f.passwordFile); err != nil {
			return nil, fmt.Errorf("reading etcd's password: %w", err)
		}
	}
	return control.Etcd(o), nil
}

func (f *etcdFlags) tls() (c *tls.Config, err error) {
	c = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("reading etcd's client certificate and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if f.ca != "" {
		if c.RootCAs, err = certificates(f.ca); err != nil {
			return nil, fmt.Errorf("reading etcd's CA: %w", err)
		}
	}
	return c, nil
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
		if c.ClientCAs, err = certificates(f.clientCA); err != nil {
			return nil, fmt.Errorf("reading client CA: %w", err)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func certificates(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// secret is a file's content without the space around it.
func secret(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return s, nil
}
