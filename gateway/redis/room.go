package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/host"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/sharding/hash"
)

// room is the engine with a loop under it, one for the process.
type room struct {
	host   host.Host
	loop   *socket.Loop
	engine *engine // the loop's goroutine only

	reading reading
	access  *telemetry.AccessLog // the one that hears of replies; the loop's goroutine only
}

func newRoom(h host.Host) (*room, error) {
	loop, err := socket.NewLoop(h.Log())
	if err != nil {
		return nil, err
	}
	r := &room{host: h, loop: loop}
	r.engine = newEngine(r, h.Rand())
	r.engine.clock = h.Now().UnixNano()
	loop.Post(func() {
		loop.OnAlarm(r.engine.tick)
		loop.BeforeFlush(func(now time.Time) {
			r.logAccess(now)
			for u := range r.engine.upstreams {
				if u.attachment != nil {
					u.tell(u.attachment.cluster)
				}
			}
		})
	})
	r.instrument()
	return r, nil
}

func (r *room) alarm(at time.Time) { r.loop.Alarm(at) }

// do runs f on the loop and waits for it.
func (r *room) do(f func()) {
	done := make(chan struct{})
	if r.loop.Post(func() { defer close(done); r.engine.clock = r.loop.Now().UnixNano(); f() }) {
		<-done
	}
}

// attachment is what Redis keeps on a cluster: the engine's upstream, and who tells it of endpoints.
type attachment struct {
	room    *room
	cluster *cluster.Cluster
	shape   shape
	up      *upstream // the loop's goroutine only, but for its name
	ctx     context.Context
	stop    context.CancelFunc
	watch   sync.WaitGroup
	unview  func() // takes what it shows off the admin interface, unless another one shows itself there

	topology  topology
	sentinels sentinels
}

func (r *room) attach(c *cluster.Cluster, conf *config.Cluster) (*attachment, error) {
	a := &attachment{room: r, cluster: c, shape: shapeOf(conf)}
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.topology.init(a)
	a.sentinels.init(a)
	nearby := func(address string) bool {
		e, s := c.Endpoint(address), r.host.Snapshot()
		return e != nil && s != nil && s.Node.Zone != "" && e.Config().Zone == s.Node.Zone
	}
	var err error
	r.do(func() {
		a.up = r.engine.newUpstream(c.Name())
		a.up.attachment, a.up.nearby = a, nearby
		a.up.refuse, a.up.measure = c.Refuse, r.measurePool(c.Name())
		a.up.reporting = func(n *node, cause error) {
			var dial *net.OpError
			if errors.As(cause, &dial) && dial.Op == "dial" {
				return // the cluster dialled, and knows
			}
			if e := c.Endpoint(n.address); e != nil {
				c.Report(e, cause)
			}
		}
		err = a.configure(conf)
	})
	if err != nil {
		a.stop()
		return nil, err
	}
	a.watch.Go(a.follow)
	a.unview = r.host.View("redis/"+c.Name(), a.view)
	return a, nil
}

// follow tells the engine when an endpoint's health or role changes, and when to look at its connections' age.
func (a *attachment) follow() {
	sweeps := time.NewTicker(sweepEvery)
	defer sweeps.Stop()
	for {
		changed := a.cluster.Changed()
		a.room.loop.Post(func() {
			c := a.cluster.Config()
			if a.ctx.Err() != nil || shapeOf(c) != a.shape {
				return // another attachment's
			}
			if err := a.configure(c); err != nil {
				a.room.host.Log().Error("placing keys", "cluster", a.cluster.Name(), "error", err)
			}
		})
		for due := false; !due; {
			select {
			case <-sweeps.C:
				if a.cluster.Config().Pool == (config.Pool{}) {
					continue
				}
				a.room.loop.Post(func() {
					a.room.engine.clock = a.room.loop.Now().UnixNano()
					a.up.sweep()
				})
			case <-changed:
				due = true
			case <-a.ctx.Done():
				return
			}
		}
	}
}

func (a *attachment) update(c *config.Cluster) error {
	var err error
	a.room.do(func() { err = a.configure(c) })
	return err
}

// configure brings the upstream to a configuration and the endpoints' present state. Loop goroutine only.
func (a *attachment) configure(c *config.Cluster) error {
	b := c.Block.(*ClusterBlock)
	u := a.up
	u.slow = int64(b.Slow.Std())
	u.large = int(b.Large)
	u.timeout, u.stuck = int64(b.Timeout.Std()), 2*int64(b.Timeout.Std())
	u.limit(&c.Limits)
	u.keep(&c.Pool)
	defer u.sweep() // what is to be there is opened at once
	u.db, u.user, u.pass = b.Database, b.User, b.Password.Value()
	u.maxDedicated, u.split = b.Dedicated, b.CrossShard == "split"
	if u.connections != b.Connections {
		u.connections = b.Connections
		for _, v := range u.views {
			v.renew()
		}
		u.changed()
	}
	u.reads, u.ownWrites, u.confirm = readPolicies[b.Read], int64(b.OwnWrites.Std()), b.Confirm
	u.ask = b.Hashing == "slots" || b.Hashing == "sentinel"
	u.settleZones()
	switch b.Hashing {
	case "":
		u.serve(modeSingle)
		a.place(a.primary())
		if len(u.nodes) > 0 {
			u.setReplicas(map[string][]string{u.nodes[0].address: a.replicas(u.nodes[0].address)})
		}
		return nil
	case "sentinel":
		u.serve(modeSingle)
		a.sentinels.seeds(c)
		return nil
	case "slots":
		u.serve(modeSlots)
		if u.slots == nil {
			u.slots = new([hash.Slots]int16)
			for i := range u.slots {
				u.slots[i] = -1
			}
		}
		a.topology.seeds(c)
		return nil
	}
	m := a.members(nil)
	if b.Eject {
		if up := a.members((*cluster.Endpoint).Healthy); len(up) > 0 {
			m = up
		}
	}
	found, err := placement(b, m)
	if err != nil {
		return err
	}
	tag, err := hash.ParseTag(b.tag())
	if err != nil {
		return err
	}
	u.serve(modeHashed)
	u.tag = tag
	if a.place(m) {
		u.spread = found
	}
	return nil
}

// members are the living endpoints, which a DNS name may make more than the configured ones; keep, if not nil, says which.
func (a *attachment) members(keep func(*cluster.Endpoint) bool) []member {
	var m []member
	for _, e := range a.cluster.Endpoints() {
		if keep != nil && !keep(e) {
			continue
		}
		c := *e.Config()
		if c.Address != e.Address() {
			c.Address, c.Name = e.Address(), "" // one of several behind a name
		}
		m = append(m, memberOf(a.cluster.Config().Block.(*ClusterBlock), c))
	}
	return m
}

// place sets the nodes unless they are what they were: a new epoch makes every session wait for its replies.
func (a *attachment) place(m []member) bool {
	u := a.up
	same := len(m) == len(u.nodes) && (u.place != nil || u.keys != nil) == (u.mode == modeHashed)
	for i := 0; same && i < len(m); i++ {
		n := u.nodes[i]
		same = n.address == m[i].address && n.name == m[i].name && n.weight == m[i].weight
	}
	if same {
		return false
	}
	u.setNodes(m)
	return true
}

// primary is the endpoint that takes writes: the one that probes found, or that configuration names, or the first.
func (a *attachment) primary() []member {
	if m := a.members(func(e *cluster.Endpoint) bool { return e.Role() == cluster.Primary && e.Healthy() }); len(m) > 0 {
		return m[:1]
	}
	if len(a.up.nodes) > 0 { // nobody says that another one has taken over
		was := a.up.nodes[0].address
		if m := a.members(func(e *cluster.Endpoint) bool { return e.Address() == was }); len(m) > 0 {
			return m
		}
	}
	if m := a.members(nil); len(m) > 0 {
		return m[:1]
	}
	return nil
}

// replicas are the healthy endpoints that say they are replicas.
func (a *attachment) replicas(primary string) []string {
	var list []string
	for _, e := range a.cluster.Endpoints() {
		if e.Role() == cluster.Replica && e.Healthy() && e.Address() != primary {
			list = append(list, e.Address())
		}
	}
	return list
}

// upstreamOwner passes a stream's events to a backend.
type upstreamOwner struct {
	room *room
	b    *backend
}

func (o *upstreamOwner) Receive(_ *socket.Stream, b []byte) int {
	o.room.engine.clock = o.room.loop.Now().UnixNano()
	return o.b.receive(b)
}
func (o *upstreamOwner) Hangup(*socket.Stream)             {}
func (o *upstreamOwner) Ended(_ *socket.Stream, err error) { o.b.ended(gone(err)) }
func (o *upstreamOwner) Drained(*socket.Stream) {
	if s := o.b.holder; s != nil {
		s.uploadOn()
	}
}

// gone words the end of a connection.
func gone(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the server closed the connection")
	}
	return err
}

// dial opens a backend's connection on a goroutine of its own, and brings it into the loop.
func (r *room) dial(b *backend) {
	u, key, n := b.pool.view.upstream, b.pool.view.key, b.pool.node
	account := login{user: key.user, pass: key.pass, db: key.db, resp3: key.resp3, readOnly: n.replica && u.mode == modeSlots, tracking: key.tracker, identify: b.dedicated && (u.mode != modeSingle || len(u.parents) > 0)}
	if account.user == "" && account.pass == "" {
		account.user, account.pass = u.user, u.pass
	}
	a := u.attachment
	go func() {
		began := r.host.Now()
		conn, session, said, err := a.open(a.ctx, n.address, account)
		if err == nil {
			u.measure.Created(r.host.Now().Sub(began))
		}
		ok := r.loop.Post(func() {
			r.engine.clock = r.loop.Now().UnixNano()
			if err != nil {
				b.failed(err)
				return
			}
			if b.state == dead {
				conn.Close()
				return
			}
			if b.id = said.id; said.version != "" {
				n.version = said.version
			}
			s, err := r.loop.Add(conn, session, &upstreamOwner{r, b}, true)
			if err != nil {
				b.failed(err)
				return
			}
			b.connected(s)
		})
		if !ok && conn != nil {
			conn.Close()
		}
	}()
}

// ask opens a connection for questions of sidewire's own.
func (a *attachment) ask(address string, account login) (net.Conn, *socket.TLS, error) {
	conn, session, _, err := a.open(cluster.ForItself(a.ctx), address, account)
	return conn, session, err
}

// open dials an address and logs in.
func (a *attachment) open(ctx context.Context, address string, account login) (net.Conn, *socket.TLS, told, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cluster.Config().ConnectTimeout.Std())
	defer cancel()
	conn, err := a.cluster.DialPlainAddress(ctx, address)
	if err != nil {
		return nil, nil, told{}, err
	}
	l := &link{conn: conn}
	if t := a.cluster.Config().TLS; t != nil {
		conf, err := t.Config(a.cluster.ServerName(address))
		if err == nil {
			l.tls, err = socket.ClientTLS(ctx, conn, conf)
		}
		if err != nil {
			conn.Close()
			return nil, nil, told{}, err
		}
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	said, err := account.do(l)
	if err == nil && len(l.in) > 0 {
		err = errUnasked
	}
	if err != nil {
		conn.Close()
		return nil, nil, told{}, err
	}
	conn.SetDeadline(time.Time{})
	if e := a.cluster.Endpoint(address); e != nil && said.version == "" {
		if st := e.State(); st != nil {
			said.version = st.Version
		}
	}
	return conn, l.tls, said, nil
}

// handler is Redis on one listener.
type handler struct {
	room     *room
	gate     *gate // the loop's goroutine only
	sessions listener.Sessions
	tls      atomic.Pointer[config.ServerTLS]
	draining atomic.Bool
}

func (r *room) listen(l *config.Listener) (*handler, error) {
	h := &handler{room: r, gate: &gate{name: l.Name}}
	h.gate.onLeft = func(*session) { h.sessions.End() }
	r.do(func() { r.engine.gates = append(r.engine.gates, h.gate) })
	return h, h.Update(l)
}

// StartTLS says that the loop carries TLS itself.
func (h *handler) StartTLS() bool { return true }

func (h *handler) Update(l *config.Listener) error {
	b := l.Block.(*ListenerBlock)
	found := map[string]*upstream{}
	for _, name := range b.clusters() {
		seat, ok := h.room.host.Upstream(name).(*seat)
		if !ok {
			return fmt.Errorf("no Redis cluster named %q", name)
		}
		found[name] = seat.now.Load().up
	}
	h.tls.Store(l.TLS)
	h.room.do(func() {
		g := h.gate
		g.users = nil
		for _, u := range b.Users {
			g.users = append(g.users, user{u.Name, u.Password.Value(), u.UpstreamUser, u.UpstreamPassword.Value()})
		}
		g.passOn = b.Auth == "upstream"
		g.limits.output, g.limits.transaction = int(b.Output), int(b.Transaction)
		g.face = faceStandalone
		if b.Face == "cluster" {
			g.face = faceCluster
		}
		if g.announce = b.Announce; g.announce == "" {
			g.announce = strings.Replace(l.Address, "0.0.0.0", "127.0.0.1", 1)
		}
		g.rules, g.custom = newRules(b), customCommands(b.CustomCommands)
		next := found[b.Cluster]
		if len(b.Routes) > 0 {
			next = b.routed(h.room.engine, l.Name, func(name string) *upstream { return found[name] })
		}
		g.become(h.room.engine, next)
	})
	return nil
}

// Refuse answers in Redis's words.
func (h *handler) Refuse(c *listener.Conn, why error) {
	text := "-ERR " + why.Error() + "\r\n"
	if errors.Is(why, listener.ErrTooManyConnections) {
		text = "-ERR max number of clients reached\r\n"
	}
	c.Write([]byte(text))
}

func (h *handler) Handle(ctx context.Context, c *listener.Conn) {
	var session *socket.TLS
	if t := h.tls.Load(); t != nil {
		conf, err := t.Config()
		if err == nil {
			hctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			session, err = socket.ServerTLS(hctx, c.Conn, conf)
			cancel()
		}
		if err != nil {
			h.room.host.Log().Warn("connection failed", "listener", h.gate.name, "client", c.Client(), "error", err)
			c.Close()
			return
		}
	}
	h.sessions.Begin()
	client := c.Client()
	ok := h.room.loop.Post(func() {
		r := h.room
		r.engine.clock = r.loop.Now().UnixNano()
		o := &clientOwner{room: r}
		s, err := r.loop.Add(c.Conn, session, o, false)
		if err != nil {
			c.Close()
			h.sessions.End()
			return
		}
		s.HighWater(clientHighWater)
		s.OnClose(func() { c.Close() })
		o.session = r.engine.newSession(s, h.gate, client)
		h.gate.stats.sessions++
		if h.draining.Load() {
			o.session.quit()
		}
	})
	if !ok {
		c.Close()
		h.sessions.End()
	}
}

// clientHighWater is how much output a client may leave unfetched and still be read from.
const clientHighWater = 1 << 20

// clientOwner passes a stream's events to a session.
type clientOwner struct {
	room    *room
	session *session
}

func (o *clientOwner) Receive(_ *socket.Stream, b []byte) int {
	o.room.engine.clock = o.room.loop.Now().UnixNano()
	return o.session.receive(b)
}

func (o *clientOwner) Hangup(*socket.Stream)  { o.session.hangup() }
func (o *clientOwner) Drained(*socket.Stream) { o.session.drained() }

func (o *clientOwner) Ended(s *socket.Stream, err error) {
	o.session.ended(errors.Is(err, io.EOF))
	if o.session.closed {
		s.Close()
	}
}

// Drain lets every session have the replies it waits for, and then ends it.
func (h *handler) Drain(ctx context.Context) {
	h.draining.Store(true)
	h.each(func(s *session) { s.quit() })
	h.sessions.Wait(ctx)
}

// Close ends what is left.
func (h *handler) Close() {
	h.each(func(s *session) { s.end() })
	h.room.do(func() {
		e := h.room.engine
		h.gate.become(e, nil)
		e.gates = slices.DeleteFunc(e.gates, func(g *gate) bool { return g == h.gate })
	})
}

func (h *handler) each(f func(*session)) {
	h.room.do(func() {
		for _, s := range h.room.engine.sessions {
			if s.gate == h.gate {
				f(s)
			}
		}
	})
}
