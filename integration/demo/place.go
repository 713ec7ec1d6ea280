package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// place is where everything listens: as the configuration says, or moved by the same step where some of it is taken.
type place struct {
	file  string // the configuration, moved
	moved int
	admin string

	listeners map[string]string   // by name
	clusters  map[string][]string // addresses of endpoints, by name
	password  string              // of the MySQL listener's first user, who is user
	user      string
	store     string // password of the account on the data sources
}

// outline is what the demo reads of its own configuration. sidewire reads the same file strictly.
type outline struct {
	Admin     struct{ Address string }
	Listeners []struct {
		Name, Address string
		MySQL         struct {
			Users []struct{ Name, Password string }
		} `yaml:"mysql"`
	}
	Clusters []struct {
		Name      string
		Endpoints []string
		MySQL     struct{ User, Password string } `yaml:"mysql"`
	}
}

var ports = regexp.MustCompile(`127\.0\.0\.1:(\d+)|ports: (\d+)-(\d+)`)

// settle finds a step at which every port of the file is free and writes the moved file, and the rules it names, to dir.
func settle(file, dir string) (*place, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const step, tries = 100, 50
	for moved := 0; moved < step*tries; moved += step {
		if !free(string(text), moved) {
			continue
		}
		p := &place{file: filepath.Join(dir, filepath.Base(file)), moved: moved}
		if err := os.WriteFile(p.file, []byte(move(string(text), moved)), 0o600); err != nil {
			return nil, err
		}
		rules, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*.sharding.yaml"))
		for _, rule := range rules {
			body, err := os.ReadFile(rule)
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(rule)), body, 0o600); err != nil {
				return nil, err
			}
		}
		return p, p.read()
	}
	return nil, fmt.Errorf("the ports of %s are taken, and %d sets of others too", file, tries)
}

// eachPort calls f with every port that the text names, the ends of ranges included.
func eachPort(text string, f func(port int)) {
	for _, found := range ports.FindAllStringSubmatch(text, -1) {
		for _, digits := range found[1:] {
			if port, err := strconv.Atoi(digits); err == nil {
				f(port)
			}
		}
	}
}

func free(text string, moved int) bool {
	all := true
	eachPort(text, func(port int) {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+moved)))
		if err != nil {
			all = false
			return
		}
		l.Close()
	})
	return all
}

var digits = regexp.MustCompile(`\d{4,5}`)

func move(text string, moved int) string {
	return ports.ReplaceAllStringFunc(text, func(found string) string {
		return digits.ReplaceAllStringFunc(found, func(port string) string {
			n, _ := strconv.Atoi(port)
			return strconv.Itoa(n + moved)
		})
	})
}

func (p *place) read() error {
	text, err := os.ReadFile(p.file)
	if err != nil {
		return err
	}
	var o outline
	if err := yaml.Unmarshal(text, &o); err != nil {
		return fmt.Errorf("reading %s: %w", p.file, err)
	}
	p.admin, p.listeners, p.clusters = o.Admin.Address, map[string]string{}, map[string][]string{}
	for _, l := range o.Listeners {
		p.listeners[l.Name] = l.Address
		for _, u := range l.MySQL.Users {
			p.user, p.password = u.Name, u.Password
		}
	}
	for _, c := range o.Clusters {
		p.clusters[c.Name] = c.Endpoints
		if c.MySQL.User != "" {
			p.store = c.MySQL.Password
		}
	}
	for _, name := range []string{"shop", "cache", "events"} {
		if p.listeners[name] == "" {
			return fmt.Errorf("reading %s: no listener named %q", p.file, name)
		}
	}
	for name, endpoints := range map[string]int{"shop-0": 1, "shop-1": 1, "cache": 3, "events": 3} {
		if len(p.clusters[name]) != endpoints {
			return fmt.Errorf("reading %s: cluster %q has %d endpoints, the demo shows %d", p.file, name, len(p.clusters[name]), endpoints)
		}
	}
	return nil
}
