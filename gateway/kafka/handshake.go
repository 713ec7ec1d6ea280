package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/protocols/kafka"
)

// maxToken bounds a request before its sender is known, as sasl.server.max.receive.size does.
const maxToken = 512 << 10

// handshake brings a session to where requests may pass: the client is known where the listener asks who it is, and the
// broker knows sidewire where clients do not prove themselves to it.
func (s *session) handshake(ctx context.Context) error {
	block := s.door.block()
	switch block.Authentication {
	case authTerminate:
		s.sasl = &saslServer{block: block, accounts: &s.door.accounts}
		if u := s.certified(block); u != nil {
			s.sasl.user, s.sasl.external = u, true
			s.known(u, true)
		}
		if err := s.knowClient(ctx); err != nil {
			return err
		}
	case authPass:
		return nil
	}
	creds := s.credentials()
	if creds == nil {
		return nil
	}
	c := &control{conn: s.up, address: s.target}
	ctx, cancel := context.WithTimeout(ctx, s.view.upstream.cluster.Config().ConnectTimeout.Std())
	defer cancel()
	life, err := authenticate(ctx, s.target, creds, c.exchange)
	if err != nil {
		return fmt.Errorf("authenticating to broker: %v", err) // not wrapped: no end of a connection is an ordinary one here
	}
	s.renew = renewal(time.Now(), life)
	return s.up.SetDeadline(time.Time{})
}

// credentials are what the broker is shown for this session.
func (s *session) credentials() *Credentials {
	if s.sasl != nil && s.sasl.user.As != nil {
		return s.sasl.user.As
	}
	return s.view.upstream.block().SASL
}

// authTime is how long a client may take to say who it is.
const authTime = 30 * time.Second

// knowClient serves a client until it is authenticated. One request is under way at a time, and only those that may come
// before authentication are served.
func (s *session) knowClient(ctx context.Context) error {
	s.down.SetReadDeadline(time.Now().Add(authTime))
	defer s.down.SetReadDeadline(time.Time{})
	s.req.stall = 0 // the deadline above rules
	for first := true; s.sasl.user == nil; first = false {
		if err := s.req.fill(4); err != nil {
			return s.quietAuth(err)
		}
		var h kafka.RequestHeader
		if err := s.head(first, &h); err != nil {
			return err
		}
		if h.Size > maxToken {
			return fmt.Errorf("a request of %d bytes before authentication", h.Size)
		}
		size := int(h.Size) + 4
		if err := s.req.fill(size); err != nil {
			return s.quietAuth(err)
		}
		frame := s.req.ahead()[:size]
		api, ok := kafka.Lookup(h.Key)
		var answer []byte
		var err error
		switch {
		case h.Key == kafka.ApiVersions && h.Version > s.maxApiVersions():
			answer = kafka.AppendUnsupportedApiVersions(nil, h.CorrelationID, s.maxApiVersions())
		case h.Key == kafka.ApiVersions && h.Version >= 0:
			answer, err = s.relayVersions(&h, frame)
		case (h.Key == kafka.SASLHandshake || h.Key == kafka.SASLAuthenticate) && ok && h.Version >= 0 && h.Version <= api.Max:
			answer, err = s.prove(&h, frame[h.Len:])
		default:
			err = fmt.Errorf("a %s request before authentication", kafka.Name(h.Key))
		}
		if answer != nil {
			if _, werr := s.down.Write(answer); werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
		s.req.at += size
		s.req.sent = s.req.at
	}
	s.req.stall = s.door.block().Stall.Std()
	return nil
}

func (s *session) quietAuth(err error) error {
	if stalled(err) == errStalled {
		if s.handler.draining.Load() {
			return errDrain
		}
		return fmt.Errorf("client did not authenticate within %v", authTime)
	}
	return err
}

// relayVersions asks the broker what the client asks.
func (s *session) relayVersions(h *kafka.RequestHeader, frame []byte) ([]byte, error) {
	if _, err := s.up.Write(frame); err != nil {
		return nil, err
	}
	resp, err := readFrame(s.up, nil, maxControl)
	if err != nil {
		return nil, fmt.Errorf("reading ApiVersions from broker: %w", err)
	}
	correlation, n, err := kafka.ParseResponseHeader(resp, h.Key, h.Version)
	if err != nil || correlation != h.CorrelationID {
		return nil, fmt.Errorf("reading ApiVersions from broker: response %d to request %d: %w", correlation, h.CorrelationID, err)
	}
	out, err := kafka.IntersectApiVersions(append([]byte(nil), resp[:n]...), h.Version, resp[n:], s.offer)
	if err != nil {
		return nil, err
	}
	return setLength(out), nil
}

// prove answers one step of a client's authentication. The answer is sent even when there is an error, which ends the
// session after it.
func (s *session) prove(h *kafka.RequestHeader, body []byte) (answer []byte, err error) {
	if h.Key == kafka.SASLHandshake {
		req := kmsg.NewPtrSASLHandshakeRequest()
		req.Version = h.Version
		if err := kafka.DecodeRequest(req, body); err != nil {
			return nil, err
		}
		if h.Version == 0 {
			// What follows a version 0 handshake has no headers and so no place for an error or a session's lifetime.
			resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
			resp.ErrorCode = kafka.ErrCodeUnsupportedVersion
			return kafka.AppendResponse(nil, h.CorrelationID, resp), errors.New("client used SaslHandshake version 0: expected version 1, of Kafka 1.0 and later")
		}
		resp := s.sasl.handshake(req)
		if resp.ErrorCode != 0 {
			err = fmt.Errorf("client wants to authenticate with %q, which is not offered", req.Mechanism)
		}
		return kafka.AppendResponse(nil, h.CorrelationID, resp), err
	}
	req := kmsg.NewPtrSASLAuthenticateRequest()
	req.Version = h.Version
	if err := kafka.DecodeRequest(req, body); err != nil {
		return nil, err
	}
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	resp.Version = h.Version
	before := s.sasl.user
	token, done, err := s.sasl.step(req.SASLAuthBytes)
	resp.SASLAuthBytes = token
	if resp.SASLAuthBytes == nil {
		resp.SASLAuthBytes = []byte{}
	}
	switch {
	case err == nil && done && before != nil && before.Name != s.sasl.user.Name:
		err = fmt.Errorf("client authenticated again as %q, it was %q", s.sasl.user.Name, before.Name)
		fallthrough
	case err != nil:
		why := err.Error()
		if s.sasl.why != nil { // for the log; the client learns no more than that it is refused
			err = fmt.Errorf("%w: %w", err, s.sasl.why)
		}
		resp.ErrorCode, resp.ErrorMessage, resp.SASLAuthBytes = kafka.ErrCodeSASLFailed, &why, []byte{}
		s.door.metrics.denied.Inc()
	case done:
		if life := s.lifetime(time.Now()); life > 0 {
			resp.SessionLifetimeMillis = life.Milliseconds()
			s.expires = time.Now().Add(life)
		}
		s.known(s.sasl.user, s.sasl.external)
	}
	return kafka.AppendResponse(nil, h.CorrelationID, resp), err
}

// lifetime is how long what a client proved holds; 0: for ever.
func (s *session) lifetime(now time.Time) time.Duration {
	life := s.door.block().SessionLifetime.Std()
	if !s.sasl.until.IsZero() {
		if left := max(s.sasl.until.Sub(now), time.Millisecond); life == 0 || left < life {
			life = left
		}
	}
	return life
}

// proveAgain serves authentication on a running session (KIP-368). The broker's side keeps its own credentials.
func (s *session) proveAgain(h *kafka.RequestHeader) error {
	if h.Size > maxToken {
		return fmt.Errorf("a %s request of %d bytes", kafka.Name(h.Key), h.Size)
	}
	size := int(h.Size) + 4
	key, version, correlation, n := h.Key, h.Version, h.CorrelationID, h.Len
	if err := s.req.fill(size); err != nil {
		return unexpected(err)
	}
	again := kafka.RequestHeader{Key: key, Version: version, CorrelationID: correlation, Len: n}
	answer, err := s.prove(&again, s.req.ahead()[n:size])
	if derr := s.req.drop(size); derr != nil {
		return derr
	}
	if answer != nil {
		if aerr := s.answer(kafka.Inflight{Key: key, Version: version, Local: answer}); aerr != nil {
			return aerr
		}
	}
	if err != nil {
		// The answer must reach the client before the end does.
		s.settle(s.idle)
	}
	return err
}
