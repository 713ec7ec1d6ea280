package kafka_test

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	wire "github.com/sidewire/sidewire/protocols/kafka"

	"github.com/sidewire/sidewire/integration/leak"
)

// canned is a broker that answers Fetch and Produce without allocating, so that what is counted is sidewire's.
type canned struct {
	net.Listener
	all sync.WaitGroup
}

func startCanned(t *testing.T) *canned {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &canned{Listener: l}
	c.all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.all.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); c.all.Wait() })
	return c
}

func (c *canned) addr() (string, int32) {
	a := c.Addr().(*net.TCPAddr)
	return a.IP.String(), int32(a.Port)
}

func (c *canned) serve(conn net.Conn) {
	defer conn.Close()
	fetch := kmsg.NewPtrFetchResponse()
	fetch.Version = 16
	ft := kmsg.NewFetchResponseTopic()
	fp := kmsg.NewFetchResponseTopicPartition()
	fp.RecordBatches = make([]byte, 3000)
	ft.Partitions = append(ft.Partitions, fp)
	fetch.Topics = append(fetch.Topics, ft)
	produced := kmsg.NewPtrProduceResponse()
	produced.Version = 11
	fast := map[int16][]byte{wire.Fetch: wire.AppendResponse(nil, 0, fetch), wire.Produce: wire.AppendResponse(nil, 0, produced)}
	buf := make([]byte, 4096)
	for {
		if _, err := io.ReadFull(conn, buf[:4]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(buf))
		if _, err := io.ReadFull(conn, buf[4:4+n]); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(buf[4:])), int16(binary.BigEndian.Uint16(buf[6:]))
		correlation := binary.BigEndian.Uint32(buf[8:])
		answer := fast[key]
		if answer == nil {
			answer = c.slow(key, version, correlation)
		}
		binary.BigEndian.PutUint32(answer[4:], correlation)
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (c *canned) slow(key, version int16, correlation uint32) []byte {
	resp := kmsg.ResponseForKey(key)
	resp.SetVersion(version)
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for key := range int16(wire.Keys) {
			a := kmsg.NewApiVersionsResponseApiKey()
			api, _ := wire.Lookup(key)
			a.ApiKey, a.MaxVersion = key, api.Max
			r.ApiKeys = append(r.ApiKeys, a)
		}
	case *kmsg.MetadataResponse:
		b := kmsg.NewMetadataResponseBroker()
		b.Host, b.Port = c.addr()
		r.Brokers = append(r.Brokers, b)
	}
	return wire.AppendResponse(nil, int32(correlation), resp)
}

func startQuiet(t *testing.T, c *canned) *proxy {
	t.Helper()
	p := start(t, []string{c.Addr().String()}, "", "", "")
	p.logged(t, "Kafka broker found")
	return p
}

// A Fetch and a Produce through sidewire allocate nothing.
func TestTransparentPathAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates by itself; make test runs this without it")
	}
	leak.Check(t)
	p := startQuiet(t, startCanned(t))
	r := dial(t, p.addr)
	r.SetDeadline(time.Time{})
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version = 16
	prod := kmsg.NewPtrProduceRequest()
	prod.Version, prod.Acks = 11, -1
	pt := kmsg.NewProduceRequestTopic()
	pp := kmsg.NewProduceRequestTopicPartition()
	pp.Records = make([]byte, 2000)
	pt.Partitions = append(pt.Partitions, pp)
	prod.Topics = append(prod.Topics, pt)
	buf := make([]byte, 8192)
	for name, frame := range map[string][]byte{"Fetch": wire.AppendRequest(nil, 9, "raw", fetch), "Produce": wire.AppendRequest(nil, 9, "raw", prod)} {
		exchange := func() {
			if _, err := r.Write(frame); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, buf[:4]); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, buf[4:4+binary.BigEndian.Uint32(buf)]); err != nil {
				t.Fatal(err)
			}
		}
		for range 50 {
			exchange()
		}
		// Probes and looks for brokers go on meanwhile, so it is an average over many.
		if n := testing.AllocsPerRun(3000, exchange); n > 0.5 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}

// An idle connection holds no buffer: its memory is the two goroutines and their bookkeeping. The same connections made
// directly tell what the client's and the broker's ends cost in this process.
func TestIdleConnectionsAreSmall(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates by itself; make test runs this without it")
	}
	leak.Check(t)
	c := startCanned(t)
	p := startQuiet(t, c)
	const n = 400
	cost := func(addr string) float64 {
		conns := make([]net.Conn, n)
		before := inUse()
		for i := range conns {
			r := dial(t, addr)
			r.send(metadata(1))
			r.next()
			conns[i] = r.Conn
		}
		used := inUse() - before
		for _, conn := range conns {
			conn.Close()
		}
		return float64(used) / n
	}
	direct := cost(c.Addr().String())
	through := cost(p.addr)
	t.Logf("%.1f kB a connection directly, %.1f kB through sidewire", direct/1024, through/1024)
	if extra := through - direct; extra > 20*1024 {
		t.Errorf("%.1f kB an idle connection, 20 are allowed", extra/1024)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
