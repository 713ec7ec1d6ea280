package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/protocols/kafka"
)

// A broker may want to see credentials again from time to time (KIP-368). It takes them in between other requests of the connection,
// in its turn, so that neither the client nor what is under way notices.

// minRenewal is a little more than the time within which a broker takes no credentials twice.
const minRenewal = 1100 * time.Millisecond

// renewal is when credentials are to be shown again that hold for life from now on; zero: never.
func renewal(now time.Time, life time.Duration) time.Time {
	if life <= 0 {
		return time.Time{}
	}
	return now.Add(max(life-life/10, minRenewal))
}

// authenticateAgain shows the broker sidewire's credentials before the request that comes next.
func (s *session) authenticateAgain() error {
	life, err := authenticate(context.Background(), s.target, s.credentials(), s.askBetween)
	if err != nil {
		return fmt.Errorf("authenticating to broker again: %v", err) // as in handshake, not wrapped
	}
	s.renew = renewal(time.Now(), life)
	return nil
}

// ownCorrelation tells sidewire's own requests in a dump; the order tells them in fact.
const ownCorrelation = -368

// errNoProof ends a session whose broker does not answer.
var errNoProof = errors.New("no answer within connect_timeout")

// askBetween asks the broker something in between the client's requests.
func (s *session) askBetween(_ context.Context, req kmsg.Request) (kmsg.Response, error) {
	e := kafka.Inflight{Key: req.Key(), Version: req.GetVersion(), CorrelationID: ownCorrelation, Flags: kafka.FlagOwn}
	s.push(e)
	if err := s.req.put(kafka.AppendRequest(nil, e.CorrelationID, clientID, req)); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	// What was asked before may be a long poll: the time counts from when nothing else is waited for.
	tick := time.NewTicker(s.view.upstream.cluster.Config().ConnectTimeout.Std())
	defer tick.Stop()
	for next := false; ; {
		select {
		case body := <-s.proofs:
			return resp, kafka.DecodeResponse(resp, body)
		case <-s.ended:
			return nil, errors.New("the connection ended")
		case <-tick.C:
			head, _ := s.current()
			if next && head.Flags&kafka.FlagOwn != 0 {
				return nil, errNoProof
			}
			next = head.Flags&kafka.FlagOwn != 0
		}
	}
}

// proof takes an answer to sidewire's own request out of what goes to the client.
func (s *session) proof(n int, size int64) error {
	frame, err := s.whole(size)
	if err != nil {
		return err
	}
	body := slices.Clone(frame[n:])
	if err := s.rep.drop(int(size)); err != nil {
		return err
	}
	s.proofs <- body // one is asked at a time
	return nil
}
