package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Protocol is the part of a protocol that configuration sees.
type Protocol interface {
	// Name is the name of the protocol's block in a listener or cluster: "mysql".
	Name() string
	// ListenerBlock is a pointer to a new listener block with its defaults; nil when the protocol has no listeners.
	ListenerBlock() any
	// ClusterBlock is a pointer to a new cluster block with its defaults; nil when the protocol has no clusters.
	ClusterBlock() any
	// CheckListener reports what is wrong with a listener's block in the light of the whole model. at is the block's path.
	CheckListener(m *Model, l *Listener, at Path) []Problem
	// CheckCluster does the same for a cluster's block.
	CheckCluster(m *Model, c *Cluster, at Path) []Problem
}

// Sparing is implemented by protocols to which some of a cluster's settings mean nothing.
type Sparing interface {
	// Meaningless says why, by the setting's place inside the cluster ("limits.requests"). Setting one is a problem.
	Meaningless() map[string]string
}

// Meaningless are the settings of a cluster that mean nothing to a protocol, and why.
func (l Language) Meaningless(protocol string) map[string]string {
	if s, ok := l.protocol(protocol).(Sparing); ok {
		return s.Meaningless()
	}
	return nil
}

// checkMeaning finds settings that a cluster's protocol would ignore.
func (l Language) checkMeaning(c *Cluster, at Path) []Problem {
	var problems []Problem
	why := l.Meaningless(c.Protocol)
	for _, place := range slices.Sorted(maps.Keys(why)) {
		path, v := at, reflect.ValueOf(c).Elem()
		for name := range strings.SplitSeq(place, ".") {
			path = path.Field(name)
			i := slices.IndexFunc(Fields(v.Type()), func(f Field) bool { return f.Name == name })
			v = v.FieldByIndex(Fields(v.Type())[i].Index)
		}
		if !v.IsZero() {
			problems = append(problems, path.Problem("means nothing to %s: %s", c.Protocol, why[place]))
		}
	}
	return problems
}

// Kind is a kind of top-level resource that a room brings, such as `databases`.
type Kind interface {
	// Name is the field under which a list of such resources stands in the file: "databases".
	Name() string
	// Decode reads one of them. Name and Value of the result are set; Source identifies its content, files included.
	Decode(n *yaml.Node, at Path, env *Env) (Resource, []Problem)
	// Check reports what is wrong with it in the light of the whole model.
	Check(m *Model, r *Resource, at Path) []Problem
}

// Language is what a configuration can be written with: the protocols and kinds that this binary serves.
type Language struct {
	Protocols []Protocol
	Kinds     []Kind
}

func (l Language) protocol(name string) Protocol {
	for _, p := range l.Protocols {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

func (l Language) kind(name string) Kind {
	for _, k := range l.Kinds {
		if k.Name() == name {
			return k
		}
	}
	return nil
}

// Cluster finds a declared cluster by name.
func (m *Model) Cluster(name string) *Cluster {
	for _, c := range m.Clusters {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Resource finds a declared resource by kind and name.
func (m *Model) Resource(kind, name string) *Resource {
	for _, r := range m.Resources {
		if r.Kind == kind && r.Name == name {
			return r
		}
	}
	return nil
}

// CheckClusterRef is the check that every block with a cluster's name needs: it exists and speaks the protocol.
func (m *Model) CheckClusterRef(name, protocol string, at Path) []Problem {
	if name == "" {
		return []Problem{at.Problem("is missing")}
	}
	c := m.Cluster(name)
	if c == nil {
		var known []string
		for _, c := range m.Clusters {
			if c.Protocol == protocol {
				known = append(known, c.Name)
			}
		}
		return []Problem{at.Missing("no cluster named %q%s", name, Suggest(name, known))}
	}
	if c.Protocol != protocol {
		return []Problem{at.Missing("cluster %q speaks %s, this listener speaks %s", name, c.Protocol, protocol)}
	}
	return nil
}

// CheckResourceRef is the check that every block with a resource's name needs.
func (m *Model) CheckResourceRef(kind, name string, at Path) []Problem {
	if m.Resource(kind, name) != nil {
		return nil
	}
	var known []string
	for _, r := range m.Resources {
		if r.Kind == kind {
			known = append(known, r.Name)
		}
	}
	return []Problem{at.Missing("no entry named %q under %s%s", name, kind, Suggest(name, known))}
}
