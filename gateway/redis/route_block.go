package redis

import (
	"math"
	"strings"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/redis"
)

// RouteBlock says where the keys of a prefix live.
type RouteBlock struct {
	Prefix       string        `yaml:"prefix" doc:"What the keys begin with; of several routes the longest prefix decides. Empty: all other keys."`
	Cluster      string        `yaml:"cluster" required:"true"`
	RemovePrefix bool          `yaml:"remove_prefix" doc:"The cluster knows the keys without the prefix."`
	KeyFormat    string        `yaml:"key_format" doc:"How the cluster knows the keys: text around %KEY%."`
	ReadCluster  string        `yaml:"read_cluster" doc:"Who answers commands that only read; empty: cluster."`
	Mirrors      []MirrorBlock `yaml:"mirrors" doc:"Clusters that are sent the same commands, and whose answers are dropped. Blocking commands and channels are not mirrored."`
}

// MirrorBlock is a cluster that is told too.
type MirrorBlock struct {
	Cluster      string  `yaml:"cluster" required:"true"`
	Percent      float64 `yaml:"percent" min:"0" max:"100" default:"100" doc:"The share of commands that are mirrored."`
	ExcludeReads bool    `yaml:"exclude_reads" doc:"Commands that only read are not mirrored."`
}

// SetDefaults fills what a file leaves out.
func (b *MirrorBlock) SetDefaults() { b.Percent = 100 }

// CommandBlock is a policy for some commands.
type CommandBlock struct {
	Names   []string        `yaml:"names" required:"true" doc:"Names of commands; container|subcommand for one of several, the container's name for all of them."`
	Refuse  bool            `yaml:"refuse" doc:"Clients may not use them: NOPERM."`
	Timeout config.Duration `yaml:"timeout" doc:"How long each may take, instead of the cluster's timeout; late by 50ms at most."`
}

// FaultBlock is something that goes wrong on purpose.
type FaultBlock struct {
	Type     string          `yaml:"type" enum:"delay|error" required:"true" doc:"delay: the command, and what its client says after it, waits; error: it is answered with an error and not executed."`
	Delay    config.Duration `yaml:"delay" doc:"How long; an error may have one too."`
	Percent  float64         `yaml:"percent" min:"0" max:"100" default:"100" doc:"The share of commands; of several faults for a command each has its own share."`
	Commands []string        `yaml:"commands" doc:"Names of commands; empty: all. AUTH, HELLO, PING, QUIT and RESET are left alone unless they are named under commands: refuse."`
}

// SetDefaults fills what a file leaves out.
func (b *FaultBlock) SetDefaults() { b.Percent = 100 }

// all are the routes with the listener's cluster as the one of the empty prefix.
func (b *ListenerBlock) all() []RouteBlock {
	if b.Cluster == "" {
		return b.Routes
	}
	return append([]RouteBlock{{Cluster: b.Cluster}}, b.Routes...)
}

// clusters are all that the block names, each once.
func (b *ListenerBlock) clusters() []string {
	var names []string
	seen := map[string]bool{"": true}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, r := range b.all() {
		add(r.Cluster)
		add(r.ReadCluster)
		for _, m := range r.Mirrors {
			add(m.Cluster)
		}
	}
	return names
}

// checkRoutes finds what cannot be in routes, policies and faults.
func (b *ListenerBlock) checkRoutes(m *config.Model, at config.Path) []config.Problem {
	var problems []config.Problem
	if b.Cluster != "" || len(b.Routes) == 0 {
		problems = m.CheckClusterRef(b.Cluster, protocolName, at.Field("cluster"))
	}
	seen := map[string]bool{}
	if b.Cluster != "" {
		seen[""] = true
	}
	for i, r := range b.Routes {
		p := at.Field("routes").Index(i)
		problems = append(problems, m.CheckClusterRef(r.Cluster, protocolName, p.Field("cluster"))...)
		if r.ReadCluster != "" {
			problems = append(problems, m.CheckClusterRef(r.ReadCluster, protocolName, p.Field("read_cluster"))...)
		}
		for j, x := range r.Mirrors {
			problems = append(problems, m.CheckClusterRef(x.Cluster, protocolName, p.Field("mirrors").Index(j).Field("cluster"))...)
		}
		prefix := r.Prefix
		if b.IgnoreCase {
			prefix = strings.ToLower(prefix)
		}
		switch {
		case seen[prefix] && prefix == "":
			problems = append(problems, p.Field("prefix").Problem("is empty, and there is a cluster for all other keys already"))
		case seen[prefix]:
			problems = append(problems, p.Field("prefix").Problem("is that of an earlier route"))
		}
		seen[prefix] = true
		if _, _, ok := keyFormat(r.KeyFormat); !ok {
			problems = append(problems, p.Field("key_format").Problem("%q has no %%KEY%%", r.KeyFormat))
		}
	}
	for i, c := range b.Commands {
		p := at.Field("commands").Index(i)
		problems = append(problems, checkNames(c.Names, p.Field("names"))...)
		if c.Refuse == (c.Timeout > 0) {
			problems = append(problems, p.Problem("says either refuse or timeout"))
		}
	}
	for i, f := range b.Faults {
		p := at.Field("faults").Index(i)
		problems = append(problems, checkNames(f.Commands, p.Field("commands"))...)
		if f.Type == "delay" && f.Delay <= 0 {
			problems = append(problems, p.Field("delay").Problem("is missing"))
		}
	}
	for i, name := range b.CustomCommands {
		p := at.Field("custom_commands").Index(i)
		switch {
		case name == "" || strings.ContainsAny(name, " \r\n"):
			problems = append(problems, p.Problem("is empty or has a space in it"))
		case redis.Lookup([]byte(name)) != nil:
			problems = append(problems, p.Problem("%q is one of Redis's own commands", name))
		}
	}
	return problems
}

func checkNames(names []string, at config.Path) []config.Problem {
	var problems []config.Problem
	for i, name := range names {
		if len(commandIDs(name)) == 0 {
			problems = append(problems, at.Index(i).Problem("there is no command %q", name))
		}
	}
	return problems
}

// customCommands are the commands whose first argument is their key because the listener says so.
func customCommands(names []string) map[string]*redis.Command {
	if len(names) == 0 {
		return nil
	}
	m := make(map[string]*redis.Command, len(names))
	for _, name := range names {
		name = strings.ToLower(name)
		m[name] = redis.NewCommand(name, -2, 0, 1, 1, 1)
	}
	return m
}

// routed makes the upstream of a listener with routes. Loop goroutine only.
func (b *ListenerBlock) routed(e *engine, name string, find func(cluster string) *upstream) *upstream {
	var list []*route
	u := e.newRouted(name, b.IgnoreCase)
	for _, rb := range b.all() {
		r := &route{prefix: rb.Prefix, remove: rb.RemovePrefix, to: u.routes.join(find(rb.Cluster), false)}
		if b.IgnoreCase {
			r.prefix = strings.ToLower(r.prefix)
		}
		r.before, r.after, _ = keyFormat(rb.KeyFormat)
		if rb.ReadCluster != "" {
			r.reads = u.routes.join(find(rb.ReadCluster), true)
		}
		for _, m := range rb.Mirrors {
			r.mirrors = append(r.mirrors, mirror{to: find(m.Cluster), percent: math.Min(m.Percent, 100), writes: m.ExcludeReads})
		}
		list = append(list, r)
	}
	u.open(list)
	return u
}
