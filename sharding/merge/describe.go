package merge

import "fmt"

var funcNames = [...]string{"COUNT by adding", "SUM by adding", "MIN of minima", "MAX of maxima"}

// Describe says in lines what the merge does.
func (s *Spec) Describe() []string {
	var out []string
	if !s.One {
		out = append(out, "rows one shard after the other")
	}
	for _, a := range s.Aggregates {
		out = append(out, fmt.Sprintf("column %d: %s", a.Column+1, funcNames[a.Func]))
	}
	return out
}
