package redis

import "github.com/sidewire/sidewire/protocols/redis"

// meter counts an upstream's commands. It is written by the engine alone and read on its goroutine.
type meter struct {
	count  [redis.Count + 1]uint64
	failed [redis.Count + 1]uint64
	nanos  [redis.Count + 1]int64
	worst  [redis.Count + 1]int64
}

func (m *meter) answered(command uint16, took int64, failed bool) {
	m.count[command]++
	m.nanos[command] += took
	if took > m.worst[command] {
		m.worst[command] = took
	}
	if failed {
		m.failed[command]++
	}
}
