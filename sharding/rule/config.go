package rule

import (
	"strings"

	"github.com/sidewire/sidewire/sharding/algorithm"
)

// The types below are the file as it stands, before names are resolved. Each keeps its place for later problems.

type document struct {
	at        at
	database  string
	sources   []*sourceConfig
	sharding  *shardingConfig
	splitting *splittingConfig
	broadcast []string
	single    *singleConfig
}

type algorithmConfig struct {
	compiled *algorithm.Algorithm
	at       at
	typ      string
	props    map[string]string
	propsAt  at
}

type strategyConfig struct {
	at        at
	kind      string // standard, complex, hint, none
	columns   []string
	algorithm string
}

type keyConfig struct {
	at                at
	column, generator string
}

type auditConfig struct {
	at        at
	auditors  []string
	allowHint bool
}

type tableConfig struct {
	at              at
	name            string
	auto            bool
	nodes           string
	nodesAt         at
	database, table *strategyConfig
	key             *keyConfig
	audit           *auditConfig
}

type shardingConfig struct {
	at              at
	tables          []*tableConfig
	binding         []string
	bindingAt       []at
	database, table *strategyConfig
	key             *keyConfig
	audit           *auditConfig
	column          string
	algorithms      map[string]*algorithmConfig
	generators      map[string]*algorithmConfig
	auditors        map[string]*algorithmConfig
	strategies      []*namedKeyConfig
}

type namedKeyConfig struct {
	at                                 at
	kind, table, column, sequence, gen string
}

type singleConfig struct {
	at     at
	tables []string
	source string
}

type groupConfig struct {
	at       at
	name     string
	write    string
	reads    []string
	strategy string
	balancer string
}

type splittingConfig struct {
	at        at
	groups    []*groupConfig
	balancers map[string]*algorithmConfig
}

func (d *document) decode(a at) {
	d.at = a
	a.fields(map[string]func(at){
		"databaseName": func(v at) { v.text(&d.database) },
		"schemaName":   func(v at) { v.text(&d.database) },
		"dataSources":  d.decodeSources,
		"rules":        func(v at) { v.list(d.decodeRule) },
	})
}

func (d *document) decodeRule(_ int, v at) {
	if v.empty() {
		v.fail("a rule needs its content")
		return
	}
	switch tag := strings.TrimPrefix(v.n.Tag, "!"); tag {
	case "SHARDING":
		if d.sharding != nil {
			v.fail("a second !SHARDING rule")
			return
		}
		d.sharding = &shardingConfig{}
		d.sharding.decode(v, d)
	case "READWRITE_SPLITTING":
		d.splitting = &splittingConfig{}
		d.splitting.decode(v)
	case "BROADCAST":
		v.fields(map[string]func(at){"tables": func(v at) { v.strings(&d.broadcast) }})
	case "SINGLE":
		d.single = &singleConfig{at: v}
		v.fields(map[string]func(at){
			"tables":            func(v at) { v.strings(&d.single.tables) },
			"defaultDataSource": func(v at) { v.text(&d.single.source) },
		})
	case "ENCRYPT", "MASK", "SHADOW", "DB_DISCOVERY":
		v.fail("rule !%s is not supported: without it data would be read and written differently, so the file is not loaded", tag)
	case "":
		v.fail("a rule needs a tag: !SHARDING, !READWRITE_SPLITTING, !BROADCAST or !SINGLE")
	default:
		v.fail("unknown rule !%s; expected !SHARDING, !READWRITE_SPLITTING, !BROADCAST or !SINGLE", strings.TrimPrefix(tag, "!"))
	}
}

func (s *shardingConfig) decode(a at, d *document) {
	s.at = a
	a.fields(map[string]func(at){
		"tables":                     func(v at) { v.pairs(func(k string, v at) { s.tables = append(s.tables, decodeTable(k, v)) }) },
		"autoTables":                 func(v at) { v.pairs(func(k string, v at) { s.tables = append(s.tables, decodeAuto(k, v)) }) },
		"bindingTables":              s.decodeBinding,
		"broadcastTables":            func(v at) { v.strings(&d.broadcast) },
		"defaultDatabaseStrategy":    func(v at) { s.database = decodeStrategy(v) },
		"defaultTableStrategy":       func(v at) { s.table = decodeStrategy(v) },
		"defaultKeyGenerateStrategy": func(v at) { s.key = decodeKey(v) },
		"defaultAuditStrategy":       func(v at) { s.audit = decodeAudit(v) },
		"defaultShardingColumn":      func(v at) { v.text(&s.column) },
		"shardingAlgorithms":         func(v at) { s.algorithms = decodeAlgorithms(v) },
		"keyGenerators":              func(v at) { s.generators = decodeAlgorithms(v) },
		"auditors":                   func(v at) { s.auditors = decodeAlgorithms(v) },
		"keyGenerateStrategies":      s.decodeKeyStrategies,
		"shardingCache":              func(v at) { v.warn("has no effect: plans are always cached") },
	})
}

func (s *shardingConfig) decodeBinding(v at) {
	v.list(func(_ int, v at) {
		var t string
		v.text(&t)
		if name, rest, ok := strings.Cut(t, ":"); ok && !strings.Contains(name, ",") {
			t = rest
		}
		s.binding = append(s.binding, t)
		s.bindingAt = append(s.bindingAt, v)
	})
}

func (s *shardingConfig) decodeKeyStrategies(v at) {
	v.pairs(func(_ string, v at) {
		k := &namedKeyConfig{at: v, kind: "column"}
		v.fields(map[string]func(at){
			"keyGenerateType":     func(v at) { v.text(&k.kind) },
			"logicTable":          func(v at) { v.text(&k.table) },
			"keyGenerateColumn":   func(v at) { v.text(&k.column) },
			"keyGenerateSequence": func(v at) { v.text(&k.sequence) },
			"keyGeneratorName":    func(v at) { v.text(&k.gen) },
		})
		s.strategies = append(s.strategies, k)
	})
}

func decodeTable(name string, a at) *tableConfig {
	t := &tableConfig{at: a, name: name, nodesAt: a}
	a.fields(map[string]func(at){
		"actualDataNodes":     func(v at) { v.text(&t.nodes); t.nodesAt = v },
		"databaseStrategy":    func(v at) { t.database = decodeStrategy(v) },
		"tableStrategy":       func(v at) { t.table = decodeStrategy(v) },
		"keyGenerateStrategy": func(v at) { t.key = decodeKey(v) },
		"auditStrategy":       func(v at) { t.audit = decodeAudit(v) },
		"logicTable":          func(v at) { v.text(&t.name) },
	})
	return t
}

func decodeAuto(name string, a at) *tableConfig {
	t := &tableConfig{at: a, name: name, auto: true, nodesAt: a}
	a.fields(map[string]func(at){
		"actualDataSources":   func(v at) { v.text(&t.nodes); t.nodesAt = v },
		"shardingStrategy":    func(v at) { t.table = decodeStrategy(v) },
		"keyGenerateStrategy": func(v at) { t.key = decodeKey(v) },
		"auditStrategy":       func(v at) { t.audit = decodeAudit(v) },
		"logicTable":          func(v at) { v.text(&t.name) },
	})
	return t
}

func decodeStrategy(a at) *strategyConfig {
	s := &strategyConfig{at: a}
	one := func(kind string) func(at) {
		return func(v at) {
			if s.kind != "" {
				v.fail("a strategy is exactly one of standard, complex, hint, none; %s stands before it", s.kind)
				return
			}
			s.kind = kind
			var column string
			fields := map[string]func(at){"shardingAlgorithmName": func(v at) { v.text(&s.algorithm) }}
			switch kind {
			case "standard":
				fields["shardingColumn"] = func(v at) { v.text(&column) }
			case "complex":
				fields["shardingColumns"] = func(v at) { v.text(&column) }
			case "none":
				fields = nil
			}
			v.fields(fields)
			for _, c := range strings.Split(column, ",") {
				if c = strings.TrimSpace(c); c != "" {
					s.columns = append(s.columns, c)
				}
			}
		}
	}
	a.fields(map[string]func(at){"standard": one("standard"), "complex": one("complex"), "hint": one("hint"), "none": one("none")})
	if s.kind == "" {
		a.fail("a strategy is exactly one of standard, complex, hint, none")
		s.kind = "none"
	}
	return s
}

func decodeKey(a at) *keyConfig {
	k := &keyConfig{at: a}
	a.fields(map[string]func(at){
		"column":           func(v at) { v.text(&k.column) },
		"keyGeneratorName": func(v at) { v.text(&k.generator) },
	})
	return k
}

func decodeAudit(a at) *auditConfig {
	c := &auditConfig{at: a, allowHint: true}
	a.fields(map[string]func(at){
		"auditorNames":     func(v at) { v.strings(&c.auditors) },
		"allowHintDisable": func(v at) { v.boolean(&c.allowHint) },
	})
	return c
}

func decodeAlgorithms(a at) map[string]*algorithmConfig {
	out := map[string]*algorithmConfig{}
	a.pairs(func(name string, v at) {
		c := &algorithmConfig{at: v, props: map[string]string{}, propsAt: v}
		v.fields(map[string]func(at){
			"type":  func(v at) { v.text(&c.typ) },
			"props": func(v at) { c.props, c.propsAt = v.properties(), v },
		})
		if c.typ == "" {
			v.fail("needs a type")
		}
		out[name] = c
	})
	return out
}

func (s *splittingConfig) decode(a at) {
	s.at = a
	groups := func(v at) {
		v.pairs(func(name string, v at) {
			g := &groupConfig{at: v, name: name, strategy: "DYNAMIC"}
			known := map[string]func(at){
				"writeDataSourceName":            func(v at) { v.text(&g.write) },
				"readDataSourceNames":            func(v at) { v.strings(&g.reads) },
				"transactionalReadQueryStrategy": func(v at) { v.text(&g.strategy) },
				"loadBalancerName":               func(v at) { v.text(&g.balancer) },
			}
			// Before 5.3 the two lists stood under staticStrategy.
			known["staticStrategy"] = func(v at) {
				v.fields(map[string]func(at){"writeDataSourceName": known["writeDataSourceName"], "readDataSourceNames": known["readDataSourceNames"]})
			}
			known["dynamicStrategy"] = func(v at) {
				v.fail("needs !DB_DISCOVERY, which is not supported: name the sources, or use a cluster, whose roles are probed")
			}
			v.fields(known)
			s.groups = append(s.groups, g)
		})
	}
	a.fields(map[string]func(at){
		"dataSources":      groups,
		"dataSourceGroups": groups,
		"loadBalancers":    func(v at) { s.balancers = decodeAlgorithms(v) },
	})
}
