// Package database is the `databases:` resource: a virtual database that applications see as one and that
// ShardingSphere's rules spread over physical ones.
package database

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/sharding/rule"
)

// Name is the field of the configuration under which virtual databases stand.
const Name = "databases"

// Database is one virtual database. It never changes: its pointer is its identity.
type Database struct {
	Name    string
	Rules   *rule.Set
	Sources map[string]Source // by the rules' name of the source
	// OneShard: transactions, and statements, that change rows on several data sources are refused.
	OneShard bool
}

// Source is where a physical database is.
type Source struct {
	Cluster  string
	Database string
}

// Uses are the clusters that hold the database's parts.
func (d *Database) Uses() []string {
	var out []string
	for _, s := range d.Sources {
		out = append(out, s.Cluster)
	}
	return out
}

// resource is one element of the list, as it is written.
type resource struct {
	Name  string `yaml:"name" required:"true"`
	File  string `yaml:"file" doc:"A ShardingSphere database file."`
	Rules raw    `yaml:"rules" doc:"The same content, in place."`
	// Transactions is what happens to those that several data sources would have to commit.
	Transactions string `yaml:"transactions" enum:"best_effort|one_shard" doc:"What becomes of a transaction that changes rows on several data sources: best_effort commits one after the other and says so if one fails after another succeeded; one_shard refuses the statement that would change a second one. Default best_effort."`
}

// raw keeps a part of the configuration for another decoder.
type raw struct{ node *yaml.Node }

func (r *raw) DecodeYAML(n *yaml.Node, _ config.Path, _ *config.Env) []config.Problem {
	r.node = n
	return nil
}

type kind struct{ protocol string }

// Kind is virtual databases whose jdbc URLs become clusters of a protocol.
func Kind(protocol string) config.Kind { return kind{protocol} }

func (kind) Name() string { return Name }

// Decode reads a virtual database. A data source with a jdbc URL brings a cluster of one endpoint along, named
// DATABASE/SOURCE.
func (k kind) Decode(n *yaml.Node, at config.Path, env *config.Env) (config.Resource, []config.Problem) {
	var v resource
	if problems := config.Decode(n, at, &v, env); len(problems) > 0 {
		return config.Resource{}, problems
	}
	set, source, problems := load(&v, at, env)
	if len(problems) > 0 {
		return config.Resource{}, problems
	}
	d := &Database{Name: v.Name, Rules: set, Sources: map[string]Source{}, OneShard: v.Transactions == "one_shard"}
	r := config.Resource{Name: v.Name, Value: d, Source: source}
	for _, t := range set.Targets {
		if len(t.Reads) == 0 {
			continue
		}
		name := v.Name + "/" + t.Name
		c, err := k.group(name, t)
		if err != nil {
			problems = append(problems, at.Problem("read/write group %q: %v", t.Name, err))
			continue
		}
		if c == nil {
			continue // a cluster of the configuration
		}
		for _, s := range append([]*rule.Source{t.Write}, t.Reads...) {
			d.Sources[s.Name] = Source{name, s.Database}
		}
		r.Clusters = append(r.Clusters, c)
	}
	for _, s := range set.Sources {
		if s.Cluster != "" {
			d.Sources[s.Name] = Source{s.Cluster, s.Database}
		}
		if d.Sources[s.Name].Cluster != "" {
			continue
		}
		c, err := k.cluster(v.Name+"/"+s.Name, s)
		if err != nil {
			problems = append(problems, at.Problem("data source %q: %v", s.Name, err))
			continue
		}
		d.Sources[s.Name] = Source{v.Name + "/" + s.Name, s.Database}
		r.Clusters = append(r.Clusters, c)
	}
	return r, problems
}

// load reads the rules, from a file or in place. Warnings of the rules are no problems.
func load(v *resource, at config.Path, env *config.Env) (*rule.Set, []byte, []config.Problem) {
	switch {
	case v.File == "" && v.Rules.node == nil:
		return nil, nil, []config.Problem{at.Problem("needs a file, or its content under rules")}
	case v.File != "" && v.Rules.node != nil:
		return nil, nil, []config.Problem{at.Problem("has both a file and rules; keep one")}
	}
	var set *rule.Set
	var found []rule.Problem
	var source []byte
	if v.File != "" {
		data, err := env.Read(v.File)
		if err != nil {
			return nil, nil, []config.Problem{at.Field("file").Problem("%v", err)}
		}
		source = data
		set, found = rule.Load(data, rule.Options{Path: v.File, Now: time.Now()})
	} else {
		data, err := yaml.Marshal(v.Rules.node)
		if err != nil {
			return nil, nil, []config.Problem{at.Field("rules").Problem("%v", err)}
		}
		source = data
		set, found = rule.Decode(v.Rules.node, rule.Options{Path: string(at.Field("rules")), Now: time.Now()})
	}
	var problems []config.Problem
	for _, p := range found {
		if p.Warning {
			continue
		}
		problems = append(problems, config.Problem{Path: config.Path(p.Path), Message: p.Message})
	}
	if set == nil && len(problems) == 0 {
		problems = append(problems, at.Problem("holds no rules"))
	}
	return set, source, problems
}

// group writes the cluster of a read/write group: its readers serve reads once they have what was written. It is nil when
// the group's sources name a cluster, which then says itself who reads.
func (k kind) group(name string, t *rule.Target) (*yaml.Node, error) {
	w := t.Write
	endpoints := []any{map[string]any{"address": address(w), "role": "primary"}}
	seen := map[string]bool{address(w): true}
	for _, s := range t.Reads {
		switch {
		case s.Cluster != w.Cluster:
			return nil, fmt.Errorf("%q and %q are not in one cluster; list the servers of both as endpoints of one, with reads: {from: replicas}, and name it in both",
				w.Name, s.Name)
		case s.Database != w.Database:
			return nil, fmt.Errorf("%q and %q are databases %q and %q; a replica has the database of its primary", w.Name, s.Name, w.Database, s.Database)
		case s.User != w.User || s.Password != w.Password || s.TLS != w.TLS:
			return nil, fmt.Errorf("%q and %q differ in user, password or TLS; give all servers of a group the same account", w.Name, s.Name)
		}
		if at := address(s); !seen[at] {
			seen[at] = true
			e := map[string]any{"address": at, "role": "replica"}
			if n := t.Weights[s.Name]; n > 0 {
				e["weight"] = n
			}
			endpoints = append(endpoints, e)
		}
	}
	if w.Cluster != "" {
		return nil, nil
	}
	balance := "random" // WEIGHT too: by the endpoints' weights
	if t.Balancer == "ROUND_ROBIN" {
		balance = "round_robin"
	}
	return k.write(name, w, endpoints, map[string]any{"reads": map[string]any{"from": "replicas"}}, balance)
}

// cluster writes the cluster of a jdbc data source in the configuration's own form.
func (k kind) cluster(name string, s *rule.Source) (*yaml.Node, error) {
	return k.write(name, s, []any{address(s)}, map[string]any{}, "")
}

// write writes a cluster with the account and limits of s; block is what else its protocol's block says.
func (k kind) write(name string, s *rule.Source, endpoints []any, block map[string]any, balance string) (*yaml.Node, error) {
	block["user"], block["password"] = s.User, s.Password
	pool := map[string]any{}
	if s.MaxPoolSize > 0 {
		pool["max"] = s.MaxPoolSize
	}
	for field, ms := range map[string]int{"wait": s.ConnectTimeout, "idle_timeout": s.IdleTimeout, "lifetime": s.MaxLife} {
		if ms > 0 {
			pool[field] = (time.Duration(ms) * time.Millisecond).String()
		}
	}
	if len(pool) > 0 {
		block["pool"] = pool
	}
	c := map[string]any{"name": name, k.protocol: block, "endpoints": endpoints}
	if balance != "" {
		c["balance"] = balance
	}
	switch s.TLS {
	case "required":
		c["tls"] = map[string]any{"insecure_skip_verify": true}
	case "verify_ca", "verify_identity":
		c["tls"] = map[string]any{}
	}
	data, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("writing its cluster: %w", err)
	}
	n, problems := config.Parse(data)
	if len(problems) > 0 {
		return nil, config.Problems(problems)
	}
	return n, nil
}

func address(s *rule.Source) string {
	port := s.Port
	if port == 0 {
		port = 3306
	}
	host := s.Host
	for i := range len(host) {
		if host[i] == ':' && host[0] != '[' {
			host = "[" + host + "]"
			break
		}
	}
	return host + ":" + strconv.Itoa(port)
}

// Check wants every cluster that a data source names.
func (k kind) Check(m *config.Model, r *config.Resource, at config.Path) []config.Problem {
	d := r.Value.(*Database)
	var problems []config.Problem
	for _, s := range d.Rules.Sources {
		problems = append(problems, m.CheckClusterRef(d.Sources[s.Name].Cluster, k.protocol, at.Field("dataSources").Field(s.Name).Field("cluster"))...)
	}
	return problems
}
