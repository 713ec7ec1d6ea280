package hash

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// testdata/placement.txt is what a running twemproxy answered, written by integration/redis: keys, then pools with distribution, hash function,
// hash tag, the server of each key by its letter, and the servers' names and weights.
func TestPlacementsAreTwemproxys(t *testing.T) {
	text, err := os.ReadFile("testdata/placement.txt")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	pools := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if quoted, ok := strings.CutPrefix(line, "key "); ok {
			key, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
			continue
		}
		f := strings.Fields(line)
		dist, function, want := f[1], f[2], f[4]
		chars, err := strconv.Unquote(f[3])
		if err != nil || len(want) != len(keys) {
			t.Fatalf("%q: %v", line, err)
		}
		tag, err := ParseTag(chars)
		if err != nil {
			t.Fatal(err)
		}
		var servers []Server
		for _, s := range f[5:] {
			name, weight, _ := strings.Cut(s, "*")
			n, err := strconv.Atoi(weight)
			if err != nil {
				t.Fatal(err)
			}
			servers = append(servers, Server{Name: name, Weight: n})
		}
		h, err := Lookup(function)
		if err != nil {
			t.Fatal(err)
		}
		var p Placement
		if dist == "ketama" {
			p, err = NewKetama(servers)
		} else {
			p, err = NewModula(servers)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			at := uint32(0)
			if part := tag.Of([]byte(key)); len(part) > 0 {
				at = h(part)
			}
			if got := byte('a' + p.Place(at)); got != want[i] {
				t.Errorf("%s %s %v: %q is at %c, twemproxy has it at %c", dist, function, servers, key, got, want[i])
			}
		}
		pools[dist+" "+function]++
	}
	if want := 2 * len(Names()); len(pools) != want {
		t.Errorf("vectors for %d combinations, want %d", len(pools), want)
	}
}
