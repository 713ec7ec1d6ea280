package kafka

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var deniedID = [16]byte{0xde, 0xad, 0xde, 0xad, 0xde, 0xad, 0xde, 0xad, 0xde, 0xad, 0xde, 0xad, 0xde, 0xad, 0xde, 0xad}

// denies refuses what is called "denied".
type denies struct{}

func (denies) Topic(name string, id [16]byte) int16 {
	if name == "denied" || name == "" && id == deniedID {
		return ErrCodeTopicAuthorization
	}
	return 0
}

func (d denies) Group(name string) int16 { return d.Topic(name, [16]byte{}) }
func (d denies) Txn(name string) int16   { return d.Topic(name, [16]byte{}) }
func (denies) Shared() int16             { return ErrCodeClusterAuthorization }

// deny calls everything "denied" in the second element of every list that is not inside another.
func deny(v reflect.Value, inside bool) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" {
				deny(v.Field(i), inside)
			}
		}
	case reflect.Slice:
		if inside || v.Len() == 2 && v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				if inside || i == 1 {
					deny(v.Index(i), true)
				}
			}
		}
	case reflect.Pointer:
		if inside && !v.IsNil() {
			deny(v.Elem(), true)
		}
	case reflect.Array:
		if inside {
			v.Set(reflect.ValueOf(deniedID))
		}
	case reflect.String:
		if inside {
			v.SetString("denied")
		}
	}
}

func denied(m message) bool {
	wire := m.AppendTo(nil)
	return bytes.Contains(wire, []byte("denied")) || bytes.Contains(wire, deniedID[:])
}

// In every request whose items are judged apart, the denied one is taken out and refused, and nothing else is.
func TestSplitTakesOutWhatIsDenied(t *testing.T) {
	split := 0
	for key := range int16(Keys) {
		api, _ := Lookup(key)
		for v := range api.Max + 1 {
			if !Splits(key, v) || key == AddPartitionsToTxn {
				continue
			}
			split++
			filled := newMessage(key, v, false).(kmsg.Request)
			fill(reflect.ValueOf(filled).Elem(), "name")
			filled.SetVersion(v)
			setConfigTypes(filled)
			deny(reflect.ValueOf(filled).Elem(), false)
			req := newMessage(key, v, false).(kmsg.Request) // only what this version has on the wire
			if err := req.ReadFrom(filled.AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
			if !denied(req) {
				t.Errorf("%s v%d names nothing that is denied", api.Name, v)
			}
			refusal, left := Split(req, denies{})
			if refusal == nil || left == 0 {
				t.Errorf("%s v%d: refused %v, %d left", api.Name, v, refusal, left)
				continue
			}
			if denied(req) || !denied(refusal) {
				t.Errorf("%s v%d: the denied one goes on (%v) or is not refused (%v)", api.Name, v, denied(req), !denied(refusal))
			}
			if bytes.Contains(refusal.AppendTo(nil), []byte("Topic")) {
				t.Errorf("%s v%d: the allowed one is refused", api.Name, v)
			}
			if again, _ := Split(req, denies{}); again != nil {
				t.Errorf("%s v%d: refused twice", api.Name, v)
			}
			resp := newMessage(key, v, true).(kmsg.Response)
			fill(reflect.ValueOf(resp).Elem(), "name")
			resp.SetVersion(v)
			Merge(resp, refusal)
			if !denied(resp) {
				t.Errorf("%s v%d: the refusal did not join the response", api.Name, v)
			}
		}
	}
	if split < 100 {
		t.Errorf("%d messages split", split)
	}
}

// A denied topic of a group is refused inside that group's answer.
func TestSplitRefusesTopicsInsideAGroup(t *testing.T) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 9
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = "readers"
	for _, name := range []string{"orders", "denied"} {
		topic := kmsg.NewOffsetFetchRequestGroupTopic()
		topic.Topic, topic.Partitions = name, []int32{4}
		g.Topics = append(g.Topics, topic)
	}
	req.Groups = append(req.Groups, g)
	refusal, left := Split(req, denies{})
	if refusal == nil || left != 1 || len(req.Groups[0].Topics) != 1 {
		t.Fatalf("refused %v, %d left: %v", refusal, left, req.Groups)
	}
	answer := kmsg.NewPtrOffsetFetchResponse()
	answer.Version = 9
	rg := kmsg.NewOffsetFetchResponseGroup()
	rg.Group = "readers"
	answer.Groups = append(answer.Groups, rg)
	Merge(answer, refusal)
	if len(answer.Groups) != 1 || answer.Groups[0].Topics[0].Topic != "denied" || answer.Groups[0].Topics[0].Partitions[0].ErrorCode != ErrCodeTopicAuthorization {
		t.Errorf("answered %+v", answer.Groups)
	}
}

// Partitions join a transaction together or not at all.
func TestSplitAddsAllPartitionsOrNone(t *testing.T) {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version = 3
	for _, name := range []string{"orders", "denied"} {
		topic := kmsg.NewAddPartitionsToTxnRequestTopic()
		topic.Topic, topic.Partitions = name, []int32{0}
		req.Topics = append(req.Topics, topic)
	}
	refusal, left := Split(req, denies{})
	if left != 0 || refusal == nil {
		t.Fatalf("refused %v, %d left", refusal, left)
	}
	var codes []int16
	for _, topic := range refusal.(*kmsg.AddPartitionsToTxnResponse).Topics {
		codes = append(codes, topic.Partitions[0].ErrorCode)
	}
	if slices.Sort(codes); !slices.Equal(codes, []int16{ErrCodeTopicAuthorization, ErrCodeNotAttempted}) {
		t.Errorf("codes %v", codes)
	}
}

// Records lie in the body that is decoded and take no memory of their own: a request of any size that is allowed can be judged.
func TestRecordsAreNotDecoded(t *testing.T) {
	req := kmsg.NewPtrProduceRequest()
	req.Version = 9
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "orders"
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = make([]byte, maxDecodedRequest+1)
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	body := req.AppendTo(nil)
	back := kmsg.NewPtrProduceRequest()
	back.Version = 9
	if err := DecodeRequest(back, body); err != nil {
		t.Fatal(err)
	}
	if records := back.Topics[0].Partitions[0].Records; &records[len(records)-1] != &body[len(body)-4] {
		t.Error("the records were copied")
	}
}
