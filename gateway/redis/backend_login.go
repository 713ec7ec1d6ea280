package redis

import (
	"bytes"
	"fmt"
	"net"
	"strconv"

	"github.com/sidewire/sidewire/gateway/socket"
	"github.com/sidewire/sidewire/protocols/redis"
)

// link is a connection that is not in the loop yet, or never will be: it is asked and waited for.
type link struct {
	conn net.Conn
	tls  *socket.TLS
	in   []byte
	buf  []byte
}

func (l *link) send(b []byte) error {
	if l.tls != nil {
		var err error
		if b, err = l.tls.Seal(nil, b); err != nil {
			return err
		}
	}
	_, err := l.conn.Write(b)
	return err
}

// next reads one reply. It is valid until the next call.
func (l *link) next() ([]byte, error) {
	var f redis.Framer
	for {
		n, err := f.Next(l.in)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			reply := bytes.Clone(l.in[:n])
			l.in = l.in[n:]
			return reply, nil
		}
		if l.buf == nil {
			l.buf = make([]byte, 16<<10)
		}
		n, err = l.conn.Read(l.buf)
		if n > 0 {
			if l.tls == nil {
				l.in = append(l.in, l.buf[:n]...)
			} else if l.in, err = l.tls.Open(l.in, l.buf[:n]); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, gone(err)
		}
	}
}

// login is what a new connection says before it serves.
type login struct {
	user, pass string
	db         int
	resp3      bool
	readOnly   bool     // a cluster's replica is told that reads are meant for it
	tracking   *tracker // nil: nothing is
	identify   bool     // the server is asked for the connection's ID
}

// told is what a server said at a login, as far as it was asked.
type told struct {
	version string
	id      int64 // the connection's
}

// do logs in, all questions at once.
func (a login) do(l *link) (t told, err error) {
	var out []byte
	var steps []func(f []byte) error
	must := func(what string) func([]byte) error {
		return func(f []byte) error {
			if f[0] == redis.TypeError {
				return &refusal{string(bytes.TrimRight(f[1:], "\r\n"))}
			}
			return nil
		}
	}
	if a.pass != "" || a.user != "" {
		if a.user == "" || a.user == "default" {
			out = redis.AppendCommand(out, "AUTH", a.pass)
		} else {
			out = redis.AppendCommand(out, "AUTH", a.user, a.pass)
		}
		steps = append(steps, must("AUTH"))
	}
	if a.resp3 {
		out = redis.AppendCommand(out, "HELLO", "3")
		steps = append(steps, func(f []byte) error {
			t.version = field(f, "version")
			return must("HELLO")(f)
		})
	}
	if a.db != 0 {
		out = redis.AppendCommand(out, "SELECT", strconv.Itoa(a.db))
		steps = append(steps, must("SELECT"))
	}
	if a.readOnly {
		out = redis.AppendCommand(out, "READONLY")
		steps = append(steps, must("READONLY"))
	}
	if a.identify {
		out = redis.AppendCommand(out, "CLIENT", "ID")
		steps = append(steps, func(f []byte) error {
			t.id, _ = integer(f) // who may not ask cannot be unblocked
			return nil
		})
	}
	if a.tracking != nil {
		out = redis.AppendCommand(out, append([]string{"CLIENT", "TRACKING", "ON"}, a.tracking.options...)...)
		steps = append(steps, must("CLIENT TRACKING"))
	}
	if len(steps) == 0 {
		return t, nil
	}
	if err := l.send(out); err != nil {
		return t, fmt.Errorf("logging in: %w", err)
	}
	for _, step := range steps {
		f, err := l.next()
		if err != nil {
			return t, fmt.Errorf("logging in: %w", err)
		}
		if err := step(f); err != nil {
			return t, err
		}
	}
	for a.tracking != nil && len(l.in) > 0 { // changes of before the client was told that it hears of them
		if _, err := l.next(); err != nil {
			return t, fmt.Errorf("logging in: %w", err)
		}
	}
	return t, nil
}

// field returns the value of a flat map's key.
func field(f []byte, key string) string {
	i := bytes.IndexByte(f, '\n')
	if i < 0 {
		return ""
	}
	for rest := f[i+1:]; len(rest) > 0; {
		k, after := bulk(rest)
		v, next := bulk(after)
		if k == nil {
			return ""
		}
		if string(k) == key {
			return string(v)
		}
		if v == nil {
			j := bytes.IndexByte(after, '\n')
			if j < 0 {
				return ""
			}
			next = after[j+1:]
		}
		rest = next
	}
	return ""
}
