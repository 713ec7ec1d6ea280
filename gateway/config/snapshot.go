package config

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"reflect"
	"sort"
)

// Snapshot is one immutable, compiled configuration. Everything reachable from it is read-only.
type Snapshot struct {
	Node      Node
	Admin     Admin
	AccessLog AccessLog
	Drain     Drain
	Memory    Memory
	Telemetry Telemetry
	Files     []string

	// Version identifies the content: equal versions mean equal configurations, within one process.
	Version string

	listeners []*Listener
	named     map[string]*Listener // listeners by name
	clusters  map[string]*Cluster
	places    map[string]int // of clusters in the model
	resources map[string]*Resource
}

// Listeners are the listeners in the order of the file.
func (s *Snapshot) Listeners() []*Listener { return s.listeners }

// Listener finds a listener by name; nil when there is none.
func (s *Snapshot) Listener(name string) *Listener { return s.named[name] }

// Cluster finds a cluster by name; nil when there is none.
func (s *Snapshot) Cluster(name string) *Cluster { return s.clusters[name] }

// ClusterPath is where the model has a cluster, for problems that show only when it is applied.
func (s *Snapshot) ClusterPath(name string) Path { return Path("clusters").Index(s.places[name]) }

// Clusters are the clusters, sorted by name.
func (s *Snapshot) Clusters() []*Cluster {
	out := make([]*Cluster, 0, len(s.clusters))
	for _, c := range s.clusters {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Resource finds a resource by kind and name; nil when there is none.
func (s *Snapshot) Resource(kind, name string) *Resource { return s.resources[kind+"/"+name] }

// Resources are all resources, sorted by kind and name.
func (s *Snapshot) Resources() []*Resource {
	keys := make([]string, 0, len(s.resources))
	for k := range s.resources {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]*Resource, len(keys))
	for i, k := range keys {
		out[i] = s.resources[k]
	}
	return out
}

// seed makes hashes this process's own. They are shown as versions and cover secrets: with a known function, whoever sees
// one could try out passwords until it fits.
var seed = maphash.MakeSeed()

func newHash() *maphash.Hash {
	h := new(maphash.Hash)
	h.SetSeed(seed)
	return h
}

func newSnapshot(m *Model, prev *Snapshot) *Snapshot {
	s := &Snapshot{
		Node: m.Node, Admin: m.Admin, AccessLog: m.AccessLog, Drain: m.Drain, Memory: m.Memory, Telemetry: m.Telemetry, Files: m.Files,
		named: map[string]*Listener{}, clusters: map[string]*Cluster{}, places: map[string]int{}, resources: map[string]*Resource{},
	}
	all := newHash()
	writeValue(all, reflect.ValueOf([]any{m.Node, m.Admin, m.AccessLog, m.Drain, m.Memory, m.Telemetry}))
	for i, c := range m.Clusters {
		s.places[c.Name] = i
		c.Hash = contentHash(c)
		if prev != nil {
			if old := prev.Cluster(c.Name); old != nil && old.Hash == c.Hash {
				c = old
			}
		}
		s.clusters[c.Name] = c
		writeText(all, "cluster "+c.Name)
		writeNumber(all, c.Hash)
	}
	for _, r := range m.Resources {
		r.Hash = contentHash(r)
		if prev != nil {
			if old := prev.Resource(r.Kind, r.Name); old != nil && old.Hash == r.Hash {
				r = old
			}
		}
		s.resources[r.Kind+"/"+r.Name] = r
		writeText(all, r.Kind+" "+r.Name)
		writeNumber(all, r.Hash)
	}
	for _, l := range m.Listeners {
		l.Hash = contentHash(l)
		if prev != nil {
			if old := prev.Listener(l.Name); old != nil && old.Hash == l.Hash {
				l = old
			}
		}
		s.listeners = append(s.listeners, l)
		s.named[l.Name] = l
		writeText(all, "listener "+l.Name)
		writeNumber(all, l.Hash)
	}
	s.Version = fmt.Sprintf("%016x", all.Sum64())
	return s
}

// contentHash covers everything that an author can write, secrets and the bytes of named files included; origin and
// version do not count, because they change without the content.
func contentHash(v any) uint64 {
	h := newHash()
	switch x := v.(type) {
	case *Resource:
		writeText(h, x.Kind)
		writeText(h, x.Name)
		h.Write(x.Source)
	case *Listener:
		c := *x
		c.Origin, c.Hash = Origin{}, 0
		writeValue(h, reflect.ValueOf(c))
	case *Cluster:
		c := *x
		c.Origin, c.Hash = Origin{}, 0
		writeValue(h, reflect.ValueOf(c))
	}
	return h.Sum64()
}

func writeNumber(h *maphash.Hash, n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

// writeText writes its length first: two texts in a row are no other two.
func writeText(h *maphash.Hash, s string) {
	writeNumber(h, uint64(len(s)))
	h.WriteString(s)
}

// writeValue hashes plain data. Every configuration hashes everything it has, so this is done without fmt.
func writeValue(h *maphash.Hash, v reflect.Value) {
	if v.IsValid() && v.Type() == reflect.TypeFor[*parsedTLS]() {
		return
	}
	h.WriteByte(byte(v.Kind()))
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			h.WriteByte(0)
			return
		}
		h.WriteByte(1)
		writeValue(h, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			writeValue(h, v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		writeNumber(h, uint64(v.Len()))
		for i := range v.Len() {
			writeValue(h, v.Index(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
		writeNumber(h, uint64(len(keys)))
		for _, k := range keys {
			writeText(h, k.String())
			writeValue(h, v.MapIndex(k))
		}
	case reflect.String:
		writeText(h, v.String())
	case reflect.Bool:
		n := uint64(0)
		if v.Bool() {
			n = 1
		}
		writeNumber(h, n)
	case reflect.Float32, reflect.Float64:
		writeNumber(h, math.Float64bits(v.Float()))
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		// Blocks are plain data; what a protocol derived from them does not identify them.
	default:
		if v.CanInt() {
			writeNumber(h, uint64(v.Int()))
		} else if v.CanUint() {
			writeNumber(h, v.Uint())
		} else {
			fmt.Fprintf(h, "%v;", v)
		}
	}
}
