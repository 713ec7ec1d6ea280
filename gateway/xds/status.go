package xds

import (
	"maps"
	"slices"
	"time"
)

// Status is what /config_dump and the live page show of the control plane.
type Status struct {
	Server    string            `json:"server,omitempty"` // that is connected
	Error     string            `json:"error,omitempty"`  // of the last attempt
	Delta     bool              `json:"delta"`
	Resources []ResourceStatus  `json:"resources"`
	Waiting   map[string]string `json:"waiting,omitempty"`
	Ignored   map[string]notes  `json:"ignored,omitempty"`
}

// ResourceStatus is one resource, in the words of Envoy's client status.
type ResourceStatus struct {
	Type    string    `json:"type"`
	Name    string    `json:"name"`
	Version string    `json:"version_info,omitempty"`
	Status  string    `json:"client_status"` // REQUESTED, DOES_NOT_EXIST, ACKED, NACKED
	Updated time.Time `json:"last_updated,omitzero"`
	Error   *rejected `json:"error_state,omitempty"`
}

// Status is a view of the present.
func (c *Client) Status() *Status { return c.status.Load() }

// publish makes the view; only the goroutine that owns the store does.
func (c *Client) publish() {
	s := &Status{Server: c.server, Error: c.lastErr, Delta: c.engine.delta, Resources: []ResourceStatus{}}
	ignored := 0
	for _, url := range order {
		for _, name := range slices.Sorted(maps.Keys(c.store.items[url])) {
			it := c.store.items[url][name]
			r := ResourceStatus{Type: short(url), Name: name, Version: it.version, Status: "ACKED", Updated: it.updated, Error: it.rejected}
			switch {
			case it.rejected != nil:
				r.Status = "NACKED"
			case it.missing:
				r.Status = "DOES_NOT_EXIST"
			case it.message == nil:
				r.Status = "REQUESTED"
			}
			s.Resources = append(s.Resources, r)
		}
		for name := range c.engine.types[url].pending {
			if c.store.items[url][name] == nil {
				s.Resources = append(s.Resources, ResourceStatus{Type: short(url), Name: name, Status: "REQUESTED"})
			}
		}
	}
	if len(c.options.Ignored) > 0 {
		s.Ignored = map[string]notes{"bootstrap": c.options.Ignored}
		ignored += len(c.options.Ignored)
	}
	if c.builds != nil {
		s.Waiting = c.builds.waiting
		if s.Ignored == nil {
			s.Ignored = make(map[string]notes)
		}
		for what, n := range c.builds.notes {
			if len(n) > 0 {
				s.Ignored[what] = n
				ignored += len(n)
			}
		}
	}
	c.ignored.Set(int64(ignored))
	c.waiting.Set(int64(len(s.Waiting)))
	c.status.Store(s)
}
