package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// fieldMask is google.protobuf.FieldMask: fields by name, each with those inside it that stay; none inside means all of it.
type fieldMask map[string]fieldMask

// parseMask reads paths such as dynamic_listeners.name,static_clusters; nil when there is none.
func parseMask(text string) (fieldMask, error) {
	if text == "" {
		return nil, nil
	}
	mask := fieldMask{}
	for _, path := range strings.Split(text, ",") {
		at := mask
		parts := strings.Split(path, ".")
		if slices.Contains(parts, "") {
			return nil, fmt.Errorf("%q is not a path of fields", path)
		}
		for i, part := range parts {
			inner, seen := at[part]
			if seen && len(inner) == 0 {
				break // all of it stays already
			}
			if i == len(parts)-1 {
				at[part] = fieldMask{}
				break
			}
			if !seen {
				inner = fieldMask{}
				at[part] = inner
			}
			at = inner
		}
	}
	return mask, nil
}

// keep is v with the fields of the mask alone. A list is masked element by element, as Envoy does.
func (m fieldMask) keep(v any) any {
	if len(m) == 0 {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, inner := range m {
			if x, ok := v[name]; ok {
				out[name] = inner.keep(x)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = m.keep(v[i])
		}
		return out
	}
	return v
}

// configs masks each config of a dump, or, where one list was asked for, each resource of it. The type of a config stays.
func (m fieldMask) configs(all []any, wanted string) ([]any, error) {
	b, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	var plain []any
	if err := json.Unmarshal(b, &plain); err != nil {
		return nil, err
	}
	for i, c := range plain {
		config, ok := c.(map[string]any)
		if !ok {
			return nil, errors.New("a config is no object")
		}
		kept := map[string]any{}
		if wanted == "" {
			kept, _ = m.keep(config).(map[string]any)
		} else {
			for field, list := range config {
				kept[field] = m.keep(list)
			}
		}
		kept["@type"] = config["@type"]
		plain[i] = kept
	}
	return plain, nil
}

// initDump is envoy.admin.v3.UnreadyTargetsDumps: what the first whole configuration still waits for.
func (s *Server) initDump(w http.ResponseWriter, _ *http.Request) {
	dumps := []any{}
	if view := s.options.Source.Views()["xds"]; view != nil {
		b, err := json.Marshal(view())
		if err != nil {
			http.Error(w, "writing JSON: "+err.Error(), http.StatusInternalServerError)
			return
		}
		var plane struct {
			Resources []struct {
				Type, Name string
				Status     string `json:"client_status"`
			}
			Waiting map[string]string
		}
		if err := json.Unmarshal(b, &plane); err != nil {
			http.Error(w, "reading view: "+err.Error(), http.StatusInternalServerError)
			return
		}
		requested, waiting := []string{}, []string{}
		for _, r := range plane.Resources {
			if r.Status == "REQUESTED" {
				requested = append(requested, r.Type+" "+r.Name)
			}
		}
		for what, why := range plane.Waiting {
			waiting = append(waiting, what+": "+why)
		}
		slices.Sort(requested)
		slices.Sort(waiting)
		for name, targets := range map[string][]string{"requested": requested, "waiting": waiting} {
			if len(targets) > 0 {
				dumps = append(dumps, map[string]any{"name": name, "target_names": targets})
			}
		}
		slices.SortFunc(dumps, func(a, b any) int {
			return strings.Compare(fmt.Sprint(a.(map[string]any)["name"]), fmt.Sprint(b.(map[string]any)["name"]))
		})
	}
	writeJSON(w, map[string]any{"unready_targets_dumps": dumps})
}
