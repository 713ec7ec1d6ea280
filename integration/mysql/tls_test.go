package mysql

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/gateway/certify"
	"github.com/sidewire/sidewire/integration/servers"
)

// folder of files that are replaced at once, as secrets are that rotate.
type folder struct {
	t    *testing.T
	path string
}

func (f folder) file(name string) string { return filepath.Join(f.path, name) }

func (f folder) write(name string, text []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.file(name+".new"), text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.take(name, f.file(name+".new"))
}

// take makes a file one of the folder's.
func (f folder) take(name, file string) {
	f.t.Helper()
	if err := os.Rename(file, f.file(name)); err != nil {
		f.t.Fatal(err)
	}
}

// pair writes a certificate of a's and its key as WHOSE-cert.pem and WHOSE-key.pem.
func (f folder) pair(whose string, a *certify.Authority, name string) {
	f.t.Helper()
	cert, key := a.Issue(f.t.TempDir(), name)
	f.take(whose+"-cert.pem", cert)
	f.take(whose+"-key.pem", key)
}

// trust writes the certificates of authorities as WHOSE-ca.pem.
func (f folder) trust(whose string, authorities ...*certify.Authority) {
	f.t.Helper()
	var all []byte
	for _, a := range authorities {
		text, err := os.ReadFile(a.CA(f.t.TempDir()))
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, text...)
	}
	f.write(whose+"-ca.pem", all)
}

// client is a driver's TLS configuration that trusts one authority and shows a certificate of another; nil: none.
func client(t *testing.T, trusts, of *certify.Authority) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: trusts.Pool()}
	if of != nil {
		cert, err := tls.LoadX509KeyPair(of.Issue(t.TempDir(), "client"))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c
}

// login opens a connection of a user's over TLS; without a configuration in the open.
func (w *world) login(ctx context.Context, t *testing.T, user string, over *tls.Config) (*sql.Conn, error) {
	t.Helper()
	c := driver.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.TLS = user, "local", "tcp", w.addr, over
	connector, err := driver.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db.Conn(ctx)
}

// work is what a new session does that needs a connection to the server.
func (w *world) work(ctx context.Context, t *testing.T, user string, over *tls.Config) (*sql.Conn, error) {
	t.Helper()
	c, err := w.login(ctx, t, user, over)
	if err == nil {
		_, err = c.ExecContext(ctx, "BEGIN")
	}
	return c, err
}

// Certificates on both sides, required and verified on both, and passwords towards the servers, change while sessions work:
// new connections use the new ones, the old ones go on. The accounts are new, so that MySQL has their passwords proved in full.
func TestCertificatesAndPasswordsRotate(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		first, second := certify.Named(t, "first"), certify.Named(t, "second")
		f := folder{t, t.TempDir()}
		f.pair("server", first, "server")
		f.trust("server", first, second)
		f.pair("upstream", first, "one")
		f.trust("upstream", first)
		f.pair("listener", first, "sidewire")
		f.trust("listener", first)
		f.write("password", []byte("before"))
		db := start(t, servers.Private(), servers.Args("--ssl-ca="+f.file("server-ca.pem"), "--ssl-cert="+f.file("server-cert.pem"), "--ssl-key="+f.file("server-key.pem")))
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "CREATE USER one IDENTIFIED BY 'before' REQUIRE SUBJECT '/CN=one' AND ISSUER '/CN=first'")
		mustExec(t, root, "CREATE USER two IDENTIFIED BY 'before' REQUIRE SUBJECT '/CN=two' AND ISSUER '/CN=second'")
		files := func(whose, ca string) string {
			return fmt.Sprintf("tls: {cert: %q, key: {file: %q}, %s: %q}", f.file(whose+"-cert.pem"), f.file(whose+"-key.pem"), ca, f.file(whose+"-ca.pem"))
		}
		account := func(name string) string {
			return fmt.Sprintf("{name: %s, password: local, backend: {user: %[1]s, password: {file: %q}}}", name, f.file("password"))
		}
		w := front(t, db, layout{users: account("one") + ", " + account("two"), besideListener: files("listener", "client_ca"), besideCluster: files("upstream", "ca"),
			cluster: "failover: {wait: 0s}"})
		w.settle(t)
		ctx := deadline(t, 90*time.Second)

		old, err := w.work(ctx, t, "one", client(t, first, first))
		if err != nil {
			t.Fatal(err)
		}
		if got := show(ctx, old, "SHOW STATUS LIKE 'Ssl_cipher'"); !strings.Contains(got, "TLS_") {
			t.Errorf("the server's connection is encrypted by %q", got)
		}
		refusedIn := func(want, user string, over *tls.Config) {
			t.Helper()
			if c, err := w.work(ctx, t, user, over); err == nil {
				c.Close()
				t.Errorf("nobody refused %s: want %s", user, want)
			} else if !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		refusedIn("3159", "one", nil)
		refusedIn("", "one", client(t, first, nil)) // the alert may find the connection closed
		refusedIn("", "one", client(t, first, second))
		refusedIn("certificate", "one", client(t, second, first))
		refusedIn("1045", "two", client(t, first, first)) // the server does not take sidewire's certificate for it

		// The clients' side.
		f.pair("listener", second, "sidewire")
		f.trust("listener", second)
		changed := client(t, second, second)
		if err := servers.Poll(ctx, func(ctx context.Context) error {
			_, err := w.login(ctx, t, "one", changed)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		refusedIn("", "one", client(t, second, first))
		// The server's side.
		f.pair("server", second, "server")
		mustExec(t, root, word(strings.HasSuffix(t.Name(), "mariadb"), "FLUSH SSL", "ALTER INSTANCE RELOAD TLS"))
		f.pair("upstream", second, "two")
		f.trust("upstream", second)
		renewed := w.eventually(ctx, t, "two", changed)
		// The passwords.
		mustExec(t, root, "ALTER USER two IDENTIFIED BY 'after'")
		f.write("password", []byte("after"))
		w.eventually(ctx, t, "two", changed)
		for _, c := range []*sql.Conn{old, renewed} {
			if got := show(ctx, c, "SELECT 7"); got != "7\n7" {
				t.Errorf("an open transaction: %s", got)
			}
			mustExec(t, c, "COMMIT")
		}
	})
}

// eventually is work once the configuration allows it.
func (w *world) eventually(ctx context.Context, t *testing.T, user string, over *tls.Config) (c *sql.Conn) {
	t.Helper()
	if err := servers.Poll(ctx, func(ctx context.Context) (err error) {
		c, err = w.work(ctx, t, user, over)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

// Without TLS a MySQL account that the server has not seen since its start, or since FLUSH PRIVILEGES, proves its password in full under the
// server's RSA key.
func TestFullAuthenticationByRSA(t *testing.T) {
	db := servers.MySQL(t)
	root := session(t, db.AdminDSN(""))
	mustExec(t, root, "DROP USER IF EXISTS fresh")
	mustExec(t, root, "CREATE USER fresh IDENTIFIED WITH caching_sha2_password BY 'päss; word'")
	w := front(t, db, layout{users: "{name: fresh, password: local, backend: {user: fresh, password: 'päss; word'}}, {name: wrong, password: local, backend: {user: fresh, password: other}}"})
	for range 2 {
		c := session(t, "fresh:local@tcp("+w.addr+")/")
		if got := show(deadline(t, 20*time.Second), c, "SELECT CURRENT_USER() AS who, (SELECT VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME = 'Ssl_cipher') AS cipher"); got != "who,cipher\nfresh@%," {
			t.Errorf("%q", got)
		}
		var number string
		if err := c.QueryRowContext(deadline(t, 20*time.Second), "SELECT id FROM performance_schema.processlist WHERE user = 'fresh'").Scan(&number); err != nil {
			t.Fatal(err)
		}
		mustExec(t, root, "FLUSH PRIVILEGES")
		mustExec(t, root, "KILL "+number)
	}
	_, err := session(t, "wrong:local@tcp("+w.addr+")/").ExecContext(deadline(t, 20*time.Second), "SELECT 1")
	if e := (*driver.MySQLError)(nil); !errors.As(err, &e) || e.Number != 1045 {
		t.Errorf("a wrong password: %v", err)
	}
}
