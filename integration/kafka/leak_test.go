package kafka_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/integration/leak"
)

// hidden is where the brokers of these tests listen; nothing else in a test says these bytes.
const hidden = "127.66.6.6"

// scanner counts how often needles pass in a stream, over the edges of reads too.
type scanner struct {
	net.Conn
	needles         func() [][]byte
	onRead, onWrite *atomic.Int64
	rtail, wtail    []byte
}

func hiddenHost() [][]byte { return [][]byte{[]byte(hidden)} }

func (s *scanner) scan(tail *[]byte, b []byte, hits *atomic.Int64) {
	before, longest := len(*tail), 0
	*tail = append(*tail, b...)
	for _, needle := range s.needles() {
		// What lies in the tail as a whole was counted with it.
		hits.Add(int64(bytes.Count(*tail, needle) - bytes.Count((*tail)[:before], needle)))
		longest = max(longest, len(needle))
	}
	if keep := longest - 1; len(*tail) > keep {
		*tail = append((*tail)[:0], (*tail)[len(*tail)-keep:]...)
	}
}

func (s *scanner) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.onRead != nil {
		s.scan(&s.rtail, b[:n], s.onRead)
	}
	return n, err
}

func (s *scanner) Write(b []byte) (int, error) {
	if s.onWrite != nil {
		s.scan(&s.wtail, b, s.onWrite)
	}
	return s.Conn.Write(b)
}

type scannedListener struct {
	net.Listener
	hits *atomic.Int64
}

func (l scannedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &scanner{Conn: c, needles: hiddenHost, onWrite: l.hits}, nil
}

// hiddenBrokers listens where the needle is and counts how often brokers name it.
func hiddenBrokers(told *atomic.Int64) kfake.Opt {
	return kfake.ListenFn(func(network, address string) (net.Listener, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen(network, net.JoinHostPort(hidden, port))
		return scannedListener{l, told}, err
	})
}

func scannedDialer(needles func() [][]byte, leaked *atomic.Int64) kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &scanner{Conn: c, needles: needles, onRead: leaked}, nil
	})
}

// Every byte that reaches clients is searched for an upstream address while leaders move, coordinators change and
// brokers come and go (trap 9). The brokers must have named themselves often, or the test proves nothing.
func TestNoUpstreamAddressReachesClients(t *testing.T) {
	leak.Check(t)
	var told, leaked atomic.Int64
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(8, "orders"), hiddenBrokers(&told))
	for _, addressing := range []string{"brokers: {ports: PORTS}", "brokers: {loopback: 127.67.0.0/24}"} {
		t.Run(addressing, func(t *testing.T) {
			p := start(t, c.ListenAddrs(), addressing, "", "")
			ctx := within(t, 60*time.Second)
			opts := []kgo.Opt{scannedDialer(hiddenHost, &leaked), kgo.FetchMaxWait(200 * time.Millisecond)}
			prod := client(t, p.addr, opts...)
			cons := client(t, p.addr, append(opts, kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("readers-"+p.addr), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))...)

			stop, done := context.WithCancel(ctx)
			var all sync.WaitGroup
			all.Go(func() {
				for i := 0; stop.Err() == nil; i++ {
					c.ShufflePartitionLeaders()
					if i%5 == 4 {
						c.RehashCoordinators()
					}
					pause(stop, 100*time.Millisecond)
				}
			})
			var sent atomic.Int64
			all.Go(func() {
				for i := 0; stop.Err() == nil; i++ {
					r := &kgo.Record{Topic: "orders", Value: bytes.Repeat([]byte("v"), 1000+i%50*1000)}
					prod.Produce(stop, r, func(_ *kgo.Record, err error) {
						if err == nil {
							sent.Add(1)
						}
					})
					if i%20 == 19 {
						_ = prod.Flush(stop)
					}
				}
			})
			var received atomic.Int64
			all.Go(func() {
				for stop.Err() == nil {
					cons.PollFetches(stop).EachRecord(func(*kgo.Record) { received.Add(1) })
				}
			})
			all.Go(func() {
				for node := int32(10); stop.Err() == nil; node++ {
					if _, _, err := c.AddNode(node, 0); err != nil {
						t.Errorf("adding broker: %v", err)
						return
					}
					for _, r := range []kmsg.Request{kmsg.NewPtrDescribeClusterRequest(), kmsg.NewPtrMetadataRequest()} {
						if _, err := prod.Request(stop, r); err != nil && stop.Err() == nil {
							t.Logf("asking: %v", err)
						}
					}
					pause(stop, 300*time.Millisecond)
					if err := c.RemoveNode(node); err != nil {
						t.Errorf("removing broker: %v", err)
						return
					}
				}
			})
			pause(ctx, 4*time.Second)
			done()
			all.Wait()
			if sent.Load() < 100 || received.Load() < 100 {
				t.Errorf("%d records sent, %d received: too few to mean anything", sent.Load(), received.Load())
			}
			t.Logf("brokers named themselves %d times; %d records sent, %d received", told.Load(), sent.Load(), received.Load())
		})
	}
	if told.Load() < 100 {
		t.Errorf("brokers named themselves %d times only", told.Load())
	}
	if n := leaked.Load(); n > 0 {
		t.Errorf("%d upstream addresses reached clients", n)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
