package algorithm

import (
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
	"time"

	"github.com/sidewire/sidewire/sharding/groovy"
	"github.com/sidewire/sidewire/sharding/value"
)

const maxPartitions = 100_000

func shardingCount(p *props) int64 {
	n := p.integer("sharding-count", 1, true)
	if p.err == nil && (n < 1 || n > maxPartitions) {
		p.fail("sharding-count", "must be between 1 and %d", maxPartitions)
	}
	return n
}

type mod struct {
	count       int64
	start, stop int
	targets     []int
}

func newMod(p *props, _ time.Time) *Algorithm {
	m := mod{count: shardingCount(p), start: int(p.integer("start-offset", 0, false)), stop: int(p.integer("stop-offset", 0, false))}
	zero := 0
	if p.boolean("zero-padding") {
		zero = len(strconv.FormatInt(m.count-1, 10))
	}
	if m.start < 0 || m.stop < 0 {
		p.fail("start-offset", "offsets cannot be negative")
	}
	return &Algorithm{Auto: int(m.count), Numeric: true, bind: func(targets, _ []string) (any, error) {
		b := m
		var err error
		b.targets, err = partitions(targets, int(m.count), zero)
		return &b, err
	}}
}

func (m *mod) Exact(v value.Value) (int, int, error) {
	n, err := m.residue(v)
	if err != nil {
		return 0, -1, err
	}
	return m.targets[n], -1, nil
}

func (m *mod) residue(v value.Value) (int64, error) {
	if v.IsNull() {
		return 0, ErrNull
	}
	if m.start == 0 && m.stop == 0 {
		switch v.Kind {
		case value.Int:
			return floorMod(v.Int64(), m.count), nil
		case value.Uint:
			// ShardingSphere goes through BigInteger, then longValue: the low 64 bits, signed.
			return floorMod(int64(v.Num), m.count), nil
		case value.Float:
			return 0, ErrValue
		case value.Decimal:
			n, ok := v.Integer()
			if !ok {
				return 0, ErrValue
			}
			return floorMod(n, m.count), nil
		}
	}
	s := v.Text()
	if len(s)-m.stop <= m.start {
		return 0, fmt.Errorf("%w: %q is shorter than start-offset and stop-offset cut away", ErrValue, s)
	}
	s = s[m.start : len(s)-m.stop]
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return floorMod(n, m.count), nil
	}
	if len(s) > 100 {
		return 0, ErrValue
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return 0, fmt.Errorf("%w: %q is not a number", ErrValue, s)
	}
	return n.Mod(n, big.NewInt(m.count)).Int64(), nil
}

func floorMod(n, count int64) int64 {
	if n %= count; n < 0 {
		n += count
	}
	return n
}

func (m *mod) Range(r Range, out Set) error {
	lo, ok1 := r.Lower.Integer()
	hi, ok2 := r.Upper.Integer()
	if !r.HasLower || !r.HasUpper || !ok1 || !ok2 || r.Lower.Kind != value.Int || r.Upper.Kind != value.Int || m.start != 0 || m.stop != 0 {
		fill(out, m.targets)
		return nil
	}
	if lo > hi {
		return nil
	}
	if span, carry := bits.Sub64(uint64(hi), uint64(lo), 0); carry == 0 && span >= uint64(m.count-1) || hi-lo < 0 {
		fill(out, m.targets)
		return nil
	}
	for i := range hi - lo + 1 {
		out.Add(m.targets[floorMod(lo+i, m.count)])
	}
	return nil
}

func fill(out Set, targets []int) {
	for _, t := range targets {
		out.Add(t)
	}
}

type hashMod struct {
	count   int64
	targets []int
}

func newHashMod(p *props, _ time.Time) *Algorithm {
	n := shardingCount(p)
	// Whether small negative numbers hash as Integer or as Long depends in ShardingSphere on how a client sent them.
	// sidewire always inserts as Integer and reads both places, so both settings are honoured.
	p.boolean("normalize-numeric-int-range")
	return &Algorithm{Auto: int(n), bind: func(targets, _ []string) (any, error) {
		t, err := partitions(targets, int(n), 0)
		return &hashMod{n, t}, err
	}}
}

func (h *hashMod) at(hash int32) int {
	n := int64(hash)
	if n < 0 {
		n = -n
	}
	return h.targets[n%h.count]
}

func (h *hashMod) Exact(v value.Value) (int, int, error) {
	switch v.Kind {
	case value.Null:
		return 0, -1, ErrNull
	case value.Int:
		n := v.Int64()
		long := h.at(groovy.HashLong(n))
		if n != int64(int32(n)) {
			return long, -1, nil
		}
		if t := h.at(int32(n)); t != long {
			return t, long, nil
		}
		return long, -1, nil
	case value.Uint:
		return h.at(hashBig(v.Num)), -1, nil
	case value.String:
		return h.at(groovy.HashString(v.Str)), -1, nil
	}
	return 0, -1, fmt.Errorf("%w: HASH_MOD takes whole numbers and strings", ErrValue)
}

// hashBig is java.math.BigInteger.hashCode of a positive number of two 32-bit words.
func hashBig(n uint64) int32 { return int32(uint32(n>>32)*31 + uint32(n)) }

func (h *hashMod) Range(_ Range, out Set) error {
	fill(out, h.targets)
	return nil
}
