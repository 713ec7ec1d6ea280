package mysql

import (
	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/database"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/sharding/keygen"
)

const name = "mysql"

// ListenerBlock is the `mysql:` block of a listener.
type ListenerBlock struct {
	Users         []User       `yaml:"users" required:"true" doc:"Who may connect. sidewire checks the passwords itself."`
	Databases     []string     `yaml:"databases" doc:"The virtual databases that are served."`
	Cluster       string       `yaml:"cluster" doc:"Where statements go that name no virtual database: one cluster, unsharded."`
	ServerVersion string       `yaml:"server_version" doc:"The version a client is greeted with; empty: that of the first backend that answered a probe."`
	AuthPlugin    string       `yaml:"auth_plugin" enum:"caching_sha2_password|mysql_native_password" doc:"The plugin named in the greeting; clients may choose the other one. Empty: that of a server of the version greeted with, mysql_native_password for MariaDB."`
	RequireTLS    bool         `yaml:"require_tls" doc:"Refuse clients that do not begin TLS, except on a unix socket. A client_ca that is required implies it, everywhere." default:"false"`
	MaxStatement  config.Bytes `yaml:"max_statement" doc:"The longest statement that is taken." default:"64MB"`
	LocalInfile   bool         `yaml:"local_infile" doc:"Let clients load local files." default:"true"`
	Compress      bool         `yaml:"compress" doc:"Let clients compress (zlib) what they send and get." default:"true"`
	// StatementTimeout covers a statement's wait for a connection too.
	StatementTimeout config.Duration `yaml:"statement_timeout" doc:"End a statement that takes longer, on its server too; 0: no limit." default:"0s"`
	MaxResult        config.Bytes    `yaml:"max_result" doc:"End an answer that is longer, after a whole row; 0: no limit." default:"0B"`
	IdleTimeout      config.Duration `yaml:"idle_timeout" doc:"Close a session that said nothing for so long; 0: never." default:"8h"`
	Shadow           *Shadow         `yaml:"shadow" doc:"Plan statements against a virtual database's rules as well, and report what would become of them: /views/shadow/LISTENER. They go to the cluster as before."`
}

// User is an account of a listener.
type User struct {
	Name     string        `yaml:"name" required:"true"`
	Password config.Secret `yaml:"password" doc:"Empty lets the user in without one."`
	Old      config.Secret `yaml:"old_password" doc:"Accepted as well, while a password is being changed."`
	Backend  *Credentials  `yaml:"backend" doc:"Who this user is on the servers; empty: the account of each cluster."`
}

// Credentials are an account on the servers.
type Credentials struct {
	User     string        `yaml:"user" required:"true"`
	Password config.Secret `yaml:"password"`
}

// SetDefaults fills what a file leaves out.
func (b *ListenerBlock) SetDefaults() {
	b.MaxStatement = 64 << 20
	b.LocalInfile = true
	b.Compress = true
	b.IdleTimeout = config.Duration(8 * hour)
}

// ClusterBlock is the `mysql:` block of a cluster.
type ClusterBlock struct {
	User     string        `yaml:"user" doc:"Account on the servers; not needed when every user of the listeners brings its own."`
	Password config.Secret `yaml:"password"`
	Database string        `yaml:"database" doc:"The database of sessions that name none."`
	Compress bool          `yaml:"compress" doc:"Compress (zlib) towards servers that can." default:"false"`
	Pool     Pool          `yaml:"pool"`
	Reads    Reads         `yaml:"reads"`
	Failover Failover      `yaml:"failover" doc:"What happens to statements while no endpoint can take them."`
}

// login is the account that a connection is opened with: a user's own, or the cluster's.
func (b *ClusterBlock) login(as *Credentials) (user, password string) {
	if as != nil {
		return as.User, as.Password.Value()
	}
	return b.User, b.Password.Value()
}

// Failover bounds the wait for an endpoint: a failover passes as a pause.
type Failover struct {
	Wait    config.Duration `yaml:"wait" doc:"How long a statement waits for an endpoint that can take it; 0: not at all." default:"10s"`
	Waiting int             `yaml:"waiting" min:"0" doc:"Statements that may wait so; further ones are refused." default:"1000"`
	// Writable is for servers that replicate to each other on purpose: sidewires with one order write to one of them.
	Writable string `yaml:"writable" enum:"refuse|first|role" doc:"Which of several healthy servers that take writes gets them: none (refuse), the first in the order of the endpoints, or the one whose role is primary." default:"refuse"`
}

func (f *Failover) rule() cluster.Writable {
	switch f.Writable {
	case "first":
		return cluster.First
	case "role":
		return cluster.ByRole
	}
	return cluster.Refuse
}

// Pool bounds the connections to each endpoint of a cluster.
type Pool struct {
	Max         int             `yaml:"max" min:"1" doc:"Connections to one endpoint, idle and leased." default:"100"`
	Waiting     int             `yaml:"waiting" min:"0" doc:"Statements that may wait for a connection to one endpoint; further ones are refused." default:"1000"`
	Wait        config.Duration `yaml:"wait" doc:"How long a statement may wait for a connection." default:"10s"`
	IdleTimeout config.Duration `yaml:"idle_timeout" doc:"Close a connection that was not used for so long." default:"5m"`
	Lifetime    config.Duration `yaml:"lifetime" doc:"Close a connection that is older, when it is free; 0: never." default:"1h"`
}

// SetDefaults fills what a file leaves out.
func (b *ClusterBlock) SetDefaults() {
	b.Pool = Pool{Max: 100, Waiting: 1000, Wait: config.Duration(10 * second), IdleTimeout: config.Duration(5 * minute), Lifetime: config.Duration(hour)}
	b.Reads = Reads{From: "primary", Consistency: "sidewire", Wait: config.Duration(100 * millisecond), MaxLag: config.Duration(10 * second)}
	b.Failover = Failover{Wait: config.Duration(10 * second), Waiting: 1000, Writable: "refuse"}
}

type protocol struct{ keys *keygen.Source }

// Protocol is MySQL for gateway.New.
func Protocol() host.Protocol { return protocol{keys: newKeys()} }

// Kinds are the virtual databases.
func (protocol) Kinds() []config.Kind { return []config.Kind{database.Kind(name)} }

func (protocol) Name() string   { return name }
func (protocol) StartTLS() bool { return true }

func (protocol) ListenerBlock() any {
	b := &ListenerBlock{}
	b.SetDefaults()
	return b
}

func (protocol) ClusterBlock() any {
	b := &ClusterBlock{}
	b.SetDefaults()
	return b
}

func (protocol) CheckListener(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	b := l.Block.(*ListenerBlock)
	var problems []config.Problem
	switch {
	case b.Cluster == "" && len(b.Databases) == 0:
		problems = append(problems, at.Problem("serves nothing: add databases or a cluster"))
	case b.Cluster != "":
		problems = append(problems, m.CheckClusterRef(b.Cluster, name, at.Field("cluster"))...)
	}
	if b.RequireTLS && l.TLS == nil {
		problems = append(problems, at.Field("require_tls").Problem("needs the listener's tls"))
	}
	if b.Shadow != nil {
		if b.Cluster == "" {
			problems = append(problems, at.Field("shadow").Problem("needs a cluster, which statements go to as before"))
		}
		problems = append(problems, m.CheckResourceRef(database.Name, b.Shadow.Database, at.Field("shadow").Field("database"))...)
	}
	for i, name := range b.Databases {
		problems = append(problems, m.CheckResourceRef(database.Name, name, at.Field("databases").Index(i))...)
	}
	return append(problems, b.checkUsers(m, at.Field("users"))...)
}

// checkUsers wants distinct names, and an account on the servers for each user.
func (b *ListenerBlock) checkUsers(m *config.Model, at config.Path) []config.Problem {
	var problems []config.Problem
	seen := map[string]bool{}
	for i, u := range b.Users {
		if seen[u.Name] {
			problems = append(problems, at.Index(i).Field("name").Problem("user %q is there twice", u.Name))
		}
		seen[u.Name] = true
		c := m.Cluster(b.Cluster)
		if u.Backend != nil || c == nil {
			continue
		}
		if cb, ok := c.Block.(*ClusterBlock); ok && cb.User == "" {
			problems = append(problems, at.Index(i).Field("backend").Problem("is missing, and cluster %q names no user either", c.Name))
		}
	}
	return problems
}

// Meaningless are settings that MySQL has in its own block, or not at all.
func (protocol) Meaningless() map[string]string {
	return map[string]string{
		"pool.lifetime":     "mysql.pool.lifetime says it",
		"pool.idle_timeout": "mysql.pool.idle_timeout says it",
		"pool.min":          "connections have the capabilities and the character set of the clients they are opened for",
	}
}

func (protocol) CheckCluster(_ *config.Model, c *config.Cluster, at config.Path) []config.Problem {
	primaries := 0
	for _, e := range c.Endpoints {
		if e.Role == "primary" {
			primaries++
		}
	}
	if b := c.Block.(*ClusterBlock); b.Failover.rule() == cluster.ByRole && primaries != 1 {
		return []config.Problem{at.Field("failover").Field("writable").Problem("needs one endpoint with role: primary, and there are %d", primaries)}
	}
	return nil
}

func (protocol) Upstream(h host.Host, c *cluster.Cluster) (host.Upstream, error) {
	return newUpstream(h, c), nil
}

func (p protocol) Listen(h host.Host, l *config.Listener) (listener.Handler, error) {
	return newHandler(h, l, p.keys)
}
