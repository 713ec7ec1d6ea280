package cluster

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// Bounds of how long an answer is believed, whatever its TTL says, and of how soon a failed lookup is tried again.
const (
	minTTL     = time.Second
	maxTTL     = 5 * time.Minute
	defaultTTL = 30 * time.Second // of answers without one, such as those of a hosts file
	retryAfter = time.Second
)

// Resolver looks names up. Tests bring their own.
type Resolver interface {
	// Addresses are all A and AAAA records of a name, with the shortest of their TTLs; 0 when it is not known.
	Addresses(ctx context.Context, host string) ([]netip.Addr, time.Duration, error)
	// Services are the SRV records of a name, best priority only.
	Services(ctx context.Context, name string) ([]*net.SRV, time.Duration, error)
}

// resolving keeps the endpoints of names up to date. One goroutine of the cluster runs it.
type resolving struct {
	cluster *Cluster
	conf    *config.Cluster
	wake    chan struct{} // holds one: an endpoint failed

	mu    sync.Mutex                   // guards known: the next resolving takes it over while this one may still be asking
	known map[string][]config.Endpoint // what each configured address last stood for
}

// last is what was known last.
func (r *resolving) last() map[string][]config.Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.known)
}

// names reports whether a configuration has anything to look up.
func names(c *config.Cluster) bool {
	return c.Resolve != "" && c.Resolve != "first" && slices.ContainsFunc(c.Endpoints, func(e config.Endpoint) bool { return isName(c, e.Address) })
}

// isName reports whether an endpoint's address has to be looked up; those of SRV records are names without a port.
func isName(c *config.Cluster, address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return c.Resolve == "srv"
	}
	_, err = netip.ParseAddr(host)
	return err != nil && host != "" && !strings.HasPrefix(address, "unix:")
}

func (r *resolving) run(ctx context.Context, resolved chan<- struct{}) {
	first := true
	for {
		began := time.Now()
		ttl := r.lookup(ctx)
		if ctx.Err() != nil {
			return
		}
		r.cluster.setEndpoints(r.conf, r.endpoints())
		if first {
			close(resolved)
			first = false
		}
		timer := time.NewTimer(ttl)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
			// A flood of failures must not become a flood of questions.
			if pause := retryAfter - time.Since(began); pause > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
			}
		}
	}
}

// endpoints are all that is known now, in the order of the configuration.
func (r *resolving) endpoints() []config.Endpoint {
	var out []config.Endpoint
	known, seen := r.last(), map[string]bool{}
	for _, e := range r.conf.Endpoints {
		list := []config.Endpoint{e}
		if isName(r.conf, e.Address) {
			list = known[e.Address]
		}
		for _, x := range list {
			if !seen[x.Address] { // two names may lead to one server
				seen[x.Address] = true
				out = append(out, x)
			}
		}
	}
	return out
}

// lookup asks for every name once and returns when to ask again. A name that cannot be resolved keeps what it last stood
// for: a resolver's failure says nothing about the servers.
func (r *resolving) lookup(ctx context.Context) time.Duration {
	next := maxTTL
	for _, e := range r.conf.Endpoints {
		if !isName(r.conf, e.Address) {
			continue
		}
		list, ttl, err := r.one(ctx, e)
		var missing *net.DNSError
		switch {
		case err == nil && len(list) > 0:
			r.mu.Lock()
			r.known[e.Address] = list
			r.mu.Unlock()
		case errors.As(err, &missing) && missing.IsNotFound:
			if len(r.last()[e.Address]) > 0 {
				r.cluster.deps.Log.Warn("name is gone; its last addresses stay", "cluster", r.cluster.name, "name", e.Address)
			}
			fallthrough
		default:
			r.cluster.deps.Log.Warn("resolving name", "cluster", r.cluster.name, "name", e.Address, "error", err)
			ttl = retryAfter
		}
		next = min(next, max(ttl, minTTL))
	}
	return next
}

func (r *resolving) one(ctx context.Context, e config.Endpoint) ([]config.Endpoint, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, r.conf.ConnectTimeout.Std())
	defer cancel()
	if r.conf.Resolve == "srv" {
		return r.services(ctx, e, e.Address)
	}
	host, port, err := net.SplitHostPort(e.Address)
	if err != nil {
		return nil, 0, err
	}
	addresses, ttl, err := r.cluster.deps.Resolver.Addresses(ctx, host)
	if ttl == 0 {
		ttl = defaultTTL
	}
	return expand(e, addresses, port, host), ttl, err
}

func (r *resolving) services(ctx context.Context, e config.Endpoint, name string) ([]config.Endpoint, time.Duration, error) {
	records, ttl, err := r.cluster.deps.Resolver.Services(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	if ttl == 0 {
		ttl = defaultTTL
	}
	var out []config.Endpoint
	for _, s := range records {
		target := strings.TrimSuffix(s.Target, ".")
		addresses, t, err := r.cluster.deps.Resolver.Addresses(ctx, target)
		if err != nil {
			return nil, 0, err
		}
		if t > 0 {
			ttl = min(ttl, t)
		}
		of := e
		of.Weight = max(1, int(s.Weight))
		out = append(out, expand(of, addresses, strconv.Itoa(int(s.Port)), target)...)
	}
	return out, ttl, nil
}

// expand is an endpoint an address, in a stable order, so that placements that depend on it do not move at every answer.
func expand(e config.Endpoint, addresses []netip.Addr, port, host string) []config.Endpoint {
	slices.SortFunc(addresses, netip.Addr.Compare)
	var out []config.Endpoint
	for _, a := range slices.Compact(addresses) {
		x := e
		x.Address = net.JoinHostPort(a.Unmap().String(), port)
		x.Host = host
		out = append(out, x)
	}
	return out
}
