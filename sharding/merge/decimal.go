package merge

import (
	"math/big"
	"strings"
)

// decimal is an exact number: unscaled / 10^scale.
type decimal struct {
	unscaled big.Int
	scale    int
}

var powers = func() (p [100]*big.Int) {
	p[0] = big.NewInt(1)
	for i := 1; i < len(p); i++ {
		p[i] = new(big.Int).Mul(p[i-1], big.NewInt(10))
	}
	return p
}()

// maxScale is beyond MySQL's 38 fractional digits.
const maxScale = 60

// parse reads an exact number's text; false for anything else.
func (d *decimal) parse(s string) bool {
	whole, frac, _ := strings.Cut(s, ".")
	if len(frac) > maxScale || len(s) > 200 {
		return false
	}
	d.scale = len(frac)
	if len(s) <= 18 {
		return d.plain(s)
	}
	if strings.ContainsAny(frac, "+-_") || strings.ContainsAny(whole, "_") {
		return false
	}
	_, ok := d.unscaled.SetString(whole+frac, 10)
	return ok
}

// plain reads short numbers without allocating.
func (d *decimal) plain(s string) bool {
	var n int64
	neg, digits := false, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '-' && i == 0:
			neg = true
		case c == '.':
		case c >= '0' && c <= '9':
			n = n*10 + int64(c-'0')
			digits++
		default:
			return false
		}
	}
	if neg {
		n = -n
	}
	d.unscaled.SetInt64(n)
	return digits > 0
}

// rescale brings the number to a larger scale.
func (d *decimal) rescale(scale int) {
	if scale > d.scale {
		d.unscaled.Mul(&d.unscaled, powers[scale-d.scale])
		d.scale = scale
	}
}

func (d *decimal) add(o *decimal) {
	if o.scale > d.scale {
		d.rescale(o.scale)
	}
	if o.scale < d.scale {
		var t decimal
		t.unscaled.Set(&o.unscaled)
		t.scale = o.scale
		t.rescale(d.scale)
		d.unscaled.Add(&d.unscaled, &t.unscaled)
		return
	}
	d.unscaled.Add(&d.unscaled, &o.unscaled)
}

func (d *decimal) cmp(o *decimal) int {
	if d.scale == o.scale {
		return d.unscaled.Cmp(&o.unscaled)
	}
	var x, y big.Int
	x.Mul(&d.unscaled, powers[max(0, o.scale-d.scale)])
	y.Mul(&o.unscaled, powers[max(0, d.scale-o.scale)])
	return x.Cmp(&y)
}

// round brings the number to scale digits, halves away from zero, as MySQL rounds exact numbers.
func (d *decimal) round(scale int) {
	if scale >= d.scale {
		d.rescale(scale)
		return
	}
	p := powers[d.scale-scale]
	var q, r big.Int
	q.QuoRem(&d.unscaled, p, &r)
	r.Abs(&r).Lsh(&r, 1)
	if r.Cmp(p) >= 0 {
		q.Add(&q, big.NewInt(int64(d.unscaled.Sign())))
	}
	d.unscaled.Set(&q)
	d.scale = scale
}

// append writes the number with exactly its scale's digits.
func (d *decimal) append(dst []byte) []byte {
	s := d.unscaled.String()
	if s[0] == '-' {
		dst = append(dst, '-')
		s = s[1:]
	}
	if d.scale == 0 {
		return append(dst, s...)
	}
	for len(s) <= d.scale {
		s = "0" + s
	}
	return append(append(append(dst, s[:len(s)-d.scale]...), '.'), s[len(s)-d.scale:]...)
}
