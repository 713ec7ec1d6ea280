package admin

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// logging shows the loggers; with parameters, which need POST, it changes them. A request changes everything it names or,
// when any of it is wrong, nothing.
func (s *Server) logging(w http.ResponseWriter, req *http.Request) {
	logs := s.options.Source.Logs()
	changes, err := levelChanges(req, logs.Levels())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if len(changes) > 0 && req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "changing levels needs POST", http.StatusMethodNotAllowed)
		return
	}
	for _, room := range slices.Sorted(maps.Keys(changes)) { // the empty name, all, comes first
		if err := logs.SetLevel(room, changes[room]); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	levels := logs.Levels()
	fmt.Fprintln(w, "active loggers:")
	for _, room := range slices.Sorted(maps.Keys(levels)) {
		fmt.Fprintf(w, "  %s: %s\n", room, levelName(levels[room]))
	}
}

// levelChanges reads ?level=LEVEL, ?paths=NAME:LEVEL,NAME:LEVEL and ?NAME=LEVEL.
func levelChanges(req *http.Request, rooms map[string]slog.Level) (map[string]slog.Level, error) {
	changes := make(map[string]slog.Level)
	set := func(room, name string) error {
		level, err := telemetry.ParseLevel(name)
		if err != nil {
			return err
		}
		if _, known := rooms[room]; !known && room != "" {
			return fmt.Errorf("no logger named %q", room)
		}
		changes[room] = level
		return nil
	}
	for key, values := range req.URL.Query() {
		for _, value := range values {
			var err error
			switch key {
			case "level":
				err = set("", value)
			case "paths":
				for _, one := range strings.Split(value, ",") {
					room, level, ok := strings.Cut(one, ":")
					if !ok {
						return nil, fmt.Errorf("%q is not NAME:LEVEL", one)
					}
					if err = set(room, level); err != nil {
						return nil, err
					}
				}
			default:
				err = set(key, value)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return changes, nil
}

func levelName(l slog.Level) string {
	for _, name := range []string{"trace", "debug", "info", "warning", "error", "critical", "off"} {
		if level, err := telemetry.ParseLevel(name); err == nil && level == l {
			return name
		}
	}
	return strings.ToLower(l.String())
}
