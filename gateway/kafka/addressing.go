package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
)

// door is one listener of the configuration with the addresses of the brokers behind it. Every broker that a client may
// hear of has an address here, and it is bound before anybody is told.
type door struct {
	// Fixed at creation.
	host    host.Host
	name    string // at first: for metrics and logs
	address string // the listener's, as configured
	end     context.CancelFunc
	ended   chan struct{}
	metrics *metrics
	topics  *topics
	cursors cursors

	config   atomic.Pointer[config.Listener]
	accounts accounts
	quotas   quotas

	live   sync.Mutex // guards lives
	lives  map[*session]struct{}
	mu     sync.RWMutex // guards what follows
	places map[int32]*place
	taken  map[string]int32 // addresses by the broker that has them
	failed map[int32]bool   // brokers that got no address, told once each
	// addressed is how places came about.
	addressed Brokers
}

// place is where clients reach one broker.
type place struct {
	host    string // empty: the address by which the client came
	port    int32
	address string
	socket  *listener.Listener // nil with SNI
	absent  time.Time          // since when the broker is off the list; zero: it is on it. Guarded by the door's mu
}

func newDoor(h host.Host, l *config.Listener) (*door, error) {
	sealing, err := newCursors()
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	d := &door{cursors: sealing, host: h, name: l.Name, address: l.Address, end: end, ended: make(chan struct{}), metrics: newMetrics(h.Metrics(), l.Name),
		lives: map[*session]struct{}{}, places: map[int32]*place{}, taken: map[string]int32{}, failed: map[int32]bool{}}
	h.Statements().Source("kafka/"+l.Name, d.metrics.digests)
	d.config.Store(l)
	d.addressed = d.block().Brokers
	limit := 500
	if f := d.block().Topics; f != nil {
		limit = f.Limit
	}
	d.topics = newTopics(h.Metrics(), l.Name, limit)
	go d.run(ctx)
	return d, nil
}

func (d *door) block() *ListenerBlock { return d.config.Load().Block.(*ListenerBlock) }

func (d *door) upstream() (*upstream, error) {
	block := d.block()
	if u, ok := d.host.Upstream(block.Cluster).(*upstream); ok {
		return u, nil
	}
	return nil, fmt.Errorf("cluster %q: %w", block.Cluster, cluster.ErrClosed)
}

// settle is called when a new block is in force. Where it addresses brokers differently, the old addresses drain and new ones open.
func (d *door) settle() {
	d.revoke()
	d.mu.Lock()
	if after := d.block().Brokers; d.addressed == after {
		d.mu.Unlock()
		return
	}
	d.addressed = d.block().Brokers
	old := d.places
	d.places, d.taken, d.failed = map[int32]*place{}, map[string]int32{}, map[int32]bool{}
	d.mu.Unlock()
	for _, p := range old {
		if p.socket != nil {
			d.host.Unbind(p.socket)
		}
	}
}

// revoke ends the sessions of users that the configuration no longer knows.
func (d *door) revoke() {
	d.live.Lock()
	defer d.live.Unlock()
	for s := range d.lives {
		if s.revoked(d.block()) {
			d.host.Log().Info("Kafka user revoked", "listener", d.name, "client", s.client.Client(), "user", s.userName())
			s.down.Interrupt()
		}
	}
}

// bindRetry is how soon binding is tried again for brokers that have no address yet.
const bindRetry = 250 * time.Millisecond

// run opens addresses for brokers as they become known, so that clients that remember one from before sidewire started
// find it, and closes those of brokers that left long ago.
func (d *door) run(ctx context.Context) {
	defer close(d.ended)
	tick := time.NewTicker(bindRetry)
	defer tick.Stop()
	for {
		var changed <-chan struct{}
		if u, err := d.upstream(); err == nil {
			var missing bool
			if changed, missing = d.look(u); missing {
				tick.Reset(bindRetry)
			} else {
				tick.Reset(time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// look opens addresses for brokers that have none and closes those of brokers that left.
func (d *door) look(u *upstream) (changed <-chan struct{}, missing bool) {
	brokers, changed := u.known()
	for node := range brokers {
		if _, err := d.place(node); err != nil {
			missing = true
		}
	}
	d.closeGone(brokers)
	return changed, missing
}

// closeGone closes the addresses of brokers that have been off the list for the grace.
func (d *door) closeGone(brokers map[int32]broker) {
	now, grace := d.host.Now(), d.block().Brokers.Grace.Std()
	var leaving []*place
	d.mu.Lock()
	for node, p := range d.places {
		switch _, listed := brokers[node]; {
		case listed:
			p.absent = time.Time{}
		case p.absent.IsZero():
			p.absent = now
		case now.Sub(p.absent) > grace:
			d.host.Log().Info("Kafka broker left", "listener", d.name, "node", node, "address", p.address)
			delete(d.places, node)
			delete(d.taken, p.address)
			leaving = append(leaving, p)
		}
	}
	d.mu.Unlock()
	for _, p := range leaving {
		if p.socket != nil {
			d.host.Unbind(p.socket)
		}
	}
}

// place returns where clients reach a broker and opens it first when nobody has.
func (d *door) place(node int32) (*place, error) {
	d.mu.RLock()
	p := d.places[node]
	d.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.places[node]; p != nil {
		return p, nil
	}
	p, err := d.open(node)
	if err != nil {
		if !d.failed[node] {
			d.host.Log().Warn("opening address for Kafka broker", "listener", d.name, "node", node, "error", err)
		}
		d.failed[node] = true
		return nil, err
	}
	delete(d.failed, node)
	d.places[node] = p
	d.taken[p.address] = node
	return p, nil
}

// open is called with mu held.
func (d *door) open(node int32) (*place, error) {
	b := d.block().Brokers
	own, port, err := net.SplitHostPort(d.address)
	if err != nil {
		return nil, err
	}
	switch {
	case b.SNI != "":
		adv := b.Port
		if adv == 0 {
			adv, _ = strconv.Atoi(port)
		}
		host := strings.Replace(b.SNI, nodePlace, strconv.Itoa(int(node)), 1)
		return &place{host: host, port: int32(adv), address: host}, nil
	case b.Loopback != "":
		prefix, err := parseLoopback(b.Loopback)
		if err != nil {
			return nil, err
		}
		return d.openFirst(node, loopbackCandidates(prefix, node, port))
	}
	r, err := parsePorts(b.Ports)
	if err != nil {
		return nil, err
	}
	p, err := d.openFirst(node, portCandidates(r, node, own))
	if p != nil {
		p.host = b.Advertise
		if p.host == "" && !wildcard(own) {
			p.host = own
		}
	}
	return p, err
}

func wildcard(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// portCandidates puts the port that belongs to the node first, so that it survives restarts; after it, the free ones from
// the end of the range, where they collide with the fewest.
func portCandidates(r portRange, node int32, host string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		own := int64(r.first) + int64(node)
		if node >= 0 && own <= int64(r.last) && !yield(net.JoinHostPort(host, strconv.Itoa(int(own)))) {
			return
		}
		for p := r.last; p >= r.first; p-- {
			if !yield(net.JoinHostPort(host, strconv.Itoa(p))) {
				return
			}
		}
	}
}

// loopbackCandidates does the same for addresses: broker N has the address N+1 of the network.
func loopbackCandidates(prefix netip.Prefix, node int32, port string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		base := prefix.Addr().As4()
		first := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
		size := uint32(1) << (32 - prefix.Bits())
		at := func(i uint32) string {
			n := first + i
			return net.JoinHostPort(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}).String(), port)
		}
		if node >= 0 && uint32(node) < size-2 && !yield(at(uint32(node)+1)) {
			return
		}
		for i := size - 2; i >= 1; i-- {
			if !yield(at(i)) {
				return
			}
		}
	}
}

// maxTries bounds how many addresses are tried for one broker: a range that other programs filled is not searched whole.
const maxTries = 64

// occupied says that an address is not to be had, so that another will do. Any other error passes with time, and then the broker must
// have its own address: before the listener serves, none can be opened.
func occupied(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EACCES)
}

// openFirst binds the first candidate that is free. mu is held.
func (d *door) openFirst(node int32, candidates func(func(string) bool)) (*place, error) {
	var p *place
	var last error
	tries := 0
	candidates(func(address string) bool {
		if _, ok := d.taken[address]; ok {
			return true
		}
		ln, err := d.host.Bind(d.config.Load().Name, address, &handler{door: d, node: node})
		if err != nil {
			last = err
			tries++
			return occupied(err) && tries < maxTries
		}
		host, port, _ := net.SplitHostPort(address)
		n, _ := strconv.Atoi(port)
		p = &place{host: host, port: int32(n), address: address, socket: ln}
		return false
	})
	if p == nil && last == nil {
		last = fmt.Errorf("all addresses are taken by other brokers: widen the range")
	}
	if p != nil {
		return p, nil
	}
	return nil, last
}

// nodeOf is the broker that a TLS server name stands for, or bootstrap.
func nodeOf(pattern, serverName string) int32 {
	before, after, _ := strings.Cut(pattern, nodePlace)
	s := strings.ToLower(serverName)
	mid, ok1 := strings.CutPrefix(s, strings.ToLower(before))
	mid, ok2 := strings.CutSuffix(mid, strings.ToLower(after))
	if !ok1 || !ok2 {
		return bootstrap
	}
	n, err := strconv.ParseInt(mid, 10, 32)
	if err != nil || n < 0 {
		return bootstrap
	}
	return int32(n)
}

func (d *door) close() {
	d.host.Statements().Source("kafka/"+d.name, nil)
	d.end()
	<-d.ended
}
