package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/gateway/telemetry"
)

// Delays between attempts to reach a control plane, each jittered by a fifth.
const (
	firstDelay = 200 * time.Millisecond
	lastDelay  = 30 * time.Second
)

// retryApply is how soon what could not be applied (a port in use) is tried again, without anything new from the server.
const retryApply = 2 * time.Second

// settleWithin is how long responses that come without a pause may be gathered into one build.
const settleWithin = 100 * time.Millisecond

// Target is what the client feeds.
type Target interface {
	Language() config.Language
	Snapshot() *config.Snapshot
	Apply(*config.Snapshot) []config.Problem
}

// Options are what a client is made of.
type Options struct {
	Target  Target
	Node    *corev3.Node
	Servers []Server // in the order in which they are tried
	// Base is the part of the configuration that no control plane sends.
	Base *config.Model
	// Static are resources of a bootstrap file.
	Static []Resource
	// Files are read, and watched, like the answers of a control plane.
	Files []FileSource
	// Ignored is what that file says and nobody acts on.
	Ignored []string
	// Runtime are values of a bootstrap file; Layers are those to ask for by RTDS.
	Runtime map[string]any
	Layers  []string
	Env     func() *config.Env
	Metrics *telemetry.Registry
	Log     *slog.Logger
	Now     func() time.Time
	Rand    func() uint64
}

// Client follows control planes. Run does the work, on one goroutine that owns engine and store.
type Client struct {
	options Options
	store   *store
	engine  *Engine

	base   chan *config.Model
	synced chan struct{} // closed when the first whole configuration is active
	once   sync.Once
	status atomic.Pointer[Status]

	connected *telemetry.Gauge
	valid     map[string]*telemetry.Counter
	invalid   map[string]*telemetry.Counter
	ignored   *telemetry.Gauge
	waiting   *telemetry.Gauge
	latency   *telemetry.Histogram

	// Owned by Run.
	server    string // that is connected
	lastErr   string
	builds    *build
	received  time.Time // of the oldest response that is not active yet
	unsettled time.Time // when what the next build takes in began to come; zero: nothing has
	patience  time.Time // when to go on without what has not come
	retry     bool
	files     files
	ends      sync.WaitGroup // of goroutines that Run began
}

// New makes a client.
func New(o Options) (*Client, error) {
	for _, s := range o.Servers {
		if s.Delta != o.Servers[0].Delta {
			return nil, errors.New("control planes of one list must all speak the same protocol, delta or not")
		}
	}
	c := &Client{options: o, base: make(chan *config.Model, 1), synced: make(chan struct{}), valid: make(map[string]*telemetry.Counter), invalid: make(map[string]*telemetry.Counter)}
	c.store = newStore(o.Target.Language(), o.Env, o.Now, func(typeURL string, names []string) { c.engine.Want(typeURL, names) })
	c.engine = NewEngine(o.Node, len(o.Servers) > 0 && o.Servers[0].Delta, c.store)
	c.files = files{from: make(map[FileSource]*kind), dirty: make(chan struct{}, 1)}
	c.store.roots, c.store.runtime, c.store.layers = o.Files, o.Runtime, o.Layers
	m := o.Metrics
	c.connected = m.Gauge("sidewire_xds_connected", "1 while a control plane is connected.")
	c.ignored = m.Gauge("sidewire_xds_ignored", "Filters and fields of resources that are not acted on.")
	c.waiting = m.Gauge("sidewire_xds_waiting", "Resources that are valid and not active, because something they need is missing.")
	c.latency = m.Histogram("sidewire_xds_push_seconds", "From receiving a response to its being active.", []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5})
	for _, url := range order {
		c.valid[url] = m.Counter("sidewire_xds_resources_total", "Resources received, by type and whether they were valid.", "type", short(url), "result", "valid")
		c.invalid[url] = m.Counter("sidewire_xds_resources_total", "Resources received, by type and whether they were valid.", "type", short(url), "result", "invalid")
	}
	for _, r := range o.Static {
		message, notes, err := c.store.check(r.Body.TypeUrl, r)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", short(r.Body.TypeUrl), r.Name, err)
		}
		it := c.store.item(r.Body.TypeUrl, r.Name)
		it.static = true
		c.store.keep(it, "", message, notes)
	}
	c.store.subscribe()
	c.publish()
	return c, nil
}

// Check says what is wrong with static resources, without following anybody. Only what the options for those are is used.
func Check(o Options) []config.Problem {
	o.Metrics, o.Log, o.Now = telemetry.NewRegistry(), slog.New(slog.DiscardHandler), time.Now
	c, err := New(o)
	if err != nil {
		return []config.Problem{config.Path("").Problem("%v", err)}
	}
	return c.Begin()
}

// short is a type as metrics and dumps call it.
func short(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }

// SetBase replaces the part of the configuration that no control plane sends.
func (c *Client) SetBase(m *config.Model) {
	select {
	case <-c.base: // an older one that was not looked at yet
	default:
	}
	c.base <- m
}

// Synced is closed when the first whole configuration is active.
func (c *Client) Synced() <-chan struct{} { return c.synced }

// event is what a stream's goroutine has to say: a response, or its end.
type event struct {
	message proto.Message
	err     error
}

// Begin makes the base and the static resources active, and says what of them cannot be, beyond references to what a
// control plane may still send. It is called once, before Run.
func (c *Client) Begin() []config.Problem {
	c.loadFiles()
	c.apply()
	problems := c.builds.problems
	if len(c.options.Servers) == 0 {
		for _, what := range slices.Sorted(maps.Keys(c.builds.waiting)) {
			if !c.builds.told[what] {
				problems = append(problems, config.Path(what).Problem("%s", c.builds.waiting[what]))
			}
		}
	}
	return problems
}

// Run follows the control planes until ctx is done. Losing one changes nothing but that nothing changes.
func (c *Client) Run(ctx context.Context) {
	delay := firstDelay
	watching, stop := context.WithCancel(ctx)
	defer c.ends.Wait()
	defer stop()
	c.watchFiles(watching)
	c.patience = c.options.Now().Add(absence)
	if len(c.options.Servers) == 0 {
		c.once.Do(func() { close(c.synced) })
		c.patience = time.Time{}
		for c.sleep(ctx, time.Hour) {
		}
		return
	}
	for at := 0; ctx.Err() == nil; at++ {
		server := c.options.Servers[at%len(c.options.Servers)]
		worked, err := c.follow(ctx, server)
		if ctx.Err() != nil {
			return
		}
		if worked { // begin again with the first of the list
			delay, at = firstDelay, -1
		}
		c.lastErr = err.Error()
		c.publish()
		wait := delay - delay/5 + time.Duration(c.options.Rand()%uint64(2*delay/5+1))
		c.options.Log.Warn("control plane lost", "server", server.Address, "error", err, "retry_in", wait.Round(time.Millisecond).String())
		if !c.sleep(ctx, wait) {
			return
		}
		delay = min(delay*2, lastDelay)
	}
}

// sleep waits, while time to live and new bases are attended to.
func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	end := time.NewTimer(d)
	defer end.Stop()
	for {
		timer := c.timer()
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-end.C:
			timer.Stop()
			return true
		case m := <-c.base:
			c.rebase(m)
		case <-c.files.dirty:
			c.refile()
		case <-timer.C:
			c.tick()
		}
		timer.Stop()
	}
}

// follow serves one stream to its end. It reports whether anything was received on it.
func (c *Client) follow(ctx context.Context, server Server) (worked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var ends sync.WaitGroup
	defer ends.Wait()
	defer cancel()
	s, err := connect(ctx, server)
	if err != nil {
		return false, err
	}
	defer s.close()
	events := make(chan event, 16)
	requests := newQueue()
	ends.Go(func() { receive(ctx, s, events) })
	ends.Go(func() { requests.drain(ctx, s) })
	c.engine.Connected(c.options.Now())
	defer func() {
		c.engine.Disconnected()
		c.server = ""
		c.connected.Set(0)
		c.publish()
	}()
	for {
		requests.add(c.engine.Flush(c.options.Now()))
		if c.due(len(events)) { // everything that is here goes into one build
			c.settle()
		}
		timer := c.timer()
		select {
		case <-ctx.Done():
			timer.Stop()
			return worked, context.Cause(ctx)
		case e := <-events:
			timer.Stop()
			if e.err != nil {
				return worked, e.err
			}
			if !worked {
				worked = true
				c.server, c.lastErr = server.Address, ""
				c.connected.Set(1)
				c.options.Log.Info("control plane connected", "server", server.Address, "delta", server.Delta)
			}
			if err := c.take(e.message); err != nil {
				return worked, err
			}
		case m := <-c.base:
			c.rebase(m)
		case <-c.files.dirty:
			c.refile()
		case <-timer.C:
			c.tick()
		}
		timer.Stop()
	}
}

func receive(ctx context.Context, s *stream, events chan<- event) {
	for {
		m, err := s.recv()
		select {
		case events <- event{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (c *Client) take(m proto.Message) error {
	now := c.options.Now()
	if c.received.IsZero() {
		c.received = now
	}
	var err error
	var url string
	before := len(c.engine.out)
	total := 0
	switch m := m.(type) {
	case *discoveryv3.DiscoveryResponse:
		url, total = m.TypeUrl, len(m.Resources)
		err = c.engine.Receive(m, now)
	case *discoveryv3.DeltaDiscoveryResponse:
		url, total = m.TypeUrl, len(m.Resources)
		err = c.engine.ReceiveDelta(m, now)
	default:
		return fmt.Errorf("receiving %T: it is no response", m)
	}
	if err != nil {
		return err
	}
	wrong := 0
	for _, it := range c.store.items[url] {
		if it.rejected != nil && it.rejected.Time.Equal(now) {
			wrong++
		}
	}
	c.valid[url].Add(int64(max(0, total-wrong)))
	c.invalid[url].Add(int64(wrong))
	for _, out := range c.engine.out[before:] {
		if detail := errorDetail(out); detail != "" {
			c.options.Log.Error("resources rejected", "type", short(url), "problems", detail)
		}
	}
	return nil
}

func errorDetail(m proto.Message) string {
	if d, ok := m.(interface{ GetErrorDetail() *status.Status }); ok {
		return d.GetErrorDetail().GetMessage()
	}
	return ""
}

// timer is due when the engine, or something that could not be applied, wants another look.
func (c *Client) timer() *time.Timer {
	next := c.engine.Next()
	d := time.Hour
	if !next.IsZero() {
		d = max(0, next.Sub(c.options.Now()))
	}
	if c.retry {
		d = min(d, retryApply)
	}
	if !c.patience.IsZero() {
		d = min(d, max(0, c.patience.Sub(c.options.Now())))
	}
	return time.NewTimer(d)
}

func (c *Client) tick() {
	c.engine.Tick(c.options.Now())
	if c.retry {
		c.store.dirty = true
	}
	c.settle()
}

func (c *Client) refile() {
	c.loadFiles()
	c.settle()
}

func (c *Client) rebase(m *config.Model) {
	c.options.Base = m
	c.apply()
}

// due tells whether what has come becomes active now, or after the responses that wait.
func (c *Client) due(waiting int) bool {
	now := c.options.Now()
	if c.store.dirty && c.unsettled.IsZero() {
		c.unsettled = now
	}
	if waiting > 0 && (c.unsettled.IsZero() || now.Sub(c.unsettled) < settleWithin) {
		return false
	}
	c.unsettled = time.Time{}
	return true
}

// settle makes what changed active.
func (c *Client) settle() {
	if len(c.store.files) != len(c.files.from) { // a response named files, or no longer names them
		c.loadFiles()
	}
	if c.store.dirty {
		c.apply()
	}
	c.ready()
}

// ready tells once that the first whole configuration is active: listeners and clusters have come, and what they name has
// come or does not exist.
func (c *Client) ready() {
	late := !c.patience.IsZero() && !c.options.Now().Before(c.patience)
	if c.engine.Complete() || late {
		c.patience = time.Time{}
		c.once.Do(func() { close(c.synced) })
	}
}

// apply builds from everything that is here and hands it to the target.
func (c *Client) apply() {
	c.store.dirty = false
	b := c.store.build(c.options.Target.Snapshot())
	if err := b.apply(c.options.Base, c.options.Target); err != nil {
		c.options.Log.Error("applying configuration of control plane", "error", err)
		b.wait("configuration", "", "%v", err)
	}
	c.retry = b.failed
	for _, what := range slices.Sorted(maps.Keys(b.waiting)) {
		if c.builds == nil || c.builds.waiting[what] != b.waiting[what] {
			c.options.Log.Debug("resource waits", "resource", what, "reason", b.waiting[what])
		}
	}
	c.builds = b
	if !c.received.IsZero() {
		c.latency.Observe(c.options.Now().Sub(c.received))
		c.received = time.Time{}
	}
	c.publish()
}

// queue decouples sending from receiving: a server that waits for us to read before it reads must not stop us.
type queue struct {
	mu      sync.Mutex
	waiting []proto.Message
	wake    chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) add(m []proto.Message) {
	if len(m) == 0 {
		return
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, m...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) drain(ctx context.Context, s *stream) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		q.mu.Lock()
		all := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		for _, m := range all {
			if err := s.send(m); err != nil {
				return // the receiving half tells why: a broken stream ends both
			}
		}
	}
}
