package redis

import (
	"slices"
	"sync"
	"time"
)

// reading is what the engine's counters were when somebody last looked. Metrics are read from it, so that a scrape stops the loop once
// and shortly.
type reading struct {
	mu       sync.Mutex
	taken    time.Time
	commands map[string]map[string]tally // by cluster and command
	clusters map[string]clusterReading
	gates    map[string]gateReading
}

type clusterReading struct {
	Nodes       []nodeReading `json:"servers"`
	Connections int           `json:"connections"`
	Idle        int           `json:"idle"`
	Queued      int           `json:"queued"`
	InFlight    int           `json:"in_flight"`
	Redirected  uint64        `json:"redirected"`
	Mirrored    uint64        `json:"mirrored"`
	Unmirrored  uint64        `json:"not_mirrored"`

	most, mostIdle, leastIdle int // connections
}

type nodeReading struct {
	Address     string `json:"address"`
	Version     string `json:"version,omitempty"`
	Connections int    `json:"connections"`
	Dedicated   int    `json:"dedicated"`
	InFlight    int    `json:"in_flight"`
	Timeouts    uint64 `json:"timeouts"`
	Lost        uint64 `json:"lost_connections"`
	Unknown     uint64 `json:"unknown_outcomes"`
	Errors      uint64 `json:"abandoned"`
	LastError   string `json:"last_error,omitempty"`
}

type gateReading struct {
	Sessions, Total, ProtocolErrors, Overflows, Delayed, Failed, Invalid, Unsupported uint64

	commands map[string]outcomes
}

// read takes a reading on the loop. Readings within a moment of each other are one.
func (r *room) read() *reading {
	rd := &r.reading
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if now := r.host.Now(); rd.taken.IsZero() || now.Sub(rd.taken) > 100*time.Millisecond {
		r.do(func() { r.snapshot(rd) })
		rd.taken = now
	}
	return rd
}

func (r *room) snapshot(rd *reading) {
	rd.commands, rd.clusters, rd.gates = map[string]map[string]tally{}, map[string]clusterReading{}, map[string]gateReading{}
	for u := range r.engine.upstreams {
		m := map[string]tally{}
		for id := range u.meter.commands {
			if t := u.meter.commands[id]; t.count > 0 {
				m[commandName(uint16(id))] = t
			}
		}
		rd.commands[u.name] = m
		rd.clusters[u.name] = u.reading()
	}
	for _, g := range r.engine.gates {
		rd.gates[g.name] = g.reading()
	}
	for _, s := range r.engine.sessions {
		g := rd.gates[s.gate.name]
		g.Sessions++
		rd.gates[s.gate.name] = g
	}
}

func (u *upstream) reading() clusterReading {
	c := clusterReading{Queued: u.queued, Redirected: u.stats.redirected, Mirrored: u.stats.mirrored, Unmirrored: u.stats.unmirrored}
	servers := len(u.nodes) * len(u.views) // each identity has its own
	c.most, c.mostIdle, c.leastIdle = servers*(u.connections+u.maxDedicated), servers*(u.connections+keptIdle), len(u.nodes)*u.least
	at := map[*node]int{}
	for i, n := range u.nodes {
		at[n] = i
		nr := nodeReading{Address: n.address, Version: n.version, Timeouts: n.stats.timeouts, Lost: n.stats.lost, Unknown: n.stats.unknown, Errors: n.stats.errors}
		if n.lastErr != nil {
			nr.LastError = n.lastErr.Error()
		}
		c.Nodes = append(c.Nodes, nr)
	}
	for b := range u.engine.backends {
		i, ok := at[b.pool.node]
		if !ok || b.pool.view.upstream != u {
			continue
		}
		n := &c.Nodes[i]
		n.Connections++
		n.InFlight += b.pending.len()
		c.Connections++
		c.InFlight += b.pending.len()
		if b.holder == nil && b.pending.len() == 0 {
			c.Idle++
		}
		if b.dedicated {
			n.Dedicated++
		}
	}
	return c
}

// instrument registers what is read at a scrape.
func (r *room) instrument() {
	reg := r.host.Metrics()
	r.host.Statements().Source(protocolName, r.digests)
	known := map[[3]string]bool{}
	var mu sync.Mutex
	reg.BeforeReading(func() {
		rd := r.read()
		rd.mu.Lock()
		defer rd.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		for cluster, commands := range rd.commands {
			for command := range commands {
				if k := [3]string{"cluster", cluster, command}; !known[k] {
					known[k] = true
					r.instrumentCommand(cluster, command)
				}
			}
			if k := [3]string{"cluster", cluster}; !known[k] {
				known[k] = true
				r.instrumentCluster(cluster)
			}
		}
		for gate, g := range rd.gates {
			if k := [3]string{"listener", gate}; !known[k] {
				known[k] = true
				r.instrumentGate(gate)
			}
			for command := range g.commands {
				if k := [3]string{"listener", gate, command}; !known[k] {
					known[k] = true
					r.gateCommandStats(gate, command)
				}
			}
		}
	})
}

func (g *gate) reading() gateReading {
	out := gateReading{Total: g.stats.sessions, ProtocolErrors: g.stats.protocolErrors, Overflows: g.stats.overflows, Delayed: g.stats.delayed, Failed: g.stats.failed,
		Invalid: g.stats.invalid, Unsupported: g.stats.unsupported, commands: map[string]outcomes{}}
	for id, o := range g.stats.commands {
		if o.total > 0 {
			out.commands[commandName(uint16(id))] = o
		}
	}
	return out
}

func (r *room) tally(cluster, command string) tally {
	r.reading.mu.Lock()
	defer r.reading.mu.Unlock()
	return r.reading.commands[cluster][command]
}

func (r *room) instrumentCommand(cluster, command string) {
	reg := r.host.Metrics()
	labels := []string{"cluster", cluster, "command", command}
	r.conventional(cluster, command)
	reg.CounterFunc("sidewire_redis_commands_total", "Commands answered by servers.", func() float64 { return float64(r.tally(cluster, command).count) }, labels...)
	reg.CounterFunc("sidewire_redis_command_errors_total", "Commands that a server answered with an error.", func() float64 { return float64(r.tally(cluster, command).failed) }, labels...)
	reg.CounterFunc("sidewire_redis_command_seconds_total", "Time from a command's arrival to its reply's, added up.", func() float64 { return float64(r.tally(cluster, command).nanos) / 1e9 }, labels...)
}

func (r *room) instrumentCluster(cluster string) {
	reg := r.host.Metrics()
	get := func(f func(c *clusterReading) float64) func() float64 {
		return func() float64 {
			r.reading.mu.Lock()
			defer r.reading.mu.Unlock()
			c := r.reading.clusters[cluster]
			return f(&c)
		}
	}
	sum := func(f func(n *nodeReading) uint64) func() float64 {
		return get(func(c *clusterReading) float64 {
			var total uint64
			for i := range c.Nodes {
				total += f(&c.Nodes[i])
			}
			return float64(total)
		})
	}
	reg.GaugeFunc("sidewire_redis_upstream_connections", "Upstream connections now open.", get(func(c *clusterReading) float64 { return float64(c.Connections) }), "cluster", cluster)
	reg.GaugeFunc("sidewire_redis_in_flight", "Commands whose replies are due.", get(func(c *clusterReading) float64 { return float64(c.InFlight) }), "cluster", cluster)
	reg.CounterFunc("sidewire_redis_redirections_total", "Commands sent on by MOVED or ASK.", get(func(c *clusterReading) float64 { return float64(c.Redirected) }), "cluster", cluster)
	reg.CounterFunc("sidewire_redis_mirrored_total", "Commands sent here as to a mirror.", get(func(c *clusterReading) float64 { return float64(c.Mirrored) }), "cluster", cluster)
	reg.CounterFunc("sidewire_redis_not_mirrored_total", "Commands that a mirror missed: it was out of reach or behind, or has their keys on several shards.", get(func(c *clusterReading) float64 { return float64(c.Unmirrored) }), "cluster", cluster)
	reg.CounterFunc("sidewire_redis_timeouts_total", "Commands answered with a timeout.", sum(func(n *nodeReading) uint64 { return n.Timeouts }), "cluster", cluster)
	reg.CounterFunc("sidewire_redis_lost_connections_total", "Upstream connections that broke.", sum(func(n *nodeReading) uint64 { return n.Lost }), "cluster", cluster)
	reg.CounterFunc("sidewire_redis_unknown_outcomes_total", "Writes of which nobody knows whether they were executed.", sum(func(n *nodeReading) uint64 { return n.Unknown }), "cluster", cluster)
}

func (r *room) instrumentGate(gate string) {
	r.gateStats(gate)
	reg := r.host.Metrics()
	get := func(f func(g gateReading) uint64) func() float64 {
		return func() float64 {
			r.reading.mu.Lock()
			defer r.reading.mu.Unlock()
			return float64(f(r.reading.gates[gate]))
		}
	}
	reg.GaugeFunc("sidewire_redis_sessions", "Clients now connected.", get(func(g gateReading) uint64 { return g.Sessions }), "listener", gate)
	reg.CounterFunc("sidewire_redis_sessions_total", "Clients that connected.", get(func(g gateReading) uint64 { return g.Total }), "listener", gate)
	reg.CounterFunc("sidewire_redis_protocol_errors_total", "Clients disconnected for what they sent.", get(func(g gateReading) uint64 { return g.ProtocolErrors }), "listener", gate)
	reg.CounterFunc("sidewire_redis_faults_total", "Commands that went wrong on purpose.", get(func(g gateReading) uint64 { return g.Delayed }), "listener", gate, "fault", "delay")
	reg.CounterFunc("sidewire_redis_faults_total", "Commands that went wrong on purpose.", get(func(g gateReading) uint64 { return g.Failed }), "listener", gate, "fault", "error")
	reg.CounterFunc("sidewire_redis_output_overflows_total", "Clients disconnected for what they did not fetch.", get(func(g gateReading) uint64 { return g.Overflows }), "listener", gate)
}

// commandReading is a command as the admin interface shows it.
type commandReading struct {
	Command string        `json:"command"`
	Count   uint64        `json:"count"`
	Failed  uint64        `json:"failed"`
	Mean    time.Duration `json:"mean_ns"`
	P50     time.Duration `json:"p50_ns_at_most"`
	P99     time.Duration `json:"p99_ns_at_most"`
	Worst   time.Duration `json:"worst_ns"`
}

// view is /views/redis/CLUSTER: servers, commands, hot and big keys, the slow log.
func (a *attachment) view() any {
	out := struct {
		clusterReading
		Commands []commandReading `json:"commands"`
		Hot      []sketchEntry    `json:"hot_keys"`
		Big      []sketchEntry    `json:"big_keys"`
		Slow     []slowEntry      `json:"slow_log"`
	}{}
	a.room.do(func() {
		m := a.up.meter
		out.clusterReading = a.up.reading()
		for id := range m.commands {
			t := &m.commands[id]
			if t.count == 0 {
				continue
			}
			out.Commands = append(out.Commands, commandReading{
				Command: commandName(uint16(id)), Count: t.count, Failed: t.failed, Mean: time.Duration(t.nanos / int64(t.count)),
				P50: t.quantile(0.5), P99: t.quantile(0.99), Worst: time.Duration(t.worst),
			})
		}
		out.Hot = m.hot.top(20, sampleMask+1)
		out.Big = m.big.top(20, 1)
		for i := range min(m.slowAt, slowKept) {
			out.Slow = append(out.Slow, m.slow[(m.slowAt-1-i)%slowKept])
		}
	})
	slices.SortFunc(out.Commands, func(x, y commandReading) int { return int(y.Count) - int(x.Count) })
	return out
}
