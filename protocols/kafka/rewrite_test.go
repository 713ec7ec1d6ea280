package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a message: lists get two elements, strings named Host and the values of address settings get
// an upstream address, numbers 7.
func fill(v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && f.Name != "Version" && f.Name != "UnknownTags" {
				fill(v.Field(i), f.Name)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("bytes"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.String:
		v.SetString(name)
		if name == "Host" {
			v.SetString(upstream)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
		if v.Kind() == reflect.Int32 && v.Type().Name() == "int32" {
			v.SetInt(7)
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(7)
	}
}

// clientEndpoints are messages whose hosts are not brokers': those of Kafka Streams applications (88, 89) and of the
// clients that ACLs allow (29 to 31).
func clientEndpoints(key int16) bool { return key == 88 || key == 89 || key >= 29 && key <= 31 }

// Every response of every version that a client may get is filled with an upstream address wherever its schema has
// room for one, passed through what the proxy does with it, and searched.
func TestNoHostFieldIsForgotten(t *testing.T) {
	brokers := fixedBrokers{"127.0.0.1", 0}
	carriers := 0
	for key := range int16(Keys) {
		api, _ := Lookup(key)
		if api.BrokerOnly || clientEndpoints(key) {
			continue
		}
		for v := range api.Max + 1 {
			resp := kmsg.ResponseForKey(key)
			fill(reflect.ValueOf(resp).Elem(), "")
			resp.SetVersion(v)
			body := resp.AppendTo(nil)
			leaks := bytes.Contains(body, []byte(upstream))
			if leaks {
				carriers++
			}
			if !Rewritten(key, v) && !Walked(key, v) {
				if leaks {
					t.Errorf("%s v%d carries an address and is passed on as it is", api.Name, v)
				}
				continue
			}
			out, err := RewriteResponse(nil, key, v, body, brokers)
			if err != nil {
				t.Errorf("%s v%d: %v", api.Name, v, err)
				continue
			}
			if bytes.Contains(out, []byte(upstream)) {
				t.Errorf("%s v%d: upstream address left", api.Name, v)
			}
			if leaks && key != DescribeQuorum && !bytes.Contains(out, []byte("127.0.0.1")) && key != DescribeCluster {
				t.Errorf("%s v%d: nothing in its place", api.Name, v)
			}
			back := kmsg.ResponseForKey(key)
			back.SetVersion(v)
			if err := back.ReadFrom(out); err != nil {
				t.Errorf("%s v%d: reading back: %v", api.Name, v, err)
			}
		}
	}
	if carriers < 40 {
		t.Fatalf("only %d messages carried an address: the test fills nothing", carriers)
	}
}

func TestVirtualNodeIDs(t *testing.T) {
	brokers := fixedBrokers{"localhost", 1000}
	m := kmsg.NewPtrMetadataResponse()
	m.Version, m.ControllerID = 9, 3
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = 3, upstream, 9092
	m.Brokers = append(m.Brokers, b)
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic = kmsg.StringPtr("t")
	p := kmsg.NewMetadataResponseTopicPartition()
	p.Leader, p.Replicas, p.ISR, p.OfflineReplicas = -1, []int32{3, 4}, []int32{3}, []int32{4}
	topic.Partitions = append(topic.Partitions, p)
	m.Topics = append(m.Topics, topic)
	out, err := RewriteResponse(nil, Metadata, 9, m.AppendTo(nil), brokers)
	if err != nil {
		t.Fatal(err)
	}
	got := kmsg.NewPtrMetadataResponse()
	got.Version = 9
	if err := got.ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	gp := got.Topics[0].Partitions[0]
	if got.ControllerID != 1003 || got.Brokers[0].NodeID != 1003 || got.Brokers[0].Port != 20003 || gp.Leader != -1 ||
		!reflect.DeepEqual(gp.Replicas, []int32{1003, 1004}) || gp.ISR[0] != 1003 || gp.OfflineReplicas[0] != 1004 {
		t.Errorf("got %+v", got)
	}
}

func TestCoordinatorOutOfReachIsRetriable(t *testing.T) {
	for v := range int16(7) {
		r := kmsg.NewPtrFindCoordinatorResponse()
		r.Version, r.NodeID, r.Host, r.Port = v, 5, upstream, 9092
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Host, c.Port = "g", 5, upstream, 9092
		r.Coordinators = append(r.Coordinators, c, kmsg.FindCoordinatorResponseCoordinator{Key: "none", NodeID: -1, Port: -1, ErrorCode: 15})
		out, err := RewriteResponse(nil, FindCoordinator, v, r.AppendTo(nil), fixedBrokers{})
		if err != nil {
			t.Fatal(err)
		}
		got := kmsg.NewPtrFindCoordinatorResponse()
		got.Version = v
		if err := got.ReadFrom(out); err != nil {
			t.Fatal(err)
		}
		if v < 4 && (got.NodeID != -1 || got.Host != "" || got.ErrorCode != ErrCodeCoordinatorUnavailable) {
			t.Errorf("v%d: %+v", v, got)
		}
		if v >= 4 && (got.Coordinators[0].NodeID != -1 || got.Coordinators[0].ErrorCode != ErrCodeCoordinatorUnavailable || got.Coordinators[1].ErrorCode != 15) {
			t.Errorf("v%d: %+v", v, got.Coordinators)
		}
	}
}

func TestBrokerSettingsHideAddresses(t *testing.T) {
	r := kmsg.NewPtrDescribeConfigsResponse()
	r.Version = 4
	for _, typ := range []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeTopic} {
		res := kmsg.NewDescribeConfigsResponseResource()
		res.ResourceType = typ
		for _, name := range []string{"advertised.listeners", "num.io.threads"} {
			c := kmsg.NewDescribeConfigsResponseResourceConfig()
			c.Name, c.Value = name, kmsg.StringPtr("PLAINTEXT://"+upstream+":9092")
			s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			s.Name, s.Value = name, c.Value
			c.ConfigSynonyms = append(c.ConfigSynonyms, s)
			res.Configs = append(res.Configs, c)
		}
		r.Resources = append(r.Resources, res)
	}
	out, err := RewriteResponse(nil, DescribeConfigs, 4, r.AppendTo(nil), fixedBrokers{"x", 0})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(out), upstream); got != 6 {
		t.Errorf("%d values left, want the 6 of the other setting and the topic", got)
	}
}

// Trap 5 and KAFKA-18659: intersection keeps minima, drops what is unknown or between brokers only, and leaves the features.
func TestApiVersionsIntersection(t *testing.T) {
	for v := range int16(5) {
		r := kmsg.NewPtrApiVersionsResponse()
		r.Version = v
		for _, k := range [][3]int16{{Produce, 0, 99}, {Fetch, 4, 11}, {Metadata, 0, 200}, {4, 0, 7}, {10000, 0, 1}, {62, 0, 4}, {ApiVersions, 0, 9}} {
			a := kmsg.NewApiVersionsResponseApiKey()
			a.ApiKey, a.MinVersion, a.MaxVersion = k[0], k[1], k[2]
			r.ApiKeys = append(r.ApiKeys, a)
		}
		f := kmsg.NewApiVersionsResponseSupportedFeature()
		f.Name, f.MaxVersion = "metadata.version", 25
		r.SupportedFeatures = append(r.SupportedFeatures, f)
		out, err := IntersectApiVersions(nil, v, r.AppendTo(nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := kmsg.NewPtrApiVersionsResponse()
		got.Version = v
		if err := got.ReadFrom(out); err != nil {
			t.Fatal(err)
		}
		want := [][3]int16{{Produce, 0, 13}, {Fetch, 4, 11}, {Metadata, 0, 13}, {ApiVersions, 0, 5}}
		if len(got.ApiKeys) != len(want) {
			t.Fatalf("v%d: %+v", v, got.ApiKeys)
		}
		for i, k := range got.ApiKeys {
			if [3]int16{k.ApiKey, k.MinVersion, k.MaxVersion} != want[i] {
				t.Errorf("v%d: %+v, want %v", v, k, want[i])
			}
		}
		if v >= 3 && len(got.SupportedFeatures) != 1 {
			t.Errorf("v%d: features lost", v)
		}
	}
}

// Trap 5: a broker's refusal of a too new ApiVersions is in the format of version 0, whatever was asked.
func TestApiVersionsRefusalIsVersionZero(t *testing.T) {
	r := kmsg.NewPtrApiVersionsResponse()
	r.ErrorCode = ErrCodeUnsupportedVersion
	a := kmsg.NewApiVersionsResponseApiKey()
	a.ApiKey, a.MaxVersion = ApiVersions, 3
	r.ApiKeys = append(r.ApiKeys, a)
	body := r.AppendTo(nil)
	out, err := IntersectApiVersions(nil, 4, body, nil)
	if err != nil || !bytes.Equal(out, body) {
		t.Errorf("got %x (%v), want %x", out, err, body)
	}
	if _, err := IntersectApiVersions(nil, 4, []byte{0}, nil); !errors.Is(err, ErrShort) {
		t.Errorf("one byte: %v", err)
	}
	frame := AppendUnsupportedApiVersions(nil, 42, 5)
	if corr, n, err := ParseResponseHeader(frame, ApiVersions, 99); err != nil || corr != 42 || int(binary.BigEndian.Uint32(frame)) != len(frame)-4 {
		t.Errorf("frame %x: %d %d %v", frame, corr, n, err)
	}
}

func FuzzRewriteResponse(f *testing.F) {
	for _, key := range []int16{Metadata, FindCoordinator, DescribeCluster, ShareAcknowledge, DescribeConfigs, DescribeQuorum, ApiVersions} {
		api, _ := Lookup(key)
		for _, v := range []int16{0, api.Max} {
			resp := kmsg.ResponseForKey(key)
			fill(reflect.ValueOf(resp).Elem(), "")
			resp.SetVersion(v)
			f.Add(uint8(key), uint8(v), resp.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version uint8, body []byte) {
		k, v := int16(key), int16(version)
		if !Known(k, v) || !Rewritten(k, v) {
			return
		}
		out, err := RewriteResponse(nil, k, v, body, fixedBrokers{"127.0.0.1", 0})
		if err != nil {
			return
		}
		if _, err := RewriteResponse(nil, k, v, out, fixedBrokers{"127.0.0.1", 0}); err != nil {
			t.Fatalf("%s v%d: rewriting what was rewritten: %v", Name(k), v, err)
		}
		if k == ApiVersions {
			_, _ = IntersectApiVersions(nil, v, body, nil)
		}
	})
}
