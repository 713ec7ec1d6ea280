package algorithm

import (
	"fmt"
	"time"

	"github.com/sidewire/sidewire/sharding/groovy"
	"github.com/sidewire/sidewire/sharding/value"
)

type inline struct {
	template *groovy.Template
	targets  map[string]int
	allow    bool
}

func newInline(p *props, _ time.Time) *Algorithm {
	expr := p.text("algorithm-expression", "", true)
	allow := p.boolean("allow-range-query-with-inline-sharding")
	return &Algorithm{bind: func(targets, columns []string) (any, error) {
		t, err := groovy.CompileTemplate(expr, columns)
		if err != nil {
			return nil, fmt.Errorf("algorithm-expression: %w", err)
		}
		return &inline{t, index(targets), allow}, nil
	}}
}

func index(targets []string) map[string]int {
	m := make(map[string]int, len(targets))
	for i, t := range targets {
		m[t] = i
	}
	return m
}

// java returns the Java value ShardingSphere would hand to an expression, and the wider one another client's
// parameter type would make of the same number.
func java(v value.Value) (first, second groovy.Value, two bool, err error) {
	switch v.Kind {
	case value.Null:
		return first, second, false, ErrNull
	case value.Int:
		n := v.Int64()
		return groovy.Number(n), groovy.Long(n), n == int64(int32(n)), nil
	case value.String, value.Date, value.Datetime, value.Time:
		return groovy.String(v.Str), second, false, nil
	}
	return first, second, false, fmt.Errorf("%w: expressions take whole numbers within 64 bits and strings", ErrValue)
}

func (a *inline) Exact(v value.Value) (int, int, error) {
	first, second, two, err := java(v)
	if err != nil {
		return 0, -1, err
	}
	vars := [1]groovy.Value{first}
	target, err := a.eval(vars[:])
	if err != nil || !two {
		return target, -1, err
	}
	vars[0] = second
	if also, err := a.eval(vars[:]); err == nil && also != target {
		return target, also, nil
	}
	return target, -1, nil
}

func (a *inline) eval(vars []groovy.Value) (int, error) {
	var buf [64]byte
	name, err := a.template.Append(buf[:0], vars)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrValue, err)
	}
	i, ok := a.targets[string(name)]
	if !ok {
		return 0, fmt.Errorf("%w: %q", ErrNoTarget, name)
	}
	return i, nil
}

func (a *inline) Range(_ Range, out Set) error {
	if !a.allow {
		return ErrRange
	}
	for _, t := range a.targets {
		out.Add(t)
	}
	return nil
}
