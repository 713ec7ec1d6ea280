package config

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing that is wrong with a configuration, at one place in it.
//
// `sidewire validate`, a refused reload, an xDS NACK and /config_dump all print the same text.
type Problem struct {
	Path    Path
	Message string
	// Reference marks a name that nothing present has. Where resources come one by one, it is no fault but something to
	// wait for.
	Reference bool
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Message
	}
	return string(p.Path) + ": " + p.Message
}

// Problems is a list of problems that can be returned as an error.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Path names a place in a configuration: listeners[2].kafka.cluster.
type Path string

// Field is the path of a field of the mapping at p.
func (p Path) Field(name string) Path {
	if p == "" {
		return Path(name)
	}
	return p + "." + Path(name)
}

// Index is the path of an element of the list at p.
func (p Path) Index(i int) Path { return p + Path(fmt.Sprintf("[%d]", i)) }

// Beside is the path of a field beside the one at p.
func (p Path) Beside(name string) Path {
	if i := strings.LastIndexByte(string(p), '.'); i >= 0 {
		return p[:i].Field(name)
	}
	return Path(name)
}

// Problem is a problem at p.
func (p Path) Problem(format string, args ...any) Problem {
	return Problem{Path: p, Message: fmt.Sprintf(format, args...)}
}

// Missing is a problem at p with a reference to something that is not there.
func (p Path) Missing(format string, args ...any) Problem {
	return Problem{Path: p, Message: fmt.Sprintf(format, args...), Reference: true}
}

// Suggest is the end of a message about an unknown name: the nearest known one, or the list of them when none is near.
//
// It is empty when nothing is known.
func Suggest(name string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	best, distance := "", len(name)/3+2
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	sorted := append([]string(nil), known...)
	sort.Strings(sorted)
	if len(sorted) > 12 {
		sorted = append(sorted[:12], "...")
	}
	return "; expected one of " + strings.Join(sorted, ", ")
}

// editDistance is the Damerau-Levenshtein distance (optimal string alignment): a swap of neighbours is one slip, not two.
func editDistance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
