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

// judge gives single names the codes of a law. It implements kafka.Judge.
type judge struct{ *law }

// decide takes the code that the law left behind.
func (j judge) decide() int16 {
	code := j.code
	j.code = 0
	return code
}

func (j judge) Topic(name string, id [16]byte) int16 {
	if name == "" && id != ([16]byte{}) {
		j.law.TopicID(id)
	} else {
		j.law.Topic(name)
	}
	return j.decide()
}

func (j judge) Group(name string) int16 {
	j.law.Group(name)
	return j.decide()
}

func (j judge) Txn(name string) int16 {
	j.law.Txn(name)
	return j.decide()
}

func (j judge) Shared() int16 {
	if j.law.Shared() {
		return 0
	}
	return kafka.ErrCodeClusterAuthorization
}

// split takes what is denied out of a request. all says that nothing is left that the cluster could be asked.
func (s *session) split(req kmsg.Request, l *law) (refusal kmsg.Response, all bool) {
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		s.forget(r)
	case *kmsg.MetadataRequest:
		r.AllowAutoTopicCreation = r.AllowAutoTopicCreation && l.mayCreate(r.Topics)
	}
	l.strict = true
	refusal, left := kafka.Split(req, judge{l})
	l.strict = false
	if f, ok := req.(*kmsg.FetchRequest); ok {
		if refusal != nil && left > 0 {
			f.MaxWaitMillis = 0 // a broker tells errors at once
		}
		if refusal = s.splitFetch(f, refusal); refusal != nil && f.SessionEpoch > 0 {
			left = 1 // the session's others
		}
	}
	return refusal, refusal != nil && left == 0
}

// mayCreate says whether the topics that a client asks metadata of may be created by that: a broker takes it for leave to.
func (l *law) mayCreate(topics []kmsg.MetadataRequestTopic) bool {
	return l.block.allowedAPI(l.user, kafka.CreateTopics) && !slices.ContainsFunc(topics, func(t kmsg.MetadataRequestTopic) bool {
		return t.Topic != nil && !l.block.allowedName(l.user, kafka.CreateTopics, kindTopic, *t.Topic)
	})
}

// splitFetch adds to a fetch's refusal what its session was refused before.
func (s *session) splitFetch(f *kmsg.FetchRequest, refusal kmsg.Response) kmsg.Response {
	known := s.unfetched
	if f.SessionEpoch <= 0 {
		known = nil
	}
	if fresh, ok := refusal.(*kmsg.FetchResponse); ok {
		if known != nil {
			remember(fresh, known.Topics)
		}
		known = fresh
	}
	s.unfetched = known
	if known == nil {
		return nil
	}
	return known
}

// maxUnfetched bounds the partitions that a session is refused again and again; a client hears of those above it when it names them.
const maxUnfetched = 10_000

// remember adds what was refused before and is not refused again, partition by partition.
func remember(fresh *kmsg.FetchResponse, before []kmsg.FetchResponseTopic) {
	type partition struct {
		name   string
		id     [16]byte
		number int32
	}
	told := map[partition]bool{}
	for _, t := range fresh.Topics {
		for _, p := range t.Partitions {
			told[partition{t.Topic, t.TopicID, p.Partition}] = true
		}
	}
	for _, t := range before {
		kept := t
		kept.Partitions = nil
		for _, p := range t.Partitions {
			if key := (partition{t.Topic, t.TopicID, p.Partition}); !told[key] && len(told) < maxUnfetched {
				told[key] = true
				kept.Partitions = append(kept.Partitions, p)
			}
		}
		if len(kept.Partitions) > 0 {
			fresh.Topics = append(fresh.Topics, kept)
		}
	}
}

// outdated says that a client's fetch or share session began under other rules: what it named then was judged by those, and it names
// nothing any more. It is told that the session is gone, and begins another; nil is no reason to.
func (s *session) outdated(req kmsg.Request, block *ListenerBlock) kmsg.Response {
	switch r := req.(type) {
	case *kmsg.FetchRequest:
		if r.SessionEpoch <= 0 {
			s.fetched = block
		} else if s.fetched != block {
			s.unfetched = nil
			return kafka.Refuse(&kmsg.FetchRequest{Version: r.Version}, kafka.ErrCodeFetchSessionNotFound)
		}
	case *kmsg.ShareFetchRequest:
		if r.ShareSessionEpoch <= 0 {
			s.shared = block
		} else if s.shared != block {
			return kafka.Refuse(r, kafka.ErrCodeShareSessionNotFound)
		}
	}
	return nil
}
