package admin

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/gateway/cluster"
)

// address is envoy.config.core.v3.Address in its JSON form.
func address(a string) map[string]any {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		return map[string]any{"pipe": map[string]any{"path": path}}
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return map[string]any{"socket_address": map[string]any{"address": a}}
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return map[string]any{"socket_address": map[string]any{"address": host, "named_port": port}}
	}
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": n}}
}

// bound is a socket's address in the form configurations use.
func bound(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}

func (s *Server) listeners(w http.ResponseWriter, req *http.Request) {
	all := s.options.Source.Listeners()
	switch format := req.URL.Query().Get("format"); format {
	case "json":
		statuses := make([]any, 0, len(all))
		for _, l := range all {
			statuses = append(statuses, map[string]any{
				"name": l.Name(), "local_address": address(bound(l.Addr())), "protocol": l.Config().Protocol, "connections": l.Connections(),
			})
		}
		writeJSON(w, map[string]any{"listener_statuses": statuses})
	case "", "text":
		for _, l := range all {
			fmt.Fprintf(w, "%s::%s\n", l.Name(), bound(l.Addr()))
		}
	default:
		badFormat(w, format, "text or json")
	}
}

func (s *Server) clusters(w http.ResponseWriter, req *http.Request) {
	all := s.options.Source.Clusters()
	switch format := req.URL.Query().Get("format"); format {
	case "json":
		statuses := make([]any, 0, len(all))
		for _, c := range all {
			statuses = append(statuses, clusterStatus(c))
		}
		writeJSON(w, map[string]any{"cluster_statuses": statuses})
	case "", "text":
		for _, c := range all {
			writeCluster(w, c)
		}
	default:
		badFormat(w, format, "text or json")
	}
}

func badFormat(w http.ResponseWriter, got, want string) {
	http.Error(w, fmt.Sprintf("format %q is not %s", got, want), http.StatusBadRequest)
}

func writeCluster(w io.Writer, c *cluster.Cluster) {
	conf := c.Config()
	fmt.Fprintf(w, "%s::observability_name::%s\n%s::protocol::%s\n%s::added_via_api::%v\n", c.Name(), c.Name(), c.Name(), conf.Protocol, c.Name(), conf.Origin.Source == "xds")
	for _, e := range c.Endpoints() {
		at := fmt.Sprintf("%s::%s::", c.Name(), e.Address())
		open, opened, failed := e.Connections()
		fmt.Fprintf(w, "%scx_active::%d\n%scx_connect_fail::%d\n%scx_total::%d\n", at, open, at, failed, at, opened)
		fmt.Fprintf(w, "%srq_active::%d\n%shealth_flags::%s\n%sweight::%d\n%szone::%s\n%srole::%s\n", at, e.Inflight(), at, healthFlags(e), at, e.Config().Weight, at, e.Config().Zone, at, e.Role())
		if lag := e.Lag(); lag >= 0 {
			fmt.Fprintf(w, "%slag_ms::%d\n", at, lag.Milliseconds())
		}
		if st := e.State(); st != nil && st.Version != "" {
			fmt.Fprintf(w, "%sversion::%s\n", at, st.Version)
		}
		if p := e.Problem(); p != "" {
			fmt.Fprintf(w, "%sproblem::%s\n", at, strings.ReplaceAll(p, "\n", " "))
		}
	}
}

// healthFlags are why an endpoint is left out, in Envoy's words.
func healthFlags(e *cluster.Endpoint) (flags string) {
	if e.Failing() {
		flags = "/failed_active_hc"
	}
	if e.Ejected() {
		flags += "/failed_outlier_check"
	}
	return cmp.Or(flags, "healthy")
}

// hostStats are envoy.admin.v3.SimpleMetric, whose type is COUNTER unless it says otherwise.
func hostStats(e *cluster.Endpoint) []any {
	open, opened, failed := e.Connections()
	one := func(name, kind string, n int64) any {
		m := map[string]any{"name": name, "value": strconv.FormatInt(n, 10)}
		if kind != "COUNTER" {
			m["type"] = kind
		}
		return m
	}
	return []any{one("cx_connect_fail", "COUNTER", failed), one("cx_total", "COUNTER", opened), one("cx_active", "GAUGE", open), one("rq_active", "GAUGE", e.Inflight())}
}

// clusterStatus is envoy.admin.v3.ClusterStatus with sidewire's additions: protocol, role, lag, version, problem.
func clusterStatus(c *cluster.Cluster) map[string]any {
	conf := c.Config()
	hosts := make([]any, 0, len(c.Endpoints()))
	for _, e := range c.Endpoints() {
		health := map[string]any{"eds_health_status": "HEALTHY"}
		if e.Failing() {
			health["failed_active_health_check"] = true
		}
		if e.Ejected() {
			health["failed_outlier_check"] = true
		}
		host := map[string]any{
			"address": address(e.Address()), "health_status": health, "weight": e.Config().Weight, "role": e.Role().String(),
			"stats":    hostStats(e),
			"locality": map[string]any{"zone": e.Config().Zone},
		}
		if name, _, err := net.SplitHostPort(e.Address()); err == nil && net.ParseIP(name) == nil {
			host["hostname"] = name
		}
		if lag := e.Lag(); lag >= 0 {
			host["lag_ms"] = lag.Milliseconds()
		}
		if st := e.State(); st != nil {
			host["version"], host["detail"] = st.Version, st.Detail
		}
		if p := e.Problem(); p != "" {
			host["problem"] = p
		}
		hosts = append(hosts, host)
	}
	return map[string]any{
		"name": c.Name(), "observability_name": c.Name(), "added_via_api": conf.Origin.Source == "xds", "protocol": conf.Protocol, "host_statuses": hosts,
	}
}
