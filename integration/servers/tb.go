package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// TB is what starting a server needs of a test; *testing.T and *testing.B have it.
type TB interface {
	Helper()
	Cleanup(func())
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// options is what an Option changes; its printed form is the key under which servers are shared.
type options struct {
	private  bool
	replicas int
	nodes    int
	password string
	line     string
	sasl     bool
	accounts []account
	first    int
	peak     bool
	via      string
	args     string
	argv     []string
}

// Option asks for a server other than the plain one. What a server does not know is an error.
type Option func(*options)

// Private asks for a server that no other test sees and that ends with the test.
func Private() Option { return func(o *options) { o.private = true } }

// Replicas asks for n replicas beside the primary (MariaDB, MySQL and Redis).
func Replicas(n int) Option { return func(o *options) { o.replicas = n } }

// Nodes asks for n brokers (Kafka) or n nodes (RedisCluster).
func Nodes(n int) Option { return func(o *options) { o.nodes = n } }

// Password asks for a Redis server that requires it.
func Password(password string) Option { return func(o *options) { o.password = password } }

// Line asks for another release line: "3.9" of Kafka.
func Line(version string) Option { return func(o *options) { o.line = version } }

// SASL asks for a Kafka listener that authenticates, beside the plain one.
func SASL() Option { return func(o *options) { o.sasl = true } }

// Account asks for one more account of a Kafka with SASL.
func Account(user, password string) Option {
	return func(o *options) { o.accounts = append(o.accounts, account{user, password}) }
}

type account struct{ user, password string }

// At asks for a Kafka of one broker whose plain listener is localhost at this port and whose SASL listener at the next, for clients that
// know no other address. Its caller has the ports to itself, in a network namespace for instance.
func At(port int) Option { return func(o *options) { o.first = port } }

// Peak asks for a Kafka whose code the JVM optimises in full, which it needs for its highest throughput and pays for with its start.
func Peak() Option { return func(o *options) { o.peak = true } }

// Via asks a Kafka of one broker for one more listener, which says that it is reached at addr: the address of a proxy that
// does not rewrite addresses itself.
func Via(addr string) Option { return func(o *options) { o.via = addr } }

// Args adds arguments of the server program's own (MariaDB, MySQL, PostgreSQL, Redis and etcd), lines of server.properties for Kafka.
func Args(args ...string) Option {
	return func(o *options) {
		o.argv = append(o.argv, args...)
		o.args = fmt.Sprintf("%q", o.argv)
	}
}

func collect(opts []Option) options {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// shared is the fleet of the test process and what was started in it. It is never closed: the supervisor ends it
// with the process.
var shared struct {
	once  sync.Once
	fleet *Fleet
	err   error

	mu      sync.Mutex
	started map[string]*entry
}

type entry struct {
	done   chan struct{}
	server any
	err    error
}

// Shared returns the fleet that the functions taking a TB use.
func Shared() (*Fleet, error) {
	shared.once.Do(func() {
		shared.fleet, shared.err = New()
		shared.started = map[string]*entry{}
	})
	return shared.fleet, shared.err
}

// Port reserves a free port of 127.0.0.1 for the life of the test process.
func Port(t TB) int {
	t.Helper()
	fleet, err := Shared()
	if err != nil {
		giveUp(t, err)
	}
	port, err := fleet.Port()
	if err != nil {
		giveUp(t, err)
	}
	return port
}

// obtain starts a server for t, or returns the one that was started with the same options.
func obtain[S interface{ Kill() error }](t TB, kind string, opts []Option, start func(*Fleet, context.Context, ...Option) (S, error)) S {
	t.Helper()
	fleet, err := Shared()
	if err != nil {
		giveUp(t, err)
	}
	o := collect(opts)
	if o.private {
		s, err := start(fleet, context.Background(), opts...)
		if err != nil {
			giveUp(t, err)
		}
		t.Cleanup(func() { s.Kill() })
		return s
	}
	o.argv = nil // args holds the same in a form that prints
	key := fmt.Sprintf("%s%+v", kind, o)
	shared.mu.Lock()
	e, found := shared.started[key]
	if !found {
		e = &entry{done: make(chan struct{})}
		shared.started[key] = e
	}
	shared.mu.Unlock()
	if found {
		<-e.done
	} else {
		e.server, e.err = start(fleet, context.Background(), opts...)
		close(e.done)
	}
	if e.err != nil {
		giveUp(t, e.err)
	}
	return e.server.(S)
}

// giveUp skips the test when the machine lacks the server and is not CI's; anything else is a failure.
func giveUp(t TB, err error) {
	t.Helper()
	if missing := (*Missing)(nil); errors.As(err, &missing) && os.Getenv("CI") != "true" {
		t.Skipf("%v", err)
	}
	t.Fatalf("starting a server: %v", err)
}
