package kafka

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// ListenerBlock is the `kafka:` block of a listener.
type ListenerBlock struct {
	Cluster    string          `yaml:"cluster" required:"true" doc:"The Kafka cluster that clients reach here."`
	Brokers    Brokers         `yaml:"brokers" doc:"How each broker is addressed; exactly one of ports, loopback and sni."`
	MaxRequest config.Bytes    `yaml:"max_request_size" doc:"Larger requests end their connection, as a broker's socket.request.max.bytes does." default:"100MB"`
	Stall      config.Duration `yaml:"stall_timeout" doc:"How long a frame that has begun may make no progress." default:"60s"`
	InFlight   int             `yaml:"max_in_flight" min:"1" max:"65536" doc:"Requests of one connection under way; reading stops when they are reached." default:"1024"`

	Authentication string        `yaml:"authentication" enum:"pass-through|originate|terminate" doc:"pass-through: clients authenticate to the brokers. originate: clients do not authenticate, sidewire does with the cluster's sasl. terminate: clients authenticate to sidewire as one of users, sidewire to the brokers." default:"pass-through"`
	Users          []User        `yaml:"users" doc:"Who may connect, with terminate."`
	Tokens         *Tokens       `yaml:"tokens" doc:"Users known by signed tokens (OAUTHBEARER), with terminate."`
	Certificates   *Certificates `yaml:"certificates" doc:"Users known by their TLS certificates, with terminate; a client without one uses SASL."`
	Mechanisms     []string      `yaml:"mechanisms" doc:"What clients may authenticate with, with terminate; empty: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 where there are users, OAUTHBEARER where there are tokens."`
	Rules          []Rule        `yaml:"rules" doc:"What clients may do, by user, API, topic, group and transactional id. The first rule that applies decides."`
	Virtual        *Virtual      `yaml:"virtual" doc:"Show a part of the cluster as a cluster of its own."`
	Faults         []Fault       `yaml:"faults" doc:"Errors and delays made on purpose, for tests. The first that applies hits."`
	Quotas         []Quota       `yaml:"quotas" doc:"What clients may move a second. The first that applies rules."`
	Rack           string        `yaml:"rack" doc:"Where the clients are: filled into fetches that name no rack, and preferred for bootstrap."`

	Topics *TopicFigures `yaml:"topics" doc:"Count bytes, records and errors by topic and lag by group. Bodies are then walked instead of passed unseen."`

	SessionLifetime config.Duration `yaml:"session_lifetime" doc:"After so long a client must authenticate again (KIP-368), with terminate; 0: never."`
}

// TopicFigures turn on figures by topic.
type TopicFigures struct {
	Limit int `yaml:"limit" min:"1" max:"100000" doc:"Topics, and pairs of group and topic, with series of their own; what comes later is counted together." default:"500"`
}

// SetDefaults fills what a file leaves out.
func (f *TopicFigures) SetDefaults() { f.Limit = 500 }

// User is a client's account at sidewire.
type User struct {
	Name     string        `yaml:"name" required:"true"`
	Password config.Secret `yaml:"password" required:"true"`
	As       *Credentials  `yaml:"as" doc:"Who this user is to the brokers; empty: the cluster's sasl."`
}

// Credentials are what sidewire authenticates to brokers with.
type Credentials struct {
	Mechanism string        `yaml:"mechanism" required:"true" enum:"PLAIN|SCRAM-SHA-256|SCRAM-SHA-512|OAUTHBEARER"`
	User      string        `yaml:"user"`
	Password  config.Secret `yaml:"password"`
	Token     config.Secret `yaml:"token" doc:"The bearer token of OAUTHBEARER."`
}

func (c *Credentials) check(at config.Path) (problems []config.Problem) {
	if c == nil {
		return nil
	}
	if c.Mechanism == mechanismOAuth {
		if c.Token.IsZero() {
			problems = append(problems, at.Field("token").Problem("is missing: OAUTHBEARER needs one"))
		}
		if c.User != "" || !c.Password.IsZero() {
			problems = append(problems, at.Problem("OAUTHBEARER takes a token, no user and no password"))
		}
		return problems
	}
	if c.User == "" {
		problems = append(problems, at.Field("user").Problem("is missing"))
	}
	if c.Password.IsZero() {
		problems = append(problems, at.Field("password").Problem("is missing"))
	}
	if !c.Token.IsZero() {
		problems = append(problems, at.Field("token").Problem("has a meaning with OAUTHBEARER only"))
	}
	return problems
}

// The values of ListenerBlock.Authentication.
const (
	authPass      = "pass-through"
	authOriginate = "originate"
	authTerminate = "terminate"
)

func (b *ListenerBlock) checkAuthentication(m *config.Model, l *config.Listener, at config.Path) (problems []config.Problem) {
	if b.Authentication == authOriginate {
		if c := m.Cluster(b.Cluster); c != nil && c.Protocol == name && c.Block.(*ClusterBlock).SASL == nil {
			problems = append(problems, at.Field("authentication").Problem("originate needs sasl on cluster %q", b.Cluster))
		}
	}
	if b.Authentication != authTerminate {
		for field, set := range map[string]bool{"tokens": b.Tokens != nil, "certificates": b.Certificates != nil, "users": len(b.Users) > 0, "mechanisms": len(b.Mechanisms) > 0, "session_lifetime": b.SessionLifetime != 0} {
			if set {
				problems = append(problems, at.Field(field).Problem("has a meaning with authentication: terminate only"))
			}
		}
		return problems
	}
	problems = append(problems, b.checkPrincipals(l, at)...)
	if len(b.Users) == 0 && b.Tokens == nil && b.Certificates == nil {
		problems = append(problems, at.Field("users").Problem("is missing: nobody could connect"))
	}
	seen := map[string]bool{}
	for i, u := range b.Users {
		if seen[u.Name] {
			problems = append(problems, at.Field("users").Index(i).Field("name").Problem("%q is there twice", u.Name))
		}
		seen[u.Name] = true
		problems = append(problems, u.As.check(at.Field("users").Index(i).Field("as"))...)
	}
	for i, mech := range b.Mechanisms {
		if mech == mechanismOAuth && b.Tokens == nil {
			problems = append(problems, at.Field("mechanisms").Index(i).Problem("OAUTHBEARER needs tokens"))
		} else if !slices.Contains(terminated, mech) && mech != mechanismOAuth {
			problems = append(problems, at.Field("mechanisms").Index(i).Problem("expected one of %s, found %q", strings.Join(terminated, ", "), mech))
		}
	}
	return problems
}

// Brokers says how clients address single brokers. Each broker of the cluster is one broker to clients.
type Brokers struct {
	Ports     string          `yaml:"ports" doc:"A range of ports on the listener's own address, one a broker: 19092-19191. Broker N gets the Nth port when it is free."`
	Loopback  string          `yaml:"loopback" doc:"A network of loopback addresses, one a broker, on the listener's port: 127.77.0.0/24. Linux serves all of 127.0.0.0/8 without set-up."`
	SNI       string          `yaml:"sni" doc:"A host name with {node} in it, told apart by the TLS server name: broker-{node}.kafka.example. Every name must resolve to this listener."`
	Advertise string          `yaml:"advertise" doc:"The host that clients are told with ports; empty: the listener's, or the address by which a client came when that is a wildcard."`
	Port      int             `yaml:"advertise_port" min:"0" max:"65535" doc:"The port that clients are told with sni; 0: the listener's."`
	Grace     config.Duration `yaml:"grace" doc:"How long the address of a broker that left the cluster stays open." default:"5m"`
}

// SetDefaults fills what a file leaves out.
func (b *ListenerBlock) SetDefaults() {
	b.MaxRequest = kafka.MaxRequestSize
	b.Stall = config.Duration(time.Minute)
	b.InFlight = 1024
	b.Authentication = authPass
	b.Brokers.Grace = config.Duration(5 * time.Minute)
}

func (b *ListenerBlock) check(m *config.Model, l *config.Listener, at config.Path) []config.Problem {
	problems := m.CheckClusterRef(b.Cluster, name, at.Field("cluster"))
	if strings.HasPrefix(l.Address, "unix:") {
		return append(problems, at.Problem("Kafka clients know no unix sockets: expected a host:port as the listener's address"))
	}
	if b.MaxRequest <= 0 {
		problems = append(problems, at.Field("max_request_size").Problem("expected at least 1"))
	}
	problems = append(problems, b.checkAuthentication(m, l, at)...)
	problems = append(problems, b.checkPolicy(at)...)
	brokers := at.Field("brokers")
	set := 0
	for _, v := range []string{b.Brokers.Ports, b.Brokers.Loopback, b.Brokers.SNI} {
		if v != "" {
			set++
		}
	}
	if set != 1 {
		return append(problems, brokers.Problem("expected exactly one of ports, loopback and sni"))
	}
	if _, _, err := net.SplitHostPort(l.Address); err != nil {
		return problems // the listener's own check tells it
	}
	switch {
	case b.Brokers.Ports != "":
		if _, err := parsePorts(b.Brokers.Ports); err != nil {
			problems = append(problems, brokers.Field("ports").Problem("%v", err))
		}
	case b.Brokers.Loopback != "":
		if _, err := parseLoopback(b.Brokers.Loopback); err != nil {
			problems = append(problems, brokers.Field("loopback").Problem("%v", err))
		}
	default:
		if strings.Count(b.Brokers.SNI, nodePlace) != 1 {
			problems = append(problems, brokers.Field("sni").Problem("expected a host name with %s in it once", nodePlace))
		}
		if l.TLS == nil {
			problems = append(problems, brokers.Field("sni").Problem("brokers are told apart by TLS server name: the listener needs tls"))
		}
	}
	if b.Brokers.Advertise != "" && b.Brokers.Ports == "" {
		problems = append(problems, brokers.Field("advertise").Problem("has a meaning with ports only"))
	}
	if b.Brokers.Port != 0 && b.Brokers.SNI == "" {
		problems = append(problems, brokers.Field("advertise_port").Problem("has a meaning with sni only"))
	}
	return problems
}

// nodePlace stands for the node id in an SNI pattern.
const nodePlace = "{node}"

// portRange is an inclusive range.
type portRange struct{ first, last int }

func parsePorts(s string) (portRange, error) {
	from, to, ok := strings.Cut(s, "-")
	first, err1 := strconv.Atoi(strings.TrimSpace(from))
	last, err2 := strconv.Atoi(strings.TrimSpace(to))
	if !ok || err1 != nil || err2 != nil || first < 1 || last > 65535 || first > last {
		return portRange{}, fmt.Errorf("expected a range such as 19092-19191, found %q", s)
	}
	return portRange{first, last}, nil
}

func parseLoopback(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || !p.Addr().IsLoopback() || p.Bits() < 8 || p.Bits() > 30 {
		return netip.Prefix{}, fmt.Errorf("expected an IPv4 loopback network such as 127.77.0.0/24, found %q", s)
	}
	return p.Masked(), nil
}

// ClusterBlock is the `kafka:` block of a cluster.
type ClusterBlock struct {
	Refresh   config.Duration `yaml:"refresh" doc:"How often brokers are looked up on sidewire's own connection." default:"30s"`
	FirstNode int             `yaml:"first_node" min:"0" max:"2000000000" doc:"Added to the brokers' node ids, as clients see them: a multiple of 100000, another one for each cluster, so that several can be told apart. A change reaches new connections; drain the old ones."`

	// Addresses break the loop of brokers that advertise sidewire, or a name that means nothing here.
	Addresses map[string]string `yaml:"addresses" doc:"Where brokers are dialled, by the host:port that they advertise; the others are dialled there."`

	SASL *Credentials `yaml:"sasl" doc:"What sidewire authenticates with on its own connections, and on clients' where a listener originates or terminates."`
}

// SetDefaults fills what a file leaves out.
func (b *ClusterBlock) SetDefaults() { b.Refresh = config.Duration(30 * time.Second) }

func (b *ClusterBlock) check(at config.Path) (problems []config.Problem) {
	if b.Refresh.Std() < 100*time.Millisecond {
		problems = append(problems, at.Field("refresh").Problem("expected at least 100ms"))
	}
	if b.FirstNode%nodeBlock != 0 {
		problems = append(problems, at.Field("first_node").Problem("expected a multiple of %d, found %d", nodeBlock, b.FirstNode))
	}
	for from, to := range b.Addresses {
		for _, address := range []string{from, to} {
			if _, _, err := net.SplitHostPort(address); err != nil {
				problems = append(problems, at.Field("addresses").Problem("expected host:port, found %q", address))
			}
		}
	}
	return append(problems, b.SASL.check(at.Field("sasl"))...)
}
