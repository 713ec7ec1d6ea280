package merge

import "encoding/binary"

// packDatetime makes a number of a date or datetime that sorts as MySQL sorts it.
func packDatetime(format Format, v []byte) (int64, bool) {
	var f [7]int64
	if format == Binary {
		if len(v) != 0 && len(v) != 4 && len(v) != 7 && len(v) != 11 {
			return 0, false
		}
		if len(v) >= 4 {
			f[0], f[1], f[2] = int64(binary.LittleEndian.Uint16(v)), int64(v[2]), int64(v[3])
		}
		if len(v) >= 7 {
			f[3], f[4], f[5] = int64(v[4]), int64(v[5]), int64(v[6])
		}
		if len(v) == 11 {
			f[6] = int64(binary.LittleEndian.Uint32(v[7:]))
		}
	} else if !fields(v, f[:], 0) {
		return 0, false
	}
	n := f[0]
	for i, base := range [...]int64{16, 32, 32, 64, 64, 1 << 20} {
		n = n*base + f[i+1]
	}
	return n, true
}

// packTime makes microseconds of a TIME.
func packTime(format Format, v []byte) (int64, bool) {
	var f [7]int64
	neg := false
	if format == Binary {
		if len(v) != 0 && len(v) != 8 && len(v) != 12 {
			return 0, false
		}
		if len(v) >= 8 {
			neg = v[0] == 1
			f[3] = int64(binary.LittleEndian.Uint32(v[1:]))*24 + int64(v[5])
			f[4], f[5] = int64(v[6]), int64(v[7])
		}
		if len(v) == 12 {
			f[6] = int64(binary.LittleEndian.Uint32(v[8:]))
		}
	} else {
		if len(v) > 0 && v[0] == '-' {
			neg, v = true, v[1:]
		}
		if !fields(v, f[:], 3) {
			return 0, false
		}
	}
	n := ((f[3]*60+f[4])*60+f[5])*1_000_000 + f[6]
	if neg {
		n = -n
	}
	return n, true
}

// fields reads numbers separated by single characters into f, beginning at index from. The last, after a dot, is a
// fraction of up to six digits.
func fields(v []byte, f []int64, from int) bool {
	i, digits, fraction := from, 0, false
	for _, c := range v {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > 6 {
				return false
			}
			f[i] = f[i]*10 + int64(c-'0')
		case c == '.':
			i, digits, fraction = 6, 0, true
		case c == '-' || c == ':' || c == ' ' || c == 'T':
			if i++; i >= 6 {
				return false
			}
			digits = 0
		default:
			return false
		}
	}
	if fraction {
		for ; digits < 6; digits++ {
			f[6] *= 10
		}
	}
	return len(v) > 0
}
