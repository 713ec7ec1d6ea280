package hash

import (
	"bytes"
	"fmt"
)

// Slots is the number of hash slots of a Redis Cluster.
const Slots = 16384

// Tag is the pair of characters that enclose the part of a key that is hashed; the zero Tag encloses nothing.
type Tag struct{ Open, Close byte }

// ParseTag reads a tag of two characters, such as "{}"; an empty string is no tag.
func ParseTag(s string) (Tag, error) {
	switch len(s) {
	case 0:
		return Tag{}, nil
	case 2:
		return Tag{s[0], s[1]}, nil
	}
	return Tag{}, fmt.Errorf("hash tag %q is not two characters", s)
}

// Of returns the part of a key that is hashed: what stands between the first opening character and the first closing one after it,
// or the whole key if there is no such part or it is empty.
func (t Tag) Of(key []byte) []byte {
	if t == (Tag{}) {
		return key
	}
	i := bytes.IndexByte(key, t.Open)
	if i < 0 {
		return key
	}
	n := bytes.IndexByte(key[i+1:], t.Close)
	if n <= 0 {
		return key
	}
	return key[i+1 : i+1+n]
}

// Slot returns a key's Redis Cluster slot.
func Slot(key []byte) uint16 { return CRC16(Tag{'{', '}'}.Of(key)) % Slots }
