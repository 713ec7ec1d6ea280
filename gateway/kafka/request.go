package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sidewire/sidewire/protocols/kafka"
)

// maxHeader bounds a request's header: a client id of 32 kB, the longest the format allows, and tagged fields.
const maxHeader = 96 << 10

// rawToken marks a frame of a SASL exchange without headers among the requests under way.
const rawToken int16 = -1

// requests moves requests to the broker until the client leaves.
func (s *session) requests() error {
	for first := true; ; first = false {
		if s.handler.draining.Load() {
			return errDrain
		}
		if err := s.req.fill(4); err != nil {
			if (errors.Is(err, os.ErrDeadlineExceeded) || err == errStalled) && s.handler.draining.Load() {
				return errDrain
			}
			if err == io.EOF {
				return nil
			}
			return err
		}
		var err error
		if s.tokens > 0 {
			err = s.token()
		} else {
			err = s.request(first)
		}
		if err != nil {
			return err
		}
	}
}

// head waits for the whole header of the request that comes next.
func (s *session) head(first bool, h *kafka.RequestHeader) error {
	if first {
		if what := kafka.Foreign(s.req.ahead()); what != "" {
			return fmt.Errorf("client sent %s to a plain Kafka listener", what)
		}
	}
	for {
		err := kafka.ParseRequestHeader(s.req.ahead(), h)
		if limit := int64(s.door.block().MaxRequest); int64(h.Size) > limit {
			if what := kafka.Foreign(s.req.ahead()); what != "" {
				return fmt.Errorf("client sent %s to a plain Kafka listener", what)
			}
			return fmt.Errorf("a request of %d bytes, %d are allowed (max_request_size)", h.Size, limit)
		}
		if err != kafka.ErrShort {
			return err
		}
		n := len(s.req.ahead()) + 1
		if n > maxHeader {
			return fmt.Errorf("a request header of more than %d bytes", maxHeader)
		}
		if err := s.req.fill(n); err != nil {
			return fmt.Errorf("reading request header: %w", unexpected(err))
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *session) request(first bool) error {
	var h kafka.RequestHeader
	if err := s.head(first, &h); err != nil {
		return err
	}
	size := int64(h.Size) + 4
	api, ok := kafka.Lookup(h.Key)
	switch {
	case !ok:
		return fmt.Errorf("a request with unknown API key %d: ApiVersions does not offer it", h.Key)
	case api.BrokerOnly:
		return fmt.Errorf("a %s request: it is spoken between brokers only", api.Name)
	case h.Key == kafka.ApiVersions && h.Version > s.maxApiVersions():
		s.door.metrics.request(h.Key, size)
		if err := s.discard(size); err != nil {
			return err
		}
		return s.answer(kafka.Inflight{Key: h.Key, Local: kafka.AppendUnsupportedApiVersions(nil, h.CorrelationID, s.maxApiVersions())})
	case h.Version < 0 || h.Version > api.Max:
		return fmt.Errorf("a %s request of version %d: ApiVersions offers at most %d", api.Name, h.Version, api.Max)
	}
	s.door.metrics.request(h.Key, size)
	if h.Key == kafka.SASLHandshake || h.Key == kafka.SASLAuthenticate {
		switch s.door.block().Authentication {
		case authOriginate:
			return fmt.Errorf("a %s request: clients of this listener do not authenticate", api.Name)
		case authTerminate:
			return s.proveAgain(&h)
		}
	}
	if !s.expires.IsZero() && s.req.woke.After(s.expires) {
		return fmt.Errorf("session of user %q ended: it did not authenticate again in time", s.sasl.user.Name)
	}
	if !s.renew.IsZero() && s.req.woke.After(s.renew) {
		if err := s.authenticateAgain(); err != nil {
			return err
		}
	}
	e := kafka.Inflight{Key: h.Key, Version: h.Version, CorrelationID: h.CorrelationID, Started: s.req.woke.UnixNano(), Size: size}
	if h.Key == kafka.Produce && s.door.host.Statements().Traced() {
		e.Traceparent = s.traceparent(&h)
	}
	if block := s.door.block(); len(block.Quotas) > 0 || s.metered != nil {
		s.meter(&h, block)
		if err := s.pay(); err != nil {
			return err
		}
		if h.Key == kafka.Produce && s.quotaIn != nil {
			now := time.Now()
			s.hold(now, s.quotaIn.take(size, now))
		}
	}
	if s.door.block().governed() || s.view.base != 0 || s.unfetched != nil {
		if done, err := s.govern(&h, e); done {
			return err
		}
	}
	switch h.Key {
	case kafka.Produce:
		acks, err := s.acks(&h)
		if err != nil {
			return err
		}
		if acks != 0 { // otherwise no response will come: an entry would wait for ever
			s.push(e)
		}
		if s.counted {
			return s.walkProduce(h.Version, h.Len, size)
		}
		return s.req.pass(size)
	case kafka.OffsetCommit:
		if s.counted && size <= maxCounted {
			n := h.Len // h.ClientID is not valid after a fill
			if err := s.req.fill(int(size)); err != nil {
				return fmt.Errorf("reading OffsetCommit: %w", unexpected(err))
			}
			s.noteCommit(e.CorrelationID, e.Version, s.req.ahead()[n:size])
		}
	case kafka.SASLHandshake:
		if h.Version == 0 {
			if err := s.handshakeV0(&h); err != nil {
				return err
			}
		}
	}
	s.push(e)
	return s.req.pass(size)
}

// maxCounted bounds the commits that are read for a group's lag.
const maxCounted = 1 << 20

// walkProduce lets a Produce request pass and counts its records by topic.
func (s *session) walkProduce(version int16, header int, size int64) error {
	if err := s.walkerIn.Reset(kafka.Produce, version, false, size-int64(header)); err != nil {
		return err
	}
	s.req.take(header)
	return stream(&s.req, &s.walkerIn)
}

// acks reads how a Produce request wants to be answered.
func (s *session) acks(h *kafka.RequestHeader) (int16, error) {
	n, size := h.Len, int(h.Size)+4 // h.ClientID is not valid after a fill
	for {
		b := s.req.ahead()
		var p kafka.ProduceHead
		err := kafka.ParseProduceHead(b[n:min(len(b), size)], h.Version, &p)
		if err != kafka.ErrShort {
			return p.Acks, err
		}
		if len(b) >= size || len(b) > maxHeader {
			return 0, fmt.Errorf("a Produce request of %d bytes without acks", size)
		}
		if err := s.req.fill(len(b) + 1); err != nil {
			return 0, fmt.Errorf("reading Produce request: %w", unexpected(err))
		}
	}
}

// handshakeV0 notes how many frames without headers follow a version 0 handshake. Mechanisms that need an unknown number
// cannot be told from requests afterwards; clients that use one speak version 1 since Kafka 1.0.
func (s *session) handshakeV0(h *kafka.RequestHeader) error {
	if err := s.req.fill(int(min(int64(h.Size)+4, maxHeader))); err != nil {
		return fmt.Errorf("reading SaslHandshake: %w", unexpected(err))
	}
	r := kafka.Reader{Src: s.req.ahead(), Off: h.Len}
	mechanism := string(r.NullableString())
	switch mechanism {
	case "PLAIN", "OAUTHBEARER":
		s.tokens = 1
	case "SCRAM-SHA-256", "SCRAM-SHA-512":
		s.tokens = 2
	default:
		return fmt.Errorf("a version 0 SaslHandshake for %q: expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, or version 1", mechanism)
	}
	return nil
}

// token lets one frame of a version 0 SASL exchange pass. It has a length and no header.
func (s *session) token() error {
	size := int32(binary.BigEndian.Uint32(s.req.ahead()))
	if size < 0 || size > maxHeader {
		return fmt.Errorf("a SASL token of %d bytes", size)
	}
	s.tokens--
	s.push(kafka.Inflight{Key: rawToken, Started: s.req.woke.UnixNano()})
	return s.req.pass(int64(size) + 4)
}

// push adds a request to those under way and waits while there are too many: then nothing is read, and the client's own
// socket fills.
func (s *session) push(e kafka.Inflight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ring.Full() && !s.over {
		// What is decided must not wait for an answer that waits for it.
		s.mu.Unlock()
		err := s.req.flush()
		s.mu.Lock()
		if err != nil {
			return // the next write tells it
		}
		if s.ring.Full() && !s.over {
			s.moved.Wait()
		}
	}
	s.ring.Push(e)
}

// answer sends a response of sidewire's own, in its turn.
func (s *session) answer(e kafka.Inflight) error {
	s.door.metrics.local.Inc()
	s.mu.Lock()
	busy := s.ring.Len() > 0 || s.unflushed
	s.mu.Unlock()
	if busy {
		s.push(e)
		if !s.overtaken() {
			return nil // the reply goroutine delivers it in its turn
		}
	}
	// Nothing is under way, so the reply goroutine has nothing to write. No lock is held: the client may not be reading.
	_, err := s.down.Write(e.Local)
	return err
}

// overtaken takes the answer that was just put into the ring out of it again, where the reply goroutine has emptied the ring in between
// and waits for the broker now.
func (s *session) overtaken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	head, ok := s.ring.Head()
	if !ok || head.Local == nil || s.unflushed {
		return false
	}
	s.ring.Pop()
	return true
}

// discard reads a request that does not go on.
func (s *session) discard(size int64) error {
	for size > 0 {
		if err := s.req.fill(1); err != nil {
			return fmt.Errorf("reading request: %w", unexpected(err))
		}
		k := min(size, int64(len(s.req.ahead())))
		if err := s.req.drop(int(k)); err != nil {
			return err
		}
		size -= k
	}
	return nil
}
