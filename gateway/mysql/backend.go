package mysql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/scan"
)

// backendCaps are asked of every server. Statements of clients that agreed to less are refused before they get here.
const backendCaps = wire.Protocol41 | wire.LongFlag | wire.Transactions | wire.MultiStatements | wire.MultiResults |
	wire.PSMultiResults | wire.PluginAuth | wire.SessionTrack | wire.LocalFiles | wire.ConnectAttrs

// classCaps are the capabilities that change the bytes of an answer or the meaning of a statement: a backend connection
// serves only sessions that agreed to the same ones, so that answers pass as they are.
const classCaps = wire.DeprecateEOF | wire.FoundRows | wire.IgnoreSpace | wire.NoSchema | wire.QueryAttributes

// class is what a backend connection was opened with and cannot change.
type class struct {
	caps      wire.Capability
	collation uint16
	as        *Credentials // nil: the cluster's own
}

// backend is one connection to a server. It has one owner at a time: the pool, or the session that leased it.
type backend struct {
	stream
	pool     *pool
	class    class
	user     string // the account that it was opened with
	password string
	caps     wire.Capability
	threadID uint32
	version  string
	mariaDB  bool
	compress bool // it was to be compressed, if the server can
	opened   time.Time

	database   string      // the server's current one
	status     wire.Status // as the last answer to sidewire itself said
	told       string      // the transaction that it told of
	settings   *settings   // what was set on it since it was opened
	names      string      // what SET NAMES gives it back its first character set
	statement  statements
	insertID   uint64 // its LAST_INSERT_ID(), as far as a session needs it
	tellsGTIDs bool   // of itself, as clients of the server expect it
	several    bool   // it takes several statements in one text
	broken     bool   // an answer ended in the middle, or something spoke unasked

	idleSince time.Time
	left      *leftover     // what a session left that has it no more; nil: nothing
	lent      time.Time     // to the session that has it
	owner     uint64        // the session that used it last
	foreign   bool          // before its present owner another session used it
	cancelled bool          // somebody cancelled a statement on it
	mode      scan.Mode     // its first sql_mode, as far as it changes how a text is read
	uses      uint64        // changes with every lease
	spent     time.Duration // waited for it since the session began to
}

// dialBackend opens a connection to e and makes it ready for sessions of a class.
func dialBackend(ctx context.Context, c *cluster.Cluster, e *cluster.Endpoint, cl class, user, password string) (*backend, error) {
	plain, err := c.DialPlain(ctx, e)
	if err != nil {
		return nil, err
	}
	b := &backend{stream: stream{conn: socket.Wrap(plain)}, class: cl, settings: noSettings}
	stop := context.AfterFunc(ctx, b.conn.Interrupt)
	auth := &wire.ClientAuth{User: user, Password: password, Collation: cl.collation, Want: backendCaps | cl.caps,
		TLS: c.Config().TLS != nil, Private: strings.HasPrefix(e.Address(), "unix:"),
		Attributes: wire.AppendLenencString(wire.AppendLenencString(nil, "program_name"), "sidewire")}
	if b.compress = c.Config().Block.(*ClusterBlock).Compress; b.compress {
		auth.Want |= wire.Compress
	}
	if err := b.authenticate(auth, func(plain net.Conn) (net.Conn, error) { return c.StartTLS(ctx, e, plain) }); err != nil {
		stop()
		b.close()
		c.Report(e, unreachable(err))
		return nil, fmt.Errorf("connecting to %s as %q: %w", e.Address(), user, err)
	}
	if auth.Capabilities.Has(wire.Compress) {
		b.pack()
	}
	b.caps, b.threadID, b.version = auth.Capabilities, auth.Greeting.ConnectionID, auth.Greeting.ServerVersion
	b.mariaDB = strings.Contains(b.version, "MariaDB")
	if err := b.prime(); err != nil {
		stop()
		b.close()
		return nil, fmt.Errorf("preparing a connection to %s: %w", e.Address(), err)
	}
	if !stop() {
		b.close()
		return nil, fmt.Errorf("connecting to %s: %w", e.Address(), context.Cause(ctx))
	}
	c.Report(e, nil)
	return b, nil
}

// unreachable is the error if it says that a server cannot be reached, nil if the server answered in its own words.
func unreachable(err error) error {
	var e *wire.Error
	if errors.As(err, &e) {
		return nil
	}
	return err
}

// authenticate goes through the connection phase; start puts TLS on top of the connection when the machine asks for it.
func (b *backend) authenticate(auth *wire.ClientAuth, start func(plain net.Conn) (net.Conn, error)) error {
	_, in, seq, err := b.packet(wire.MaxControl)
	if err != nil {
		return fmt.Errorf("reading greeting: %w", err)
	}
	for {
		out, next, err := auth.Step(nil, in)
		if err != nil {
			return err
		}
		if next == wire.NextDone {
			b.release()
			return nil
		}
		if next != wire.NextWait {
			seq++
			if err := b.send(seq, out); err != nil {
				return fmt.Errorf("authenticating: %w", err)
			}
		}
		if next == wire.NextTLS {
			over, err := start(b.conn)
			if err != nil {
				return err
			}
			b.conn = socket.Wrap(over)
			if out, _, err = auth.Step(nil, nil); err != nil {
				return err
			}
			seq++
			if err := b.send(seq, out); err != nil {
				return fmt.Errorf("authenticating: %w", err)
			}
		}
		if _, in, seq, err = b.packet(wire.MaxControl); err != nil {
			return fmt.Errorf("authenticating: %w", err)
		}
	}
}

// prime asks the server to tell of every change of its session's state, and learns what its first character set is.
func (b *backend) prime() error {
	gtids := "@@session_track_gtids"
	if b.mariaDB {
		gtids = "''"
	}
	rows, err := b.query("SELECT @@character_set_client, @@collation_connection, @@sql_mode, " + gtids + "; " + b.tracking())
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) != 4 {
		return fmt.Errorf("asking for the character set: %w", wire.ErrMalformed)
	}
	b.names = fmt.Sprintf("%s COLLATE %s", rows[0][0], rows[0][1])
	b.mode, b.several, b.tellsGTIDs = modeOf(rows[0][2]), true, rows[0][3] == "OWN_GTID"
	return nil
}

// tracking has the server tell of every change of its session's state.
func (b *backend) tracking() string {
	track := "SET session_track_schema=1, session_track_state_change=1, session_track_system_variables='*'"
	if !b.mariaDB {
		track += ", session_track_gtids=OWN_GTID"
	}
	return track
}

// modeOf is the part of an sql_mode that changes where tokens begin and end, or what they mean.
func modeOf(sqlMode string) (m scan.Mode) {
	for word := range strings.SplitSeq(sqlMode, ",") {
		switch strings.ToUpper(word) {
		case "ANSI", "DB2", "MAXDB", "MSSQL", "ORACLE", "POSTGRESQL":
			m |= scan.ANSIQuotes | scan.PipesAsConcat
		case "ANSI_QUOTES":
			m |= scan.ANSIQuotes
		case "PIPES_AS_CONCAT":
			m |= scan.PipesAsConcat
		case "NO_BACKSLASH_ESCAPES":
			m |= scan.NoBackslashEscapes
		}
	}
	return m
}

// query runs a statement of sidewire's own and returns the rows of its result sets. An error of the server is *wire.Error.
func (b *backend) query(sql string) ([][]string, error) {
	_, rows, err := b.command(wire.ComQuery, sql)
	return rows, err
}

// command runs one command of sidewire's own and returns the names of its last result's columns, and all rows.
func (b *backend) command(cmd wire.Command, text string) (columns []string, rows [][]string, err error) {
	p := append(make([]byte, wire.HeaderLen, wire.HeaderLen+1+len(text)), byte(cmd))
	if cmd == wire.ComQuery && b.caps.Has(wire.QueryAttributes) {
		p = append(p, wire.NoAttributes...)
	}
	p = append(p, text...)
	p, _ = wire.EndPacket(p, 0, 0)
	b.restart()
	if _, err := b.conn.Write(p); err != nil {
		b.broken = true
		return nil, nil, fmt.Errorf("writing %s: %w", cmd, err)
	}
	var r wire.Reply
	r.Begin(cmd, b.caps, 1)
	r.Each = true
	b.told = ""
	var failed *wire.Error
	for !r.Done() {
		ev, err := b.next(&r)
		if err == nil {
			switch ev {
			case wire.EventColumns:
				columns = columns[:0]
			case wire.EventColumn:
				var c wire.Column
				c, err = wire.DecodeColumn(r.Packet)
				columns = append(columns, string(c.Name))
			case wire.EventRow:
				rows, err = appendRow(rows, &r)
			case wire.EventOK:
				b.told, err = gtidOf(r.Packet, b.caps)
			case wire.EventErr:
				failed, err = wire.DecodeErr(r.Packet)
			}
		}
		if err != nil {
			b.broken = true
			return nil, nil, err
		}
	}
	b.status = r.Status
	b.finish()
	if failed != nil {
		return columns, rows, failed
	}
	return columns, rows, nil
}

func appendRow(rows [][]string, r *wire.Reply) ([][]string, error) {
	values, err := wire.SplitText(nil, r.Packet, r.Columns)
	if err != nil {
		return rows, err
	}
	row := make([]string, len(values))
	for i, v := range values {
		row[i] = string(v)
	}
	return append(rows, row), nil
}

// next moves a reply that nobody forwards on to its next event.
func (b *backend) next(r *wire.Reply) (wire.Event, error) {
	for {
		n, ev, err := r.Next(b.unread())
		if err != nil {
			b.broken = true
			return ev, err
		}
		b.took(n)
		if ev != wire.EventMore {
			return ev, nil
		}
		if err := b.fill(r.Want()); err != nil {
			b.broken = true
			return ev, fmt.Errorf("reading answer: %w", err)
		}
	}
}

// finish ends the reading of an answer: a server that goes on talking talks to nobody.
func (b *backend) finish() {
	if b.w > b.r {
		b.broken = true
	}
	b.release()
}

// simple sends a command that is a number, and reads its answer.
func (b *backend) simple(cmd wire.Command, n uint32) error {
	var p [4]byte
	binary.LittleEndian.PutUint32(p[:], n)
	_, _, err := b.command(cmd, string(p[:]))
	return err
}

// option turns several statements in one text on or off.
func (b *backend) option(several bool) error {
	p := "\x01\x00"
	if several {
		p = "\x00\x00"
	}
	_, _, err := b.command(wire.ComSetOption, p)
	if err == nil {
		b.several = several
	}
	return err
}

// restTrust is how long after its last use a connection is taken for quiet without a look. A server closes none that fast
// unless it dies or is told to, and a look costs a system call a statement; what comes unasked all the same has the wrong
// sequence number.
const restTrust = 10 * time.Millisecond

// quiet reports whether nothing came from the server since the last answer: only then may it serve again.
func (b *backend) quiet(now time.Time) bool {
	if b.broken || b.w > b.r {
		return false
	}
	if !now.IsZero() && now.Sub(b.idleSince) < restTrust {
		return true
	}
	waiting, err := b.conn.Pending()
	return !waiting && err == nil
}

func (b *backend) close() {
	b.drop()
	b.conn.Close()
}
