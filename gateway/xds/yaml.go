package xds

import (
	"fmt"

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
	out := tree{}
	if err := n.Decode(&out); err != nil {
		return nil, fmt.Errorf("reading YAML: %w", err)
	}
	return out, nil
}

// node is a tree as the decoder of the file wants it.
func node(t tree) (*yaml.Node, error) {
	var n yaml.Node
	if err := n.Encode(t); err != nil {
		return nil, fmt.Errorf("writing YAML: %w", err)
	}
	return &n, nil
}
