package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/listener"
	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// bootstrap is the node of a listener that stands for no broker in particular.
const bootstrap int32 = -1

// handler serves one socket of a door: the listener's own, or one broker's. Each drains for itself, because a broker that
// left takes its address along and nothing else.
type handler struct {
	door     *door
	node     int32
	draining atomic.Bool
	sessions listener.Sessions
}

func (h *handler) Update(l *config.Listener) error {
	h.door.config.Store(l)
	return nil
}

// Settle ends the sessions of users that are gone, and moves brokers that are addressed differently now.
func (h *handler) Settle() {
	if h.node == bootstrap {
		h.door.settle()
	}
}

// Refuse closes: Kafka has no message that a client would read before it asked something.
func (h *handler) Refuse(*listener.Conn, error) {}

// Drain ends sessions between requests, when everything that was asked is answered.
func (h *handler) Drain(ctx context.Context) {
	h.draining.Store(true)
	h.door.live.Lock()
	for s := range h.door.lives {
		if s.handler == h {
			s.down.SetReadDeadline(past)
			s.mu.Lock() // a session between its look at draining and its wait must hear of it
			s.moved.Broadcast()
			s.mu.Unlock()
		}
	}
	h.door.live.Unlock()
	h.sessions.Wait(ctx)
}

func (h *handler) Close() {
	if h.node == bootstrap {
		h.door.close()
	}
}

var past = time.Unix(1, 0)

// session is one client connection and the one broker connection it stands on. Two goroutines move its two directions;
// what they share is the list of requests under way.
type session struct {
	// Fixed at creation.
	door    *door
	handler *handler
	client  *listener.Conn
	node    int32
	down    *socket.Conn // the client
	up      *socket.Conn // the broker
	target  string
	view    view
	far     bool          // the broker is in another rack than the clients
	ended   chan struct{} // closed when replies have ended

	clientID string                 // of the last request; request goroutine, as are the next two
	metered  *ListenerBlock         // whose quotas are in force; nil: none were looked for
	quotaIn  *bucket                // for Produce; nil: none
	quotaOut atomic.Pointer[bucket] // for Fetch
	// unfetched are the topics of the client's fetch session that it is refused. The broker's session does not know them, the
	// client's does: it names them once and reads of them in every answer. Request goroutine.
	unfetched *kmsg.FetchResponse
	// What the fetch session and the share session were judged by when they began. Request goroutine.
	fetched, shared *ListenerBlock
	held            atomic.Int64 // when the client's debt is paid, in Unix nanoseconds

	req pump // owned by the request goroutine
	rep pump // owned by the reply goroutine

	tokens       int          // raw SASL frames still to come from the client; request goroutine
	sasl         *saslServer  // where clients authenticate to sidewire; request goroutine
	expires      time.Time    // when the client must have authenticated again; request goroutine
	renew        time.Time    // when the broker has to be shown credentials again; request goroutine
	proofs       chan []byte  // what the broker answers to that
	walker       kafka.Walker // of responses; reply goroutine
	walkerIn     kafka.Walker // of Produce requests; request goroutine
	seen, seenIn tally        // what they count
	counted      bool         // figures by topic are on for this session
	scratch      []byte       // reply goroutine
	code         int16        // error code of the response that is passing; reply goroutine

	mu        sync.Mutex // guards what follows
	moved     sync.Cond  // an entry left, or replies ended
	ring      *kafka.Ring
	unflushed bool // a response left the ring and is not wholly written
	over      bool // the reply goroutine has ended
	commits   []commit
	user      *User // who the client proved to be; nil where nobody asks
	external  bool  // by a token or certificate, not by an account here
}

func (h *handler) Handle(ctx context.Context, c *listener.Conn) {
	d := h.door
	h.sessions.Begin()
	defer h.sessions.End()
	defer c.Close()
	s := &session{door: d, handler: h, client: c, node: h.node, down: socket.Wrap(c.Conn)}
	entry := telemetry.Entry{Time: c.Started, Listener: d.name, Protocol: name, Session: c.ID, Client: c.Client(), Target: d.block().Cluster, Operation: "connection"}
	err := s.serve(ctx)
	entry.Endpoint = s.target
	entry.Duration = d.host.Now().Sub(c.Started)
	entry.BytesIn, entry.BytesOut = s.req.moved, s.rep.moved
	entry.User = s.userName()
	if err != nil {
		entry.Error = err.Error()
		d.metrics.failed.Inc()
		d.host.Log().Warn("Kafka connection ended", "listener", d.name, "client", entry.Client, "broker", s.target, "error", err)
	}
	d.host.Access().Log(&entry)
}

func (s *session) serve(ctx context.Context) error {
	// A connection that never says anything costs no broker a connection.
	if err := s.enter(); err != nil {
		return quiet(err)
	}
	defer s.leave()
	if err := s.down.WaitReadable(); err != nil {
		return quiet(err)
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	defer s.up.Close()
	stop := context.AfterFunc(ctx, func() { s.up.Interrupt(); s.down.Interrupt() })
	defer stop()
	s.prepare()
	defer s.req.release()
	defer s.rep.release()
	if err := s.handshake(ctx); err != nil {
		return quiet(err)
	}
	s.door.metrics.sessions.Inc()
	defer s.door.metrics.sessions.Dec()
	replies := make(chan error, 1)
	go func() { replies <- s.guard(s.replies) }()
	err := s.guard(s.requests)
	switch err {
	case nil:
		// The client has said everything and may still listen. A broker drops what it has not answered when it sees the end, so
		// the end goes on to it behind the answers; then the broker ends the connection. A drain does not wait: hardly any
		// client closes one side alone, and many close both in the middle of a long poll.
		s.settle(func() bool { return s.idle() || s.handler.draining.Load() })
		_ = s.up.CloseWrite()
		s.settle(func() bool { return false })
	case errDrain:
		_ = s.req.flush() // what was taken on is still done; an error ends replies
		s.settle(s.idle)
	}
	s.up.Interrupt()
	rerr := <-replies
	s.door.metrics.spliced.Add(s.req.spliced + s.rep.spliced)
	return firstFault(err, rerr)
}

// errDrain ends a session between two requests because the listener drains.
var errDrain = errors.New("draining")

// enter and leave keep the list of sessions that a drain goes through.
func (s *session) enter() error {
	if t, ok := s.client.Conn.(*tls.Conn); ok && s.node == bootstrap {
		if sni := s.door.block().Brokers.SNI; sni != "" {
			s.node = nodeOf(sni, t.ConnectionState().ServerName)
		}
	}
	s.door.live.Lock()
	s.door.lives[s] = struct{}{}
	s.door.live.Unlock()
	if s.handler.draining.Load() {
		s.leave()
		return errDrain
	}
	return nil
}

func (s *session) leave() {
	s.door.live.Lock()
	delete(s.door.lives, s)
	s.door.live.Unlock()
}

// known notes who the client is, so that a change of the users can end its session.
func (s *session) known(u *User, external bool) {
	s.mu.Lock()
	s.user, s.external = u, external
	s.mu.Unlock()
}

// revoked reports whether the client's account is gone or has another password.
func (s *session) revoked(block *ListenerBlock) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user == nil {
		return false
	}
	if s.external { // until it expires
		return block.Authentication != authTerminate || block.Tokens == nil && block.Certificates == nil
	}
	now := block.user(s.user.Name)
	return block.Authentication != authTerminate || now == nil || now.Password != s.user.Password
}

// guard turns a panic of one direction into the end of this session alone, and wakes the other direction.
func (s *session) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			s.down.Interrupt()
			s.up.Interrupt()
		}
	}()
	return f()
}

func (s *session) prepare() {
	block := s.door.block()
	s.ring = kafka.NewRing(block.InFlight)
	s.ended = make(chan struct{})
	s.proofs = make(chan []byte, 1)
	s.moved.L = &s.mu
	stall := block.Stall.Std()
	s.counted = block.Topics != nil
	if s.counted {
		s.seen = tally{topics: s.door.topics, sent: true}
		s.seenIn = tally{topics: s.door.topics, key: kafka.Produce}
		s.walker.Visitor, s.walker.CountRecords = &s.seen, true
		s.walkerIn.Visitor, s.walkerIn.CountRecords = &s.seenIn, true
	}
	s.req = pump{src: s.down, dst: s.up, stall: stall, window: minWindow}
	s.rep = pump{src: s.up, dst: s.down, stall: stall, window: minWindow, flushed: s.deliver}
}

// idle says that everything asked is answered. mu is held.
func (s *session) idle() bool { return s.ring.Len() == 0 && !s.unflushed }

// settle waits until enough is done, or replies have ended. enough is asked with mu held.
func (s *session) settle(enough func() bool) {
	timer := time.AfterFunc(settleTime, s.up.Interrupt)
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && !enough() {
		s.moved.Wait()
	}
}

// settleTime is longer than a consumer's long poll usually is.
const settleTime = 10 * time.Second

// connect opens the broker's side.
func (s *session) connect(ctx context.Context) error {
	u, err := s.door.upstream()
	if err != nil {
		return err
	}
	s.view = view{door: s.door, upstream: u, local: s.client.LocalAddr(), base: int32(u.block().FirstNode)}
	if err := u.cluster.Take(cluster.Pending); err != nil {
		return err
	}
	var conn net.Conn
	if s.node == bootstrap {
		conn, err = s.enterCluster(ctx, u)
	} else {
		conn, err = s.reachBroker(ctx, u)
	}
	u.cluster.Release(cluster.Pending)
	if err != nil {
		return err
	}
	s.up = socket.Wrap(conn)
	return nil
}

// enterCluster connects to any endpoint; one that does not answer is passed over.
func (s *session) enterCluster(ctx context.Context, u *upstream) (net.Conn, error) {
	e, err := u.cluster.Pick(cluster.Want{})
	if err != nil {
		return nil, err
	}
	if near := nearest(u.cluster.Endpoints(), s.door.block().Rack); near != nil {
		e = near
	}
	s.target = e.Address()
	var conn net.Conn
	if err = u.own(ctx, s.target); err == nil {
		if conn, err = u.cluster.Dial(ctx, e); err == nil {
			u.cluster.Report(e, nil)
			return conn, nil
		}
	}
	failed := []error{err}
	for _, address := range u.entries() {
		if address == e.Address() || ctx.Err() != nil {
			continue
		}
		s.target = address
		if err = s.door.own(ctx, u, address); err == nil {
			if conn, err = u.cluster.DialAddress(ctx, address); err == nil {
				return conn, nil
			}
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// nearest is a healthy endpoint in the clients' rack; nil when there is none or no rack is named.
func nearest(all []*cluster.Endpoint, rack string) *cluster.Endpoint {
	for _, e := range all {
		if rack != "" && e.Config().Zone == rack && e.Healthy() {
			return e
		}
	}
	return nil
}

// reachBroker connects to the broker this socket stands for. Its address may have changed since it was last heard of.
func (s *session) reachBroker(ctx context.Context, u *upstream) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*u.cluster.Config().ConnectTimeout.Std())
	defer cancel()
	b, err := u.find(ctx, s.node)
	if err != nil {
		return nil, err
	}
	s.target = u.reach(b)
	rack := s.door.block().Rack
	s.far = rack != "" && b.rack != "" && b.rack != rack
	if err := s.door.own(ctx, u, s.target); err != nil {
		return nil, fmt.Errorf("reaching broker %d of cluster %q: %w", s.node, u.cluster.Name(), err)
	}
	conn, err := u.cluster.DialAddress(ctx, s.target)
	if err != nil {
		u.look()
	}
	return conn, err
}

// quiet drops errors that are an ordinary end of a connection.
func quiet(err error) error {
	switch {
	case err == nil, err == errDrain, err == io.EOF, errors.Is(err, net.ErrClosed), errors.Is(err, socket.ErrInterrupted),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	}
	return err
}

func firstFault(errs ...error) error {
	for _, err := range errs {
		if err := quiet(err); err != nil {
			return err
		}
	}
	return nil
}

// interrupt wakes whoever waits on a connection.
func interrupt(conn net.Conn) {
	if c, ok := conn.(*socket.Conn); ok {
		c.Interrupt()
		return
	}
	conn.SetDeadline(past)
}

// view is what one client may see of the cluster's brokers. It implements kafka.Brokers.
type view struct {
	door     *door
	upstream *upstream
	local    net.Addr // where the client came in
	base     int32    // the first of the node ids that clients see for this cluster, as it was when the session began
}

// Endpoint notes where a broker is, opens its address here and returns that.
func (v *view) Endpoint(node int32, host string, port int32) (string, int32, bool) {
	v.upstream.learn(node, host, port)
	p, err := v.door.place(node)
	if err != nil {
		return "", 0, false
	}
	if p.host == "" {
		h, _, err := net.SplitHostPort(v.local.String())
		return h, p.port, err == nil
	}
	return p.host, p.port, true
}

// nodeBlock is how many node ids a cluster has to itself, so that another one shifts nobody's.
const nodeBlock = 100_000

// Node is what clients call a broker. An id beyond the block, which nobody gives a broker, is none that they could use.
func (v *view) Node(real int32) int32 {
	if v.base != 0 && real >= nodeBlock {
		return -1
	}
	return v.base + real
}

// real is the reverse.
func (v *view) real(virtual int32) (int32, bool) {
	n := virtual - v.base
	return n, n >= 0 && n < nodeBlock
}
