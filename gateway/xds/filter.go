package xds

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	kafkav3 "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/filters/network/kafka_broker/v3"
	mysqlv3 "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/filters/network/mysql_proxy/v3"
	postgresv3 "github.com/envoyproxy/go-control-plane/contrib/envoy/extensions/filters/network/postgres_proxy/v3alpha"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The types of sidewire's own configuration, one schema with the file. They travel in either TypedStruct, or as messages of
// these names with one field: the YAML text (field 1, string) or the same as a Struct (field 2).
const (
	ownPrefix       = "sidewire.config.v1."
	ownListener     = ownPrefix + "Listener" // fields of a listener, its protocol's block included
	ownCluster      = ownPrefix + "Cluster"  // fields of a cluster
	ownDatabase     = ownPrefix + "Database" // one entry of `databases:`
	networkFilters  = "envoy.extensions.filters.network."
	typedStruct     = "xds.type.v3.TypedStruct"
	typedStructUDPA = "udpa.type.v1.TypedStruct"
)

// kinds are the lists of the file that sidewire's own types are entries of.
var kinds = map[string]string{ownDatabase: "databases"}

// telemetryFilters only observe; leaving one out changes what is seen, not what is served. Everything else that is not
// understood is refused: a filter that would have kept somebody out must never be skipped.
var telemetryFilters = map[string]bool{
	"istio.metadata_exchange": true, "istio.stats": true, "io.istio.http.peer_metadata.Config": true, "stats.PluginConfig": true,
	"envoy.extensions.filters.network.metadata_exchange.v3.MetadataExchange": true, "envoy.tcp.metadataexchange.config.MetadataExchange": true,
}

// chain reads the filters of one chain in their order.
type chain struct {
	*reading
	ended  bool     // the terminal filter has come
	l7     []string // protocol filters before it
	unsure bool     // an extension config is not there yet
	own    tree
}

// filter takes one filter.
func (c *chain) filter(name string, config *anypb.Any) error {
	if config == nil {
		return errors.New("has no typed_config")
	}
	own, body, err := openOwn(config)
	switch {
	case err != nil:
		return err
	case own == ownListener:
		c.own = merge(orEmpty(c.own), body)
		return nil
	case kinds[own] != "":
		if body["name"] == nil {
			body["name"] = name
		}
		c.resources = append(c.resources, ownResource{kinds[own], fmt.Sprint(body["name"]), body})
		return nil
	}
	kind := typeName(config.TypeUrl)
	if own != "" {
		kind = own
	}
	if telemetryFilters[kind] || telemetryFilters[name] && own != "" {
		c.notes.add("filter %s (%s) is left out: it only observes", name, kind)
		return nil
	}
	if c.ended {
		return errors.New("stands behind the filter that ends the chain")
	}
	switch kind {
	case networkFilters + "tcp_proxy.v3.TcpProxy":
		return c.tcp(config)
	case networkFilters + "redis_proxy.v3.RedisProxy":
		return c.redis(config)
	case networkFilters + "connection_limit.v3.ConnectionLimit":
		return c.limit(config)
	case networkFilters + "mysql_proxy.v3.MySQLProxy":
		var m mysqlv3.MySQLProxy
		if err := config.UnmarshalTo(&m); err != nil {
			return err
		}
		c.l7 = append(c.l7, "mysql_proxy")
		return refuse("mysql_proxy", &m, "stat_prefix", "access_log")
	case networkFilters + "kafka_broker.v3.KafkaBroker":
		var m kafkav3.KafkaBroker
		if err := config.UnmarshalTo(&m); err != nil {
			return err
		}
		c.l7 = append(c.l7, "kafka_broker")
		return refuse("kafka_broker", &m, "stat_prefix")
	case networkFilters + "postgres_proxy.v3alpha.PostgresProxy":
		var m postgresv3.PostgresProxy
		if err := config.UnmarshalTo(&m); err != nil {
			return err
		}
		c.l7 = append(c.l7, "postgres_proxy")
		return refuse("postgres_proxy", &m, "stat_prefix", "enable_sql_parsing")
	}
	return fmt.Errorf("%q is not supported", kind)
}

func orEmpty(t tree) tree {
	if t == nil {
		return tree{}
	}
	return t
}

// tcp ends a chain at layer 4.
func (c *chain) tcp(config *anypb.Any) error {
	var m tcpv3.TcpProxy
	if err := config.UnmarshalTo(&m); err != nil {
		return err
	}
	block := tree{}
	switch s := m.ClusterSpecifier.(type) {
	case *tcpv3.TcpProxy_Cluster:
		block["cluster"] = s.Cluster
	case *tcpv3.TcpProxy_WeightedClusters:
		all := s.WeightedClusters.GetClusters()
		var shares []any
		for i, w := range all {
			if err := refuse(fmt.Sprintf("weighted_clusters.clusters[%d]", i), w, "name", "weight"); err != nil {
				return err
			}
			shares = append(shares, tree{"name": w.Name, "weight": int64(w.Weight)})
		}
		if len(shares) == 0 {
			return errors.New("weighted_clusters: is empty")
		}
		block["clusters"] = shares
	default:
		return errors.New("names no cluster")
	}
	if err := refuseFields(&m, "metadata_match", "tunneling_config", "on_demand"); err != nil {
		return err
	}
	if err := putHash(block, m.HashPolicy); err != nil {
		return fmt.Errorf("hash_policy: %w", err)
	}
	if err := putDuration(block, "idle_timeout", m.IdleTimeout); err != nil {
		return err
	}
	c.notes.rest("tcp_proxy", &m, "cluster", "weighted_clusters", "stat_prefix", "idle_timeout", "hash_policy")
	var clusters []string
	for _, w := range m.GetWeightedClusters().GetClusters() {
		clusters = append(clusters, w.Name)
	}
	if m.GetCluster() != "" {
		clusters = append(clusters, m.GetCluster())
	}
	c.ends("tcp", block, clusters...)
	return nil
}

// putHash writes down what a connection is placed by; without a policy Envoy throws dice.
func putHash(block tree, policies []*typev3.HashPolicy) error {
	block["hash"] = "random"
	switch {
	case len(policies) > 1:
		return fmt.Errorf("%d policies are not supported, only one is", len(policies))
	case len(policies) == 0:
		return nil
	case policies[0].GetSourceIp() == nil:
		return errors.New("filter_state is not supported, only source_ip is")
	}
	block["hash"] = "source_ip"
	return nil
}

func (c *chain) limit(config *anypb.Any) error {
	var m limitv3.ConnectionLimit
	if err := config.UnmarshalTo(&m); err != nil {
		return err
	}
	if err := refuse("connection_limit", &m, "stat_prefix", "max_connections"); err != nil {
		return err
	}
	c.body["limits"] = tree{"connections": int64(m.GetMaxConnections().GetValue())}
	return nil
}

func (c *chain) ends(protocol string, block tree, clusters ...string) {
	c.ended, c.protocol = true, protocol
	c.clusters = append(c.clusters, clusters...)
	c.body[protocol] = block
}

// end puts the chain together. Sidewire's own filter decides over what Envoy's say: with its block for another protocol, the
// tcp_proxy behind is only what an Envoy in the same place would do.
func (c *chain) end() error {
	if c.own != nil {
		for key := range c.own {
			if key != "tls" && key != "limits" && c.protocol != "" && key != c.protocol && isBlock(c.own[key]) {
				delete(c.body, c.protocol)
				c.protocol, c.clusters, c.ended = "", nil, true
				break
			}
		}
		name, address := c.body["name"], c.body["address"]
		c.body = merge(c.body, c.own)
		c.body["name"], c.body["address"] = name, address
		return nil
	}
	if !c.ended && !c.unsure {
		return errors.New("filters: no filter ends the chain; a tcp_proxy, a redis_proxy or sidewire's own is needed")
	}
	if c.protocol == "tcp" && len(c.l7) > 0 && !c.unsure {
		c.notes.add("filter %s: the listener relays at layer 4, without its statistics; sidewire's own filter makes it speak the protocol", strings.Join(c.l7, ", "))
	}
	return nil
}

func isBlock(v any) bool {
	_, ok := v.(tree)
	return ok
}

// refuseFields is an error when m sets one of the named fields: those that would change where bytes go.
func refuseFields(m proto.Message, names ...string) error {
	for _, name := range unread(m) {
		if slices.Contains(names, name) {
			return fmt.Errorf("%s is not supported", name)
		}
	}
	return nil
}

// ownType is the name of sidewire's own type that config carries, directly or in a TypedStruct; empty when it is not ours.
func ownType(config *anypb.Any) string {
	own, _, err := openOwn(config)
	if err != nil {
		return ""
	}
	return own
}

// openOwn opens a TypedStruct, or a message of one of sidewire's own types. For other messages the name is empty.
func openOwn(config *anypb.Any) (name string, body tree, err error) {
	switch kind := typeName(config.GetTypeUrl()); {
	case kind == typedStruct:
		var t xdsv3.TypedStruct
		if err := config.UnmarshalTo(&t); err != nil {
			return "", nil, err
		}
		return typeName(t.TypeUrl), fromStruct(t.Value), nil
	case kind == typedStructUDPA:
		var t udpav1.TypedStruct
		if err := config.UnmarshalTo(&t); err != nil {
			return "", nil, err
		}
		return typeName(t.TypeUrl), fromStruct(t.Value), nil
	case strings.HasPrefix(kind, ownPrefix):
		body, err := openMessage(config.Value)
		return kind, body, err
	}
	return "", nil, nil
}

// openMessage reads a message of sidewire's own: string yaml = 1, google.protobuf.Struct value = 2. Encoders may write fields in any
// order; value lies over yaml in each.
func openMessage(b []byte) (tree, error) {
	out, over := tree{}, tree{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		if kind != protowire.BytesType || number > 2 {
			return nil, fmt.Errorf("field %d is not known", number)
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		if number == 1 {
			part, err := parseYAML(value)
			if err != nil {
				return nil, err
			}
			out = merge(out, part)
			continue
		}
		var s structpb.Struct
		if err := proto.Unmarshal(value, &s); err != nil {
			return nil, err
		}
		over = merge(over, fromStruct(&s))
	}
	return merge(out, over), nil
}
