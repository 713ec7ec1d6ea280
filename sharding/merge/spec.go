// Package merge joins the result streams of several shards into the one result an unsharded server would send, row by
// row, decoding only the columns that decide.
package merge

// Spec says how results merge. It is immutable.
type Spec struct {
	Strip      int  // derived columns at the end of every row, cut from what the client gets
	One        bool // every shard returns exactly one row of aggregates; so does the result
	Aggregates []Aggregate
	Offset     uint64
	Limit      int64 // -1: none
}

// Func is an aggregate function.
type Func uint8

// Functions.
const (
	Count Func = iota
	SumOf
	Min
	Max
)

// Aggregate is one column that is computed from the shards' columns.
type Aggregate struct {
	Func   Func
	Column int // the column of the result it fills
	Input  int // the column of the shards' rows it reads
}
