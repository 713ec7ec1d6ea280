package redis

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/redis"
	"github.com/sidewire/sidewire/sharding/hash"
)

const (
	refreshEvery = 10 * time.Second       // when nothing happens
	refreshGap   = 250 * time.Millisecond // at least between two, however many redirections there are
	askedNodes   = 3                      // so that one that is cut off cannot turn the whole view around
	maxNodes     = 1000
)

// slotMap is a Redis Cluster as one of its nodes sees it.
type slotMap struct {
	primaries []string // sorted
	replicas  map[string][]string
	slots     [hash.Slots]int16 // index into primaries, or -1
	epoch     int64
	state     bool // the node says that the cluster is fine
}

func (m *slotMap) equal(o *slotMap) bool {
	return slices.Equal(m.primaries, o.primaries) && m.slots == o.slots
}

// topology learns a cluster's slots, on a goroutine of its own.
type topology struct {
	a    *attachment
	wake chan string

	mu     sync.Mutex
	seeded []string
}

func (t *topology) init(a *attachment) {
	t.a = a
	t.wake = make(chan string, 1)
}

// seeds takes the configured endpoints; the first call starts the goroutine.
func (t *topology) seeds(c *config.Cluster) {
	var s []string
	for _, e := range c.Endpoints {
		s = append(s, e.Address)
	}
	t.mu.Lock()
	first := t.seeded == nil
	changed := !slices.Equal(s, t.seeded)
	t.seeded = s
	t.mu.Unlock()
	if first {
		t.a.watch.Go(t.run)
	} else if changed {
		t.ask("endpoints have changed")
	}
}

// ask wants a refresh; many at a time are one.
func (t *topology) ask(why string) {
	select {
	case t.wake <- why:
	default:
	}
}

func (r *room) refresh(u *upstream, why string) {
	if u.attachment != nil {
		u.attachment.topology.ask(why)
		u.attachment.sentinels.ask()
	}
}

func (t *topology) run() {
	log := t.a.room.host.Log()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var nodes []string
	why := "start"
	for {
		m, err := t.learn(nodes)
		if t.a.ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Warn("learning cluster's slots", "cluster", t.a.cluster.Name(), "reason", why, "error", err)
		}
		t.a.room.do(func() { t.a.up.learnt(m) })
		if m != nil {
			nodes = m.primaries
			for _, r := range m.replicas {
				nodes = append(slices.Clip(nodes), r...)
			}
		}
		next := refreshEvery
		if err != nil {
			next = time.Second
		}
		gap := time.NewTimer(refreshGap)
		select {
		case <-gap.C:
		case <-t.a.ctx.Done():
			gap.Stop()
			return
		}
		timer.Reset(next)
		select {
		case why = <-t.wake:
		case <-timer.C:
			why = "interval"
		case <-t.a.ctx.Done():
			return
		}
	}
}

// learn asks several nodes at once and believes the most, or of equally many those with the higher epoch.
func (t *topology) learn(nodes []string) (*slotMap, error) {
	t.mu.Lock()
	asked := append(slices.Clone(nodes), t.seeded...)
	t.mu.Unlock()
	slices.Sort(asked)
	asked = slices.Compact(asked)
	start := 0
	if len(asked) > 1 {
		start = int(t.a.room.host.Rand() % uint64(len(asked)))
	}
	order := append(slices.Clone(asked[start:]), asked[:start]...)
	ctx, cancel := context.WithTimeout(t.a.ctx, 3*time.Second)
	defer cancel()
	var maps []*slotMap
	var last error
	for len(order) > 0 && len(maps) < min(askedNodes, len(asked)) {
		n := min(askedNodes-len(maps), len(order))
		type answer struct {
			m   *slotMap
			err error
		}
		answers := make(chan answer, n)
		for _, address := range order[:n] {
			go func() {
				m, err := t.askNode(ctx, address)
				answers <- answer{m, err}
			}()
		}
		order = order[n:]
		for range n {
			if got := <-answers; got.err != nil {
				last = got.err
			} else {
				maps = append(maps, got.m)
			}
		}
	}
	if len(maps) == 0 {
		return nil, fmt.Errorf("no node answered: %w", last)
	}
	return choose(maps), nil
}

// choose is the vote.
func choose(maps []*slotMap) *slotMap {
	var best *slotMap
	votes := 0
	for _, m := range maps {
		n := 0
		for _, o := range maps {
			if m.equal(o) {
				n++
			}
		}
		better := best == nil || m.state && !best.state || m.state == best.state && (n > votes || n == votes && m.epoch > best.epoch)
		if better {
			best, votes = m, n
		}
	}
	return best
}

// askNode asks one node what it sees.
func (t *topology) askNode(ctx context.Context, address string) (*slotMap, error) {
	conn, session, err := t.a.ask(address, login{user: t.a.user(), pass: t.a.pass()})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	l := &link{conn: conn, tls: session}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	out := redis.AppendCommand(nil, "CLUSTER", "SLOTS")
	if err := l.send(redis.AppendCommand(out, "CLUSTER", "INFO")); err != nil {
		return nil, err
	}
	slots, err := l.next()
	if err != nil {
		return nil, err
	}
	info, err := l.next()
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	m, err := readSlots(slots, host)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", address, err)
	}
	for _, line := range strings.Split(body(info), "\r\n") {
		switch k, v, _ := strings.Cut(line, ":"); k {
		case "cluster_current_epoch":
			m.epoch, _ = strconv.ParseInt(v, 10, 64)
		case "cluster_state":
			m.state = v == "ok"
		}
	}
	return m, nil
}

// readSlots reads CLUSTER SLOTS: ranges, each with its servers, the primary first. A server may be without an address (null or empty: the
// one that was asked) or unknown ("?"), and carries an ID and further facts from some version on, which are passed over.
func readSlots(f []byte, asked string) (*slotMap, error) {
	if f[0] == redis.TypeError {
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(f[1:])))
	}
	v, rest, err := parseValue(f, 0)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("reading CLUSTER SLOTS: %w", errShape)
	}
	m := &slotMap{replicas: map[string][]string{}}
	type span struct {
		from, to int64
		primary  string
	}
	var spans []span
	for _, r := range v.list {
		if len(r.list) < 3 || r.list[0].n < 0 || r.list[1].n >= hash.Slots || r.list[0].n > r.list[1].n {
			return nil, fmt.Errorf("reading CLUSTER SLOTS: %w", errShape)
		}
		var primary string
		for i, s := range r.list[2:] {
			if len(s.list) < 2 || s.list[1].n <= 0 || s.list[1].n > 65535 {
				return nil, fmt.Errorf("reading CLUSTER SLOTS: %w", errShape)
			}
			host := s.list[0].text
			if host == "" {
				host = asked
			}
			if host == "?" {
				continue
			}
			address := net.JoinHostPort(host, strconv.FormatInt(s.list[1].n, 10))
			if i == 0 {
				primary = address
			} else if primary != "" && !slices.Contains(m.replicas[primary], address) {
				m.replicas[primary] = append(m.replicas[primary], address)
			}
		}
		if primary != "" {
			spans = append(spans, span{r.list[0].n, r.list[1].n, primary})
			if !slices.Contains(m.primaries, primary) {
				m.primaries = append(m.primaries, primary)
			}
		}
	}
	slices.Sort(m.primaries)
	for i := range m.slots {
		m.slots[i] = -1
	}
	for _, s := range spans {
		at := slices.Index(m.primaries, s.primary)
		for i := s.from; i <= s.to; i++ {
			m.slots[i] = int16(at)
		}
	}
	if len(m.primaries) == 0 || len(m.primaries) > maxNodes {
		return nil, fmt.Errorf("reading CLUSTER SLOTS: %d servers hold slots", len(m.primaries))
	}
	return m, nil
}

var errShape = fmt.Errorf("not of the expected shape")

// value is a parsed reply, for the few that are looked into off the hot path.
type value struct {
	text string
	n    int64
	list []value
}

func parseValue(f []byte, depth int) (value, []byte, error) {
	i := slices.Index(f, '\n')
	if i < 2 || depth > 8 {
		return value{}, nil, errShape
	}
	line, rest := f[1:i-1], f[i+1:]
	switch f[0] {
	case redis.TypeInt:
		n, ok := redis.ParseInt(line)
		if !ok {
			return value{}, nil, errShape
		}
		return value{n: n}, rest, nil
	case redis.TypeSimple, redis.TypeNull:
		return value{text: string(line)}, rest, nil
	case redis.TypeBulk:
		n, ok := redis.ParseInt(line)
		if !ok || n >= int64(len(rest))-1 {
			return value{}, nil, errShape
		}
		if n < 0 {
			return value{}, rest, nil
		}
		return value{text: string(rest[:n])}, rest[n+2:], nil
	case redis.TypeArray, redis.TypeMap, redis.TypeSet:
		n, ok := redis.ParseInt(line)
		if !ok || n > int64(len(rest)) {
			return value{}, nil, errShape
		}
		if f[0] == redis.TypeMap {
			n *= 2
		}
		var v value
		for range n {
			var e value
			var err error
			if e, rest, err = parseValue(rest, depth+1); err != nil {
				return value{}, nil, err
			}
			v.list = append(v.list, e)
		}
		return v, rest, nil
	}
	return value{}, nil, errShape
}

func (a *attachment) user() string { return a.cluster.Config().Block.(*ClusterBlock).User }
func (a *attachment) pass() string {
	return a.cluster.Config().Block.(*ClusterBlock).Password.Value()
}

// learnt takes a new view of the cluster; nil means that nobody could be asked.
func (u *upstream) learnt(m *slotMap) {
	u.asked = true
	if m != nil && !u.holds(m) {
		members := make([]member, len(m.primaries))
		for i, p := range m.primaries {
			members[i] = member{address: p, weight: 1}
		}
		u.setNodes(members)
		*u.slots = m.slots
	}
	if m != nil {
		u.setReplicas(m.replicas)
	}
	u.release()
}

// holds tells whether the view is the one in use.
func (u *upstream) holds(m *slotMap) bool {
	if len(u.nodes) != len(m.primaries) {
		return false
	}
	for i, n := range u.nodes {
		if n.address != m.primaries[i] {
			return false
		}
	}
	return *u.slots == m.slots
}
