package socket

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Sizes of pooled buffers: powers of two from 4 kB to 256 kB. Bigger ones are allocated for the moment and left to the collector.
const (
	MinBuffer = 4 << 10
	MaxBuffer = 256 << 10

	minShift = 12
	classes  = 7
)

// Buffers is a set of pooled buffers. The zero value is ready. Memory nobody took goes back to the collector.
type Buffers struct {
	pools [classes]sync.Pool
	inUse atomic.Int64
}

// Shared is the process's pool, used by everyone who has no reason for its own.
var Shared Buffers

// Buffer is a borrowed piece of memory. It must not be touched after Free.
type Buffer struct {
	data  []byte
	class int8 // -1: not pooled
	freed bool
	owner *Buffers
}

// Get returns a buffer of at least size bytes, its content undefined.
func (p *Buffers) Get(size int) *Buffer {
	c := class(size)
	if c < 0 {
		p.inUse.Add(int64(size))
		return &Buffer{data: make([]byte, size), class: -1, owner: p}
	}
	b, _ := p.pools[c].Get().(*Buffer)
	if b == nil {
		b = &Buffer{data: make([]byte, MinBuffer<<c), class: int8(c), owner: p}
	}
	b.freed = false
	p.inUse.Add(int64(len(b.data)))
	return b
}

// InUse returns how many bytes are taken and not yet freed.
func (p *Buffers) InUse() int64 { return p.inUse.Load() }

// Bytes is the buffer's whole memory.
func (b *Buffer) Bytes() []byte { return b.data }

// Free gives the buffer back. Freeing nil does nothing.
func (b *Buffer) Free() {
	if b == nil {
		return
	}
	if b.freed {
		panic("socket: buffer freed twice") // two owners of one buffer would mix two sessions' bytes
	}
	b.freed = true
	b.owner.inUse.Add(-int64(len(b.data)))
	if b.class >= 0 {
		b.owner.pools[b.class].Put(b)
	}
}

// class returns the smallest class that holds size, or -1.
func class(size int) int {
	switch {
	case size <= MinBuffer:
		return 0
	case size > MaxBuffer:
		return -1
	}
	return bits.Len(uint(size-1)) - minShift
}
