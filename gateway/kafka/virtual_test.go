package kafka

import (
	"slices"
	"testing"
)

// Trap 15: whoever pages through a list of topics sees each of its own once and no other, wherever pages end: the prefix may lie
// anywhere among the cluster's names, and aliases before, between and behind.
func TestCursorsMeetEveryOwnTopicOnce(t *testing.T) {
	for _, v := range []*Virtual{
		{Prefix: "m."},
		{Prefix: "m.", Aliases: map[string]string{"early": "a.shared", "late": "z.shared", "x": "n"}},
		{Prefix: "zz.", Aliases: map[string]string{"early": "a.shared", "missing": "b.none"}},
		{Prefix: "none."},
	} {
		all := []string{"__offsets", "a.1", "a.shared", "m", "m-1", "m.", "m.a", "m.early", "m.late", "m.x", "m.x.y", "m.z", "m0", "n", "z.1", "z.shared", "zz.last"}
		slices.Sort(all)
		var want []string
		for _, real := range all {
			if name, ok := v.down(kindTopic, real); ok {
				want = append(want, name)
			}
		}
		for page := 1; page < 5; page++ {
			var got []string
			first, ok := v.next("")
			for rounds := 0; ok; rounds++ {
				if rounds > len(all) {
					t.Fatalf("%v in pages of %d has no end: %v", v, page, got)
				}
				at, _ := slices.BinarySearch(all, v.up(kindTopic, first)) // as brokers begin
				end := min(at+page, len(all))
				for _, real := range all[at:end] {
					if name, own := v.down(kindTopic, real); own {
						got = append(got, name)
					}
				}
				if end == len(all) {
					break
				}
				first, ok = v.next(all[end])
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v in pages of %d: %v, want %v", v, page, got, want)
			}
		}
	}
}

func TestMessagesHaveTheClientsNames(t *testing.T) {
	v := &Virtual{Prefix: "a.", Aliases: map[string]string{"common": "shared.v2"}}
	for text, want := range map[string]string{
		"Topic 'a.orders' already exists.":                          "Topic 'orders' already exists.",
		"Group a.readers not found.":                                "Group readers not found.",
		"the append to a.orders-0 is too large for Kafka. Really":   "the append to orders-0 is too large for Kafka. Really",
		"the append to shared.v2-3 of shared.v2.":                   "the append to common-3 of common.",
		"shared.v20 is not shared.v2-x":                             "shared.v20 is not shared.v2-x",
		"Topic 'a.x_y' collides with existing topics: a_x_y, b.x.y": "Topic 'x_y' collides with an existing topic",
		"Replication factor: 3 larger than available brokers: 1.":   "Replication factor: 3 larger than available brokers: 1.",
	} {
		if got := v.message(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestGroupsPatternsAreShownAsWritten(t *testing.T) {
	v := &Virtual{Prefix: "a."}
	for _, re := range []string{"orders.*", "x|y", ".*"} {
		if got := v.shownPattern(v.pattern(re)); got != re {
			t.Errorf("%s is shown as %s", re, got)
		}
	}
	for _, re := range []string{".*", "^b\\.(?:x)", "^a\\.x"} {
		if got := v.shownPattern(re); got != "" {
			t.Errorf("%s, which is not of here, is shown as %s", re, got)
		}
	}
}

// An alias begins as no other name of the client's does, so that a beginning of it would cover less than it says.
func TestBeginningsOfAliasesAreRefused(t *testing.T) {
	v := &Virtual{Prefix: "a.", Aliases: map[string]string{"common": "shared.v2"}}
	for name, want := range map[string]bool{"": false, "com": false, "common": false, "orders": true} {
		if real, ok := v.beginning(kindTopic, name); ok != want || ok && real != "a."+name {
			t.Errorf("topics that begin with %q: %q, %v", name, real, ok)
		}
	}
	if real, ok := v.beginning(kindGroup, "com"); !ok || real != "a.com" {
		t.Errorf("groups: %q, %v", real, ok)
	}
}
