package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
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

// The fields of a dump that hold resources, by the name ?resource= gives them. Everything else is the process's own.
var resourceKinds = []struct{ field, resource, kind, one string }{
	{"listeners", "static_listeners", "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "listener"},
	{"clusters", "static_clusters", "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "cluster"},
}

// configDump is Envoy's outer shape around sidewire's own resources: configs by kind, each with the version that is active.
func (s *Server) configDump(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	if q.Has("mask") {
		http.Error(w, "mask is not supported; use resource and name_regex", http.StatusBadRequest)
		return
	}
	var name *regexp.Regexp
	if pattern := q.Get("name_regex"); pattern != "" {
		var err error
		if name, err = regexp.Compile(pattern); err != nil {
			http.Error(w, "reading name_regex: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	dump := map[string]any{}
	if snap := s.options.Source.Snapshot(); snap != nil {
		dump = snap.Dump()
	}
	configs, known := []any{}, []string{}
	wanted := q.Get("resource")
	add := func(field, resource, kind, one string) {
		known = append(known, resource)
		list, _ := dump[field].([]any)
		delete(dump, field)
		if wanted != "" && wanted != resource && wanted != field {
			return
		}
		out := []any{}
		for _, item := range list {
			if m, ok := item.(map[string]any); ok && (name == nil || name.MatchString(fmt.Sprint(m["name"]))) {
				out = append(out, map[string]any{"version_info": m["version"], one: m})
			}
		}
		configs = append(configs, map[string]any{"@type": kind, resource: out})
	}
	for _, k := range resourceKinds {
		add(k.field, k.resource, k.kind, k.one)
	}
	for _, field := range slices.Sorted(maps.Keys(dump)) {
		if _, isList := dump[field].([]any); isList {
			add(field, field, "type.googleapis.com/envoy.admin.v3.EcdsConfigDump", "ecds_filter")
		}
	}
	if q.Has("include_eds") || wanted == "static_endpoint_configs" {
		configs = append(configs, s.endpointsDump(name))
	}
	if wanted != "" && wanted != "static_endpoint_configs" && len(configs) == 0 {
		http.Error(w, fmt.Sprintf("no resource %q; there are %v", wanted, known), http.StatusNotFound)
		return
	}
	if wanted == "" && name == nil {
		dump["@type"] = "type.googleapis.com/sidewire.admin.v1.ProcessConfigDump"
		configs = append([]any{dump}, configs...)
	}
	out := map[string]any{"configs": configs}
	if s.options.Rejected != nil {
		if r := s.options.Rejected(); r != nil {
			out["rejected"] = r
		}
	}
	writeJSON(w, out)
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

func (s *Server) view(w http.ResponseWriter, req *http.Request) {
	f := s.options.Source.Views()[req.PathValue("name")]
	if f == nil {
		http.Error(w, fmt.Sprintf("no view %q; /views lists them", req.PathValue("name")), http.StatusNotFound)
		return
	}
	writeJSON(w, f())
}
