// Package rule turns ShardingSphere's YAML into an immutable set of compiled rules, or into problems that say where
// and what is wrong.
package rule

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/sharding/algorithm"
)

// Set is the compiled rules of one virtual database. It never changes: its pointer is its identity.
type Set struct {
	Database string
	Sources  []*Source // physical data sources, in the file's order
	Targets  []*Target // what data nodes name: read/write groups, and the sources outside groups
	Default  int       // index in Targets where tables that no rule names live

	tables  map[string]*Table // by lower-case logical name
	indexes map[string]int    // Targets by name
	any     bool              // !SINGLE lists "*.*"
}

// Target is a logical data source: one physical source, or a group of a writer and its readers.
type Target struct {
	Name     string
	Write    *Source
	Reads    []*Source      // empty: reads go to the writer
	Weights  map[string]int // by reader's name, for WEIGHT
	Balancer string         // ROUND_ROBIN, RANDOM or WEIGHT
	TxReads  string         // transactionalReadQueryStrategy: PRIMARY, FIXED or DYNAMIC
}

// Kind says how a table is spread.
type Kind uint8

// Kinds.
const (
	Single    Kind = iota // whole, on one target
	Sharded               // cut into nodes
	Broadcast             // a full copy on every target
)

// Node is one physical table.
type Node struct {
	Target int // index in Set.Targets
	Table  string
}

// Table is the compiled rule of one logical table.
type Table struct {
	Name     string
	Kind     Kind
	Nodes    []Node // Sharded and Single: where the rows are. Broadcast: every copy
	Database Strategy
	Table    Strategy
	Key      *Key
	Audit    bool // refuse statements without a sharding condition
	// AuditHint says that a hint may switch the audit off.
	AuditHint bool
	Auditors  []string
	Binding   int // tables with the same number above 0 are cut alike: equal sharding values, same node index

	databaseMasks []algorithm.Set // for each of Database's targets, the nodes there
	tableMasks    []algorithm.Set
}

// Strategy says how one level (database or table) is decided. None is the zero Strategy.
type Strategy struct {
	Columns  []string // lower case
	Standard algorithm.Standard
	Complex  algorithm.Complex
	Hint     algorithm.Hint
	Type     string // the algorithm's type, for explanations
	Numeric  bool   // the algorithm reads numbers, not characters
	Targets  []string
}

// None reports that the strategy decides nothing.
func (s *Strategy) None() bool { return s.Type == "" }

// Key says which column gets generated keys and how.
type Key struct {
	Column    string
	Generator string            // its name in the file
	Type      string            // SNOWFLAKE or UUID
	Props     map[string]string // checked when loaded
}

// Lookup returns the rule of a logical table, or nil.
func (s *Set) Lookup(table string) *Table {
	if t, ok := s.tables[table]; ok {
		return t
	}
	return s.tables[strings.ToLower(table)]
}

// Tables returns every table a rule names, by lower-case name.
func (s *Set) Tables() map[string]*Table { return s.tables }

// TargetIndex returns the index of a target by name, or -1.
func (s *Set) TargetIndex(name string) int {
	if i, ok := s.indexes[name]; ok {
		return i
	}
	return -1
}

// DatabaseMask returns the nodes on the i-th target name of the database strategy.
func (t *Table) DatabaseMask(i int) algorithm.Set { return t.databaseMasks[i] }

// TableMask returns the nodes with the i-th physical table name of the table strategy.
func (t *Table) TableMask(i int) algorithm.Set { return t.tableMasks[i] }

// Sharding reports whether column (any letter case) decides where rows of the table are.
func (t *Table) Sharding(column string) bool {
	for _, s := range [...]*Strategy{&t.Database, &t.Table} {
		for _, c := range s.Columns {
			if strings.EqualFold(c, column) {
				return true
			}
		}
	}
	return false
}

// Columns returns the sharding columns of the table, lower case, without repetition.
func (t *Table) Columns() []string {
	out := append([]string(nil), t.Database.Columns...)
	for _, c := range t.Table.Columns {
		if !containsText(out, c) {
			out = append(out, c)
		}
	}
	return out
}

func containsText(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// Options of a load.
type Options struct {
	Path string    // put before the paths of problems
	Now  time.Time // INTERVAL's datetime-upper when the file leaves it out
}

// Load reads a rule file. With problems other than warnings the set is nil.
func Load(src []byte, o Options) (*Set, []Problem) {
	var n yaml.Node
	if err := yaml.Unmarshal(src, &n); err != nil {
		return nil, []Problem{{Path: o.Path, Message: "reading YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	if len(n.Content) == 0 {
		return nil, []Problem{{Path: o.Path, Message: "the file is empty"}}
	}
	return Decode(n.Content[0], o)
}

// Decode reads rules from a YAML node: what Load does for a file, for rules that stand inside another document.
func Decode(n *yaml.Node, o Options) (*Set, []Problem) {
	r := &reader{}
	var d document
	d.decode(at{r, deref(n), o.Path})
	c := compiler{doc: &d, set: &Set{Database: d.database, tables: map[string]*Table{}, indexes: map[string]int{}}, now: o.Now}
	c.compile()
	for _, p := range r.problems {
		if !p.Warning {
			return nil, r.problems
		}
	}
	return c.set, r.problems
}
