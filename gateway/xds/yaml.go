package xds

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/gateway/config"
)

// parseYAML reads a mapping.
func parseYAML(text []byte) (tree, error) {
	n, problems := config.Parse(text)
	if len(problems) > 0 {
		return nil, config.Problems(problems)
	}
	if n == nil {
		return tree{}, nil
	}
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("expected a mapping")
	}
	return Tree(n)
}

// node is a tree as the decoder of the file wants it.
func node(t tree) (*yaml.Node, error) {
	var n yaml.Node
	if err := n.Encode(t); err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	return &n, nil
}

// Tree is a mapping with plain values, but for those in which something carries a tag of its own, as ShardingSphere's rules
// do (`- !SHARDING`): they stay nodes, because a plain value has no place for a tag.
func Tree(n *yaml.Node) (map[string]any, error) {
	out := tree{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if tagged(value) {
			out[key] = value
			continue
		}
		var v any
		if err := value.Decode(&v); err != nil {
			return nil, fmt.Errorf("reading %s: %w", key, err)
		}
		out[key] = v
	}
	return out, nil
}

func tagged(n *yaml.Node) bool {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		return true
	}
	return slices.ContainsFunc(n.Content, tagged) || (n.Alias != nil && tagged(n.Alias))
}
