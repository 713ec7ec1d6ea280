package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// raw is a client connection on which tests say exactly what they want, beyond what drivers can.
type raw struct {
	net.Conn
	caps wire.Capability
	auth *wire.ClientAuth
	in   []byte // read and not yet taken
	next byte   // number of the first packet of the answer
}

// rawClient logs in with what is wanted of what the server offers.
func rawClient(t testing.TB, addr, user, password string, want wire.Capability) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	c := &raw{Conn: conn}
	c.auth = &wire.ClientAuth{User: user, Password: password, Collation: wire.CollationUTF8MB4,
		Want: wire.Protocol41 | wire.LongFlag | wire.MultiResults | wire.PSMultiResults | want}
	if err := c.authenticate(); err != nil {
		t.Fatalf("logging in to %s: %v", addr, err)
	}
	c.caps = c.auth.Capabilities
	return c
}

// authenticate follows the server's wishes until it is satisfied.
func (c *raw) authenticate() error {
	for {
		in, seq, err := c.packet()
		if err != nil {
			return err
		}
		out, next, err := c.auth.Step(nil, in)
		if err != nil || next == wire.NextDone {
			return err
		}
		if next == wire.NextWait {
			continue
		}
		p, _ := wire.AppendPacket(nil, seq+1, out)
		if _, err = c.Write(p); err != nil {
			return err
		}
	}
}

// changeUser becomes the same user anew.
func (c *raw) changeUser() error {
	again := *c.auth
	c.auth = &wire.ClientAuth{User: again.User, Password: again.Password, Collation: again.Collation, Want: again.Want}
	out, _, err := c.auth.Step(nil, wire.AppendGreeting(nil, again.Greeting))
	if err != nil {
		return err
	}
	said, err := wire.DecodeResponse(out)
	if err != nil {
		return err
	}
	p := append([]byte{byte(wire.ComChangeUser)}, again.User...)
	p = append(append(p, 0, byte(len(said.Auth))), said.Auth...)
	p = append(p, 0, byte(again.Collation), byte(again.Collation>>8))
	if err := c.send(append(append(p, said.Plugin...), 0)); err != nil {
		return err
	}
	return c.authenticate()
}

func (c *raw) more() error {
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	c.in = append(c.in, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

func (c *raw) packet() (body []byte, seq byte, err error) {
	for {
		if len(c.in) >= wire.HeaderLen {
			n, seq := wire.Header(c.in)
			if len(c.in) >= wire.HeaderLen+n {
				body, c.in = c.in[wire.HeaderLen:wire.HeaderLen+n], c.in[wire.HeaderLen+n:]
				return body, seq, nil
			}
		}
		if err := c.more(); err != nil {
			return nil, 0, err
		}
	}
}

// send writes a command.
func (c *raw) send(payload []byte) error {
	p, next := wire.AppendPacket(nil, 0, payload)
	c.next = next
	_, err := c.Write(p)
	return err
}

// answer reads the answer to cmd: its rows of text, or what was prepared. A refusal is *wire.Error.
func (c *raw) answer(cmd wire.Command) (rows []string, made wire.Prepared, err error) {
	var r wire.Reply
	r.Begin(cmd, c.caps, c.next)
	r.Each = true
	for !r.Done() {
		n, ev, err := r.Next(c.in)
		if err != nil {
			return rows, made, err
		}
		switch ev {
		case wire.EventRow:
			if cmd == wire.ComStmtExecute {
				rows = append(rows, fmt.Sprintf("%q", r.Packet))
				break
			}
			values, err := wire.SplitText(nil, r.Packet, r.Columns)
			if err != nil {
				return rows, made, err
			}
			line := make([]string, len(values))
			for i, v := range values {
				if line[i] = string(v); v == nil {
					line[i] = "NULL"
				}
			}
			rows = append(rows, strings.Join(line, ","))
		case wire.EventPrepared:
			if made, err = wire.DecodePrepared(r.Packet); err != nil {
				return rows, made, err
			}
		case wire.EventErr:
			refused, err := wire.DecodeErr(r.Packet)
			c.in = c.in[n:]
			return rows, made, errors.Join(err, refused)
		}
		c.in = c.in[n:]
		if ev == wire.EventMore {
			if err := c.more(); err != nil {
				return rows, made, errors.Join(io.ErrUnexpectedEOF, err)
			}
		}
	}
	return rows, made, nil
}

// query runs a text, behind attributes where both sides agreed to them.
func (c *raw) query(attributes []byte, sql string) ([]string, error) {
	p := []byte{byte(wire.ComQuery)}
	if c.caps.Has(wire.QueryAttributes) {
		if attributes == nil {
			attributes = wire.NoAttributes
		}
		p = append(p, attributes...)
	}
	if err := c.send(append(p, sql...)); err != nil {
		return nil, err
	}
	rows, _, err := c.answer(wire.ComQuery)
	return rows, err
}

func (c *raw) prepare(sql string) (wire.Prepared, error) {
	if err := c.send(append([]byte{byte(wire.ComStmtPrepare)}, sql...)); err != nil {
		return wire.Prepared{}, err
	}
	_, made, err := c.answer(wire.ComStmtPrepare)
	return made, err
}

// settle waits until a probe has told what stands behind.
func (w *world) settle(t testing.TB) {
	t.Helper()
	err := servers.Poll(deadline(t, 20*time.Second), func(ctx context.Context) error {
		said, err := w.side.Get(ctx, "/clusters?format=json")
		if err == nil && !strings.Contains(said, "primary") {
			err = errors.New("no primary is known yet")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
