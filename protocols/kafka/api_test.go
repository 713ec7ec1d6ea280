package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A newer kmsg may know more keys and versions. They must reach clients only when somebody looked at what they carry
// and raised the table.
func TestTableMatchesKmsg(t *testing.T) {
	if Keys != kmsg.MaxKey+1 {
		t.Fatalf("table has %d keys, kmsg %d", Keys, kmsg.MaxKey+1)
	}
	for key := range int16(Keys) {
		api, _ := Lookup(key)
		req, resp := kmsg.RequestForKey(key), kmsg.ResponseForKey(key)
		if api.Name != kmsg.NameForKey(key) || api.Max != req.MaxVersion() {
			t.Errorf("key %d: table says %s v%d, kmsg %s v%d", key, api.Name, api.Max, kmsg.NameForKey(key), req.MaxVersion())
		}
		for v := range api.Max + 1 {
			req.SetVersion(v)
			resp.SetVersion(v)
			if got := IsFlexible(key, v); got != req.IsFlexible() || got != resp.IsFlexible() {
				t.Errorf("%s v%d: flexible %v, kmsg %v", api.Name, v, got, req.IsFlexible())
			}
		}
	}
}

// Trap 4: the two exceptions to "flexible versions have flexible headers".
func TestHeaderVersionExceptions(t *testing.T) {
	for _, c := range []struct {
		key, version int16
		req, resp    int
	}{
		{ApiVersions, 0, 1, 0}, {ApiVersions, 3, 2, 0}, {ApiVersions, 4, 2, 0}, {ApiVersions, 5, 2, 0},
		{7, 0, 0, 0}, {7, 1, 1, 0}, {7, 3, 2, 1},
		{Produce, 8, 1, 0}, {Produce, 9, 2, 1}, {Fetch, 11, 1, 0}, {Fetch, 12, 2, 1},
		{SASLHandshake, 1, 1, 0}, {47, 0, 1, 0}, {Metadata, 9, 2, 1}, {FindCoordinator, 3, 2, 1}, {1000, 0, 1, 0},
	} {
		if got := RequestHeaderVersion(c.key, c.version); got != c.req {
			t.Errorf("request header of key %d v%d: %d, want %d", c.key, c.version, got, c.req)
		}
		if got := ResponseHeaderVersion(c.key, c.version); got != c.resp {
			t.Errorf("response header of key %d v%d: %d, want %d", c.key, c.version, got, c.resp)
		}
	}
}
