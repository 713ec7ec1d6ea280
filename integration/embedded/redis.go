package embedded

import (
	"fmt"

	"github.com/alicebob/miniredis/v2"
)

// Redis is one node.
type Redis struct {
	Addr string // 127.0.0.1:PORT

	node *miniredis.Miniredis
}

// StartRedis starts an empty node at an address; 127.0.0.1:0 is any free port.
func StartRedis(addr string) (*Redis, error) {
	node := miniredis.NewMiniRedis()
	if err := node.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("making a Redis node: %w", err)
	}
	return &Redis{Addr: node.Addr(), node: node}, nil
}

// Close ends the node and its connections and returns when they are gone.
func (r *Redis) Close() error {
	r.node.Close()
	return nil
}
