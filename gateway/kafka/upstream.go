package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/time/rate"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
)

// broker is what the cluster says of one of its brokers.
type broker struct {
	node int32
	host string
	port int32
	rack string
}

func (b broker) address() string { return endpoint(b.host, b.port) }

func endpoint(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// upstream knows the brokers of one cluster. It asks on its own connection, never on a client's, and also learns from what
// passes to clients, because a client must find an address open the moment it hears of it.
type upstream struct {
	host    host.Host
	cluster *cluster.Cluster
	end     context.CancelFunc
	ended   chan struct{}
	wake    chan struct{} // holds one: look now
	ids     identities

	mu      sync.Mutex // guards what follows
	brokers map[int32]broker
	changed chan struct{} // closed at the next change
	lists   uint64        // how often the cluster has listed its brokers
	listed  chan struct{} // closed at the next list
}

func newUpstream(h host.Host, c *cluster.Cluster) *upstream {
	ctx, end := context.WithCancel(context.Background())
	u := &upstream{host: h, cluster: c, end: end, ended: make(chan struct{}), wake: make(chan struct{}, 1),
		ids: identities{asks: rate.NewLimiter(idsPerSecond, idsAtOnce)}, brokers: map[int32]broker{}, changed: make(chan struct{}), listed: make(chan struct{})}
	go u.run(ctx)
	return u
}

func (u *upstream) Update(*config.Cluster) error { u.look(); return nil }

func (u *upstream) Close() {
	u.end()
	<-u.ended
}

func (u *upstream) block() *ClusterBlock { return u.cluster.Config().Block.(*ClusterBlock) }

// reach is where a broker is dialled: where it says, unless the configuration knows better.
func (u *upstream) reach(b broker) string {
	if address, ok := u.block().Addresses[b.address()]; ok {
		return address
	}
	return b.address()
}

// look asks for fresh knowledge soon.
func (u *upstream) look() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// run keeps the broker list fresh. After a failure it tries again soon, and ever less often up to the ordinary interval.
func (u *upstream) run(ctx context.Context) {
	defer close(u.ended)
	var conn *control
	defer func() { conn.close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := 100 * time.Millisecond
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-u.wake:
		}
		err := u.refresh(ctx, &conn)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry, told = 100*time.Millisecond, false
			timer.Reset(u.block().Refresh.Std())
		default:
			conn.close()
			conn = nil
			if !told {
				u.host.Log().Warn("looking up Kafka brokers", "cluster", u.cluster.Name(), "error", err)
				told = true // once an outage; recovery is told by the next change
			}
			timer.Reset(retry)
			retry = min(2*retry, u.block().Refresh.Std())
		}
	}
}

func (u *upstream) refresh(ctx context.Context, conn **control) error {
	ctx, cancel := context.WithTimeout(ctx, 2*u.cluster.Config().ConnectTimeout.Std())
	defer cancel()
	if *conn != nil && !(*conn).renew.IsZero() && time.Now().After((*conn).renew) {
		(*conn).close()
		*conn = nil
	}
	if *conn == nil {
		c, err := u.control(ctx)
		if err != nil {
			return err
		}
		*conn = c
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // no topics: brokers alone
	resp, err := (*conn).ask(ctx, req)
	if err != nil {
		return err
	}
	u.learnAll(resp.(*kmsg.MetadataResponse))
	return nil
}

// control connects to a declared endpoint, or, when none answers, to any broker known from before.
func (u *upstream) control(ctx context.Context) (*control, error) {
	var failed []error
	for _, address := range u.entries() {
		err := u.own(ctx, address)
		if err == nil {
			var c *control
			if c, err = dialControl(ctx, u.cluster, address); err == nil {
				return c, nil
			}
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failed...)
}

// entries are the addresses at which the cluster may be entered: healthy declared endpoints, the others, known brokers.
func (u *upstream) entries() []string {
	var good, bad []string
	for _, e := range u.cluster.Endpoints() {
		if e.Healthy() {
			good = append(good, e.Address())
		} else {
			bad = append(bad, e.Address())
		}
	}
	out := append(good, bad...)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, b := range u.brokers {
		out = append(out, u.reach(b))
	}
	return out
}

// learnAll takes the cluster's whole list. A broker that is not on it is down or gone; it is found again when it is back.
func (u *upstream) learnAll(m *kmsg.MetadataResponse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	changed := false
	listed := map[int32]bool{}
	for _, b := range m.Brokers {
		rack := ""
		if b.Rack != nil {
			rack = *b.Rack
		}
		changed = u.put(broker{b.NodeID, b.Host, b.Port, rack}) || changed
		listed[b.NodeID] = true
	}
	for node, b := range u.brokers {
		if !listed[node] {
			u.host.Log().Info("Kafka broker not listed any more", "cluster", u.cluster.Name(), "node", node, "address", b.address())
			delete(u.brokers, node)
			changed = true
		}
	}
	if changed {
		u.announce()
	}
	u.lists++
	close(u.listed)
	u.listed = make(chan struct{})
}

// learn takes what a response on its way to a client says of a broker.
func (u *upstream) learn(node int32, host string, port int32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.brokers[node]
	if old.host == host && old.port == port {
		return
	}
	u.put(broker{node, host, port, old.rack})
	u.announce()
}

// put is called with mu held and reports a change.
func (u *upstream) put(b broker) bool {
	if u.brokers[b.node] == b {
		return false
	}
	if old, ok := u.brokers[b.node]; ok {
		u.host.Log().Info("Kafka broker moved", "cluster", u.cluster.Name(), "node", b.node, "from", old.address(), "to", b.address())
	} else {
		u.host.Log().Info("Kafka broker found", "cluster", u.cluster.Name(), "node", b.node, "address", b.address())
	}
	u.brokers[b.node] = b
	return true
}

func (u *upstream) announce() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// known is a copy of what is known, and a channel that closes at the next change.
func (u *upstream) known() (brokers map[int32]broker, changed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.brokers), u.changed
}

// find waits until a broker is known, or the cluster has said without it who its brokers are: twice, since the first list may have been
// on its way already. A client that hears no soon asks elsewhere; one that waits for a broker that is gone does not.
func (u *upstream) find(ctx context.Context, node int32) (broker, error) {
	var first uint64
	for begun := false; ; begun = true {
		u.mu.Lock()
		b, ok := u.brokers[node]
		changed, listed, lists := u.changed, u.listed, u.lists
		u.mu.Unlock()
		if !begun {
			first = lists
		}
		if ok {
			return b, nil
		}
		if lists < first+2 {
			u.look()
			select {
			case <-changed:
				continue
			case <-listed:
				continue
			case <-ctx.Done():
			}
		}
		return broker{}, fmt.Errorf("cluster %q has no broker %d", u.cluster.Name(), node)
	}
}
