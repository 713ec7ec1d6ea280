package hash

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"sort"
	"strings"
)

// Func hashes a key to 32 bits.
type Func func(key []byte) uint32

// funcs holds twemproxy's functions by its names. Several of them read the key as C's signed char, which on x86 widens with the
// sign: bytes above 127 hash differently from the functions' textbook definitions, and must here too.
var funcs = map[string]Func{
	"one_at_a_time": OneAtATime,
	"md5":           MD5,
	"crc16":         func(key []byte) uint32 { return crc16Wide(key) },
	"crc32":         func(key []byte) uint32 { return crc32.ChecksumIEEE(key) >> 16 & 0x7fff },
	"crc32a":        crc32.ChecksumIEEE,
	"fnv1_64":       FNV1_64,
	"fnv1a_64":      FNV1a_64,
	"fnv1_32":       FNV1_32,
	"fnv1a_32":      FNV1a_32,
	"hsieh":         Hsieh,
	"murmur":        Murmur,
	"jenkins":       Jenkins,
}

// Names returns the names that Lookup knows, sorted.
func Names() []string {
	names := make([]string, 0, len(funcs))
	for n := range funcs {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Lookup returns the hash function of a name.
func Lookup(name string) (Func, error) {
	if f, ok := funcs[name]; ok {
		return f, nil
	}
	return nil, fmt.Errorf("no hash function named %q; there are %s", name, strings.Join(Names(), ", "))
}

func signed(c byte) uint32 { return uint32(int32(int8(c))) }

// OneAtATime is Bob Jenkins's one-at-a-time hash.
func OneAtATime(key []byte) uint32 {
	var v uint32
	for _, c := range key {
		v += signed(c)
		v += v << 10
		v ^= v >> 6
	}
	v += v << 3
	v ^= v >> 11
	return v + v<<15
}

// MD5 is the first four bytes of the digest, little endian.
func MD5(key []byte) uint32 {
	sum := md5.Sum(key)
	return binary.LittleEndian.Uint32(sum[:])
}

const (
	fnvInit64  = 0xcbf29ce484222325
	fnvPrime64 = 0x100000001b3
	fnvInit32  = 2166136261
	fnvPrime32 = 16777619
)

// FNV1_64 is the low half of 64-bit FNV-1.
func FNV1_64(key []byte) uint32 {
	h := uint64(fnvInit64)
	for _, c := range key {
		h *= fnvPrime64
		h ^= uint64(int64(int8(c)))
	}
	return uint32(h)
}

// FNV1a_64 is FNV-1a with the 64-bit constants cut to 32 bits, twemproxy's default.
func FNV1a_64(key []byte) uint32 {
	h := uint32(fnvInit64 & 0xffffffff)
	for _, c := range key {
		h ^= signed(c)
		h *= uint32(fnvPrime64 & 0xffffffff)
	}
	return h
}

// FNV1_32 is 32-bit FNV-1.
func FNV1_32(key []byte) uint32 {
	h := uint32(fnvInit32)
	for _, c := range key {
		h *= fnvPrime32
		h ^= signed(c)
	}
	return h
}

// FNV1a_32 is 32-bit FNV-1a.
func FNV1a_32(key []byte) uint32 {
	h := uint32(fnvInit32)
	for _, c := range key {
		h ^= signed(c)
		h *= fnvPrime32
	}
	return h
}

// Hsieh is Paul Hsieh's SuperFastHash.
func Hsieh(key []byte) uint32 {
	var h uint32
	if len(key) == 0 {
		return 0
	}
	for len(key) >= 4 {
		h += uint32(binary.LittleEndian.Uint16(key))
		t := uint32(binary.LittleEndian.Uint16(key[2:]))<<11 ^ h
		h = h<<16 ^ t
		h += h >> 11
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h += uint32(binary.LittleEndian.Uint16(key))
		h ^= h << 16
		h ^= signed(key[2]) << 18
		h += h >> 11
	case 2:
		h += uint32(binary.LittleEndian.Uint16(key))
		h ^= h << 11
		h += h >> 17
	case 1:
		h += uint32(key[0])
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	return h + h>>6
}

// Murmur is MurmurHash2 with a seed that depends on the key's length.
func Murmur(key []byte) uint32 {
	const m = 0x5bd1e995
	n := uint32(len(key))
	h := n*0xdeadbeef ^ n
	for len(key) >= 4 {
		k := binary.LittleEndian.Uint32(key) * m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(key[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// Jenkins is Bob Jenkins's lookup3 (hashlittle) with the seed 13.
func Jenkins(key []byte) uint32 {
	rot := bits.RotateLeft32
	a := 0xdeadbeef + uint32(len(key)) + 13
	b, c := a, a
	for len(key) > 12 {
		a += binary.LittleEndian.Uint32(key)
		b += binary.LittleEndian.Uint32(key[4:])
		c += binary.LittleEndian.Uint32(key[8:])
		a, c = (a-c)^rot(c, 4), c+b
		b, a = (b-a)^rot(a, 6), a+c
		c, b = (c-b)^rot(b, 8), b+a
		a, c = (a-c)^rot(c, 16), c+b
		b, a = (b-a)^rot(a, 19), a+c
		c, b = (c-b)^rot(b, 4), b+a
		key = key[12:]
	}
	if len(key) == 0 {
		return c
	}
	var tail [12]byte
	copy(tail[:], key)
	a += binary.LittleEndian.Uint32(tail[:])
	b += binary.LittleEndian.Uint32(tail[4:])
	c += binary.LittleEndian.Uint32(tail[8:])
	c = (c ^ b) - rot(b, 14)
	a = (a ^ c) - rot(c, 11)
	b = (b ^ a) - rot(a, 25)
	c = (c ^ b) - rot(b, 16)
	a = (a ^ c) - rot(c, 4)
	b = (b ^ a) - rot(a, 14)
	return (c ^ b) - rot(b, 24)
}

var crc16Table = func() (t [256]uint16) {
	for i := range t {
		v := uint16(i) << 8
		for range 8 {
			if v&0x8000 != 0 {
				v = v<<1 ^ 0x1021
			} else {
				v <<= 1
			}
		}
		t[i] = v
	}
	return t
}()

// CRC16 is CRC-16/XMODEM, the checksum of Redis Cluster's slots.
func CRC16(key []byte) uint16 {
	var crc uint16
	for _, c := range key {
		crc = crc<<8 ^ crc16Table[byte(crc>>8)^c]
	}
	return crc
}

// crc16Wide is twemproxy's: it keeps the bits that a 16-bit register would have shifted out.
func crc16Wide(key []byte) uint32 {
	var crc uint32
	for _, c := range key {
		crc = crc<<8 ^ uint32(crc16Table[byte(crc>>8)^c])
	}
	return crc
}
