// Package merge joins the result streams of several shards into the one result an unsharded server would send, row by
// row, decoding only the columns that decide.
package merge

import "github.com/sidewire/sidewire/sharding/value"

// Spec says how results merge. The shards' rows have the client's columns first, then derived ones. It is immutable.
type Spec struct {
	Strip int // derived columns at the end of every row, cut from what the client gets
	// Keys is the order in which every shard sends its rows. Without keys rows come one shard after the other.
	Keys []Key
	// Grouped combines rows that are equal in the first Group keys into one. With Group 0 all rows are one group, and
	// there is a result row even without any.
	Grouped    bool
	Group      int
	Aggregates []Aggregate
	Computed   []Computed
	Having     *Expr
	Resort     []Key // sorts the groups again; held in memory, within the budget
	Offset     uint64
	Limit      int64 // -1: none
	Consts     []value.Value
	Rewrite    []Rewrite // text rows only
}

// Rewrite replaces the first occurrence of a text in a column: a physical name by the logical one.
type Rewrite struct {
	Column   int
	Old, New string
}

// Derived is added to the number of a derived column: the first is Derived, whatever number of columns the client's own
// list, which may hold a *, turns out to have.
const Derived = 1 << 20

// Key is one sort key.
type Key struct {
	Column    int // in the shards' rows
	Desc      bool
	Weight    int    // the derived column that holds the text's WEIGHT_STRING; -1 if none
	Collation int    // the derived column that holds the name of its collation; -1 if Pad or nothing says it
	Name      string // the collation's name when it is known beforehand
}

// PlainKey returns a key on a column that needs no collation.
func PlainKey(column int, desc bool) Key {
	return Key{Column: column, Desc: desc, Weight: -1, Collation: -1}
}

// Func is an aggregate function.
type Func uint8

// Functions.
const (
	Count Func = iota
	SumOf
	Min
	Max
	Avg           // Input is a derived SUM, Count a derived COUNT
	CountDistinct // values of the aggregate's own keys, none of them NULL
	SumDistinct
	AvgDistinct // Input is a derived SUM(DISTINCT), Count a derived COUNT(DISTINCT)
	BitAnd
	BitOr
	BitXor
)

// Aggregate is one column that is computed from the shards' columns.
type Aggregate struct {
	Func   Func
	Column int // the column of the result it fills
	Input  int // the column of the shards' rows it reads
	Count  int // Avg and AvgDistinct only: the column of counts
	Key    Key // Min and Max only: how values compare
	// First and Keys are, of a DISTINCT aggregate, the keys after the group's that make its value. The rows come sorted by
	// the first of them, so that equal values meet; values by others are held until their group is whole.
	First, Keys int
}

// Computed is a column of the result that is an expression over aggregates.
type Computed struct {
	Column int
	Expr   *Expr
}
