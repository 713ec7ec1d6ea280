package algorithm

import (
	"fmt"
	"strings"
	"time"

	"github.com/sidewire/sidewire/sharding/groovy"
	"github.com/sidewire/sidewire/sharding/value"
)

// complexInline is COMPLEX_INLINE: an expression over several columns.
type complexInline struct{ inline }

func newComplexInline(p *props, _ time.Time) *Algorithm {
	expr := p.text("algorithm-expression", "", true)
	declared := p.text("sharding-columns", "", false)
	allow := p.boolean("allow-range-query-with-inline-sharding")
	return &Algorithm{Shape: ForComplex, bind: func(targets, columns []string) (any, error) {
		for _, c := range strings.Split(declared, ",") {
			if c = strings.TrimSpace(c); c != "" && !containsFold(columns, c) {
				return nil, fmt.Errorf("sharding-columns names %q, which the strategy's shardingColumns does not", c)
			}
		}
		t, err := groovy.CompileTemplate(expr, columns)
		if err != nil {
			return nil, fmt.Errorf("algorithm-expression: %w", err)
		}
		return &complexInline{inline{t, index(targets), allow}}, nil
	}}
}

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

func (a *complexInline) Exact(vs []value.Value) (int, int, error) {
	vars, wide := make([]groovy.Value, len(vs)), make([]groovy.Value, len(vs))
	for i, v := range vs {
		first, second, two, err := java(v)
		if err != nil {
			return 0, -1, err
		}
		if vars[i], wide[i] = first, first; two {
			wide[i] = second
		}
	}
	target, err := a.eval(vars)
	if err != nil {
		return target, -1, err
	}
	if also, err := a.eval(wide); err == nil && also != target {
		return target, also, nil
	}
	return target, -1, nil
}

func (a *complexInline) Range(out Set) error { return a.inline.Range(Range{}, out) }

// hintInline is HINT_INLINE: an expression over a value that a hint gives.
type hintInline struct{ inline }

func newHintInline(p *props, _ time.Time) *Algorithm {
	expr := p.text("algorithm-expression", "${value}", false)
	return &Algorithm{Shape: ForHint, bind: func(targets, _ []string) (any, error) {
		t, err := groovy.CompileTemplate(expr, []string{"value"})
		if err != nil {
			return nil, fmt.Errorf("algorithm-expression: %w", err)
		}
		return &hintInline{inline{t, index(targets), false}}, nil
	}}
}

func (a *hintInline) Exact(v value.Value) (int, error) {
	target, _, err := a.inline.Exact(v)
	return target, err
}
