package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

// rows of the table, about 190 bytes each.
const rows = 10000

func mysqlSuite(ctx context.Context, fleet *servers.Fleet, p plan, r *report) error {
	var server *servers.MySQLServer
	at := func(addr string, interpolate bool) string {
		c := mysql.NewConfig()
		c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", addr, server.User, server.Password, "bench"
		c.InterpolateParams = interpolate
		return c.FormatDSN()
	}
	point := func(threads int, text bool) func(context.Context, string, time.Duration) (outcome, error) {
		return func(ctx context.Context, addr string, d time.Duration) (outcome, error) {
			return mysqlRun(ctx, at(addr, text), threads, d, func(ctx context.Context, c *sql.Conn) (func() error, error) {
				return pointSelect(ctx, c, text)
			})
		}
	}
	loads := []load{
		{title: "MySQL point select, text, 1 thread", unit: "query", run: point(1, true)},
		{title: "MySQL point select, text, 32 threads", unit: "query", run: point(32, true)},
		{title: "MySQL point select, prepared, 1 thread", unit: "query", run: point(1, false)},
		{title: "MySQL point select, prepared, 32 threads", unit: "query", run: point(32, false)},
		{title: "MySQL, a result of 10,000 rows", unit: "result", budgets: cpuOver(haproxy, 1.1), run: func(ctx context.Context, addr string, d time.Duration) (outcome, error) {
			return mysqlRun(ctx, at(addr, true), 1, d, wholeTable)
		}},
	}
	for i := range loads {
		if loads[i].budgets == nil {
			loads[i].budgets = cpuOver(haproxy, 1)
		}
	}
	if !wanted(p, loads) {
		return nil
	}
	var err error
	if server, err = filled(ctx, fleet); err != nil {
		return err
	}
	defer server.Kill()
	contenders, err := layer4(ctx, fleet, r, server.Addr)
	if err != nil {
		return err
	}
	defer func() { stop(contenders) }()
	contenders, err = appendSidewire(ctx, fleet, r, contenders, subject, fmt.Sprintf(`
listeners:
  - {name: l, address: "LISTEN", mysql: {users: [{name: %s, password: %s}], cluster: c}}
clusters:
  - {name: c, mysql: {user: %[1]s, password: %[2]s}, endpoints: [%q]}
`, server.User, server.Password, server.Addr))
	if err != nil {
		return err
	}
	return measureAll(ctx, p, r, loads, contenders)
}

// filled starts a MariaDB with the table that is read.
func filled(ctx context.Context, fleet *servers.Fleet) (*servers.MySQLServer, error) {
	server, err := fleet.MariaDB(ctx)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, server); err != nil {
		server.Kill()
		return nil, fmt.Errorf("filling the table: %w", err)
	}
	return server, nil
}

func fill(ctx context.Context, server *servers.MySQLServer) error {
	db, err := sql.Open("mysql", server.DSN(""))
	if err != nil {
		return err
	}
	defer db.Close()
	statements := []string{"CREATE DATABASE bench", "CREATE TABLE bench.t (id INT PRIMARY KEY, k INT, c VARCHAR(200))"}
	for first := 0; first < rows; first += 1000 {
		var values []string
		for id := first; id < first+1000; id++ {
			values = append(values, fmt.Sprintf("(%d,%d,'%s')", id, id*7, strings.Repeat("c", 180)))
		}
		statements = append(statements, "INSERT INTO bench.t VALUES "+strings.Join(values, ","))
	}
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// pointSelect returns the operation on one connection: a select by primary key whose answer is checked.
func pointSelect(ctx context.Context, c *sql.Conn, text bool) (func() error, error) {
	const query = "SELECT id, c FROM t WHERE id = ?"
	ask := func(id int) *sql.Row { return c.QueryRowContext(ctx, query, id) }
	if !text {
		prepared, err := c.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		ask = func(id int) *sql.Row { return prepared.QueryRowContext(ctx, id) }
	}
	return func() error {
		want, got := rand.IntN(rows), -1
		var c string
		if err := ask(want).Scan(&got, &c); err != nil {
			return err
		}
		if got != want || len(c) != 180 {
			return fmt.Errorf("asked for row %d, got row %d with %d bytes", want, got, len(c))
		}
		return nil
	}, nil
}

func wholeTable(ctx context.Context, c *sql.Conn) (func() error, error) {
	return func() error {
		result, err := c.QueryContext(ctx, "SELECT id, k, c FROM t")
		if err != nil {
			return err
		}
		defer result.Close()
		n := 0
		var id, k, text sql.RawBytes
		for result.Next() {
			if err := result.Scan(&id, &k, &text); err != nil {
				return err
			}
			n++
		}
		if err := result.Err(); err != nil {
			return err
		}
		if n != rows {
			return fmt.Errorf("%d rows, want %d", n, rows)
		}
		return nil
	}, nil
}

// mysqlRun repeats an operation on every connection until the time is over.
func mysqlRun(ctx context.Context, dsn string, threads int, d time.Duration, prepare func(context.Context, *sql.Conn) (func() error, error)) (outcome, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return outcome{}, err
	}
	defer db.Close()
	ops := make([]func() error, threads)
	for i := range ops {
		conn, err := db.Conn(ctx)
		if err != nil {
			return outcome{}, err
		}
		defer conn.Close()
		if ops[i], err = prepare(ctx, conn); err != nil {
			return outcome{}, err
		}
	}
	took, failed := make([][]time.Duration, threads), make([]error, threads)
	start := time.Now()
	var all sync.WaitGroup
	for i, op := range ops {
		all.Go(func() {
			for before := time.Now(); before.Sub(start) < d; {
				if failed[i] = op(); failed[i] != nil {
					return
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(before))
				before = now
			}
		})
	}
	all.Wait()
	return gather(took, failed, time.Since(start))
}

// gather is the outcome of clients that each noted how long every operation took.
func gather(took [][]time.Duration, failed []error, elapsed time.Duration) (outcome, error) {
	o := outcome{elapsed: elapsed}
	var list []time.Duration
	for _, t := range took {
		list = append(list, t...)
	}
	o.ops = len(list)
	o.p50, o.p99 = percentiles(list)
	return o, errors.Join(failed...)
}
