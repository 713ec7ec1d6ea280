package kafka

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const tenantPrefix = "tenant-a."

// prefixed maps towards the cluster, stripped back to the client.
type prefixed struct{}

func (prefixed) Topic(s string) (string, bool)                 { return tenantPrefix + s, true }
func (prefixed) TopicID([16]byte) bool                         { return true }
func (prefixed) AllTopics() bool                               { return true }
func (prefixed) TopicPattern(re string) string                 { return tenantPrefix + re }
func (prefixed) TxnPattern(re string) string                   { return tenantPrefix + re }
func (prefixed) Group(s string) (string, bool)                 { return tenantPrefix + s, true }
func (prefixed) Txn(s string) (string, bool)                   { return tenantPrefix + s, true }
func (prefixed) Shared() bool                                  { return false }
func (prefixed) Beginning(_ NameKind, s string) (string, bool) { return tenantPrefix + s, true }
func (prefixed) Cursor(s string) (string, bool)                { return tenantPrefix + s, true }
func (prefixed) Message(s string) string                       { return s }

type stripped struct{ prefixed }

func strip(s string) (string, bool)                            { return strings.CutPrefix(s, tenantPrefix) }
func (stripped) Topic(s string) (string, bool)                 { return strip(s) }
func (stripped) Group(s string) (string, bool)                 { return strip(s) }
func (stripped) Txn(s string) (string, bool)                   { return strip(s) }
func (stripped) Beginning(_ NameKind, s string) (string, bool) { return strip(s) }
func (stripped) Cursor(s string) (string, bool)                { return strip(s) }
func (stripped) TopicPattern(s string) string                  { return "" }
func (stripped) Message(s string) string                       { return strings.ReplaceAll(s, "tenant-b.", "") }

// names collects the strings of a message that stand in fields that hold names.
func names(v reflect.Value, field string, out *[]string) {
	switch v.Kind() {
	case reflect.Struct:
		if name := v.Type().Name(); strings.HasSuffix(name, "TopicInfoConfig") || strings.HasSuffix(name, "ClientTag") {
			return // whose keys name nothing
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" {
				names(v.Field(i), f.Name, out)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			names(v.Index(i), field, out)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			names(v.Elem(), field, out)
		}
	case reflect.String:
		if nameFields[field] {
			*out = append(*out, v.String())
		}
	}
}

var nameFields = map[string]bool{"Topic": true, "TopicNames": true, "Group": true, "Groups": true, "TransactionID": true, "TransactionalID": true,
	"TransactionalIDs": true, "CoordinatorKey": true, "CoordinatorKeys": true, "SubscribedTopicNames": true, "SubscribedTopics": true, "Key": true,
	"SubscribedTopicRegex": true, "TransactionalIDPattern": true, "ResourceName": true, "GroupID": true, "GroupIDs": true, "ErrorMessage": true,
	"SourceTopics": true, "SourceTopicRegex": true, "RepartitionSinkTopics": true, "SinkTopic": true, "StatusDetail": true}

// brokersSpeak are versions that brokers alone speak, and ones whose ACLs have no patterns.
func brokersSpeak(key, version int16) bool {
	return key == AddPartitionsToTxn && version >= 4 || key >= DescribeACLs && key <= DeleteACLs && version == 0
}

// Trap 16: in every message that is let through where names matter, every field that holds a name is mapped. A new version
// of a message with a new such field fails here.
func TestEveryNameIsMapped(t *testing.T) {
	for key := range int16(Keys) {
		if !HasNames(key) {
			req := kmsg.RequestForKey(key)
			if _, err := MapRequest(req, prefixed{}); !errors.Is(err, ErrNoNames) {
				t.Errorf("%s is mapped (%v) but not offered", Name(key), err)
			}
			continue
		}
		api, _ := Lookup(key)
		for v := range api.Max + 1 {
			if brokersSpeak(key, v) {
				continue
			}
			req := kmsg.RequestForKey(key)
			fill(reflect.ValueOf(req).Elem(), "x")
			setConfigTypes(req)
			req.SetVersion(v)
			wired := kmsg.RequestForKey(key) // only what this version has on the wire
			wired.SetVersion(v)
			if err := wired.ReadFrom(req.AppendTo(nil)); err != nil {
				t.Fatalf("%s v%d: %v", api.Name, v, err)
			}
			if r, ok := wired.(*kmsg.FindCoordinatorRequest); ok {
				r.CoordinatorType = 0
			}
			if ok, err := MapRequest(wired, prefixed{}); !ok || err != nil {
				t.Errorf("%s v%d request: %v %v", api.Name, v, ok, err)
				continue
			}
			again := kmsg.RequestForKey(key)
			again.SetVersion(v)
			if err := again.ReadFrom(wired.AppendTo(nil)); err != nil {
				t.Fatalf("%s v%d: %v", api.Name, v, err)
			}
			var got []string
			names(reflect.ValueOf(again), "", &got)
			for _, s := range got {
				if s != "" && !strings.HasPrefix(s, tenantPrefix) {
					t.Errorf("%s v%d request: %q is not mapped", api.Name, v, s)
				}
			}
		}
	}
}

func setConfigTypes(m any) {
	switch r := m.(type) {
	case *kmsg.DescribeConfigsRequest:
		for i := range r.Resources {
			r.Resources[i].ResourceType = kmsg.ConfigResourceTypeTopic
		}
	case *kmsg.AlterConfigsRequest:
		for i := range r.Resources {
			r.Resources[i].ResourceType = kmsg.ConfigResourceTypeTopic
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		for i := range r.Resources {
			r.Resources[i].ResourceType = kmsg.ConfigResourceTypeTopic
		}
	case *kmsg.DescribeACLsRequest:
		r.ResourceType, r.ResourcePatternType = kmsg.ACLResourceTypeTopic, kmsg.ACLResourcePatternTypeLiteral
	case *kmsg.CreateACLsRequest:
		for i := range r.Creations {
			r.Creations[i].ResourceType, r.Creations[i].ResourcePatternType = kmsg.ACLResourceTypeGroup, kmsg.ACLResourcePatternTypePrefixed
		}
	case *kmsg.DeleteACLsRequest:
		for i := range r.Filters {
			r.Filters[i].ResourceType, r.Filters[i].ResourcePatternType = kmsg.ACLResourceTypeTransactionalId, kmsg.ACLResourcePatternTypeAny
		}
	}
}

// Trap 16: what belongs to others is taken out of every response; here every name is another tenant's.
func TestForeignNamesAreTakenOut(t *testing.T) {
	for key := range int16(Keys) {
		if !HasNames(key) {
			continue
		}
		api, _ := Lookup(key)
		for v := range api.Max + 1 {
			if brokersSpeak(key, v) || key == ShareFetch || key == SASLAuthenticate { // whose answers pass as they come
				continue
			}
			resp := kmsg.ResponseForKey(key)
			fillNames(reflect.ValueOf(resp).Elem(), "")
			resp.SetVersion(v)
			body := resp.AppendTo(nil)
			wired := kmsg.ResponseForKey(key)
			wired.SetVersion(v)
			if err := wired.ReadFrom(body); err != nil {
				t.Fatalf("%s v%d: %v", api.Name, v, err)
			}
			if err := MapResponse(wired, stripped{}); err != nil {
				t.Errorf("%s v%d: %v", api.Name, v, err)
				continue
			}
			if out := wired.AppendTo(nil); bytes.Contains(out, []byte("tenant-b")) {
				t.Errorf("%s v%d: a foreign name is left", api.Name, v)
			}
		}
	}
}

// fillNames fills a message and puts another tenant's name wherever a name is.
func fillNames(v reflect.Value, field string) {
	fill(v, field)
	rename(v, field)
}

func rename(v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" && f.Name != "Version" {
				rename(v.Field(i), f.Name)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				rename(v.Index(i), field)
			}
		}
	case reflect.Pointer:
		rename(v.Elem(), field)
	case reflect.String:
		if nameFields[field] {
			v.SetString("tenant-b.orders")
		}
	}
}

// Every request that a client may send can be refused without ending its connection: each response has room for an error code.
func TestRefusalsAreWellFormed(t *testing.T) {
	for key := range int16(Keys) {
		api, _ := Lookup(key)
		if api.BrokerOnly || key == ApiVersions || key == SASLHandshake || key == SASLAuthenticate {
			continue // nothing decides over these
		}
		for v := range api.Max + 1 {
			req := kmsg.RequestForKey(key)
			fill(reflect.ValueOf(req).Elem(), "x")
			req.SetVersion(v)
			resp := Refuse(req, ErrCodeTopicAuthorization)
			if resp == nil {
				t.Errorf("%s v%d cannot be refused", api.Name, v)
				continue
			}
			frame := AppendResponse(nil, 3, resp)
			_, n, err := ParseResponseHeader(frame, key, v)
			if err != nil {
				t.Fatal(err)
			}
			back := kmsg.ResponseForKey(key)
			back.SetVersion(v)
			if err := back.ReadFrom(frame[n:]); err != nil {
				t.Errorf("%s v%d: %v", api.Name, v, err)
			}
			if !bytes.Contains(frame[n:], []byte{0, byte(ErrCodeTopicAuthorization)}) {
				t.Errorf("%s v%d: no error code in %x", api.Name, v, frame[n:])
			}
		}
	}
}

func FuzzMapRequest(f *testing.F) {
	for key := range int16(Keys) {
		if HasNames(key) {
			req := kmsg.RequestForKey(key)
			fill(reflect.ValueOf(req).Elem(), "x")
			req.SetVersion(req.MaxVersion())
			f.Add(uint8(key), uint8(req.MaxVersion()), req.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version uint8, body []byte) {
		if !Known(int16(key), int16(version)) {
			return
		}
		req := kmsg.RequestForKey(int16(key))
		req.SetVersion(int16(version))
		if DecodeRequest(req, body) != nil {
			return
		}
		if resp := Refuse(req, ErrCodeTopicAuthorization); resp != nil {
			AppendResponse(nil, 1, resp)
		}
		if ok, err := MapRequest(req, prefixed{}); ok && err == nil {
			req.AppendTo(nil)
		}
	})
}
