package algorithm

import (
	"fmt"
	"strings"
	"time"

	"github.com/sidewire/sidewire/sharding/value"
)

// javaPattern is the part of Java's DateTimeFormatter patterns that people write: numbers of fixed width, and text.
type javaPattern struct {
	fields []patternField
	length int
}

type patternField struct {
	letter byte // y u M d H m s S, or 0 for text
	width  int
	text   string
}

func parsePattern(s string) (*javaPattern, error) {
	p := &javaPattern{length: len(s)}
	for i := 0; i < len(s); {
		c := s[i]
		if c == '\'' {
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("a quote is not closed")
			}
			text := s[i+1 : i+1+end]
			if text == "" {
				text = "'"
			}
			p.fields = append(p.fields, patternField{text: text})
			i += end + 2
			continue
		}
		if c < 'A' || c > 'z' || c > 'Z' && c < 'a' {
			p.fields = append(p.fields, patternField{text: string(c)})
			i++
			continue
		}
		j := i
		for j < len(s) && s[j] == c {
			j++
		}
		if !strings.ContainsRune("yuMdHmsS", rune(c)) {
			return nil, fmt.Errorf("pattern letter %q is not supported; supported are y u M d H m s S and quoted text", c)
		}
		width := j - i
		if (c == 'y' || c == 'u') && width != 4 && width != 2 || strings.IndexByte("dHms", c) >= 0 && width > 2 || c == 'M' && width > 2 || c == 'S' && width > 9 {
			return nil, fmt.Errorf("pattern %q is not supported", s[i:j])
		}
		p.fields = append(p.fields, patternField{letter: c, width: width})
		i = j
	}
	return p, nil
}

func (p *javaPattern) has(letters string) bool {
	for _, f := range p.fields {
		if f.letter != 0 && strings.IndexByte(letters, f.letter) >= 0 {
			return true
		}
	}
	return false
}

// parse reads as many fields as the text has characters for: ShardingSphere shortens the pattern to the text.
func (p *javaPattern) parse(s string) (time.Time, bool) {
	year, month, day, hour, minute, second, nano := 1970, 1, 1, 0, 0, 0, 0
	for _, f := range p.fields {
		if s == "" {
			break
		}
		if f.letter == 0 {
			rest, ok := strings.CutPrefix(s, f.text)
			if !ok {
				return time.Time{}, false
			}
			s = rest
			continue
		}
		n := 0
		w := 0
		for w < len(s) && s[w] >= '0' && s[w] <= '9' && (w < f.width || f.width == 1 && w < 2) {
			n = n*10 + int(s[w]-'0')
			w++
		}
		if w < f.width {
			return time.Time{}, false
		}
		s = s[w:]
		switch f.letter {
		case 'y', 'u':
			if year = n; f.width == 2 {
				year += 2000
			}
		case 'M':
			month = n
		case 'd':
			day = n
		case 'H':
			hour = n
		case 'm':
			minute = n
		case 's':
			second = n
		case 'S':
			for nano = n; w < 9; w++ {
				nano *= 10
			}
		}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	ok := month >= 1 && month <= 12 && t.Day() == day && hour < 24 && minute < 60 && second < 60
	return t, ok && s == ""
}

func (p *javaPattern) format(t time.Time) string {
	var b strings.Builder
	for _, f := range p.fields {
		n := 0
		switch f.letter {
		case 0:
			b.WriteString(f.text)
			continue
		case 'y', 'u':
			if n = t.Year(); f.width == 2 {
				n %= 100
			}
		case 'M':
			n = int(t.Month())
		case 'd':
			n = t.Day()
		case 'H':
			n = t.Hour()
		case 'm':
			n = t.Minute()
		case 's':
			n = t.Second()
		case 'S':
			s := fmt.Sprintf("%09d", t.Nanosecond())
			b.WriteString(s[:f.width])
			continue
		}
		fmt.Fprintf(&b, "%0*d", f.width, n)
	}
	return b.String()
}

// step is one of Java's ChronoUnits, times an amount.
type step struct {
	unit   string
	amount int
}

var units = map[string]bool{"nanos": true, "micros": true, "millis": true, "seconds": true, "minutes": true, "hours": true, "halfdays": true, "days": true,
	"weeks": true, "months": true, "years": true, "decades": true}

// add is LocalDateTime.plus: months and years keep the day, cut to the month's last.
func (s step) add(t time.Time) time.Time {
	d := time.Duration(s.amount)
	switch s.unit {
	case "nanos":
		return t.Add(d)
	case "micros":
		return t.Add(d * time.Microsecond)
	case "millis":
		return t.Add(d * time.Millisecond)
	case "seconds":
		return t.Add(d * time.Second)
	case "minutes":
		return t.Add(d * time.Minute)
	case "hours":
		return t.Add(d * time.Hour)
	case "halfdays":
		return t.Add(d * 12 * time.Hour)
	case "days":
		return t.AddDate(0, 0, s.amount)
	case "weeks":
		return t.AddDate(0, 0, 7*s.amount)
	case "months":
		return addMonths(t, s.amount)
	case "years":
		return addMonths(t, 12*s.amount)
	}
	return addMonths(t, 120*s.amount)
}

func addMonths(t time.Time, n int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	last := time.Date(first.Year(), first.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}

// interval cuts time from a lower bound in equal steps; a table's name ends in its step's beginning, formatted.
type interval struct {
	pattern      *javaPattern
	lower, upper time.Time
	steps        []time.Time // beginnings
	targets      [][]int     // by step: the targets whose names end in its suffix
}

const maxSteps = 100_000

func newInterval(p *props, now time.Time) *Algorithm {
	pattern := p.pattern("datetime-pattern")
	suffix := p.pattern("sharding-suffix-pattern")
	s := step{strings.ToLower(p.text("datetime-interval-unit", "DAYS", false)), int(p.integer("datetime-interval-amount", 1, false))}
	lowerText, upperText := p.text("datetime-lower", "", true), p.text("datetime-upper", "", false)
	if p.err != nil {
		return nil
	}
	if !units[s.unit] {
		p.fail("datetime-interval-unit", "unknown unit %q; expected a ChronoUnit such as DAYS, MONTHS or YEARS", s.unit)
	}
	if s.amount < 1 {
		p.fail("datetime-interval-amount", "must be positive")
	}
	if !pattern.has("yu") {
		p.fail("datetime-pattern", "patterns without a year are not supported")
	}
	lower, ok := pattern.parse(lowerText)
	if !ok {
		p.fail("datetime-lower", "%q does not fit datetime-pattern", lowerText)
	}
	upper := now.UTC()
	if upperText != "" {
		if upper, ok = pattern.parse(upperText); !ok {
			p.fail("datetime-upper", "%q does not fit datetime-pattern", upperText)
		}
	}
	if p.err != nil {
		return nil
	}
	var steps []time.Time
	for t := lower; !t.After(upper); t = s.add(t) {
		if steps = append(steps, t); len(steps) > maxSteps {
			p.fail("datetime-interval-amount", "makes more than %d steps", maxSteps)
			return nil
		}
	}
	return &Algorithm{bind: func(targets, _ []string) (any, error) {
		a := &interval{pattern: pattern, lower: lower, upper: s.add(steps[len(steps)-1]), steps: steps}
		for _, t := range steps {
			var match []int
			name := suffix.format(t)
			for i, target := range targets {
				if strings.HasSuffix(target, name) {
					match = append(match, i)
				}
			}
			a.targets = append(a.targets, match)
		}
		return a, nil
	}}
}

func (p *props) pattern(key string) *javaPattern {
	s := p.text(key, "", true)
	out, err := parsePattern(s)
	if err != nil {
		p.fail(key, "%v", err)
		return &javaPattern{}
	}
	return out
}

func (a *interval) time(v value.Value) (time.Time, error) {
	if v.IsNull() {
		return time.Time{}, ErrNull
	}
	switch v.Kind {
	case value.String, value.Date, value.Datetime:
	default:
		return time.Time{}, ErrValue
	}
	s := v.Str
	if len(s) > a.pattern.length {
		s = s[:a.pattern.length]
	}
	t, ok := a.pattern.parse(s)
	if !ok {
		return t, fmt.Errorf("%w: %q does not fit the datetime-pattern", ErrValue, v.Str)
	}
	return t, nil
}

// at returns the step a time lies in, -1 below the first, len beyond the last.
func (a *interval) at(t time.Time) int {
	if !t.Before(a.upper) {
		return len(a.steps)
	}
	lo, hi := 0, len(a.steps)
	for lo < hi {
		if m := (lo + hi) / 2; a.steps[m].After(t) {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo - 1
}

func (a *interval) Exact(v value.Value) (int, int, error) {
	t, err := a.time(v)
	if err != nil {
		return 0, -1, err
	}
	i := a.at(t)
	if i < 0 || i >= len(a.steps) || len(a.targets[i]) == 0 {
		return 0, -1, fmt.Errorf("%w for time %s", ErrNoTarget, v.Text())
	}
	if len(a.targets[i]) > 1 {
		return 0, -1, fmt.Errorf("%w: %d tables end in the suffix of %s", ErrValue, len(a.targets[i]), v.Text())
	}
	return a.targets[i][0], -1, nil
}

func (a *interval) Range(r Range, out Set) error {
	first, last := 0, len(a.steps)-1
	if r.HasLower {
		t, err := a.time(r.Lower)
		if err != nil {
			return err
		}
		first = max(0, a.at(t))
	}
	if r.HasUpper {
		t, err := a.time(r.Upper)
		if err != nil {
			return err
		}
		last = min(len(a.steps)-1, a.at(t))
	}
	for i := first; i <= last; i++ {
		fill(out, a.targets[i])
	}
	return nil
}
