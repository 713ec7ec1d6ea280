package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/redis"
)

// sentinelEvery is how often the sentinels are asked; a switch is seen within that time, or at once when a connection breaks.
const sentinelEvery = 500 * time.Millisecond

// sentinels asks a group's sentinels who is primary, on a goroutine of its own.
type sentinels struct {
	a    *attachment
	wake chan struct{}

	mu      sync.Mutex
	started bool
	list    []string
	group   string
}

func (s *sentinels) init(a *attachment) {
	s.a, s.wake = a, make(chan struct{}, 1)
}

// seeds takes the sentinels' addresses; the first call starts the goroutine.
func (s *sentinels) seeds(c *config.Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = s.list[:0:0]
	for _, e := range c.Endpoints {
		s.list = append(s.list, e.Address)
	}
	s.group = c.Block.(*ClusterBlock).Group
	if !s.started {
		s.started = true
		s.a.watch.Go(s.run)
	}
}

func (s *sentinels) ask() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// group is what the sentinels say.
type sentinelGroup struct {
	primary  string
	replicas []string
}

func (s *sentinels) run() {
	log := s.a.room.host.Log()
	var last string
	failing := false
	var hearing []string
	hush := func() {}
	defer func() { hush() }()
	for {
		s.mu.Lock()
		list := slices.Clone(s.list)
		s.mu.Unlock()
		if !slices.Equal(list, hearing) {
			hush()
			hearing, hush = list, s.hear(list)
		}
		g, err := s.learn()
		if s.a.ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			log.Warn("asking sentinels", "cluster", s.a.cluster.Name(), "error", err)
		}
		failing = err != nil
		if err == nil && g.primary != last {
			log.Info("primary by the sentinels' word", "cluster", s.a.cluster.Name(), "primary", g.primary, "before", last)
			last = g.primary
		}
		s.a.room.do(func() { s.a.up.elected(g) })
		timer := time.NewTimer(sentinelEvery)
		select {
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
			pause := time.NewTimer(sentinelEvery / 5)
			select {
			case <-pause.C:
			case <-s.a.ctx.Done():
				pause.Stop()
				return
			}
		case <-s.a.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// hear listens to sentinels until it is told to stop, and has all of them asked when one says that the primary has changed.
func (s *sentinels) hear(list []string) (stop func()) {
	ctx, cancel := context.WithCancel(s.a.ctx)
	for _, address := range list {
		s.a.watch.Go(func() {
			for ctx.Err() == nil {
				// An error is learn's to tell, which asks the same sentinel.
				_ = s.hearOne(ctx, address)
				pause := time.NewTimer(hearAgain)
				select {
				case <-pause.C:
				case <-ctx.Done():
					pause.Stop()
				}
			}
		})
	}
	return cancel
}

const (
	hearAgain = 2 * time.Second  // between two attempts to subscribe
	quietFor  = 20 * time.Second // a sentinel that says nothing for so long is asked whether it is there
)

// hearOne subscribes to a sentinel and stays with it until the connection ends.
func (s *sentinels) hearOne(ctx context.Context, address string) error {
	block := s.a.cluster.Config().Block.(*ClusterBlock)
	conn, session, err := s.a.ask(address, login{user: block.SentinelUser, pass: block.SentinelPassword.Value()})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	l := &link{conn: conn, tls: session}
	if err := l.send(redis.AppendCommand(nil, "SUBSCRIBE", "+switch-master")); err != nil {
		return err
	}
	for asked := false; ; {
		conn.SetReadDeadline(time.Now().Add(quietFor))
		if ctx.Err() != nil { // the deadline that was to end this may just have been moved
			return ctx.Err()
		}
		f, err := l.next()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() && !asked && ctx.Err() == nil {
			asked = true
			if err := l.send(redis.AppendCommand(nil, "PING")); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		asked = false
		if f[0] == redis.TypeError {
			return fmt.Errorf("subscribing to sentinel %s: %s", address, f)
		}
		if word, _ := element(f); string(word) == "message" {
			s.ask()
		}
	}
}

// learn asks all sentinels at once. The address that most of those who answered name is believed, if the server there agrees.
func (s *sentinels) learn() (*sentinelGroup, error) {
	s.mu.Lock()
	list, group := slices.Clone(s.list), s.group
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.a.ctx, 2*time.Second)
	defer cancel()
	type answer struct {
		g   *sentinelGroup
		err error
	}
	answers := make(chan answer, len(list))
	for _, address := range list {
		go func() {
			g, err := s.askOne(ctx, address, group)
			answers <- answer{g, err}
		}()
	}
	votes := map[string]int{}
	replicas := map[string][]string{}
	var last error
	for range list {
		got := <-answers
		if got.err != nil {
			last = got.err
			continue
		}
		votes[got.g.primary]++
		for _, r := range got.g.replicas {
			if !slices.Contains(replicas[got.g.primary], r) {
				replicas[got.g.primary] = append(replicas[got.g.primary], r)
			}
		}
	}
	best := &sentinelGroup{}
	for address, n := range votes {
		if n > votes[best.primary] {
			best.primary = address
		}
	}
	if best.primary == "" {
		return nil, fmt.Errorf("no sentinel knows %q: %w", group, last)
	}
	if err := s.confirm(ctx, best.primary); err != nil {
		return nil, fmt.Errorf("asking %s for its role: %w", best.primary, err)
	}
	best.replicas = replicas[best.primary]
	slices.Sort(best.replicas)
	return best, nil
}

// askOne asks one sentinel.
func (s *sentinels) askOne(ctx context.Context, address, group string) (*sentinelGroup, error) {
	block := s.a.cluster.Config().Block.(*ClusterBlock)
	l, err := s.link(ctx, address, login{user: block.SentinelUser, pass: block.SentinelPassword.Value()})
	if err != nil {
		return nil, err
	}
	defer l.conn.Close()
	out := redis.AppendCommand(nil, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", group)
	if err := l.send(redis.AppendCommand(out, "SENTINEL", "REPLICAS", group)); err != nil {
		return nil, err
	}
	f, err := l.next()
	if err != nil {
		return nil, err
	}
	v, _, err := parseValue(f, 0)
	if err != nil {
		return nil, err
	}
	if len(v.list) != 2 {
		return nil, fmt.Errorf("sentinel %s knows no group %q", address, group)
	}
	g := &sentinelGroup{primary: net.JoinHostPort(v.list[0].text, v.list[1].text)}
	if f, err = l.next(); err != nil {
		return nil, err
	}
	if v, _, err = parseValue(f, 0); err != nil {
		return g, nil // replicas are a bonus
	}
	for _, r := range v.list {
		facts := map[string]string{}
		for i := 0; i+1 < len(r.list); i += 2 {
			facts[r.list[i].text] = r.list[i+1].text
		}
		if facts["master-link-status"] == "ok" && facts["flags"] == "slave" {
			g.replicas = append(g.replicas, net.JoinHostPort(facts["ip"], facts["port"]))
		}
	}
	return g, nil
}

// confirm asks a server whether it is what the sentinels say: during a switch they may name one that has not been promoted yet.
func (s *sentinels) confirm(ctx context.Context, address string) error {
	l, err := s.link(ctx, address, login{user: s.a.user(), pass: s.a.pass()})
	if err != nil {
		return err
	}
	defer l.conn.Close()
	if err := l.send(redis.AppendCommand(nil, "ROLE")); err != nil {
		return err
	}
	f, err := l.next()
	if err != nil {
		return err
	}
	word, _ := element(f)
	if string(word) != "master" {
		return errors.New("it says that it is " + strconv.Quote(string(word)))
	}
	return nil
}

func (s *sentinels) link(ctx context.Context, address string, account login) (*link, error) {
	conn, session, err := s.a.ask(address, account)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	return &link{conn: conn, tls: session}, nil
}

// elected takes the sentinels' word; nil means that there is none.
func (u *upstream) elected(g *sentinelGroup) {
	u.asked = true
	if g != nil && (len(u.nodes) != 1 || u.nodes[0].address != g.primary) {
		u.setNodes([]member{{address: g.primary, weight: 1}})
	}
	if g != nil {
		u.setReplicas(map[string][]string{g.primary: g.replicas})
	}
	u.release()
}

// release lets sessions go on that waited for the first word.
func (u *upstream) release() {
	waiting := u.waiting
	u.waiting = nil
	for _, s := range waiting {
		if !s.closed {
			s.proceed()
		}
	}
}
