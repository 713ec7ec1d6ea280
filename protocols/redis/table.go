package redis

//go:generate go run ./internal/gen -dir .

// Flags say what a command is, by Redis's own names.
type Flags uint32

const (
	Write Flags = 1 << iota
	ReadOnly
	DenyOOM
	Admin
	PubSub
	NoScript
	Blocking
	Loading
	Stale
	NoMulti
	NoAuth
	Fast
	NoMandatoryKeys
	AllowBusy
	MayReplicate
)

// RequestPolicy says where a proxy sends a command (Redis's command tips).
type RequestPolicy uint8

const (
	DefaultRequest RequestPolicy = iota // the shard of its keys, or any
	MultiShard                          // split among the shards of its keys
	AllShards                           // every primary
	AllNodes                            // every server, replicas included
	SpecialRequest
)

// ResponsePolicy says how several replies become one.
type ResponsePolicy uint8

const (
	DefaultResponse ResponsePolicy = iota // keep the order of keys, or concatenate
	AllSucceeded
	OneSucceeded
	Sum
	Min
	LogicalAnd
	SpecialResponse
)

// KeySpec says where keys stand among a command's arguments (Redis's key specifications).
type KeySpec struct {
	Keyword     string // keys begin after this word, looked for from From on (from the end, if negative); else at Index
	Index, From int16
	Last, Step  int16 // from the beginning to the Last-th argument after it, or before the end if negative
	Limit       int16 // with Last -1: only the first of so many equal parts of the rest are keys
	Number      int16 // with Numbered: where the count of keys stands
	First       int16 // with Numbered: where the first key stands
	Numbered    bool
	Write       bool
	Unknown     bool // Redis itself cannot say
}

// Command is an entry of the command table.
type Command struct {
	Name     string // in lower case
	Group    string
	Sub      []Command
	Keys     []KeySpec
	Flags    Flags
	ID       uint16
	Arity    int8 // the exact number of arguments, or at least so many if negative; the name counts
	Request  RequestPolicy
	Response ResponsePolicy
	parent   *Command
	simple   int16 // the position of the only key, or 0
}

// Parent returns the container of a subcommand, or nil.
func (c *Command) Parent() *Command { return c.parent }

// FullName returns the name as Redis's own statistics have it: "config|get".
func (c *Command) FullName() string {
	if c.parent != nil {
		return c.parent.Name + "|" + c.Name
	}
	return c.Name
}

// ArityOK tells whether a command of n arguments, its name included, can be right.
func (c *Command) ArityOK(n int) bool {
	if c.Arity < 0 {
		return n >= -int(c.Arity)
	}
	return n == int(c.Arity)
}

// OneKey returns the position of the key of a command that has exactly one, at a fixed place; else 0.
func (c *Command) OneKey() int { return int(c.simple) }

// Has tells whether all of the given flags are set.
func (c *Command) Has(f Flags) bool { return c.Flags&f == f }

// NewCommand makes an entry for a command that the table does not have, in the terms of COMMAND INFO: keys stand from first to last, before
// the end if last is negative, step apart; first 0 means that there are none. Its ID is Count, whatever the command.
func NewCommand(name string, arity int8, flags Flags, first, last, step int16) *Command {
	c := &Command{Name: name, Arity: arity, Flags: flags, ID: Count}
	if first > 0 {
		if last > 0 {
			last -= first
		}
		c.Keys = []KeySpec{{Index: first, Last: last, Step: max(step, 1)}}
	}
	prepare(c)
	return c
}

// maxName is longer than any name in the table.
const maxName = 32

// index is an open-addressed table: half empty, so that a lookup is one hash and mostly one comparison.
var index [1024]*Command

func slotOf(name []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	return h ^ h>>15
}

func init() {
	for i := range commands {
		c := &commands[i]
		prepare(c)
		for j := range c.Sub {
			c.Sub[j].parent = c
			prepare(&c.Sub[j])
		}
		at := slotOf([]byte(c.Name)) % uint32(len(index))
		for index[at] != nil {
			at = (at + 1) % uint32(len(index))
		}
		index[at] = c
	}
}

func prepare(c *Command) {
	if len(c.Keys) != 1 {
		return
	}
	k := c.Keys[0]
	if k.Keyword == "" && !k.Numbered && !k.Unknown && k.Last == 0 {
		c.simple = k.Index
	}
}

// Lookup finds a command by name, in any case. It does not look into containers; see Resolve.
func Lookup(name []byte) *Command {
	if len(name) > maxName {
		return nil
	}
	var lower [maxName]byte
	for i, c := range name {
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		lower[i] = c
	}
	key := lower[:len(name)]
	for at := slotOf(key) % uint32(len(index)); ; at = (at + 1) % uint32(len(index)) {
		c := index[at]
		if c == nil || c.Name == string(key) {
			return c
		}
	}
}

// Subcommand finds a subcommand by name, in any case; nil if there is none.
func (c *Command) Subcommand(name []byte) *Command {
	for i := range c.Sub {
		if EqualFold(name, c.Sub[i].Name) {
			return &c.Sub[i]
		}
	}
	return nil
}

// EqualFold tells whether b is s, which is in lower case, without regard to ASCII case.
func EqualFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c-'A' <= 'Z'-'A' {
			c |= 0x20
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// Commands returns the table; it must not be changed.
func Commands() []Command { return commands }
