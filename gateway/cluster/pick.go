package cluster

import (
	"fmt"
	"slices"
	"time"
)

// Want says what kind of endpoint is looked for.
type Want struct {
	Role  Role      // Any when it does not matter
	Avoid *Endpoint // not this one, unless there is no other
	// MaxLag leaves out endpoints that are known to be further behind; 0: no limit.
	MaxLag time.Duration
	// Writable decides between several healthy endpoints that take writes.
	Writable Writable
}

// Writable is a rule that decides between primaries.
type Writable int

const (
	Refuse Writable = iota // none is chosen: an operator has to look
	First                  // the first in the order of the configuration
	ByRole                 // the one that the configuration calls primary
)

// decide chooses the primary of several; nil when the rule does not say.
func (w Writable) decide(fit []*Endpoint) (chosen *Endpoint) {
	switch w {
	case First:
		return fit[0]
	case ByRole:
		for _, e := range fit {
			if e.Config().Role == "primary" {
				if chosen != nil {
					return nil
				}
				chosen = e
			}
		}
	}
	return chosen
}

// NoEndpoint says why no endpoint of a cluster can serve.
type NoEndpoint struct {
	Cluster string
	Role    Role
	Reason  string
}

func (e *NoEndpoint) Error() string {
	if e.Role == Any {
		return fmt.Sprintf("cluster %q has no endpoint: %s", e.Cluster, e.Reason)
	}
	return fmt.Sprintf("cluster %q has no %s: %s", e.Cluster, e.Role, e.Reason)
}

// Pick chooses an endpoint among its candidates.
func (c *Cluster) Pick(w Want) (*Endpoint, error) {
	var room [16]*Endpoint
	fit, err := c.Candidates(w, room[:0])
	if err != nil {
		return nil, err
	}
	if w.Role == Primary && len(fit) > 1 {
		if e := w.Writable.decide(fit); e != nil {
			return e, nil
		}
		return nil, &NoEndpoint{c.name, w.Role, fmt.Sprintf("%s and %s both accept writes", fit[0].address, fit[1].address)}
	}
	return c.balance(fit), nil
}

// Candidates are the endpoints that may serve, at least one, in out, which is empty: for who chooses by a rule of its own.
//
// Endpoints that are out of health are taken only when no other of the wanted role is left: trying costs one error that is
// due anyway, and a server that is back is found before its next probe.
func (c *Cluster) Candidates(w Want, out []*Endpoint) ([]*Endpoint, error) {
	select {
	case <-c.gone:
		return nil, fmt.Errorf("cluster %q: %w", c.name, ErrClosed)
	default:
	}
	all := c.Endpoints()
	conf := c.Config()
	fit := c.matching(all, w, true, out)
	if len(fit) == 0 || conf.Health.Panic > 0 {
		var other [16]*Endpoint
		if whole := c.matching(all, w, false, other[:0]); len(fit)*100 < len(whole)*max(1, conf.Health.Panic) {
			fit = whole
		}
	}
	if w.Role != Primary {
		fit = foremost(without(fit, w.Avoid))
	}
	if conf.LocalZone && len(fit) > 1 && w.Role != Primary { // two sidewires must not write to two servers
		fit = local(fit, c.deps.Zone())
	}
	switch {
	case len(all) == 0:
		return nil, &NoEndpoint{c.name, w.Role, "no address is known for its names"}
	case len(fit) == 0:
		return nil, &NoEndpoint{c.name, w.Role, fmt.Sprintf("none of its %d endpoints is one", len(all))}
	}
	return fit, nil
}

// Rival is another endpoint than e that is healthy and takes writes; nil when there is none.
func (c *Cluster) Rival(e *Endpoint) *Endpoint {
	for _, other := range c.Endpoints() {
		if other != e && other.Role() == Primary && other.Healthy() {
			return other
		}
	}
	return nil
}

func (c *Cluster) matching(all []*Endpoint, w Want, healthy bool, out []*Endpoint) []*Endpoint {
	for _, e := range all {
		if healthy && !e.Healthy() {
			continue
		}
		if w.MaxLag > 0 && e.Lag() > w.MaxLag {
			continue
		}
		role := e.Role()
		if role == Unknown && len(all) == 1 {
			role = Primary // a cluster of one needs no probe to know who takes the writes
		}
		if w.Role == Any || role == w.Role {
			out = append(out, e)
		}
	}
	return out
}

// balance chooses among endpoints that all may serve; there is at least one.
func (c *Cluster) balance(fit []*Endpoint) *Endpoint {
	if len(fit) == 1 {
		return fit[0]
	}
	total := 0
	for _, e := range fit {
		total += e.Config().Weight
	}
	if total == 0 {
		return fit[0]
	}
	switch c.Config().Balance {
	case "latency":
		return c.quickest(fit, uint64(total))
	case "round_robin":
		return weighted(fit, c.turn.Add(1)%uint64(total))
	case "random":
		return weighted(fit, c.deps.Rand()%uint64(total))
	}
	// Least requests, of two: as even as looking at all, without their herding towards one that just became idle.
	r := c.deps.Rand()
	a, b := weighted(fit, r%uint64(total)), weighted(fit, (r>>32)%uint64(total))
	if b.Inflight()*int64(a.Config().Weight) < a.Inflight()*int64(b.Config().Weight) {
		return b
	}
	return a
}

// quickest is the better of two by expected wait: recent latency, which jumps up at once and comes down slowly, times the
// work that is under way. An endpoint that nobody asked yet is asked.
func (c *Cluster) quickest(fit []*Endpoint, total uint64) *Endpoint {
	r, now := c.deps.Rand(), c.deps.Now()
	a, b := weighted(fit, r%total), weighted(fit, (r>>32)%total)
	if b.latency.at(now)*float64(b.Inflight()+1) < a.latency.at(now)*float64(a.Inflight()+1) {
		return b
	}
	return a
}

// without leaves an endpoint out unless it is the only one: another zone's serves before it.
func without(fit []*Endpoint, avoid *Endpoint) []*Endpoint {
	if i := slices.Index(fit, avoid); i >= 0 && len(fit) > 1 {
		return append(fit[:i], fit[i+1:]...)
	}
	return fit
}

// foremost keeps the endpoints of the lowest priority number.
func foremost(fit []*Endpoint) []*Endpoint {
	if len(fit) < 2 {
		return fit
	}
	first := fit[0].Config().Priority
	same := true
	for _, e := range fit[1:] {
		p := e.Config().Priority
		same = same && p == first
		first = min(first, p)
	}
	if same {
		return fit
	}
	n := 0
	for _, e := range fit {
		if e.Config().Priority == first {
			fit[n] = e
			n++
		}
	}
	return fit[:n]
}

// local keeps the endpoints of a zone, or all when none is there.
func local(fit []*Endpoint, zone string) []*Endpoint {
	if zone == "" {
		return fit
	}
	n := 0
	for i, e := range fit {
		if e.Config().Zone == zone {
			fit[i], fit[n] = fit[n], fit[i]
			n++
		}
	}
	if n == 0 {
		return fit
	}
	return fit[:n]
}

func weighted(fit []*Endpoint, n uint64) *Endpoint {
	for _, e := range fit {
		w := uint64(e.Config().Weight)
		if n < w {
			return e
		}
		n -= w
	}
	return fit[len(fit)-1]
}
