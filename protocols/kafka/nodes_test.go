package kafka

import (
	"reflect"
	"regexp"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// nodeField tells the fields that hold node ids by their names, as Kafka's messages call them.
var nodeField = regexp.MustCompile(`^(NodeID|BrokerID|LeaderID|Leader|ReplicaID|VoterID|ControllerID|CandidateID|PreferredReadReplica|\w*Replicas|ISR|NewISR|EligibleLeaderReplicas|LastKnownELR)$`)

// notNodes are exempt, each with its reason.
var notNodes = map[string]string{
	"FetchRequest.ReplicaID":                "brokers alone have one",
	"ListOffsetsRequest.ReplicaID":          "brokers alone have one",
	"OffsetForLeaderEpochRequest.ReplicaID": "brokers alone have one",
	"FetchRequestReplicaState.ID":           "brokers alone have one",
	"ApiVersionsRequest.NodeID":             "version 5 is not offered where node ids are virtual",
}

// nodeIDs collects the node ids in a message; broker configurations' names are node ids too.
func nodeIDs(v reflect.Value, path string, visit func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "UnknownTags" || f.Name == "Version" {
				continue
			}
			name := v.Type().Name() + "." + f.Name
			int32s := v.Field(i).Type() == reflect.TypeOf(int32(0)) || v.Field(i).Type() == reflect.TypeOf([]int32(nil))
			if int32s && nodeField.MatchString(f.Name) && notNodes[name] == "" {
				visit(name, v.Field(i))
				continue
			}
			nodeIDs(v.Field(i), name, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			nodeIDs(v.Index(i), path, visit)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			nodeIDs(v.Elem(), path, visit)
		}
	}
}

func eachID(v reflect.Value, f func(int32)) {
	if v.Kind() != reflect.Slice {
		f(int32(v.Int()))
		return
	}
	for i := range v.Len() {
		f(int32(v.Index(i).Int()))
	}
}

// carriers calls f with every message of clients that holds a node id, as it is on the wire, and returns how many there are.
func carriers(t *testing.T, response bool, f func(m message, body []byte)) (n int) {
	everyMessage(func(_ string, m message, isResponse bool, body []byte) {
		if api, _ := Lookup(m.Key()); api.BrokerOnly || isResponse != response {
			return
		}
		wired := newMessage(m.Key(), m.GetVersion(), response)
		if err := decodeMessage(wired, response, body); err != nil {
			t.Fatal(err)
		}
		holds := false
		nodeIDs(reflect.ValueOf(wired).Elem(), "", func(_ string, f reflect.Value) {
			eachID(f, func(id int32) { holds = holds || id == 7 })
		})
		if holds {
			n++
			f(wired, body)
		}
	})
	return n
}

// Trap 19: with virtual node ids no field that holds one is forgotten: not in any response, and not in any request. A new
// version of a message with a new such field fails here.
func TestEveryNodeIDIsMapped(t *testing.T) {
	brokers := fixedBrokers{"localhost", 1000}
	n := carriers(t, true, func(m message, body []byte) {
		key, v := m.Key(), m.GetVersion()
		if !Rewritten(key, v) && !CarriesNodes(key) && !Walked(key, v) && key != Fetch {
			t.Errorf("%s v%d holds node ids and is passed on as it is", Name(key), v)
			return
		}
		out, err := RewriteResponse(nil, key, v, body, brokers)
		if err != nil {
			t.Fatal(err)
		}
		checkNodes(t, key, v, out, "rewritten")
		if key == Produce || key == Fetch || key == ShareFetch {
			w := &Walker{Brokers: brokers, PatchTail: true}
			if err := w.Reset(key, v, true, int64(len(body))); err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.Step(body); err != nil || !w.Done() {
				t.Fatal(err)
			}
			checkNodes(t, key, v, body, "walked")
		}
	})
	if n < 45 {
		t.Errorf("%d responses held node ids", n)
	}
}

func checkNodes(t *testing.T, key, v int16, body []byte, how string) {
	t.Helper()
	back := newMessage(key, v, true)
	if err := decodeMessage(back, true, body); err != nil {
		t.Fatal(err)
	}
	allMapped(t, back, how)
}

func allMapped(t *testing.T, m message, how string) {
	t.Helper()
	nodeIDs(reflect.ValueOf(m).Elem(), "", func(path string, f reflect.Value) {
		eachID(f, func(id int32) {
			if id == 7 {
				t.Errorf("%s v%d %s: %s is not mapped", Name(m.Key()), m.GetVersion(), how, path)
			}
		})
	})
}

func TestEveryNodeIDInRequestsIsMapped(t *testing.T) {
	down := func(id int32) (int32, bool) { return id + 1000, true }
	n := carriers(t, false, func(m message, _ []byte) {
		if !RequestCarriesNodes(m.Key()) || !MapNodes(m.(kmsg.Request), down) {
			t.Errorf("%s v%d request holds node ids and is passed on as it is", Name(m.Key()), m.GetVersion())
			return
		}
		allMapped(t, m, "request")
	})
	if n < 10 {
		t.Errorf("%d requests held node ids", n)
	}
	for _, typ := range []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger, kmsg.ConfigResourceTypeTopic} {
		r := kmsg.NewPtrDescribeConfigsRequest()
		r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: typ, ResourceName: "7"}, {ResourceType: typ}}
		want := "1007"
		if typ == kmsg.ConfigResourceTypeTopic {
			want = "7"
		}
		if !MapNodes(r, down) || r.Resources[0].ResourceName != want || r.Resources[1].ResourceName != "" {
			t.Errorf("configuration of kind %d: %+v", typ, r.Resources)
		}
	}
	r := kmsg.NewPtrUnregisterBrokerRequest()
	r.BrokerID = 7
	if MapNodes(r, func(int32) (int32, bool) { return 0, false }) {
		t.Error("an id of nobody was mapped")
	}
}
