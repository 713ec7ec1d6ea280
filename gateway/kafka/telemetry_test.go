package kafka

import (
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

func TestConventionalNames(t *testing.T) {
	for name, want := range map[string]string{"ApiVersions": "api_versions", "Fetch": "fetch", "DescribeACLs": "describe_acls", "OffsetForLeaderEpoch": "offset_for_leader_epoch"} {
		if got := snake(name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	r := telemetry.NewRegistry()
	m := newMetrics(r, "events")
	m.request(1, 100)
	m.response(1, 200, time.Millisecond)
	stats := map[string]int64{}
	for _, s := range r.Stats() {
		stats[s.Name] = s.Value
	}
	if stats["kafka.events.request.fetch_request"] != 1 || stats["kafka.events.response.fetch_response"] != 1 {
		t.Errorf("%v", stats)
	}
	r.ShowDevelopment(true)
	seen := false
	for _, f := range r.Read() {
		seen = seen || f.Name == "messaging_client_operation_duration_seconds" && f.Samples[0].Reading.Count == 1
	}
	if !seen {
		t.Error("no messaging duration")
	}
	if d := m.digests(); len(d) != 1 || d[0].Text != "Fetch" || d[0].Count != 1 || d[0].Listener != "events" {
		t.Errorf("%+v", d)
	}
}
