package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/gateway/telemetry"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// maxRewritten bounds the responses that are decoded whole: metadata, configurations. They hold no records.
const maxRewritten = 256 << 20

// replies moves responses to the client until the broker leaves.
func (s *session) replies() (err error) {
	defer func() {
		s.mu.Lock()
		s.over = true
		close(s.ended)
		s.moved.Broadcast()
		s.mu.Unlock()
		s.down.Interrupt() // the request goroutine may wait for a client that says nothing
	}()
	for {
		// Four bytes and not a header's eight: the answer to a version 0 SASL token may be an empty one.
		if err := s.rep.fill(4); err != nil {
			if err == io.EOF {
				return nil
			}
			return fmt.Errorf("reading from broker: %w", err)
		}
		e, ok := s.current()
		switch {
		case !ok:
			return errors.New("broker sent a response to nothing that was asked")
		case e.Local != nil:
			if err := s.rep.flush(); err != nil { // delivers it
				return err
			}
			continue
		}
		size, err := s.reply(e)
		if err != nil {
			return fmt.Errorf("passing on %s v%d response: %w", kafka.Name(e.Key), e.Version, err)
		}
		s.finish(&e, size)
	}
}

// current is the request that the next response answers.
func (s *session) current() (kafka.Inflight, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring.Head()
}

func (s *session) finish(e *kafka.Inflight, size int64) {
	s.mu.Lock()
	s.ring.Pop()
	s.unflushed = true
	s.moved.Signal()
	s.mu.Unlock()
	if e.Key < 0 || e.Flags&kafka.FlagOwn != 0 {
		return
	}
	took := time.Duration(s.rep.woke.UnixNano() - e.Started)
	s.door.metrics.response(e.Key, size, took)
	if s.far && e.Key == kafka.Fetch {
		s.door.metrics.farOut.Add(size)
	}
	if e.Key == kafka.Fetch || e.Key == kafka.Produce {
		if s.walker.Throttle > s.walker.MinThrottle {
			s.door.metrics.slowed.Observe(time.Duration(s.walker.Throttle) * time.Millisecond)
		}
	}
	code := s.code
	s.code = 0
	if e.Traceparent != "" {
		s.span(e, code, took)
	}
	if access := s.door.host.Access(); access.Wants(took, code != 0) {
		s.log(access, e, size, code, took)
	}
}

// note remembers the error code that a walked body tells, for the access log.
func (s *session) note(w *kafka.Walker) {
	if s.code = w.TopError; s.code == 0 {
		s.code = w.AnyError
	}
}

// log writes one request to the access log.
func (s *session) log(access *telemetry.AccessLog, e *kafka.Inflight, size int64, code int16, took time.Duration) {
	entry := telemetry.Entry{Time: time.Unix(0, e.Started), Listener: s.door.name, Protocol: name, Session: s.client.ID, Client: s.client.Client(),
		Operation: kafka.Name(e.Key), Target: s.door.block().Cluster, Endpoint: s.target, Duration: took, Upstream: took, BytesIn: e.Size, BytesOut: size}
	entry.User = s.userName()
	if code != 0 {
		entry.Code = strconv.Itoa(int(code))
	}
	access.Log(&entry)
}

// deliver runs after everything decided was written: answers made here that come next in turn follow it.
func (s *session) deliver() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.unflushed = false
		e, ok := s.ring.Head()
		if !ok {
			s.moved.Signal()
			return nil
		}
		if e.Local == nil {
			return nil
		}
		s.ring.Pop()
		s.unflushed = true
		s.moved.Signal()
		s.mu.Unlock()
		_, err := s.down.Write(e.Local)
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
}

// reply moves one response and returns its size.
func (s *session) reply(e kafka.Inflight) (int64, error) {
	size := int64(int32(binary.BigEndian.Uint32(s.rep.ahead()))) + 4
	if e.Key == rawToken {
		if size < 4 || size > maxHeader {
			return 0, fmt.Errorf("a SASL token of %d bytes", size-4)
		}
		return size, s.rep.pass(size)
	}
	n, err := s.replyHead(&e)
	if err != nil {
		return 0, err
	}
	s.walker.Throttle = 0
	s.code = kafka.TopError(e.Key, e.Version, s.rep.ahead()[n:])
	switch {
	case e.Flags&kafka.FlagOwn != 0:
		return size, s.proof(n, size)
	case e.Part != nil, e.Flags&kafka.FlagNames != 0 && !streams(e.Key, e.Version):
		return size, s.governed(&e, n, size)
	case e.Flags&kafka.FlagNames != 0 && e.Key == kafka.Produce:
		return size, s.produced(&e, n, size)
	case kafka.Rewritten(e.Key, e.Version), s.view.base != 0 && kafka.CarriesNodes(e.Key):
		return size, s.rewrite(&e, n, size)
	case kafka.Walked(e.Key, e.Version), s.view.base != 0 && e.Key == kafka.Fetch, (s.counted || len(s.door.block().Quotas) > 0) && (e.Key == kafka.Produce || e.Key == kafka.Fetch):
		s.charge(&e, size)
		return size, s.walk(&e, n, size)
	case s.counted && e.Key == kafka.OffsetCommit:
		frame, err := s.whole(size)
		if err != nil {
			return 0, err
		}
		s.committed(&e, frame[n:])
	}
	return size, s.rep.pass(size)
}

// charge takes a Fetch or Produce response off its quota and readies the walker, which tells the client to wait.
func (s *session) charge(e *kafka.Inflight, size int64) {
	if b := s.quotaOut.Load(); b != nil && e.Key == kafka.Fetch {
		now := time.Now()
		s.hold(now, b.take(size, now))
	}
	s.walker.MinThrottle = s.throttle()
	s.seen.key = e.Key
}

// replyHead waits for the response's header, checks that it answers e and returns its length.
func (s *session) replyHead(e *kafka.Inflight) (int, error) {
	for {
		correlation, n, err := kafka.ParseResponseHeader(s.rep.ahead(), e.Key, e.Version)
		if err == nil {
			if correlation != e.CorrelationID {
				return 0, fmt.Errorf("it answers request %d where %d comes next", correlation, e.CorrelationID)
			}
			return n, nil
		}
		if err != kafka.ErrShort {
			return 0, err
		}
		k := len(s.rep.ahead()) + 1
		if k > maxHeader {
			return 0, fmt.Errorf("a header of more than %d bytes", maxHeader)
		}
		if err := s.rep.fill(k); err != nil {
			return 0, unexpected(err)
		}
	}
}

// whole waits until the whole frame is there.
func (s *session) whole(size int64) ([]byte, error) {
	if size > maxRewritten {
		return nil, fmt.Errorf("%d bytes, %d are allowed", size, int64(maxRewritten))
	}
	if err := s.rep.fill(int(size)); err != nil {
		return nil, unexpected(err)
	}
	return s.rep.ahead()[:size], nil
}

// rewrite sends the response as the client may see it.
func (s *session) rewrite(e *kafka.Inflight, n int, size int64) error {
	frame, err := s.whole(size)
	if err != nil {
		return err
	}
	if s.counted && e.Key == kafka.Metadata {
		m := kmsg.NewPtrMetadataResponse()
		m.Version = e.Version
		if kafka.DecodeResponse(m, frame[n:]) == nil {
			s.door.topics.learn(m)
		}
	}
	out := append(s.scratch[:0], frame[:n]...)
	if e.Key == kafka.ApiVersions {
		out, err = kafka.IntersectApiVersions(out, e.Version, frame[n:], s.offer)
	} else {
		out, err = kafka.RewriteResponse(out, e.Key, e.Version, frame[n:], &s.view)
	}
	if err != nil {
		return err
	}
	return s.replace(out, int(size))
}

// streams says whether a response holds no names, so that even where names matter it passes as it comes.
func streams(key, version int16) bool {
	return key == kafka.ApiVersions || key == kafka.ShareFetch || (key == kafka.Fetch || key == kafka.Produce) && version >= 13
}

// produced sends the answer to a Produce request that named topics by id: names can be in the texts of errors alone.
func (s *session) produced(e *kafka.Inflight, n int, size int64) error {
	frame, err := s.whole(size)
	if err != nil {
		return err
	}
	if s.door.block().Virtual.mentioned(frame[n:]) {
		return s.governed(e, n, size)
	}
	s.charge(e, size)
	return s.walk(e, n, size)
}

// governed sends a response whose names are mapped.
func (s *session) governed(e *kafka.Inflight, n int, size int64) error {
	frame, err := s.whole(size)
	if err != nil {
		return err
	}
	out, err := s.show(e, append(s.scratch[:0], frame[:n]...), frame[n:])
	if err != nil {
		return err
	}
	switch {
	case s.counted && e.Key == kafka.OffsetCommit:
		s.committed(e, out[n:])
	case e.Key == kafka.Fetch || e.Key == kafka.Produce:
		s.charge(e, size)
		if err := s.look(e, out[n:]); err != nil {
			return err
		}
	}
	return s.replace(out, int(size))
}

// replace sends out, whose length prefix it sets, in place of the size bytes that come next.
func (s *session) replace(out []byte, size int) error {
	if err := s.rep.put(setLength(out)); err != nil {
		return err
	}
	s.rep.at += size
	s.rep.sent = s.rep.at
	if cap(out) <= keepScratch {
		s.scratch = out[:0]
	} else {
		s.scratch = nil
	}
	return nil
}

// setLength sets a frame's length prefix.
func setLength(frame []byte) []byte {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	return frame
}

// keepScratch is the most memory a session keeps between rewritten responses.
const keepScratch = 4 << 10

// walk follows a response that may name brokers at its end. One that is here as a whole, as most are, is only looked
// through and rewritten when it does name some; a longer one streams, and they are overwritten in place.
func (s *session) walk(e *kafka.Inflight, n int, size int64) error {
	w := &s.walker
	if frame := s.rep.ahead(); int64(len(frame)) >= size {
		if err := s.look(e, frame[n:size]); err != nil {
			return err
		}
		if w.Endpoints == 0 {
			if s.view.base != 0 {
				return s.translate(frame[n:size], e, int(size))
			}
			s.rep.take(int(size))
			return nil
		}
		out, err := kafka.RewriteResponse(append(s.scratch[:0], frame[:n]...), e.Key, e.Version, frame[n:size], &s.view)
		if err != nil {
			return err
		}
		return s.replace(out, int(size))
	}
	w.Brokers, w.PatchTail = &s.view, true
	if err := w.Reset(e.Key, e.Version, true, size-int64(n)); err != nil {
		return err
	}
	s.rep.take(n)
	err := stream(&s.rep, w)
	s.note(w)
	return err
}

// look walks a body that is here as a whole and changes nothing but its throttle time.
func (s *session) look(e *kafka.Inflight, body []byte) error {
	w := &s.walker
	w.Brokers, w.PatchTail = nil, false
	if err := w.Reset(e.Key, e.Version, true, int64(len(body))); err != nil {
		return err
	}
	if _, _, err := w.Step(body); err != nil {
		return err
	}
	if !w.Done() {
		return errors.New("its body does not end with its frame")
	}
	s.note(w)
	return nil
}

// translate puts virtual node ids into a body that was walked already, and lets it go.
func (s *session) translate(body []byte, e *kafka.Inflight, size int) error {
	w := kafka.Walker{Brokers: &s.view}
	if err := w.Reset(e.Key, e.Version, true, int64(len(body))); err != nil {
		return err
	}
	if _, _, err := w.Step(body); err != nil {
		return err
	}
	s.rep.take(size)
	return nil
}

// stream moves a body through a walker.
func stream(p *pump, w *kafka.Walker) error {
	for {
		n, skip, err := w.Step(p.ahead())
		if err != nil {
			return err
		}
		p.take(n)
		switch {
		case skip > 0:
			if err := p.pass(skip); err != nil {
				return unexpected(err)
			}
			w.Skipped(skip)
		case w.Done():
			return nil
		default:
			if err := p.fill(max(w.Need(), len(p.ahead())+1)); err != nil {
				return unexpected(err)
			}
		}
	}
}
