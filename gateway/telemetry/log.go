package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
)

// Logs makes the loggers of the rooms, each with a level that can be changed while the process runs.
type Logs struct {
	handler slog.Handler

	mu     sync.Mutex
	base   slog.Level
	levels map[string]*slog.LevelVar
}

// NewLogs writes to w, as "json" or "text" (logfmt), from level on.
func NewLogs(w io.Writer, format string, level slog.Level) (*Logs, error) {
	options := &slog.HandlerOptions{Level: slog.Level(-1 << 10)} // the rooms' own levels decide
	l := &Logs{base: level, levels: make(map[string]*slog.LevelVar)}
	switch format {
	case "json":
		l.handler = slog.NewJSONHandler(w, options)
	case "text", "":
		l.handler = slog.NewTextHandler(w, options)
	default:
		return nil, fmt.Errorf("log format %q is neither json nor text", format)
	}
	return l, nil
}

// Logger returns the logger of a room; its lines carry the room's name.
func (l *Logs) Logger(room string) *slog.Logger {
	return slog.New(&leveled{l.handler, l.level(room)}).With("room", room)
}

func (l *Logs) level(room string) *slog.LevelVar {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.levels[room]
	if v == nil {
		v = new(slog.LevelVar)
		v.Set(l.base)
		l.levels[room] = v
	}
	return v
}

// Levels returns the level of every room that has a logger.
func (l *Logs) Levels() map[string]slog.Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]slog.Level, len(l.levels))
	for room, v := range l.levels {
		all[room] = v.Level()
	}
	return all
}

// SetLevel changes the level of one room, or with an empty name of all, the coming ones too.
func (l *Logs) SetLevel(room string, level slog.Level) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room == "" {
		l.base = level
		for v := range maps.Values(l.levels) {
			v.Set(level)
		}
		return nil
	}
	v := l.levels[room]
	if v == nil {
		return fmt.Errorf("no logger named %q", room)
	}
	v.Set(level)
	return nil
}

// ParseLevel reads a level by slog's names or Envoy's (trace, warning, critical, off).
func ParseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "trace":
		return slog.LevelDebug - 4, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warning", "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	case "critical":
		return slog.LevelError + 4, nil
	case "off":
		return slog.LevelError + 1<<10, nil
	}
	return 0, fmt.Errorf("log level %q is none of trace, debug, info, warning, error, critical, off", name)
}

// leveled is a handler with a level of its own.
type leveled struct {
	slog.Handler
	level *slog.LevelVar
}

func (h *leveled) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

func (h *leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &leveled{h.Handler.WithAttrs(attrs), h.level}
}

func (h *leveled) WithGroup(name string) slog.Handler {
	return &leveled{h.Handler.WithGroup(name), h.level}
}
