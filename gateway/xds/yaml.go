package xds

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
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

// node is a tree as the decoder of the file wants it. It is built here, because encoding by way of reflection was a third of
// the work of a push.
func node(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case *yaml.Node:
		return v, nil
	case tree:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: make([]*yaml.Node, 0, 2*len(v))}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			value, err := node(v[key])
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, scalar("!!str", key), value)
		}
		return n, nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: make([]*yaml.Node, len(v))}
		for i := range v {
			var err error
			if n.Content[i], err = node(v[i]); err != nil {
				return nil, err
			}
		}
		return n, nil
	case string:
		return scalar("!!str", v), nil
	case int64:
		return scalar("!!int", strconv.FormatInt(v, 10)), nil
	case int:
		return scalar("!!int", strconv.Itoa(v)), nil
	case bool:
		return scalar("!!bool", strconv.FormatBool(v)), nil
	case nil:
		return scalar("!!null", "null"), nil
	}
	n := new(yaml.Node) // what only a written file has: floats, times, keys that are no text
	if err := n.Encode(v); err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	return n, nil
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
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
