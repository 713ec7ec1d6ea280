package xds

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	redisv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sidewire/sidewire/sharding/hash"
)

// metadataKey is where endpoints and clusters carry what only sidewire knows: role, zone, name.
const metadataKey = "sidewire"

// clusterReading is a cluster as it was understood.
type clusterReading struct {
	body     tree
	notes    notes
	protocol string // declared; empty: the listeners that name it tell
	eds      string // the name of its endpoints' resource; empty: they are in body
	edsPath  string // the file that has it; empty: the control plane
	spread   tree   // how a protocol that has keys spreads them
	generic  bool   // its limits are in Envoy's words, not in those of a protocol
	needs    needs
}

// readCluster says what a cluster means.
func readCluster(c *clusterv3.Cluster) (*clusterReading, error) {
	r := &clusterReading{body: tree{"name": c.Name}}
	if err := r.discovery(c); err != nil {
		return nil, err
	}
	if err := putDuration(r.body, "connect_timeout", c.ConnectTimeout); err != nil {
		return nil, err
	}
	if err := r.balance(c); err != nil {
		return nil, err
	}
	if err := r.health(c.HealthChecks); err != nil {
		return nil, err
	}
	if err := r.protection(c); err != nil {
		return nil, err
	}
	if len(c.TransportSocketMatches) > 0 {
		return nil, errors.New("transport_socket_matches: is not supported; use transport_socket")
	}
	tls, err := clientTLS(c.TransportSocket, &r.notes)
	if err != nil {
		return nil, err
	}
	if tls != nil {
		r.body["tls"] = tls
	}
	if err := r.options(c); err != nil {
		return nil, err
	}
	r.notes.rest("cluster", c, "name", "alt_stat_name", "type", "cluster_type", "eds_cluster_config", "load_assignment", "connect_timeout", "lb_policy", "load_balancing_policy",
		"health_checks", "outlier_detection", "circuit_breakers", "upstream_connection_options", "common_lb_config", "transport_socket", "typed_extension_protocol_options", "metadata",
		"ring_hash_lb_config", "maglev_lb_config")
	r.needs = needsOf(r.body)
	return r, nil
}

// discovery says where endpoints come from. Names are resolved by the cluster itself: of a STRICT_DNS name every address is
// an endpoint, of a LOGICAL_DNS name the first is taken at each connect.
func (r *clusterReading) discovery(c *clusterv3.Cluster) error {
	if t := c.GetClusterType(); t != nil {
		if t.Name != "envoy.clusters.redis" {
			return fmt.Errorf("cluster_type: %s is not supported", t.Name)
		}
		r.protocol = "redis"
		r.body["redis"] = tree{"hashing": "slots"}
		return r.static(c)
	}
	switch t := c.GetType(); t {
	case clusterv3.Cluster_EDS:
		s := c.EdsClusterConfig
		var err error
		if r.edsPath, err = pathOf(s.GetEdsConfig()); err != nil {
			return fmt.Errorf("eds_cluster_config: %w", err)
		}
		if r.eds = s.GetServiceName(); r.eds == "" {
			r.eds = c.Name
		}
		return nil
	case clusterv3.Cluster_STATIC, clusterv3.Cluster_LOGICAL_DNS:
		return r.static(c)
	case clusterv3.Cluster_STRICT_DNS:
		r.body["resolve"] = "all"
		return r.static(c)
	default:
		return fmt.Errorf("type: %s is not supported", enumName(t))
	}
}

// pathOf is the file that is a configuration source; empty when it is the control plane. Other sources are errors.
func pathOf(s *corev3.ConfigSource) (string, error) {
	if p := s.GetPathConfigSource(); p != nil {
		return p.Path, refuse("path_config_source", p, "path", "watched_directory")
	}
	//lint:ignore SA1019 the old field is still written
	if p := s.GetPath(); p != "" {
		return p, nil
	}
	if s != nil && s.GetAds() == nil && s.GetSelf() == nil {
		return "", errors.New("only ads and files are supported as its source")
	}
	return "", nil
}

func (r *clusterReading) static(c *clusterv3.Cluster) error {
	list, err := readEndpoints(c.LoadAssignment, &r.notes)
	if err != nil {
		return fmt.Errorf("load_assignment: %w", err)
	}
	r.body["endpoints"] = list
	return nil
}

// hashing says how a policy that spreads keys does it, in the words of a protocol that has keys.
func (r *clusterReading) hashing(c *clusterv3.Cluster, name string, typed *anypb.Any) (known bool, err error) {
	var config proto.Message
	switch name {
	case "RING_HASH":
		r.spread, config = tree{"hashing": "envoy_ring"}, c.GetRingHashLbConfig()
	case "MAGLEV":
		r.spread, config = tree{"hashing": "envoy_maglev"}, c.GetMaglevLbConfig()
	case "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash":
		r.spread, config = tree{"hashing": "envoy_ring"}, &ringv3.RingHash{}
	case "envoy.extensions.load_balancing_policies.maglev.v3.Maglev":
		r.spread, config = tree{"hashing": "envoy_maglev"}, &maglevv3.Maglev{}
	default:
		return false, nil
	}
	if typed != nil {
		if err := typed.UnmarshalTo(config); err != nil {
			return true, err
		}
	}
	if ring, ok := config.(interface {
		GetMinimumRingSize() *wrapperspb.UInt64Value
	}); ok && ring.GetMinimumRingSize() != nil {
		size := ring.GetMinimumRingSize().Value
		if size < 1 || size > hash.MaxEnvoyRingSize {
			return true, fmt.Errorf("minimum_ring_size: %d is not between 1 and %d", size, hash.MaxEnvoyRingSize)
		}
		r.spread["ring_size"] = int64(size)
	}
	if table, ok := config.(interface {
		GetTableSize() *wrapperspb.UInt64Value
	}); ok && table.GetTableSize() != nil && table.GetTableSize().Value != 65537 {
		return true, errors.New("table_size: only 65537 is supported")
	}
	if ring, ok := config.(*ringv3.RingHash); ok && ring.HashFunction == ringv3.RingHash_XX_HASH {
		ring.HashFunction = ringv3.RingHash_DEFAULT_HASH
	}
	// Whatever else there is would place keys elsewhere.
	if err := refuse(name, config, "minimum_ring_size", "table_size"); err != nil {
		return true, err
	}
	if err := refuseFields(c.GetCommonLbConfig(), "consistent_hashing_lb_config", "locality_weighted_lb_config"); err != nil {
		return true, fmt.Errorf("common_lb_config: %w", err)
	}
	if len(c.HealthChecks) > 0 || c.OutlierDetection != nil {
		r.spread["eject"] = true // what Envoy knows to be out of health has no part of its ring
	}
	return true, nil
}

// hashed is what a policy that spreads keys means to a protocol, or that it is lost on one without keys. A block of sidewire's own that says how comes first.
func (r *clusterReading) hashed(protocol string) (spread tree, lost bool) {
	switch {
	case r.spread == nil || treeOf(r.body[protocol])["hashing"] != nil:
		return nil, false
	case protocol == "tcp":
		spread = clone(r.spread)
		delete(spread, "eject") // its connections never go to what is out of health
		return spread, false
	case protocol == "redis":
		return r.spread, false
	}
	return nil, true
}

// policies are Envoy's load-balancing policies by the file's names for them.
var policies = map[string]string{
	"ROUND_ROBIN": "round_robin", "LEAST_REQUEST": "least_requests", "RANDOM": "random",
	"envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin":     "round_robin",
	"envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest": "least_requests",
	"envoy.extensions.load_balancing_policies.random.v3.Random":              "random",
}

// balance takes the first policy of the list that is known, as the protocol has it.
func (r *clusterReading) balance(c *clusterv3.Cluster) error {
	if c.LoadBalancingPolicy != nil {
		for _, p := range c.LoadBalancingPolicy.Policies {
			typed := p.GetTypedExtensionConfig().GetTypedConfig()
			if known, err := r.policy(c, typeName(typed.GetTypeUrl()), typed); known || err != nil {
				return at("load_balancing_policy", err)
			}
		}
		return errors.New("load_balancing_policy: none of its policies is supported")
	}
	if p := c.LbPolicy; p != clusterv3.Cluster_CLUSTER_PROVIDED {
		known, err := r.policy(c, enumName(p), nil)
		if err == nil && !known {
			err = fmt.Errorf("%s is not supported", enumName(p))
		}
		return at("lb_policy", err)
	}
	return nil
}

func at(place string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	return nil
}

func (r *clusterReading) policy(c *clusterv3.Cluster, name string, typed *anypb.Any) (known bool, err error) {
	if known, err := r.hashing(c, name, typed); known || err != nil {
		return known, err
	}
	if b := policies[name]; b != "" {
		r.body["balance"] = b
		return true, nil
	}
	return false, nil
}

// health takes the times of a health check. What is asked is the protocol's own question, whatever the check would send.
func (r *clusterReading) health(checks []*corev3.HealthCheck) error {
	if len(checks) == 0 {
		return nil
	}
	if len(checks) > 1 {
		r.notes.add("health_checks: only the first is done")
	}
	h, out := checks[0], tree{}
	if err := putDuration(out, "interval", h.Interval); err != nil {
		return fmt.Errorf("health_checks: %w", err)
	}
	if err := putDuration(out, "timeout", h.Timeout); err != nil {
		return fmt.Errorf("health_checks: %w", err)
	}
	if n := h.UnhealthyThreshold; n != nil {
		out["unhealthy"] = int64(n.Value)
	}
	if n := h.HealthyThreshold; n != nil {
		out["healthy"] = int64(n.Value)
	}
	if h.GetHttpHealthCheck() != nil || h.GetGrpcHealthCheck() != nil {
		return errors.New("health_checks: HTTP and gRPC checks are not supported")
	}
	r.notes.rest("health check", h, "interval", "timeout", "unhealthy_threshold", "healthy_threshold", "tcp_health_check", "custom_health_check")
	r.body["health"] = out
	return nil
}

// protection takes what guards endpoints: passive ejection, limits, keep-alive, the panic threshold.
func (r *clusterReading) protection(c *clusterv3.Cluster) error {
	if o := c.OutlierDetection; o != nil {
		out := tree{"time": "30s", "max_percent": int64(10), "failures": int64(5)} // Envoy's defaults
		if err := putDuration(out, "time", o.BaseEjectionTime); err != nil {
			return fmt.Errorf("outlier_detection: %w", err)
		}
		if o.MaxEjectionPercent != nil {
			out["max_percent"] = int64(o.MaxEjectionPercent.Value)
		}
		if n := o.Consecutive_5Xx; n != nil {
			out["failures"] = int64(n.Value)
		}
		if n := o.ConsecutiveLocalOriginFailure; n != nil && o.SplitExternalLocalOriginErrors {
			out["failures"] = int64(n.Value)
		}
		r.notes.rest("outlier_detection", o, "consecutive_5xx", "consecutive_local_origin_failure", "split_external_local_origin_errors", "base_ejection_time", "max_ejection_percent")
		r.body["ejection"] = out
	}
	if err := r.breakers(c.GetCircuitBreakers()); err != nil {
		return fmt.Errorf("circuit_breakers: %w", err)
	}
	if k := c.GetUpstreamConnectionOptions().GetTcpKeepalive(); k != nil {
		out := tree{}
		if k.KeepaliveProbes != nil {
			out["count"] = int64(k.KeepaliveProbes.Value)
		}
		if k.KeepaliveTime != nil {
			out["idle"] = fmt.Sprintf("%ds", k.KeepaliveTime.Value)
		}
		if k.KeepaliveInterval != nil {
			out["interval"] = fmt.Sprintf("%ds", k.KeepaliveInterval.Value)
		}
		r.body["keepalive"] = out
	}
	if p := c.GetCommonLbConfig().GetHealthyPanicThreshold(); p != nil {
		r.body["health"] = merge(treeOf(r.body["health"]), tree{"panic_percent": int64(p.Value)})
	}
	if c.CommonLbConfig != nil {
		r.notes.rest("common_lb_config", c.CommonLbConfig, "healthy_panic_threshold")
	}
	return nil
}

// breakers takes the limits of the one priority that there is. What is not given has no limit, where Envoy has its 1,024.
func (r *clusterReading) breakers(c *clusterv3.CircuitBreakers) error {
	limits := tree{}
	for _, t := range c.GetThresholds() {
		if t.Priority != corev3.RoutingPriority_DEFAULT {
			r.notes.add("circuit_breakers: priority %s is not used", enumName(t.Priority))
			continue
		}
		for name, n := range map[string]*wrapperspb.UInt32Value{"total_connections": t.MaxConnections, "pending": t.MaxPendingRequests, "requests": t.MaxRequests, "retries": t.MaxRetries} {
			if err := putLimit(limits, name, n); err != nil {
				return fmt.Errorf("thresholds: %w", err)
			}
		}
		// Figures of what is left are always there (track_remaining).
		r.notes.rest("circuit_breakers", t, "max_connections", "max_pending_requests", "max_requests", "max_retries", "track_remaining", "priority")
	}
	for _, t := range c.GetPerHostThresholds() {
		if t.Priority != corev3.RoutingPriority_DEFAULT {
			r.notes.add("circuit_breakers: priority %s is not used", enumName(t.Priority))
			continue
		}
		if err := putLimit(limits, "connections", t.MaxConnections); err != nil {
			return fmt.Errorf("per_host_thresholds: %w", err)
		}
		r.notes.rest("circuit_breakers", t, "max_connections", "priority")
	}
	if len(limits) > 0 {
		r.body["limits"] = limits
		r.generic = true
	}
	return nil
}

// idle are the limits in Envoy's words that mean nothing to the protocol which it turned out to be. Envoy ignores them, too; in the
// words of our own configuration they are refused.
func (r *clusterReading) idle(meaningless map[string]string) []string {
	if !r.generic {
		return nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(treeOf(r.body["limits"]))) {
		if meaningless["limits."+name] != "" {
			names = append(names, name)
		}
	}
	return names
}

// unlimited takes limits out of a cluster's body.
func unlimited(body tree, names []string) {
	for _, name := range names {
		delete(treeOf(body["limits"]), name)
	}
}

// putLimit writes a limit down. The greatest number is how control planes say that there is none.
func putLimit(limits tree, name string, n *wrapperspb.UInt32Value) error {
	switch {
	case n == nil || n.Value == math.MaxUint32:
	case n.Value == 0 && name != "retries":
		return errors.New("a limit of 0 lets nothing through; it is not supported")
	default:
		limits[name] = int64(n.Value)
	}
	return nil
}

func treeOf(v any) tree {
	t, _ := v.(tree)
	return orEmpty(t)
}

// options are credentials and blocks that travel with a cluster.
func (r *clusterReading) options(c *clusterv3.Cluster) error {
	for key, config := range c.TypedExtensionProtocolOptions {
		own, body, err := openOwn(config)
		switch {
		case err != nil:
			return fmt.Errorf("typed_extension_protocol_options[%s]: %w", key, err)
		case own == ownCluster:
			name := r.body["name"]
			r.generic = r.generic && body["limits"] == nil
			r.body = merge(r.body, body)
			r.body["name"] = name
			for k, v := range body {
				if !clusterFields[k] && isBlock(v) {
					r.protocol = k
				}
			}
		case typeName(config.TypeUrl) == networkFilters+"redis_proxy.v3.RedisProtocolOptions":
			if err := r.redisOptions(config); err != nil {
				return fmt.Errorf("typed_extension_protocol_options[%s]: %w", key, err)
			}
		case typeName(config.TypeUrl) == "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
			r.notes.add("cluster: HTTP protocol options are not acted on")
		default:
			return fmt.Errorf("typed_extension_protocol_options[%s]: %q is not supported", key, typeName(config.TypeUrl))
		}
	}
	return nil
}

// clusterFields are the fields of a cluster that are mappings and no protocol's block.
var clusterFields = map[string]bool{"tls": true, "health": true, "ejection": true, "limits": true, "pool": true, "keepalive": true}

func (r *clusterReading) redisOptions(config *anypb.Any) error {
	var o redisv3.RedisProtocolOptions
	if err := config.UnmarshalTo(&o); err != nil {
		return err
	}
	if err := refuse("RedisProtocolOptions", &o, "auth_password", "auth_username"); err != nil {
		return err
	}
	block := tree{}
	if o.AuthPassword != nil {
		p, err := secretOf("auth_password", o.AuthPassword)
		if err != nil {
			return err
		}
		block["password"] = p
	}
	if o.AuthUsername != nil {
		u, err := secretOf("auth_username", o.AuthUsername)
		if err != nil {
			return err
		}
		block["user"] = u
	}
	r.protocol = "redis"
	r.body = merge(r.body, tree{"redis": block})
	return nil
}

// readEndpoints says what an assignment means.
func readEndpoints(a *endpointv3.ClusterLoadAssignment, n *notes) ([]any, error) {
	out := []any{}
	for i, locality := range a.GetEndpoints() {
		if err := refuseFields(locality, "load_balancer_endpoints", "leds_cluster_locality_config"); err != nil {
			return nil, fmt.Errorf("endpoints[%d]: %w", i, err)
		}
		for j, e := range locality.LbEndpoints {
			at := fmt.Sprintf("endpoints[%d].lb_endpoints[%d]", i, j)
			if e.GetEndpoint() == nil {
				return nil, fmt.Errorf("%s: is not an endpoint", at)
			}
			address, err := addressOf(e.GetEndpoint().Address)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			switch e.HealthStatus {
			case corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DEGRADED:
			default: // DRAINING, UNHEALTHY, TIMEOUT: the control plane has taken it out
				n.add("endpoint %s is %s", address, enumName(e.HealthStatus))
				continue
			}
			one := tree{"address": address}
			if zone := locality.GetLocality().GetZone(); zone != "" {
				one["zone"] = zone
			}
			if locality.Priority > 0 {
				one["priority"] = int64(locality.Priority)
			}
			if w := e.LoadBalancingWeight; w != nil {
				one["weight"] = int64(w.Value)
			}
			if key := e.Metadata.GetFilterMetadata()["envoy.lb"].GetFields()["hash_key"].GetStringValue(); key != "" {
				one["name"] = key
			}
			if m := e.Metadata.GetFilterMetadata()[metadataKey]; m != nil {
				one = merge(one, fromStruct(m))
				one["address"] = address
			}
			out = append(out, one)
		}
	}
	return out, nil
}
