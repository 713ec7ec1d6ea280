package xds

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	redisv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// readPolicies are who answers reads, by the file's names. Envoy's PREFER_MASTER and zone affinities have no counterpart.
var readPolicies = map[redisv3.RedisProxy_ConnPoolSettings_ReadPolicy]string{
	redisv3.RedisProxy_ConnPoolSettings_MASTER:         "primary",
	redisv3.RedisProxy_ConnPoolSettings_PREFER_REPLICA: "prefer_replica",
	redisv3.RedisProxy_ConnPoolSettings_REPLICA:        "replica",
	redisv3.RedisProxy_ConnPoolSettings_ANY:            "any",
}

// redis ends a chain that speaks Redis.
func (c *chain) redis(config *anypb.Any) error {
	var m redisv3.RedisProxy
	if err := config.UnmarshalTo(&m); err != nil {
		return err
	}
	if err := refuseFields(&m, "external_auth_provider"); err != nil {
		return err
	}
	block := tree{}
	clusters, err := redisRoutes(block, m.PrefixRoutes)
	if err != nil {
		return fmt.Errorf("prefix_routes: %w", err)
	}
	if err := redisUsers(block, &m); err != nil {
		return err
	}
	var faults []any
	for i, f := range m.Faults {
		fault, err := redisFault(f)
		if err != nil {
			return fmt.Errorf("faults[%d]: %w", i, err)
		}
		faults = append(faults, fault)
	}
	if len(faults) > 0 {
		block["faults"] = faults
	}
	if len(m.CustomCommands) > 0 {
		block["custom_commands"] = texts(m.CustomCommands)
	}
	c.notes.rest("redis_proxy", &m, "stat_prefix", "settings", "prefix_routes", "downstream_auth_password", "downstream_auth_passwords", "downstream_auth_username", "faults", "custom_commands")
	if err := c.redisSettings(m.Settings); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	c.ends("redis", block, clusters...)
	return nil
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// redisSettings are what Envoy has at the listener and sidewire at the cluster.
func (c *chain) redisSettings(s *redisv3.RedisProxy_ConnPoolSettings) error {
	c.settings = tree{}
	if !s.GetEnableHashtagging() {
		c.settings["hash_tag"] = ""
	}
	if s == nil {
		return nil
	}
	read, ok := readPolicies[s.ReadPolicy]
	if !ok {
		return fmt.Errorf("read_policy: %s is not supported", enumName(s.ReadPolicy))
	}
	if read != "primary" {
		c.settings["read"] = read
	}
	c.notes.rest("redis_proxy settings", s, "op_timeout", "enable_redirection", "enable_hashtagging", "read_policy")
	if err := putDuration(c.settings, "timeout", s.OpTimeout); err != nil {
		return fmt.Errorf("op_timeout: %w", err)
	}
	return nil
}

// redisRoutes are where keys go. A catch-all route that is nothing but a cluster is the listener's own.
func redisRoutes(block tree, routes *redisv3.RedisProxy_PrefixRoutes) (clusters []string, err error) {
	if err := refuse("routes", routes, "routes", "case_insensitive", "catch_all_route"); err != nil {
		return nil, err
	}
	all := slices.Clone(routes.GetRoutes())
	if last := routes.GetCatchAllRoute(); last != nil {
		if len(unread(last, "cluster")) == 0 {
			block["cluster"] = last.Cluster
			clusters = append(clusters, last.Cluster)
		} else if last.Prefix != "" {
			return nil, errors.New("catch_all_route: has a prefix")
		} else {
			all = append(all, last)
		}
	}
	var list []any
	for i, r := range all {
		one, named, err := redisRoute(r)
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		list, clusters = append(list, one), append(clusters, named...)
	}
	if len(clusters) == 0 {
		return nil, errors.New("names no cluster")
	}
	if len(list) > 0 {
		block["routes"] = list
	}
	if routes.GetCaseInsensitive() {
		block["routes_ignore_case"] = true
	}
	return clusters, nil
}

func redisRoute(r *redisv3.RedisProxy_PrefixRoutes_Route) (tree, []string, error) {
	if err := refuse("route", r, "prefix", "remove_prefix", "cluster", "request_mirror_policy", "key_formatter", "read_command_policy"); err != nil {
		return nil, nil, err
	}
	one, clusters := tree{"cluster": r.Cluster}, []string{r.Cluster}
	if r.Prefix != "" {
		one["prefix"] = r.Prefix
	}
	if r.RemovePrefix {
		one["remove_prefix"] = true
	}
	if r.KeyFormatter != "" {
		one["key_format"] = r.KeyFormatter
	}
	if p := r.ReadCommandPolicy; p != nil {
		one["read_cluster"] = p.Cluster
		clusters = append(clusters, p.Cluster)
	}
	var mirrors []any
	for i, p := range r.RequestMirrorPolicy {
		if err := refuse(fmt.Sprintf("request_mirror_policy[%d]", i), p, "cluster", "runtime_fraction", "exclude_read_commands"); err != nil {
			return nil, nil, err
		}
		m := tree{"cluster": p.Cluster}
		if p.RuntimeFraction != nil {
			percent, err := percentOf(p.RuntimeFraction)
			if err != nil {
				return nil, nil, fmt.Errorf("request_mirror_policy[%d]: %w", i, err)
			}
			m["percent"] = percent
		}
		if p.ExcludeReadCommands {
			m["exclude_reads"] = true
		}
		mirrors, clusters = append(mirrors, m), append(clusters, p.Cluster)
	}
	if len(mirrors) > 0 {
		one["mirrors"] = mirrors
	}
	return one, clusters, nil
}

// percentOf is a fraction in percent, which a runtime layer may change where it has a key.
func percentOf(f *corev3.RuntimeFractionalPercent) (any, error) {
	of, ok := map[typev3.FractionalPercent_DenominatorType]float64{
		typev3.FractionalPercent_HUNDRED: 100, typev3.FractionalPercent_TEN_THOUSAND: 1e4, typev3.FractionalPercent_MILLION: 1e6,
	}[f.GetDefaultValue().GetDenominator()]
	if !ok {
		return nil, fmt.Errorf("denominator %s is not known", enumName(f.GetDefaultValue().GetDenominator()))
	}
	percent := float64(f.GetDefaultValue().GetNumerator()) * 100 / of
	if f.RuntimeKey == "" {
		return percent, nil
	}
	return share{f.RuntimeKey, percent}, nil
}

func redisFault(f *redisv3.RedisProxy_RedisFault) (tree, error) {
	if err := refuse("fault", f, "fault_type", "fault_enabled", "delay", "commands"); err != nil {
		return nil, err
	}
	out := tree{}
	switch f.FaultType {
	case redisv3.RedisProxy_RedisFault_DELAY:
		out["type"] = "delay"
	case redisv3.RedisProxy_RedisFault_ERROR:
		out["type"] = "error"
	default:
		return nil, fmt.Errorf("fault_type %s is not supported", enumName(f.FaultType))
	}
	percent, err := percentOf(f.FaultEnabled)
	if err != nil {
		return nil, err
	}
	out["percent"] = percent
	if len(f.Commands) > 0 {
		lower := make([]string, len(f.Commands))
		for i, c := range f.Commands {
			lower[i] = strings.ToLower(c)
		}
		out["commands"] = texts(lower)
	}
	return out, putDuration(out, "delay", f.Delay)
}

// redisUsers are who may log in: one name, with any of its passwords.
func redisUsers(block tree, m *redisv3.RedisProxy) error {
	user := any("default")
	if m.DownstreamAuthUsername != nil {
		var err error
		if user, err = secretOf("downstream_auth_username", m.DownstreamAuthUsername); err != nil {
			return err
		}
	}
	var users []any
	//lint:ignore SA1019 the old field is still sent
	for _, d := range append(slices.Clone(m.DownstreamAuthPasswords), m.DownstreamAuthPassword) {
		if d == nil {
			continue
		}
		p, err := secretOf("downstream_auth_passwords", d)
		if err != nil {
			return err
		}
		users = append(users, tree{"name": user, "password": p})
	}
	if len(users) > 0 {
		block["users"] = users
	}
	return nil
}
