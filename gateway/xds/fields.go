package xds

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// tree is what a message means, as the configuration file would say it.
type tree = map[string]any

// hole stands in a tree for a part of a secret that SDS delivers, or a file does.
type hole struct{ secret, part, file string }

// share stands in a tree for a percentage that runtime layers may change.
type share struct {
	key     string
	percent float64
}

// The parts of a secret.
const (
	partChain = "certificate_chain"
	partKey   = "private_key"
	partCA    = "trusted_ca"
)

// notes collects what a message says and sidewire does not act on. They are shown in /config_dump and counted: nothing is
// dropped in silence.
type notes []string

func (n *notes) add(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(*n, text) {
		*n = append(*n, text)
	}
}

// rest notes the fields of m that are set and not among those that the caller understands.
func (n *notes) rest(what string, m proto.Message, understood ...string) {
	for _, name := range unread(m, understood...) {
		n.add("%s: %s is not acted on", what, name)
	}
}

// unread are the set fields of m, beyond those understood, in the order of the message. Fields that a newer schema added
// count by their numbers.
func unread(m proto.Message, understood ...string) []string {
	var out []string
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.Has(f) && !slices.Contains(understood, string(f.Name())) {
			out = append(out, string(f.Name()))
		}
	}
	if len(r.GetUnknown()) > 0 {
		out = append(out, "a field unknown to this version")
	}
	return out
}

// refuse is an error when m sets anything beyond what is understood: for messages in which every field matters.
func refuse(what string, m proto.Message, understood ...string) error {
	if extra := unread(m, understood...); len(extra) > 0 {
		return fmt.Errorf("%s: %s is not supported", what, strings.Join(extra, ", "))
	}
	return nil
}

func durationText(d *durationpb.Duration) (string, error) {
	if err := d.CheckValid(); err != nil {
		return "", err
	}
	v := d.AsDuration()
	if v < 0 {
		return "", fmt.Errorf("%v is negative", v)
	}
	return v.String(), nil
}

// put sets a duration where the message has one.
func putDuration(into tree, key string, d *durationpb.Duration) error {
	if d == nil {
		return nil
	}
	text, err := durationText(d)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	into[key] = text
	return nil
}

// addressOf is an Envoy address in the file's form.
func addressOf(a *corev3.Address) (string, error) {
	switch {
	case a.GetPipe() != nil:
		return "unix:" + a.GetPipe().Path, nil
	case a.GetSocketAddress() != nil:
		s := a.GetSocketAddress()
		if s.Protocol != corev3.SocketAddress_TCP {
			return "", fmt.Errorf("address: protocol %v is not supported", s.Protocol)
		}
		if _, ok := s.PortSpecifier.(*corev3.SocketAddress_PortValue); !ok {
			return "", fmt.Errorf("address: port_value is missing; named ports are not supported")
		}
		host := s.Address
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return host + ":" + strconv.FormatUint(uint64(s.GetPortValue()), 10), nil
	}
	return "", fmt.Errorf("address: neither socket_address nor pipe")
}

// secretOf is a DataSource in the form that the file has for secrets.
func secretOf(what string, d *corev3.DataSource) (any, error) {
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_Filename:
		return tree{"file": s.Filename}, nil
	case *corev3.DataSource_InlineString:
		return s.InlineString, nil
	case *corev3.DataSource_InlineBytes:
		return string(s.InlineBytes), nil
	case *corev3.DataSource_EnvironmentVariable:
		return tree{"env": s.EnvironmentVariable}, nil
	}
	return nil, fmt.Errorf("%s: is empty", what)
}

// pemOf is a DataSource of certificates: the path of a file, or the text itself.
func pemOf(what string, d *corev3.DataSource) (string, error) {
	v, err := secretOf(what, d)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case tree:
		if file, ok := v["file"].(string); ok {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: environment variables are supported for keys and passwords only", what)
}

// fromStruct turns a protobuf Struct into a tree. Its numbers are doubles; whole ones come back as integers.
func fromStruct(s *structpb.Struct) tree {
	out := make(tree, len(s.GetFields()))
	for k, v := range s.GetFields() {
		out[k] = fromValue(v)
	}
	return out
}

func fromValue(v *structpb.Value) any {
	switch v := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		if n := v.NumberValue; n == math.Trunc(n) && math.Abs(n) < 1<<53 {
			return int64(n)
		}
		return v.NumberValue
	case *structpb.Value_StringValue:
		return v.StringValue
	case *structpb.Value_BoolValue:
		return v.BoolValue
	case *structpb.Value_StructValue:
		return fromStruct(v.StructValue)
	case *structpb.Value_ListValue:
		out := make([]any, len(v.ListValue.GetValues()))
		for i, e := range v.ListValue.GetValues() {
			out[i] = fromValue(e)
		}
		return out
	}
	return nil
}

// merge lays over onto base: mappings are joined, everything else is replaced.
func merge(base, over tree) tree {
	for k, v := range over {
		if m, ok := v.(tree); ok {
			if b, ok := base[k].(tree); ok {
				base[k] = merge(b, m)
				continue
			}
		}
		base[k] = v
	}
	return base
}

// walk calls f for every value inside v; what f returns takes its place, but for what is YAML still, which f only sees.
func walk(v any, f func(any) any) any {
	switch v := v.(type) {
	case tree:
		for k, e := range v {
			v[k] = walk(e, f)
		}
	case []any:
		for i, e := range v {
			v[i] = walk(e, f)
		}
	case *yaml.Node:
		for _, e := range v.Content {
			walk(e, f)
		}
	}
	return f(v)
}

// needs is what a tree is filled with before it is decoded.
type needs struct {
	secrets []string          // asked for by SDS
	files   map[string]string // secrets that files have, by name
	runtime bool              // percentages
}

func (n needs) any() bool { return len(n.secrets) > 0 || len(n.files) > 0 || n.runtime }

// needsOf finds the secrets that trees name, by holes and by {secret: NAME}, and percentages.
func needsOf(trees ...tree) needs {
	var n needs
	for _, t := range trees {
		walk(t, func(e any) any {
			switch e := e.(type) {
			case hole:
				if e.file == "" {
					n.secrets = append(n.secrets, e.secret)
					break
				}
				if n.files == nil {
					n.files = make(map[string]string)
				}
				n.files[e.secret] = e.file
			case share:
				n.runtime = true
			default:
				if name := genericName(e); name != "" {
					n.secrets = append(n.secrets, name)
				}
			}
			return e
		})
	}
	slices.Sort(n.secrets)
	n.secrets = slices.Compact(n.secrets)
	return n
}

// genericName is NAME of {secret: NAME}, plain or as YAML; empty when v is something else.
func genericName(v any) string {
	switch v := v.(type) {
	case tree:
		if name, ok := v["secret"].(string); ok && len(v) == 1 {
			return name
		}
	case *yaml.Node:
		if v.Kind == yaml.MappingNode && len(v.Content) == 2 && v.Content[0].Value == "secret" && v.Content[1].Kind == yaml.ScalarNode {
			return v.Content[1].Value
		}
	}
	return ""
}

// typeName is a type URL without its host.
func typeName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// enumName is an enum's value as configurations write it.
func enumName(e protoreflect.Enum) string {
	d := e.Descriptor().Values().ByNumber(e.Number())
	if d == nil {
		return strconv.Itoa(int(e.Number()))
	}
	return string(d.Name())
}
