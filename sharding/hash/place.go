package hash

import (
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sort"
	"strconv"
)

// Server is one member of a pool: the name that is hashed (twemproxy's server name, or its host and port) and its weight.
type Server struct {
	Name   string
	Weight int
}

// Placement maps a key's hash to the index of a server.
type Placement interface {
	Place(hash uint32) int
}

// MaxWeight bounds a server's weight, so that a slip in a file does not build tables of gigabytes.
const MaxWeight = 1 << 16

// ErrNoServers is returned for an empty pool.
var ErrNoServers = errors.New("placing keys: no servers")

func check(servers []Server) (total int, err error) {
	if len(servers) == 0 {
		return 0, ErrNoServers
	}
	seen := make(map[string]bool, len(servers))
	for _, s := range servers {
		if s.Weight < 1 || s.Weight > MaxWeight {
			return 0, fmt.Errorf("placing keys: weight %d of server %q is not between 1 and %d", s.Weight, s.Name, MaxWeight)
		}
		if seen[s.Name] {
			return 0, fmt.Errorf("placing keys: two servers named %q", s.Name)
		}
		seen[s.Name] = true
		total += s.Weight
	}
	return total, nil
}

// order returns the indexes of servers in the order in which twemproxy keeps them, which decides modula's residues: shorter names
// first, then by their bytes.
func order(servers []Server) []int {
	idx := make([]int, len(servers))
	for i := range idx {
		idx[i] = i
	}
	sort.SliceStable(idx, func(a, b int) bool {
		x, y := servers[idx[a]].Name, servers[idx[b]].Name
		if len(x) != len(y) {
			return len(x) < len(y)
		}
		return x < y
	})
	return idx
}

type point struct {
	value uint32
	index int32
}

// Ketama is consistent hashing with libmemcached's points, as twemproxy computes them.
type Ketama struct {
	points []point
	// first is, by the upper bits of a hash, the first point that does not lie before all hashes that begin so. There are more of them than
	// points, so that a key costs a step or two, not a search: an MGET of a hundred keys is a hundred searches.
	first []int32
	shift uint
}

const ketamaPoints = 160 // a server of average weight; four to a digest

// NewKetama builds the continuum.
func NewKetama(servers []Server) (*Ketama, error) {
	total, err := check(servers)
	if err != nil {
		return nil, err
	}
	k := &Ketama{}
	for _, i := range order(servers) {
		s := servers[i]
		// Single precision up to the sum, then double, then single again: the rounding decides the number of points.
		pct := float32(s.Weight) / float32(total)
		scaled := float32(float32(float32(pct*ketamaPoints)/4) * float32(len(servers)))
		digests := int(math.Floor(float64(float32(float64(scaled) + 0.0000000001))))
		for p := range digests {
			sum := md5.Sum([]byte(s.Name + "-" + strconv.Itoa(p)))
			for x := range 4 {
				k.points = append(k.points, point{binary.LittleEndian.Uint32(sum[4*x:]), int32(i)})
			}
		}
	}
	sort.SliceStable(k.points, func(a, b int) bool { return k.points[a].value < k.points[b].value })
	width := bits.Len(uint(len(k.points)))
	k.shift = uint(32 - width)
	k.first = make([]int32, 1<<width)
	at := 0
	for i := range k.first {
		for at < len(k.points) && k.points[at].value < uint32(i)<<k.shift {
			at++
		}
		k.first[i] = int32(at)
	}
	return k, nil
}

// Place returns the server of the first point at or after hash.
func (k *Ketama) Place(hash uint32) int {
	at := int(k.first[hash>>k.shift])
	for at < len(k.points) && k.points[at].value < hash {
		at++
	}
	if at == len(k.points) {
		at = 0
	}
	return int(k.points[at].index)
}

// Modula is the hash modulo the sum of weights, twemproxy's cheapest distribution: adding a server moves nearly every key.
type Modula struct{ index []int32 }

// NewModula lays the servers out by weight.
func NewModula(servers []Server) (*Modula, error) {
	if _, err := check(servers); err != nil {
		return nil, err
	}
	m := &Modula{}
	for _, i := range order(servers) {
		for range servers[i].Weight {
			m.index = append(m.index, int32(i))
		}
	}
	return m, nil
}

// Place returns hash modulo the sum of weights.
func (m *Modula) Place(hash uint32) int { return int(m.index[hash%uint32(len(m.index))]) }

// Maglev is consistent hashing by a lookup table (Eisenbud et al., NSDI 2016, section 3.4): one memory access a key.
type Maglev struct{ table []uint16 }

// maglevSize is prime and much larger than a pool; 65537 is the paper's small table.
const maglevSize = 65537

// NewMaglev fills the table; a server of weight w takes its turn in proportion to it.
func NewMaglev(servers []Server) (*Maglev, error) {
	if _, err := check(servers); err != nil {
		return nil, err
	}
	if len(servers) > 4096 {
		return nil, fmt.Errorf("placing keys: %d servers are more than maglev's table serves evenly", len(servers))
	}
	heaviest := 0
	for _, s := range servers {
		heaviest = max(heaviest, s.Weight)
	}
	type seat struct {
		at, skip uint64
		turns    int
	}
	seats := make([]seat, len(servers))
	for i, s := range servers {
		sum := md5.Sum([]byte(s.Name))
		seats[i] = seat{
			at:   binary.LittleEndian.Uint64(sum[:]) % maglevSize,
			skip: binary.LittleEndian.Uint64(sum[8:])%(maglevSize-1) + 1,
		}
	}
	m := &Maglev{table: make([]uint16, maglevSize)}
	const empty = math.MaxUint16
	for i := range m.table {
		m.table[i] = empty
	}
	turns := order(servers)
	for left := maglevSize; left > 0; {
		for _, i := range turns {
			s := &seats[i]
			// A lighter server sits out rounds: it has a turn whenever its share of the heaviest passes a whole number.
			if s.turns += servers[i].Weight; s.turns < heaviest {
				continue
			}
			s.turns -= heaviest
			for m.table[s.at] != empty {
				s.at = (s.at + s.skip) % maglevSize
			}
			m.table[s.at] = uint16(i)
			if left--; left == 0 {
				break
			}
		}
	}
	return m, nil
}

// Place looks hash up. The hash is mixed first: a 32-bit hash of short keys need not be even modulo the table's size.
func (m *Maglev) Place(hash uint32) int {
	h := uint64(hash) * 0x9e3779b97f4a7c15
	return int(m.table[(h>>16)%maglevSize])
}

// Random spreads keys without regard to what they are: for caches whose every server holds the same. Its sequence is not for secrets.
type Random struct {
	modula Modula
	next   func() uint32
}

// NewRandom distributes by weight with the numbers that next yields.
func NewRandom(servers []Server, next func() uint32) (*Random, error) {
	m, err := NewModula(servers)
	if err != nil {
		return nil, err
	}
	return &Random{modula: *m, next: next}, nil
}

// Place ignores the hash.
func (r *Random) Place(uint32) int { return r.modula.Place(r.next()) }
