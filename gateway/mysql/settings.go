package mysql

import (
	"slices"
	"strings"
)

// setting is one thing a session set: a session variable, a user variable (its name begins with @), or the character
// set as SET NAMES sets it, under the name "names". value is SQL text.
type setting struct{ name, value string }

// settings is what a session set, or what was set on a backend connection. It is immutable and shared: equal sessions
// and connections mostly hold the same one.
type settings struct {
	list []setting // sorted by name
	key  string    // list as text: equal keys are equal settings
}

var noSettings = &settings{}

// nameNames is the name under which SET NAMES is kept.
const nameNames = "names"

func (s *settings) same(o *settings) bool { return s == o || s.key == o.key }

// with is s after changes: a value replaces what was set under its name, an empty one takes it back.
func (s *settings) with(changes []setting) *settings {
	next := slices.Clone(s.list)
	for _, c := range changes {
		if c.name == nameNames || c.name == "character_set" {
			// SET NAMES and SET CHARACTER SET overrule what was set of their parts before.
			next = slices.DeleteFunc(next, func(x setting) bool { return charsetPart(x.name) || x.name == nameNames })
		}
		if other := counterpart(c.name); other != "" {
			next = slices.DeleteFunc(next, func(x setting) bool { return x.name == other })
		}
		i, found := slices.BinarySearchFunc(next, c, func(a, b setting) int { return strings.Compare(a.name, b.name) })
		switch {
		case c.value == "" && found:
			next = slices.Delete(next, i, i+1)
		case c.value == "":
		case found:
			next[i] = c
		default:
			next = slices.Insert(next, i, c)
		}
	}
	if len(next) == 0 {
		return noSettings
	}
	var key strings.Builder
	for _, x := range next {
		key.WriteString(x.name)
		key.WriteByte('=')
		key.WriteString(x.value)
		key.WriteByte(0)
	}
	return &settings{list: next, key: key.String()}
}

// counterpart is the variable that a server changes along with another: the connection's collation has a character set.
func counterpart(name string) string {
	switch name {
	case "character_set_connection":
		return "collation_connection"
	case "collation_connection":
		return "character_set_connection"
	}
	return ""
}

// charsetPart reports whether SET NAMES changes a variable too.
func charsetPart(name string) bool {
	switch name {
	case "character_set_client", "character_set_results", "character_set_connection", "collation_connection":
		return true
	}
	return false
}

// value is what was set under a name; empty when nothing was.
func (s *settings) value(name string) string {
	for _, x := range s.list {
		if x.name == name {
			return x.value
		}
	}
	return ""
}

// nameOn is a variable's name on a kind of server: MariaDB before 11.1 has two under their old names alone, and newer ones
// under both.
func nameOn(mariaDB bool, name string) string {
	if mariaDB {
		switch name {
		case "transaction_isolation":
			return "tx_isolation"
		case "transaction_read_only":
			return "tx_read_only"
		}
	}
	return name
}

// text reports whether a setting is a user variable with a text: it has the collation of the connection at the time it was set.
func (x setting) text() bool { return x.name[0] == '@' && x.value != "" && x.value[0] == '\'' }

// ofCharset reports whether a setting is of the character set.
func (x setting) ofCharset() bool { return charsetPart(x.name) || x.name == nameNames }

// moved reports whether user variables that hold text no longer say what they were given, once the changes are made: their
// collation is that of before, and can be carried no more.
func (s *settings) moved(changes []setting, learnt []string) bool {
	charset := slices.ContainsFunc(changes, setting.ofCharset) || slices.ContainsFunc(learnt, charsetPart)
	return charset && (slices.ContainsFunc(s.list, setting.text) || slices.ContainsFunc(changes, setting.text))
}

// diff is the statements that make a connection with settings have into one with settings want; none when they are the same. names is
// the character set the connection was opened with. Text is read, and a user variable gets its collation, under the character set
// that holds when a statement begins: that is changed in a statement of its own.
func diff(have, want *settings, names string, mariaDB bool) []string {
	if have.same(want) {
		return nil
	}
	var charset, sets []string
	again := false // the character set is set from the start, because its parts depend on each other
	anew := false  // it changes
	for _, x := range have.list {
		again = again || x.ofCharset() && want.value(x.name) != x.value
	}
	for _, x := range want.list {
		anew = anew || x.ofCharset() && have.value(x.name) != x.value
	}
	if again {
		charset = append(charset, "NAMES "+names)
	}
	for _, x := range have.list {
		switch {
		case want.value(x.name) != "" || x.name == nameNames || again && charsetPart(x.name):
		case x.name[0] == '@':
			sets = append(sets, x.name+"=NULL")
		default:
			sets = append(sets, "SESSION "+nameOn(mariaDB, x.name)+"=DEFAULT")
		}
	}
	var parts []string
	apart := false
	for _, x := range want.list {
		part := charsetPart(x.name)
		same := have.value(x.name) == x.value
		if x.text() {
			same = same && !again && !anew
		}
		if same && !(again && x.ofCharset()) && !(part && have.value(nameNames) != want.value(nameNames)) {
			continue
		}
		switch {
		case x.name == nameNames:
			charset = append(charset, "NAMES "+x.value)
		case x.name[0] == '@':
			sets = append(sets, x.name+"="+x.value)
			apart = apart || x.text()
		case part:
			parts = append(parts, "SESSION "+nameOn(mariaDB, x.name)+"="+x.value)
		default:
			sets = append(sets, "SESSION "+nameOn(mariaDB, x.name)+"="+x.value)
		}
	}
	charset = append(charset, parts...)
	var statements []string
	if !apart {
		charset, sets = nil, append(charset, sets...)
	}
	for _, list := range [][]string{charset, sets} {
		if len(list) > 0 {
			statements = append(statements, "SET "+strings.Join(list, ", "))
		}
	}
	return statements
}
