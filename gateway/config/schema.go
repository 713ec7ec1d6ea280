package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Schemer is implemented by types with a shape of their own, to say it as JSON Schema.
type Schemer interface{ JSONSchema() map[string]any }

// Schema is the JSON Schema (draft 2020-12) of the configuration file, made from the same types that decode it, so that an
// editor knows every field that the binary knows.
func (l Language) Schema() ([]byte, error) {
	s := schemas{defs: map[string]any{}}
	root := s.structure(reflect.TypeOf(Model{}), &Model{})
	properties := root["properties"].(map[string]any)
	properties["secrets"] = map[string]any{
		"type": "object", "additionalProperties": s.of(reflect.TypeOf(Secret{}), nil, ""),
		"description": "Secrets by name, for {secret: NAME} elsewhere.",
	}
	properties["listeners"] = list(s.block(l, &Listener{}, Protocol.ListenerBlock), "Addresses that applications connect to.")
	cluster := &Cluster{}
	cluster.SetDefaults()
	properties["clusters"] = list(s.block(l, cluster, Protocol.ClusterBlock), "Sets of servers.")
	for _, k := range l.Kinds {
		item := map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}}
		if x, ok := k.(Schemer); ok {
			item = x.JSONSchema()
		}
		properties[k.Name()] = list(item, "")
	}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "sidewire configuration"
	root["$defs"] = s.defs
	return json.MarshalIndent(root, "", "  ")
}

func list(item map[string]any, description string) map[string]any {
	out := map[string]any{"type": []string{"array", "null"}, "items": item}
	if description != "" {
		out["description"] = description
	}
	return out
}

// schemas collects the definitions of types that occur more than once.
type schemas struct{ defs map[string]any }

// block is a listener or cluster: its own fields, and exactly one named like a protocol.
func (s *schemas) block(l Language, of any, fresh func(Protocol) any) map[string]any {
	out := s.structure(reflect.TypeOf(of).Elem(), of)
	properties := out["properties"].(map[string]any)
	var one []any
	for _, p := range l.Protocols {
		block := fresh(p)
		if block == nil {
			continue
		}
		properties[p.Name()] = s.structure(reflect.TypeOf(block).Elem(), block)
		one = append(one, map[string]any{"required": []string{p.Name()}})
	}
	out["oneOf"] = one
	return out
}

// structure is a struct's schema; defaults is a pointer to one with its defaults, or nil.
func (s *schemas) structure(t reflect.Type, defaults any) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range Fields(t) {
		var value any
		if defaults != nil {
			value = plainDefault(reflect.ValueOf(defaults).Elem().FieldByIndex(f.Index))
		}
		p := s.of(f.Type, value, f.Tag)
		if doc := f.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		properties[f.Name] = p
		if f.Tag.Get("required") == "true" {
			required = append(required, f.Name)
		}
	}
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func (s *schemas) of(t reflect.Type, value any, tag reflect.StructTag) map[string]any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	out := s.shape(t)
	if enum := tag.Get("enum"); enum != "" {
		out["enum"] = strings.Split(enum, "|")
	}
	for tagged, key := range map[string]string{"min": "minimum", "max": "maximum"} {
		if n, err := strconv.ParseFloat(tag.Get(tagged), 64); err == nil {
			out[key] = n
		}
	}
	if value != nil {
		out["default"] = value
	}
	return out
}

func (s *schemas) shape(t reflect.Type) map[string]any {
	v := reflect.New(t).Interface()
	if x, ok := v.(Schemer); ok {
		return x.JSONSchema()
	}
	if _, ok := v.(NodeDecoder); ok {
		return map[string]any{} // a shape of its own that does not say what it is: anything
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": []string{"string", "number", "boolean"}} // YAML reads 8.0 and on as other things
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": []string{"array", "null"}, "items": s.of(t.Elem(), nil, "")}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": s.of(t.Elem(), nil, "")}
	case reflect.Struct:
		return s.reference(t)
	}
	return map[string]any{"type": "integer"}
}

// reference defines a struct's type once and refers to it.
func (s *schemas) reference(t reflect.Type) map[string]any {
	if t.Name() == "" {
		return s.structure(t, nil)
	}
	name := t.Name()
	if room := t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:]; room != "config" {
		name = room + "." + name
	}
	if _, ok := s.defs[name]; !ok {
		s.defs[name] = map[string]any{} // against types that contain themselves
		var defaults any
		if d, ok := reflect.New(t).Interface().(Defaulter); ok {
			d.SetDefaults()
			defaults = d
		}
		s.defs[name] = s.structure(t, defaults)
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

// plainDefault is a field's default as the file would write it; nil for zero values and for what has no short form.
func plainDefault(v reflect.Value) any {
	if v.IsZero() {
		return nil
	}
	if x, ok := v.Interface().(fmt.Stringer); ok {
		return x.String()
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint16, reflect.Uint32, reflect.Float64:
		return v.Interface()
	}
	return nil
}

// JSONSchema says what a duration looks like.
func (Duration) JSONSchema() map[string]any {
	return map[string]any{"anyOf": []any{map[string]any{"const": 0}, map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`}}}
}

// JSONSchema says what a size looks like.
func (Bytes) JSONSchema() map[string]any {
	return map[string]any{"type": []string{"string", "integer"}, "pattern": `^[0-9]+ *([kKmMgG]?i?[bB])?$`}
}

// JSONSchema says what a secret looks like.
func (Secret) JSONSchema() map[string]any {
	named := func(key string) map[string]any {
		return map[string]any{"type": "object", "properties": map[string]any{key: map[string]any{"type": "string"}}, "required": []string{key}, "additionalProperties": false}
	}
	plain := map[string]any{"type": []string{"string", "number", "boolean", "null"}}
	return map[string]any{"anyOf": []any{plain, named("env"), named("file"), named("secret")}}
}

// JSONSchema says what a network looks like.
func (Network) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "examples": []string{"10.0.0.0/8", "::1"}}
}

// JSONSchema says what permissions look like.
func (FileMode) JSONSchema() map[string]any {
	return map[string]any{"type": []string{"string", "integer"}, "examples": []string{"0660"}}
}

// JSONSchema says that an endpoint is an address alone or a mapping.
func (Endpoint) JSONSchema() map[string]any {
	type plain Endpoint
	s := schemas{defs: map[string]any{}}
	return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, s.structure(reflect.TypeOf(plain{}), nil)}}
}
