package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway"
	"github.com/sidewire/sidewire/gateway/certify"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// sidecar starts a gateway that follows the control plane at address.
func sidecar(t *testing.T, address, tls string) *gateway.Gateway {
	t.Helper()
	logs, err := telemetry.NewLogs(io.Discard, "text", slog.LevelError)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway.New(logs, protocols()...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		g.Close(ctx)
	})
	file := filepath.Join(t.TempDir(), "sidewire.yaml")
	text := fmt.Sprintf("admin: {address: \"\"}\nnode: {id: n}\nxds: {servers: [{address: %q, tls: %s}]}\n", address, tls)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if problems := g.LoadFile(file); len(problems) > 0 {
		t.Fatal(problems)
	}
	return g
}

// A control plane with TLS and a client CA serves sidecars that prove themselves, and no others.
func TestControlOverTLS(t *testing.T) {
	dir, certs := t.TempDir(), t.TempDir()
	ca := certify.New(t)
	ca.CA(certs)
	ca.Issue(certs, "server")
	ca.Issue(certs, "client")
	at := func(name string) string { return filepath.Join(certs, name) }
	resources := fmt.Sprintf("listeners: [{name: a, address: \"unix:%s/s\", tcp: {cluster: c}}]\nclusters: [{name: c, tcp: {}, health: {disabled: true}, endpoints: [\"127.0.0.1:1\"]}]\n", t.TempDir())
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(resources), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	f := controlFlags{dir: dir, address: address, cert: at("server.pem"), key: at("server.key"), clientCA: at("ca.pem"), level: "off", format: "text"}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	trusted := sidecar(t, address, fmt.Sprintf("{ca: %q, cert: %q, key: {file: %q}}", at("ca.pem"), at("client.pem"), at("client.key")))
	select {
	case <-trusted.Synced():
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came by TLS")
	}
	if trusted.Snapshot().Listener("a") == nil {
		t.Error("the folder's listener did not come")
	}
	for tls, why := range map[string]string{
		fmt.Sprintf("{ca: %q}", at("ca.pem")): "certificate required",
		"{}":                                  "certificate signed by unknown authority",
	} {
		other := sidecar(t, address, tls)
		status := ""
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(status, why); time.Sleep(5 * time.Millisecond) {
			b, err := json.Marshal(other.Views()["xds"]())
			if err != nil {
				t.Fatal(err)
			}
			if status = string(b); time.Now().After(deadline) {
				t.Fatalf("with %s: %s, want %q", tls, status, why)
			}
		}
		if other.Snapshot().Listener("a") != nil {
			t.Errorf("with %s the folder's listener came", tls)
		}
	}
}

// --check says what is wrong with a folder, and ends without serving.
func TestControlCheck(t *testing.T) {
	for text, want := range map[string]error{
		"clusters: [{name: c, tcp: {}, endpoints: [\"127.0.0.1:1\"]}]": nil,
		"clusters: [{name: c, tcp: {}, endpoints: [\"nowhere\"]}]":     failure{exitFailed},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f := controlFlags{dir: dir, address: "no address", check: true, level: "off", format: "text"}
		if err := f.run(t.Context()); err != want {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	f := controlFlags{dir: t.TempDir(), clientCA: "ca.pem", level: "off", format: "text"}
	if err := f.run(t.Context()); err == nil || !strings.Contains(err.Error(), "reading certificate and key") {
		t.Errorf("a client CA without a certificate: %v", err)
	}
}

// What is said of etcd fits together, or is refused before anything is asked.
func TestControlOfEtcd(t *testing.T) {
	dir := t.TempDir()
	cert, key, _ := certify.Own(t)
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"":                                   "at least one of the flags in the group [dir etcd] is required",
		"--dir d --etcd a:1":                 "none of the others can be",
		"--etcd a:1 --etcd-user u":           "missing [etcd-password-file]",
		"--etcd a":                           `"a" is no endpoint; expected host:port, http://host:port or https://host:port`,
		"--etcd ftp://a:1":                   `"ftp://a:1" is no endpoint`,
		"--etcd http://a:1,https://b:1":      "TLS is asked for by one endpoint or flag and not by another",
		"--etcd a:1,https://b:1":             "TLS is asked for by one endpoint or flag and not by another",
		"--etcd http://a:1 --etcd-ca " + key: "TLS is asked for by one endpoint or flag and not by another",
		"--etcd a:1 --prefix /":              "prefix: is empty",
		"--etcd a:1 --etcd-ca " + key:        "reading etcd's CA: " + key + " holds no certificate",
		"--etcd a:1 --etcd-cert " + key + " --etcd-key " + cert:          "reading etcd's client certificate and key: ",
		"--etcd a:1 --etcd-user u --etcd-password-file " + empty:         "reading etcd's password: " + empty + " is empty",
		"--etcd 127.0.0.1:1,127.0.0.1:2 --check --etcd-ca " + cert + " ": "exit code 1", // nobody listens there
	} {
		c := controlCommand()
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetArgs(strings.Fields(args + " -l off"))
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
