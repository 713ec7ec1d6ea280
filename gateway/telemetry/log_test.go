package telemetry

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLevelsByRoom(t *testing.T) {
	var out bytes.Buffer
	logs, err := NewLogs(&out, "json", slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	mysql, redis := logs.Logger("mysql"), logs.Logger("redis").With("listener", "cache")
	mysql.Debug("unseen")
	if err := logs.SetLevel("redis", slog.LevelDebug); err != nil {
		t.Fatal(err)
	}
	redis.Debug("seen")
	mysql.Debug("unseen")
	if got := out.String(); strings.Contains(got, "unseen") || !strings.Contains(got, `"msg":"seen","room":"redis","listener":"cache"`) {
		t.Errorf("log is %s", got)
	}
	if err := logs.SetLevel("", slog.LevelError); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	redis.Warn("unseen")
	logs.Logger("kafka").Warn("unseen")
	if out.Len() != 0 {
		t.Errorf("log is %s", out.String())
	}
	if err := logs.SetLevel("mysqll", slog.LevelInfo); err == nil {
		t.Error("a room that does not exist has a level")
	}
	if levels := logs.Levels(); len(levels) != 3 || levels["kafka"] != slog.LevelError {
		t.Errorf("levels are %v", levels)
	}
	if _, err := NewLogs(&out, "xml", slog.LevelInfo); err == nil {
		t.Error("a format that does not exist was taken")
	}
}

func TestParseLevel(t *testing.T) {
	for name, want := range map[string]slog.Level{"trace": -8, "debug": -4, "INFO": 0, "warning": 4, "warn": 4, "error": 8, "critical": 12, "off": 1032} {
		if got, err := ParseLevel(name); err != nil || got != want {
			t.Errorf("%s is %v, %v", name, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("loud is a level")
	}
}
