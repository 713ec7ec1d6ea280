package mysql

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// Query attributes reach a server that has them, with texts and executions, and sessions with and without them share a pool.
func TestQueryAttributes(t *testing.T) {
	db := servers.MySQL(t)
	root := session(t, db.AdminDSN(""))
	root.ExecContext(deadline(t, 10*time.Second), `INSTALL COMPONENT "file://component_query_attributes"`) // it may be there already
	w := begin(t, db, 1)
	w.settle(t)
	one := []byte{1, 1, 0, 1, 0xfe, 0, 1, 'n', 2, 'v', '1'} // n = 'v1'
	const ask = "SELECT mysql_query_attribute_string('n')"
	for range 3 {
		with := rawClient(t, w.addr, "app", "local", wire.QueryAttributes)
		if !with.caps.Has(wire.QueryAttributes) {
			t.Fatal("attributes are not offered")
		}
		for _, tc := range []struct {
			attributes []byte
			want       string
		}{{one, "v1"}, {nil, "NULL"}} {
			if got, err := with.query(tc.attributes, ask); err != nil || strings.Join(got, ";") != tc.want {
				t.Fatalf("%q %v, want %s", got, err, tc.want)
			}
			if got, err := with.query(tc.attributes, ask+", CONNECTION_ID() > 0"); err != nil || strings.Join(got, ";") != tc.want+",1" {
				t.Fatalf("rewritten: %q %v, want %s", got, err, tc.want)
			}
		}
		executions(t, with, ask, true)
		without := rawClient(t, w.addr, "app", "local", 0)
		if got, err := without.query(nil, ask); err != nil || strings.Join(got, ";") != "NULL" {
			t.Fatalf("without: %q %v", got, err)
		}
		if _, err := with.query([]byte{1, 1, 0, 1, 0xfe, 0, 9}, ask); err == nil {
			t.Fatal("a torn attribute passed")
		}
	}
}

// executions runs a prepared statement with a parameter (7) and an attribute.
func executions(t *testing.T, c *raw, ask string, kept bool) {
	t.Helper()
	made, err := c.prepare(ask + ", ?")
	if err != nil || made.Params != 1 {
		t.Fatal(made, err)
	}
	x := &wire.NamedExecute{ID: made.ID, Count: 2, Nulls: []byte{0}, NewTypes: true,
		Named: []byte{byte(wire.TypeLong), 0, 0, 0xfe, 0, 1, 'n'}, Values: []byte{7, 0, 0, 0, 2, 'v', '2'}}
	for i := range 3 {
		if i == 2 {
			x.NewTypes = false // those before hold
		}
		if err := c.send(wire.AppendNamedExecute(nil, x)); err != nil {
			t.Fatal(err)
		}
		got, _, err := c.answer(wire.ComStmtExecute)
		if err != nil || len(got) != 1 || strings.Contains(got[0], "v2") != kept || !strings.Contains(got[0], `\a`) {
			t.Fatalf("execution %d: %q %v", i, got, err)
		}
	}
	plain := &wire.NamedExecute{ID: made.ID, Count: 1, Nulls: []byte{0}, NewTypes: true,
		Named: []byte{byte(wire.TypeLong), 0, 0}, Values: []byte{8, 0, 0, 0}}
	if err := c.send(wire.AppendNamedExecute(nil, plain)); err != nil {
		t.Fatal(err)
	}
	if got, _, err := c.answer(wire.ComStmtExecute); err != nil || len(got) != 1 || strings.Contains(got[0], "v2") || !strings.Contains(got[0], `\b`) {
		t.Fatalf("without an attribute: %q %v", got, err)
	}
}

// Before a server without attributes they are left out, and a client of such a server is not offered any.
func TestQueryAttributesWithoutServer(t *testing.T) {
	db := servers.MariaDB(t)
	w := begin(t, db, 1)
	w.settle(t)
	if c := rawClient(t, w.addr, "app", "local", wire.QueryAttributes); c.caps.Has(wire.QueryAttributes) {
		t.Fatal("attributes are offered before MariaDB")
	}
	posing := front(t, db, layout{listener: "server_version: 8.0.40", cluster: "pool: {max: 1}"})
	posing.settle(t)
	c := rawClient(t, posing.addr, "app", "local", wire.QueryAttributes)
	one := []byte{1, 1, 0, 1, 0xfe, 0, 1, 'n', 2, 'v', '1'}
	for range 2 {
		if got, err := c.query(one, "SELECT 'a'"); err != nil || fmt.Sprint(got) != "[a]" {
			t.Fatal(got, err)
		}
	}
	executions(t, c, "SELECT NULL", false)
}

// A greeting names the authentication of the server it speaks for: drivers choose by the version how they read the next packets.
func TestGreetsLikeItsServer(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		w := begin(t, start(t), 2)
		w.settle(t)
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		in, _, err := (&raw{Conn: conn}).packet()
		if err != nil {
			t.Fatal(err)
		}
		g, err := wire.DecodeGreeting(in)
		want := map[bool]string{true: wire.PluginNative, false: wire.PluginCachingSHA2}[strings.Contains(t.Name(), "mariadb")]
		if err != nil || g.Plugin != want {
			t.Errorf("version %s with %s, %v, want %s", g.ServerVersion, g.Plugin, err, want)
		}
	})
}
