package merge

import "fmt"

var funcNames = [...]string{"COUNT by adding", "SUM by adding", "MIN of minima", "MAX of maxima", "AVG as SUM / COUNT",
	"COUNT of distinct values", "SUM of distinct values", "AVG of distinct values", "BIT_AND", "BIT_OR", "BIT_XOR"}

func describeKeys(keys []Key) string {
	out := ""
	for i, k := range keys {
		if i > 0 {
			out += ", "
		}
		out += columnName(k.Column)
		if k.Desc {
			out += " descending"
		}
		if k.Weight >= 0 {
			out += " (as text by " + columnName(k.Weight) + ")"
		}
	}
	return out
}

func columnName(n int) string {
	if n >= Derived {
		return fmt.Sprintf("derived column %d", n-Derived+1)
	}
	return fmt.Sprintf("column %d", n+1)
}

// Describe says in lines what the merge does.
func (s *Spec) Describe() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case s.Grouped && s.Group == 0:
		add("all rows into one")
	case s.Grouped:
		add("group by %s, streaming", describeKeys(s.Keys[:s.Group]))
	case len(s.Keys) > 0:
		add("ordered by %s, streaming", describeKeys(s.Keys))
	default:
		add("rows one shard after the other")
	}
	for _, a := range s.Aggregates {
		held := ""
		if a.First > 0 {
			held = ", values in memory"
		}
		add("%s: %s%s", columnName(a.Column), funcNames[a.Func], held)
	}
	for _, c := range s.Computed {
		add("column %d: %v", c.Column+1, c.Expr)
	}
	if s.Having != nil {
		add("having %v", s.Having)
	}
	if len(s.Resort) > 0 {
		add("sorted again by %s, in memory", describeKeys(s.Resort))
	}
	if s.Offset > 0 || s.Limit >= 0 {
		add("offset %d, limit %d", s.Offset, s.Limit)
	}
	if s.Strip > 0 {
		add("%d derived columns cut off", s.Strip)
	}
	for _, r := range s.Rewrite {
		add("column %d: %s becomes %s", r.Column+1, r.Old, r.New)
	}
	return out
}
