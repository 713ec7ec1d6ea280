package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Compile turns a model into a snapshot, or says everything that is wrong with it. It is pure.
//
// Resources whose content did not change since prev (which may be nil) keep their pointers, so that whoever holds one can
// tell by comparison that nothing happened to it.
func (l Language) Compile(m *Model, prev *Snapshot) (*Snapshot, []Problem) {
	var problems []Problem
	add := func(ps ...Problem) { problems = append(problems, ps...) }

	seen := map[string]Path{}
	for i, ln := range m.Listeners {
		at := Path("listeners").Index(i)
		add(unique(seen, "listener", ln.Name, at.Field("name"))...)
		if bad := checkAddress(ln.Address, true); bad != "" {
			add(at.Field("address").Problem("%s", bad))
		} else if !anyPort(ln.Address) {
			add(unique(seen, "listener address", ln.Address, at.Field("address"))...)
		}
		if p := l.protocol(ln.Protocol); p != nil {
			add(p.CheckListener(m, ln, at.Field(ln.Protocol))...)
		}
		if ln.TLS != nil {
			if _, err := ln.TLS.Config(); err != nil {
				add(at.Field("tls").Problem("%v", err))
			}
		}
	}
	if len(m.Listeners) == 0 && !m.Partial && len(m.XDS.Servers) == 0 {
		add(Path("listeners").Problem("is missing; without a listener there is nothing to serve"))
	}
	for i, c := range m.Clusters {
		at := Path("clusters").Index(i)
		add(unique(seen, "cluster", c.Name, at.Field("name"))...)
		add(checkEndpoints(c, at.Field("endpoints"), m.Partial)...)
		if c.ConnectTimeout <= 0 {
			add(at.Field("connect_timeout").Problem("must be more than 0"))
		}
		if !c.Health.Disabled && (c.Health.Interval <= 0 || c.Health.Timeout <= 0) {
			add(at.Field("health").Problem("interval and timeout must be more than 0; `disabled: true` turns probes off"))
		}
		if p := l.protocol(c.Protocol); p != nil {
			add(p.CheckCluster(m, c, at.Field(c.Protocol))...)
		}
		add(l.checkMeaning(c, at)...)
		if c.TLS != nil {
			if _, err := c.TLS.Config("host"); err != nil {
				add(at.Field("tls").Problem("%v", err))
			}
		}
	}
	counts := map[string]int{}
	for _, r := range m.Resources {
		at := Path(r.Kind).Index(counts[r.Kind])
		counts[r.Kind]++
		add(unique(seen, "name in "+r.Kind+":", r.Name, at.Field("name"))...)
		add(l.kind(r.Kind).Check(m, r, at)...)
	}
	for i, server := range m.XDS.Servers {
		if bad := checkAddress(server.Address, false); bad != "" {
			add(Path("xds.servers").Index(i).Field("address").Problem("%s", bad))
		}
	}
	if m.Admin.Address != "" {
		if bad := checkAddress(m.Admin.Address, true); bad != "" {
			add(Path("admin.address").Problem("%s", bad))
		}
	}
	add(checkTelemetry(&m.Telemetry, "telemetry")...)
	if len(problems) > 0 {
		return nil, problems
	}
	return newSnapshot(m, prev), nil
}

func unique(seen map[string]Path, what, name string, at Path) []Problem {
	key := what + "\x00" + name
	if first, ok := seen[key]; ok {
		return []Problem{at.Problem("duplicate %s %q; the first is at %s", what, name, first)}
	}
	seen[key] = at
	return nil
}

func checkEndpoints(c *Cluster, at Path, partial bool) []Problem {
	var problems []Problem
	if len(c.Endpoints) == 0 && !partial {
		problems = append(problems, at.Problem("is empty; a cluster needs at least one endpoint"))
	}
	seen := map[string]Path{}
	for i, e := range c.Endpoints {
		if c.Resolve == "srv" && !strings.Contains(e.Address, ":") && e.Address != "" {
			// The name of SRV records brings its own ports.
		} else if bad := checkAddress(e.Address, false); bad != "" {
			problems = append(problems, at.Index(i).Problem("%s", bad))
			continue
		}
		problems = append(problems, unique(seen, "endpoint", e.Address, at.Index(i))...)
	}
	return problems
}

// checkAddress says what is wrong with host:port or unix:/path; an address to bind may lack its host and have port 0.
func checkAddress(address string, bind bool) string {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return "unix: needs a path, such as unix:/run/sidewire/mysql.sock"
		}
		if len(path) > 107 {
			return fmt.Sprintf("the socket path has %d bytes; the system takes at most 107", len(path))
		}
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Sprintf("%q is not an address; expected host:port or unix:/path", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || (n == 0 && !bind) {
		return fmt.Sprintf("%q is not a port; expected a number from 1 to 65535", port)
	}
	if host == "" && !bind {
		return fmt.Sprintf("%q names no host", address)
	}
	return ""
}

func anyPort(address string) bool { return strings.HasSuffix(address, ":0") }
