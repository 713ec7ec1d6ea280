package kafka

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// traced is a Produce body whose first record has these headers.
func traced(version, attributes int16, headers ...string) []byte {
	r := kmsg.NewRecord()
	r.Key, r.Value = []byte("key"), []byte("value")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Headers = append(r.Headers, kmsg.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	b := kmsg.NewRecordBatch()
	b.Magic, b.Attributes, b.NumRecords, b.Records = 2, attributes, 1, r.AppendTo(nil)
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	req := kmsg.NewPtrProduceRequest()
	req.Version = version
	pt := kmsg.NewProduceRequestTopic()
	pt.Topic = "orders"
	pp := kmsg.NewProduceRequestTopicPartition()
	pp.Records = b.AppendTo(nil)
	pt.Partitions = append(pt.Partitions, pp)
	req.Topics = append(req.Topics, pt)
	return req.AppendTo(nil)
}

const someTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceparentOfTheFirstRecord(t *testing.T) {
	for v := int16(3); v <= 13; v++ {
		body := traced(v, 0, "other", "x", "traceparent", someTrace)
		parent, topic := Traceparent(body, v)
		if string(parent) != someTrace || v < 13 && string(topic) != "orders" {
			t.Errorf("v%d: %q, topic %q", v, parent, topic)
		}
		for n := range len(body) { // what is there of it
			if got, _ := Traceparent(body[:n], v); got != nil && string(got) != someTrace {
				t.Errorf("v%d, %d bytes: %q", v, n, got)
			}
		}
		if got, _ := Traceparent(traced(v, 1, "traceparent", someTrace), v); got != nil {
			t.Errorf("v%d compressed: %q", v, got)
		}
		if got, _ := Traceparent(traced(v, 0, "other", someTrace), v); got != nil {
			t.Errorf("v%d without: %q", v, got)
		}
	}
}

func TestTopErrors(t *testing.T) {
	for key := range int16(Keys) {
		api, _ := Lookup(key)
		for v := range api.Max + 1 {
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			resp := Refuse(req, 77)
			if resp == nil {
				continue
			}
			body := resp.AppendTo(nil)
			if got := TopError(key, v, body); got != 77 && got != 0 {
				t.Errorf("%s v%d: %d in %x", api.Name, v, got, body)
			} else if got == 0 && bytes.Contains(body, []byte{0, 77}) && (key == JoinGroup || key == Heartbeat || key == SyncGroup) {
				t.Errorf("%s v%d: not found in %x", api.Name, v, body)
			}
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	for v := int16(3); v <= 13; v++ {
		f.Add(uint8(v), traced(v, 0, "traceparent", someTrace))
	}
	f.Fuzz(func(t *testing.T, version uint8, body []byte) {
		if parent, _ := Traceparent(body, int16(version%14)); len(parent) > len(body) {
			t.Fatal("longer than the input")
		}
	})
}
