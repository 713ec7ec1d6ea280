package differential

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/value"
)

// decodeText splits a text row: "=value", or "NULL".
func decodeText(row []byte, columns int) ([]string, error) {
	out := make([]string, 0, columns)
	for range columns {
		if len(row) == 0 {
			return nil, fmt.Errorf("row too short")
		}
		if row[0] == 0xfb {
			out = append(out, "NULL")
			row = row[1:]
			continue
		}
		n, w := mysql.Lenenc(row)
		if w == 0 || n > uint64(len(row)-w) {
			return nil, fmt.Errorf("value longer than its row")
		}
		out = append(out, "="+string(row[w:w+int(n)]))
		row = row[w+int(n):]
	}
	if len(row) != 0 {
		return nil, fmt.Errorf("%d bytes after the columns", len(row))
	}
	return out, nil
}

// decodeBinary splits a binary row into "=bytes" or "NULL".
func decodeBinary(row []byte, columns []merge.Column) ([]string, error) {
	bitmap := (len(columns) + 9) / 8
	if len(row) < 1+bitmap || row[0] != 0 {
		return nil, fmt.Errorf("row too short")
	}
	out := make([]string, 0, len(columns))
	rest := row[1+bitmap:]
	for i, c := range columns {
		if row[1+(i+2)/8]&(1<<((i+2)%8)) != 0 {
			out = append(out, "NULL")
			continue
		}
		n := map[byte]int{merge.TypeTiny: 1, merge.TypeShort: 2, merge.TypeYear: 2, merge.TypeLong: 4, merge.TypeInt24: 4,
			merge.TypeFloat: 4, merge.TypeLongLong: 8, merge.TypeDouble: 8}[c.Type]
		if n == 0 {
			l, w := mysql.Lenenc(rest)
			if w == 0 || l > uint64(len(rest)-w) {
				return nil, fmt.Errorf("value longer than its row")
			}
			rest, n = rest[w:], int(l)
		}
		if n > len(rest) {
			return nil, fmt.Errorf("value longer than its row")
		}
		out = append(out, "="+string(rest[:n]))
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%d bytes after the columns", len(rest))
	}
	return out, nil
}

// Order says what of a result's order is determined.
type Order uint8

// Orders.
const (
	Unordered Order = iota // any order
	ByKeys                 // rows with equal keys may change places
	Total                  // one order only
)

// Statement is a generated statement and what is determined of its answer.
type Statement struct {
	SQL      string
	Args     []string // for messages
	Write    bool
	Order    Order
	KeyCols  []int          // ByKeys: the selected columns that are sorted by
	KeyFold  map[int]string // ByKeys: the collations of the text among them
	Loose    map[int]string // columns of which any collation-equal value may come: the collation
	Prepared bool
	values   []value.Value
}

// folder maps texts to what stands for all texts that collate equal to them.
type folder map[string]map[string]string

// Compare returns what differs, or "".
func Compare(st *Statement, whole, sharded *Result, fold folder) string {
	if st.Write {
		if whole.Affected != sharded.Affected {
			return fmt.Sprintf("affected rows: %d on one server, %d on shards", whole.Affected, sharded.Affected)
		}
		return ""
	}
	if d := compareColumns(whole.Columns, sharded.Columns); d != "" {
		return d
	}
	a, err1 := table(st, whole, fold, st.Loose)
	b, err2 := table(st, sharded, fold, st.Loose)
	if err := errors.Join(err1, err2); err != nil {
		return "decoding: " + err.Error()
	}
	if st.Order == ByKeys {
		x, err1 := table(st, whole, fold, st.KeyFold)
		y, err2 := table(st, sharded, fold, st.KeyFold)
		if err := errors.Join(err1, err2); err != nil {
			return "decoding: " + err.Error()
		}
		if d := firstDifference(project(x, st.KeyCols), project(y, st.KeyCols)); d != "" {
			return "sort keys: " + d
		}
	}
	x, y := join(a), join(b)
	if st.Order != Total {
		sort.Strings(x)
		sort.Strings(y)
	}
	return firstDifference(x, y)
}

// CompareSeen compares what else a client sees of an answer that came through a sidewire, or returns "".
func CompareSeen(st *Statement, whole, sharded *Result) string {
	if st.Write {
		if whole.InsertID != sharded.InsertID {
			return fmt.Sprintf("last insert id: %d on one server, %d on shards", whole.InsertID, sharded.InsertID)
		}
		if whole.Info != sharded.Info {
			return fmt.Sprintf("information: %q on one server, %q on shards", whole.Info, sharded.Info)
		}
		if whole.Warnings != sharded.Warnings {
			return fmt.Sprintf("warnings: %d on one server, %d on shards", whole.Warnings, sharded.Warnings)
		}
		return ""
	}
	for i := range whole.Origins {
		if strings.HasPrefix(whole.Origins[i], " .") {
			continue // of no table: servers name it if a temporary table was used, and not otherwise
		}
		if whole.Origins[i] != sharded.Origins[i] {
			return fmt.Sprintf("origin of column %d: %s on one server, %s on shards", i+1, whole.Origins[i], sharded.Origins[i])
		}
	}
	if st.Prepared {
		if d := compareColumns(whole.Prepared, sharded.Prepared); d != "" {
			return "prepared: " + d
		}
	}
	for i, a := range whole.Columns {
		if b := sharded.Columns[i]; (a.Flags^b.Flags)&^unsteady != 0 || a.Length != b.Length || number(a) && a.Decimals != b.Decimals {
			if !extreme(a) || !extreme(b) {
				return fmt.Sprintf("column %d: %+v on one server, %+v on shards", i+1, a, b)
			}
		}
	}
	if (whole.Warnings == 0) != (sharded.Warnings == 0) {
		return fmt.Sprintf("warnings: %d on one server, %d on shards", whole.Warnings, sharded.Warnings)
	}
	return ""
}

// unsteady are the flags that one server sets or not by how it found the rows: PRI_KEY and PART_KEY, which it leaves out of
// results that it knows to be empty, BINARY, looked at in compareColumns, NO_DEFAULT and GROUP.
const unsteady uint16 = 0x0002 | 0x4000 | 0x1000 | merge.FlagBinary | 0x8000

func compareColumns(a, b []merge.Column) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d and %d columns", len(a), len(b))
	}
	const flags uint16 = merge.FlagUnsigned | merge.FlagBinary | merge.FlagEnum | merge.FlagSet
	for i := range a {
		seen := flags
		if a[i].Charset == 63 && a[i].Type != merge.TypeString && a[i].Type != merge.TypeVarString && a[i].Type != merge.TypeBlob {
			seen &^= merge.FlagBinary // servers set it on numbers when a temporary table was used, and not otherwise
		}
		if extreme(a[i]) && extreme(b[i]) && a[i].Name == b[i].Name && a[i].Charset == b[i].Charset {
			continue
		}
		if a[i].Name != b[i].Name || a[i].Type != b[i].Type || a[i].Charset != b[i].Charset || number(a[i]) && a[i].Decimals != b[i].Decimals ||
			a[i].Flags&seen != b[i].Flags&seen {
			return fmt.Sprintf("column %d: %+v on one server, %+v on shards", i+1, a[i], b[i])
		}
	}
	return ""
}

func table(st *Statement, r *Result, fold folder, loose map[int]string) ([][]string, error) {
	out := make([][]string, len(r.Rows))
	for i, row := range r.Rows {
		var err error
		if st.Prepared {
			out[i], err = decodeBinary(row, r.Columns)
		} else {
			out[i], err = decodeText(row, len(r.Columns))
		}
		if err != nil {
			return nil, err
		}
		for c, collation := range loose {
			if f, ok := fold[collation][strings.TrimPrefix(out[i][c], "=")]; ok && out[i][c] != "NULL" {
				out[i][c] = "~" + f
			}
		}
	}
	return out, nil
}

func project(rows [][]string, columns []int) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		for _, c := range columns {
			out[i] += fmt.Sprintf("%q ", r[c])
		}
	}
	return out
}

func join(rows [][]string) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = fmt.Sprintf("%q", r)
	}
	return out
}

func firstDifference(a, b []string) string {
	for i := range max(len(a), len(b)) {
		x, y := "(none)", "(none)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("%d and %d rows; first difference at %d:\n  one server: %s\n  shards:     %s", len(a), len(b), i+1, x, y)
		}
	}
	return ""
}

// number reports that a column's digits mean something.
func number(c merge.Column) bool {
	return c.Type != merge.TypeString && c.Type != merge.TypeVarString && c.Type != merge.TypeBlob
}

// extreme recognises MIN and MAX of an ENUM, which MariaDB calls an ENUM or a text by how it computed them.
func extreme(c merge.Column) bool {
	return c.Length == 4 && (c.Type == merge.TypeString && c.Flags&merge.FlagEnum != 0 || c.Type == merge.TypeVarString)
}
