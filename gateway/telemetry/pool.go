package telemetry

import "time"

// Pool measures a pool of connections under the names of OpenTelemetry's conventions (db.client.connection.*, in development). A nil
// Pool takes everything and shows nothing.
type Pool struct {
	timeouts          *Counter
	create, wait, use *Histogram
}

// PoolReading is a pool at one moment.
type PoolReading struct {
	Idle, Used, Pending   int
	Max, MaxIdle, MinIdle int // connections that there may be, and that rest
}

// NewPool shows the pool that a cluster's connections are; read is called when somebody looks. Prometheus keeps the suffix _count for
// histograms, so that db.client.connection.count is db_client_connections at /metrics.
func NewPool(r *Registry, cluster string, read func() PoolReading) *Pool {
	labels := []string{"cluster", cluster, "db_client_connection_pool_name", cluster}
	gauge := func(name, help string, f func(PoolReading) int, more ...string) {
		r.GaugeFunc(name, help, func() float64 { return float64(f(read())) }, append(labels[:len(labels):len(labels)], more...)...)
	}
	const count = "Connections that are in the state."
	gauge("db_client_connections", count, func(p PoolReading) int { return p.Idle }, "db_client_connection_state", "idle")
	gauge("db_client_connections", count, func(p PoolReading) int { return p.Used }, "db_client_connection_state", "used")
	gauge("db_client_connection_pending_requests", "Requests that wait for a connection.", func(p PoolReading) int { return p.Pending })
	gauge("db_client_connection_max", "Connections that there may be.", func(p PoolReading) int { return p.Max })
	gauge("db_client_connection_idle_max", "Connections that may rest.", func(p PoolReading) int { return p.MaxIdle })
	gauge("db_client_connection_idle_min", "Connections that are open although nobody uses them.", func(p PoolReading) int { return p.MinIdle })
	histogram := func(name, help string) *Histogram {
		return r.Histogram("db_client_connection_"+name+"_time_seconds", help, OperationBounds, labels...)
	}
	return &Pool{
		timeouts: r.Counter("db_client_connection_timeouts_total", "Requests that waited for a connection for as long as they may.", labels...),
		create:   histogram("create", "How long a connection took to be opened and logged in."),
		wait:     histogram("wait", "How long a request waited for its connection."),
		use:      histogram("use", "How long a connection was lent."),
	}
}

// Created records how long a connection took to be opened.
func (p *Pool) Created(d time.Duration) {
	if p != nil {
		p.create.Observe(d)
	}
}

// Waited records how long a request waited for its connection.
func (p *Pool) Waited(d time.Duration) {
	if p != nil {
		p.wait.Observe(d)
	}
}

// Used records how long a connection was lent.
func (p *Pool) Used(d time.Duration) {
	if p != nil {
		p.use.Observe(d)
	}
}

// TimedOut counts a request that got no connection in its time.
func (p *Pool) TimedOut() {
	if p != nil {
		p.timeouts.Inc()
	}
}
