package tcp

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/sharding/hash"
)

// upstream finds connections their endpoint in a cluster.
type upstream struct {
	cluster *cluster.Cluster
	random  func() uint64

	table  atomic.Pointer[table]
	making sync.Mutex // held while a table is made, so that many connections at once do not each make it
}

func (*upstream) Update(*config.Cluster) error { return nil }
func (*upstream) Close()                       {}

// pick chooses an endpoint: by the hash of the client's address where the cluster has hashing.
func (u *upstream) pick(client net.Addr, by string) (*cluster.Endpoint, error) {
	block, _ := u.cluster.Config().Block.(*ClusterBlock)
	if block == nil || block.Hashing == "" {
		return u.cluster.Pick(cluster.Want{})
	}
	if by == "source_ip" {
		if h, ok := addressHash(client); ok {
			return u.place(block, h)
		}
	}
	return u.place(block, u.random())
}

// addressHash is Envoy's hash of a client: xxHash of its IP address as text.
func addressHash(client net.Addr) (uint64, bool) {
	ip := source(client)
	var text [64]byte
	return hash.XXHash64(ip.AppendTo(text[:0])), ip.IsValid()
}

// place finds the endpoint of a hash among those that may serve now. Whether the table is still theirs is seen by looking at them, which
// costs less than telling all who hold it, and cannot be late.
func (u *upstream) place(block *ClusterBlock, h uint64) (*cluster.Endpoint, error) {
	var room [16]*cluster.Endpoint
	fit, err := u.cluster.Candidates(cluster.Want{}, room[:0])
	if err != nil {
		return nil, err
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	t := u.table.Load()
	if !t.fits(block, fit) {
		if t, err = u.build(block, fit); err != nil {
			return nil, err
		}
	}
	return t.seats[t.place.PlaceHash(h)], nil
}

func (u *upstream) build(block *ClusterBlock, fit []*cluster.Endpoint) (*table, error) {
	u.making.Lock()
	defer u.making.Unlock()
	if t := u.table.Load(); t.fits(block, fit) {
		return t, nil
	}
	t := &table{block: *block}
	confs := make([]*config.Endpoint, len(fit))
	for i, e := range fit {
		confs[i] = e.Config()
		t.members = append(t.members, member{e, hashName(confs[i]), confs[i].Weight})
	}
	place, seats, err := placement(block, confs)
	if err != nil {
		return nil, err
	}
	t.place = place
	for _, i := range seats {
		t.seats = append(t.seats, fit[i])
	}
	u.table.Store(t)
	return t, nil
}

// table is where hashes go among the endpoints it was made for. It does not change.
type table struct {
	block   ClusterBlock
	members []member
	place   hash.HashPlacement
	seats   []*cluster.Endpoint // by what place says
}

// member is an endpoint as it was when the table was made.
type member struct {
	endpoint *cluster.Endpoint
	name     string
	weight   int
}

// fits reports whether the table is that of these endpoints; no table is.
func (t *table) fits(block *ClusterBlock, fit []*cluster.Endpoint) bool {
	if t == nil || t.block != *block || len(t.members) != len(fit) {
		return false
	}
	for i, e := range fit {
		c := e.Config()
		if (t.members[i] != member{e, hashName(c), c.Weight}) {
			return false
		}
	}
	return true
}

// hashName is what is hashed for an endpoint. A name stands for one server: of several that DNS found by it, each has its address.
func hashName(e *config.Endpoint) string {
	if e.Name != "" && e.Host == "" {
		return e.Name
	}
	return e.Address
}

// placement places hashes on endpoints, of which seats says by their indexes who has a share: all, if none has a weight.
func placement(block *ClusterBlock, all []*config.Endpoint) (place hash.HashPlacement, seats []int, err error) {
	weighted := slices.ContainsFunc(all, func(e *config.Endpoint) bool { return e.Weight > 0 })
	var servers []hash.Server
	for i, e := range all {
		if e.Weight > 0 || !weighted {
			servers, seats = append(servers, hash.Server{Name: hashName(e), Weight: max(e.Weight, 1)}), append(seats, i)
		}
	}
	if block.Hashing == "envoy_maglev" {
		place, err = hash.NewEnvoyMaglev(servers)
		return place, seats, err
	}
	size := block.RingSize
	if size == 0 {
		size = hash.EnvoyRingSize
	}
	place, err = hash.NewEnvoyRing(servers, size)
	return place, seats, err
}
