package admin

import (
	"embed"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/telemetry"
)

// The page is plain HTML, CSS and JavaScript without a framework: it loads nothing from elsewhere, and asks for /live again and
// again while somebody looks at it.
//
//go:embed page
var pageFiles embed.FS

// pageRows is how many statements a table of the page shows.
const pageRows = 25

// asset serves one embedded file. It needs no token: there is nothing in it; what it shows, it asks /live for.
func (s *Server) asset(name, kind string) http.HandlerFunc {
	content, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic("admin: " + err.Error())
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Write(content)
	}
}

// pageState is what the page shows. Counts are since the start: the page takes differences.
type pageState struct {
	Time      time.Time              `json:"time"`
	Version   string                 `json:"version"`
	State     State                  `json:"state"`
	Node      Node                   `json:"node"`
	Zone      string                 `json:"zone,omitempty"`
	Config    string                 `json:"config"`
	Uptime    float64                `json:"uptime_seconds"`
	Listeners []pageListener         `json:"listeners"`
	Databases []pageDatabase         `json:"databases"`
	Clusters  []pageCluster          `json:"clusters"`
	Traffic   []pageTraffic          `json:"traffic"`
	Pins      []pagePin              `json:"pins"`
	Slow      []telemetry.SlowView   `json:"slow"`
	Digests   []telemetry.DigestView `json:"digests"`
	Rejected  any                    `json:"rejected"`
}

type pageListener struct {
	Name        string   `json:"name"`
	Address     string   `json:"address"`
	Protocol    string   `json:"protocol"`
	Connections int      `json:"connections"`
	Uses        []string `json:"uses"` // virtual databases and clusters
}

type pageDatabase struct {
	Name string   `json:"name"`
	Uses []string `json:"uses"`
}

type pageCluster struct {
	Name      string         `json:"name"`
	Protocol  string         `json:"protocol"`
	Endpoints []pageEndpoint `json:"endpoints"`
}

type pageEndpoint struct {
	Address  string   `json:"address"`
	Zone     string   `json:"zone,omitempty"`
	Role     string   `json:"role"`
	Healthy  bool     `json:"healthy"`
	Ejected  bool     `json:"ejected"`
	Lag      *float64 `json:"lag_seconds"`
	Inflight int64    `json:"inflight"`
	Version  string   `json:"version,omitempty"`
	Problem  string   `json:"problem,omitempty"`
}

// pageTraffic is what passed one listener, or a cluster where statements are counted there.
type pageTraffic struct {
	Listener string  `json:"listener,omitempty"`
	Cluster  string  `json:"cluster,omitempty"`
	Protocol string  `json:"protocol"`
	Count    int64   `json:"count"`
	Errors   int64   `json:"errors"`
	Seconds  float64 `json:"seconds"`
	Bytes    float64 `json:"bytes"`
}

type pagePin struct {
	Listener string `json:"listener"`
	Reason   string `json:"reason"` // empty: the sessions that are pinned now
	Count    int64  `json:"count"`
}

// live is everything the page shows, at one moment.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	o := s.options
	now := o.Now()
	p := pageState{Time: now.UTC(), Version: o.Version, State: o.Life.State(), Node: o.Node, Uptime: now.Sub(o.Source.Started()).Seconds(),
		Listeners: []pageListener{}, Databases: []pageDatabase{}, Clusters: s.pageClusters()}
	if snap := o.Source.Snapshot(); snap != nil {
		p.Config, p.Zone = snap.Version, snap.Node.Zone
		if p.Node.ID == "" {
			p.Node = Node{ID: snap.Node.ID, Cluster: snap.Node.Cluster}
		}
		p.Listeners = s.pageListeners(snap.Dump())
		for _, r := range snap.Resources() {
			if u, ok := r.Value.(interface{ Uses() []string }); ok {
				p.Databases = append(p.Databases, pageDatabase{Name: r.Name, Uses: sorted(u.Uses())})
			}
		}
	}
	digests := o.Source.Statements().Digests()
	p.Traffic, p.Pins = traffic(digests, o.Source.Metrics().Read())
	p.Digests = append([]telemetry.DigestView{}, digests[:min(len(digests), pageRows)]...)
	p.Slow = o.Source.Statements().Slow()
	p.Slow = append([]telemetry.SlowView{}, p.Slow[:min(len(p.Slow), pageRows)]...)
	if o.Rejected != nil {
		p.Rejected = o.Rejected()
	}
	writeJSON(w, p)
}

func sorted(all []string) []string {
	slices.Sort(all)
	return append([]string{}, slices.Compact(all)...)
}

func (s *Server) pageListeners(dump map[string]any) []pageListener {
	blocks := map[string]any{}
	list, _ := dump["listeners"].([]any)
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			name, _ := m["name"].(string)
			blocks[name] = m
		}
	}
	out := []pageListener{}
	for _, l := range s.options.Source.Listeners() {
		c := l.Config()
		uses := []string{}
		if m, ok := blocks[l.Name()].(map[string]any); ok {
			uses = references(uses, m[c.Protocol])
		}
		out = append(out, pageListener{Name: l.Name(), Address: bound(l.Addr()), Protocol: c.Protocol, Connections: l.Connections(), Uses: sorted(uses)})
	}
	return out
}

// references finds the clusters and virtual databases that a block names: every protocol has them in fields of these names, at
// whatever depth.
func references(found []string, v any) []string {
	switch x := v.(type) {
	case map[string]any:
		for key, inner := range x {
			switch named := inner.(type) {
			case string:
				if key == "cluster" && named != "" {
					found = append(found, named)
				}
			case []any:
				for _, item := range named {
					if name, ok := item.(string); ok && key == "databases" {
						found = append(found, name)
					}
				}
			}
			found = references(found, inner)
		}
	case []any:
		for _, inner := range x {
			found = references(found, inner)
		}
	}
	return found
}

func (s *Server) pageClusters() []pageCluster {
	out := []pageCluster{}
	for _, c := range s.options.Source.Clusters() {
		one := pageCluster{Name: c.Name(), Protocol: c.Config().Protocol, Endpoints: []pageEndpoint{}}
		for _, e := range c.Endpoints() {
			v := pageEndpoint{Address: e.Address(), Zone: e.Config().Zone, Role: e.Role().String(), Healthy: e.Healthy(), Ejected: e.Ejected(), Inflight: e.Inflight(), Problem: e.Problem()}
			if lag := e.Lag(); lag >= 0 {
				seconds := lag.Seconds()
				v.Lag = &seconds
			}
			if st := e.State(); st != nil {
				v.Version = st.Version
			}
			one.Endpoints = append(one.Endpoints, v)
		}
		out = append(out, one)
	}
	return out
}

// traffic sums statements by where they are counted, adds bytes where those are, and picks out pins.
func traffic(digests []telemetry.DigestView, families []telemetry.Family) ([]pageTraffic, []pagePin) {
	type place struct{ listener, cluster string }
	at := map[place]*pageTraffic{}
	get := func(p place, protocol string) *pageTraffic {
		t := at[p]
		if t == nil {
			t = &pageTraffic{Listener: p.listener, Cluster: p.cluster, Protocol: protocol}
			at[p] = t
		}
		return t
	}
	for i := range digests {
		d := &digests[i]
		t := get(place{d.Listener, d.Cluster}, d.Protocol)
		t.Count += d.Count
		t.Errors += d.Errors
		t.Seconds += d.Total
	}
	pins := []pagePin{}
	for i := range families {
		f := &families[i]
		listener := slices.Index(f.Labels, "listener")
		if listener < 0 {
			continue
		}
		protocol, _, _ := strings.Cut(strings.TrimPrefix(f.Name, "sidewire_"), "_")
		for _, sample := range f.Samples {
			name := sample.Labels[listener]
			switch {
			case strings.HasSuffix(f.Name, "_bytes_total") && f.Name != "sidewire_kafka_spliced_bytes_total":
				get(place{listener: name}, protocol).Bytes += sample.Value
			case strings.HasSuffix(f.Name, "_pins_total") && sample.Value > 0:
				if reason := slices.Index(f.Labels, "reason"); reason >= 0 {
					pins = append(pins, pagePin{Listener: name, Reason: sample.Labels[reason], Count: int64(sample.Value)})
				}
			case strings.HasSuffix(f.Name, "_pinned_sessions"):
				pins = append(pins, pagePin{Listener: name, Count: int64(sample.Value)})
			}
		}
	}
	sort.Slice(pins, func(i, j int) bool {
		return pins[i].Listener < pins[j].Listener || pins[i].Listener == pins[j].Listener && pins[i].Reason < pins[j].Reason
	})
	out := make([]pageTraffic, 0, len(at))
	for _, t := range at {
		out = append(out, *t)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Listener+"\x00"+out[i].Cluster < out[j].Listener+"\x00"+out[j].Cluster
	})
	return out, pins
}
