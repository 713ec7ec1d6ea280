package kafka

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
	"github.com/sidewire/sidewire/protocols/kafka"
)

// Rule allows or denies. The first rule that applies to a request and to a name in it decides; where none does, it is allowed.
type Rule struct {
	Action string   `yaml:"action" required:"true" enum:"allow|deny"`
	Users  []string `yaml:"users" doc:"Patterns of users that clients proved to be (authentication: terminate); empty: everybody."`
	APIs   []string `yaml:"apis" doc:"Names of APIs, such as CreateTopics; empty: all."`
	Topics []string `yaml:"topics" doc:"Patterns of topics. A rule without topics, groups and transactional_ids decides over the API as a whole."`
	Groups []string `yaml:"groups" doc:"Patterns of consumer groups."`
	TxnIDs []string `yaml:"transactional_ids" doc:"Patterns of transactional ids."`
}

// Fault answers requests with an error, or late, on purpose.
type Fault struct {
	APIs        []string        `yaml:"apis" doc:"Names of APIs; empty: all."`
	Topics      []string        `yaml:"topics" doc:"Only requests that name one of these topics (patterns)."`
	Code        int             `yaml:"code" min:"-1" max:"200" doc:"Kafka's error code to answer with; 0: none, the request goes on."`
	Delay       config.Duration `yaml:"delay" doc:"Wait so long first."`
	Probability float64         `yaml:"probability" min:"0" max:"1" doc:"How many of the requests are hit." default:"1"`
}

// SetDefaults fills what a file leaves out.
func (f *Fault) SetDefaults() { f.Probability = 1 }

func checkAPIs(names []string, at config.Path) (problems []config.Problem) {
	for i, n := range names {
		if _, ok := apiKey(n); !ok {
			problems = append(problems, at.Index(i).Problem("no API is called %q", n))
		}
	}
	return problems
}

func apiKey(name string) (int16, bool) {
	for key := range int16(kafka.Keys) {
		if strings.EqualFold(kafka.Name(key), name) {
			return key, true
		}
	}
	return 0, false
}

func checkPatterns(patterns []string, at config.Path) (problems []config.Problem) {
	for i, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			problems = append(problems, at.Index(i).Problem("expected a pattern with * and ?, found %q", p))
		}
	}
	return problems
}

// checkKnown wants patterns of users only where users are known.
func (b *ListenerBlock) checkKnown(users []string, at config.Path) (problems []config.Problem) {
	if len(users) > 0 && b.Authentication != authTerminate {
		problems = append(problems, at.Field("users").Problem("users are known with authentication: terminate only"))
	}
	return problems
}

func (b *ListenerBlock) checkPolicy(at config.Path) (problems []config.Problem) {
	for i, r := range b.Rules {
		rule := at.Field("rules").Index(i)
		problems = append(problems, checkAPIs(r.APIs, rule.Field("apis"))...)
		for field, ps := range map[string][]string{"users": r.Users, "topics": r.Topics, "groups": r.Groups, "transactional_ids": r.TxnIDs} {
			problems = append(problems, checkPatterns(ps, rule.Field(field))...)
		}
		problems = append(problems, b.checkKnown(r.Users, rule)...)
	}
	for i, f := range b.Faults {
		fault := at.Field("faults").Index(i)
		problems = append(problems, checkAPIs(f.APIs, fault.Field("apis"))...)
		problems = append(problems, checkPatterns(f.Topics, fault.Field("topics"))...)
		if f.Code == 0 && f.Delay == 0 {
			problems = append(problems, fault.Problem("expected a code, a delay or both"))
		}
	}
	for i, q := range b.Quotas {
		quota := at.Field("quotas").Index(i)
		problems = append(problems, checkPatterns(q.Users, quota.Field("users"))...)
		problems = append(problems, checkPatterns(q.Clients, quota.Field("client_ids"))...)
		if q.Produce == 0 && q.Fetch == 0 {
			problems = append(problems, quota.Problem("expected produce_rate, fetch_rate or both"))
		}
		problems = append(problems, b.checkKnown(q.Users, quota)...)
	}
	if v := b.Virtual; v != nil {
		if v.Prefix == "" {
			problems = append(problems, at.Field("virtual").Field("prefix").Problem("is missing"))
		}
		seen := map[string]string{}
		for name, real := range v.Aliases {
			if other, ok := seen[real]; ok {
				problems = append(problems, at.Field("virtual").Field("aliases").Problem("%q and %q are both %q", min(name, other), max(name, other), real))
			}
			seen[real] = name
			if strings.HasPrefix(real, v.Prefix) {
				problems = append(problems, at.Field("virtual").Field("aliases").Problem("%q is to be seen as %q already", real, real[len(v.Prefix):]))
			}
		}
	}
	return problems
}

// governed says whether requests have to be decoded, because something decides over the names in them.
func (b *ListenerBlock) governed() bool {
	return len(b.Rules) > 0 || b.Virtual != nil || len(b.Faults) > 0 || b.Rack != ""
}

// kind is what a name names.
type kind = kafka.NameKind

const (
	kindTopic = kafka.NameTopic
	kindGroup = kafka.NameGroup
	kindTxn   = kafka.NameTxn
)

// minds says whether something decides over names of a kind.
func (b *ListenerBlock) minds(k kind) bool {
	if b.Virtual != nil {
		return true
	}
	for i := range b.Rules {
		r := &b.Rules[i]
		if len([...][]string{kindTopic: r.Topics, kindGroup: r.Groups, kindTxn: r.TxnIDs}[k]) > 0 {
			return true
		}
	}
	return k == kindTopic && slices.ContainsFunc(b.Faults, func(f Fault) bool { return len(f.Topics) > 0 })
}

// decodesProduce says whether Produce requests have to be held whole, because a single topic in them may be refused with
// an error of its own.
func (b *ListenerBlock) decodesProduce(user string) bool {
	return len(b.Faults) > 0 || !b.allowedAPI(user, kafka.Produce) ||
		slices.ContainsFunc(b.Rules, func(r Rule) bool { return len(r.Topics)+len(r.TxnIDs) > 0 })
}

// matches says whether one of the patterns is a name's. Package path keeps * within one element of a path; groups, transactional
// ids and users may hold slashes, which mean nothing here.
func matches(patterns []string, name string) bool {
	name = strings.ReplaceAll(name, "/", "\x00")
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(strings.ReplaceAll(p, "/", "\x00"), name)
		return ok
	})
}

func (r *Rule) applies(user string, key int16) bool {
	if len(r.Users) > 0 && !matches(r.Users, user) {
		return false
	}
	return len(r.APIs) == 0 || slices.ContainsFunc(r.APIs, func(n string) bool { return strings.EqualFold(n, kafka.Name(key)) })
}

// allowedAPI decides over an API as a whole.
func (b *ListenerBlock) allowedAPI(user string, key int16) bool {
	for i := range b.Rules {
		r := &b.Rules[i]
		if len(r.Topics)+len(r.Groups)+len(r.TxnIDs) == 0 && r.applies(user, key) {
			return r.Action == "allow"
		}
	}
	return true
}

// allowedName decides over one name in a request.
func (b *ListenerBlock) allowedName(user string, key int16, k kind, name string) bool {
	for i := range b.Rules {
		r := &b.Rules[i]
		patterns := [...][]string{kindTopic: r.Topics, kindGroup: r.Groups, kindTxn: r.TxnIDs}[k]
		if matches(patterns, name) && r.applies(user, key) {
			return r.Action == "allow"
		}
	}
	return true
}

// allTopics says that nothing denies a user single topics.
func (b *ListenerBlock) allTopics(user string, key int16) bool {
	return !slices.ContainsFunc(b.Rules, func(r Rule) bool { return r.Action == "deny" && len(r.Topics) > 0 && r.applies(user, key) })
}

// faultFor draws a fault for a request; nil for none.
func (b *ListenerBlock) faultFor(key int16, topics []string, rand uint64) *Fault {
	for i := range b.Faults {
		f := &b.Faults[i]
		if len(f.APIs) > 0 && !slices.ContainsFunc(f.APIs, func(n string) bool { return strings.EqualFold(n, kafka.Name(key)) }) {
			continue
		}
		if len(f.Topics) > 0 && !slices.ContainsFunc(topics, func(t string) bool { return matches(f.Topics, t) }) {
			continue
		}
		if float64(rand>>11)/(1<<53) < f.Probability {
			return f
		}
	}
	return nil
}

func (f *Fault) delay() time.Duration { return f.Delay.Std() }
