package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sidewire/sidewire/protocols/kafka"
)

// forget takes topics that the client's fetch session has no more off those that it is refused.
func (s *session) forget(f *kmsg.FetchRequest) {
	if s.unfetched == nil || len(f.ForgottenTopics) == 0 {
		return
	}
	kept := kmsg.NewPtrFetchResponse()
	for _, t := range s.unfetched.Topics {
		if !slices.ContainsFunc(f.ForgottenTopics, func(gone kmsg.FetchRequestForgottenTopic) bool {
			return gone.Topic == t.Topic && gone.TopicID == t.TopicID
		}) {
			kept.Topics = append(kept.Topics, t)
		}
	}
	s.unfetched = kept
	if len(kept.Topics) == 0 {
		s.unfetched = nil
	}
}

// splits says whether topics of a request are refused one by one.
func splits(key int16) bool {
	return key == kafka.Produce || key == kafka.Fetch || key == kafka.ListOffsets || key == kafka.OffsetCommit
}

// split takes what is denied out of a request. all says that nothing is left that the cluster could be asked.
func (s *session) split(req kmsg.Request, l *law, e *kafka.Inflight) (refusal kmsg.Response, all bool) {
	if f, ok := req.(*kmsg.FetchRequest); ok {
		s.forget(f)
	}
	refusal, left := kafka.Split(req, func(name string, id [16]byte) int16 {
		l.code = 0
		if name == "" && id != ([16]byte{}) {
			l.TopicID(id)
		} else {
			l.Topic(name)
		}
		return l.code
	})
	l.code = 0
	if f, ok := req.(*kmsg.FetchRequest); ok {
		if refusal != nil && left > 0 {
			f.MaxWaitMillis = 0 // a broker tells errors at once
		}
		if refusal = s.splitFetch(f, refusal); refusal != nil && f.SessionEpoch > 0 {
			left = 1 // the session's others
		}
	}
	if refusal == nil {
		return nil, false
	}
	if left > 0 {
		e.Flags |= kafka.FlagPart
	}
	return refusal, left == 0
}

// splitFetch adds to a fetch's refusal what its session was refused before.
func (s *session) splitFetch(f *kmsg.FetchRequest, refusal kmsg.Response) kmsg.Response {
	known := s.unfetched
	if f.SessionEpoch <= 0 {
		known = nil
	}
	if fresh, ok := refusal.(*kmsg.FetchResponse); ok {
		if known != nil {
			fresh.Topics = append(fresh.Topics, known.Topics...)
		}
		known = fresh
	}
	s.unfetched = known
	if known == nil {
		return nil
	}
	return known
}

// await keeps a refusal until the response comes.
func (s *session) await(correlation int32, refusal kmsg.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil {
		s.parts = map[int32]kmsg.Response{}
	}
	s.parts[correlation] = refusal
}

func (s *session) takePart(correlation int32) kmsg.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal := s.parts[correlation]
	delete(s.parts, correlation)
	return refusal
}
