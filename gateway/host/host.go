// Package host is what a protocol room gets from the process it runs in: the snapshot, living clusters, sockets, telemetry.
package host

import (
	"log/slog"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// Host is the process as a protocol sees it.
type Host interface {
	// Snapshot is the configuration in force: one atomic load. A session asks once per statement and keeps the answer
	// for the length of a transaction.
	Snapshot() *config.Snapshot
	// Cluster is a living cluster; nil when there is none of that name.
	Cluster(name string) *cluster.Cluster
	// Upstream is what the cluster's protocol attached to it (its pools); nil when there is none.
	Upstream(cluster string) Upstream
	// Bind opens one more socket that belongs to the listener named owner and is served by h; Kafka needs one a broker.
	// An address that is bound already for the same owner is returned again. It is drained and closed with its owner.
	Bind(owner, address string, h listener.Handler) (*listener.Listener, error)
	// Unbind drains and closes a socket that Bind opened.
	Unbind(l *listener.Listener)
	// Metrics is where instruments are resolved, once, and kept.
	Metrics() *telemetry.Registry
	// Access is the access log. It may be nil, which takes everything and writes nothing; ask again for each entry.
	Access() *telemetry.AccessLog
	Log() *slog.Logger
	Now() time.Time
	// Rand is uniform and safe for concurrent use.
	Rand() uint64
	// View contributes a JSON-able view to the admin interface under /views/NAME. A second call replaces it, nil removes it.
	View(name string, f func() any)
}

// Upstream is a protocol's own state on a cluster, such as its pools. It lives as long as the cluster.
type Upstream interface {
	// Update takes the cluster's new configuration; connections that still fit stay.
	Update(c *config.Cluster) error
	// Close closes what is idle at once and the rest when it is given back.
	Close()
}

// Protocol is all that the process wants of a protocol.
type Protocol interface {
	config.Protocol
	cluster.Prober
	// Upstream attaches the protocol to one of its clusters; nil when it keeps nothing there.
	Upstream(h Host, c *cluster.Cluster) (Upstream, error)
	// Listen makes the handler of a listener. The socket is bound already; nothing is accepted before Listen returns.
	Listen(h Host, l *config.Listener) (listener.Handler, error)
}

// Kinds is implemented by protocols that bring kinds of resources, such as virtual databases.
type Kinds interface{ Kinds() []config.Kind }
