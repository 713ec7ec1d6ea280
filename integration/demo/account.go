package main

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// account is what the demo found: figures of what went where, and checks that held or did not.
type account struct {
	place  *place
	order  []string // groups of figures as they came
	shares map[string][]share
	checks []string
	failed bool
}

type share struct {
	where string
	count int
}

func (a *account) row(group, where string, count int) {
	if a.shares == nil {
		a.shares = map[string][]share{}
	}
	if _, known := a.shares[group]; !known {
		a.order = append(a.order, group)
	}
	a.shares[group] = append(a.shares[group], share{where, count})
}

func (a *account) check(held bool, format string, args ...any) {
	mark := "ok    "
	if !held {
		mark, a.failed = "FAILED", true
	}
	a.checks = append(a.checks, mark+"  "+fmt.Sprintf(format, args...))
}

func (a *account) print(w io.Writer, admin string) {
	p := a.place
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("")
	line("sidewire demo: sharded MySQL, hashed Redis and Kafka behind one process")
	if p.moved > 0 {
		line("(ports of conf/demo.yaml moved by %d, because some were taken)", p.moved)
	}
	line("")
	line("What runs where")
	line("  %-26s %-18s %s", "applications connect to", "sidewire", "stores behind it, in this process")
	for _, l := range []struct {
		what, listener string
		behind         []string
	}{
		{"MySQL database shop", "shop", append(p.clusters["shop-0"][:1:1], p.clusters["shop-1"]...)},
		{"Redis", "cache", p.clusters["cache"]},
		{"Kafka", "events", p.clusters["events"]},
	} {
		line("  %-26s %-18s %s", l.what, p.listeners[l.listener], strings.Join(l.behind, "  "))
	}
	line("")
	line("What went where")
	for _, group := range a.order {
		most := 1
		for _, s := range a.shares[group] {
			most = max(most, s.count)
		}
		line("  %s", group)
		for _, s := range a.shares[group] {
			line("    %-10s %5d  %s", s.where, s.count, strings.Repeat("=", 40*s.count/most))
		}
	}
	line("")
	line("Checks")
	for _, c := range a.checks {
		line("  %s", c)
	}
	line("")
	line("Try it")
	host, port, _ := net.SplitHostPort(p.listeners["shop"])
	line("  mysql -h %s -P %s -u %s -p%s shop -e 'SELECT COUNT(*), SUM(cents) FROM orders'", host, port, p.user, p.password)
	_, port, _ = net.SplitHostPort(p.listeners["cache"])
	line("  redis-cli -p %s MGET session:1 session:2 session:3", port)
	line("  kcat -b %s -C -t %s -o beginning -e", p.listeners["events"], topic)
	line("  curl http://%s/clusters        # also /config_dump, /metrics, /help", admin)
	line("")
}
