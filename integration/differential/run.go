package differential

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sort"
	"strings"

	"github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/value"
)

// Report counts what a run did.
type Report struct {
	Statements int // asked of the one server
	Answers    int // answers compared, over all sharded databases
	Scattered  int // answers that came from more than one shard
	Failed     int // statements that failed on one server and on the shards alike
	Refusals   map[string]int
	Wrong      []string
}

// Run is a differential run in progress.
type Run struct {
	whole   *client
	sharded []*Sharded
	gen     *Generator
	fold    folder
	Report  Report
	out     io.Writer
	wire    bool       // through a sidewire: transactions too, and all that a client sees of an answer
	dice    *rand.Rand // of transactions
	open    bool       // a transaction is
	cases   []failed
}

// Through starts a sidewire that serves rule files by the names of their databases to user app with password local, and
// returns its address.
type Through func(rules map[string]string) (addr string, err error)

// NewRun makes the databases anew on a server: one whole, and sharded ones of 4 and 10 shards. These are asked by the
// planner and the merge alone or, with through, by a whole sidewire.
func NewRun(srv Server, prefix string, seed uint64, through Through, out io.Writer) (*Run, error) {
	r := &Run{gen: NewGenerator(seed), out: out, wire: through != nil, dice: rand.New(rand.NewPCG(seed, 11)), Report: Report{Refusals: map[string]int{}}}
	admin, err := dial(srv.Addr, srv.User, srv.Password, "")
	if err != nil {
		return nil, err
	}
	defer admin.close()
	if err := recreate(admin, prefix+"_whole"); err != nil {
		return nil, err
	}
	if r.whole, err = dial(srv.Addr, srv.User, srv.Password, prefix+"_whole"); err != nil {
		return nil, err
	}
	rules := map[string]string{}
	for _, l := range []struct{ sources, per int }{{2, 2}, {5, 2}} {
		name := fmt.Sprintf("%s_s%d", prefix, l.sources*l.per)
		rules[name] = Rules(srv, name, l.sources, l.per)
		s, err := Open(srv, name, rules[name])
		if err != nil {
			return nil, err
		}
		r.sharded = append(r.sharded, s)
	}
	if through != nil {
		addr, err := through(rules)
		if err != nil {
			return nil, err
		}
		for _, s := range r.sharded {
			if s.Through, err = dial(addr, "app", "local", s.Name); err != nil {
				return nil, err
			}
		}
	}
	if err := r.folding(); err != nil {
		return nil, err
	}
	return r, r.fill()
}

// Close ends the connections.
func (r *Run) Close() {
	r.whole.close()
	for _, s := range r.sharded {
		s.Close()
	}
}

// folding asks the server which texts are equal under each collation.
func (r *Run) folding() error {
	r.fold = folder{}
	for _, c := range collations {
		r.fold[c] = map[string]string{}
		for _, t := range texts {
			lit := string(value.NewString(t).AppendLiteral(nil))
			res, err := r.whole.query("SELECT HEX(WEIGHT_STRING(RTRIM(CONVERT(" + lit + " USING utf8mb4)) COLLATE " + c + "))")
			if err != nil {
				return err
			}
			cells, err := decodeText(res.Rows[0], 1)
			if err != nil {
				return err
			}
			r.fold[c][t] = cells[0]
		}
	}
	return nil
}

// fill makes the tables, through the planner on the sharded side, and fills them.
func (r *Run) fill() error {
	for _, t := range tables {
		for _, sql := range []string{t.ddl(), r.gen.Fill(t, 120)} {
			if _, err := r.whole.query(sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
			for _, s := range r.sharded {
				if _, err := s.Do(sql, nil, false); err != nil {
					return fmt.Errorf("%s: %s: %w", s.Name, sql, err)
				}
			}
		}
	}
	for _, s := range r.sharded {
		if err := s.Learn(); err != nil {
			return err
		}
	}
	return nil
}

// Step asks one generated statement.
func (r *Run) Step() error {
	if r.wire && r.dice.IntN(20) == 0 {
		return r.transaction()
	}
	st, args := r.gen.Next()
	prepared := st.Prepared && len(args) > 0
	st.Prepared = prepared
	r.Report.Statements++
	// A write that the shards refuse must not happen on the one server either: the planner is asked first.
	if st.Write {
		for _, s := range r.sharded {
			if reason := s.refuses(st.SQL, args); reason != "" {
				r.Report.Refusals[reason]++
				return nil
			}
		}
	}
	st.values = args
	want, werr := r.whole.ask(st, args)
	if werr != nil && fatal(werr) {
		return fmt.Errorf("%s: %w", st.SQL, werr)
	}
	for _, s := range r.sharded {
		got, err := s.Do(st.SQL, args, prepared)
		if err != nil && fatal(err) {
			return fmt.Errorf("%s: %s: %w", s.Name, st.SQL, err)
		}
		r.judge(st, s, want, werr, got, err)
	}
	return nil
}

func (c *client) ask(st *Statement, args []value.Value) (*Result, error) {
	if st.Prepared {
		return c.execute(st.SQL, args)
	}
	return c.query(st.SQL)
}

// transaction begins one on every side, or ends it.
func (r *Run) transaction() error {
	sql := "BEGIN"
	if r.open {
		sql = []string{"COMMIT", "ROLLBACK"}[r.dice.IntN(2)]
	}
	r.open = !r.open
	if _, err := r.whole.query(sql); err != nil {
		return err
	}
	for _, s := range r.sharded {
		if _, err := s.Through.query(sql); err != nil {
			return fmt.Errorf("%s: %s: %w", s.Name, sql, err)
		}
	}
	return nil
}

// fatal tells a broken connection from a server's answer.
func fatal(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "broken pipe") || strings.Contains(err.Error(), "connection reset")
}

func (r *Run) judge(st *Statement, s *Sharded, want *Result, werr error, got *Result, err error) {
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		if refused.Merge && r.out != nil && os.Getenv("DIFFERENTIAL_MERGE") != "" {
			fmt.Fprintf(r.out, "merge refuses: %s\n  %s\n", st.SQL, refused.Reason)
		}
		r.Report.Refusals[generic(refused.Reason)]++
		if st.Write && werr == nil && refused.Merge {
			r.wrong(st, s, "sidewire refuses what the planner does not: "+refused.Reason)
		}
		return
	case werr == nil && overflow(err):
		// A shard computes an expression for every group, one server only for those that LIMIT lets through.
		r.Report.Refusals["a shard's own error: out of range (1690) in a row that LIMIT leaves out"]++
		return
	case werr != nil && err != nil:
		r.Report.Failed++
		if a, b := code(werr), code(err); r.wire && a != b {
			r.wrong(st, s, fmt.Sprintf("other errors: %v on one server, %v on the shards", werr, err))
		}
		return
	case werr != nil:
		r.wrong(st, s, "one server fails, the shards answer: "+werr.Error())
		return
	case err != nil:
		r.wrong(st, s, "the shards fail, one server answers: "+err.Error())
		return
	}
	r.Report.Answers++
	if s.Routes > 1 {
		r.Report.Scattered++
	}
	d := Compare(st, want, got, r.fold)
	if d == "" && r.wire {
		d = CompareSeen(st, want, got)
	}
	if d != "" {
		r.wrong(st, s, d)
	}
}

func code(err error) uint16 {
	var e *mysql.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func overflow(err error) bool {
	var e *mysql.Error
	return errors.As(err, &e) && e.Code == 1690
}

// refuses asks the planner alone.
func (s *Sharded) refuses(sql string, args []value.Value) string {
	return s.plan(sql, args)
}

// generic takes the names out of a reason, so that reasons can be counted.
func generic(reason string) string {
	words := strings.Fields(reason)
	for i, w := range words {
		if i > 0 && (words[i-1] == "table" || words[i-1] == "tables" || words[i-1] == "column") {
			words[i] = "X"
		}
		if strings.ContainsAny(w, "0123456789'()") {
			words[i] = "N"
		}
	}
	return strings.Join(words, " ")
}

func (r *Run) wrong(st *Statement, s *Sharded, difference string) {
	var b strings.Builder
	fmt.Fprintf(&b, "WRONG on %s: %s\n", s.Name, st.SQL)
	if len(st.Args) > 0 {
		fmt.Fprintf(&b, "  with %s\n", strings.Join(st.Args, ", "))
	}
	fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(difference, "\n", "\n  "))
	fmt.Fprintf(&b, "  plan:\n")
	for _, line := range strings.Split(strings.TrimSpace(s.explain(st.SQL)), "\n") {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	r.Report.Wrong = append(r.Report.Wrong, b.String())
	r.keep(st, s)
	if r.out != nil && len(r.Report.Wrong) <= 20 {
		fmt.Fprintln(r.out, b.String())
	}
}

// Checksum compares every table whole.
func (r *Run) Checksum() error {
	for _, t := range tables {
		st := &Statement{SQL: "SELECT * FROM " + t.name + " ORDER BY " + t.columns[0].name, Order: Total}
		want, err := r.whole.query(st.SQL)
		if err != nil {
			return err
		}
		for _, s := range r.sharded {
			got, err := s.Do(st.SQL, nil, false)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", s.Name, st.SQL, err)
			}
			if d := Compare(st, want, got, r.fold); d != "" {
				r.wrong(st, s, "after writes: "+d)
			}
		}
	}
	return nil
}

// String writes the report.
func (r *Report) String() string {
	var b strings.Builder
	refused := 0
	for _, n := range r.Refusals {
		refused += n
	}
	fmt.Fprintf(&b, "%d statements; %d answers compared, %d of them from several shards; %d failed alike; %d refused; %d wrong\n",
		r.Statements, r.Answers, r.Scattered, r.Failed, refused, len(r.Wrong))
	reasons := make([]string, 0, len(r.Refusals))
	for k := range r.Refusals {
		reasons = append(reasons, k)
	}
	sort.Slice(reasons, func(i, j int) bool {
		if r.Refusals[reasons[i]] != r.Refusals[reasons[j]] {
			return r.Refusals[reasons[i]] > r.Refusals[reasons[j]]
		}
		return reasons[i] < reasons[j]
	})
	for _, k := range reasons {
		fmt.Fprintf(&b, "%7d refused: %s\n", r.Refusals[k], k)
	}
	return b.String()
}
