package redis

import (
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// logAccess makes the engine tell the access log of replies while there is one. It looks once a wake, not once a command.
func (r *room) logAccess(time.Time) {
	log := r.host.Access()
	if log == r.access {
		return
	}
	r.access = log
	if log == nil {
		r.engine.observe = nil
		return
	}
	r.engine.observe = func(n *node, p pending, size int, failed bool) {
		took := time.Duration(r.engine.clock - p.start)
		if !log.Wants(took, failed) {
			return
		}
		e := telemetry.Entry{
			Time: time.Unix(0, p.start), Protocol: protocolName, Operation: strings.ToUpper(commandName(p.command)), Target: n.upstream.name,
			Endpoint: n.address, Duration: took, Upstream: took, BytesIn: p.end - p.from, BytesOut: int64(size),
		}
		if failed {
			e.Code = "ERR"
		}
		s := p.session
		if s == nil && p.op != nil {
			s = p.op.session
		}
		if s != nil {
			e.Listener, e.Client, e.User, e.Session = s.gate.name, s.addr, s.user, uint64(s.id)
		}
		log.Log(&e)
	}
}
