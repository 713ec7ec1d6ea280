package xds

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

var (
	protoMessage = regexp.MustCompile(`(?s)message (\w+) \{(.*?)\n\}`)
	protoField   = regexp.MustCompile(`(?m)^  ([\w.]+) (\w+) = (\d+);`)
)

// descriptor makes the messages that sidewire.proto says, as protoc would.
func descriptor(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	text, err := os.ReadFile("sidewire.proto")
	if err != nil {
		t.Fatal(err)
	}
	f := &descriptorpb.FileDescriptorProto{Name: proto.String("sidewire.proto"), Package: proto.String("sidewire.config.v1"), Syntax: proto.String("proto3"), Dependency: []string{"google/protobuf/struct.proto"}}
	for _, m := range protoMessage.FindAllStringSubmatch(string(text), -1) {
		d := &descriptorpb.DescriptorProto{Name: proto.String(m[1])}
		for _, x := range protoField.FindAllStringSubmatch(m[2], -1) {
			var number int32
			fmt.Sscan(x[3], &number)
			one := &descriptorpb.FieldDescriptorProto{Name: proto.String(x[2]), Number: &number, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
			switch x[1] {
			case "string":
				one.Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
			default:
				one.Type, one.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String("."+x[1])
			}
			d.Field = append(d.Field, one)
		}
		f.MessageType = append(f.MessageType, d)
	}
	out, err := protodesc.NewFile(f, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What a control plane writes with code generated from sidewire.proto is what is read here, and the other way round.
func TestOwnMessages(t *testing.T) {
	f := descriptor(t)
	var names []string
	for i := range f.Messages().Len() {
		names = append(names, string(f.Messages().Get(i).FullName()))
	}
	if want := []string{ownListener, ownCluster, ownDatabase}; !slices.Equal(names, want) {
		t.Fatalf("sidewire.proto has %v, the reader %v", names, want)
	}
	value, err := structpb.NewStruct(map[string]any{"limits": map[string]any{"connections": 7}, "name": "of value"})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		m := dynamicpb.NewMessage(f.Messages().Get(i))
		fields := m.Descriptor().Fields()
		if fields.Len() != 2 {
			t.Fatalf("%s has %d fields", name, fields.Len())
		}
		m.Set(fields.ByName("yaml"), protoreflect.ValueOfString("name: of yaml\ntcp: {cluster: c}"))
		m.Set(fields.ByName("value"), protoreflect.ValueOfMessage(value.ProtoReflect()))
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		_, _, n := protowire.ConsumeField(body) // encoders may write the fields in any order
		for _, body := range [][]byte{body, slices.Concat(body[n:], body[:n])} {
			kind, got, err := openOwn(&anypb.Any{TypeUrl: prefix + name, Value: body})
			want := tree{"name": "of value", "tcp": tree{"cluster": "c"}, "limits": tree{"connections": int64(7)}}
			if err != nil || kind != name || !reflect.DeepEqual(got, want) {
				t.Errorf("%s is read as %s %v, %v", name, kind, got, err)
			}
		}
		written, err := own(name, map[string]any{"name": "w"})
		if err != nil {
			t.Fatal(err)
		}
		if written.TypeUrl == prefix+name { // else a TypedStruct
			back := dynamicpb.NewMessage(f.Messages().Get(i))
			if err := proto.Unmarshal(written.Value, back); err != nil || len(back.GetUnknown()) > 0 {
				t.Errorf("what is written is not %s: %v", name, err)
			}
		}
	}
}
