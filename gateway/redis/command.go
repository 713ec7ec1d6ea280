package redis

import (
	"strings"

	"github.com/sidewire/sidewire/protocols/redis"
)

// action serves a command. It returns false if the command must wait and be looked at again; then it has changed nothing.
type action func(s *session, c *redis.Command) bool

// The tables say how a command is served over one server and over several. nil is the commonest path, keyed.
var single, sharded [redis.Count]action

// set fills a table by name; a name "config|get" is a subcommand.
func set(t *[redis.Count]action, h action, names ...string) {
	for _, name := range names {
		container, sub, ok := strings.Cut(name, "|")
		c := redis.Lookup([]byte(container))
		if c != nil && ok {
			c = c.Subcommand([]byte(sub))
		}
		if c == nil {
			panic("redis: no command " + name)
		}
		t[c.ID] = h
	}
}

func init() {
	all := redis.Commands()
	for i := range all {
		c := &all[i]
		fill(c)
		for j := range c.Sub {
			fill(&c.Sub[j])
		}
		if len(c.Sub) > 0 {
			sharded[c.ID] = container
		}
	}
	both := func(h action, names ...string) { set(&single, h, names...); set(&sharded, h, names...) }

	both((*session).auth, "auth")
	both((*session).hello, "hello")
	both((*session).quitCommand, "quit")
	both((*session).reset, "reset")
	both((*session).selectDB, "select")
	both((*session).refused, "sync", "psync", "replconf", "shutdown")
	both((*session).blocking, "blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin")
	both((*session).blockingRead, "xread", "xreadgroup")
	both((*session).wait_, "wait")
	both((*session).subscribe, "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe")

	both((*session).script, "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro")

	set(&single, (*session).stateful, "multi", "watch", "monitor", "debug")
	set(&single, (*session).killer, "script", "function")
	set(&single, (*session).client, "client")

	set(&sharded, (*session).local, "ping", "echo", "readonly", "readwrite", "asking")
	set(&sharded, (*session).client, "client")
	set(&sharded, (*session).multiCommand, "multi")
	set(&sharded, (*session).execCommand, "exec")
	set(&sharded, (*session).discardCommand, "discard")
	set(&sharded, (*session).watchCommand, "watch")
	set(&sharded, (*session).unwatchCommand, "unwatch")
	set(&sharded, (*session).anywhere, "command", "time", "lolwut", "lastsave")
	set(&sharded, (*session).pubsub, "publish", "pubsub|channels", "pubsub|numpat", "pubsub|numsub")
	set(&sharded, (*session).cluster, "cluster")
	set(&sharded, (*session).scan, "scan")
	set(&sharded, (*session).sameShard, "msetnx")
	set(&sharded, (*session).info, "info")
	set(&sharded, (*session).refused, "monitor", "migrate", "replicaof", "slaveof", "failover", "swapdb", "move", "save", "bgsave", "bgrewriteaof",
		"pfselftest", "restore-asking", "script|debug", "debug", "module|load", "module|loadex", "module|unload", "memory|malloc-stats",
		// What they tell is one server's: several have nothing to say together.
		"memory|stats", "memory|doctor", "latency|histogram", "latency|history", "latency|latest", "latency|doctor", "latency|graph", "acl|log")
	for _, name := range []string{"acl|list", "acl|users", "acl|cat", "acl|getuser", "acl|genpass", "acl|dryrun", "acl|whoami", "config|get", "function|list",
		"function|dump", "module|list", "slowlog|help", "acl|help", "config|help", "function|help",
		"latency|help", "memory|help", "module|help", "object|help", "pubsub|help", "script|help", "xgroup|help", "xinfo|help", "role"} {
		set(&sharded, (*session).anywhere, name)
	}
	set(&sharded, (*session).fanout, "acl|load", "config|set", "randomkey", "slowlog|len", "slowlog|reset", "slowlog|get", "latency|reset", "function|stats",
		"config|resetstat", "config|rewrite", "acl|setuser", "acl|deluser", "acl|save")
	set(&sharded, (*session).killers, "script|kill", "function|kill")
	fillPaused()
	fillHeld()
	fillRewritten()
}

// fill gives a command its handlers by what the table says of it.
func fill(c *redis.Command) {
	switch {
	case c.OneKey() > 0:
		sharded[c.ID] = nil
	case c.Request == redis.MultiShard:
		sharded[c.ID] = (*session).multiShard
	case c.Request == redis.AllShards || c.Request == redis.AllNodes:
		sharded[c.ID] = (*session).fanout
	case len(c.Keys) > 0:
		sharded[c.ID] = (*session).sameShard
	default:
		sharded[c.ID] = (*session).refused
	}
}

// container looks a subcommand up.
func container(s *session, c *redis.Command) bool {
	if s.request.Len() < 2 {
		return s.wrongArity(c)
	}
	name := s.request.Arg(1)
	sub := c.Subcommand(name)
	if sub == nil {
		return s.refuse("ERR unknown subcommand '" + clipped(name, 128) + "'. Try " + strings.ToUpper(c.Name) + " HELP.")
	}
	if h := sharded[sub.ID]; h != nil {
		return h(s, sub)
	}
	return s.keyed(sub)
}

// command serves the request that was just framed. It returns false if it must wait.
func (s *session) command() bool {
	if s.view.upstream != s.gate.upstream && !s.follow() {
		return s.hold()
	}
	c := redis.Lookup(s.request.Arg(0))
	if s.ordinary && c != nil {
		return s.dispatch(c)
	}
	return s.special(c)
}

// dispatch serves a command as the upstream's table says.
func (s *session) dispatch(c *redis.Command) bool {
	if h := s.view.upstream.handlers[c.ID]; h != nil {
		return h(s, c)
	}
	return s.keyed(c)
}

// special serves commands of sessions in a state, and those that no table knows.
func (s *session) special(c *redis.Command) bool {
	t := s.view.key.tracker
	if t == nil || t.caching == nil {
		return s.serve(c)
	}
	was := &t.caching[0]
	done := s.serve(c)
	if done && s.multi == nil && t.caching != nil && was == &t.caching[0] {
		t.caching = nil // it held for one command, or one transaction
	}
	return done
}

func (s *session) serve(c *redis.Command) bool {
	switch {
	case !s.admitted:
		if c != nil && (c.Has(redis.NoAuth) || c.Name == "quit") {
			return s.view.upstream.handlers[c.ID](s, c)
		}
		return s.refuse("NOAUTH Authentication required.")
	case s.failing:
		s.failing = false
		s.gate.stats.failed++
		s.spoil()
		return s.refuse(faultText)
	}
	if s.gate.rules != nil {
		if done, result := s.rule(c); done {
			return result
		}
	}
	switch {
	case s.lease != nil && !s.track.aside:
		return s.onLease(c)
	case s.multi != nil:
		return s.collect(c)
	case c == nil:
		return s.unknown()
	}
	return s.dispatch(c)
}

// unknown serves a command that the table does not know: a module's, or a newer server's. One server can judge for itself; over several
// one is asked where its keys stand.
func (s *session) unknown() bool {
	if s.view.upstream.mode == modeSingle {
		if s.engine.clock < s.view.upstream.pausedUntil {
			return s.stateful(nil)
		}
		if !s.adopt() {
			return s.hold()
		}
		return s.forward(0, nil)
	}
	return s.lookup()
}

// unknownText is Redis's own (server.c commandCheckExistence).
func unknownText(r *redis.Request) string {
	var args strings.Builder
	for i := 1; i < r.Len() && args.Len() < 128; i++ {
		args.WriteString("'" + clipped(r.Arg(i), 128-args.Len()) + "' ")
	}
	return "ERR unknown command '" + clipped(r.Arg(0), 128) + "', with args beginning with: " + args.String()
}

func clipped(b []byte, n int) string { return string(b[:min(len(b), max(n, 0))]) }

// unrecognised says that there is no such command.
func (s *session) unrecognised() bool {
	s.gate.stats.unsupported++
	return s.refuse(unknownText(&s.request))
}

// refused says no, and why.
func (s *session) refused(c *redis.Command) bool {
	s.gate.stats.unsupported++
	why := "is not supported through a proxy"
	if s.view.upstream.mode != modeSingle {
		why = "is not supported over several servers"
	}
	return s.refuse("ERR command '" + c.FullName() + "' " + why)
}

// sameShard serves a command whose keys must be on one shard.
func (s *session) sameShard(c *redis.Command) bool {
	if !s.adopt() {
		return s.hold()
	}
	node, ok := s.shardOf(c)
	if !ok {
		return true
	}
	return s.forward(node, c)
}

// shardOf finds the one shard of a request's keys, in the topology that the session has adopted; if it cannot it has answered.
func (s *session) shardOf(c *redis.Command) (node int, ok bool) {
	r := &s.request
	if !c.ArityOK(r.Len()) {
		s.wrongArity(c)
		return 0, false
	}
	u := s.view.upstream
	keys, err := c.AppendKeys(s.engine.keys[:0], r)
	s.engine.keys = keys[:0]
	if err != nil || len(keys) == 0 {
		// Keys whose number is none are no command's: any server says in its own words what is wrong.
		return s.anyNode(), true
	}
	first := r.Arg(keys[0])
	for _, k := range keys[1:] {
		if !u.same(first, r.Arg(k), c) {
			s.refuse(crossSlot)
			return 0, false
		}
	}
	return u.locate(first, c), true
}

// anyNode is the node for what has no key: always the same for a session, so that its commands keep their order.
func (s *session) anyNode() int {
	n := len(s.view.pools)
	if u := s.view.upstream; u.mode == modeRouted {
		n = min(n, u.home)
	}
	if n > 0 {
		return int(uint64(s.id) % uint64(n))
	}
	return -1
}

// anywhere serves a command that any node can answer.
func (s *session) anywhere(c *redis.Command) bool {
	if !s.adopt() {
		return s.hold()
	}
	return s.forward(s.anyNode(), c)
}

// pubsub serves channels that are not sharded.
func (s *session) pubsub(c *redis.Command) bool {
	if !c.ArityOK(s.request.Len()) {
		return s.wrongArity(c)
	}
	if !s.adopt() {
		return s.hold()
	}
	return s.forward(pubsubNode, c)
}

// pubsubNode serves all channels and patterns, so that they meet, and what PUBLISH and PUBSUB count is everybody. In a Redis Cluster
// messages would meet anyway, but every node counts its own clients.
const pubsubNode = 0

// notified tells whether one of the channels is for notifications of keys: each server has those of its own keys alone.
func notified(r *redis.Request) bool {
	for i := 1; i < r.Len(); i++ {
		if ch := r.Arg(i); len(ch) > 5 && string(ch[:5]) == "__key" {
			return true
		}
	}
	return false
}

// local serves what needs no server.
func (s *session) local(c *redis.Command) bool {
	r := &s.request
	if !c.ArityOK(r.Len()) || c.Name == "ping" && r.Len() > 2 {
		return s.wrongArity(c)
	}
	switch c.Name {
	case "ping":
		if r.Len() == 1 {
			return s.answer("+PONG\r\n")
		}
		return s.reply(func(b []byte) []byte { return append(b, r.RawArg(1)...) })
	case "echo":
		return s.reply(func(b []byte) []byte { return append(b, r.RawArg(1)...) })
	}
	return s.answer("+OK\r\n")
}

func (s *session) quitCommand(*redis.Command) bool {
	s.mute = muteOff
	s.answer("+OK\r\n")
	s.quit()
	return true
}
