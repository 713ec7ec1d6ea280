package redis

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/sharding/hash"
)

const protocolName = "redis"

// ListenerBlock is the `redis:` block of a listener.
type ListenerBlock struct {
	Cluster        string         `yaml:"cluster" doc:"Where keys live, or those that no route is for."`
	Routes         []RouteBlock   `yaml:"routes" doc:"Where keys live by their prefixes. Over several clusters what spans shards spans clusters; what has no key goes to cluster."`
	IgnoreCase     bool           `yaml:"routes_ignore_case" doc:"Prefixes match in any case of ASCII letters."`
	Commands       []CommandBlock `yaml:"commands" doc:"What holds for some commands."`
	CustomCommands []string       `yaml:"custom_commands" doc:"Commands that are not Redis's own, a module's for instance, whose first argument is their only key: for several servers."`
	Faults         []FaultBlock   `yaml:"faults" doc:"What goes wrong on purpose, to see how clients bear it."`
	Users          []UserBlock    `yaml:"users" doc:"Who may log in; none: nobody has to."`
	Auth           string         `yaml:"auth" enum:"local|upstream" default:"local" doc:"Who judges AUTH: sidewire by users, or the servers, each client then having its own upstream connections."`
	Face           string         `yaml:"face" enum:"standalone|cluster" default:"standalone" doc:"What clients see: one server, or a Redis Cluster of one node, for clients that speak only to clusters."`
	Announce       string         `yaml:"announce" doc:"host:port that the cluster face gives as its own; empty: the listener's address."`
	Output         config.Bytes   `yaml:"output_limit" default:"256MB" doc:"A client that leaves so many bytes of replies unfetched is disconnected."`
	Transaction    config.Bytes   `yaml:"transaction_limit" default:"64MB" doc:"Bytes between MULTI and EXEC over several servers."`
}

// SetDefaults fills what a file leaves out.
func (b *ListenerBlock) SetDefaults() {
	b.Auth, b.Face, b.Output, b.Transaction = "local", "standalone", 256<<20, 64<<20
}

// UserBlock is a client's account.
type UserBlock struct {
	Name             string        `yaml:"name" default:"default"`
	Password         config.Secret `yaml:"password" required:"true"`
	UpstreamUser     string        `yaml:"upstream_user" doc:"The account this one stands for upstream; empty: the cluster's."`
	UpstreamPassword config.Secret `yaml:"upstream_password"`
}

// SetDefaults fills what a file leaves out.
func (b *UserBlock) SetDefaults() { b.Name = "default" }

// ClusterBlock is the `redis:` block of a cluster.
type ClusterBlock struct {
	Hashing          string          `yaml:"hashing" enum:"ketama|maglev|modula|random|envoy_ring|envoy_maglev|slots|sentinel" doc:"How keys are spread over the endpoints; envoy_ring and envoy_maglev: as Envoy's redis_proxy does with ring_hash and maglev, hash being its own; slots: they are nodes of a Redis Cluster; sentinel: they are sentinels that know the server. Empty: they are one server and its replicas."`
	Group            string          `yaml:"group" doc:"The name by which sentinels know the server."`
	Hash             string          `yaml:"hash" enum:"one_at_a_time|md5|crc16|crc32|crc32a|fnv1_64|fnv1a_64|fnv1_32|fnv1a_32|hsieh|murmur|jenkins" default:"fnv1a_64" doc:"The function that hashes keys, by twemproxy's names."`
	RingSize         int             `yaml:"ring_size" min:"1" max:"1048576" default:"1024" doc:"Points of an envoy_ring, at least: Envoy's minimum_ring_size."`
	HashTag          *string         `yaml:"hash_tag" doc:"Two characters that enclose the part of a key that is hashed; empty: none. Default: {}."`
	CrossShard       string          `yaml:"cross_shard" enum:"split|refuse" default:"split" doc:"What becomes of MGET, MSET, DEL, UNLINK, EXISTS and TOUCH with keys of several shards; split is not atomic."`
	Eject            bool            `yaml:"eject" doc:"Leave unhealthy endpoints out of the placement, so that their keys go to others: for caches."`
	User             string          `yaml:"user"`
	Password         config.Secret   `yaml:"password"`
	SentinelUser     string          `yaml:"sentinel_user"`
	SentinelPassword config.Secret   `yaml:"sentinel_password" doc:"What the sentinels want; user and password are for the servers."`
	Read             string          `yaml:"read" enum:"primary|prefer_replica|replica|any|local_zone" default:"primary" doc:"Who answers commands that only read. A replica may not have heard of the newest writes. local_zone: servers whose endpoint has the zone of node.zone, replicas before the primary, then others."`
	OwnWrites        config.Duration `yaml:"read_own_writes" doc:"For so long after it wrote, a client reads from the primary; 0: never mind. It is no promise: a replica that is further behind still misses those writes, and those of other clients at any time. WAIT tells how many replicas have them."`
	Confirm          bool            `yaml:"confirm_own_writes" doc:"After it wrote, a client reads from the primary until its replica is known to have what it wrote: sidewire asks both for their offsets, as WAIT does. Needs INFO. Other clients' writes may still be missing, and a failover may lose any that no replica had."`
	Database         int             `yaml:"database" min:"0" doc:"The database that clients begin in."`
	Connections      int             `yaml:"connections" min:"1" max:"256" default:"1" doc:"Shared connections to each endpoint, for each database, user and protocol version in use."`
	Dedicated        int             `yaml:"dedicated_connections" min:"1" default:"1000" doc:"At most so many connections to each endpoint that one client has for itself: transactions, blocking commands, subscriptions."`
	Large            config.Bytes    `yaml:"large" min:"65536" default:"1MB" doc:"Commands and replies from this size on pass in pieces over a connection of their own, as fast as the other side takes them."`
	Slow             config.Duration `yaml:"slow" default:"10ms" doc:"Commands at least so slow are listed in the admin interface, without their values."`
	Timeout          config.Duration `yaml:"timeout" default:"5s" doc:"How long a command may take; its client gets an error then, the others on the connection do not. Blocking commands and dedicated connections have no limit."`
}

// SetDefaults fills what a file leaves out.
func (b *ClusterBlock) SetDefaults() {
	b.Hash, b.CrossShard, b.Connections, b.Dedicated, b.Timeout = "fnv1a_64", "split", 1, 1000, config.Duration(defaultTimeout)
	b.RingSize = hash.EnvoyRingSize
	b.Read = "primary"
	b.Large = defaultLarge
	b.Slow = config.Duration(10 * time.Millisecond)
}

func (b *ClusterBlock) tag() string {
	if b.HashTag == nil {
		return "{}"
	}
	return *b.HashTag
}

// protocol is Redis. Its room, with the loop, starts with the first cluster.
type protocol struct {
	once sync.Once
	room *room
	err  error
}

// Protocol is Redis for gateway.New.
func Protocol() host.Protocol { return &protocol{} }

func (*protocol) Name() string       { return protocolName }
func (*protocol) ListenerBlock() any { b := &ListenerBlock{}; b.SetDefaults(); return b }
func (*protocol) ClusterBlock() any  { b := &ClusterBlock{}; b.SetDefaults(); return b }

func (*protocol) CheckListener(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	b := l.Block.(*ListenerBlock)
	problems := b.checkRoutes(m, at)
	seen := map[string]bool{}
	for i, u := range b.Users {
		p := at.Field("users").Index(i)
		if u.Name == "" || strings.ContainsAny(u.Name, " \r\n") {
			problems = append(problems, p.Field("name").Problem("is empty or has a space in it"))
		}
		if seen[u.Name+"\x00"+u.Password.Value()] {
			problems = append(problems, p.Problem("says the same as an earlier user"))
		}
		seen[u.Name+"\x00"+u.Password.Value()] = true
		if u.UpstreamUser == "" && !u.UpstreamPassword.IsZero() {
			problems = append(problems, p.Field("upstream_password").Problem("needs upstream_user"))
		}
	}
	if b.Auth == "upstream" && len(b.Users) > 0 {
		problems = append(problems, at.Field("users").Problem("cannot stand beside auth: upstream, where the servers judge"))
	}
	if b.Announce != "" {
		if _, port, err := net.SplitHostPort(b.Announce); err != nil || port == "" {
			problems = append(problems, at.Field("announce").Problem("%q is not host:port", b.Announce))
		}
	}
	return problems
}

func (*protocol) CheckCluster(_ *config.Model, c *config.Cluster, at config.Path) []config.Problem {
	b := c.Block.(*ClusterBlock)
	var problems []config.Problem
	if _, err := hash.ParseTag(b.tag()); err != nil {
		problems = append(problems, at.Field("hash_tag").Problem("%v", err))
	}
	if b.Hashing == "slots" && b.Database != 0 {
		problems = append(problems, at.Field("database").Problem("a Redis Cluster has only database 0"))
	}
	for _, e := range c.Endpoints {
		if e.Priority != 0 {
			problems = append(problems, at.Problem("endpoint %s has a priority; Redis servers are chosen by key and role", e.Address))
		}
	}
	if b.Eject && (b.Hashing == "" || b.Hashing == "slots" || b.Hashing == "sentinel") {
		problems = append(problems, at.Field("eject").Problem("needs hashing: ketama, maglev, modula, random, envoy_ring or envoy_maglev"))
	}
	if (b.Hashing == "sentinel") != (b.Group != "") {
		problems = append(problems, at.Field("group").Problem("hashing: sentinel and group belong together"))
	}
	if b.Hashing != "" && b.Hashing != "slots" && b.Hashing != "sentinel" && b.Read != "primary" {
		problems = append(problems, at.Field("read").Problem("a hashed pool has no replicas to read from"))
	}
	if c.Pool.Min > b.Connections {
		problems = append(problems, at.Beside("pool").Field("min").Problem("%d is more than the connections that are shared (redis.connections: %d)", c.Pool.Min, b.Connections))
	}
	if b.Confirm && b.Read == "primary" {
		problems = append(problems, at.Field("confirm_own_writes").Problem("needs read: with another value than primary"))
	}
	if b.Confirm && b.OwnWrites > 0 {
		problems = append(problems, at.Field("confirm_own_writes").Problem("and read_own_writes are two ways to the same end; leave one out"))
	}
	if b.User != "" && b.Password.IsZero() {
		problems = append(problems, at.Field("user").Problem("needs a password"))
	}
	if b.Hashing != "" && b.Hashing != "slots" && b.Hashing != "sentinel" {
		if _, err := placement(b, declared(c)); err != nil {
			problems = append(problems, at.Problem("%v", err))
		}
	}
	return problems
}

// declared are a cluster's endpoints as configuration names them.
func declared(c *config.Cluster) []member {
	var m []member
	for _, e := range c.Endpoints {
		m = append(m, memberOf(c.Block.(*ClusterBlock), e))
	}
	return m
}

func memberOf(b *ClusterBlock, e config.Endpoint) member {
	return member{address: e.Address, name: hashName(b, e), weight: max(e.Weight, 1)}
}

// hashName is what is hashed for a server: its name, or its address; for twemproxy's placements without the port if that is
// memcached's, as twemproxy does for libmemcached's sake.
func hashName(b *ClusterBlock, e config.Endpoint) string {
	if e.Name != "" {
		return e.Name
	}
	if host, port, err := net.SplitHostPort(e.Address); err == nil && port == "11211" && !strings.HasPrefix(b.Hashing, "envoy_") {
		return host
	}
	return e.Address
}

// spread is how keys find their servers: by keys, or by hash and place.
type spread struct {
	keys  hash.KeyPlacement
	hash  hash.Func
	place hash.Placement
}

// placement builds what spreads keys over servers.
func placement(b *ClusterBlock, m []member) (s spread, err error) {
	servers := make([]hash.Server, len(m))
	for i, x := range m {
		servers[i] = hash.Server{Name: x.name, Weight: x.weight}
	}
	if s.hash, err = hash.Lookup(b.Hash); err != nil {
		return s, err
	}
	switch b.Hashing {
	case "ketama":
		s.place, err = hash.NewKetama(servers)
	case "maglev":
		s.place, err = hash.NewMaglev(servers)
	case "modula":
		s.place, err = hash.NewModula(servers)
	case "random":
		s.place, err = hash.NewRandom(servers, xorshift(0x2545f491))
	case "envoy_ring":
		s.keys, err = hash.NewEnvoyRing(servers, b.RingSize)
	case "envoy_maglev":
		s.keys, err = hash.NewEnvoyMaglev(servers)
	default:
		err = fmt.Errorf("no hashing named %q", b.Hashing)
	}
	return s, err
}

// xorshift is a sequence for spreading keys, used by one goroutine.
func xorshift(seed uint32) func() uint32 {
	return func() uint32 {
		seed ^= seed << 13
		seed ^= seed >> 17
		seed ^= seed << 5
		return seed
	}
}

func (p *protocol) start(h host.Host) (*room, error) {
	p.once.Do(func() { p.room, p.err = newRoom(h) })
	return p.room, p.err
}

func (p *protocol) Upstream(h host.Host, c *cluster.Cluster) (host.Upstream, error) {
	r, err := p.start(h)
	if err != nil {
		return nil, err
	}
	return r.seat(c)
}

func (p *protocol) Listen(h host.Host, l *config.Listener) (listener.Handler, error) {
	r, err := p.start(h)
	if err != nil {
		return nil, err
	}
	return r.listen(l)
}

// Close ends the loop, when nobody is left on it.
func (p *protocol) Close() {
	p.once.Do(func() {}) // whoever comes later finds none
	if p.room != nil {
		p.room.loop.Close()
	}
}
