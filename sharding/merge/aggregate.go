package merge

import "math/bits"

// total is the running value of one aggregate.
type total struct {
	cell
	raw   bool // the bytes of a shard's value are the answer's
	pad   []byte
	count decimal // Avg
	exact decimal // Avg of exact numbers: what cell.fine points at
}

func (t *total) reset(cl class) {
	t.valid, t.class, t.raw, t.fine = false, cl, false, nil
	t.count.unscaled.SetInt64(0)
	t.count.scale = 0
}

// add takes one shard's value of the aggregate.
func (t *total) add(f Func, v *cell) error {
	if !v.valid {
		return nil
	}
	switch {
	case !t.valid:
		t.copy(v)
		t.raw = f == Min || f == Max
		return nil
	case f == Min || f == Max:
		if c := v.compare(&t.cell, t.pad); f == Min && c < 0 || f == Max && c > 0 {
			t.copy(v)
		}
		return nil
	}
	switch t.class {
	case classInt:
		return t.addInt(f, v.n)
	case classUint:
		return t.addUint(f, uint64(v.n))
	case classDouble, classFloat:
		t.f += v.f
	case classDecimal:
		t.d.add(&v.d)
	}
	return nil
}

func (t *total) addInt(f Func, n int64) error {
	switch f {
	case BitAnd:
		t.n &= n
	case BitOr:
		t.n |= n
	case BitXor:
		t.n ^= n
	default:
		sum := t.n + n
		if (sum > t.n) != (n > 0) && n != 0 {
			return ErrOverflow
		}
		t.n = sum
	}
	return nil
}

func (t *total) addUint(f Func, n uint64) error {
	switch f {
	case BitAnd, BitOr, BitXor:
		return t.addInt(f, int64(n))
	}
	sum, carry := bits.Add64(uint64(t.n), n, 0)
	if carry != 0 {
		return ErrOverflow
	}
	t.n = int64(sum)
	return nil
}

// increment counts one.
func (t *total) increment(cl class) {
	if !t.valid {
		t.valid, t.class, t.n = true, cl, 0
	}
	t.n++
}

// finish makes the final value of an aggregate: for AVG it divides, for counts it makes zero of nothing.
func (t *total) finish(f Func, col *Column, cl class) error {
	switch f {
	case Count, CountDistinct:
		if !t.valid {
			t.valid, t.class, t.n = true, cl, 0
		}
	case BitAnd, BitOr, BitXor:
		if !t.valid {
			t.valid, t.class, t.n = true, cl, 0
			if f == BitAnd {
				t.n = -1
			}
		}
	case Avg, AvgDistinct:
		if !t.valid {
			return nil
		}
		if cl == classDouble {
			count := number{d: t.count}
			sum, err := cellNumber(&t.cell)
			if err != nil {
				return err
			}
			t.f, t.class = sum.float()/count.float(), classDouble
			return nil
		}
		sum, err := cellNumber(&t.cell)
		if err != nil || sum.approx {
			return ErrExpr
		}
		t.fine = &t.exact
		t.fine.truncated(&sum.d, &t.count, fineScale(sum.d.scale, int(col.Decimals)))
		t.d.quotient(&sum.d, &t.count, int(col.Decimals))
		t.class = classDecimal
	}
	return nil
}

// wordDigits is how many digits servers keep in one word of an exact number.
const wordDigits = 9

// fineScale is how many digits after the point servers divide to, for a quotient that has digits of them in the end: whole
// words.
func fineScale(dividend, digits int) int {
	words := func(n int) int { return (n + wordDigits - 1) / wordDigits * wordDigits }
	more := max(0, digits-dividend-(words(dividend)-dividend))
	return words(words(dividend) + more)
}

// encodeTotal appends an aggregate's value.
func (t *total) encodeTotal(dst []byte, col *Column, format Format) []byte {
	if !t.raw {
		return t.encode(dst, col, format)
	}
	if format == Binary && fixed(col.Type) >= 0 {
		return append(dst, t.b...)
	}
	return append(appendLenenc(dst, len(t.b)), t.b...)
}
