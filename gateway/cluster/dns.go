package cluster

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is the system's resolver (hosts file, search domains, resolv.conf) with the TTLs that package net keeps to itself:
// it listens to the answers on their way in.
type DNS struct {
	// Dial opens a connection to a name server; nil asks those of the system.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Addresses looks A and AAAA records up.
func (d *DNS) Addresses(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	var ttl shortest
	list, err := d.resolver(&ttl).LookupNetIP(ctx, "ip", host)
	return list, ttl.value(), err
}

// Services looks SRV records up and returns those of the best priority.
func (d *DNS) Services(ctx context.Context, name string) ([]*net.SRV, time.Duration, error) {
	var ttl shortest
	_, list, err := d.resolver(&ttl).LookupSRV(ctx, "", "", name)
	for i, s := range list {
		if s.Priority != list[0].Priority { // they come sorted
			list = list[:i]
			break
		}
	}
	return list, ttl.value(), err
}

func (d *DNS) resolver(ttl *shortest) *net.Resolver {
	dial := d.Dial
	if dial == nil {
		var dialer net.Dialer
		dial = dialer.DialContext
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// Package net tells datagrams from streams by the connection's type, which has to stay visible. Over streams, rare
		// for answers of this size, the default TTL serves.
		if udp, ok := conn.(*net.UDPConn); ok {
			return &eavesdropper{UDPConn: udp, ttl: ttl}, nil
		}
		return conn, nil
	}}
}

// shortest is the shortest TTL seen, in seconds plus one; zero means none. A and AAAA are asked for side by side.
type shortest struct{ n atomic.Uint64 }

func (s *shortest) see(ttl uint32) {
	for {
		old := s.n.Load()
		if old != 0 && old <= uint64(ttl)+1 {
			return
		}
		if s.n.CompareAndSwap(old, uint64(ttl)+1) {
			return
		}
	}
}

func (s *shortest) value() time.Duration {
	n := s.n.Load()
	switch n {
	case 0:
		return 0
	case 1:
		return minTTL // "do not keep this at all" is not "unknown"
	}
	return min(time.Duration(n-1)*time.Second, maxTTL)
}

type eavesdropper struct {
	*net.UDPConn
	ttl *shortest
}

func (e *eavesdropper) Read(b []byte) (int, error) {
	n, err := e.UDPConn.Read(b)
	if err == nil {
		e.listen(b[:n])
	}
	return n, err
}

func (e *eavesdropper) listen(message []byte) {
	var p dnsmessage.Parser
	if _, err := p.Start(message); err != nil {
		return
	}
	if err := p.SkipAllQuestions(); err != nil {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return
		}
		e.ttl.see(h.TTL)
		if err := p.SkipAnswer(); err != nil {
			return
		}
	}
}
