package live

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
)

// open returns a pool of ordinary MySQL clients of sidewire.
func (w *world) open(t *testing.T, params string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("%s:%s@tcp(%s)/?%s", w.db.User, w.db.Password, w.sql, params))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// A MySQL server that dies is an error in MySQL's words, in time, to its own clients; those of other stores do not
// notice, and its clients work again once it is back, without reconnecting to sidewire for a new session.
func TestMySQLServerDies(t *testing.T) {
	w := begin(t, servers.Private())
	db := w.open(t, "")
	if err := db.PingContext(deadline(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := w.db.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var one int
	err := db.QueryRowContext(deadline(t, 30*time.Second), "SELECT 1").Scan(&one)
	if e := (*mysql.MySQLError)(nil); !errors.As(err, &e) {
		t.Errorf("a dead server: %v after %v, want an error packet", err, time.Since(began))
	} else {
		t.Logf("a dead server, after %v: %v", time.Since(began).Round(time.Millisecond), e)
	}
	got, err := ask(t, w.cache, "PING")
	if err != nil || got != "+PONG" {
		t.Errorf("redis beside a dead MySQL: %q, %v", got, err)
	}
	if err := w.db.Restart(); err != nil {
		t.Fatal(err)
	}
	err = servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
		return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	})
	if err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// A MySQL server that stands still answers nobody, but once its probes have noticed, new statements get an error instead
// of waiting for it; when it goes on, so do its clients, and the statement that it had before is answered.
func TestMySQLServerStandsStill(t *testing.T) {
	w := begin(t, servers.Private())
	db := w.open(t, "")
	var one int
	if err := db.QueryRowContext(deadline(t, 10*time.Second), "SELECT 1").Scan(&one); err != nil { // leaves a connection to the server
		t.Fatal(err)
	}
	if err := w.db.Stop(); err != nil {
		t.Fatal(err)
	}
	defer w.db.Cont()
	before := make(chan error, 1)
	go func() {
		var one int
		before <- db.QueryRowContext(deadline(t, 90*time.Second), "SELECT 1").Scan(&one)
	}()
	if err := servers.Poll(deadline(t, 30*time.Second), func(context.Context) error { return w.unhealthy(t, w.db.Addr) }); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := db.QueryRowContext(deadline(t, 40*time.Second), "SELECT 1").Scan(&one)
	if e := (*mysql.MySQLError)(nil); !errors.As(err, &e) {
		t.Errorf("a server that stands still: %v after %v, want an error packet", err, time.Since(began))
	} else {
		t.Logf("a server that stands still, after %v: %v", time.Since(began).Round(time.Millisecond), e)
	}
	if got, err := ask(t, w.cache, "PING"); err != nil || got != "+PONG" {
		t.Errorf("redis beside a MySQL that stands still: %q, %v", got, err)
	}
	if err := w.db.Cont(); err != nil {
		t.Fatal(err)
	}
	if err := <-before; err != nil {
		t.Errorf("the statement that the server had before: %v", err)
	}
	if err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
		return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	}); err != nil {
		t.Errorf("after it went on: %v", err)
	}
}

// unhealthy is nil once sidewire leaves an endpoint out.
func (w *world) unhealthy(t *testing.T, endpoint string) error {
	body, err := w.side.Get(deadline(t, 5*time.Second), "/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "sidewire_endpoint_healthy{") && strings.Contains(line, endpoint) && strings.HasSuffix(line, " 0\n") {
			return nil
		}
	}
	return errors.New("the endpoint still counts as healthy")
}

// A Redis node that dies, or stands still, is an error for its own keys only and comes back by itself.
func TestRedisNodeDiesAndStalls(t *testing.T) {
	w := begin(t, servers.Private())
	keys := w.keyOfEachNode(t)
	if err := w.kv[1].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		got, err := ask(t, w.cache, "GET "+key)
		switch {
		case err != nil:
			t.Errorf("key of node %d: %v", i, err)
		case i == 1 && !strings.HasPrefix(got, "-"):
			t.Errorf("a dead node answered %q", got)
		case i != 1 && got != "$1":
			t.Errorf("key of living node %d: %q", i, got)
		}
	}
	if err := w.kv[1].Restart(); err != nil {
		t.Fatal(err)
	}
	err := servers.Poll(deadline(t, 20*time.Second), func(context.Context) error {
		if got, err := ask(t, w.cache, "GET "+keys[1]); err != nil || got != "$-1" {
			return fmt.Errorf("%q, %w", got, errors.Join(err, errors.New("not back yet")))
		}
		return nil
	})
	if err != nil {
		t.Errorf("after the restart: %v", err)
	}
	if err := w.kv[2].Stop(); err != nil {
		t.Fatal(err)
	}
	defer w.kv[2].Cont()
	for i, key := range keys[:1] {
		if got, err := ask(t, w.cache, "GET "+key); err != nil || got != "$1" {
			t.Errorf("key of node %d beside a node that stands still: %q, %v", i, got, err)
		}
	}
	if got, err := ask(t, w.cache, "GET "+keys[2]); err != nil || !strings.HasPrefix(got, "-") {
		t.Errorf("a node that stands still: %q, %v, want an error in time", got, err)
	}
}

// keyOfEachNode writes keys through sidewire and returns one that each node holds.
func (w *world) keyOfEachNode(t *testing.T) []string {
	t.Helper()
	found := make([]string, len(w.kv))
	for i := 0; i < 200; i++ {
		key := fmt.Sprint("fault:", i)
		if got, err := ask(t, w.cache, "SET "+key+" v"); err != nil || got != "+OK" {
			t.Fatalf("SET %s: %q, %v", key, got, err)
		}
		for n, s := range w.kv {
			if held, err := ask(t, s.Addr, "EXISTS "+key); err == nil && held == ":1" {
				found[n] = key
			}
		}
	}
	for n, key := range found {
		if key == "" {
			t.Fatalf("no key on %s", w.kv[n].Name)
		}
	}
	return found
}

// ask sends one command on a connection of its own and returns the first line of the reply.
func ask(t *testing.T, addr, command string) (string, error) {
	t.Helper()
	conn := connect(t, addr)
	defer conn.Close()
	words := strings.Fields(command)
	fmt.Fprintf(conn, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}
