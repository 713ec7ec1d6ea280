package tcp

import "testing"

func TestShares(t *testing.T) {
	b := &Target{Clusters: []Share{{"a", 1}, {"none", 0}, {"b", 3}}}
	got := map[string]int{}
	for i := range uint64(400) {
		got[b.choose(i)]++
	}
	if got["a"] != 100 || got["b"] != 300 || len(got) != 2 {
		t.Errorf("%v", got)
	}
	if c := (&Target{Cluster: "only"}).choose(7); c != "only" {
		t.Error(c)
	}
}
