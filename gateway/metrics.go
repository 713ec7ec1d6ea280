package gateway

import (
	"sync"

	"github.com/sidewire/sidewire/gateway/cluster"
)

// endpoints are the endpoints and clusters that have metrics. They come and go with configurations and DNS answers.
type endpoints struct {
	mu       sync.Mutex // guards the others
	known    map[*cluster.Endpoint]string
	clusters map[*cluster.Cluster]bool
}

// registerMetrics makes the metrics of what the core knows by itself.
func (g *Gateway) registerMetrics() {
	g.metrics.GaugeFunc("sidewire_config_rejected", "1 while the newest configuration is refused and an older one stays in force.", func() float64 {
		return flag(g.Rejected() != nil)
	})
	g.metrics.GaugeFunc("sidewire_memory_full", "1 while new connections are refused for lack of memory.", func() float64 { return flag(g.memory.full.Load()) })
	e := &endpoints{known: map[*cluster.Endpoint]string{}, clusters: map[*cluster.Cluster]bool{}}
	g.metrics.BeforeReading(func() { g.measureEndpoints(e) })
}

// measureEndpoints keeps the metrics of endpoints those of the endpoints that there are.
func (g *Gateway) measureEndpoints(all *endpoints) {
	all.mu.Lock()
	defer all.mu.Unlock()
	now := map[*cluster.Endpoint]bool{}
	for c := range all.clusters {
		if here := g.Cluster(c.Name()); here != c {
			delete(all.clusters, c)
			for b := range cluster.Burdens {
				if here == nil {
					g.metrics.Delete("cluster", c.Name(), "limit", b.String())
				}
			}
		}
	}
	for _, c := range g.Clusters() {
		if !all.clusters[c] {
			all.clusters[c] = true
			g.measureBurdens(c)
		}
		for _, e := range c.Endpoints() {
			now[e] = true
			if _, ok := all.known[e]; !ok {
				all.known[e] = c.Name()
				g.measure(c, e)
			}
		}
	}
	for e, name := range all.known {
		if now[e] {
			continue
		}
		delete(all.known, e)
		if c := g.Cluster(name); c == nil || c.Endpoint(e.Address()) == nil { // not replaced by one of the same address
			g.metrics.Delete("cluster", name, "endpoint", e.Address())
		}
	}
}

func (g *Gateway) measure(c *cluster.Cluster, e *cluster.Endpoint) {
	labels := []string{"cluster", c.Name(), "endpoint", e.Address()}
	gauge := func(name, help string, f func() float64) {
		g.metrics.GaugeFunc(name, help, f, labels...)
	}
	gauge("sidewire_endpoint_healthy", "1 while the endpoint may serve.", func() float64 { return flag(e.Healthy()) })
	gauge("sidewire_endpoint_ejected", "1 while failures of sessions leave the endpoint out.", func() float64 { return flag(e.Ejected()) })
	gauge("sidewire_endpoint_primary", "1 while the endpoint is known to take writes.", func() float64 { return flag(e.Role() == cluster.Primary) })
	gauge("sidewire_endpoint_replica", "1 while the endpoint is known to follow another.", func() float64 { return flag(e.Role() == cluster.Replica) })
	gauge("sidewire_endpoint_inflight", "Work that the endpoint has now.", func() float64 { return float64(e.Inflight()) })
	gauge("sidewire_endpoint_lag_seconds", "How far the endpoint is behind its primary; -1 while that is unknown.", func() float64 {
		if e.Lag() < 0 {
			return -1
		}
		return e.Lag().Seconds()
	})
}

// measureBurdens shows what a cluster carries, and what its limits refused.
func (g *Gateway) measureBurdens(c *cluster.Cluster) {
	for b := range cluster.Burdens {
		labels := []string{"cluster", c.Name(), "limit", b.String()}
		g.metrics.GaugeFunc("sidewire_cluster_burden", "What the cluster carries now of what a limit counts.", func() float64 {
			now, _ := c.Burden(b)
			return float64(now)
		}, labels...)
		g.metrics.CounterFunc("sidewire_cluster_overflows_total", "How often a limit refused more.", func() float64 {
			_, refused := c.Burden(b)
			return float64(refused)
		}, labels...)
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
