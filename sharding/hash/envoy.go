package hash

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// KeyPlacement maps a key to the index of a server. Unlike Placement it hashes the key itself, as its other half demands.
type KeyPlacement interface {
	PlaceKey(key []byte) int
}

// HashPlacement maps the hash of something else than a key to the index of a server.
type HashPlacement interface {
	PlaceHash(h uint64) int
}

// XXHash64 is the hash of a client's address in Envoy's tcp_proxy.
func XXHash64(b []byte) uint64 { return xxhash.Sum64(b) }

// Murmur64 is MurmurHash2 for 64 bits with the seed of GNU's std::hash, with which Envoy hashes Redis keys.
func Murmur64(key []byte) uint64 {
	const seed, mul = 0xc70f6907, 0xc6a4a7935bd1e995
	mix := func(v uint64) uint64 { return v ^ v>>47 }
	h := uint64(seed) ^ uint64(len(key))*mul
	for ; len(key) >= 8; key = key[8:] {
		h = (h ^ mix(binary.LittleEndian.Uint64(key)*mul)*mul) * mul
	}
	if len(key) > 0 {
		var rest [8]byte
		copy(rest[:], key)
		h = (h ^ binary.LittleEndian.Uint64(rest[:])) * mul
	}
	return mix(mix(h) * mul)
}

// EnvoyRing places keys as Envoy's ring_hash policy with its XX_HASH does.
type EnvoyRing struct{ points []ringPoint }

type ringPoint struct {
	hash  uint64
	index int32
}

// Envoy's ring has at least 1,024 points unless told otherwise; more than a million are refused, as they are memory.
const (
	EnvoyRingSize    = 1024
	MaxEnvoyRingSize = 1 << 20
)

// NewEnvoyRing makes a ring of at least size points: as many for each server as its weight says, the lightest one a whole number.
// The names of servers are what Envoy hashes: addresses with ports, or the hash_key of their metadata.
func NewEnvoyRing(servers []Server, size int) (*EnvoyRing, error) {
	total, err := check(servers)
	if err != nil {
		return nil, err
	}
	if size < 1 || size > MaxEnvoyRingSize {
		return nil, fmt.Errorf("placing keys: a ring of %d points is not between 1 and %d", size, MaxEnvoyRingSize)
	}
	lightest := math.MaxFloat64
	for _, s := range servers {
		lightest = math.Min(lightest, float64(s.Weight)/float64(total))
	}
	scale := math.Min(math.Ceil(lightest*float64(size))/lightest, 8*MaxEnvoyRingSize)
	r := &EnvoyRing{}
	made, due := 0.0, 0.0 // in floating point, as there: rounding decides where fractions of points go
	for index, s := range servers {
		due += scale * (float64(s.Weight) / float64(total))
		for i := 0; made < due; i++ {
			r.points = append(r.points, ringPoint{xxhash.Sum64String(s.Name + "_" + strconv.Itoa(i)), int32(index)})
			made++
		}
	}
	sort.SliceStable(r.points, func(a, b int) bool { return r.points[a].hash < r.points[b].hash })
	return r, nil
}

// PlaceKey finds the first point at or behind the key's hash.
func (r *EnvoyRing) PlaceKey(key []byte) int { return r.PlaceHash(Murmur64(key)) }

// PlaceHash finds the first point at or behind h.
func (r *EnvoyRing) PlaceHash(h uint64) int {
	lo, hi := 0, len(r.points)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if r.points[mid].hash < h {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(r.points) {
		lo = 0
	}
	return int(r.points[lo].index)
}

// EnvoyMaglev places keys as Envoy's maglev policy does.
type EnvoyMaglev struct{ table []uint16 }

// NewEnvoyMaglev fills a table of Envoy's default size.
func NewEnvoyMaglev(servers []Server) (*EnvoyMaglev, error) {
	return newEnvoyMaglev(servers, maglevSize)
}

func newEnvoyMaglev(servers []Server, size uint64) (*EnvoyMaglev, error) {
	total, err := check(servers)
	if err != nil {
		return nil, err
	}
	if len(servers) > 4096 {
		return nil, fmt.Errorf("placing keys: %d servers are more than maglev's table serves evenly", len(servers))
	}
	type seat struct {
		index                int
		offset, skip, next   uint64
		weight, targetWeight float64
	}
	seats, heaviest := make([]seat, len(servers)), 0.0
	for i, s := range servers {
		seeded := xxhash.NewWithSeed(1)
		_, _ = seeded.WriteString(s.Name) // cannot fail
		seats[i] = seat{index: i, offset: xxhash.Sum64String(s.Name) % size, skip: seeded.Sum64()%(size-1) + 1, weight: float64(s.Weight) / float64(total)}
		heaviest = math.Max(heaviest, seats[i].weight)
	}
	sort.Slice(seats, func(a, b int) bool { return servers[seats[a].index].Name < servers[seats[b].index].Name })
	m := &EnvoyMaglev{table: make([]uint16, size)}
	const empty = math.MaxUint16
	for i := range m.table {
		m.table[i] = empty
	}
	filled := uint64(0)
	for turn := 1.0; filled < size; turn++ {
		for i := range seats {
			s := &seats[i]
			if filled == size {
				break
			}
			if turn*s.weight < s.targetWeight { // a lighter server sits out rounds
				continue
			}
			s.targetWeight += heaviest
			at := (s.offset + s.skip*s.next) % size
			for m.table[at] != empty {
				s.next++
				at = (s.offset + s.skip*s.next) % size
			}
			m.table[at] = uint16(s.index)
			s.next++
			filled++
		}
	}
	return m, nil
}

// PlaceKey looks the key's hash up.
func (m *EnvoyMaglev) PlaceKey(key []byte) int { return m.PlaceHash(Murmur64(key)) }

// PlaceHash looks h up.
func (m *EnvoyMaglev) PlaceHash(h uint64) int { return int(m.table[h%uint64(len(m.table))]) }
