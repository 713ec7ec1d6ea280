package mysql

import (
	"slices"
	"strings"
)

// habits are what a server's answers depend on beside its rows, as its sessions begin: each a value of habitExprs.
type habits []string

// habitNames are the variables by which a session can have habits of its own; habitExprs asks for them. The zone is what
// it makes of an instant in winter and in summer: its name may stand for the server's system's, or be the system's for the
// season in which it was started.
var habitNames = []string{"time_zone", "sql_mode", "div_precision_increment"}

const habitExprs = "CONCAT(UNIX_TIMESTAMP('2026-01-15'), ' ', UNIX_TIMESTAMP('2026-07-15')), @@GLOBAL.sql_mode, @@GLOBAL.div_precision_increment"

// uneven says in which variables servers of one virtual database begin differently, so that they cannot answer as one.
type uneven struct {
	names       []string
	first, then string // data sources that differ
}

func (h habits) differ(o habits, first, then string) *uneven {
	var u *uneven
	for i, name := range habitNames {
		x, y := h[i], o[i]
		if name == "sql_mode" {
			x, y = telling(x), telling(y)
		}
		if x != y {
			if u == nil {
				u = &uneven{first: first, then: then}
			}
			u.names = append(u.names, name)
		}
	}
	return u
}

// even refuses what servers with different habits would answer differently, unless the session has set its own.
func (s *session) even(v *virtual) error {
	u := v.uneven.Load()
	if u == nil {
		return nil
	}
	i := slices.IndexFunc(u.names, func(name string) bool { return s.settings.value(name) == "" })
	if i < 0 {
		return nil
	}
	return fault(codeNotSupported, stateSyntax, "sidewire: the servers of %s and %s begin with different %s, so that they would not answer as one; set it alike on both, or SET it in the session",
		u.first, u.then, u.names[i])
}

// tellingModes are the parts of an sql_mode by which the same statement on the same rows has another answer, and not only
// an error on the one server.
var tellingModes = []string{"PIPES_AS_CONCAT", "ANSI_QUOTES", "HIGH_NOT_PRECEDENCE", "NO_BACKSLASH_ESCAPES", "NO_UNSIGNED_SUBTRACTION",
	"PAD_CHAR_TO_FULL_LENGTH", "REAL_AS_FLOAT", "STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "EMPTY_STRING_IS_NULL", "TIME_ROUND_FRACTIONAL",
	"TIME_TRUNCATE_FRACTIONAL"}

// telling is what of an sql_mode is among tellingModes.
func telling(mode string) string {
	parts := slices.DeleteFunc(strings.Split(mode, ","), func(p string) bool { return !slices.Contains(tellingModes, p) })
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
