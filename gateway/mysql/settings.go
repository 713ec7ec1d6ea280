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

// diff is the statement that makes a connection with settings have into one with settings want; empty when they are
// the same. names is the character set the connection was opened with.
func diff(have, want *settings, names string, mariaDB bool) string {
	if have.same(want) {
		return ""
	}
	var sets []string
	charset := false
	for _, x := range have.list {
		if (charsetPart(x.name) || x.name == nameNames) && want.value(x.name) != x.value {
			charset = true
		}
	}
	if charset {
		// The parts depend on each other: begin from the start.
		sets = append(sets, "NAMES "+names)
	}
	for _, x := range have.list {
		if want.value(x.name) != "" || x.name == nameNames || charset && charsetPart(x.name) {
			continue
		}
		if x.name[0] == '@' {
			sets = append(sets, x.name+"=NULL")
		} else {
			sets = append(sets, "SESSION "+nameOn(mariaDB, x.name)+"=DEFAULT")
		}
	}
	var parts []string
	for _, x := range want.list {
		part := charsetPart(x.name)
		if have.value(x.name) == x.value && !(charset && (part || x.name == nameNames)) && !(part && have.value(nameNames) != want.value(nameNames)) {
			continue
		}
		switch {
		case x.name == nameNames:
			sets = append(sets, "NAMES "+x.value)
		case x.name[0] == '@':
			sets = append(sets, x.name+"="+x.value)
		case part:
			parts = append(parts, "SESSION "+nameOn(mariaDB, x.name)+"="+x.value)
		default:
			sets = append(sets, "SESSION "+nameOn(mariaDB, x.name)+"="+x.value)
		}
	}
	if sets = append(sets, parts...); len(sets) == 0 {
		return ""
	}
	return "SET " + strings.Join(sets, ", ")
}
