package kafka

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Brokers that advertise the address of the proxy before them are common, because clients without a rewriting proxy need that.
// sidewire would connect to itself, again and again, so whatever it is about to dial is compared with its own addresses.

// lookTime bounds the question what a host name is; without an answer names are compared as they are.
const lookTime = 2 * time.Second

// own tells whose an address is when it is sidewire's own, or nothing.
func (u *upstream) own(ctx context.Context, address string) error {
	snapshot := u.host.Snapshot()
	if snapshot == nil { // the first configuration is being applied: nobody listens yet
		return nil
	}
	for _, l := range snapshot.Listeners() {
		if same(ctx, address, l.Address) {
			return u.loop(address, l.Name)
		}
	}
	return nil
}

func (u *upstream) loop(address, listener string) error {
	return fmt.Errorf("%s is an address of sidewire's own listener %q: set the brokers' advertised.listeners, or say under addresses of cluster %q where they are",
		address, listener, u.cluster.Name())
}

// own is the same for the addresses that this listener opened for brokers.
func (d *door) own(ctx context.Context, u *upstream, address string) error {
	if err := u.own(ctx, address); err != nil {
		return err
	}
	d.mu.RLock()
	var taken []string
	for _, p := range d.places {
		if p.socket == nil { // told apart by name
			taken = append(taken, endpoint(p.host, p.port))
		} else {
			taken = append(taken, p.address)
		}
	}
	d.mu.RUnlock()
	if slices.ContainsFunc(taken, func(a string) bool { return same(ctx, address, a) }) {
		return u.loop(address, d.name)
	}
	return nil
}

// same says whether a connection to an address arrives at a socket that listens on another. Nobody is asked what a name is
// unless the ports are the same.
func same(ctx context.Context, address, listening string) bool {
	host, port, err1 := net.SplitHostPort(address)
	own, ownPort, err2 := net.SplitHostPort(listening)
	if err1 != nil || err2 != nil || port != ownPort {
		return false
	}
	if strings.EqualFold(host, own) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	ips := resolve(ctx, host)
	if wildcard(own) {
		return slices.ContainsFunc(ips, local)
	}
	owns := resolve(ctx, own)
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool { return slices.Contains(owns, ip) })
}

func resolve(ctx context.Context, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}

// local says whether an address is one of this machine's.
func local(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		own, ok := netip.AddrFromSlice(n.IP)
		return ok && own.Unmap() == ip
	})
}
