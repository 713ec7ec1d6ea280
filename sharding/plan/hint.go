package plan

import (
	"strconv"
	"strings"

	"github.com/sidewire/sidewire/sharding/algorithm"
	"github.com/sidewire/sidewire/sharding/rule"
	"github.com/sidewire/sidewire/sharding/value"
)

// Hint is what a SHARDINGSPHERE_HINT comment said.
type Hint struct {
	DatabaseValues map[string]value.Value // by lower-case table name; "" for all
	TableValues    map[string]value.Value
	DataSource     string   // run the text as it is on this target
	WriteOnly      bool     // read from the writer
	SkipRewrite    bool     // send the text as it is
	DisableAudit   []string // auditors that are not asked
}

// ParseHint reads the comment that scan.Result.Hint points at: key = value pairs separated by commas, in
// ShardingSphere's names or their older aliases.
func ParseHint(comment string) (*Hint, *Refusal) {
	_, body, ok := strings.Cut(comment, ":")
	if !ok {
		return nil, badHint("no colon after its name")
	}
	h := &Hint{DatabaseValues: map[string]value.Value{}, TableValues: map[string]value.Value{}}
	for _, pair := range strings.Split(strings.TrimSuffix(body, "*/"), ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, badHint("expected key = value, found " + pair)
		}
		if why := h.set(strings.TrimSpace(key), strings.TrimSpace(v)); why != "" {
			return nil, badHint(why)
		}
	}
	return h, nil
}

func badHint(why string) *Refusal {
	return &Refusal{CodeSyntax, "42000", "reading the sharding hint: " + why, ""}
}

func (h *Hint) set(key, v string) string {
	table := ""
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		table, key = strings.ToLower(key[:i]), key[i+1:]
	}
	switch strings.ToUpper(strings.ReplaceAll(key, "_", "")) {
	case "SHARDINGDATABASEVALUE":
		h.DatabaseValues[table] = hintValue(v)
	case "SHARDINGTABLEVALUE":
		h.TableValues[table] = hintValue(v)
	case "DATASOURCENAME":
		h.DataSource = v
	case "WRITEROUTEONLY":
		h.WriteOnly = strings.EqualFold(v, "true")
	case "SKIPSQLREWRITE":
		h.SkipRewrite = strings.EqualFold(v, "true")
	case "DISABLEAUDITNAMES":
		h.DisableAudit = strings.Fields(strings.ReplaceAll(v, ";", " "))
	default:
		return "key " + key + " is not supported; supported are SHARDING_DATABASE_VALUE, SHARDING_TABLE_VALUE, DATA_SOURCE_NAME, " +
			"WRITE_ROUTE_ONLY, SKIP_SQL_REWRITE, DISABLE_AUDIT_NAMES"
	}
	return ""
}

func hintValue(s string) value.Value {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return value.NewInt(n)
	}
	return value.NewString(strings.Trim(s, "'"))
}

func valueFor(values map[string]value.Value, table string) (value.Value, bool) {
	if v, ok := values[strings.ToLower(table)]; ok {
		return v, true
	}
	v, ok := values[""]
	return v, ok
}

// hinted narrows a table's nodes by a hint's values, where its strategies are decided by hints.
func (h *Hint) hinted(t *rule.Table, out algorithm.Set) *Refusal {
	if h == nil {
		return nil
	}
	for _, x := range [...]struct {
		s      *rule.Strategy
		values map[string]value.Value
		mask   func(int) algorithm.Set
	}{{&t.Database, h.DatabaseValues, t.DatabaseMask}, {&t.Table, h.TableValues, t.TableMask}} {
		v, ok := valueFor(x.values, t.Name)
		if !ok || x.s.Hint == nil {
			continue
		}
		target, err := x.s.Hint.Exact(v)
		if err != nil {
			return &Refusal{CodeNoPartition, "HY000", "the hint's value for table " + t.Name + " names no shard: " + err.Error(), ""}
		}
		out.And(x.mask(target))
	}
	return nil
}

func (h *Hint) disables(auditors []string) bool {
	for _, a := range auditors {
		if !containsText(h.DisableAudit, a) {
			return false
		}
	}
	return true
}

// direct serves the hints that bypass planning: the text goes as it is to one data source.
func (st *Statement) direct(in *Input, out *Execution, h *Hint) bool {
	if h == nil || h.DataSource == "" && !h.SkipRewrite {
		return false
	}
	target := st.planner.Rules.Default
	if h.DataSource != "" {
		if target = st.planner.Rules.TargetIndex(h.DataSource); target < 0 {
			out.Refusal = badHint("no data source named " + h.DataSource)
			return true
		}
	}
	out.Routes = append(out.Routes, Route{Target: target, Node: -1, SQL: in.Text, Same: true})
	return true
}
