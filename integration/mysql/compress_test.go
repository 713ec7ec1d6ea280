package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sidewire/sidewire/integration/servers"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// counted counts what a client's connections read.
type counted struct {
	net.Conn
	read *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// Everything passes whichever side is compressed, and what is compressed is shorter on the wire.
func TestCompression(t *testing.T) {
	var read atomic.Int64
	driver.RegisterDialContext("counted", func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		return counted{c, &read}, err
	})
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "SET GLOBAL max_allowed_packet = 67108864")
		mustExec(t, root, "SET GLOBAL local_infile = 1")
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS packed")
		for _, client := range []bool{false, true} {
			for _, server := range []bool{false, true} {
				t.Run(fmt.Sprintf("client=%t,server=%t", client, server), func(t *testing.T) {
					w := front(t, db, layout{cluster: fmt.Sprintf("compress: %t, pool: {max: 2}", server)})
					c := session(t, fmt.Sprintf("app:local@counted(%s)/packed?compress=%t&multiStatements=true&maxAllowedPacket=67108864", w.addr, client))
					passes(t, c, server)
					read.Store(0)
					var text string
					if err := c.QueryRowContext(deadline(t, 30*time.Second), "SELECT REPEAT('sidewire ', 100000)").Scan(&text); err != nil || text != strings.Repeat("sidewire ", 100000) {
						t.Fatal(len(text), err)
					}
					if n := read.Load(); client != (n < 100_000) {
						t.Errorf("%d bytes were read for a result of 900,000", n)
					}
				})
			}
		}
	})
}

func passes(t *testing.T, c *sql.Conn, compressed bool) {
	t.Helper()
	want := "Variable_name,Value\nCompression,OFF"
	if compressed {
		want = "Variable_name,Value\nCompression,ON"
	}
	if got := show(deadline(t, 20*time.Second), c, "SHOW SESSION STATUS LIKE 'Compression'"); got != want {
		t.Fatal(got)
	}
	mustExec(t, c, "DROP TABLE IF EXISTS t; CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT); INSERT INTO t VALUES (0, 'a'); INSERT INTO t VALUES (-1, 'b')")
	for i := range 300 { // more than a connection keeps prepared: they are closed on the way
		if got := show(deadline(t, 20*time.Second), c, fmt.Sprintf("SELECT ? + %d AS n", i), 1); got != fmt.Sprintf("n\n%d", i+1) {
			t.Fatal(got)
		}
	}
	rows, err := c.QueryContext(deadline(t, 20*time.Second), "SELECT 1; SELECT REPEAT('x', 100000); SELECT id FROM t ORDER BY id; SELECT 4")
	if err != nil {
		t.Fatal(err)
	}
	results := 0
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			results++
		}
	}
	if err := rows.Err(); err != nil || results != 5 {
		t.Fatalf("%d rows in several results, %v", results, err)
	}
	rows.Close()
	var lines strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&lines, "%d\t%x\n", i+1, sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	driver.RegisterReaderHandler("lines", func() io.Reader { return strings.NewReader(lines.String()) })
	mustExec(t, c, "LOAD DATA LOCAL INFILE 'Reader::lines' INTO TABLE t")
	if got := show(deadline(t, 20*time.Second), c, "SELECT COUNT(*), SUM(LENGTH(v)) FROM t"); got != "COUNT(*),SUM(LENGTH(v))\n60002,3840002" {
		t.Fatal(got)
	}
	big := strings.Repeat("0123456789abcdef", 20<<16) // 20 MB
	mustExec(t, c, "INSERT INTO t VALUES (-2, '"+big+"')")
	mustExec(t, c, "INSERT INTO t VALUES (-3, ?)", big)
	var back string
	if err := c.QueryRowContext(deadline(t, 30*time.Second), "SELECT v FROM t WHERE id = -3").Scan(&back); err != nil || back != big {
		t.Fatalf("%d bytes came back, %v", len(back), err)
	}
	if got := show(deadline(t, 20*time.Second), c, "SELECT nothing FROM t"); !strings.HasPrefix(got, "error Error 1054 (42S22)") {
		t.Fatal(got)
	}
	mustExec(t, c, "BEGIN")
	mustExec(t, c, "DELETE FROM t")
	mustExec(t, c, "ROLLBACK")
	if got := show(deadline(t, 20*time.Second), c, "SELECT COUNT(*) AS n FROM t"); got != "n\n60004" {
		t.Fatal(got)
	}
}

// zstd is not offered, nor zlib where a listener forbids it.
func TestCompressionOffered(t *testing.T) {
	db := servers.MariaDB(t)
	w := front(t, db, layout{})
	if c := rawClient(t, w.addr, "app", "local", wire.ZstdCompress); c.caps.Has(wire.ZstdCompress) {
		t.Error("zstd is offered")
	}
	w = front(t, db, layout{listener: "compress: false"})
	c := rawClient(t, w.addr, "app", "local", wire.Compress)
	if c.caps.Has(wire.Compress) {
		t.Error("zlib is offered although it is forbidden")
	}
	if got, err := c.query(nil, "SELECT 1"); err != nil || fmt.Sprint(got) != "[1]" {
		t.Error(got, err)
	}
}
