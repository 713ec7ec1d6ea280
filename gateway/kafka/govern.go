package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/time/rate"

	"github.com/sidewire/sidewire/protocols/kafka"
)

// maxGoverned bounds a request that is decoded because something decides over its names, records apart.
const maxGoverned = 8 << 20

// identities remembers which topic an id is. Ids are never reused, so what was learnt stays true.
type identities struct {
	asks  *rate.Limiter       // of the questions that clients with ids of their own making can cause
	mu    sync.RWMutex        // guards what follows
	names map[[16]byte]string // as the cluster calls them
}

// maxIdentities bounds what is remembered, since topics may come and go for ever; what is forgotten is learnt again.
const maxIdentities = 100_000

// Questions about ids that nobody told yet, a second and at once. A client that hears of an unknown id asks for metadata, which
// teaches it.
const (
	idsPerSecond = 50
	idsAtOnce    = 500
)

func (i *identities) name(id [16]byte) (string, bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	name, ok := i.names[id]
	return name, ok
}

func (i *identities) put(id [16]byte, name string) {
	if id == ([16]byte{}) || name == "" {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.names == nil || len(i.names) >= maxIdentities {
		i.names = map[[16]byte]string{}
	}
	i.names[id] = name
}

// identify finds the name of a topic id, asking the cluster on a connection of its own when nobody told it yet.
func (u *upstream) identify(ctx context.Context, id [16]byte) (string, bool) {
	if name, ok := u.ids.name(id); ok {
		return name, true
	}
	if !u.ids.asks.Allow() {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, u.cluster.Config().ConnectTimeout.Std())
	defer cancel()
	c, err := u.control(ctx)
	if err != nil {
		return "", false
	}
	defer c.close()
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.TopicID = id
	req.Topics = append(req.Topics, t)
	resp, err := c.ask(ctx, req)
	if err != nil {
		return "", false
	}
	for _, t := range resp.(*kmsg.MetadataResponse).Topics {
		if t.Topic != nil && t.TopicID == id && t.ErrorCode == 0 {
			u.ids.put(id, *t.Topic)
			return *t.Topic, true
		}
	}
	return "", false
}

// law decides over the names of one request. It implements kafka.Names: names go from the client's to the cluster's.
type law struct {
	session *session
	block   *ListenerBlock
	key     int16
	user    string
	code    int16    // why something was refused
	topics  []string // as the client calls them
	strict  bool     // decide over topics here whatever the request is
}

func (l *law) refuse(code int16) (string, bool) {
	if l.code == 0 {
		l.code = code
	}
	return "", false
}

func (l *law) Topic(name string) (string, bool) {
	l.topics = append(l.topics, name)
	if !l.late() && !l.block.allowedName(l.user, l.key, kindTopic, name) {
		return l.refuse(kafka.ErrCodeTopicAuthorization)
	}
	return l.block.Virtual.up(kindTopic, name), true
}

// late says that rules over topics decide elsewhere: in the response to Metadata, whose version 0 cannot be split; over a group's
// subscription where it is fetched.
func (l *law) late() bool {
	return !l.strict && (l.key == kafka.Metadata || l.key == kafka.JoinGroup || l.key == kafka.SyncGroup)
}

func (l *law) TopicID(id [16]byte) bool {
	if id == ([16]byte{}) || !l.block.minds(kindTopic) {
		return true
	}
	real, ok := l.session.view.upstream.identify(context.Background(), id)
	if !ok {
		return l.unknownID()
	}
	name, ok := l.block.Virtual.down(kindTopic, real)
	if !ok {
		return l.unknownID()
	}
	l.topics = append(l.topics, name)
	if !l.late() && !l.block.allowedName(l.user, l.key, kindTopic, name) {
		l.refuse(kafka.ErrCodeTopicAuthorization)
		return false
	}
	return true
}

func (l *law) AllTopics() bool {
	if !l.block.allTopics(l.user, l.key) {
		l.refuse(kafka.ErrCodeTopicAuthorization)
		return false
	}
	return true
}

func (l *law) unknownID() bool {
	l.refuse(kafka.ErrCodeUnknownTopicID)
	return false
}

func (l *law) Group(name string) (string, bool) {
	if !l.block.allowedName(l.user, l.key, kindGroup, name) {
		return l.refuse(kafka.ErrCodeGroupAuthorization)
	}
	return l.block.Virtual.up(kindGroup, name), true
}

func (l *law) Txn(name string) (string, bool) {
	if !l.block.allowedName(l.user, l.key, kindTxn, name) {
		return l.refuse(kafka.ErrCodeTxnAuthorization)
	}
	return l.block.Virtual.up(kindTxn, name), true
}

// Shared is true without a virtual cluster: then there is one tenant, and rules over APIs decide.
func (l *law) Shared() bool { return l.block.Virtual == nil }

func (l *law) Beginning(k kafka.NameKind, name string) (string, bool) {
	mapped, ok := l.block.Virtual.beginning(k, name)
	if !ok {
		return l.refuse(kafka.ErrCodeInvalidRequest)
	}
	return mapped, true
}

func (l *law) Cursor(name string) (string, bool) {
	name = l.session.door.cursors.open(name)
	if v := l.block.Virtual; v != nil && name == "" {
		name, _ = v.next("")
	}
	return l.block.Virtual.up(kindTopic, name), true
}

func (l *law) Message(text string) string { return text }

func (l *law) TopicPattern(re string) string { return l.block.Virtual.pattern(re) }
func (l *law) TxnPattern(re string) string   { return l.block.Virtual.pattern(re) }

// sight is what a client may see of a response: names go from the cluster's to the client's.
type sight struct {
	*law
}

func (s sight) Topic(real string) (string, bool) { return s.block.Virtual.down(kindTopic, real) }
func (s sight) TopicID(id [16]byte) bool {
	real, ok := s.session.view.upstream.identify(context.Background(), id)
	if !ok {
		return false
	}
	_, ok = s.block.Virtual.down(kindTopic, real)
	return ok
}
func (s sight) Beginning(_ kafka.NameKind, real string) (string, bool) {
	if s.Shared() {
		return real, true
	}
	return strings.CutPrefix(real, s.block.Virtual.Prefix)
}
func (s sight) Cursor(real string) (string, bool) { return s.block.Virtual.next(real) }
func (s sight) Message(text string) string        { return s.block.Virtual.message(text) }
func (s sight) TopicPattern(re string) string     { return s.block.Virtual.shownPattern(re) }
func (s sight) Group(real string) (string, bool)  { return s.block.Virtual.down(kindGroup, real) }
func (s sight) Txn(real string) (string, bool)    { return s.block.Virtual.down(kindTxn, real) }

// userName is who the client proved to be; both goroutines ask.
func (s *session) userName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user != nil {
		return s.user.Name
	}
	return ""
}

// govern decides over one request that is not forwarded as it is. done says that it was dealt with; otherwise it is
// forwarded unchanged.
func (s *session) govern(h *kafka.RequestHeader, e kafka.Inflight) (done bool, err error) {
	if h.Key == kafka.ApiVersions || h.Key == kafka.SASLHandshake || h.Key == kafka.SASLAuthenticate {
		return false, nil
	}
	block := s.door.block()
	size, n := int64(h.Size)+4, h.Len
	user := s.userName()
	whole := governsNames(block) || !block.allowedAPI(user, h.Key) || len(block.Faults) > 0 || (block.Rack != "" && h.Key == kafka.Fetch) || s.view.base != 0 && kafka.RequestCarriesNodes(h.Key) ||
		s.unfetched != nil && h.Key == kafka.Fetch
	if !whole {
		return false, nil
	}
	if h.Key == kafka.Produce && h.Version >= 13 && !block.decodesProduce(user) {
		if done, err := s.gateProduce(h, e, block, user, size); done {
			return true, err
		}
	}
	if size > maxGoverned && h.Key != kafka.Produce {
		return true, fmt.Errorf("a %s request of %d bytes, %d are allowed where names are looked at", kafka.Name(h.Key), size, maxGoverned)
	}
	if err := s.req.fill(int(size)); err != nil {
		return true, fmt.Errorf("reading %s request: %w", kafka.Name(e.Key), unexpected(err))
	}
	frame := s.req.ahead()[:size]
	req, original := kmsg.RequestForKey(e.Key), kmsg.RequestForKey(e.Key)
	req.SetVersion(e.Version)
	original.SetVersion(e.Version)
	for _, r := range []kmsg.Request{req, original} { // one is mapped; a refusal names what the client named
		if err := kafka.DecodeRequest(r, frame[n:]); err != nil {
			return true, err
		}
	}
	if s.counted && e.Key == kafka.Produce && s.walkerIn.Reset(e.Key, e.Version, false, size-int64(n)) == nil {
		if _, _, err := s.walkerIn.Step(frame[n:]); err != nil {
			return true, err
		}
	}
	if s.counted && e.Key == kafka.OffsetCommit {
		s.noteCommit(e.CorrelationID, e.Version, frame[n:])
	}
	acks := int16(-1)
	if p, ok := req.(*kmsg.ProduceRequest); ok {
		acks = p.Acks
	}
	l := &law{session: s, block: block, key: e.Key, user: user}
	var refusal kmsg.Response
	if governsNames(block) || s.unfetched != nil {
		if gone := s.outdated(req, block); gone != nil {
			return true, s.refuseWith(gone, e, kafka.ErrCodeFetchSessionNotFound, acks, size)
		}
	}
	if kafka.Splits(e.Key, e.Version) && block.allowedAPI(user, e.Key) && governsNames(block) {
		var all bool
		if refusal, all = s.split(req, l); refusal != nil && (all || acks == 0) {
			return true, s.refuseWith(refusal, e, kafka.ErrCodeTopicAuthorization, acks, size)
		}
	}
	code := int16(0)
	switch ok, err := kafka.MapRequest(req, l); {
	case !block.allowedAPI(user, e.Key):
		code = kafka.ErrCodeClusterAuthorization
	case err != nil && block.Virtual != nil:
		code = kafka.ErrCodeClusterAuthorization // it is about what is everybody's
	case err == nil && !ok:
		if code = l.code; code == 0 {
			code = kafka.ErrCodeClusterAuthorization
		}
	case s.view.base != 0 && !kafka.MapNodes(req, s.view.real):
		code = kafka.ErrCodeInvalidRequest
	}
	if f := block.faultFor(e.Key, l.topics, s.door.host.Rand()); f != nil && code == 0 {
		s.door.metrics.faults.Inc()
		if err := s.wait(f.delay()); err != nil {
			return true, err
		}
		code = int16(f.Code)
	}
	if code != 0 {
		return true, s.refuse(original, e, code, acks, size)
	}
	if refusal != nil {
		s.door.metrics.refused.Inc()
		e.Part = refusal
	}
	return true, s.forward(req, e, block, frame[:n], acks, size)
}

// gate lets a Produce body that names topics by id stream past. An id that is not the client's is overwritten with the one
// no topic has, so that the broker refuses that topic alone. It implements kafka.Visitor.
type gate struct {
	law  *law
	next kafka.Visitor // counts; may be nil
}

func (g *gate) Topic(name, id []byte) error {
	if id != nil && !g.law.TopicID([16]byte(id)) {
		clear(id)
	}
	if g.next != nil {
		return g.next.Topic(name, id)
	}
	return nil
}

func (g *gate) Partition(p *kafka.Partition) {
	if g.next != nil {
		g.next.Partition(p)
	}
}

// gateProduce streams a Produce request of a virtual cluster. A transactional id would have to be mapped in front of the
// body; such requests are decoded (done is false).
func (s *session) gateProduce(h *kafka.RequestHeader, e kafka.Inflight, block *ListenerBlock, user string, size int64) (done bool, err error) {
	n, version := h.Len, h.Version
	acks, err := s.acks(h)
	if err != nil {
		return true, err
	}
	var head kafka.ProduceHead
	if err := kafka.ParseProduceHead(s.req.ahead()[n:], version, &head); err != nil || head.TransactionalID != nil {
		return false, nil
	}
	if block.Virtual != nil {
		e.Flags |= kafka.FlagNames
	}
	if acks != 0 {
		s.push(e)
	}
	counts := s.walkerIn.Visitor
	s.walkerIn.Visitor = &gate{law: &law{session: s, block: block, key: e.Key, user: user}, next: counts}
	defer func() { s.walkerIn.Visitor = counts }()
	return true, s.walkProduce(version, n, size)
}

// governsNames says whether the names in requests have to be looked at.
func governsNames(b *ListenerBlock) bool {
	return b.minds(kindTopic) || b.minds(kindGroup) || b.minds(kindTxn)
}

// wait holds a request up on purpose.
func (s *session) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := s.req.flush(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ended:
		return errDrain
	}
}

// refuse answers a request with an error instead of sending it on.
func (s *session) refuse(req kmsg.Request, e kafka.Inflight, code, acks int16, size int64) error {
	return s.refuseWith(kafka.Refuse(req, code), e, code, acks, size)
}

func (s *session) refuseWith(resp kmsg.Response, e kafka.Inflight, code, acks int16, size int64) error {
	if err := s.req.drop(int(size)); err != nil {
		return err
	}
	s.door.metrics.refused.Inc()
	if acks == 0 {
		// Nobody waits for an answer; a broker ends the connection, and so the client learns of it.
		return fmt.Errorf("a Produce request without acknowledgements was refused with error code %d", code)
	}
	if resp == nil {
		return fmt.Errorf("a %s request was refused with error code %d, which its response has no room for", kafka.Name(e.Key), code)
	}
	e.Local = kafka.AppendResponse(nil, e.CorrelationID, resp)
	return s.answer(e)
}

// forward sends a request on as the cluster must see it.
func (s *session) forward(req kmsg.Request, e kafka.Inflight, block *ListenerBlock, header []byte, acks int16, size int64) error {
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		if block.Rack != "" && r.Rack == "" {
			r.Rack = block.Rack
		}
	case *kmsg.MetadataRequest:
		if r.Topics == nil || e.Version == 0 && len(r.Topics) == 0 {
			e.Flags |= kafka.FlagListing
		}
	}
	if block.Virtual != nil || len(block.Rules) > 0 && lists(e.Key) {
		e.Flags |= kafka.FlagNames
	}
	out := setLength(req.AppendTo(append([]byte(nil), header...)))
	if err := s.req.drop(int(size)); err != nil {
		return err
	}
	if acks != 0 {
		s.push(e)
	}
	return s.req.put(out)
}

// show turns a response into what the client may see. frame[:n] is its header.
func (s *session) show(e *kafka.Inflight, out, body []byte) ([]byte, error) {
	resp := kmsg.ResponseForKey(e.Key)
	resp.SetVersion(e.Version)
	if err := kafka.DecodeResponse(resp, body); err != nil {
		return nil, err
	}
	u := s.view.upstream
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		for i := range r.Topics {
			if t := &r.Topics[i]; t.Topic != nil && t.ErrorCode == 0 {
				u.ids.put(t.TopicID, *t.Topic)
			}
		}
	case *kmsg.CreateTopicsResponse:
		for i := range r.Topics {
			u.ids.put(r.Topics[i].TopicID, r.Topics[i].Topic)
		}
	}
	block := s.door.block()
	l := &law{session: s, block: block, key: e.Key, user: s.userName()}
	if block.Virtual != nil {
		if err := kafka.MapResponse(resp, sight{l}); err != nil {
			return nil, err
		}
	}
	if m, ok := resp.(*kmsg.MetadataResponse); ok && s.counted {
		s.door.topics.learn(m) // as clients call them
	}
	if len(block.Rules) > 0 {
		l.restrict(resp, e.Flags&kafka.FlagListing != 0)
	}
	kafka.HideBrokers(resp, &s.view)
	if e.Part != nil { // last: it may be repeated in later answers and is read only
		kafka.Merge(resp, e.Part)
	}
	return resp.AppendTo(out), nil
}

// lists says whether a response lists names that the request did not tell.
func lists(key int16) bool {
	switch key {
	case kafka.Metadata, kafka.DescribeTopicParts, kafka.ListGroups, kafka.ListTransactions, kafka.ListConfigResources,
		kafka.ListPartitionReassignments, kafka.DescribeLogDirs:
		return true
	}
	return false
}

// restrict takes what rules deny out of lists: out of a listing altogether, with an error where the client asked for the topic by
// name.
func (l *law) restrict(resp kmsg.Response, listing bool) {
	allowed := func(k kind, name string) bool { return l.block.allowedName(l.user, l.key, k, name) }
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		kept := r.Topics[:0]
		for _, t := range r.Topics {
			denied := t.Topic != nil && !allowed(kindTopic, *t.Topic)
			if denied && !listing {
				t.ErrorCode, t.Partitions, t.TopicID = kafka.ErrCodeTopicAuthorization, nil, [16]byte{}
			}
			if !denied || !listing {
				kept = append(kept, t)
			}
		}
		r.Topics = kept
	case *kmsg.DescribeTopicPartitionsResponse:
		r.Topics = slices.DeleteFunc(r.Topics, func(t kmsg.DescribeTopicPartitionsResponseTopic) bool {
			return t.Topic != nil && !allowed(kindTopic, *t.Topic)
		})
		if c := r.NextCursor; c != nil && !allowed(kindTopic, c.Topic) {
			c.Topic = l.session.door.cursors.seal(c.Topic)
		}
	case *kmsg.ListPartitionReassignmentsResponse:
		r.Topics = slices.DeleteFunc(r.Topics, func(t kmsg.ListPartitionReassignmentsResponseTopic) bool { return !allowed(kindTopic, t.Topic) })
	case *kmsg.DescribeLogDirsResponse:
		for i := range r.Dirs {
			d := &r.Dirs[i]
			d.Topics = slices.DeleteFunc(d.Topics, func(t kmsg.DescribeLogDirsResponseDirTopic) bool { return !allowed(kindTopic, t.Topic) })
		}
	case *kmsg.ListGroupsResponse:
		r.Groups = slices.DeleteFunc(r.Groups, func(g kmsg.ListGroupsResponseGroup) bool { return !allowed(kindGroup, g.Group) })
	case *kmsg.ListTransactionsResponse:
		r.TransactionStates = slices.DeleteFunc(r.TransactionStates, func(s kmsg.ListTransactionsResponseTransactionState) bool {
			return !allowed(kindTxn, s.TransactionalID)
		})
	case *kmsg.ListConfigResourcesResponse:
		kinds := map[kmsg.ConfigResourceType]kind{kmsg.ConfigResourceTypeTopic: kindTopic, kmsg.ConfigResourceTypeGroupConfig: kindGroup}
		r.ConfigResources = slices.DeleteFunc(r.ConfigResources, func(x kmsg.ListConfigResourcesResponseConfigResource) bool {
			k, ok := kinds[kmsg.ConfigResourceType(x.Type)]
			return ok && !allowed(k, x.Name)
		})
	}
}
