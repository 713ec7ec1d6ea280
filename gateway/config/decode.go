package config

import (
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// NodeDecoder is implemented by types with a shape of their own, such as a scalar that may also be a mapping.
type NodeDecoder interface {
	DecodeYAML(n *yaml.Node, at Path, env *Env) []Problem
}

// Defaulter is implemented by blocks whose unset fields are not zero. It is called before decoding.
type Defaulter interface{ SetDefaults() }

// maxNodes bounds what aliases can multiply a document to.
const maxNodes = 1 << 20

// Decode fills into, a pointer, from n and returns everything that is wrong, not only the first.
//
// Struct tags: `yaml:"name"` names the field, `required:"true"` demands it, `enum:"a|b"` limits a string,
// `min:"1"` and `max:"9"` bound a number. A field that no tag names is an error at its path.
func Decode(n *yaml.Node, at Path, into any, env *Env) []Problem {
	d := decoder{env: env}
	d.value(n, at, reflect.ValueOf(into).Elem())
	return d.problems
}

// Parse reads exactly one YAML document. A nil node without problems is an empty document.
func Parse(data []byte) (*yaml.Node, []Problem) {
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, []Problem{Path("").Problem("reading YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, []Problem{Path("").Problem("reading YAML: expected one document, found more after ---")}
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

type decoder struct {
	env      *Env
	problems []Problem
	nodes    int
}

func (d *decoder) fail(at Path, format string, args ...any) {
	d.problems = append(d.problems, at.Problem(format, args...))
}

func (d *decoder) value(n *yaml.Node, at Path, v reflect.Value) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fail(at, "the document expands to more than %d values", maxNodes)
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		if n.Tag == "!!null" {
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			setDefaults(v)
		}
		d.value(n, at, v.Elem())
		return
	}
	if custom, ok := v.Addr().Interface().(NodeDecoder); ok {
		d.problems = append(d.problems, custom.DecodeYAML(n, at, d.env)...)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, at, v)
	case reflect.Slice:
		d.list(n, at, v)
	case reflect.Map:
		d.mapping(n, at, v)
	default:
		d.scalar(n, at, v)
	}
}

func (d *decoder) structure(n *yaml.Node, at Path, v reflect.Value) {
	if n.Tag == "!!null" {
		n = &yaml.Node{Kind: yaml.MappingNode}
	}
	if n.Kind != yaml.MappingNode {
		d.fail(at, "expected a mapping, found %s", kindName(n))
		return
	}
	fields := Fields(v.Type())
	seen := map[string]bool{}
	d.pairs(n, at, func(key string, value *yaml.Node) {
		seen[key] = true
		for _, f := range fields {
			if f.Name != key {
				continue
			}
			before := len(d.problems)
			d.value(value, at.Field(key), v.FieldByIndex(f.Index))
			if len(d.problems) == before {
				d.constraints(at.Field(key), v.FieldByIndex(f.Index), f.Tag)
			}
			return
		}
		known := make([]string, len(fields))
		for i, f := range fields {
			known[i] = f.Name
		}
		d.fail(at.Field(key), "unknown field%s", Suggest(key, known))
	})
	for _, f := range fields {
		if f.Tag.Get("required") == "true" && !seen[f.Name] {
			d.fail(at.Field(f.Name), "is missing")
		}
	}
	if t, ok := v.Addr().Interface().(*ServerTLS); ok { // a listener's, or one inside a protocol's block
		t.certPEM = d.pem(at.Field("cert"), t.Cert)
		t.caPEM = d.pem(at.Field("client_ca"), t.ClientCA)
	}
}

// pairs calls each for every key of a mapping and refuses a key that stands twice: YAML readers disagree on which wins.
func (d *decoder) pairs(n *yaml.Node, at Path, each func(key string, value *yaml.Node)) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			d.fail(at, "expected plain keys, found %s as a key", kindName(key))
			continue
		}
		if seen[key.Value] {
			d.fail(at.Field(key.Value), "is there twice (line %d)", key.Line)
			continue
		}
		seen[key.Value] = true
		each(key.Value, n.Content[i+1])
	}
}

func (d *decoder) list(n *yaml.Node, at Path, v reflect.Value) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(at, "expected a list, found %s", kindName(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		setDefaults(out.Index(i).Addr())
		d.value(item, at.Index(i), out.Index(i))
	}
	v.Set(out)
}

func (d *decoder) mapping(n *yaml.Node, at Path, v reflect.Value) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(at, "expected a mapping, found %s", kindName(n))
		return
	}
	out := reflect.MakeMap(v.Type())
	d.pairs(n, at, func(key string, value *yaml.Node) {
		item := reflect.New(v.Type().Elem())
		setDefaults(item)
		d.value(value, at.Field(key), item.Elem())
		out.SetMapIndex(reflect.ValueOf(key), item.Elem())
	})
	v.Set(out)
}

func (d *decoder) scalar(n *yaml.Node, at Path, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fail(at, "expected %s, found %s", wantName(v.Kind()), kindName(n))
		return
	}
	if n.Tag == "!!null" {
		return
	}
	ok := true
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		switch n.Value {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			ok = false
		}
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16:
		x, err := strconv.ParseInt(n.Value, 10, 64)
		if ok = err == nil && !v.OverflowInt(x); ok {
			v.SetInt(x)
		}
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		x, err := strconv.ParseUint(n.Value, 10, 64)
		if ok = err == nil && !v.OverflowUint(x); ok {
			v.SetUint(x)
		}
	case reflect.Float64:
		x, err := strconv.ParseFloat(n.Value, 64)
		if ok = err == nil; ok {
			v.SetFloat(x)
		}
	default:
		panic("config: a block has a field of kind " + v.Kind().String() + " at " + string(at))
	}
	if !ok {
		d.fail(at, "expected %s, found %q", wantName(v.Kind()), n.Value)
	}
}

func (d *decoder) constraints(at Path, v reflect.Value, tag reflect.StructTag) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if enum := tag.Get("enum"); enum != "" && v.Kind() == reflect.String {
		known := strings.Split(enum, "|")
		for _, k := range known {
			if k == v.String() {
				return
			}
		}
		d.fail(at, "unknown value %q%s", v.String(), Suggest(v.String(), known))
	}
	for _, bound := range []struct {
		name string
		bad  func(x, limit float64) bool
		text string
	}{
		{"min", func(x, limit float64) bool { return x < limit }, "must be at least"},
		{"max", func(x, limit float64) bool { return x > limit }, "must be at most"},
	} {
		limit, err := strconv.ParseFloat(tag.Get(bound.name), 64)
		if err != nil {
			continue
		}
		var x float64
		switch {
		case v.CanInt():
			x = float64(v.Int())
		case v.CanUint():
			x = float64(v.Uint())
		case v.CanFloat():
			x = v.Float()
		}
		if bound.bad(x, limit) {
			d.fail(at, "%s %s, found %v", bound.text, tag.Get(bound.name), v.Interface())
		}
	}
}

// Field is one named field of a block.
type Field struct {
	Name  string
	Index []int
	Tag   reflect.StructTag
	Type  reflect.Type
}

// Fields are the named fields of a block's type, those of embedded blocks included.
func Fields(t reflect.Type) []Field {
	var out []Field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Tag.Get("yaml") == "" {
			for _, inner := range Fields(f.Type) {
				inner.Index = append([]int{i}, inner.Index...)
				out = append(out, inner)
			}
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		out = append(out, Field{Name: name, Index: f.Index, Tag: f.Tag, Type: f.Type})
	}
	return out
}

func setDefaults(v reflect.Value) {
	for v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.IsNil() {
		return
	}
	if d, ok := v.Interface().(Defaulter); ok {
		d.SetDefaults()
	}
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "nothing"
		}
		return strconv.Quote(n.Value)
	}
	return "nothing"
}

func wantName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}
