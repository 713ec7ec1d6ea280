package differential

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
)

// Executor runs one statement on one target: all that the planner and the merge need of the world.
type Executor interface {
	Execute(target, sql string, args []value.Value, prepared bool) (*Result, error)
}

// Sharded is a sharded database on a plain executor.
type Sharded struct {
	Name    string
	Planner *plan.Planner
	Cache   *plan.Cache
	Keys    plan.KeySource
	Run     Executor
	// Through runs statements through a sidewire instead; the planner then only says what to expect.
	Through *client

	ex plan.Execution
	sc scan.Result
	// Routes is how many routes the last statement had.
	Routes int
}

// Refused is a statement that was not answered.
type Refused struct {
	Reason string
	Merge  bool // found out when the shards had answered
}

func (r *Refused) Error() string { return r.Reason }

// Do runs one statement.
func (s *Sharded) Do(sql string, args []value.Value, prepared bool) (*Result, error) {
	if err := s.sc.Scan(sql, 0, 0); err != nil {
		return nil, err
	}
	st := s.Cache.Plan(s.Planner, sql, &s.sc)
	st.Bind(&plan.Input{Text: sql, Vars: s.sc.Vars, Args: args, Keys: s.Keys}, &s.ex)
	s.Routes = len(s.ex.Routes)
	if s.Through != nil {
		return s.through(sql, args, prepared)
	}
	if r := s.ex.Refusal; r != nil {
		return nil, &Refused{Reason: r.Reason}
	}
	results := make([]*Result, len(s.ex.Routes))
	for i := range s.ex.Routes {
		r := &s.ex.Routes[i]
		var err error
		results[i], err = s.Run.Execute(s.Planner.Rules.Targets[r.Target].Name, r.SQL, routeArgs(r, args), prepared)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.Planner.Rules.Targets[r.Target].Name, r.SQL, err)
		}
	}
	if s.ex.Merge != nil {
		return s.merge(results, prepared)
	}
	if len(results) == 1 {
		return results[0], nil
	}
	out := &Result{}
	for i, r := range results {
		if s.ex.Affected == plan.Sum || i == 0 {
			out.Affected += r.Affected
			out.Warnings += r.Warnings
		}
	}
	return out, nil
}

// through asks a sidewire. It refuses what the planner refuses, at least.
func (s *Sharded) through(sql string, args []value.Value, prepared bool) (*Result, error) {
	refusal := s.ex.Refusal
	var r *Result
	var err error
	if prepared {
		r, err = s.Through.execute(sql, args)
	} else {
		r, err = s.Through.query(sql)
	}
	var e *mysql.Error
	if errors.As(err, &e) && strings.HasPrefix(e.Message, "sidewire: ") {
		return nil, &Refused{Reason: strings.TrimPrefix(e.Message, "sidewire: "), Merge: refusal == nil}
	}
	if err == nil && refusal != nil {
		return nil, fmt.Errorf("sidewire answers what the planner refuses: %s", refusal.Reason)
	}
	return r, err
}

func routeArgs(r *plan.Route, args []value.Value) []value.Value {
	if r.Args == nil {
		return args
	}
	out := make([]value.Value, 0, len(r.Args))
	for _, a := range r.Args {
		if a.Index < 0 {
			out = append(out, a.Value)
		} else {
			out = append(out, args[a.Index])
		}
	}
	return out
}

// rows is a merge.Source over a whole result.
type rows struct {
	*Result
	next int
}

func (r *rows) Columns() ([]merge.Column, error) { return r.Result.Columns, nil }

func (r *rows) Next() ([]byte, error) {
	if r.next == len(r.Rows) {
		return nil, io.EOF
	}
	r.next++
	return r.Rows[r.next-1], nil
}

func (s *Sharded) merge(results []*Result, prepared bool) (*Result, error) {
	var sources []merge.Source
	out := &Result{}
	for _, r := range results {
		sources = append(sources, &rows{Result: r})
		out.Warnings += r.Warnings
	}
	format := merge.Text
	if prepared {
		format = merge.Binary
	}
	m, err := merge.New(s.ex.Merge, sources, merge.Options{Format: format})
	if err != nil {
		return nil, mergeRefusal(err)
	}
	out.Columns = append(out.Columns, m.Columns()...)
	for {
		row, err := m.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, mergeRefusal(err)
		}
		out.Rows = append(out.Rows, append([]byte(nil), row...))
	}
}

// mergeRefusal tells a clear refusal of the merge from a fault of it.
func mergeRefusal(err error) error {
	if errors.Is(err, merge.ErrRow) {
		return err
	}
	return &Refused{Reason: err.Error(), Merge: true}
}

// physical runs statements on databases of one server: target ds_3 of prefix s4 is database s4_3.
type physical struct {
	clients map[string]*client
}

func (p *physical) Execute(target, sql string, args []value.Value, prepared bool) (*Result, error) {
	c := p.clients[target]
	if prepared {
		return c.execute(sql, args)
	}
	return c.query(sql)
}

// Server is where the databases are.
type Server struct{ Addr, User, Password string }

// Open makes the physical databases of a rule file anew and returns the sharded database on them.
func Open(srv Server, name, rules string) (*Sharded, error) {
	set, problems := rule.Load([]byte(rules), rule.Options{Now: time.Unix(0, 0)})
	if set == nil {
		return nil, fmt.Errorf("loading rules: %v", problems)
	}
	admin, err := dial(srv.Addr, srv.User, srv.Password, "")
	if err != nil {
		return nil, err
	}
	defer admin.close()
	p := &physical{clients: map[string]*client{}}
	for _, t := range set.Targets {
		db := t.Write.Database
		if err := recreate(admin, db); err != nil {
			return nil, err
		}
		if p.clients[t.Name], err = dial(srv.Addr, srv.User, srv.Password, db); err != nil {
			return nil, err
		}
	}
	return &Sharded{Name: name, Planner: &plan.Planner{Rules: set}, Cache: plan.NewCache(32 << 20), Run: p}, nil
}

func recreate(c *client, db string) error {
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + db, "CREATE DATABASE " + db + " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"} {
		if _, err := c.query(sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Close ends the connections.
func (s *Sharded) Close() {
	if s.Through != nil {
		s.Through.close()
	}
	for _, c := range s.Run.(*physical).clients {
		c.close()
	}
}

// Learn reads the tables' structure from the physical databases.
func (s *Sharded) Learn() error {
	all := map[string]schema.Physical{}
	for _, t := range s.Planner.Rules.Targets {
		var got [2][][]string
		for i, q := range schema.Queries(t.Write.Database) {
			r, err := s.Run.Execute(t.Name, q, nil, false)
			if err != nil {
				return err
			}
			for _, row := range r.Rows {
				cells, err := decodeText(row, len(r.Columns))
				if err != nil {
					return err
				}
				line := make([]string, len(cells))
				for j, c := range cells {
					line[j] = strings.TrimPrefix(c, "=")
				}
				got[i] = append(got[i], line)
			}
		}
		p, err := schema.Learn(got[0], got[1])
		if err != nil {
			return err
		}
		all[t.Name] = p
	}
	s.Planner = &plan.Planner{Rules: s.Planner.Rules, Schema: schema.Join(s.Planner.Rules, all)}
	return nil
}

// plan returns why the planner refuses a statement, or "".
func (s *Sharded) plan(sql string, args []value.Value) string {
	if err := s.sc.Scan(sql, 0, 0); err != nil {
		return err.Error()
	}
	st := s.Cache.Plan(s.Planner, sql, &s.sc)
	st.Bind(&plan.Input{Text: sql, Vars: s.sc.Vars, Args: args, Keys: s.Keys}, &s.ex)
	if s.ex.Refusal != nil {
		return generic(s.ex.Refusal.Reason)
	}
	return ""
}

// explain returns the plan in words.
func (s *Sharded) explain(sql string) string {
	if err := s.sc.Scan(sql, 0, 0); err != nil {
		return err.Error()
	}
	return s.Planner.Prepare(sql, &s.sc).Explain(&plan.Input{Text: sql, Vars: s.sc.Vars, Keys: s.Keys}).String()
}
