package admin

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// stats shows counters under Envoy's names, so that what watches Envoy (agents, dashboards) can watch sidewire.
func (s *Server) stats(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	var filter *regexp.Regexp
	if pattern := q.Get("filter"); pattern != "" {
		var err error
		if filter, err = regexp.Compile(pattern); err != nil {
			http.Error(w, "reading filter: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	if q.Get("format") == "prometheus" {
		s.options.Source.Metrics().Handler().ServeHTTP(w, req)
		return
	}
	all := append(s.options.Source.Metrics().Stats(), s.coreStats()...)
	all = slices.DeleteFunc(all, func(st telemetry.Stat) bool {
		return (q.Has("usedonly") && st.Value == 0) || (filter != nil && !filter.MatchString(st.Name))
	})
	slices.SortFunc(all, func(a, b telemetry.Stat) int { return strings.Compare(a.Name, b.Name) })
	switch format := q.Get("format"); format {
	case "json":
		out := make([]any, 0, len(all))
		for _, st := range all {
			out = append(out, map[string]any{"name": st.Name, "value": st.Value})
		}
		writeJSON(w, map[string]any{"stats": out})
	case "", "text":
		for _, st := range all {
			fmt.Fprintf(w, "%s: %d\n", st.Name, st.Value)
		}
	default:
		badFormat(w, format, "text, json or prometheus")
	}
}

// coreStats are the stats that every process has, computed when somebody asks.
func (s *Server) coreStats() []telemetry.Stat {
	live := int64(0)
	if s.options.Life.State() == Live {
		live = 1
	}
	listeners := s.options.Source.Listeners()
	clusters := s.options.Source.Clusters()
	out := []telemetry.Stat{
		{Name: "server.live", Value: live},
		{Name: "server.uptime", Value: int64(s.options.Now().Sub(s.options.Source.Started()).Seconds())},
		{Name: "listener_manager.total_listeners_active", Value: int64(len(listeners))},
		{Name: "cluster_manager.active_clusters", Value: int64(len(clusters))},
	}
	for _, l := range listeners {
		at := "listener." + statName(bound(l.Addr())) + "."
		out = append(out, telemetry.Stat{Name: at + "downstream_cx_active", Value: int64(l.Connections())})
	}
	for _, c := range clusters {
		at := "cluster." + statName(c.Name()) + "."
		var healthy, active, open, opened, failed int64
		for _, e := range c.Endpoints() {
			active += e.Inflight()
			a, b, f := e.Connections()
			open, opened, failed = open+a, opened+b, failed+f
			if e.Healthy() {
				healthy++
			}
		}
		out = append(out, telemetry.Stat{Name: at + "membership_total", Value: int64(len(c.Endpoints()))},
			telemetry.Stat{Name: at + "membership_healthy", Value: healthy}, telemetry.Stat{Name: at + "upstream_rq_active", Value: active},
			// Of the endpoints that are there: with one that leaves, what it had counted leaves.
			telemetry.Stat{Name: at + "upstream_cx_active", Value: open}, telemetry.Stat{Name: at + "upstream_cx_total", Value: opened},
			telemetry.Stat{Name: at + "upstream_cx_connect_fail", Value: failed})
		out = append(out, breakerStats(at, c)...)
	}
	return out
}

// breakers are the burdens of clusters by Envoy's names: what is refused, what there is now, whether a limit is reached, and
// what is left of it.
var breakers = [cluster.Burdens]struct{ overflow, active, open, remaining string }{
	cluster.Connections: {"upstream_cx_overflow", "", "cx_open", "remaining_cx"},
	cluster.Pending:     {"upstream_rq_pending_overflow", "upstream_rq_pending_active", "rq_pending_open", "remaining_pending"},
	cluster.Requests:    {"upstream_rq_overflow", "", "rq_open", "remaining_rq"},
	cluster.Retries:     {"upstream_rq_retry_overflow", "upstream_rq_retry_active", "rq_retry_open", "remaining_retries"},
}

func breakerStats(at string, c *cluster.Cluster) []telemetry.Stat {
	var out []telemetry.Stat
	for b, names := range breakers {
		now, refused := c.Burden(cluster.Burden(b))
		out = append(out, telemetry.Stat{Name: at + names.overflow, Value: refused})
		if names.active != "" {
			out = append(out, telemetry.Stat{Name: at + names.active, Value: now})
		}
		limit, limited := c.Limit(cluster.Burden(b))
		open := int64(0)
		if limited && now >= int64(limit) {
			open = 1
		}
		out = append(out, telemetry.Stat{Name: at + "circuit_breakers.default." + names.open, Value: open})
		if limited {
			out = append(out, telemetry.Stat{Name: at + "circuit_breakers.default." + names.remaining, Value: max(int64(limit)-now, 0)})
		}
	}
	return out
}

// statName is a name as Envoy writes it inside a stat: dots separate parts, colons do not occur.
func statName(name string) string { return strings.NewReplacer(":", "_", "/", "_").Replace(name) }
