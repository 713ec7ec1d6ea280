package redis

import "github.com/sidewire/sidewire/gateway/config"

// topology learns a Redis Cluster's slots.
type topology struct{ a *attachment }

func (t *topology) init(a *attachment) { t.a = a }

func (t *topology) seeds(*config.Cluster) {}

func (r *room) refresh(*upstream, string) {}

// redirected looks at an error reply of a shared connection. If it says that the command was not executed here and where it belongs, the
// command is sent on, and redirected reports true: the entry is no longer the backend's.
func (u *upstream) redirected(*backend, *pending, []byte) bool { return false }
