package redis

import (
	"strings"
	"time"

	"github.com/sidewire/sidewire/protocols/redis"
)

// rules are what a listener says about commands: which are refused, how long each may take, and what goes wrong on purpose. A listener
// without any keeps its sessions on the fast path.
type rules struct {
	refused  [redis.Count]bool
	timeouts [redis.Count]int64 // nanoseconds; 0: the cluster's
	timed    bool
	faults   []fault
}

// fault is something that goes wrong on purpose.
type fault struct {
	percent  float64
	delay    time.Duration
	fails    bool
	commands map[uint16]bool // nil: all
}

// faultText is Envoy's.
const faultText = "Fault Injected: Error"

// newRules compiles a listener's block; nil if it says nothing.
func newRules(b *ListenerBlock) *rules {
	if len(b.Commands) == 0 && len(b.Faults) == 0 {
		return nil
	}
	t := &rules{}
	for _, c := range b.Commands {
		for _, name := range c.Names {
			for _, id := range commandIDs(name) {
				t.refused[id] = t.refused[id] || c.Refuse
				if c.Timeout > 0 {
					t.timeouts[id], t.timed = int64(c.Timeout.Std()), true
				}
			}
		}
	}
	for _, f := range b.Faults {
		x := fault{percent: f.Percent, delay: f.Delay.Std(), fails: f.Type == "error"}
		for _, name := range f.Commands {
			if x.commands == nil {
				x.commands = map[uint16]bool{}
			}
			for _, id := range commandIDs(name) {
				x.commands[id] = true
			}
		}
		t.faults = append(t.faults, x)
	}
	return t
}

// commandIDs are the IDs behind a name: of a container's subcommands too. None: there is no such command.
func commandIDs(name string) []uint16 {
	container, sub, ok := strings.Cut(strings.ToLower(name), "|")
	c := redis.Lookup([]byte(container))
	if c != nil && ok {
		c = c.Subcommand([]byte(sub))
	}
	if c == nil {
		return nil
	}
	ids := []uint16{c.ID}
	for i := range c.Sub {
		ids = append(ids, c.Sub[i].ID)
	}
	return ids
}

// unharmed are the commands that faults leave alone, as Envoy does, and those without which no client gets anywhere.
func unharmed(c *redis.Command) bool {
	switch c.Name {
	case "auth", "ping", "hello", "quit", "reset":
		return true
	}
	return false
}

// rule applies the listener's rules to the request. It returns true if that is all there is to do; result is then what command returns.
func (s *session) rule(c *redis.Command) (done, result bool) {
	t := s.gate.rules
	if c == nil {
		return false, false
	}
	id := c.ID
	if len(c.Sub) > 0 && s.request.Len() > 1 {
		if sub := c.Subcommand(s.request.Arg(1)); sub != nil {
			id = sub.ID
		}
	}
	if t.refused[id] {
		s.spoil()
		return true, s.refuse("NOPERM this listener does not allow the '" + commandName(id) + "' command")
	}
	if s.delayed || unharmed(c) {
		s.delayed = false
		return false, false
	}
	f := t.strike(s.engine.rnd.Float64()*100, id, c.ID)
	if f == nil {
		return false, false
	}
	if f.delay > 0 {
		// What the client says next waits as well: replies keep their order.
		s.gate.stats.delayed++
		s.wait()
		s.delayed = !f.fails
		s.engine.sleep(f.delay, func() {
			if s.closed {
				return
			}
			if f.fails {
				s.failing = true
			}
			s.proceed()
		})
		return true, false
	}
	if f.fails {
		s.gate.stats.failed++
		s.spoil()
		return true, s.refuse(faultText)
	}
	return false, false
}

// strike chooses the fault for a command: each in turn has its share of the same hundred.
func (t *rules) strike(chance float64, id, container uint16) *fault {
	sum := 0.0
	for i := range t.faults {
		f := &t.faults[i]
		if f.commands != nil && !f.commands[id] && !f.commands[container] {
			continue
		}
		if sum += f.percent; chance < sum {
			return f
		}
	}
	return nil
}

// spoil makes a transaction that is being collected fail at EXEC: a command of it was refused here.
func (s *session) spoil() {
	switch {
	case s.multi != nil:
		s.multi.broken = true
	case s.lease != nil && s.track.multi:
		// The server has to hear of a command that cannot be queued.
		s.lease.send(redis.AppendCommand(nil, "SIDEWIRE.REFUSED")).kind = kindDiscard
	}
}

// sleeper is what happens after a while.
type sleeper struct {
	due int64
	do  func()
}

// sleep has f called on the engine's goroutine after a while.
func (e *engine) sleep(d time.Duration, f func()) {
	due := e.clock + int64(d)
	e.sleepers = append(e.sleepers, sleeper{due, f})
	e.out.alarm(time.Unix(0, due))
}

// awaken calls those whose time has come.
func (e *engine) awaken() {
	due := e.sleepers
	e.sleepers = nil
	for _, s := range due {
		if s.due > e.clock {
			e.sleepers = append(e.sleepers, s)
			e.out.alarm(time.Unix(0, s.due))
		} else {
			s.do()
		}
	}
}

// limit is how long a command may take.
func (b *backend) limit(p *pending) int64 {
	if s := p.owner(); s != nil && s.gate.rules != nil && int(p.command) < len(s.gate.rules.timeouts) {
		if t := s.gate.rules.timeouts[p.command]; t > 0 {
			return t
		}
	}
	return b.pool.node.upstream.timeout
}
