// Package differential asks the same statements of one unsharded server and of a sharded database behind the planner
// and the merge, and compares everything a client can see.
package differential

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/merge"
	"github.com/sidewire/sidewire/sharding/value"
)

// Result is a whole reply.
type Result struct {
	Columns  []merge.Column
	Origins  []string       // of each column: its table's name and alias, and the column's own name
	Prepared []merge.Column // as the answer to the preparation said
	Rows     [][]byte       // payloads of row packets
	Affected uint64
	InsertID uint64
	Warnings uint16
	Info     string
}

// client is a connection that keeps rows as the server sent them.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	caps mysql.Capability
	buf  []byte
	seq  byte
}

func dial(addr, user, password, database string) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	auth := &mysql.ClientAuth{User: user, Password: password, Database: database, Collation: 45,
		Want: mysql.LongPassword | mysql.LongFlag | mysql.Transactions | mysql.MultiResults | mysql.PSMultiResults}
	p, err := c.read()
	for err == nil {
		var out []byte
		var next mysql.Next
		if out, next, err = auth.Step(nil, p); err != nil {
			break
		}
		if len(out) > 0 {
			if err = c.write(out); err != nil {
				break
			}
		}
		if next == mysql.NextDone {
			c.caps = auth.Capabilities
			return c, nil
		}
		p, err = c.read()
	}
	conn.Close()
	return nil, fmt.Errorf("connecting to %s: %w", addr, err)
}

func (c *client) close() { c.conn.Close() }

// read returns the next payload, borrowed until the next call only where it is short.
func (c *client) read() ([]byte, error) {
	var out []byte
	for {
		var head [mysql.HeaderLen]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return nil, err
		}
		n, seq := mysql.Header(head[:])
		c.seq = seq + 1
		part := make([]byte, n)
		if _, err := io.ReadFull(c.r, part); err != nil {
			return nil, err
		}
		out = append(out, part...)
		if n < mysql.MaxPayload {
			return out, nil
		}
	}
}

func (c *client) write(p []byte) error {
	c.buf, _ = mysql.AppendPacket(c.buf[:0], c.seq, p)
	_, err := c.conn.Write(c.buf)
	return err
}

func (c *client) command(code byte, payload ...byte) error {
	c.seq = 0
	if err := c.conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return err
	}
	return c.write(append([]byte{code}, payload...))
}

// query runs a text.
func (c *client) query(sql string) (*Result, error) {
	if err := c.command(0x03, []byte(sql)...); err != nil {
		return nil, err
	}
	return c.result()
}

func (c *client) result() (*Result, error) {
	p, err := c.read()
	if err != nil {
		return nil, err
	}
	switch {
	case p[0] == mysql.MarkErr:
		e, err := mysql.DecodeErr(p)
		if err != nil {
			return nil, err
		}
		return nil, e
	case p[0] == mysql.MarkOK:
		ok, err := mysql.DecodeOK(p, c.caps)
		return &Result{Affected: ok.AffectedRows, InsertID: ok.InsertID, Warnings: ok.Warnings, Info: string(ok.Info)}, err
	}
	n, size := mysql.Lenenc(p)
	if size == 0 || n > 4096 {
		return nil, fmt.Errorf("reading a reply: %d columns", n)
	}
	r := &Result{}
	for range n {
		d, err := c.column()
		if err != nil {
			return nil, err
		}
		r.Columns = append(r.Columns, shape(&d))
		r.Origins = append(r.Origins, fmt.Sprintf("%s %s.%s", d.OrgTable, d.Table, d.OrgName))
	}
	if _, err = c.read(); err != nil { // EOF
		return nil, err
	}
	for {
		if p, err = c.read(); err != nil {
			return nil, err
		}
		switch {
		case p[0] == mysql.MarkEOF && len(p) < 9:
			_, r.Warnings, err = mysql.DecodeEOF(p)
			return r, err
		case p[0] == mysql.MarkErr:
			e, err := mysql.DecodeErr(p)
			if err != nil {
				return nil, err
			}
			return nil, e
		}
		r.Rows = append(r.Rows, p)
	}
}

func (c *client) column() (mysql.Column, error) {
	p, err := c.read()
	if err != nil {
		return mysql.Column{}, err
	}
	return mysql.DecodeColumn(p)
}

func shape(d *mysql.Column) merge.Column {
	return merge.Column{Name: string(d.Name), Type: byte(d.Type), Flags: d.Flags, Charset: d.Collation, Decimals: d.Decimals, Length: d.Length}
}

// execute prepares a text, runs it with args and closes it.
func (c *client) execute(sql string, args []value.Value) (*Result, error) {
	params := make([]mysql.Param, len(args))
	for i, a := range args {
		params[i] = parameter(a)
	}
	return c.executeWith(sql, params)
}

func (c *client) executeWith(sql string, args []mysql.Param) (*Result, error) {
	if err := c.command(0x16, []byte(sql)...); err != nil {
		return nil, err
	}
	p, err := c.read()
	if err != nil {
		return nil, err
	}
	if p[0] == mysql.MarkErr {
		e, err := mysql.DecodeErr(p)
		if err != nil {
			return nil, err
		}
		return nil, e
	}
	id := binary.LittleEndian.Uint32(p[1:])
	columns, params := int(binary.LittleEndian.Uint16(p[5:])), int(binary.LittleEndian.Uint16(p[7:]))
	skip := 0
	if params > 0 {
		skip = params + 1
	}
	for range skip {
		if _, err := c.read(); err != nil {
			return nil, err
		}
	}
	var promised []merge.Column
	for range columns {
		d, err := c.column()
		if err != nil {
			return nil, err
		}
		promised = append(promised, shape(&d))
	}
	if columns > 0 {
		if _, err := c.read(); err != nil {
			return nil, err
		}
	}
	if params != len(args) {
		return nil, fmt.Errorf("%d parameters, %d values: %s", params, len(args), sql)
	}
	x := mysql.Execute{ID: id}
	x.SetParams(args)
	if err := c.command(0x17, mysql.AppendExecute(nil, &x)[1:]...); err != nil {
		return nil, err
	}
	r, err := c.result()
	if r != nil {
		r.Prepared = promised
	}
	if cerr := c.command(0x19, binary.LittleEndian.AppendUint32(nil, id)...); cerr != nil && err == nil {
		err = cerr
	}
	return r, err
}

func parameter(a value.Value) mysql.Param {
	p := mysql.Param{ParamType: mysql.ParamType{Type: mysql.TypeVarString}, Data: append([]byte{}, a.Str...)}
	switch a.Kind {
	case value.Null:
		p.Type, p.Data = mysql.TypeNull, nil
	case value.Int, value.Uint:
		p.Type, p.Unsigned, p.Data = mysql.TypeLongLong, a.Kind == value.Uint, binary.LittleEndian.AppendUint64(nil, a.Num)
	case value.Float:
		p.Type, p.Data = mysql.TypeDouble, binary.LittleEndian.AppendUint64(nil, a.Num)
	case value.Decimal:
		p.Type = mysql.TypeNewDecimal
	}
	return p
}
