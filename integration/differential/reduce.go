package differential

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/value"
)

// reduced is how many wrong answers of a run are made small.
const reduced = 3

// failed is a statement with a wrong answer, and the rows that its tables had.
type failed struct {
	st     Statement
	args   []value.Value
	s      *Sharded
	tables []*tableDef
	rows   map[string][]string // by table: the values of INSERT
}

// keep notes the rows that a wrong answer was made from.
func (r *Run) keep(st *Statement, s *Sharded) {
	if len(r.cases) == reduced {
		return
	}
	f := failed{st: *st, args: st.values, s: s, rows: map[string][]string{}}
	for _, t := range tables {
		if !regexp.MustCompile(`(FROM|JOIN|INTO|UPDATE|,) ` + t.name + `\b`).MatchString(st.SQL) {
			continue
		}
		res, err := r.whole.query("SELECT * FROM " + t.name)
		if err != nil {
			return
		}
		f.tables = append(f.tables, t)
		for _, row := range res.Rows {
			cells, err := decodeText(row, len(res.Columns))
			if err != nil {
				return
			}
			f.rows[t.name] = append(f.rows[t.name], tuple(cells, res.Columns))
		}
	}
	r.cases = append(r.cases, f)
}

func tuple(cells []string, columns []merge.Column) string {
	out := make([]string, len(cells))
	for i, c := range cells {
		switch {
		case c == "NULL":
			out[i] = c
		case columns[i].Charset == 63 && columns[i].Type == merge.TypeVarString:
			out[i] = "x'" + hex.EncodeToString([]byte(c[1:])) + "'"
		default:
			out[i] = literal(value.NewString(c[1:]))
		}
	}
	return "(" + strings.Join(out, ", ") + ")"
}

// Reduce finds few rows that still show each wrong answer and writes down what makes it. It leaves the tables in pieces.
func (r *Run) Reduce() {
	if r.open {
		r.transaction()
	}
	for i := range r.cases {
		f := &r.cases[i]
		if !r.shows(f) {
			fmt.Fprintf(r.out, "not reproduced by the rows alone: %s\n", f.st.SQL)
			continue
		}
		for _, t := range f.tables {
			r.shrink(f, t.name)
		}
		fmt.Fprintf(r.out, "MINIMAL REPRODUCTION on %s\n", f.s.Name)
		for _, t := range f.tables {
			fmt.Fprintf(r.out, "  %s;\n", t.ddl())
			for _, row := range f.rows[t.name] {
				fmt.Fprintf(r.out, "  INSERT INTO %s (%s) VALUES %s;\n", t.name, names("", t.columns), row)
			}
		}
		fmt.Fprintf(r.out, "  %s;\n", f.st.SQL)
		if len(f.st.Args) > 0 {
			fmt.Fprintf(r.out, "  -- with %s\n", strings.Join(f.st.Args, ", "))
		}
	}
}

// shrink leaves out rows of a table, in ever smaller pieces, as long as the answer stays wrong.
func (r *Run) shrink(f *failed, table string) {
	for size := (len(f.rows[table]) + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < len(f.rows[table]); {
			all := f.rows[table]
			f.rows[table] = append(append([]string(nil), all[:at]...), all[min(at+size, len(all)):]...)
			if !r.shows(f) {
				f.rows[table] = all
				at += size
			}
		}
	}
}

// shows fills the tables with the rows and reports whether the answer is still wrong.
func (r *Run) shows(f *failed) bool {
	for _, t := range f.tables {
		fill := []string{"DELETE FROM " + t.name}
		if rows := f.rows[t.name]; len(rows) > 0 {
			fill = append(fill, "INSERT INTO "+t.name+" ("+names("", t.columns)+") VALUES "+strings.Join(rows, ", "))
		}
		for _, sql := range fill {
			if _, err := r.whole.query(sql); err != nil {
				return false
			}
			if _, err := f.s.Do(sql, nil, false); err != nil {
				return false
			}
		}
	}
	quiet := &Run{fold: r.fold, wire: r.wire, Report: Report{Refusals: map[string]int{}}, cases: make([]failed, reduced)}
	want, werr := r.whole.ask(&f.st, f.args)
	got, err := f.s.Do(f.st.SQL, f.args, f.st.Prepared)
	quiet.judge(&f.st, f.s, want, werr, got, err)
	return len(quiet.Report.Wrong) > 0
}
