package kafka

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// Virtual makes a listener show a part of the cluster as if it were a cluster of its own.
type Virtual struct {
	Prefix  string            `yaml:"prefix" doc:"Put before every topic, group and transactional id that clients name; what does not begin with it is not to be seen."`
	Aliases map[string]string `yaml:"aliases" doc:"Topics by the name that clients use and the name they have in the cluster, beside the prefix."`
}

// up is what the cluster calls a topic, group or transactional id that a client names; down is the reverse.
func (v *Virtual) up(k kind, name string) string {
	if v == nil || name == "" && k != kindGroup { // no topic is called nothing, and the broker says so
		return name
	}
	if real, ok := v.Aliases[name]; ok && k == kindTopic {
		return real
	}
	return v.Prefix + name
}

func (v *Virtual) down(k kind, real string) (string, bool) {
	if v == nil {
		return real, true
	}
	if k == kindTopic {
		for name, r := range v.Aliases {
			if r == real {
				return name, true
			}
		}
	}
	if real == "" {
		return "", k != kindGroup
	}
	name, ok := strings.CutPrefix(real, v.Prefix)
	if name == "" { // of the prefix alone
		return "", false
	}
	if _, shadowed := v.Aliases[name]; shadowed && k == kindTopic {
		return "", false // the alias has the name
	}
	return name, ok
}

// pattern keeps a client's regular expression inside the prefix. Brokers match a name as a whole, so ^ holds where a name
// begins; behind the prefix it never would. What does not parse must not inside the prefix either: x)|(.* would leave it.
func (v *Virtual) pattern(re string) string {
	if v == nil {
		return re
	}
	parsed, err := syntax.Parse(re, syntax.Perl)
	if err != nil {
		re = "(" // for the broker to refuse
	} else if asserts(parsed) {
		re = atBegin(parsed).String()
	}
	return "^" + regexp.QuoteMeta(v.Prefix) + "(?:" + re + ")"
}

// shownPattern is what a client wrote, of a regular expression as the cluster has it; empty when it is no client's of here.
func (v *Virtual) shownPattern(re string) string {
	if v == nil {
		return re
	}
	re, begins := strings.CutPrefix(re, "^"+regexp.QuoteMeta(v.Prefix)+"(?:")
	re, ends := strings.CutSuffix(re, ")")
	if !begins || !ends {
		return ""
	}
	return re
}

// beginning maps what several names begin with to the cluster. An alias begins as nothing else of the client's does in the cluster, so
// that a beginning of it cannot be mapped.
func (v *Virtual) beginning(k kind, name string) (string, bool) {
	if v == nil {
		return name, true
	}
	if k == kindTopic {
		for alias := range v.Aliases {
			if strings.HasPrefix(alias, name) {
				return "", false
			}
		}
	}
	return v.Prefix + name, true
}

// lowest is what comes before all other characters of topic names.
const lowest = "-"

// next is the first topic of the client's own that there may be from a place in the cluster's sorted list on, as the client calls it.
// It is not always one that exists: it only tells a place.
func (v *Virtual) next(real string) (shown string, ok bool) {
	if v == nil {
		return real, true
	}
	var at string
	if name, own := strings.CutPrefix(real, v.Prefix); own || real < v.Prefix {
		shown, ok = name, true
		if !own || name == "" {
			shown = lowest
		} else if _, shadowed := v.Aliases[name]; shadowed {
			shown = name + lowest
		}
		at = v.Prefix + shown
	}
	for alias, target := range v.Aliases {
		if target >= real && (!ok || target < at) {
			shown, at, ok = alias, target, true
		}
	}
	return shown, ok
}

// words are what may be names in an error's text.
var words = regexp.MustCompile(`[a-zA-Z0-9._-]+`)

// afterName is a partition, or a sentence's end.
var afterName = regexp.MustCompile(`^(-[0-9]+)?\.?$`)

// message is an error's text with the client's names in it.
func (v *Virtual) message(text string) string {
	if v == nil {
		return text
	}
	// Topics whose names differ in . and _ alone collide, and then the text names another's.
	if at := strings.Index(text, "collides with existing"); at >= 0 {
		text = text[:at] + "collides with an existing topic"
	}
	return words.ReplaceAllStringFunc(text, func(word string) string {
		for alias, real := range v.Aliases {
			if rest, ok := strings.CutPrefix(word, real); ok && afterName.MatchString(rest) {
				return alias + rest
			}
		}
		return strings.TrimPrefix(word, v.Prefix)
	})
}

// mentioned says whether a name as the cluster has it may be in there.
func (v *Virtual) mentioned(body []byte) bool {
	if v == nil {
		return false
	}
	if bytes.Contains(body, []byte(v.Prefix)) {
		return true
	}
	for _, real := range v.Aliases {
		if bytes.Contains(body, []byte(real)) {
			return true
		}
	}
	return false
}

// atBegin is re without assertions of the text's begin, as it matches where the text begins.
func atBegin(re *syntax.Regexp) *syntax.Regexp {
	if !asserts(re) {
		return re
	}
	switch re.Op {
	case syntax.OpBeginText, syntax.OpBeginLine:
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	case syntax.OpAlternate, syntax.OpCapture, syntax.OpQuest:
		out := *re
		out.Sub = make([]*syntax.Regexp, len(re.Sub))
		for i, sub := range re.Sub {
			out.Sub[i] = atBegin(sub)
		}
		return &out
	case syntax.OpConcat:
		rest := &syntax.Regexp{Op: syntax.OpConcat, Flags: re.Flags, Sub: re.Sub[1:]}
		if len(re.Sub) == 1 {
			return atBegin(re.Sub[0])
		}
		whole := &syntax.Regexp{Op: syntax.OpConcat, Flags: re.Flags, Sub: []*syntax.Regexp{atBegin(re.Sub[0]), later(rest)}}
		if !asserts(rest) || !nullable(re.Sub[0]) {
			return whole
		}
		// What stands before may match nothing, and then the rest is at the begin: .*^x is x, not .*x.
		return &syntax.Regexp{Op: syntax.OpAlternate, Flags: re.Flags, Sub: []*syntax.Regexp{whole, atBegin(rest)}}
	}
	return later(re)
}

// later is re where the text's begin has gone by: what asserts it never matches.
func later(re *syntax.Regexp) *syntax.Regexp {
	if re.Op == syntax.OpBeginText || re.Op == syntax.OpBeginLine {
		return &syntax.Regexp{Op: syntax.OpNoMatch}
	}
	out := *re
	out.Sub = make([]*syntax.Regexp, len(re.Sub))
	for i, sub := range re.Sub {
		out.Sub[i] = later(sub)
	}
	return &out
}

func asserts(re *syntax.Regexp) bool {
	return re.Op == syntax.OpBeginText || re.Op == syntax.OpBeginLine || slices.ContainsFunc(re.Sub, asserts)
}

func nullable(re *syntax.Regexp) bool {
	compiled, err := regexp.Compile("^(?:" + re.String() + ")$")
	return err == nil && compiled.MatchString("")
}
