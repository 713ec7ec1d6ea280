package mysql

import (
	"strings"

	"github.com/sidewire/sidewire/gateway/database"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// names are what the client of a virtual database calls what its servers have under other names: they come back in
// column definitions and in messages.
type names struct {
	database string
	tables   map[string]map[string]string // by physical database and table: the logical table
	any      map[string]string            // by physical table, of any database
}

func newNames(d *database.Database) *names {
	n := &names{database: d.Name, tables: map[string]map[string]string{}, any: map[string]string{}}
	for _, s := range d.Sources {
		n.tables[s.Database] = map[string]string{}
	}
	for _, t := range d.Rules.Tables() {
		for _, node := range t.Nodes {
			if node.Table == t.Name {
				continue
			}
			n.any[node.Table] = t.Name
			target := d.Rules.Targets[node.Target]
			n.tables[d.Sources[target.Write.Name].Database][node.Table] = t.Name
			for _, r := range target.Reads {
				n.tables[d.Sources[r.Name].Database][node.Table] = t.Name
			}
		}
	}
	return n
}

// appendColumn appends a column definition as the client is to see it.
func (n *names) appendColumn(dst, p []byte) []byte {
	c, err := wire.DecodeColumn(p)
	if err != nil {
		return append(dst, p...)
	}
	tables, ours := n.tables[string(c.Schema)]
	if !ours {
		return append(dst, p...)
	}
	table, renamed := tables[string(c.OrgTable)]
	if !renamed {
		table = text(c.OrgTable)
	}
	dst = append(dst, "\x03def"...)
	dst = wire.AppendLenencString(dst, n.database)
	dst = wire.AppendLenencBytes(dst, c.Table)
	dst = wire.AppendLenencString(dst, table)
	// What follows the table's names stays, whatever a server has put there.
	rest := p
	for range 4 {
		l, w := wire.Lenenc(rest)
		rest = rest[w+int(l):]
	}
	return append(dst, rest...)
}

// fault is a server's error in the client's names.
func (n *names) fault(e *wire.Error) *wire.Error {
	fixed, from := "", 0
	if e.Code == codeDuplicate {
		from = max(0, strings.LastIndex(e.Message, " for key ")) // before it stands a value
	}
	fixed = e.Message[:from] + n.message(e.Message[from:])
	if fixed == e.Message {
		return e
	}
	return &wire.Error{Code: e.Code, State: e.State, Message: fixed}
}

// message puts logical names in the place of physical ones.
func (n *names) message(m string) string {
	var out strings.Builder
	at := 0
	for i := 0; i < len(m); {
		if !nameByte(m[i]) {
			i++
			continue
		}
		end := i
		for end < len(m) && nameByte(m[end]) {
			end++
		}
		name, ok := n.any[m[i:end]]
		if !ok {
			if _, ok = n.tables[m[i:end]]; ok {
				name = n.database
			}
		}
		if ok {
			out.WriteString(m[at:i])
			out.WriteString(name)
			at = end
		}
		i = end
	}
	if at == 0 {
		return m
	}
	out.WriteString(m[at:])
	return out.String()
}

func nameByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
