package rule

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/sidewire/sidewire/sharding/algorithm"
	"github.com/sidewire/sidewire/sharding/groovy"
)

// compiler resolves the names of one document.
type compiler struct {
	doc *document
	set *Set
	now time.Time
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (c *compiler) compile() {
	if c.doc.database == "" {
		c.doc.at.fail("databaseName is required")
	}
	c.targets()
	if len(c.set.Targets) == 0 {
		return
	}
	if s := c.doc.sharding; s != nil {
		c.algorithms(s)
		for _, t := range s.tables {
			c.table(s, t)
		}
		c.keyStrategies(s)
		c.binding(s)
	}
	c.broadcast()
	c.single()
}

// targets makes the logical data sources: groups first, then what no group holds, in the file's order.
func (c *compiler) targets() {
	sources, grouped := map[string]*Source{}, map[string]bool{}
	for _, s := range c.doc.sources {
		src := s.Source
		sources[s.Name] = &src
		c.set.Sources = append(c.set.Sources, &src)
	}
	if len(sources) == 0 {
		c.doc.at.field("dataSources", nil).fail("at least one data source is required")
		return
	}
	if sp := c.doc.splitting; sp != nil {
		for _, g := range sp.groups {
			c.group(sp, g, sources, grouped)
		}
	}
	for _, s := range c.set.Sources {
		if !grouped[s.Name] {
			c.addTarget(&Target{Name: s.Name, Write: s})
		}
	}
}

func (c *compiler) addTarget(t *Target) {
	c.set.indexes[t.Name] = len(c.set.Targets)
	c.set.Targets = append(c.set.Targets, t)
}

func (c *compiler) group(sp *splittingConfig, g *groupConfig, sources map[string]*Source, grouped map[string]bool) {
	t := &Target{Name: g.name, TxReads: strings.ToUpper(g.strategy), Balancer: "ROUND_ROBIN"}
	find := func(name string) *Source {
		s := sources[name]
		if s == nil {
			g.at.fail("no data source named %q%s", name, suggest(name, sources))
			return nil
		}
		grouped[name] = true
		return s
	}
	if t.Write = find(g.write); t.Write == nil {
		return
	}
	for _, name := range g.reads {
		if s := find(name); s != nil {
			t.Reads = append(t.Reads, s)
		}
	}
	switch t.TxReads {
	case "PRIMARY", "FIXED", "DYNAMIC":
	default:
		g.at.fail("transactionalReadQueryStrategy: expected PRIMARY, FIXED or DYNAMIC, found %q", g.strategy)
	}
	if g.balancer != "" {
		c.balancer(sp, g, t)
	}
	if _, ok := sources[g.name]; ok && t.Write.Name != g.name {
		g.at.fail("a data source and a group are both named %q", g.name)
	}
	c.addTarget(t)
}

func (c *compiler) balancer(sp *splittingConfig, g *groupConfig, t *Target) {
	b := sp.balancers[g.balancer]
	if b == nil {
		g.at.fail("no load balancer named %q", g.balancer)
		return
	}
	t.Balancer = strings.ToUpper(b.typ)
	switch t.Balancer {
	case "ROUND_ROBIN", "RANDOM":
	case "WEIGHT":
		t.Weights = map[string]int{}
		for _, r := range t.Reads {
			var f float64
			if _, err := fmt.Sscanf(b.props[r.Name], "%g", &f); err != nil || f <= 0 {
				b.propsAt.fail("expected a positive weight for %q, found %q", r.Name, b.props[r.Name])
				continue
			}
			t.Weights[r.Name] = int(f * 1000)
		}
	default:
		b.at.fail("unknown load balancer %q; expected ROUND_ROBIN, RANDOM or WEIGHT", b.typ)
	}
}

// algorithms checks every algorithm of the file, those no table uses included.
func (c *compiler) algorithms(s *shardingConfig) {
	for _, name := range sortedKeys(s.algorithms) {
		a := s.algorithms[name]
		if a.typ == "" {
			continue
		}
		compiled, err := algorithm.New(a.typ, a.props, c.now)
		if p, ok := err.(*algorithm.Problem); ok {
			place := a.at
			if p.Key != "" {
				place = a.propsAt.field(p.Key, a.propsAt.n)
			}
			place.fail("%s", p.Message)
			continue
		}
		a.compiled = compiled
	}
	for _, name := range sortedKeys(s.auditors) {
		if a := s.auditors[name]; a.typ != "DML_SHARDING_CONDITIONS" {
			a.at.fail("unknown auditor %q; expected DML_SHARDING_CONDITIONS", a.typ)
		}
	}
	for _, name := range sortedKeys(s.generators) {
		checkGenerator(s.generators[name])
	}
}

func (c *compiler) table(s *shardingConfig, tc *tableConfig) {
	key := strings.ToLower(tc.name)
	if c.set.tables[key] != nil {
		tc.at.fail("table %q has a second rule", tc.name)
		return
	}
	t := &Table{Name: tc.name, Kind: Sharded}
	database, table := tc.database, tc.table
	if database == nil && !tc.auto {
		database = s.database
	}
	if table == nil {
		table = s.table
	}
	ok := false
	if tc.auto {
		ok = c.autoNodes(s, tc, t, table)
	} else {
		ok = c.nodes(tc, t)
	}
	if !ok {
		return
	}
	c.strategies(s, tc, t, database, table)
	if k := tc.key; k != nil {
		t.Key = c.key(s, k)
	} else if s.key != nil {
		t.Key = c.key(s, s.key)
	}
	audit := tc.audit
	if audit == nil {
		audit = s.audit
	}
	c.audit(s, t, audit)
	c.set.tables[key] = t
}

func (c *compiler) nodes(tc *tableConfig, t *Table) bool {
	if tc.nodes == "" {
		// Without actualDataNodes the logical table stands under its own name on every target.
		for i := range c.set.Targets {
			t.Nodes = append(t.Nodes, Node{i, tc.name})
		}
		return true
	}
	names, err := groovy.Expand(tc.nodes)
	if err != nil {
		tc.nodesAt.fail("%v", err)
		return false
	}
	seen := map[string]bool{}
	for _, name := range names {
		source, table, ok := strings.Cut(name, ".")
		i := c.set.TargetIndex(source)
		switch {
		case !ok || table == "" || strings.Contains(table, "."):
			tc.nodesAt.fail("expected source.table, found %q", name)
			return false
		case i < 0:
			tc.nodesAt.fail("no data source named %q%s", source, suggest(source, c.set.indexes))
			return false
		case seen[name]:
			tc.nodesAt.fail("node %q stands twice", name)
			return false
		}
		seen[name] = true
		t.Nodes = append(t.Nodes, Node{i, table})
	}
	if len(t.Nodes) == 0 {
		tc.nodesAt.fail("names no data node")
		return false
	}
	return true
}

// autoNodes deals the partitions of an automatic table to its sources in turn.
func (c *compiler) autoNodes(s *shardingConfig, tc *tableConfig, t *Table, strategy *strategyConfig) bool {
	if tc.nodes == "" {
		tc.at.fail("actualDataSources is required")
		return false
	}
	names, err := groovy.Expand(tc.nodes)
	if err != nil {
		tc.nodesAt.fail("%v", err)
		return false
	}
	if strategy == nil || strategy.kind != "standard" {
		tc.at.fail("an automatic table needs a standard shardingStrategy")
		return false
	}
	a := c.algorithm(s, strategy)
	if a == nil {
		return false
	}
	if a.Auto == 0 {
		strategy.at.fail("%s is not an automatic algorithm; put the table under tables", a.Type)
		return false
	}
	for i := range a.Auto {
		source := names[i%len(names)]
		target := c.set.TargetIndex(source)
		if target < 0 {
			tc.nodesAt.fail("no data source named %q%s", source, suggest(source, c.set.indexes))
			return false
		}
		t.Nodes = append(t.Nodes, Node{target, fmt.Sprintf("%s_%d", tc.name, i)})
	}
	return true
}

func (c *compiler) algorithm(s *shardingConfig, sc *strategyConfig) *algorithm.Algorithm {
	if sc.algorithm == "" {
		sc.at.fail("shardingAlgorithmName is required")
		return nil
	}
	a := s.algorithms[sc.algorithm]
	if a == nil {
		sc.at.fail("no sharding algorithm named %q%s", sc.algorithm, suggest(sc.algorithm, s.algorithms))
		return nil
	}
	return a.compiled // nil when its own problem is already told
}

func (c *compiler) strategies(s *shardingConfig, tc *tableConfig, t *Table, database, table *strategyConfig) {
	var sources, tables []string
	si, ti := map[string]int{}, map[string]int{}
	for _, n := range t.Nodes {
		name := c.set.Targets[n.Target].Name
		if _, ok := si[name]; !ok {
			si[name] = len(sources)
			sources = append(sources, name)
			t.databaseMasks = append(t.databaseMasks, algorithm.NewSet(len(t.Nodes)))
		}
		if _, ok := ti[n.Table]; !ok {
			ti[n.Table] = len(tables)
			tables = append(tables, n.Table)
			t.tableMasks = append(t.tableMasks, algorithm.NewSet(len(t.Nodes)))
		}
	}
	for i, n := range t.Nodes {
		t.databaseMasks[si[c.set.Targets[n.Target].Name]].Add(i)
		t.tableMasks[ti[n.Table]].Add(i)
	}
	c.strategy(s, database, sources, &t.Database)
	c.strategy(s, table, tables, &t.Table)
	if len(sources) > 1 && t.Database.None() && len(tables) < len(t.Nodes) {
		tc.at.fail("stands on %d data sources under the same table names, but has no databaseStrategy to choose between them", len(sources))
	}
	if len(tables) > 1 && t.Table.None() && len(tables) > len(sources) {
		tc.at.fail("has %d physical tables, but no tableStrategy to choose between them", len(tables))
	}
}

func (c *compiler) strategy(s *shardingConfig, sc *strategyConfig, targets []string, into *Strategy) {
	if sc == nil || sc.kind == "none" {
		return
	}
	a := c.algorithm(s, sc)
	if a == nil {
		return
	}
	columns := sc.columns
	if len(columns) == 0 && sc.kind != "hint" {
		if s.column == "" {
			sc.at.fail("needs a sharding column, here or as defaultShardingColumn")
			return
		}
		columns = []string{s.column}
	}
	var err error
	switch sc.kind {
	case "standard":
		if len(columns) != 1 {
			sc.at.fail("a standard strategy has one column; use complex for several")
			return
		}
		into.Standard, err = a.Standard(columns[0], targets)
	case "complex":
		into.Complex, err = a.Complex(columns, targets)
	case "hint":
		into.Hint, err = a.Hint(targets)
	}
	if err != nil {
		sc.at.fail("%v", err)
		return
	}
	for _, col := range columns {
		into.Columns = append(into.Columns, strings.ToLower(col))
	}
	into.Type, into.Targets, into.Numeric = a.Type, targets, a.Numeric
}

func (c *compiler) key(s *shardingConfig, k *keyConfig) *Key {
	g := s.generators[k.generator]
	if g == nil {
		k.at.fail("no key generator named %q%s", k.generator, suggest(k.generator, s.generators))
		return nil
	}
	if k.column == "" {
		k.at.fail("column is required")
		return nil
	}
	return &Key{Column: strings.ToLower(k.column), Generator: k.generator, Type: strings.ToUpper(g.typ), Props: g.props}
}

func (c *compiler) keyStrategies(s *shardingConfig) {
	for _, k := range s.strategies {
		t := c.set.Lookup(k.table)
		switch {
		case k.kind != "column":
			k.at.fail("keyGenerateType %q is not supported; expected column", k.kind)
		case t == nil:
			k.at.fail("no sharded table named %q", k.table)
		default:
			t.Key = c.key(s, &keyConfig{at: k.at, column: k.column, generator: k.gen})
		}
	}
}

func checkGenerator(g *algorithmConfig) {
	known := map[string][]string{
		"SNOWFLAKE": {"worker-id", "max-tolerate-time-difference-milliseconds", "max-vibration-offset"}, "UUID": nil,
	}
	names, ok := known[strings.ToUpper(g.typ)]
	if !ok {
		g.at.fail("unknown key generator %q; expected SNOWFLAKE or UUID", g.typ)
		return
	}
	for _, k := range sortedKeys(g.props) {
		if !containsText(names, k) {
			g.propsAt.field(k, g.propsAt.n).fail("is not a property of %s", strings.ToUpper(g.typ))
			continue
		}
		var n, limit int
		limit = map[string]int{"worker-id": 1023, "max-vibration-offset": 4095}[k]
		if _, err := fmt.Sscanf(g.props[k], "%d", &n); err != nil || n < 0 || limit > 0 && n > limit {
			g.propsAt.field(k, g.propsAt.n).fail("expected a whole number from 0%s, found %q", upTo(limit), g.props[k])
		}
	}
}

func upTo(limit int) string {
	if limit == 0 {
		return ""
	}
	return fmt.Sprintf(" to %d", limit)
}

func (c *compiler) audit(s *shardingConfig, t *Table, a *auditConfig) {
	if a == nil || len(a.auditors) == 0 {
		return
	}
	for _, name := range a.auditors {
		if s.auditors[name] == nil {
			a.at.fail("no auditor named %q", name)
		}
	}
	t.Audit, t.AuditHint, t.Auditors = true, a.allowHint, a.auditors
}

// binding checks that bound tables are cut alike: as many nodes, on the same targets in order, by the same algorithm types.
func (c *compiler) binding(s *shardingConfig) {
	for i, group := range s.binding {
		var first *Table
		for _, name := range strings.Split(group, ",") {
			name = strings.TrimSpace(name)
			t := c.set.Lookup(name)
			if t == nil {
				s.bindingAt[i].fail("no sharded table named %q", name)
				continue
			}
			if t.Binding != 0 {
				s.bindingAt[i].fail("table %q is bound twice", name)
				continue
			}
			t.Binding = i + 1
			if first == nil {
				first = t
				continue
			}
			if why := unlike(first, t); why != "" {
				s.bindingAt[i].fail("tables %q and %q cannot be bound: %s", first.Name, t.Name, why)
			}
		}
	}
}

func unlike(a, b *Table) string {
	if len(a.Nodes) != len(b.Nodes) {
		return fmt.Sprintf("%d and %d data nodes", len(a.Nodes), len(b.Nodes))
	}
	for i := range a.Nodes {
		if a.Nodes[i].Target != b.Nodes[i].Target {
			return fmt.Sprintf("node %d is on different data sources", i)
		}
	}
	if a.Database.Type != b.Database.Type || a.Table.Type != b.Table.Type {
		return "their algorithms differ"
	}
	return ""
}

func (c *compiler) broadcast() {
	for _, name := range c.doc.broadcast {
		key := strings.ToLower(name)
		if c.set.tables[key] != nil {
			c.doc.at.fail("table %q is both sharded and broadcast", name)
			continue
		}
		t := &Table{Name: name, Kind: Broadcast}
		for i := range c.set.Targets {
			t.Nodes = append(t.Nodes, Node{i, name})
		}
		c.set.tables[key] = t
	}
}

func (c *compiler) single() {
	s := c.doc.single
	if s == nil {
		return
	}
	if s.source != "" {
		if c.set.Default = c.set.TargetIndex(s.source); c.set.Default < 0 {
			s.at.fail("defaultDataSource: no data source named %q%s", s.source, suggest(s.source, c.set.indexes))
		}
	}
	for _, name := range s.tables {
		source, table, ok := strings.Cut(name, ".")
		i := c.set.TargetIndex(source)
		switch {
		case !ok:
			s.at.fail("expected source.table, found %q", name)
		case source == "*" || table == "*":
			c.set.any = true
		case i < 0:
			s.at.fail("no data source named %q%s", source, suggest(source, c.set.indexes))
		case c.set.tables[strings.ToLower(table)] != nil:
			s.at.fail("table %q has another rule", table)
		default:
			c.set.tables[strings.ToLower(table)] = &Table{Name: table, Kind: Single, Nodes: []Node{{i, table}}}
		}
	}
}
