package redis

import (
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// tallyBounds are the upper bounds of a tally's buckets, in seconds.
var tallyBounds = func() []float64 {
	all := make([]float64, len(tally{}.buckets)-1)
	for i := range all {
		all[i] = float64(uint64(1)<<i) / 1e6
	}
	return all
}()

// reading is a tally as a histogram.
func (t *tally) reading() telemetry.Reading {
	r := telemetry.Reading{Bounds: tallyBounds, Counts: make([]uint64, len(t.buckets)), Sum: float64(t.nanos) / 1e9}
	for i, n := range t.buckets {
		r.Counts[i] = uint64(n)
		r.Count += uint64(n)
	}
	return r
}

// digests are the commands of all clusters, as the other protocols' forms of statements.
func (r *room) digests() []telemetry.DigestView {
	rd := r.read()
	rd.mu.Lock()
	defer rd.mu.Unlock()
	var all []telemetry.DigestView
	for cluster, commands := range rd.commands {
		for command, t := range commands {
			v := telemetry.DigestView{Cluster: cluster, Protocol: protocolName, Text: strings.ToUpper(command), Errors: int64(t.failed), Max: time.Duration(t.worst).Seconds(), Last: rd.taken.UTC()}
			v.Measure(t.reading())
			v.Count = int64(t.count)
			all = append(all, v)
		}
	}
	return all
}

// conventional shows a command under the names that OpenTelemetry and Envoy have for it. The conventions know no clusters: there
// the command counts for all of them.
func (r *room) conventional(cluster, command string) {
	reg := r.host.Metrics()
	stat := func(name string, f func(t *tally) uint64) {
		reg.Stat("cluster."+cluster+".upstream_commands."+strings.ReplaceAll(command, "|", "_")+"."+name, telemetry.StatFunc(func() int64 {
			t := r.tally(cluster, command)
			return int64(f(&t))
		}))
	}
	stat("total", func(t *tally) uint64 { return t.count })
	stat("success", func(t *tally) uint64 { return t.count - t.failed })
	stat("failure", func(t *tally) uint64 { return t.failed })
	reg.HistogramFunc("db_client_operation_duration_seconds", "From a statement's arrival to its answer's end.", func() telemetry.Reading {
		r.reading.mu.Lock()
		defer r.reading.mu.Unlock()
		var sum tally
		for _, commands := range r.reading.commands {
			t := commands[command]
			sum.nanos += t.nanos
			for i := range t.buckets {
				sum.buckets[i] += t.buckets[i]
			}
		}
		return sum.reading()
	}, "listener", "", "db_system_name", "redis", "db_namespace", "", "db_operation_name", strings.ToUpper(command), "server_address", "", "server_port", "",
		"db_response_status_code", "", "error_type", "")
}

// gateStats shows a listener under Envoy's names.
func (r *room) gateStats(gate string) {
	for name, f := range map[string]func(g gateReading) uint64{
		"downstream_cx_active": func(g gateReading) uint64 { return g.Sessions }, "downstream_cx_total": func(g gateReading) uint64 { return g.Total },
		"downstream_cx_protocol_error": func(g gateReading) uint64 { return g.ProtocolErrors },
		"splitter.invalid_request":     func(g gateReading) uint64 { return g.Invalid }, "splitter.unsupported_command": func(g gateReading) uint64 { return g.Unsupported },
	} {
		r.gateStat(gate, name, f)
	}
}

// gateCommandStats shows what a listener's clients were answered to a command.
func (r *room) gateCommandStats(gate, command string) {
	at := "command." + strings.ReplaceAll(command, "|", "_") + "."
	r.gateStat(gate, at+"total", func(g gateReading) uint64 { return g.commands[command].total })
	r.gateStat(gate, at+"success", func(g gateReading) uint64 { return g.commands[command].total - g.commands[command].failed })
	r.gateStat(gate, at+"error", func(g gateReading) uint64 { return g.commands[command].failed })
}

func (r *room) gateStat(gate, name string, f func(g gateReading) uint64) {
	r.host.Metrics().Stat("redis."+gate+"."+name, telemetry.StatFunc(func() int64 {
		r.reading.mu.Lock()
		defer r.reading.mu.Unlock()
		return int64(f(r.reading.gates[gate]))
	}))
}

// measurePool shows a cluster's connections under OpenTelemetry's names. Shared ones are never lent: what is lent are those that a client
// has for itself.
func (r *room) measurePool(cluster string) *telemetry.Pool {
	return telemetry.NewPool(r.host.Metrics(), cluster, func() telemetry.PoolReading {
		r.reading.mu.Lock()
		defer r.reading.mu.Unlock()
		c := r.reading.clusters[cluster]
		return telemetry.PoolReading{Idle: c.Idle, Used: c.Connections - c.Idle, Pending: c.Queued, Max: c.most, MaxIdle: c.mostIdle, MinIdle: c.leastIdle}
	})
}
