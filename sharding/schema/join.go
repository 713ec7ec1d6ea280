package schema

import (
	"strings"

	"github.com/sidewire/sidewire/sharding/rule"
)

// Join makes the logical structure from the physical ones, by target name: a sharded or broadcast table takes the
// structure of its first node that is known, every other table its own, with the target it was found on.
func Join(rules *rule.Set, physical map[string]Physical) *Schema {
	s := &Schema{Tables: map[string]*Table{}, Sources: map[string]string{}}
	inRule := map[string]bool{}
	for key, t := range rules.Tables() {
		for _, n := range t.Nodes {
			target := rules.Targets[n.Target].Name
			name := strings.ToLower(n.Table)
			inRule[target+"\x00"+name] = true
			if p := physical[target][name]; p != nil && s.Tables[key] == nil {
				logical := *p
				logical.Name = t.Name
				s.Tables[key] = &logical
			}
		}
	}
	for _, target := range rules.Targets {
		for name, p := range physical[target.Name] {
			if inRule[target.Name+"\x00"+name] || rules.Lookup(name) != nil || s.Tables[name] != nil {
				continue
			}
			s.Tables[name] = p
			s.Sources[name] = target.Name
		}
	}
	return s
}
