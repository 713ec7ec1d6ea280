package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/sharding/rule"
)

func importCommand() *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Turn other tools' configuration into sidewire's"}
	var out string
	s := &cobra.Command{
		Use:   "shardingsphere DIR [--out DIR]",
		Short: "Turn a ShardingSphere-Proxy conf folder into a sidewire configuration",
		Long: "Reads global.yaml (server.yaml) and every database file of a ShardingSphere-Proxy conf folder. Writes sidewire.yaml, which names the\n" +
			"database files as they are, and lists what it could not take. Without --out it only prints.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importShardingSphere(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], out)
		},
	}
	s.Flags().StringVar(&out, "out", "", "folder to write sidewire.yaml and the database files into")
	c.AddCommand(s)
	return c
}

// sphere is what an import found.
type sphere struct {
	files     []string // database files, in order
	databases []string
	users     []sphereUser
	port      string
	notes     []string
	usable    bool
}

type sphereUser struct{ name, password string }

func (s *sphere) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

func importShardingSphere(out, errs io.Writer, dir, into string) error {
	s := &sphere{port: "3307", usable: true}
	if err := s.read(dir); err != nil {
		fmt.Fprintln(errs, err)
		return failure{exitFailed}
	}
	text, err := s.configuration()
	if err != nil {
		return err
	}
	for _, n := range s.notes {
		fmt.Fprintln(errs, n)
	}
	if !s.usable || len(s.databases) == 0 {
		if len(s.databases) == 0 {
			fmt.Fprintf(errs, "%s: no database file could be taken\n", dir)
		}
		return failure{exitFailed}
	}
	if into == "" {
		_, err := out.Write(text)
		return err
	}
	return s.write(out, dir, into, text)
}

func (s *sphere) read(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	for _, name := range names {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		var doc map[string]yaml.Node
		if err := yaml.Unmarshal(src, &doc); err != nil {
			s.note("%s: not readable as YAML: %v", name, err)
			s.usable = false
			continue
		}
		switch {
		case len(doc) == 0:
			s.note("%s: empty or commented out, skipped", name)
		case has(doc, "databaseName"), has(doc, "schemaName"):
			s.database(name, src)
		case name == "global.yaml", name == "server.yaml":
			s.global(name, doc)
		default:
			s.note("%s: not a database file (no databaseName), skipped", name)
		}
	}
	return nil
}

func has(doc map[string]yaml.Node, key string) bool {
	_, ok := doc[key]
	return ok
}

func (s *sphere) database(name string, src []byte) {
	set, problems := rule.Load(src, rule.Options{Now: time.Now()})
	for _, p := range problems {
		kind := ""
		if p.Warning {
			kind = "note: "
		}
		s.note("%s:%d: %s%s", name, p.Line, kind, p)
	}
	if set == nil {
		s.note("%s: not taken", name)
		s.usable = false
		return
	}
	s.files = append(s.files, name)
	s.databases = append(s.databases, set.Database)
}

// global reads users and the props that mean something here.
func (s *sphere) global(name string, doc map[string]yaml.Node) {
	var auth struct {
		Users []struct{ User, Password string }
	}
	keys := make([]string, 0, len(doc))
	for k := range doc {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		n := doc[k]
		switch k {
		case "authority":
			if err := n.Decode(&auth); err != nil {
				s.note("%s: authority: %v", name, err)
			}
		case "rules": // before 5.1.3 authority and transaction stood in a list
			for _, r := range n.Content {
				if r.Tag == "!AUTHORITY" {
					s.oldUsers(name, r)
				} else {
					s.note("%s: rules: %s is not taken", name, r.Tag)
				}
			}
		case "props":
			s.props(name, n)
		case "mode":
			s.note("%s: mode is not taken: sidewire is configured by its file or over xDS", name)
		case "transaction":
			s.note("%s: transaction is not taken: distributed transactions (XA, BASE) are not supported", name)
		case "sqlParser":
			s.note("%s: sqlParser has no effect: plans are cached by size", name)
		case "sqlFederation":
			s.note("%s: sqlFederation is not taken: what one shard cannot answer is merged or refused", name)
		default:
			s.note("%s: %s is not taken", name, k)
		}
	}
	for _, u := range auth.Users {
		s.user(u.User, u.Password)
	}
}

func (s *sphere) oldUsers(name string, n *yaml.Node) {
	var r struct{ Users []string }
	if err := n.Decode(&r); err != nil {
		s.note("%s: !AUTHORITY: %v", name, err)
	}
	for _, u := range r.Users {
		who, password, _ := strings.Cut(u, ":")
		s.user(who, password)
	}
}

func (s *sphere) user(name, password string) {
	who, host, _ := strings.Cut(name, "@")
	if host != "" && host != "%" {
		s.note("user %s: its host %s is not taken: limit who may connect by the listener's address", who, host)
	}
	s.users = append(s.users, sphereUser{who, password})
}

func (s *sphere) props(name string, n yaml.Node) {
	var props map[string]string
	if err := n.Decode(&props); err != nil {
		s.note("%s: props: %v", name, err)
	}
	keys := make([]string, 0, len(props))
	for k := range props {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		switch k {
		case "proxy-default-port":
			s.port = props[k]
		case "max-connections-size-per-query", "kernel-executor-size", "proxy-frontend-flush-threshold", "proxy-backend-query-fetch-size":
			s.note("%s: props.%s has no effect: results stream, one connection to each shard", name, k)
		default:
			s.note("%s: props.%s is not taken", name, k)
		}
	}
}

// configuration writes sidewire.yaml.
func (s *sphere) configuration() ([]byte, error) {
	type user struct {
		Name     string `yaml:"name"`
		Password string `yaml:"password"`
	}
	type database struct {
		Name string `yaml:"name"`
		File string `yaml:"file"`
	}
	var users []user
	for _, u := range s.users {
		users = append(users, user{u.name, u.password})
	}
	if len(users) == 0 {
		users = []user{{"root", "root"}}
		s.note("no users found: sidewire.yaml has root with password root; change it")
	}
	var dbs []database
	for i, f := range s.files {
		dbs = append(dbs, database{s.databases[i], f})
	}
	doc := map[string]any{
		"listeners": []any{map[string]any{"name": "mysql", "address": "127.0.0.1:" + s.port,
			"mysql": map[string]any{"users": users, "databases": s.databases}}},
		"databases": dbs,
	}
	return yaml.Marshal(doc)
}

func (s *sphere) write(out io.Writer, dir, into string, text []byte) error {
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	for _, f := range s.files {
		src, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(into, f), src, 0o600); err != nil {
			return err
		}
	}
	path := filepath.Join(into, "sidewire.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s written, with %d database files\n", path, len(s.files))
	return nil
}
