package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Split takes the topics that deny gives an error code out of a request, and returns a response that refuses them; nil when
// there are none. What is left goes on, and Merge puts the two answers together, as a broker answers for each topic apart.
// left is how many topics the request still names.
func Split(req kmsg.Request, deny func(name string, id [16]byte) int16) (refusal kmsg.Response, left int) {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	denied := 0
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		denied = part(&r.Topics, func(t *kmsg.ProduceRequestTopic) int16 { return deny(t.Topic, t.TopicID) }, func(ts []kmsg.ProduceRequestTopic, code int16) {
			refuseProduce(&kmsg.ProduceRequest{Topics: ts}, resp.(*kmsg.ProduceResponse), code)
		})
		left = len(r.Topics)
	case *kmsg.FetchRequest:
		part(&r.ForgottenTopics, func(t *kmsg.FetchRequestForgottenTopic) int16 { return deny(t.Topic, t.TopicID) }, nil)
		denied = part(&r.Topics, func(t *kmsg.FetchRequestTopic) int16 { return deny(t.Topic, t.TopicID) }, func(ts []kmsg.FetchRequestTopic, code int16) {
			refuseFetch(&kmsg.FetchRequest{Topics: ts}, resp.(*kmsg.FetchResponse), code)
		})
		left = len(r.Topics)
	case *kmsg.ListOffsetsRequest:
		denied = part(&r.Topics, func(t *kmsg.ListOffsetsRequestTopic) int16 { return deny(t.Topic, [16]byte{}) }, func(ts []kmsg.ListOffsetsRequestTopic, code int16) {
			out := resp.(*kmsg.ListOffsetsResponse)
			out.Topics = append(out.Topics, Refuse(&kmsg.ListOffsetsRequest{Topics: ts}, code).(*kmsg.ListOffsetsResponse).Topics...)
		})
		left = len(r.Topics)
	case *kmsg.OffsetCommitRequest:
		denied = part(&r.Topics, func(t *kmsg.OffsetCommitRequestTopic) int16 { return deny(t.Topic, t.TopicID) }, func(ts []kmsg.OffsetCommitRequestTopic, code int16) {
			out := resp.(*kmsg.OffsetCommitResponse)
			out.Topics = append(out.Topics, Refuse(&kmsg.OffsetCommitRequest{Topics: ts}, code).(*kmsg.OffsetCommitResponse).Topics...)
		})
		left = len(r.Topics)
	}
	if denied == 0 {
		return nil, left
	}
	return resp, left
}

// part takes out the elements that have a code and hands those of each code to refuse.
func part[T any](list *[]T, code func(*T) int16, refuse func([]T, int16)) (denied int) {
	kept := (*list)[:0:0]
	for i := range *list {
		t := &(*list)[i]
		c := code(t)
		if c == 0 {
			kept = append(kept, *t)
			continue
		}
		denied++
		if refuse != nil {
			refuse([]T{*t}, c)
		}
	}
	if denied > 0 {
		*list = kept
	}
	return denied
}

// Merge adds a refusal of Split to the response to the rest.
func Merge(resp, refusal kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.ProduceResponse).Topics...)
	case *kmsg.FetchResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.FetchResponse).Topics...)
	case *kmsg.ListOffsetsResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.ListOffsetsResponse).Topics...)
	case *kmsg.OffsetCommitResponse:
		r.Topics = append(r.Topics, refusal.(*kmsg.OffsetCommitResponse).Topics...)
	}
}
