package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"

	"github.com/sidewire/sidewire/gateway/config"
)

// writeJSON writes v for people and programs alike.
func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		http.Error(w, "writing JSON: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}

// resourceKinds are the fields of a dump that hold resources. Those of a control plane stand in a list of their own, as in
// Envoy's dump. Every other list of the dump is of resources that travel as extension configs; the rest is the process's own.
var resourceKinds = []resourceKind{
	{"listeners", "static_listeners", "dynamic_listeners", "ListenersConfigDump", "listener"},
	{"clusters", "static_clusters", "dynamic_active_clusters", "ClustersConfigDump", "cluster"},
}

type resourceKind struct{ field, static, dynamic, kind, one string }

// dumped is a dump in the making.
type dumped struct {
	all     map[string]any
	wanted  string         // ?resource=; empty: everything
	name    *regexp.Regexp // ?name_regex=; nil: every name
	configs []any
	known   []string
}

// configDump is Envoy's outer shape around sidewire's own resources: configs by kind, each with the version that is active.
func (s *Server) configDump(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	mask, err := parseMask(q.Get("mask"))
	if err != nil {
		http.Error(w, "reading mask: "+err.Error(), http.StatusBadRequest)
		return
	}
	d := &dumped{all: map[string]any{}, wanted: q.Get("resource")}
	if pattern := q.Get("name_regex"); pattern != "" {
		if d.name, err = regexp.Compile(pattern); err != nil {
			http.Error(w, "reading name_regex: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	if snap := s.options.Source.Snapshot(); snap != nil {
		d.all = snap.Dump()
	}
	d.resources()
	if q.Has("include_eds") || d.wanted == "static_endpoint_configs" {
		d.configs = append(d.configs, s.endpointsDump(d.name))
	}
	if d.wanted != "" && len(d.configs) == 0 {
		http.Error(w, fmt.Sprintf("no resource %q; there are %v", d.wanted, d.known), http.StatusNotFound)
		return
	}
	if d.wanted == "" && d.name == nil {
		d.all["@type"] = "type.googleapis.com/sidewire.admin.v1.ProcessConfigDump"
		d.configs = append([]any{d.all}, d.configs...)
	}
	if mask != nil {
		if d.configs, err = mask.configs(d.configs, d.wanted); err != nil {
			http.Error(w, "writing JSON: "+err.Error(), http.StatusInternalServerError)
			return
		}
	}
	out := map[string]any{"configs": d.configs}
	if s.options.Rejected != nil {
		if r := s.options.Rejected(); r != nil {
			out["rejected"] = r
		}
	}
	if control := s.options.Source.Views()["xds"]; control != nil { // what was refused, what waits and what is not acted on
		out["control_plane"] = control()
	}
	writeJSON(w, out)
}

// resources moves every list of resources into a config of its kind.
func (d *dumped) resources() {
	for _, k := range resourceKinds {
		d.add(k)
	}
	for _, field := range slices.Sorted(maps.Keys(d.all)) {
		if _, isList := d.all[field].([]any); isList {
			d.add(resourceKind{field, field, "dynamic_" + field, "EcdsConfigDump", "ecds_filter"})
		}
	}
}

func (d *dumped) add(k resourceKind) {
	d.known = append(d.known, k.static, k.dynamic)
	list, _ := d.all[k.field].([]any)
	delete(d.all, k.field)
	if d.wanted != "" && d.wanted != k.static && d.wanted != k.dynamic && d.wanted != k.field {
		return
	}
	static, dynamic := []any{}, []any{}
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok || (d.name != nil && !d.name.MatchString(fmt.Sprint(m["name"]))) {
			continue
		}
		origin, _ := m["origin"].(config.Origin)
		switch one := map[string]any{"version_info": m["version"], k.one: m}; {
		case origin.Source != "xds":
			static = append(static, one)
		case k.field == "listeners":
			one["version_info"] = origin.Version
			dynamic = append(dynamic, map[string]any{"name": m["name"], "active_state": one})
		default:
			one["version_info"] = origin.Version
			dynamic = append(dynamic, one)
		}
	}
	out := map[string]any{"@type": "type.googleapis.com/envoy.admin.v3." + k.kind}
	if d.wanted != k.dynamic {
		out[k.static] = static
	}
	if (d.wanted != k.static || k.static == k.field) && (len(dynamic) > 0 || d.wanted == k.dynamic) {
		out[k.dynamic] = dynamic
	}
	d.configs = append(d.configs, out)
}

func (s *Server) endpointsDump(name *regexp.Regexp) map[string]any {
	out := []any{}
	for _, c := range s.options.Source.Clusters() {
		if name == nil || name.MatchString(c.Name()) {
			out = append(out, map[string]any{"endpoint_config": clusterStatus(c)})
		}
	}
	return map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump", "static_endpoint_configs": out}
}

func (s *Server) views(w http.ResponseWriter, _ *http.Request) {
	names := slices.Sorted(maps.Keys(s.options.Source.Views()))
	if names == nil {
		names = []string{}
	}
	writeJSON(w, map[string]any{"views": names})
}

func (s *Server) actions(w http.ResponseWriter, _ *http.Request) {
	names := slices.Sorted(maps.Keys(s.options.Source.Actions()))
	if names == nil {
		names = []string{}
	}
	writeJSON(w, map[string]any{"actions": names})
}

// action has something done and answers with what became of it. A refusal is 409: what was asked for does not fit how
// things stand.
func (s *Server) action(w http.ResponseWriter, req *http.Request) {
	f := s.options.Source.Actions()[req.PathValue("name")]
	if f == nil {
		http.Error(w, fmt.Sprintf("no action %q; /actions lists them", req.PathValue("name")), http.StatusNotFound)
		return
	}
	said, err := f(req.Context(), req.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	writeJSON(w, said)
}

func (s *Server) view(w http.ResponseWriter, req *http.Request) {
	f := s.options.Source.Views()[req.PathValue("name")]
	if f == nil {
		http.Error(w, fmt.Sprintf("no view %q; /views lists them", req.PathValue("name")), http.StatusNotFound)
		return
	}
	writeJSON(w, f())
}
