// Package schema holds what is known of the tables' structure: enough to read values as their column does, to find a
// column's table, and to know which keys are unique. It is learnt by whoever can ask a server, and never changes.
package schema

import "strings"

// Class is how MySQL compares and converts values of a column.
type Class uint8

// Classes.
const (
	Other   Class = iota // not usable as a sharding column's type for routing: JSON, ENUM, SET, BIT, spatial
	Integer              // TINYINT to BIGINT, YEAR
	Decimal              // DECIMAL
	Float                // FLOAT, DOUBLE
	Text                 // CHAR, VARCHAR, TEXT with a collation
	Binary               // BINARY, VARBINARY, BLOB
	Date
	Datetime // DATETIME, TIMESTAMP
	Time
	Enum // ENUM, SET: sorted by number, compared as text
)

// Column is one column of a table.
type Column struct {
	Name          string
	Class         Class
	Type          string // as the server writes it: bigint(20) unsigned
	Unsigned      bool
	Collation     string // Text only
	Nullable      bool
	AutoIncrement bool
	Generated     bool // computed: takes no value in INSERT
	Stamped       bool // gets the time by itself
}

// Exact reports that equal values of the column are equal bytes, so that a hash of the text finds every equal row.
// Collations that ignore case, accents or trailing spaces are not exact.
func (c *Column) Exact() bool {
	switch c.Class {
	case Text:
		return c.Collation == "binary" || strings.HasSuffix(c.Collation, "_nopad_bin") || c.Collation == "utf8mb4_0900_bin"
	case Integer, Binary:
		return true
	}
	return false
}

// Zoned reports that a column's text depends on the session's time zone.
func (c *Column) Zoned() bool {
	return c != nil && c.Class == Datetime && strings.HasPrefix(strings.ToLower(c.Type), "timestamp")
}

// Table is the structure of one logical table.
type Table struct {
	Name    string
	Columns []Column
	Unique  [][]string // primary and unique keys' columns, lower case
}

// Column returns a column by name in any letter case, or nil.
func (t *Table) Column(name string) *Column {
	if t == nil {
		return nil
	}
	for i := range t.Columns {
		if strings.EqualFold(t.Columns[i].Name, name) {
			return &t.Columns[i]
		}
	}
	return nil
}

// Schema is the structure of a virtual database's tables, by lower-case logical name. A nil Schema knows nothing.
type Schema struct {
	Tables  map[string]*Table
	Sources map[string]string // single tables found on a target: lower-case table name to target name
}

// Table returns a table's structure, or nil when it is not known.
func (s *Schema) Table(name string) *Table {
	if s == nil {
		return nil
	}
	return s.Tables[strings.ToLower(name)]
}
