// Package host is what a protocol room gets from the process it runs in: the snapshot, living clusters, sockets, telemetry.
package host

import (
	"context"
	"log/slog"
	"net/url"
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
	// Cluster is a living cluster; nil when there is none of that name. One that the configuration no longer names is there
	// for the drain time, so that what began before may end.
	Cluster(name string) *cluster.Cluster
	// Upstream is what the cluster's protocol attached to it (its pools); nil when there is none.
	Upstream(cluster string) Upstream
	// Bind opens one more socket that belongs to the listener named owner and is served by h; Kafka needs one a broker.
	// An address that is bound already for the same owner is returned again, with the handler it has. It is drained and
	// closed with its owner, and when its owner's address changes its protocol. h is not told of new configurations, its owner
	// is; its Drain and Close are about this socket alone. owner is the name in the newest configuration that the handler knows.
	// Before the configuration is in force Bind fails: try again.
	Bind(owner, address string, h listener.Handler) (*listener.Listener, error)
	// Unbind drains and closes a socket that Bind opened.
	Unbind(l *listener.Listener)
	// Metrics is where instruments are resolved, once, and kept.
	Metrics() *telemetry.Registry
	// Access is the access log. It may be nil, which takes everything and writes nothing; ask again for each entry.
	Access() *telemetry.AccessLog
	// Statements is where sessions tell of every statement that ended. Get a Recorder once a listener.
	Statements() *telemetry.Statements
	Log() *slog.Logger
	Now() time.Time
	// Rand is uniform and safe for concurrent use.
	Rand() uint64
	// View contributes a JSON-able view to the admin interface under /views/NAME. A second call replaces it; remove takes back
	// what this call contributed, and leaves what took its place: a listener that moved is there twice while the old one drains.
	View(name string, f func() any) (remove func())
	// Action contributes something that an operator may have done, by POST to /actions/NAME. values are the request's
	// parameters; the answer is JSON-able. A second call replaces it, nil removes it.
	Action(name string, f func(ctx context.Context, values url.Values) (any, error))
}

// Upstream is a protocol's own state on a cluster, such as its pools. It lives as long as the cluster.
type Upstream interface {
	// Update takes the cluster's new configuration; connections that still fit stay. An error refuses the whole configuration;
	// when something else refuses it, Update is called with the old one again.
	Update(c *config.Cluster) error
	// Close closes what is idle at once and the rest when it is given back, and does not wait for that.
	Close()
}

// Protocol is all that the process wants of a protocol.
type Protocol interface {
	config.Protocol
	cluster.Prober
	// Upstream attaches the protocol to one of its clusters; nil when it keeps nothing there.
	Upstream(h Host, c *cluster.Cluster) (Upstream, error)
	// Listen makes the handler of a listener. The socket is bound already and the clusters are there; nothing is accepted
	// before the configuration is in force, so h.Snapshot is still the one before, nil at first. When something else refuses
	// the configuration, the handler is closed without having served.
	Listen(h Host, l *config.Listener) (listener.Handler, error)
}

// Kinds is implemented by protocols that bring kinds of resources, such as virtual databases.
type Kinds interface{ Kinds() []config.Kind }

// Closer is implemented by protocols that keep something for the whole process: an event loop, a transaction log. Close is
// called once, when listeners and clusters are closed.
type Closer interface{ Close() }
