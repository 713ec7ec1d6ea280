package algorithm

import (
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/sidewire/sidewire/sharding/value"
)

// ordered is an algorithm that cuts a line into partitions: a larger value never has a smaller partition.
type ordered struct {
	numeric   bool
	partition func(v value.Value) (int, error)
	count     int
	targets   []int
}

func (o ordered) algorithm() *Algorithm {
	return &Algorithm{Auto: o.count, Numeric: o.numeric, bind: func(targets, _ []string) (any, error) {
		b := o
		var err error
		b.targets, err = partitions(targets, o.count, 0)
		return &b, err
	}}
}

func (o *ordered) Exact(v value.Value) (int, int, error) {
	if v.IsNull() {
		return 0, -1, ErrNull
	}
	p, err := o.partition(v)
	if err != nil {
		return 0, -1, err
	}
	return o.targets[p], -1, nil
}

func (o *ordered) Range(r Range, out Set) error {
	first, last := 0, o.count-1
	var err error
	if r.HasLower {
		if first, err = o.partition(r.Lower); err != nil {
			return err
		}
	}
	if r.HasUpper {
		if last, err = o.partition(r.Upper); err != nil {
			return err
		}
	}
	for p := first; p <= last; p++ {
		out.Add(o.targets[p])
	}
	return nil
}

// newVolumeRange: partition 0 is below the lower bound, the last at and above the upper, between them equal volumes.
func newVolumeRange(p *props, _ time.Time) *Algorithm {
	lower, upper := p.integer("range-lower", 0, true), p.integer("range-upper", 0, true)
	volume := p.integer("sharding-volume", 1, true)
	span := new(big.Int).Sub(big.NewInt(upper), big.NewInt(lower))
	if p.err == nil && (volume < 1 || span.Cmp(big.NewInt(volume)) < 0) {
		p.fail("sharding-volume", "must be positive and no larger than range-upper minus range-lower")
	}
	if p.err != nil {
		return nil
	}
	n := span.Add(span, big.NewInt(volume-1))
	n.Div(n, big.NewInt(volume))
	if !n.IsInt64() || n.Int64() > maxPartitions {
		p.fail("sharding-volume", "makes more than %d partitions", maxPartitions)
		return nil
	}
	size := int(n.Int64())
	return ordered{numeric: true, count: size + 2, partition: func(v value.Value) (int, error) {
		x, err := long(v)
		switch {
		case err != nil:
			return 0, err
		case x < lower:
			return 0, nil
		case x >= upper:
			return size + 1, nil
		}
		return int(uint64(x)-uint64(lower))/int(volume) + 1, nil
	}}.algorithm()
}

// long reads what Java's Long.parseLong(value.toString()) reads.
func long(v value.Value) (int64, error) {
	switch v.Kind {
	case value.Int:
		return v.Int64(), nil
	case value.String:
		if n, err := strconv.ParseInt(v.Str, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, ErrValue
}

func newBoundaryRange(p *props, _ time.Time) *Algorithm {
	var bounds []int64
	for _, s := range strings.Split(p.text("sharding-ranges", "", true), ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			p.fail("sharding-ranges", "expected whole numbers separated by commas, found %q", strings.TrimSpace(s))
			return nil
		}
		bounds = append(bounds, n)
	}
	sort.Slice(bounds, func(i, j int) bool { return bounds[i] < bounds[j] })
	for i := 1; i < len(bounds); i++ {
		if bounds[i] == bounds[i-1] {
			p.fail("sharding-ranges", "%d occurs twice", bounds[i])
			return nil
		}
	}
	return ordered{numeric: true, count: len(bounds) + 1, partition: func(v value.Value) (int, error) {
		x, err := long(v)
		return sort.Search(len(bounds), func(i int) bool { return x < bounds[i] }), err
	}}.algorithm()
}

const javaDatetime = "2006-01-02 15:04:05"

func (p *props) datetime(key string) time.Time {
	s := p.text(key, "", true)
	t, err := time.Parse(javaDatetime, s)
	if err != nil {
		p.fail(key, "expected yyyy-MM-dd HH:mm:ss, found %q", s)
	}
	return t
}

func newAutoInterval(p *props, _ time.Time) *Algorithm {
	lower, upper := p.datetime("datetime-lower"), p.datetime("datetime-upper")
	seconds := p.integer("sharding-seconds", 1, true)
	if p.err == nil && (seconds < 1 || !upper.After(lower)) {
		p.fail("sharding-seconds", "must be positive, and datetime-upper later than datetime-lower")
	}
	if p.err != nil {
		return nil
	}
	count := (upper.Unix()-lower.Unix())/seconds + 2
	if count > maxPartitions {
		p.fail("sharding-seconds", "makes more than %d partitions", maxPartitions)
		return nil
	}
	return ordered{count: int(count), partition: func(v value.Value) (int, error) {
		t, err := datetime(v)
		if err != nil {
			return 0, err
		}
		return intervalPartition(t.Unix()-lower.Unix(), seconds, int(count)), nil
	}}.algorithm()
}

// intervalPartition rounds to two digits, half to even, before it rounds up, as the Java code's "0.00" does.
func intervalPartition(elapsed, seconds int64, count int) int {
	position, err := strconv.ParseFloat(strconv.FormatFloat(float64(elapsed)/float64(seconds), 'f', 2, 64), 64)
	if err != nil {
		return 0
	}
	return min(max(0, int(math.Ceil(position))), count-1)
}

// datetime reads yyyy-MM-dd HH:mm:ss from the beginning of the value's text and drops the fraction, as Java's parser
// does with a ParsePosition.
func datetime(v value.Value) (time.Time, error) {
	s := v.Text()
	if v.Kind == value.Date {
		s += " 00:00:00"
	}
	if len(s) < len(javaDatetime) {
		return time.Time{}, ErrValue
	}
	t, err := time.Parse(javaDatetime, s[:len(javaDatetime)])
	if err != nil {
		return time.Time{}, ErrValue
	}
	return t, nil
}
