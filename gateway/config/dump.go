package config

import (
	"encoding"
	"fmt"
	"reflect"
)

// Dump is the snapshot as plain JSON-able data with every secret redacted: the body of /config_dump.
func (s *Snapshot) Dump() map[string]any {
	listeners := make([]any, len(s.listeners))
	for i, l := range s.listeners {
		listeners[i] = dumpBlock(l, l.Protocol, l.Block, l.Origin, l.Hash)
	}
	var clusters []any
	for _, c := range s.Clusters() {
		clusters = append(clusters, dumpBlock(c, c.Protocol, c.Block, c.Origin, c.Hash))
	}
	out := map[string]any{
		"version": s.Version, "node": dump(reflect.ValueOf(s.Node)), "admin": dump(reflect.ValueOf(s.Admin)), "access_log": dump(reflect.ValueOf(s.AccessLog)),
		"drain": dump(reflect.ValueOf(s.Drain)), "memory": dump(reflect.ValueOf(s.Memory)),
		"telemetry": dump(reflect.ValueOf(s.Telemetry)), "listeners": listeners, "clusters": clusters,
	}
	for _, r := range s.Resources() {
		list, _ := out[r.Kind].([]any)
		out[r.Kind] = append(list, map[string]any{"name": r.Name, "origin": r.Origin, "version": fmt.Sprintf("%016x", r.Hash)})
	}
	return out
}

func dumpBlock(v any, protocol string, block any, origin Origin, hash uint64) any {
	m, _ := dump(reflect.ValueOf(v)).(map[string]any)
	m[protocol] = dump(reflect.ValueOf(block))
	m["origin"] = origin
	m["version"] = fmt.Sprintf("%016x", hash)
	return m
}

// dump walks a block by its yaml tags; a type that can print itself as text does so, which is how secrets stay hidden.
func dump(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return dump(v.Elem())
	}
	if !v.IsValid() {
		return nil
	}
	switch x := v.Interface().(type) {
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		if err != nil {
			return err.Error()
		}
		return string(text)
	case fmt.Stringer:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		out := map[string]any{}
		for _, f := range Fields(v.Type()) {
			field := v.FieldByIndex(f.Index)
			if !field.IsZero() {
				out[f.Name] = dump(field)
			}
		}
		return out
	case reflect.Slice:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = dump(v.Index(i))
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[k.String()] = dump(v.MapIndex(k))
		}
		return out
	}
	return v.Interface()
}
