package listener

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/time/rate"

	"github.com/sidewire/sidewire/gateway/config"
)

// errDropped marks connections that are closed without a word: whoever is not allowed here, or talks about somebody else
// without being trusted to, learns nothing about the server.
var errDropped = errors.New("dropped")

// gate decides who may come in.
type gate struct {
	rate *rate.Limiter // nil: no limit
}

// newGate makes the gate of a configuration. The bucket of the one before goes on where its limits are the same, so that a
// reload gives nobody a fresh burst.
func newGate(c *config.Listener, before *state) *gate {
	g := &gate{}
	if c.Limits.Rate > 0 {
		burst := c.Limits.Burst
		if burst == 0 {
			burst = max(1, int(c.Limits.Rate))
		}
		g.rate = rate.NewLimiter(rate.Limit(c.Limits.Rate), burst)
		if before != nil && before.config.Limits == c.Limits {
			g.rate = before.gate.rate
		}
	}
	return g
}

// admit says why a connection may not be served: nil when it may, errDropped when it is not even told.
func (l *Listener) admit(s *state, c *Conn) error {
	if err := l.readProxyHeader(s, c); err != nil {
		return fmt.Errorf("%w: reading PROXY header: %w", errDropped, err)
	}
	source := address(c.RemoteAddr())
	if source.IsValid() && !permitted(s.config, source) {
		return fmt.Errorf("%w: %s is not allowed", errDropped, source)
	}
	limits := s.config.Limits
	switch {
	case l.draining.Load():
		return ErrDraining
	case l.deps.Full != nil && l.deps.Full():
		return ErrNoMemory
	case limits.Connections > 0 && l.count.Load() > int64(limits.Connections):
		return ErrTooManyConnections
	case limits.PerSource > 0 && source.IsValid() && !l.count1(c, source, limits.PerSource):
		return ErrTooManyFromSource
	case s.gate.rate != nil && !s.gate.rate.Allow():
		return ErrTooFast
	}
	return nil
}

// count1 counts a connection of a source unless it has its limit already.
func (l *Listener) count1(c *Conn, source netip.Addr, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sources[source] >= limit {
		return false
	}
	l.sources[source]++
	c.source = source
	return true
}

func permitted(c *config.Listener, a netip.Addr) bool {
	return !within(c.Deny, a) && (len(c.Allow) == 0 || within(c.Allow, a))
}

func within(networks []config.Network, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// address is a TCP peer's address; invalid for a unix socket, whose file decides who may connect.
func address(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
