package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

const (
	shards    = 4
	unsharded = subject + " unsharded"
)

// shardedSuite asks for one row by its key of a table over four databases, and of the same table whole in one.
func shardedSuite(ctx context.Context, fleet *servers.Fleet, p plan, r *report) error {
	var server *servers.MySQLServer
	point := func(threads int, text bool) func(context.Context, string, time.Duration) (outcome, error) {
		return func(ctx context.Context, addr string, d time.Duration) (outcome, error) {
			c := mysql.NewConfig()
			c.Net, c.Addr, c.User, c.Passwd, c.DBName, c.InterpolateParams = "tcp", addr, server.User, server.Password, "shop", text
			return mysqlRun(ctx, c.FormatDSN(), threads, d, func(ctx context.Context, c *sql.Conn) (func() error, error) {
				return pointSelect(ctx, c, text)
			})
		}
	}
	budgets := cpuOver(unsharded, 1.1)
	loads := []load{
		{title: "MySQL keyed select over 4 shards, text, 1 thread", unit: "query", budgets: budgets, run: point(1, true)},
		{title: "MySQL keyed select over 4 shards, text, 32 threads", unit: "query", budgets: budgets, run: point(32, true)},
		{title: "MySQL keyed select over 4 shards, prepared, 32 threads", unit: "query", budgets: budgets, run: point(32, false)},
	}
	if !wanted(p, loads) {
		return nil
	}
	var err error
	if server, err = filled(ctx, fleet); err != nil {
		return err
	}
	defer server.Kill()
	if err := cut(ctx, server); err != nil {
		return fmt.Errorf("cutting the table: %w", err)
	}
	var contenders []contender
	defer func() { stop(contenders) }()
	for _, c := range []struct{ name, rules string }{
		{unsharded, `
      dataSources: {ds_0: {cluster: c, database: bench}}
      rules: [!SINGLE {tables: [ds_0.t]}]`},
		{subject, `
      dataSources: {` + sources() + `}
      rules:
        - !SHARDING
          tables:
            t:
              actualDataNodes: "ds_${0..3}.t"
              databaseStrategy: {standard: {shardingColumn: id, shardingAlgorithmName: m}}
          shardingAlgorithms:
            m: {type: MOD, props: {sharding-count: 4}}`},
	} {
		if contenders, err = appendSidewire(ctx, fleet, r, contenders, c.name, fmt.Sprintf(`
listeners:
  - {name: l, address: "LISTEN", mysql: {users: [{name: %s, password: %s}], databases: [shop]}}
databases:
  - name: shop
    rules:
      databaseName: shop%s
clusters:
  - {name: c, mysql: {user: %[1]s, password: %[2]s}, endpoints: [%[4]q]}
`, server.User, server.Password, c.rules, server.Addr)); err != nil {
			return err
		}
	}
	return measureAll(ctx, p, r, loads, contenders)
}

func sources() string {
	var list []string
	for i := range shards {
		list = append(list, fmt.Sprintf("ds_%d: {cluster: c, database: bench_%[1]d}", i))
	}
	return strings.Join(list, ", ")
}

// cut lays the table's rows out over the shards' databases.
func cut(ctx context.Context, server *servers.MySQLServer) error {
	db, err := sql.Open("mysql", server.DSN(""))
	if err != nil {
		return err
	}
	defer db.Close()
	for i := range shards {
		for _, s := range []string{
			fmt.Sprintf("CREATE DATABASE bench_%d", i),
			fmt.Sprintf("CREATE TABLE bench_%d.t (id INT PRIMARY KEY, k INT, c VARCHAR(200))", i),
			fmt.Sprintf("INSERT INTO bench_%d.t SELECT * FROM bench.t WHERE id %% %d = %[1]d", i, shards),
		} {
			if _, err := db.ExecContext(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}
