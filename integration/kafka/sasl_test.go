package kafka_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/integration/leak"
)

func mechanisms(user, password string) map[string]sasl.Mechanism {
	return map[string]sasl.Mechanism{
		"PLAIN":         plain.Auth{User: user, Pass: password}.AsMechanism(),
		"SCRAM-SHA-256": scram.Auth{User: user, Pass: password}.AsSha256Mechanism(),
		"SCRAM-SHA-512": scram.Auth{User: user, Pass: password}.AsSha512Mechanism(),
	}
}

// secured is a cluster that wants authentication; every mechanism has an account of its own.
func secured(t *testing.T) *kfake.Cluster {
	return fake(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "orders"), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "app", "secret"), kfake.Superuser("SCRAM-SHA-256", "app", "secret"), kfake.Superuser("SCRAM-SHA-512", "app", "secret"),
		kfake.Superuser("PLAIN", "proxy", "proxy-secret"), kfake.Superuser("SCRAM-SHA-512", "proxy", "proxy-secret"), kfake.Superuser("SCRAM-SHA-256", "mapped", "mapped-secret"))
}

func roundTrip(t *testing.T, addr string, opts ...kgo.Opt) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	produce(t, ctx, client(t, addr, opts...), "orders", 50, 100)
	consume(t, ctx, client(t, addr, append(opts, kgo.ConsumeTopics("orders"))...), 50)
}

func refused(t *testing.T, addr string, opts ...kgo.Opt) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	cl := client(t, addr, append(opts, kgo.RetryTimeout(time.Second), kgo.RequestRetries(0))...)
	if _, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl); err == nil {
		t.Error("served without a right to be")
	}
}

const proxyAccount = ", sasl: {mechanism: SCRAM-SHA-512, user: proxy, password: proxy-secret}"

// Trap 12: SCRAM cannot be replayed, so it passes through untouched or ends here.
func TestSASLPassesThrough(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	for _, cluster := range []string{"", proxyAccount} { // also where sidewire's own connections may not look for brokers
		p := start(t, c.ListenAddrs(), "", cluster, "")
		for name, m := range mechanisms("app", "secret") {
			t.Run(name, func(t *testing.T) { roundTrip(t, p.addr, kgo.SASL(m)) })
		}
		refused(t, p.addr, kgo.SASL(mechanisms("app", "wrong")["PLAIN"]))
		refused(t, p.addr)
	}
}

func TestSASLOriginated(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	p := start(t, c.ListenAddrs(), "brokers: {ports: PORTS}, authentication: originate", proxyAccount, "")
	roundTrip(t, p.addr)
	refused(t, p.addr, kgo.SASL(mechanisms("app", "secret")["PLAIN"]))
}

const users = `brokers: {ports: PORTS}, authentication: terminate, users: [{name: alice, password: wonder}, {name: bob, password: builder, as: {mechanism: SCRAM-SHA-256, user: mapped, password: mapped-secret}}]`

func TestSASLTerminated(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	p := start(t, c.ListenAddrs(), users, proxyAccount, "")
	for _, who := range [][2]string{{"alice", "wonder"}, {"bob", "builder"}} {
		for name, m := range mechanisms(who[0], who[1]) {
			t.Run(who[0]+"/"+name, func(t *testing.T) { roundTrip(t, p.addr, kgo.SASL(m)) })
		}
	}
	for name, m := range mechanisms("alice", "builder") {
		t.Run("wrong password/"+name, func(t *testing.T) { refused(t, p.addr, kgo.SASL(m)) })
	}
	for name, m := range mechanisms("proxy", "proxy-secret") { // the broker's accounts are not the clients'
		t.Run("unknown user/"+name, func(t *testing.T) { refused(t, p.addr, kgo.SASL(m)) })
	}
	refused(t, p.addr)
	if strings.Contains(p.logs.String(), "wonder") || strings.Contains(p.logs.String(), "proxy-secret") {
		t.Error("a password was logged")
	}
}

// Trap 11: a client that is told a session lifetime authenticates again on the same connection and goes on.
func TestSASLSessionsAreRenewed(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	p := start(t, c.ListenAddrs(), users+", session_lifetime: 3s", proxyAccount, "")
	ctx := within(t, 30*time.Second)
	cl := client(t, p.addr, kgo.SASL(mechanisms("alice", "wonder")["SCRAM-SHA-512"]))
	for range 12 {
		produce(t, ctx, cl, "orders", 5, 10)
		pause(ctx, 400*time.Millisecond)
	}
	if strings.Contains(p.logs.String(), "did not authenticate again") {
		t.Error("a client that renews was cut")
	}
}

// A user who is taken out of the configuration loses its sessions; nobody else notices.
func TestRevokedUserLosesItsSession(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	p := start(t, c.ListenAddrs(), users, proxyAccount, "")
	ctx := within(t, 20*time.Second)
	alice := client(t, p.addr, kgo.SASL(mechanisms("alice", "wonder")["PLAIN"]))
	bob := client(t, p.addr, kgo.SASL(mechanisms("bob", "builder")["PLAIN"]))
	produce(t, ctx, alice, "orders", 1, 10)
	produce(t, ctx, bob, "orders", 1, 10)
	p.reload(t, "{name: alice, password: wonder}, ", "")
	produce(t, ctx, bob, "orders", 1, 10)
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if _, err := kmsg.NewPtrMetadataRequest().RequestWith(short, alice); err == nil {
		t.Error("alice is still served")
	}
}

// A broker that does not answer sidewire's credentials in time is told of in the log, not taken for an ordinary end.
func TestSilentBrokerIsLogged(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	c.ControlKey(wire.SASLAuthenticate, func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		c.SleepControl(func() { <-t.Context().Done() })
		return nil, nil, false
	})
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, authentication: originate`, proxyAccount, "    connect_timeout: 500ms\n")
	dial(t, p.addr).send(metadata(1))
	p.logged(t, "authenticating to broker")
}
