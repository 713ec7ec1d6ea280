package kafka_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/integration/leak"
	"github.com/sidewire/sidewire/integration/servers"
)

// keepAsking has several requests under way on one connection all the time; each is answered in its turn, or the test fails.
func keepAsking(t *testing.T, addr string, enough func() bool) {
	t.Helper()
	ctx := within(t, 40*time.Second)
	r := dial(t, addr)
	r.SetDeadline(time.Now().Add(40 * time.Second))
	const ahead = 3
	for i := int32(0); !enough(); i++ {
		if ctx.Err() != nil {
			t.Fatal("not enough happened in 40 s")
		}
		r.send(metadata(i))
		if i < ahead {
			continue
		}
		if got, _ := r.next(); got != i-ahead {
			t.Fatalf("response %d where %d comes next", got, i-ahead)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// Trap 11: a broker that wants to see sidewire's credentials again gets them in between the client's requests: nobody's connection
// ends for it.
func TestCredentialsAreShownAgain(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "proxy", "proxy-secret"),
		kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "1500"}))
	p := start(t, c.ListenAddrs(), `brokers: {ports: PORTS}, authentication: originate`, proxyAccount, "    connect_timeout: 20s\n")
	p.logged(t, "Kafka broker found")
	var shown atomic.Int64
	c.ControlKey(wire.SASLHandshake, func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		shown.Add(1)
		return nil, nil, false
	})
	// Its own connection is made anew as well: of so many, at least three are the client's.
	keepAsking(t, p.addr, func() bool { return shown.Load() >= 7 })
}

// The same with Apache Kafka, which ends connections whose time is over: those that sidewire authenticates, and those on which clients
// do it themselves, with every mechanism.
func TestApacheKafkaSeesCredentialsAgain(t *testing.T) {
	const life = 1500 * time.Millisecond
	c := servers.Kafka(t, servers.SASL(), servers.Args("connections.max.reauth.ms=1500"))
	ctx := within(t, 60*time.Second)
	through := start(t, c.SASLAddrs(), "", "", "")
	topic := through.own("renewed")
	createTopic(t, ctx, c.Addrs()[0], topic, 1)
	var clients []*kgo.Client
	again := func() {
		for _, cl := range clients {
			produce(t, ctx, cl, topic, 10, 10)
		}
	}
	for _, m := range mechanisms(c.User, c.Password) {
		clients = append(clients, client(t, through.addr, kgo.SASL(m)))
	}
	again()
	p := start(t, c.SASLAddrs(), `brokers: {ports: PORTS}, authentication: originate`,
		`, sasl: {mechanism: SCRAM-SHA-512, user: `+c.User+`, password: `+c.Password+`}`, "    connect_timeout: 20s\n")
	began := time.Now()
	keepAsking(t, p.addr, func() bool { return time.Since(began) > 2*life+life/2 })
	again()
}
