package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"hash/crc32"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// peak is the most memory the process ever had resident, in megabytes.
func peak(t *testing.T, side *servers.Sidewire) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", side.PID()))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no VmHWM in %s", text)
	}
	kb, _ := strconv.Atoi(string(found[1]))
	return kb >> 10
}

// digits is n bytes of which no piece can change its place unseen.
func digits(n int) []byte {
	b := make([]byte, 0, n+20)
	for i := 0; len(b) < n; i++ {
		b = append(strconv.AppendInt(b, int64(i), 10), ';')
	}
	return b[:n]
}

// 20 MB come as text, as a parameter, as long data and as a local file. Files and long data pass in pieces, statements are held once.
// LARGE=n makes it 64 MB, and has so many sessions send such a statement at once.
func TestLargeStatementsTakeBoundedMemory(t *testing.T) {
	atOnce, _ := strconv.Atoi(os.Getenv("LARGE"))
	size := 20 << 20
	if atOnce > 0 {
		size = 64 << 20
	}
	data := digits(size)
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		root := session(t, db.AdminDSN(""))
		var before int
		if err := root.QueryRowContext(deadline(t, 10*time.Second), "SELECT @@global.max_allowed_packet").Scan(&before); err != nil {
			t.Fatal(err)
		}
		mustExec(t, root, "SET GLOBAL max_allowed_packet = 268435456")
		t.Cleanup(func() { root.ExecContext(t.Context(), fmt.Sprintf("SET GLOBAL max_allowed_packet = %d", before)) })
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS large")
		mustExec(t, root, "DROP TABLE IF EXISTS large.t")
		mustExec(t, root, "CREATE TABLE large.t (v LONGBLOB)")
		w := front(t, db, layout{listener: "max_statement: 80MB"})
		w.settle(t)
		small := peak(t, w.side)
		want := fmt.Sprint(crc32.ChecksumIEEE(data))

		client := newLargeClient(t, w)
		client.execute(t, data, want, true)
		client.load(t, data, root, want)
		pieces := peak(t, w.side)
		if pieces > small+24 {
			t.Errorf("%d MB resident at most while files and long data passed, %d before", pieces, small)
		}
		client.execute(t, data, want, false)
		client.query(t, data, want)
		whole := peak(t, w.side)
		if whole > pieces+200 {
			t.Errorf("%d MB resident at most with statements of %d MB, %d before", whole, size>>20, pieces)
		}
		t.Logf("MB resident at most: %d at rest, %d passing files and long data, %d with statements", small, pieces, whole)
		if err := client.send(append([]byte{byte(wire.ComQuery)}, make([]byte, 80<<20)...)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.answer(wire.ComQuery); err == nil || !strings.Contains(err.Error(), "max_statement") {
			t.Errorf("a statement beyond max_statement: %v", err)
		}
		if n := w.metric(t, "sidewire_mysql_statements_too_large_total"); n != 1 {
			t.Errorf("%v statements beyond max_statement are counted", n)
		}
		client.query(t, data[:1<<24], fmt.Sprint(crc32.ChecksumIEEE(data[:1<<24])))
		var all sync.WaitGroup
		for range atOnce {
			c := newLargeClient(t, w)
			all.Go(func() { c.query(t, data, want) })
		}
		all.Wait()
		if atOnce > 0 {
			t.Logf("%d MB resident at most with %d at once", peak(t, w.side), atOnce)
		}
		if err := servers.Poll(deadline(t, 20*time.Second), func(context.Context) error {
			rss, err := w.side.RSS()
			if err == nil && int(rss>>20) > small+40 {
				err = fmt.Errorf("%d MB stay resident beside sessions at rest", rss>>20)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

// largeClient sends packets as long as they can be.
type largeClient struct{ *raw }

func newLargeClient(t *testing.T, w *world) largeClient {
	t.Helper()
	return largeClient{rawClient(t, w.addr, "app", "local", wire.LocalFiles)}
}

// checked says whether what came back is the checksum.
func (c largeClient) checked(t *testing.T, what string, cmd wire.Command, want string) {
	t.Helper()
	rows, _, err := c.answer(cmd)
	if err != nil || len(rows) != 1 || rows[0] != want {
		t.Errorf("%s: %q, %v, want %s", what, rows, err, want)
	}
}

func (c largeClient) query(t *testing.T, data []byte, want string) {
	t.Helper()
	if err := c.send(append(append(append([]byte{byte(wire.ComQuery)}, "SELECT CRC32('"...), data...), "')"...)); err != nil {
		t.Error(err)
		return
	}
	c.checked(t, "as text", wire.ComQuery, want)
}

// execute sends data as the parameter of a prepared statement: ahead of it as long data, or inside.
func (c largeClient) execute(t *testing.T, data []byte, want string, long bool) {
	t.Helper()
	made, err := c.prepare("SELECT CAST(CRC32(?) AS CHAR)")
	if err != nil {
		t.Fatal(err)
	}
	id := []byte{byte(made.ID), byte(made.ID >> 8), 0, 0}
	x := append(append([]byte{byte(wire.ComStmtExecute)}, id...), 0, 1, 0, 0, 0, 0, 1, byte(wire.TypeLongBlob), 0)
	if long {
		if err := c.send(append(append(append([]byte{byte(wire.ComStmtLongData)}, id...), 0, 0), data...)); err != nil {
			t.Fatal(err)
		}
	} else {
		x = append(wire.AppendLenenc(x, uint64(len(data))), data...)
	}
	if err := c.send(x); err != nil {
		t.Fatal(err)
	}
	row := append([]byte{0, 0, byte(len(want))}, want...)
	c.checked(t, fmt.Sprintf("prepared, long data %t", long), wire.ComStmtExecute, fmt.Sprintf("%q", row))
}

// load sends data as a local file, in packets of 16 MB.
func (c largeClient) load(t *testing.T, data []byte, root *sql.Conn, want string) {
	t.Helper()
	if err := c.send(append([]byte{byte(wire.ComQuery)}, "LOAD DATA LOCAL INFILE 'x' INTO TABLE large.t CHARACTER SET binary"...)); err != nil {
		t.Fatal(err)
	}
	asked, seq, err := c.packet()
	if err != nil || len(asked) == 0 || asked[0] != 0xfb {
		t.Fatalf("instead of a wish for the file: %q, %v", asked, err)
	}
	for len(data) > 0 {
		part := data[:min(len(data), wire.MaxPayload-1)]
		p, next := wire.AppendPacket(nil, seq+1, part)
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		data, seq = data[len(part):], next-1
	}
	p, _ := wire.AppendPacket(nil, seq+1, nil)
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
	if answered, _, err := c.packet(); err != nil || answered[0] != 0 {
		t.Fatalf("after the file: %q, %v", answered, err)
	}
	if got := show(deadline(t, 30*time.Second), root, "SELECT CRC32(v) AS sum FROM large.t"); got != "sum\n"+want {
		t.Errorf("the file arrived as %.80q, want %s", got, want)
	}
}

// A statement whose long data went down with its server connection is not executed without it.
func TestLostLongDataIsNotExecuted(t *testing.T) {
	each(t, func(t *testing.T, start func(testing.TB, ...servers.Option) *servers.MySQLServer) {
		db := start(t)
		root := session(t, db.AdminDSN(""))
		mustExec(t, root, "CREATE DATABASE IF NOT EXISTS large")
		mustExec(t, root, "DROP TABLE IF EXISTS large.lost")
		mustExec(t, root, "CREATE TABLE large.lost (v VARCHAR(20), w VARCHAR(20))")
		c := rawClient(t, begin(t, db, 2).addr, "app", "local", 0)
		made, err := c.prepare("INSERT INTO large.lost VALUES (?, ?)")
		if err != nil {
			t.Fatal(err)
		}
		id := []byte{byte(made.ID), byte(made.ID >> 8), 0, 0}
		long := func() {
			t.Helper()
			if err := c.send(append(append(append([]byte{byte(wire.ComStmtLongData)}, id...), 0, 0), "first"...)); err != nil {
				t.Fatal(err)
			}
		}
		execute := func() error {
			t.Helper()
			if err := c.send(append(append(append([]byte{byte(wire.ComStmtExecute)}, id...), 0, 1, 0, 0, 0, 0, 1,
				byte(wire.TypeVarString), 0, byte(wire.TypeVarString), 0), "\x06second"...)); err != nil {
				t.Fatal(err)
			}
			_, _, err := c.answer(wire.ComStmtExecute)
			return err
		}
		long()
		number, err := c.query(nil, "SELECT @@pseudo_thread_id")
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, root, "KILL "+number[0])
		if _, err := c.query(nil, "SELECT 1"); err == nil {
			t.Error("the session did not notice the loss of what it had on the server")
		}
		if err := execute(); err == nil || !strings.Contains(err.Error(), "long data") {
			t.Errorf("executed without its long data: %v", err)
		}
		long()
		if err := execute(); err != nil {
			t.Errorf("sent again: %v", err)
		}
		if got := show(deadline(t, 10*time.Second), root, "SELECT * FROM large.lost"); got != "v,w\nfirst,second" {
			t.Errorf("the table has %q", got)
		}
	})
}
