// Package algorithm holds ShardingSphere's sharding algorithms: from a value of a sharding column to targets (data
// sources or tables), bit for bit as the Java implementations decide.
package algorithm

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/sharding/value"
)

// Range is what <, <=, >, >=, BETWEEN say about one column. A missing bound is open to that side.
type Range struct {
	Lower, Upper             value.Value
	HasLower, HasUpper       bool
	LowerClosed, UpperClosed bool
}

// Standard decides by one column. Targets are indexes into the names given to Bind.
type Standard interface {
	// Exact returns the target of the value, where an INSERT must go. When Java's answer depends on how a client
	// sent the number (Integer or Long), also returns the other candidate, where reads must look too; else also is -1.
	Exact(v value.Value) (target, also int, err error)
	// Range adds the targets that may hold values of the range, or all when it cannot tell.
	Range(r Range, out Set) error
}

// Errors of deciding. ErrValue means the algorithm cannot read the value at all.
var (
	ErrNull     = errors.New("the sharding value is NULL")
	ErrValue    = errors.New("the algorithm cannot use this value")
	ErrNoTarget = errors.New("the algorithm names a target that does not exist")
	// ErrRange means a range condition met an INLINE algorithm whose rule does not allow it.
	ErrRange = errors.New("the INLINE algorithm answers = and IN only; set allow-range-query-with-inline-sharding: true to ask every shard")
)

// Algorithm is a configured algorithm, not yet bound to targets.
type Algorithm struct {
	Type    string
	Auto    int // number of partitions an automatic algorithm makes; 0 for the others
	bind    func(targets []string, columns []string) (any, error)
	Shape   Shape
	Numeric bool // reads numbers, never characters
}

// Shape says which kind of strategy an algorithm serves.
type Shape uint8

// Shapes.
const (
	ForStandard Shape = iota
	ForComplex
	ForHint
)

// Problem is one fault of an algorithm's properties.
type Problem struct{ Key, Message string }

func (p *Problem) Error() string {
	if p.Key == "" {
		return p.Message
	}
	return p.Key + ": " + p.Message
}

// props reads an algorithm's properties and remembers which were known.
type props struct {
	values map[string]string
	known  []string
	err    *Problem
}

func (p *props) fail(key, format string, args ...any) {
	if p.err == nil {
		p.err = &Problem{key, fmt.Sprintf(format, args...)}
	}
}

func (p *props) text(key, def string, required bool) string {
	p.known = append(p.known, key)
	v, ok := p.values[key]
	if !ok || v == "" {
		if required {
			p.fail(key, "is required")
		}
		return def
	}
	return v
}

func (p *props) integer(key string, def int64, required bool) int64 {
	s := p.text(key, strconv.FormatInt(def, 10), required)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		p.fail(key, "expected a whole number, found %q", s)
	}
	return n
}

func (p *props) boolean(key string) bool {
	switch s := strings.ToLower(p.text(key, "false", false)); s {
	case "true":
		return true
	case "false":
		return false
	default:
		p.fail(key, "expected true or false, found %q", s)
		return false
	}
}

// finish reports the first problem, unknown keys included.
func (p *props) finish() error {
	if p.err != nil {
		return p.err
	}
	keys := make([]string, 0, len(p.values))
	for k := range p.values {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if !contains(p.known, k) {
			sort.Strings(p.known)
			return &Problem{k, "is not a property of this algorithm; expected one of " + strings.Join(p.known, ", ")}
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

var constructors = map[string]func(p *props, now time.Time) *Algorithm{
	"MOD": newMod, "HASH_MOD": newHashMod, "VOLUME_RANGE": newVolumeRange, "BOUNDARY_RANGE": newBoundaryRange,
	"AUTO_INTERVAL": newAutoInterval, "INLINE": newInline, "INTERVAL": newInterval, "COMPLEX_INLINE": newComplexInline, "HINT_INLINE": newHintInline,
}

// New configures the algorithm of a type. now is the time a rule set is loaded: INTERVAL's default upper bound.
// The error is a *Problem.
func New(typ string, properties map[string]string, now time.Time) (*Algorithm, error) {
	name := strings.ToUpper(typ)
	if name == "CLASS_BASED" {
		return nil, &Problem{"", "CLASS_BASED runs a Java class, which sidewire cannot; say the same with INLINE, COMPLEX_INLINE or HINT_INLINE"}
	}
	make, ok := constructors[name]
	if !ok {
		return nil, &Problem{"", fmt.Sprintf("unknown sharding algorithm %q; expected one of %s", typ, strings.Join(Types(), ", "))}
	}
	p := &props{values: properties}
	a := make(p, now)
	if err := p.finish(); err != nil {
		return nil, err
	}
	a.Type = name
	return a, nil
}

// Types lists the algorithms known.
func Types() []string {
	out := make([]string, 0, len(constructors))
	for t := range constructors {
		out = append(out, t)
	}
	sort.Strings(out)
	return out
}

// Standard binds the algorithm to its column and targets.
func (a *Algorithm) Standard(column string, targets []string) (Standard, error) {
	if a.Shape != ForStandard {
		return nil, fmt.Errorf("algorithm %s is not for a standard strategy", a.Type)
	}
	s, err := a.bind(targets, []string{column})
	if err != nil {
		return nil, err
	}
	return s.(Standard), nil
}

// Complex decides by several columns.
type Complex interface {
	// Exact returns the target for one value of each column, in the order of the strategy's columns.
	Exact(vs []value.Value) (target, also int, err error)
	// Range adds the targets for ranges and values mixed, or fails as Standard.Range does.
	Range(out Set) error
}

// Complex binds the algorithm to its columns and targets.
func (a *Algorithm) Complex(columns, targets []string) (Complex, error) {
	if a.Shape != ForComplex {
		return nil, fmt.Errorf("algorithm %s is not for a complex strategy", a.Type)
	}
	s, err := a.bind(targets, columns)
	if err != nil {
		return nil, err
	}
	return s.(Complex), nil
}

// Hint decides by a value from a hint.
type Hint interface {
	Exact(v value.Value) (target int, err error)
}

// Hint binds the algorithm to its targets.
func (a *Algorithm) Hint(targets []string) (Hint, error) {
	if a.Shape != ForHint {
		return nil, fmt.Errorf("algorithm %s is not for a hint strategy", a.Type)
	}
	s, err := a.bind(targets, []string{"value"})
	if err != nil {
		return nil, err
	}
	return s.(Hint), nil
}

// partitions maps partition numbers to targets the way ShardingSphere finds them: the common prefix and the number,
// padded with zeros to the length of the shortest suffix.
func partitions(targets []string, count int, zeroPad int) ([]int, error) {
	if len(targets) == 0 {
		return nil, errors.New("there are no targets")
	}
	prefix, pad := "", 0
	for i, t := range targets {
		p := strings.TrimRight(t, "0123456789")
		digits := len(t) - len(p)
		if digits == 0 {
			return nil, fmt.Errorf("target %q does not end in a number, which this algorithm needs", t)
		}
		if i == 0 {
			prefix, pad = p, digits
		} else if p != prefix {
			return nil, fmt.Errorf("targets %q and %q differ in more than their number", targets[0], t)
		}
		pad = min(pad, digits)
	}
	index := make(map[string]int, len(targets))
	for i, t := range targets {
		index[t] = i
	}
	out := make([]int, count)
	for n := range count {
		name := fmt.Sprintf("%s%0*d", prefix, max(pad, zeroPad), n)
		i, ok := index[name]
		if !ok {
			return nil, fmt.Errorf("the algorithm makes %d partitions, but there is no target %q", count, name)
		}
		out[n] = i
	}
	return out, nil
}
