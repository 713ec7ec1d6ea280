package rule

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Source is one physical data source: a database on a cluster that the configuration names, or on a server that a
// jdbc URL names.
type Source struct {
	Name     string
	Cluster  string // a cluster of the configuration; empty when a URL was given
	Database string // the physical database
	Host     string
	Port     int
	User     string
	Password string
	TLS      string // jdbc's sslMode in lower case: disabled, preferred, required, verify_ca, verify_identity; empty: not said
	// Pool limits as the file has them; 0: not said. Milliseconds.
	MaxPoolSize, MinPoolSize                       int
	ConnectTimeout, IdleTimeout, MaxLife, ReadTime int
}

type sourceConfig struct {
	at  at
	url string
	Source
}

func (d *document) decodeSources(v at) {
	v.pairs(func(name string, v at) {
		s := &sourceConfig{at: v, Source: Source{Name: name}}
		d.sources = append(d.sources, s)
		noEffect := func(v at) { v.warn("has no effect") }
		v.fields(map[string]func(at){
			"cluster":                       func(v at) { v.text(&s.Cluster) },
			"database":                      func(v at) { v.text(&s.Database) },
			"url":                           func(v at) { v.text(&s.url); s.parseURL(v) },
			"jdbcUrl":                       func(v at) { v.text(&s.url); s.parseURL(v) },
			"standardJdbcUrl":               func(v at) { v.text(&s.url); s.parseURL(v) },
			"username":                      func(v at) { v.text(&s.User) },
			"password":                      func(v at) { v.text(&s.Password) },
			"connectionTimeoutMilliseconds": func(v at) { v.integer(&s.ConnectTimeout) },
			"connectionTimeout":             func(v at) { v.integer(&s.ConnectTimeout) },
			"idleTimeoutMilliseconds":       func(v at) { v.integer(&s.IdleTimeout) },
			"idleTimeout":                   func(v at) { v.integer(&s.IdleTimeout) },
			"maxLifetimeMilliseconds":       func(v at) { v.integer(&s.MaxLife) },
			"maxLifetime":                   func(v at) { v.integer(&s.MaxLife) },
			"maxPoolSize":                   func(v at) { v.integer(&s.MaxPoolSize) },
			"maximumPoolSize":               func(v at) { v.integer(&s.MaxPoolSize) },
			"minPoolSize":                   func(v at) { v.integer(&s.MinPoolSize) },
			"minimumIdle":                   func(v at) { v.integer(&s.MinPoolSize) },
			"readOnly": func(v at) {
				var on bool
				if v.boolean(&on); on {
					v.fail("is not supported; list the source under readDataSourceNames instead")
				}
			},
			"dataSourceClassName":             noEffect,
			"driverClassName":                 noEffect,
			"maintenanceIntervalMilliseconds": noEffect,
		})
		switch {
		case s.Cluster == "" && s.url == "":
			v.fail("needs a url, or a cluster and a database")
		case s.Cluster != "" && s.url != "":
			v.fail("has both a url and a cluster; keep one")
		case s.Cluster != "" && s.Database == "":
			v.fail("a cluster needs the database beside it")
		}
	})
}

// driverOnly are jdbc parameters that tell a Java driver how to behave inside its own process.
var driverOnly = func() map[string]bool {
	m := map[string]bool{}
	for _, k := range strings.Fields(`useUnicode characterEncoding serverTimezone connectionTimeZone forceConnectionTimeZoneToSession
		rewriteBatchedStatements useServerPrepStmts cachePrepStmts prepStmtCacheSize prepStmtCacheSqlLimit useLocalSessionState
		useLocalTransactionState cacheResultSetMetadata cacheServerConfiguration elideSetAutoCommits maintainTimeStats autoReconnect
		autoReconnectForPools failOverReadOnly maxReconnects zeroDateTimeBehavior tinyInt1isBit transformedBitIsBoolean
		allowMultiQueries nullCatalogMeansCurrent useInformationSchema useCursorFetch defaultFetchSize useOldAliasMetadataBehavior
		allowPublicKeyRetrieval noAccessToProcedureBodies pinGlobalTxToPhysicalConnection yearIsDateType tcpKeepAlive useAffectedRows
		permitMysqlScheme useTimezone useLegacyDatetimeCode useJDBCCompliantTimezoneShift sendFractionalSeconds netTimeoutForStreamingResults`) {
		m[k] = true
	}
	return m
}()

func (s *sourceConfig) parseURL(v at) {
	rest, ok := strings.CutPrefix(s.url, "jdbc:")
	if !ok {
		v.fail("expected jdbc:mysql://host:port/database, found %q", s.url)
		return
	}
	u, err := url.Parse(rest)
	if err != nil {
		v.fail("expected jdbc:mysql://host:port/database, found %q", s.url)
		return
	}
	switch u.Scheme {
	case "mysql", "mariadb":
	default:
		v.fail("%q is not supported: expected jdbc:mysql or jdbc:mariadb", "jdbc:"+u.Scheme)
		return
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		host, port = u.Host, "3306"
	}
	s.Host = host
	if s.Port, err = strconv.Atoi(port); err != nil || host == "" || strings.Contains(host, ",") {
		v.fail("expected one host and port, found %q; for several hosts use a cluster", u.Host)
	}
	if s.Database = strings.TrimPrefix(u.Path, "/"); s.Database == "" {
		v.fail("names no database")
	}
	params, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		v.fail("cannot read its parameters: %v", err)
		return
	}
	for _, name := range sortedKeys(params) {
		s.parameter(v, name, params.Get(name))
	}
}

func (s *sourceConfig) parameter(v at, name, val string) {
	if val == "" && name == "" {
		return
	}
	switch name {
	case "useSSL":
		if s.TLS == "" {
			s.TLS = map[string]string{"true": "required", "false": "disabled"}[strings.ToLower(val)]
		}
	case "requireSSL":
		if strings.EqualFold(val, "true") {
			s.TLS = "required"
		}
	case "verifyServerCertificate":
		if strings.EqualFold(val, "true") {
			s.TLS = "verify_ca"
		}
	case "sslMode":
		s.TLS = strings.ToLower(val)
		switch s.TLS {
		case "disabled", "preferred", "required", "verify_ca", "verify_identity":
		default:
			v.fail("parameter sslMode: unknown value %q", val)
		}
	case "connectTimeout", "socketTimeout":
		n, err := strconv.Atoi(val)
		if err != nil {
			v.fail("parameter %s: expected milliseconds, found %q", name, val)
		} else if name == "connectTimeout" {
			s.ConnectTimeout = n
		} else {
			s.ReadTime = n
		}
	case "user":
		s.User = val
	case "password":
		s.Password = val
	default:
		if !driverOnly[name] {
			v.fail("parameter %q is not understood; remove it, or say the same in a cluster", name)
		}
	}
}
