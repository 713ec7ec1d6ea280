package kafka

import (
	"regexp"
	"testing"
)

// Trap 15: a client's regular expression stays inside its prefix, anchors, alternatives and all.
func TestPatternsStayInsideThePrefix(t *testing.T) {
	v := &Virtual{Prefix: "a."}
	for _, c := range []struct {
		re      string
		matches []string
		not     []string
	}{
		{"ord.*", []string{"a.orders"}, []string{"orders", "b.orders", "aXorders", "b.a.orders"}},
		{"^ord.*$", []string{"a.orders"}, []string{"orders", "b.orders"}},
		{"^x$|^y.*", []string{"a.x", "a.yes"}, []string{"x", "yes", "b.x", "b.yes"}},
		{"x|b\\.orders", []string{"a.x", "a.b.orders"}, []string{"b.orders"}},
		{"(^o|p)rders", []string{"a.orders", "a.prders"}, []string{"a.xorders"}},
		{".*", []string{"a.", "a.anything"}, []string{"b.anything", "a"}},
		{".*(?:(?:^ord.*$)).*", []string{"a.orders", "a.ord"}, []string{"orders", "b.orders", "a.xorders"}}, // as franz-go sends it
		{"(?:x?^y|z).*", []string{"a.y", "a.zz"}, []string{"a.xy", "a.x"}},
		{"a^b", nil, []string{"a.ab", "a.a^b"}},
	} {
		re := regexp.MustCompile("^(?:" + v.pattern(c.re) + ")$") // as brokers match
		for _, name := range c.matches {
			if !re.MatchString(name) {
				t.Errorf("%s as %s does not match %s", c.re, v.pattern(c.re), name)
			}
		}
		for _, name := range c.not {
			if re.MatchString(name) {
				t.Errorf("%s as %s matches %s", c.re, v.pattern(c.re), name)
			}
		}
	}
	for _, re := range []string{"(", "x)|(.*", "x)|(?:.*", "[", "a)(?:"} { // brokers refuse what does not parse
		if got := v.pattern(re); regexpParses(got) {
			t.Errorf("%s, which does not parse, becomes %s", re, got)
		}
	}
}

func regexpParses(re string) bool {
	_, err := regexp.Compile(re)
	return err == nil
}

func TestRulesDecideInOrder(t *testing.T) {
	b := &ListenerBlock{Rules: []Rule{
		{Action: "deny", APIs: []string{"deletetopics"}},
		{Action: "allow", Users: []string{"admin*"}, Topics: []string{"*"}},
		{Action: "deny", APIs: []string{"Produce"}, Topics: []string{"audit.*"}},
		{Action: "deny", Groups: []string{"g?", "team/*"}},
		{Action: "deny", TxnIDs: []string{"*"}},
	}}
	for _, c := range []struct {
		user string
		key  int16
		kind kind
		name string
		want bool
	}{
		{"joe", 0, kindTopic, "audit.x", false}, {"joe", 1, kindTopic, "audit.x", true}, {"admin1", 0, kindTopic, "audit.x", true},
		{"joe", 11, kindGroup, "g1", false}, {"joe", 11, kindGroup, "g12", true}, {"joe", 11, kindGroup, "g/", false},
		{"joe", 11, kindGroup, "team/a/b", false}, {"joe", 22, kindTxn, "a/b/0", false}, {"joe", 22, kindTxn, "g1", false},
	} {
		if got := b.allowedName(c.user, c.key, c.kind, c.name); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if b.allowedAPI("admin1", 20) || !b.allowedAPI("joe", 0) {
		t.Error("deciding over APIs as a whole")
	}
}

func TestAliasesAndPrefixes(t *testing.T) {
	v := &Virtual{Prefix: "a.", Aliases: map[string]string{"common": "shared.v2"}}
	for name, real := range map[string]string{"orders": "a.orders", "common": "shared.v2"} {
		if got := v.up(kindTopic, name); got != real {
			t.Errorf("%s is %s", name, got)
		}
		if got, ok := v.down(kindTopic, real); !ok || got != name {
			t.Errorf("%s is seen as %s", real, got)
		}
	}
	for _, real := range []string{"b.orders", "orders", "a.common", "__consumer_offsets"} {
		if got, ok := v.down(kindTopic, real); ok {
			t.Errorf("%s is seen as %s", real, got)
		}
	}
	if got := v.up(kindGroup, "common"); got != "a.common" {
		t.Errorf("a group took a topic's alias: %s", got)
	}
}
