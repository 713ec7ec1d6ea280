// Package plan decides what a statement does to a sharded database: which shards it touches, the SQL each one gets and
// how their results become the answer one unsharded server would give, or why it is refused.
package plan

import (
	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
)

// Planner plans statements of one virtual database. It never changes and is safe for concurrent use; a new rule set or
// schema means a new Planner.
type Planner struct {
	Rules *rule.Set
	// Schema is what servers said. Of a sharded table that it lacks nothing is taken for granted: reads go everywhere and
	// rows are refused. Nil: nobody was asked, values are taken as they are written.
	Schema *schema.Schema
}

// Statement is a planned text: everything that does not depend on the literals' and parameters' values. It is
// immutable, safe for concurrent use, and serves every text of the same shape (see scan.Result.Shape).
type Statement struct {
	Class   scan.Class
	Kind    Kind
	Tables  []string // logical tables, each once
	Refusal *Refusal // not nil: refused whatever the values are
	Hint    *Hint    // what a hint in the text said; nil without one

	planner *Planner
	mode    scan.Mode
	source  string     // the text the plan was made from
	vars    []scan.Var // its literals and comments
	groups  []group
	edits   []edit
	guards  []int // literals whose value the plan was made for
	spec    *merge.Spec
	limit   *limitPlan
	wide    []edit    // the edits when several shards answer: names, derived columns, replaced clauses
	consts  []operand // what spec.Consts are in one execution
	// wideArgs are the parameters that go along when several shards answer; dropsArgs says that some do not.
	wideArgs  []Arg
	dropsArgs bool
	insert    *insertPlan
	scatter   *Refusal     // why more than one shard is not possible; nil when it is
	counted   []operand    // values of AUTO_INCREMENT columns: each has to say a number
	singles   []rule.Table // single tables beside sharded ones
	targets   []int        // without sharded tables: where to run
	all       bool         // every node of the groups, whatever the conditions
	first     bool         // routes change copies of the same rows
	one       bool         // any one node of the group answers
	local     *Local       // answered here
	like      *operand     // the pattern of a local answer
	// plainWide says that the names' edits are all there is to a scattered text.
	plainWide bool
	catalog   bool // asks information_schema
	clock     bool // see Clock
	unknown   bool // see Unknown
}

// Numbered reports that the statement itself gives an AUTO_INCREMENT column its values.
func (st *Statement) Numbered() bool { return len(st.counted) > 0 }

// Unknown reports that the structure of a sharded table of the statement is not known.
func (st *Statement) Unknown() bool { return st.unknown }

// Kind tells statements apart where their execution differs.
type Kind uint8

// Kinds.
const (
	Other  Kind = iota // goes to one target as it came
	Select             // returns rows
	Write              // returns affected rows: UPDATE, DELETE, INSERT, REPLACE
	DDL                // runs on every node
)

// Input is one execution of a Statement.
type Input struct {
	Text string        // the statement's text; of the Statement's shape
	Vars []scan.Var    // Text's literals, from scan.Result.Vars
	Args []value.Value // parameters of a prepared statement
	Keys KeySource     // makes generated keys; needed when a rule generates some
	Hint *Hint         // nil: what the text's own hint says
}

// KeySource makes the next generated key of a generator that a rule names.
type KeySource interface {
	NextKey(k *rule.Key) (value.Value, error)
}

// Execution is a bound Statement. It may be reused for the next Bind; what it holds is valid until then.
type Execution struct {
	Routes  []Route
	Merge   *merge.Spec // nil: one route whose reply goes to the client as it is
	Refusal *Refusal    // not nil: nothing may run
	// Local is the answer when no server is asked; there are no routes then.
	Local *Local
	// Affected says how affected rows of several routes join.
	Affected Affected
	// Key is the first generated key of an INSERT, what LAST_INSERT_ID() must return; NULL if none.
	Key value.Value
	// Last is the route with the last row of an INSERT, whose number one server would tell.
	Last int
	// WriteOnly: a hint demands that reads go to the writer.
	WriteOnly bool

	spec    merge.Spec
	scratch []uint64
	buf     []byte
	rows    []rowRoute
}

// Affected says how the affected-row counts of several routes join.
type Affected uint8

// Ways to join counts.
const (
	Sum   Affected = iota
	First          // every route did the same thing to a copy: one route's count is the answer
)

// Route is one statement for one target.
type Route struct {
	Target int    // index in rule.Set.Targets
	Node   int    // index in the first table's nodes, -1 when no sharded table is touched
	SQL    string // the text to send
	Same   bool   // SQL is the client's text, unchanged
	// Args says which parameters go along; nil: all of them in their order.
	Args []Arg
}

// Arg is one parameter of a route.
type Arg struct {
	Index int         // index into Input.Args, or -1
	Value value.Value // when Index is -1
}

// Refusal is why a statement is not run, in MySQL's terms.
type Refusal struct {
	Code   uint16 // MySQL error number
	State  string // SQLSTATE
	Reason string // what is not possible, and why
	Way    string // what would work instead; may be empty
}

// Error returns reason and way out as one line.
func (r *Refusal) Error() string {
	if r.Way == "" {
		return r.Reason
	}
	return r.Reason + "; " + r.Way
}

// MySQL error numbers that refusals carry.
const (
	CodeSyntax      = 1064 // ER_PARSE_ERROR
	CodeUnsupported = 1235 // ER_NOT_SUPPORTED_YET
	CodeNoPartition = 1526 // ER_NO_PARTITION_FOR_GIVEN_VALUE
	CodeBadNull     = 1048 // ER_BAD_NULL_ERROR
	CodeCount       = 1136 // ER_WRONG_VALUE_COUNT_ON_ROW
	CodeOutOfRange  = 1264 // ER_WARN_DATA_OUT_OF_RANGE
	CodeTooLong     = 1406 // ER_DATA_TOO_LONG
)

// unsupported refuses what several shards cannot answer like one server would.
func unsupported(reason, way string) *Refusal {
	return &Refusal{CodeUnsupported, "42000", reason, way}
}
