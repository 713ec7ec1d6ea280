package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

type client struct{}

func (client) Detail(e *telemetry.Entry) { e.User = "app" }

func TestDigestsAndSlow(t *testing.T) {
	f := newFixture(t)
	for _, target := range []string{"/digests", "/slow"} {
		if got := f.json(t, target); len(got[target[1:]].([]any)) != 0 {
			t.Errorf("%s of nothing: %v", target, got)
		}
	}
	r := f.told.Recorder("shop", "mysql", func(text string, _ uint8) (string, string) { return "form of " + text, "do" })
	for i := range 3 {
		st := telemetry.Statement{System: "mysql", Start: time.Now(), Duration: time.Duration(i+1) * 150 * time.Millisecond, Digest: uint64(i + 1), Text: fmt.Sprint(i)}
		r.Record(&st, client{})
	}
	digests := f.json(t, "/digests?limit=2")["digests"].([]any)
	if len(digests) != 2 || digests[0].(map[string]any)["text"] != "form of 2" || digests[0].(map[string]any)["count"] != 1.0 {
		t.Errorf("%v", digests)
	}
	slow := f.json(t, "/slow")["slow"].([]any)
	if len(slow) != 2 || slow[0].(map[string]any)["text"] != "form of 2" || slow[0].(map[string]any)["user"] != "app" {
		t.Errorf("%v", slow)
	}
	if code, _ := f.ask(t, "GET", "/slow?limit=x"); code != 400 {
		t.Errorf("a limit of x: %d", code)
	}
}
