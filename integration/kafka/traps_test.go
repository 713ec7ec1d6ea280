package kafka_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway/certify"
	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/integration/leak"
)

// raw is a client that speaks bytes.
type raw struct {
	t *testing.T
	net.Conn
}

func dial(t *testing.T, addr string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &raw{t, c}
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// next reads one response and returns its correlation id and what follows it.
func (r *raw) next() (int32, []byte) {
	r.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		r.t.Fatalf("reading response: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		r.t.Fatalf("reading response: %v", err)
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:]
}

// closed waits for the end of the connection.
func (r *raw) closed() {
	r.t.Helper()
	if n, err := r.Read(make([]byte, 1)); err == nil {
		r.t.Fatalf("%d bytes where the end was due", n)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatal("the connection stays open")
	}
}

func (p *proxy) logged(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() error {
		if !strings.Contains(p.logs.String(), text) {
			return fmt.Errorf("nothing logged with %q", text)
		}
		return nil
	})
}

func metadata(correlation int32) []byte {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	return wire.AppendRequest(nil, correlation, "raw", req)
}

func apiVersions(correlation int32, version int16) []byte {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 4
	b := wire.AppendRequest(nil, correlation, "raw", req)
	binary.BigEndian.PutUint16(b[6:], uint16(version))
	return b
}

// Traps 1, 5 and 30: hundreds of requests are sent before anything is read; sidewire answers some itself, the broker the
// others, and every answer comes in its turn.
func TestPipelinedAnswersKeepTheirOrder(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(3, "orders"))
	p := start(t, c.ListenAddrs(), "brokers: {ports: PORTS}, max_in_flight: 7", "", "")
	r := dial(t, p.addr)
	const n = 500
	go func() {
		for i := range int32(n) {
			b := metadata(i)
			if i%3 == 1 {
				b = apiVersions(i, 99)
			}
			for _, part := range [][]byte{b[:i%int32(len(b))], b[i%int32(len(b)):]} { // in ragged pieces
				r.Write(part)
			}
		}
	}()
	for i := range int32(n) {
		correlation, body := r.next()
		if correlation != i {
			t.Fatalf("answer %d where %d was due", correlation, i)
		}
		if i%3 == 1 && (len(body) < 6 || int16(binary.BigEndian.Uint16(body)) != wire.ErrCodeUnsupportedVersion) {
			t.Fatalf("answer to a too new ApiVersions: %x", body)
		}
	}
}

// Trap 3: Produce with acks 0 is never answered; what follows is, and the records arrive.
func TestAcksZeroLeavesNoGap(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	p := start(t, c.ListenAddrs(), "", "", "")
	ctx := within(t, 20*time.Second)
	cl := client(t, p.addr, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite(), kgo.ClientID(strings.Repeat("c", 250)))
	produce(t, ctx, cl, "orders", 200, 50)
	if _, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, cl); err != nil {
		t.Fatal(err)
	}
	consume(t, ctx, client(t, p.addr, kgo.ConsumeTopics("orders")), 200)
}

// Traps 6 and 8: what is no Kafka, too long, broker-only or unknown ends its own connection with a clear line in the log.
func TestForeignAndHostileBytes(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1))
	p := start(t, c.ListenAddrs(), "brokers: {ports: PORTS}, stall_timeout: 300ms", "", "")
	frame := func(key, version int16) []byte {
		b := binary.BigEndian.AppendUint32(nil, 10)
		b = binary.BigEndian.AppendUint16(b, uint16(key))
		b = binary.BigEndian.AppendUint16(b, uint16(version))
		return append(b, 0, 0, 0, 1, 0xff, 0xff)
	}
	for _, c := range []struct {
		name   string
		bytes  []byte
		logged string
	}{
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xxxxxxxxxx"), "a TLS hello to a plain Kafka listener"},
		{"HTTP", []byte("GET /metrics HTTP/1.1\r\n\r\n"), "an HTTP request to a plain Kafka listener"},
		{"giant", []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 1}, "a request of 2147483647 bytes, 104857600 are allowed"},
		{"negative", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 1}, "shorter than a header"},
		{"unknown key", frame(10000, 0), "unknown API key 10000"},
		{"between brokers", frame(4, 0), "between brokers only"},
		{"unknown version", frame(3, 99), "version 99"},
		{"half a header", []byte{0, 0, 0, 50, 0, 3}, "made no progress"},
		{"half a body", append(binary.BigEndian.AppendUint32(nil, 5000), frame(3, 1)[4:]...), "made no progress"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dial(t, p.addr)
			r.send(c.bytes)
			r.closed()
			p.logged(t, c.logged)
		})
	}
	r := dial(t, p.addr)
	r.send(metadata(5))
	if correlation, _ := r.next(); correlation != 5 {
		t.Errorf("answer %d", correlation)
	}
}

// Trap 26: an address in the range that another program holds is passed over.
func TestPortInUseIsPassedOver(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(4, "orders"))
	first := freeRange(t, 10)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, c.ListenAddrs(), fmt.Sprintf("brokers: {ports: %d-%d}", first, first+9), "", "")
	roundTrip(t, p.addr)
}

// Trap 31: a client of one broker's address reaches that broker, whichever the bootstrap is.
func TestEachAddressIsItsBroker(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(3))
	p := start(t, c.ListenAddrs()[:1], "", "", "")
	ctx := within(t, 20*time.Second)
	for node := range int32(3) {
		p.logged(t, fmt.Sprintf("node=%d", node))
		seen := make(chan int32, 10)
		c.ControlKey(wire.Metadata, func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			select {
			case seen <- c.CurrentNode():
			default:
			}
			return nil, nil, false
		})
		var r *raw
		for r == nil { // its address opens a moment after the broker was found
			if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.first+int(node))); err == nil {
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				r = &raw{t, conn}
			} else if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
				t.Fatal(err)
			}
		}
		r.send(metadata(1))
		r.next()
		r.Close()
		found := false
		for len(seen) > 0 {
			found = <-seen == node || found
		}
		if !found {
			t.Errorf("broker %d was not asked at its address", node)
		}
	}
}

func TestBrokerThatDiesEndsItsConnectionsOnly(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(4, "orders"))
	p := start(t, c.ListenAddrs(), "", "", "")
	ctx := within(t, 30*time.Second)
	cl := client(t, p.addr)
	produce(t, ctx, cl, "orders", 20, 10)
	if err := c.RemoveNode(1); err != nil {
		t.Fatal(err)
	}
	produce(t, ctx, cl, "orders", 20, 10)
}

// Drain ends sessions between requests: everything that was asked is answered.
func TestDrainAnswersWhatWasAsked(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(1))
	held := make(chan struct{})
	c.ControlKey(wire.FindCoordinator, func(kmsg.Request) (kmsg.Response, error, bool) {
		close(held)
		c.SleepControl(func() { time.Sleep(300 * time.Millisecond) }) // the broker takes its time
		return nil, nil, false
	})
	p := start(t, c.ListenAddrs(), "", "", "")
	idle, busy := dial(t, p.addr), dial(t, p.addr)
	idle.send(metadata(1))
	idle.next()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKey = 3, "group"
	busy.send(wire.AppendRequest(nil, 7, "raw", req))
	<-held
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		p.Close(ctx)
	}()
	if correlation, _ := busy.next(); correlation != 7 {
		t.Errorf("answer %d", correlation)
	}
	busy.closed()
	idle.closed()
	<-done
}

// TLS towards clients with brokers told apart by server name, TLS towards brokers, and big bodies over both.
func TestSNIAddressingOverTLS(t *testing.T) {
	leak.Check(t)
	cert, key, pool := certify.Own(t, "kafka.test", "*.kafka.test")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(6, "orders"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}))
	first := freeRange(t, 1)
	p := startText(t, fmt.Sprintf("127.0.0.1:%d", first), fmt.Sprintf(`
admin: {address: ""}
listeners:
  - name: events
    address: 127.0.0.1:%d
    tls: {cert: %s, key: {file: %s}}
    kafka: {cluster: events, brokers: {sni: "b{node}.kafka.test"}}
clusters:
  - name: events
    endpoints: ["%s"]
    tls: {ca: %s}
    kafka: {refresh: 500ms}
`, first, cert, key, c.ListenAddrs()[0], cert))
	var d net.Dialer
	var mu sync.Mutex // guards hosts: the client dials its brokers side by side
	hosts := map[string]bool{}
	opts := []kgo.Opt{kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		name, _, _ := net.SplitHostPort(host)
		mu.Lock()
		hosts[name] = true
		mu.Unlock()
		conn, err := d.DialContext(ctx, network, p.addr)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: name}), nil
	}), kgo.ProducerBatchMaxBytes(4 << 20)}
	ctx := within(t, 90*time.Second) // TLS four times over under the race detector is slow
	prod := client(t, fmt.Sprintf("kafka.test:%d", first), opts...)
	produce(t, ctx, prod, "orders", 30, 50_000)
	prod.Close()
	mu.Lock()
	if !hosts["b0.kafka.test"] || !hosts["b1.kafka.test"] || !hosts["b2.kafka.test"] {
		t.Errorf("clients were sent to %v", hosts)
	}
	mu.Unlock()
	consume(t, ctx, client(t, fmt.Sprintf("kafka.test:%d", first), append(opts, kgo.ConsumeTopics("orders"))...), 30)
}

// Trap 26: a broker that leaves keeps its address for the grace, then it closes; one that comes gets its own.
func TestAddressesFollowTheCluster(t *testing.T) {
	leak.Check(t)
	c := fake(t, kfake.NumBrokers(2))
	p := start(t, c.ListenAddrs(), "brokers: {ports: PORTS, grace: 1s}", "", "")
	ctx := within(t, 30*time.Second)
	if _, _, err := c.AddNode(7, 0); err != nil {
		t.Fatal(err)
	}
	open := func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.first+7))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	for !open() {
		if ctx.Err() != nil {
			t.Fatal("the new broker has no address")
		}
		pause(ctx, 50*time.Millisecond)
	}
	if err := c.RemoveNode(7); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "not listed any more")
	if !open() {
		t.Error("closed without grace")
	}
	for open() {
		if ctx.Err() != nil {
			t.Fatal("the address of a broker that left stays open")
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// Trap 10: after a version 0 handshake, tokens pass without headers, the empty one that ends PLAIN too, and requests follow.
func TestSASLVersionZeroPassesThrough(t *testing.T) {
	leak.Check(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broker := make(chan error, 1)
	go func() {
		defer close(broker)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for tokens := 0; ; {
					var size [4]byte
					if _, err := io.ReadFull(conn, size[:]); err != nil {
						return
					}
					b := make([]byte, binary.BigEndian.Uint32(size[:]))
					if _, err := io.ReadFull(conn, b); err != nil {
						return
					}
					if tokens > 0 {
						tokens--
						conn.Write([]byte{0, 0, 0, 0})
						continue
					}
					key, version := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
					resp := kmsg.ResponseForKey(key)
					resp.SetVersion(version)
					if key == wire.SASLHandshake {
						tokens = 1
					}
					conn.Write(wire.AppendResponse(nil, int32(binary.BigEndian.Uint32(b[4:])), resp))
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-broker })
	p := start(t, []string{l.Addr().String()}, "", "", "")
	r := dial(t, p.addr)
	shake := kmsg.NewPtrSASLHandshakeRequest()
	shake.Mechanism = "PLAIN"
	r.send(wire.AppendRequest(nil, 1, "raw", shake))
	if correlation, _ := r.next(); correlation != 1 {
		t.Fatalf("answer %d", correlation)
	}
	token := []byte("\x00user\x00password")
	r.send(append(binary.BigEndian.AppendUint32(nil, uint32(len(token))), token...))
	var empty [4]byte
	if _, err := io.ReadFull(r, empty[:]); err != nil || empty != ([4]byte{}) {
		t.Fatalf("answer to the token: %x, %v", empty, err)
	}
	r.send(metadata(2))
	if correlation, _ := r.next(); correlation != 2 {
		t.Fatalf("answer %d", correlation)
	}
}

// request sends a request and reads its answer.
func (r *raw) request(req kmsg.Request) kmsg.Response {
	r.t.Helper()
	r.send(wire.AppendRequest(nil, 1, "raw", req))
	_, body := r.next()
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if wire.ResponseHeaderVersion(req.Key(), req.GetVersion()) == 1 {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		r.t.Fatal(err)
	}
	return resp
}
