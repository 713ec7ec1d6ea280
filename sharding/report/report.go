package report

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/sidewire/sidewire/sharding/plan"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/value"
)

// Fate is what would become of a statement.
type Fate uint8

// Fates.
const (
	Keyed     Fate = iota // one shard
	Scattered             // several shards
	Copied                // every copy of a broadcast table
	Unsharded             // no sharded table
	Refused
	fateCount
)

var fateNames = [fateCount]string{"keyed", "scattered", "copied", "unsharded", "refused"}

func (f Fate) String() string { return fateNames[f] }

// MarshalText writes the fate's name into JSON.
func (f Fate) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Entry is what is known of one digest.
type Entry struct {
	Count  int    `json:"count"`
	Fate   Fate   `json:"fate"` // the worst that happened
	Shards int    `json:"shards"`
	Reason string `json:"reason,omitempty"`
	Way    string `json:"way,omitempty"`
	Sample string `json:"sample"`
}

// Report counts statements by digest. A shadow listener and `explain --log` feed it. It is not safe for concurrent use.
type Report struct {
	Total   int            `json:"total"`
	Fates   map[string]int `json:"fates"`
	Entries []*Entry       `json:"entries"`
	// Private keeps texts without their literals, and no more of them than fits a line or two.
	Private bool `json:"-"`
	digests map[string]*Entry
	planner *plan.Planner
	cache   *plan.Cache
	sc      scan.Result
	ex      plan.Execution
}

// maxDigests bounds how many digests are told apart; statements beyond it are counted in Total and Fates only.
const maxDigests = 10_000

// New returns an empty report.
func New(p *plan.Planner) *Report {
	return &Report{planner: p, cache: plan.NewCache(16 << 20), digests: map[string]*Entry{}, Fates: map[string]int{}}
}

// keys gives numbers where the rules generate keys: a plan needs one, its value does not matter.
type keys struct{}

func (keys) NextKey(*rule.Key) (value.Value, error) { return value.NewInt(1), nil }

// maxSample bounds a private report's texts.
const maxSample = 512

// Plan goes on with another planner: what is known of the tables has changed.
func (r *Report) Plan(p *plan.Planner) { r.planner = p }

// Add plans one statement and counts it.
func (r *Report) Add(sql string) Fate { return r.Execute(sql, 0, nil) }

// Execute is Add for a statement under an sql_mode, with the values of its parameters.
func (r *Report) Execute(sql string, mode scan.Mode, args []value.Value) Fate {
	e := Entry{Sample: sql}
	key := sql
	if err := r.sc.Scan(sql, 0, mode); err != nil {
		e.Fate, e.Reason = Refused, err.Error()
	} else {
		key = scan.Normalize(sql, mode)
		e.Fate, e.Shards, e.Reason, e.Way = r.judge(sql, args)
	}
	if r.Private {
		e.Sample = string(scan.AppendSanitized(nil, sql, mode, maxSample))
		key = key[:min(len(key), 8*maxSample)]
	}
	r.count(key, &e)
	return e.Fate
}

func (r *Report) count(key string, e *Entry) {
	r.Total++
	r.Fates[e.Fate.String()]++
	old := r.digests[key]
	if old == nil {
		if len(r.digests) >= maxDigests {
			return
		}
		e.Count = 1
		r.digests[strings.Clone(key)] = e
		r.Entries = append(r.Entries, e)
		return
	}
	old.Count++
	old.Shards = max(old.Shards, e.Shards)
	if worse(e.Fate) > worse(old.Fate) {
		old.Fate, old.Reason, old.Way, old.Sample = e.Fate, e.Reason, e.Way, e.Sample
	}
}

func worse(f Fate) int {
	return [fateCount]int{Keyed: 1, Scattered: 2, Copied: 1, Unsharded: 0, Refused: 3}[f]
}

func (r *Report) judge(sql string, args []value.Value) (Fate, int, string, string) {
	sql = sql[:r.sc.End]
	if r.sc.Flags&scan.Multi != 0 {
		return Refused, 0, "several statements in one text", "send them one by one"
	}
	st := r.cache.Plan(r.planner, sql, &r.sc)
	st.Bind(&plan.Input{Text: sql, Vars: r.sc.Vars, Args: args, Keys: keys{}}, &r.ex)
	switch x := r.ex.Refusal; {
	case x != nil:
		return Refused, 0, x.Reason, x.Way
	case len(r.ex.Routes) == 0 || r.ex.Routes[0].Node < 0 && len(r.ex.Routes) == 1:
		return Unsharded, len(r.ex.Routes), "", ""
	case r.ex.Affected == plan.First && len(r.ex.Routes) > 1:
		return Copied, len(r.ex.Routes), "", ""
	case len(r.ex.Routes) == 1:
		return Keyed, 1, "", ""
	}
	return Scattered, len(r.ex.Routes), "", ""
}

// Write writes the report as text: totals, then digests, refused ones first, then by count.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d statements", r.Total)
	for f := range fateCount {
		fmt.Fprintf(&b, ", %d %s", r.Fates[f.String()], f)
	}
	fmt.Fprintf(&b, "; %d digests\n", len(r.Entries))
	entries := append([]*Entry(nil), r.Entries...)
	sort.SliceStable(entries, func(i, j int) bool {
		if x, y := worse(entries[i].Fate), worse(entries[j].Fate); x != y {
			return x > y
		}
		return entries[i].Count > entries[j].Count
	})
	for _, e := range entries {
		sample := strings.Join(strings.Fields(e.Sample), " ")
		if len(sample) > 160 {
			sample = sample[:160] + "..."
		}
		fmt.Fprintf(&b, "%8d  %-9s %3d  %s\n", e.Count, e.Fate, e.Shards, sample)
		if e.Reason != "" {
			fmt.Fprintf(&b, "%25s%s\n", "", e.Reason)
		}
		if e.Way != "" {
			fmt.Fprintf(&b, "%25sinstead: %s\n", "", e.Way)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
