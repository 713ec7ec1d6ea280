package merge

import (
	"fmt"
	"strings"
)

// padding returns the weight of a space under a collation, by which shorter strings are filled up when compared. A nil
// weight means that the collation does not pad. The weights are the servers' own: WEIGHT_STRING(' ').
func padding(collation string) ([]byte, error) {
	charset, rest, _ := strings.Cut(collation, "_")
	unicode := false
	switch charset {
	case "binary":
		return nil, nil
	case "utf8mb4", "utf8mb3", "utf8", "ucs2", "utf16", "utf16le", "utf32":
		unicode = true
	}
	switch {
	case strings.Contains(collation, "_nopad_"), strings.Contains(collation, "_0900_"):
		return nil, nil
	case rest == "bin" && (charset == "utf8mb3" || charset == "utf8" || charset == "ucs2"):
		return []byte{0, 0x20}, nil
	case rest == "bin" && unicode:
		return []byte{0, 0, 0x20}, nil
	case strings.HasSuffix(rest, "czech_cs"), strings.HasSuffix(rest, "_w2"),
		strings.Contains(rest, "uca1400") && !strings.HasSuffix(rest, "_ai_ci"):
		return nil, fmt.Errorf("text of collation %s, which compares in several passes, cannot be merged; ask one shard", collation)
	case collation == "latin7_estonian_cs":
		return []byte{0x2c}, nil
	case charset == "latin7" && strings.HasPrefix(rest, "general"):
		return []byte{0x30}, nil
	case !unicode:
		return []byte{0x20}, nil
	case strings.HasPrefix(rest, "general"):
		return []byte{0, 0x20}, nil
	case strings.Contains(rest, "unicode_520"), strings.HasPrefix(rest, "myanmar"):
		return []byte{0x02, 0x0a}, nil
	}
	return []byte{0x02, 0x09}, nil
}

// compareWeights compares two weight strings, the shorter filled up with pad.
func compareWeights(a, b, pad []byte) int {
	n := min(len(a), len(b))
	if c := cmp(string(a[:n]), string(b[:n])); c != 0 {
		return c
	}
	switch {
	case len(a) == len(b):
		return 0
	case len(pad) == 0:
		return len(a) - len(b)
	case len(a) < len(b):
		return -comparePad(b[n:], pad)
	}
	return comparePad(a[n:], pad)
}

// comparePad compares the rest of a weight string with padding.
func comparePad(rest, pad []byte) int {
	for i, c := range rest {
		if p := pad[i%len(pad)]; c != p {
			return int(c) - int(p)
		}
	}
	return 0
}
