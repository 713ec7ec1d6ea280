package kafka

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func subscription(version int16, prefix string) []byte {
	s := kmsg.NewConsumerMemberMetadata()
	s.Version, s.UserData, s.Generation, s.Rack = version, []byte("orders, as the assignor knows it"), 7, kmsg.StringPtr("r1")
	for _, name := range []string{"orders", "payments"} {
		s.Topics = append(s.Topics, prefix+name)
		o := kmsg.NewConsumerMemberMetadataOwnedPartition()
		o.Topic, o.Partitions = prefix+name, []int32{1, 2}
		s.OwnedPartitions = append(s.OwnedPartitions, o)
	}
	return s.AppendTo(nil)
}

func assignment(version int16, prefix string) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	a.Version, a.UserData = version, []byte("user data")
	at := kmsg.NewConsumerMemberAssignmentTopic()
	at.Topic, at.Partitions = prefix+"orders", []int32{0, 3}
	a.Topics = append(a.Topics, at)
	return a.AppendTo(nil)
}

// Trap 14: the names inside a consumer's opaque bytes are mapped in every version of the format and at every place; another
// protocol's bytes, and what does not read as a consumer's, stay as they are.
func TestNamesInsideMemberBytes(t *testing.T) {
	for v := range int16(memberFormat + 1) {
		join := kmsg.NewPtrJoinGroupRequest()
		join.Group, join.ProtocolType = "g", "consumer"
		join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription(v, "")}}
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: assignment(v, "")}}
		for _, r := range []kmsg.Request{join, sync} {
			if ok, err := MapRequest(r, prefixed{}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		joined, synced, described := kmsg.NewPtrJoinGroupResponse(), kmsg.NewPtrSyncGroupResponse(), kmsg.NewPtrDescribeGroupsResponse()
		joined.Members = []kmsg.JoinGroupResponseMember{{ProtocolMetadata: join.Protocols[0].Metadata}}
		synced.MemberAssignment = sync.GroupAssignment[0].MemberAssignment
		described.Groups = []kmsg.DescribeGroupsResponseGroup{{Group: tenantPrefix + "g", ProtocolType: "consumer", Members: []kmsg.DescribeGroupsResponseGroupMember{
			{ProtocolMetadata: joined.Members[0].ProtocolMetadata, MemberAssignment: synced.MemberAssignment}}}}
		if got, want := joined.Members[0].ProtocolMetadata, subscription(v, tenantPrefix); !bytes.Equal(got, want) {
			t.Errorf("v%d subscription:\n got %q\nwant %q", v, got, want)
		}
		if got, want := synced.MemberAssignment, assignment(v, tenantPrefix); !bytes.Equal(got, want) {
			t.Errorf("v%d assignment:\n got %q\nwant %q", v, got, want)
		}
		for _, r := range []kmsg.Response{joined, synced, described} {
			if err := MapResponse(r, stripped{}); err != nil {
				t.Fatal(err)
			}
		}
		for place, got := range map[string][]byte{"JoinGroup": joined.Members[0].ProtocolMetadata, "DescribeGroups": described.Groups[0].Members[0].ProtocolMetadata} {
			if !bytes.Equal(got, subscription(v, "")) {
				t.Errorf("v%d back in %s: %q", v, place, got)
			}
		}
		for place, got := range map[string][]byte{"SyncGroup": synced.MemberAssignment, "DescribeGroups": described.Groups[0].Members[0].MemberAssignment} {
			if !bytes.Equal(got, assignment(v, "")) {
				t.Errorf("v%d back in %s: %q", v, place, got)
			}
		}
	}
	m := &mapper{Names: stripped{}}
	foreign := subscription(3, "tenant-b.")
	m.subscription("consumer", &foreign)
	if bytes.Contains(foreign, []byte("tenant-b")) {
		t.Errorf("a foreign name is left: %q", foreign)
	}
	m = &mapper{Names: prefixed{}}
	for _, b := range [][]byte{nil, {}, []byte("bytes"), []byte(`{"host":"registry"}`), subscription(3, "")[:30], {0, 9, 0, 0, 0, 0, 0, 0, 0, 0}, {0, 0, 0x7f, 0xff, 0xff, 0xff}} {
		same := append([]byte(nil), b...)
		m.subscription("consumer", &same)
		m.assignment("consumer", &same)
		if !bytes.Equal(same, b) {
			t.Errorf("%q became %q", b, same)
		}
	}
	connect := subscription(1, "")
	if m.subscription("connect", &connect); !reflect.DeepEqual(connect, subscription(1, "")) {
		t.Error("another protocol's bytes were changed")
	}
}

func FuzzMemberBytes(f *testing.F) {
	for v := range int16(memberFormat + 1) {
		f.Add(subscription(v, ""))
		f.Add(assignment(v, ""))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		up, down := &mapper{Names: prefixed{}}, &mapper{Names: stripped{}}
		for _, one := range []func(*mapper, string, *[]byte){(*mapper).subscription, (*mapper).assignment} {
			mapped := append([]byte(nil), b...)
			one(up, "consumer", &mapped)
			if bytes.Equal(mapped, b) {
				continue
			}
			one(down, "consumer", &mapped)
			again := append([]byte(nil), mapped...)
			one(up, "consumer", &again)
			one(down, "consumer", &again)
			if !bytes.Equal(again, mapped) {
				t.Fatalf("%q there and back is %q", mapped, again)
			}
		}
	})
}
